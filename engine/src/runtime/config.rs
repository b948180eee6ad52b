//! What an engine is to be: a builder, checked before anything is opened.
//!
//! ```
//! use corewire::runtime::config::{Config, Interface};
//!
//! let config = Config::new()
//!     .interface(Interface::ports("eth0", [7, 53]).queues([0, 1]))
//!     .cores([2, 3]);
//! let plan = config.plan()?;
//! println!("{plan}");
//! # Ok::<(), corewire::runtime::config::ConfigError>(())
//! ```

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use corewire_drivers::af_xdp::{BusyPoll, Mode, PortSet, RingSizes, Steering};
use corewire_drivers::env::limits;
use corewire_drivers::mem::{FrameSize, Pages};

/// What does not fit together, and how to mend it.
mod error;
/// How many frames, and why so many.
mod memory;
/// Who does what: the workers, their queues and their memory.
mod plan;

pub use error::ConfigError;
pub use memory::Memory;
pub use plan::{Plan, WorkerPlan};

use crate::control::slow_path::Attachment;
use crate::control::snapshot::{InterfaceAddress, InterfaceId, Route};
use crate::packet::MacAddr;

/// What an engine is to be.
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing by itself"]
pub struct Config {
    interfaces: Vec<Interface>,
    cores: Vec<usize>,
    turner: Turner,
    idle: Idle,
    profile: Profile,
    rings: Option<RingSizes>,
    fill: Option<u32>,
    frames: Option<u32>,
    frame_size: FrameSize,
    pages: Pages,
    contexts: u32,
    loans: Option<u32>,
    ephemeral: RangeInclusive<u16>,
    routes: Vec<Route>,
    neighbors: Vec<(InterfaceId, IpAddr, MacAddr)>,
    statistics: Place,
}

/// Whose thread turns a worker.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Turner {
    /// A thread of its own, pinned to its core.
    #[default]
    Dedicated,
    /// The application's threads, inside their calls; a helper thread when they don't come.
    CallerDriven,
    /// A thread of its own, of whose turn the application is a part.
    Inline,
}

/// What a worker does that has nothing to do.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Idle {
    /// Turns on: the lowest latency, and a core that is always busy.
    Spin,
    /// Turns on for so long, then sleeps until something comes.
    Adaptive {
        /// How long it turns on. Shorter, and packets that follow each other find it asleep,
        /// which costs a wake-up of some microseconds; longer, and an idle engine burns more.
        spin: Duration,
    },
    /// Sleeps at once until something comes.
    Interrupt,
}

impl Default for Idle {
    /// 50 µs: several round trips within a rack, so that a conversation is not slowed down, and
    /// less than 1 % of a core at a hundred wake-ups a second.
    fn default() -> Self {
        Self::Adaptive { spin: Duration::from_micros(50) }
    }
}

/// What the sizes are chosen for. Each can be set by itself too.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Profile {
    /// Few frames with the NIC, so that they stay in the cache: 512 KiB a queue.
    Latency,
    /// As many as a burst of 0.2 ms at 10 million packets a second.
    #[default]
    Balanced,
    /// Twice as many.
    Throughput,
}

/// Where the statistics file is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Place {
    /// Where it belongs: see `env::stats::Directory::open`.
    #[default]
    System,
    /// In this directory.
    Directory(PathBuf),
    /// Nowhere: nobody outside of the process reads it.
    Memory,
}

/// One interface of the engine.
#[derive(Clone, Debug)]
#[must_use = "an interface does nothing by itself"]
pub struct Interface {
    name: String,
    takes: Takes,
    queues: Vec<u32>,
    mode: Option<Mode>,
    multi_buffer: bool,
    busy_poll: Option<BusyPoll>,
    may_cut_off: bool,
}

/// Which packets of an interface come to the engine.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Takes {
    Ports(Vec<u16>),
    Address(Vec<InterfaceAddress>),
    Exclusive(Vec<InterfaceAddress>),
}

impl Interface {
    /// Takes these UDP ports of the addresses that the kernel has on interface `name`, and the
    /// engine's ephemeral ports (steering mode `ports`).
    pub fn ports(name: impl Into<String>, udp: impl IntoIterator<Item = u16>) -> Self {
        Self::new(name, Takes::Ports(udp.into_iter().collect()))
    }

    /// Takes this address, which the kernel does not have, with the bits that it shares with its
    /// neighbours (steering mode `address`).
    pub fn address(name: impl Into<String>, address: IpAddr, prefix_len: u8) -> Self {
        let ours = vec![InterfaceAddress::new(address, prefix_len)];
        Self::new(name, Takes::Address(ours))
    }

