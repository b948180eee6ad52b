//! Who does what: the workers, their queues and their memory.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use corewire_drivers::af_xdp::{self, RingSizes};
use corewire_drivers::mem::{Pages, RegionConfig};

use super::{Config, ConfigError, Idle, Interface, Memory, Place, Takes, Turner};
use crate::control::slow_path::SlowPathConfig;
use crate::control::snapshot::{self, InterfaceId, MAX_INTERFACES, Snapshot};
use crate::packet::MacAddr;

/// A checked configuration: what to open, and who gets what.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The interfaces; the place is the id.
    pub interfaces: Vec<Interface>,
    /// The workers.
    pub workers: Vec<WorkerPlan>,
    /// Entries of each queue's four rings.
    pub rings: RingSizes,
    /// Whose thread turns the workers.
    pub turner: Turner,
    /// What workers do that have nothing to do.
    pub idle: Idle,
    /// Contexts that there may be at a time.
    pub contexts: u32,
    /// The ports of sockets that ask for none.
    pub ephemeral: RangeInclusive<u16>,
    /// Where the statistics file is.
    pub statistics: Place,
    /// What the slow path is to look at.
    pub slow_path: SlowPathConfig,
}

/// One worker.
#[derive(Clone, Debug)]
pub struct WorkerPlan {
    /// Counted from 0.
    pub number: u32,
    /// The core that its thread is pinned to.
    pub core: Option<usize>,
    /// Its queues: interface, and the queue of it.
    pub queues: Vec<(InterfaceId, u32)>,
    /// Its frames.
    pub memory: Memory,
    /// Pages of the frames.
    pub pages: Pages,
}

impl WorkerPlan {
    /// The worker's region.
    #[must_use]
    pub fn region(&self) -> RegionConfig {
        let Memory { frame_size, .. } = self.memory;
        RegionConfig { frames: self.memory.frames(), frame_size, pages: self.pages }
    }
}

impl Config {
    /// Checks everything that can be checked without the host, and says who does what.
    ///
    /// # Errors
    /// The first thing that does not fit together, and how to mend it.
    pub fn plan(&self) -> Result<Plan, ConfigError> {
        self.check_interfaces()?;
        let count = self.interfaces.iter().map(|i| i.queues.len()).max().unwrap_or(0);
        self.check_cores(count)?;
        if self.ephemeral.is_empty() || *self.ephemeral.start() == 0 {
            return Err(ConfigError::Ephemeral(self.ephemeral.clone()));
        }
        if self.contexts == 0 {
            return Err(ConfigError::NoContexts);
        }
        let workers = (0..count).map(|place| self.worker(place)).collect::<Result<_, _>>()?;
        let slow_path = SlowPathConfig {
            interfaces: self.interfaces.iter().map(Interface::attachment).collect(),
            routes: self.routes.clone(),
            neighbors: self.neighbors.clone(),
        };
        check_addresses(&slow_path)?;
        Ok(Plan {
            interfaces: self.interfaces.clone(),
            workers,
            rings: self.queue_sizes().0,
            turner: self.turner,
            idle: self.idle,
            contexts: self.contexts,
            ephemeral: self.ephemeral.clone(),
            statistics: self.statistics.clone(),
            slow_path,
        })
    }

    fn worker(&self, place: usize) -> Result<WorkerPlan, ConfigError> {
        let mine = |(id, interface): (usize, &Interface)| {
            interface.queues.get(place).map(|queue| (InterfaceId(id as u8), *queue))
        };
        let queues: Vec<_> = self.interfaces.iter().enumerate().filter_map(mine).collect();
        Ok(WorkerPlan {
            number: place as u32,
            core: self.cores.get(place).copied(),
            memory: Memory::new(self, queues.len() as u32)?,
            queues,
            pages: self.pages,
        })
    }

    fn check_interfaces(&self) -> Result<(), ConfigError> {
        if self.interfaces.is_empty() {
            return Err(ConfigError::NoInterface);
        }
        if self.interfaces.len() > MAX_INTERFACES {
            return Err(ConfigError::TooManyInterfaces(self.interfaces.len()));
        }
        let mut names = BTreeSet::new();
        for interface in &self.interfaces {
            let name = || interface.name.clone();
            if !names.insert(interface.name.as_str()) {
                return Err(ConfigError::RepeatedInterface(name()));
            }
            if interface.queues.is_empty() {
                return Err(ConfigError::NoQueue(name()));
            }
            let mut queues = BTreeSet::new();
            if let Some(twice) = interface.queues.iter().find(|queue| !queues.insert(**queue)) {
                return Err(ConfigError::RepeatedQueue { interface: name(), queue: *twice });
            }
            if let Takes::Ports(ports) = &interface.takes
                && ports.contains(&0)
            {
                return Err(ConfigError::PortZero(name()));
            }
        }
        Ok(())
    }

    fn check_cores(&self, workers: usize) -> Result<(), ConfigError> {
        if self.cores.is_empty() {
            return Ok(());
        }
        if self.turner == Turner::CallerDriven {
            return Err(ConfigError::CallerOnCores);
        }
        if self.cores.len() != workers {
            return Err(ConfigError::CoreCount { cores: self.cores.len(), workers });
        }
        let mut cores = BTreeSet::new();
        match self.cores.iter().find(|core| !cores.insert(**core)) {
            Some(twice) => Err(ConfigError::RepeatedCore(*twice)),
            None => Ok(()),
        }
    }
}

/// A snapshot of interfaces that are as they should be has the addresses, routes and neighbours
/// of the configuration, or says why it can't.
fn check_addresses(config: &SlowPathConfig) -> Result<(), ConfigError> {
    let mut builder = Snapshot::builder(0);
    for (place, attachment) in config.interfaces.iter().enumerate() {
        let id = InterfaceId(place as u8);
        let mut interface =
            snapshot::Interface::ethernet(id, &attachment.name, MacAddr::UNSPECIFIED, 1500);
        interface.addresses = attachment.addresses.clone().unwrap_or_default();
        builder = builder.interface(interface);
    }
    builder = config.routes.iter().fold(builder, |builder, route| builder.route(*route));
    let neighbors = config.neighbors.iter();
    builder = neighbors.fold(builder, |builder, (id, ip, mac)| builder.neighbor(*id, *ip, *mac));
    builder.build().map(|_| ()).map_err(ConfigError::Snapshot)
}

impl Plan {
    /// Bytes that will be locked, and count against RLIMIT_MEMLOCK.
    #[must_use]
    pub fn locked_bytes(&self) -> u64 {
        self.workers.iter().map(|worker| worker.memory.locked_bytes()).sum()
    }

    /// Whether this host lets this process have the cores and the memory.
    ///
    /// # Errors
    /// A core outside of the cpuset; memory beyond what may be locked; each with its remedy.
    pub fn check_host(&self) -> Result<(), af_xdp::Error> {
        self.workers.iter().filter_map(|worker| worker.core).try_for_each(af_xdp::check_core)?;
        af_xdp::check_memlock(self.locked_bytes())
    }
}

/// The start-up report: a line a worker.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, worker) in self.workers.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            write!(f, "worker {}: ", worker.number)?;
            match worker.core {
                Some(core) => write!(f, "core {core}")?,
                None => f.write_str("no core of its own")?,
            }
            for (id, queue) in &worker.queues {
                let name = self.interfaces.get(usize::from(id.0)).map_or("?", Interface::name);
                write!(f, ", {name} queue {queue}")?;
            }
            write!(f, ", {}", worker.memory)?;
        }
        Ok(())
    }
}
