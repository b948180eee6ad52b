//! The steering program on an interface, for as long as someone holds it.
//!
//! It is attached by a bpf_link: when the last descriptor goes, with the process if need be, the
//! program goes with it and the kernel has every packet again. An attachment by netlink would
//! stay after `kill -9`, so there is no falling back to one.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use super::abi::{XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
use super::diagnose::{ATTACH_CAPABILITIES, Facts};
use super::error::Error;
use super::program::{Program, SharedMaps, Verdict};
use super::socket::Mode;
use super::steering::Steering;
use super::sys;
use crate::nic::Interface;

/// A steering program on an interface. All queues of the interface share one; the last to go
/// detaches it.
#[derive(Debug)]
pub struct Attachment {
    // Fields drop in this order: nothing is redirected any more before the maps go.
    link: OwnedFd,
    program: Mutex<Program>,
    maps: SharedMaps,
    /// Queues that have a socket.
    served: Mutex<BTreeSet<u32>>,
    interface: Interface,
    mode: Mode,
    /// The process that attached it: a forked child has the descriptor too.
    owner: u32,
}

impl Attachment {
    /// Loads the program for these rules and attaches it to the interface.
    ///
    /// Until a queue is opened with it, all packets stay with the kernel.
    ///
    /// # Errors
    /// No such interface; another program is on it; the driver has no XDP in this mode; too few
    /// channels; the MTU; the capabilities: each with its remedy.
    pub fn new(interface: &str, mode: Mode, steering: &Steering) -> Result<Arc<Self>, Error> {
        let facts = Facts::gather(interface)?;
        facts.check_device()?;
        facts.check_steering(steering)?;
        let maps = SharedMaps::new()?;
        let program = Program::load(steering, &maps)?;
        let flags = match mode {
            Mode::ZeroCopy | Mode::Copy => XDP_FLAGS_DRV_MODE,
            Mode::Generic => XDP_FLAGS_SKB_MODE,
        };
        let link = sys::link_create(program.as_fd(), facts.interface.index, flags)
            .map_err(|error| facts.explain_attach(mode, error))?;
        let interface = facts.interface;
        Ok(Arc::new(Self {
            link,
            program: Mutex::new(program),
            maps,
            served: Mutex::default(),
            interface,
            mode,
            owner: std::process::id(),
        }))
    }

    /// Changes the rules. Every packet meets either the old program or the new one.
    ///
    /// # Errors
    /// Rules that match nothing; the kernel's refusal. The old rules then stay.
    pub fn update(&self, steering: &Steering) -> Result<(), Error> {
        let new = Program::load(steering, &self.maps)?;
        let mut current = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        sys::link_update(self.link.as_fd(), new.as_fd(), current.as_fd())
            .map_err(|error| Error::system("change the steering", ATTACH_CAPABILITIES, error))?;
        *current = new;
        Ok(())
    }

    /// Where the program sends `frame`, an Ethernet frame, when it comes in on queue 0; a queue
    /// that nobody has opened leaves everything to the kernel.
    ///
    /// # Errors
    /// When the frame is shorter than an Ethernet header or the kernel refuses to run it.
    pub fn verdict(&self, frame: &[u8]) -> io::Result<Verdict> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner).verdict(frame)
    }

    /// The queues on which packets for the engine came in although nobody had opened them. Those
    /// packets went to the kernel.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unserved_queues(&self) -> io::Result<Vec<UnservedQueue>> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut queues = Vec::new();
        for queue in 0..self.interface.rx_queues {
            let packets = self.maps.unserved(queue)?;
            if packets > 0 && !served.contains(&queue) {
                let interface = self.interface.name.clone();
                queues.push(UnservedQueue { interface, queue, packets, served: served.clone() });
            }
        }
        Ok(queues)
    }

    /// The interface that the program is on.
    #[must_use]
    pub const fn interface(&self) -> &Interface {
        &self.interface
    }

    /// How the program is attached.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Sends to `socket` what the program takes on `queue`.
    pub(super) fn connect(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Error> {
        self.maps.insert(queue, socket)?;
        self.served.lock().unwrap_or_else(PoisonError::into_inner).insert(queue);
        Ok(())
    }

    /// Leaves what comes in on `queue` to the kernel again.
    pub(super) fn disconnect(&self, queue: u32) {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).remove(&queue);
        self.maps.remove(queue);
    }
}

/// A queue on which packets for the engine come in, and that nobody has opened: the NIC spreads
/// flows over its queues, and this one was forgotten.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnservedQueue {
    /// The interface.
    pub interface: String,
    /// The queue.
    pub queue: u32,
    /// Packets that came in on it and went to the kernel.
    pub packets: u64,
    /// The queues that are open.
    served: BTreeSet<u32>,
}

impl fmt::Display for UnservedQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, queue, packets, served } = self;
        write!(
            f,
            "{packets} packets for the engine came in on queue {queue} of {interface}, which \
             nobody polls: open that queue too"
        )?;
        let (Some(first), Some(last)) = (served.first(), served.last()) else { return Ok(()) };
        let count = served.len() as u32;
        if last - first + 1 == count {
            let start = if *first == 0 { String::new() } else { format!("start {first} ") };
            write!(f, ", or `ethtool -X {interface} {start}equal {count}`")?;
        }
        Ok(())
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // A child that drops what it inherited closes its descriptors, no more.
        if self.owner != std::process::id() {
            return;
        }
        // Closing the descriptor would do, were there no other: a thread that forks at this moment
        // has it in the child until that calls exec. A device that is gone has nothing to detach.
        let _ = sys::link_detach(self.link.as_fd());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_queue_names_its_remedy() {
        let text = |served: &[u32]| {
            let served = served.iter().copied().collect();
            UnservedQueue { interface: "eth0".into(), queue: 3, packets: 7, served }.to_string()
        };
        let cause = "7 packets for the engine came in on queue 3 of eth0, which nobody polls: open \
                     that queue too";
        assert_eq!(text(&[]), cause);
        assert_eq!(text(&[0, 1]), format!("{cause}, or `ethtool -X eth0 equal 2`"));
        assert_eq!(text(&[1, 2]), format!("{cause}, or `ethtool -X eth0 start 1 equal 2`"));
        assert_eq!(text(&[0, 2]), cause);
    }
}