    /// Takes everything that arrives, and has this address (steering mode `exclusive`).
    pub fn exclusive(name: impl Into<String>, address: IpAddr, prefix_len: u8) -> Self {
        let ours = vec![InterfaceAddress::new(address, prefix_len)];
        Self::new(name, Takes::Exclusive(ours))
    }

    fn new(name: impl Into<String>, takes: Takes) -> Self {
        Self {
            name: name.into(),
            takes,
            queues: vec![0],
            mode: None,
            multi_buffer: false,
            busy_poll: None,
            may_cut_off: false,
        }
    }

    /// One address more; in mode `ports` addresses are the kernel's and this is refused by
    /// [`Config::plan`].
    pub fn and_address(mut self, address: IpAddr, prefix_len: u8) -> Self {
        let more = InterfaceAddress::new(address, prefix_len);
        match &mut self.takes {
            Takes::Address(ours) | Takes::Exclusive(ours) => ours.push(more),
            // Remembered by a port that nobody can ask for.
            Takes::Ports(ports) => ports.push(0),
        }
        self
    }

    /// The queues: the first is the first worker's, and so on. Queue 0 alone without this.
    pub fn queues(mut self, queues: impl IntoIterator<Item = u32>) -> Self {
        self.queues = queues.into_iter().collect();
        self
    }

    /// How frames come to us. Without this the best that the driver has is taken, and said.
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Packets of several frames, for an MTU that one frame does not hold.
    pub const fn multi_buffer(mut self) -> Self {
        self.multi_buffer = true;
        self
    }

    /// The worker's system calls poll the NIC.
    pub const fn busy_poll(mut self, busy_poll: BusyPoll) -> Self {
        self.busy_poll = Some(busy_poll);
        self
    }

    /// Takes the device even if the default route or this ssh connection goes over it.
    pub const fn allow_cut_off(mut self) -> Self {
        self.may_cut_off = true;
        self
    }

    /// The kernel's name for it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ways in which frames may come, the best first: to be asked for one after the other.
    #[must_use]
    pub const fn modes(&self) -> &[Mode] {
        match &self.mode {
            Some(mode) => std::slice::from_ref(mode),
            None => &[Mode::ZeroCopy, Mode::Copy, Mode::Generic],
        }
    }

    /// Whether packets may have several frames.
    #[must_use]
    pub const fn is_multi_buffer(&self) -> bool {
        self.multi_buffer
    }

    /// How the worker's system calls poll the NIC, if they do.
    #[must_use]
    pub const fn busy_polling(&self) -> Option<BusyPoll> {
        self.busy_poll
    }

    /// The rules for the steering program. `addresses` are those that the kernel has on the
    /// interface, which count in mode `ports` alone.
    #[must_use]
    pub fn steering(&self, addresses: &[IpAddr], ephemeral: &RangeInclusive<u16>) -> Steering {
        let own = |ours: &[InterfaceAddress]| -> Vec<IpAddr> {
            ours.iter().map(|ours| ours.address).collect()
        };
        let steering = match &self.takes {
            Takes::Ports(ports) => {
                let udp = PortSet::of(ports).with_range(ephemeral.clone());
                Steering::ports(addresses, PortSet::none(), udp)
            }
            Takes::Address(ours) => Steering::address(&own(ours)),
            Takes::Exclusive(_) => Steering::exclusive(),
        };
        if self.may_cut_off { steering.allow_cut_off() } else { steering }
    }

    /// Ports that are taken from the kernel by number.
    #[must_use]
    pub fn taken_ports(&self) -> &[u16] {
        match &self.takes {
            Takes::Ports(ports) => ports,
            Takes::Address(_) | Takes::Exclusive(_) => &[],
        }
    }

    /// The interface as the slow path wants to know it.
    #[must_use]
    pub fn attachment(&self) -> Attachment {
        let addresses = match &self.takes {
            Takes::Ports(_) => None,
            Takes::Address(ours) | Takes::Exclusive(ours) => Some(ours.clone()),
        };
        Attachment { name: self.name.clone(), addresses, groups: Vec::new() }
    }
}

