//! What happened how often: one table makes the counters, their documentation and their names.
//!
//! ```text
//!  Counters   a worker's, in shared memory: one writer, plain loads and stores
//!     │ the same pages
//!  <pid>-<worker>.stats   in /run/corewire: readable from outside, and after a crash
//!     │ read()
//!  Statistics   names, help and values, as the file tells them: of another version too
//!     │ render()
//!  Prometheus text
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where the statistics files are: made, listed, reaped.
mod directory;
/// How a file is laid out, and read.
mod file;
/// Prometheus text.
mod prometheus;

pub use directory::{Directory, SYSTEM_DIRECTORY};
pub use file::{Entry, Statistics, read};
pub use prometheus::render;

use super::DropReason;
use crate::mem::{Mapping, Pages};

/// Whether a number only ever grows.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// It does: what counts is how fast.
    Counter,
    /// It goes up and down.
    Gauge,
}

macro_rules! counters {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident = $kind:ident $metric:literal $({ $label:literal: $value:literal })?,
    )+) => {
        /// What a worker counts, besides the reasons for which packets died.
        #[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Counter {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Counter {
            /// Every counter, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Whether it only ever grows.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)+ }
            }

            /// Its name in files and Prometheus: lower case with underscores. Counters that count
            /// the same of different things share it.
            #[must_use]
            pub const fn metric(self) -> &'static str {
                match self { $(Self::$name => $metric,)+ }
            }

            /// What tells it from others of the same name: a label and its value.
            #[must_use]
            pub const fn label(self) -> Option<(&'static str, &'static str)> {
                match self { $(Self::$name => counters!(@label $($label $value)?),)+ }
            }

            /// What it counts, in a sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
    (@label) => { None };
    (@label $label:literal $value:literal) => { Some(($label, $value)) };
}

counters! {
    /// Packets received from devices.
    RxPackets = Counter "rx_packets",
    /// Their bytes.
    RxBytes = Counter "rx_bytes",
    /// Packets that devices accepted to be sent.
    TxPackets = Counter "tx_packets",
    /// Their bytes.
    TxBytes = Counter "tx_bytes",
    /// Turns of the worker.
    Turns = Counter "turns",
    /// Turns in which there was nothing to do.
    IdleTurns = Counter "idle_turns",
    /// Times that the worker slept until something came.
    Sleeps = Counter "sleeps",
    /// System calls on the packet path.
    Syscalls = Counter "syscalls",
    /// Snapshots of addresses, routes and neighbours that were swapped in.
    Snapshots = Counter "snapshots",
    /// Commands of the control plane that were carried out.
    Commands = Counter "commands",
    /// Packets of a protocol that came in and were understood.
    ArpIn = Counter "protocol_in" { "protocol": "arp" },
    /// Packets of a protocol that came in and were understood.
    IcmpIn = Counter "protocol_in" { "protocol": "icmp" },
    /// Packets of a protocol that came in and were understood.
    UdpIn = Counter "protocol_in" { "protocol": "udp" },
    /// Packets of a protocol that were sent.
    ArpOut = Counter "protocol_out" { "protocol": "arp" },
    /// Packets of a protocol that were sent.
    IcmpOut = Counter "protocol_out" { "protocol": "icmp" },
    /// Packets of a protocol that were sent.
    UdpOut = Counter "protocol_out" { "protocol": "udp" },
    /// Others' claims to an address of ours.
    AddressConflicts = Counter "address_conflicts",
    /// Claims that a known neighbour has another station address: it has a new card, or somebody
    /// poses as it.
    NeighborChanges = Counter "neighbor_changes",
    /// Bursts of entries published to an application's context.
    Publishes = Counter "publishes",
    /// Sleeping applications that were woken, a system call each.
    DoorbellsRung = Counter "doorbells_rung",
    /// Frames in each state.
    FramesFree = Gauge "frames" { "state": "free" },
    /// Frames in each state.
    FramesFill = Gauge "frames" { "state": "fill" },
    /// Frames in each state.
    FramesReceived = Gauge "frames" { "state": "received" },
    /// Frames in each state.
    FramesHeld = Gauge "frames" { "state": "held" },
    /// Frames in each state.
    FramesLoaned = Gauge "frames" { "state": "loaned" },
    /// Frames in each state.
    FramesTransmitting = Gauge "frames" { "state": "transmitting" },
    /// Frames in each state.
    FramesTransmittingKept = Gauge "frames" { "state": "transmitting_kept" },
    /// Contexts cut off because of such entries.
    ContextsCutOff = Counter "contexts_cut_off",
    /// Panics of applications and workers that were caught.
    PanicsCaught = Counter "panics_caught",
}

/// The metric of all drop reasons; the reason is the label.
pub const DROPPED: &str = "dropped_packets";

/// The numbers of one worker.
///
/// One thread writes: an addition is a load and a store, so a second writer would lose counts,
/// though do no other harm. Anyone may read. Where there is a file, dropping the value unlinks
/// it, except while the thread unwinds; what a crash leaves behind can be [`read`].
#[derive(Debug)]
pub struct Counters {
    map: Mapping,
    path: Option<PathBuf>,
    owner: u32,
}

/// How many values there are.
const COUNT: usize = Counter::ALL.len() + DropReason::ALL.len();

impl Counters {
    /// Counters in memory that nobody else finds, for tests, simulations and hosts where no file
    /// can be written.
    ///
    /// # Errors
    /// When the host is out of memory.
    pub fn memfd(worker: u32) -> io::Result<Self> {
        let map = Mapping::memfd(c"corewire-stats", file::bytes(), Pages::Plain)?;
        file::write_header(&map, worker, 0);
        Ok(Self { map, path: None, owner: std::process::id() })
    }

    /// The file in which others can read them, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Adds `count`.
    #[inline]
    pub fn add(&self, counter: Counter, count: u64) {
        add(&self.values()[counter as usize], count);
    }

    /// Sets a gauge, or a counter that somebody else counts.
    #[inline]
    pub fn set(&self, counter: Counter, value: u64) {
        self.values()[counter as usize].store(value, Relaxed);
    }

    /// The present value.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.values()[counter as usize].load(Relaxed)
    }

    /// A packet died.
    #[inline]
    pub fn add_drop(&self, reason: DropReason) {
        self.add_drops(reason, 1);
    }

    /// `count` packets died.
    #[inline]
    pub fn add_drops(&self, reason: DropReason, count: u64) {
        add(&self.values()[Counter::ALL.len() + reason as usize], count);
    }

    /// How many packets died of `reason`.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.values()[Counter::ALL.len() + reason as usize].load(Relaxed)
    }

    /// How many packets died.
    #[must_use]
    pub fn all_drops(&self) -> u64 {
        self.values()[Counter::ALL.len()..].iter().map(|value| value.load(Relaxed)).sum()
    }

    #[inline]
    fn values(&self) -> &[AtomicU64] {
        self.map.words64(file::VALUES, COUNT)
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        // A forked child has no right to the file. A thread that unwinds leaves it to be read.
        if self.owner == std::process::id()
            && !std::thread::panicking()
            && let Some(path) = &self.path
        {
            // If somebody else has removed it, all the better.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Relaxed, and no read-modify-write: there is one writer, and readers want no order.
#[inline]
fn add(value: &AtomicU64, count: u64) {
    value.store(value.load(Relaxed).wrapping_add(count), Relaxed);
}

const _: () = assert!(Counter::ALL.len() <= u8::MAX as usize, "a counter is a byte");

#[cfg(test)]
mod tests;
