//! The thread that keeps the kernel's view of the network up to date.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

use super::doorbell::{Ringer, Waiter, doorbell};
use super::driver::WantNeighbor;
use super::engine::{Notes, Shared};
use crate::control::slow_path::Event;
use crate::control::snapshot::InterfaceId;
use crate::control::{Command, SlowPath};
use crate::packet::MacAddr;

/// Neighbours that workers want and nobody has asked for yet. What finds it full is wanted again
/// within a second.
const WANTED: usize = 256;

/// How long it sleeps at most: what it waits for announces itself.
const REST: Duration = Duration::from_secs(1);

/// What workers tell it.
#[derive(Clone)]
pub(super) struct Wants {
    queue: Arc<ArrayQueue<(InterfaceId, IpAddr)>>,
    bell: Ringer,
}

/// The thread; dropping it ends it.
pub(super) struct SlowThread {
    stop: Arc<AtomicBool>,
    bell: Ringer,
    thread: Option<JoinHandle<()>>,
    /// A forked child has the handle, and no thread to wait for.
    owner: u32,
}

/// What workers tell it, and where it hears that.
///
/// # Errors
/// When the process has no descriptor left.
pub(super) fn wants() -> io::Result<(Wants, Waiter)> {
    let (waiter, bell) = doorbell()?;
    Ok((Wants { queue: Arc::new(ArrayQueue::new(WANTED)), bell }, waiter))
}

impl Wants {
    /// For the workers.
    pub(super) fn closure(&self) -> WantNeighbor {
        let Self { queue, bell } = self.clone();
        Arc::new(move |interface, address| {
            // Full: it is wanted again.
            let _ = queue.push((interface, address));
            bell.ring();
        })
    }
}

impl SlowThread {
    /// Starts it.
    ///
    /// # Errors
    /// When the host starts no thread.
    pub(super) fn start(
        mut slow_path: SlowPath,
        shared: Arc<Shared>,
        notes: Notes,
        wants: Wants,
        mut waiter: Waiter,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, queue) = (stop.clone(), wants.queue);
        let run = move || {
            while !stopped.load(Relaxed) {
                while let Some((interface, address)) = queue.pop() {
                    slow_path.want(interface, address);
                }
                // Netlink that fails is tried again: what was read so far stays good.
                let changes = slow_path.run_once().unwrap_or_default();
                notes.lock().unwrap_or_else(PoisonError::into_inner).extend(changes.notes);
                if let Some(snapshot) = changes.snapshot {
                    // A worker that is gone needs none.
                    let _ = shared.set_snapshot(&Arc::new(snapshot));
                }
                for event in changes.events {
                    // Links that go and come are in the snapshot, and the devices see them too.
                    if let Event::NeighborMoved(interface, address, mac) = event {
                        tell_all(&shared, interface, address, mac);
                    }
                }
                if waiter.arm(|| stopped.load(Relaxed) || !queue.is_empty()) {
                    let slept = slow_path.wait(REST, Some(waiter.fd()));
                    waiter.disarm();
                    if slept.is_err() {
                        thread::sleep(REST);
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("corewire-slow".into()).spawn(run)?;
        let owner = std::process::id();
        Ok(Self { stop, bell: wants.bell, thread: Some(thread), owner })
    }
}

/// A hint: a worker that has no room for it finds out by itself when the neighbour's time is over.
fn tell_all(shared: &Shared, interface: InterfaceId, address: IpAddr, mac: MacAddr) {
    for worker in &shared.workers {
        let _ = worker.handle.mail.tell(Command::Moved(interface, address, mac));
    }
}

impl Drop for SlowThread {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        self.stop.store(true, Relaxed);
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            // One that panicked has ended, too.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for SlowThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlowThread")
    }
}