impl Config {
    /// No interface yet; one dedicated worker a queue, not pinned; the balanced profile.
    pub const fn new() -> Self {
        Self {
            interfaces: Vec::new(),
            cores: Vec::new(),
            turner: Turner::Dedicated,
            idle: Idle::Adaptive { spin: Duration::from_micros(50) },
            profile: Profile::Balanced,
            rings: None,
            fill: None,
            frames: None,
            frame_size: FrameSize::Bytes2048,
            pages: Pages::Auto,
            contexts: DEFAULT_CONTEXTS,
            loans: None,
            ephemeral: DEFAULT_EPHEMERAL,
            routes: Vec::new(),
            neighbors: Vec::new(),
            statistics: Place::System,
        }
    }

    /// Adds an interface; the first has id 0, and so on.
    pub fn interface(mut self, interface: Interface) -> Self {
        self.interfaces.push(interface);
        self
    }

    /// Pins the first worker to the first core, and so on: as many as there are workers.
    pub fn cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.cores = cores.into_iter().collect();
        self
    }

    /// Whose thread turns the workers.
    pub const fn turner(mut self, turner: Turner) -> Self {
        self.turner = turner;
        self
    }

    /// What workers do that have nothing to do.
    pub const fn idle(mut self, idle: Idle) -> Self {
        self.idle = idle;
        self
    }

    /// What the sizes are chosen for, where they are not set by themselves.
    pub const fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Entries of each queue's four rings.
    pub const fn rings(mut self, rings: RingSizes) -> Self {
        self.rings = Some(rings);
        self
    }

    /// Free frames that each queue keeps with the kernel.
    pub const fn fill(mut self, frames: u32) -> Self {
        self.fill = Some(frames);
        self
    }

    /// Frames of each worker, where the formula of [`Memory`] is not to count.
    pub const fn frames(mut self, frames: u32) -> Self {
        self.frames = Some(frames);
        self
    }

    /// Bytes of a frame.
    pub const fn frame_size(mut self, size: FrameSize) -> Self {
        self.frame_size = size;
        self
    }

    /// Pages of the frames.
    pub const fn pages(mut self, pages: Pages) -> Self {
        self.pages = pages;
        self
    }

    /// How many contexts (application threads) there may be at a time.
    pub const fn contexts(mut self, contexts: u32) -> Self {
        self.contexts = contexts;
        self
    }

    /// Received frames of each worker that applications may hold, all together.
    pub const fn loans(mut self, frames: u32) -> Self {
        self.loans = Some(frames);
        self
    }

    /// The ports that sockets get which ask for none. They are taken from the kernel in mode
    /// `ports`.
    pub const fn ephemeral(mut self, ports: RangeInclusive<u16>) -> Self {
        self.ephemeral = ports;
        self
    }

    /// A route that counts before the kernel's.
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// A neighbour whose station address need not be asked for.
    pub fn neighbor(mut self, interface: InterfaceId, address: IpAddr, mac: MacAddr) -> Self {
        self.neighbors.push((interface, address, mac));
        self
    }

    /// Where the statistics file is.
    pub fn statistics(mut self, place: Place) -> Self {
        self.statistics = place;
        self
    }

    /// Entries of a queue's rings, and free frames that it keeps with the kernel.
    fn queue_sizes(&self) -> (RingSizes, u32) {
        let entries = match self.profile {
            Profile::Latency => 512,
            Profile::Balanced => 2048,
            Profile::Throughput => 4096,
        };
        let profile = RingSizes { rx: entries, tx: entries, fill: entries, completion: entries };
        let rings = self.rings.unwrap_or(profile);
        let fill = match self.profile {
            // 512 KiB of frames stay in the second-level cache of every server core of the last
            // ten years. Fewer than four bursts, and a worker that is busy for 10 µs loses some.
            Profile::Latency => rings.rx.min(256),
            Profile::Balanced | Profile::Throughput => rings.rx,
        };
        (rings, self.fill.unwrap_or(fill))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

/// Application threads with a context of their own: as many as a large host has cores; 64
/// credits each are 2 MiB.
pub const DEFAULT_CONTEXTS: u32 = 16;

/// Behind the kernel's own ephemeral ports (32768 to 60999, net.ipv4.ip_local_port_range), so that
/// neither takes the other's.
pub const DEFAULT_EPHEMERAL: RangeInclusive<u16> = 61000..=65535;

/// Frames lent to applications, by default: as many as 32 sockets may have unread at once. Fewer,
/// and applications that read late lose packets; more, and memory is locked for nothing.
pub const DEFAULT_LOANS: u32 = 32 * limits::PUBLISH_MAX as u32;

#[cfg(test)]
mod tests;
