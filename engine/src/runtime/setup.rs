//! What is to be started.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use corewire_drivers::device::Device;
use corewire_drivers::env::stats::Directory;
use corewire_drivers::env::{Clock, Counters, Rng};
use corewire_drivers::mem::{Pool, Region, RegionConfig};

use super::config::{DEFAULT_EPHEMERAL, Idle, Turner};
use super::doorbell;
use super::driver::{Driver, WantNeighbor};
use super::engine::{Background, Engine, Shared};
use super::handle::{Handle, WorkerRef};

use super::threads;
use crate::control::snapshot::{InterfaceId, Snapshot};
use crate::socket::{Application, NoApplication};
use crate::worker::Worker;

/// What one worker gets.
#[derive(Default)]
#[must_use = "it does nothing until an engine is started with it"]
pub struct WorkerSetup {
    region: RegionConfig,
    core: Option<usize>,
    devices: Vec<(InterfaceId, Open)>,
}

type Open = Box<dyn FnOnce(&mut Pool) -> io::Result<Box<dyn Device>>>;

impl WorkerSetup {
    /// A worker with the default memory, no device and no core of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// How much memory it has, and of which kind.
    pub fn region(mut self, region: RegionConfig) -> Self {
        self.region = region;
        self
    }

    /// The core on which its thread runs; any without this.
    pub const fn core(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// Adds a queue of `interface`.
    pub fn device(self, interface: InterfaceId, device: impl Device + 'static) -> Self {
        self.open(interface, |_| Ok(Box::new(device)))
    }

    /// Adds a queue of `interface` that `open` opens with frames of the worker's pool, on the
    /// thread that starts the engine.
    pub fn open(
        mut self,
        interface: InterfaceId,
        open: impl FnOnce(&mut Pool) -> io::Result<Box<dyn Device>> + 'static,
    ) -> Self {
        self.devices.push((interface, Box::new(open)));
        self
    }
}

impl fmt::Debug for WorkerSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerSetup({:?}, {} devices)", self.region, self.devices.len())
    }
}

/// An engine to be started, part by part. [`Engine::from_config`] is the short way.
#[must_use = "it does nothing until it is started"]
pub struct Builder {
    snapshot: Arc<Snapshot>,
    workers: Vec<WorkerSetup>,
    turner: Turner,
    idle: Idle,
    ephemeral: RangeInclusive<u16>,
    statistics: Directory,
    want_neighbor: Option<WantNeighbor>,
    clock: Option<Clock>,
}

impl Builder {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            workers: Vec::new(),
            turner: Turner::default(),
            idle: Idle::default(),
            ephemeral: DEFAULT_EPHEMERAL,
            statistics: Directory::none(),
            want_neighbor: None,
            clock: None,
        }
    }

    /// Adds a worker.
    pub fn worker(mut self, worker: WorkerSetup) -> Self {
        self.workers.push(worker);
        self
    }

    /// Who turns the workers.
    pub const fn turner(mut self, turner: Turner) -> Self {
        self.turner = turner;
        self
    }

    /// What they do while there is nothing to do.
    pub const fn idle(mut self, idle: Idle) -> Self {
        self.idle = idle;
        self
    }

    /// Ports that sockets get which ask for none.
    pub const fn ephemeral_ports(mut self, ports: RangeInclusive<u16>) -> Self {
        self.ephemeral = ports;
        self
    }

    /// Where others can read what the workers count; nowhere without this.
    pub fn statistics(mut self, directory: Directory) -> Self {
        self.statistics = directory;
        self
    }

    /// What has the kernel find a neighbour, on interfaces of which the snapshot says so.
    pub(super) fn want_neighbor(mut self, want: WantNeighbor) -> Self {
        self.want_neighbor = Some(want);
        self
    }

    /// The clock, where the world outside of the workers has it already.
    pub(super) fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Starts the engine; all sockets belong to contexts.
    ///
    /// # Errors
    /// No worker, or several that applications are to turn; no memory; a device that can't be
    /// opened; a core that this process may not use.
    pub fn start(self) -> io::Result<Engine> {
        self.start_inline(|_| NoApplication)
    }

    /// Starts the engine with an application in each worker's turn: what `make` makes for the
    /// worker of that number.
    ///
    /// # Errors
    /// As [`start`](Self::start). Applications in the turn need threads of the workers' own.
    pub fn start_inline<A: Application + Send + 'static>(
        self,
        make: impl FnMut(usize) -> A,
    ) -> io::Result<Engine> {
        self.start_with(make, |_| Background::default())
    }

    pub(super) fn start_with<A: Application + Send + 'static>(
        mut self,
        mut make: impl FnMut(usize) -> A,
        background: impl FnOnce(&Arc<Shared>) -> Background,
    ) -> io::Result<Engine> {
        let caller_driven = self.turner == Turner::CallerDriven;
        self.check(caller_driven && size_of::<A>() > 0)?;
        let (idle, clock) = (self.idle, self.clock.take().unwrap_or_else(Clock::system));
        let cores: Vec<_> = self.workers.iter().map(|worker| worker.core).collect();
        let (mut drivers, snapshot) = (self.drivers(&clock)?, self.snapshot.clone());
        introduce(&mut drivers);
        let handles: Vec<_> = drivers.iter().map(|driver| driver.handle.clone()).collect();
        let (mut workers, mut threads) = (Vec::new(), Vec::new());
        let start = || {
            for (driver, core) in drivers.into_iter().zip(cores) {
                let handle = driver.handle.clone();
                if caller_driven {
                    let turner = Arc::new(super::caller::Turner::new(driver));
                    let worker = WorkerRef { handle, turner: Some(turner.clone()) };
                    workers.push(worker.clone());
                    threads.push(threads::help(worker, turner, clock.clone())?);
                } else {
                    let application = make(handle.number);
                    threads.push(threads::dedicate(driver, application, idle, core)?);
                    workers.push(WorkerRef { handle, turner: None });
                }
            }
            Ok(())
        };
        let started: io::Result<()> = start();
        if let Err(error) = started {
            handles.iter().for_each(|handle| handle.stop());
            return Err(error);
        }
        let shared = Arc::new(Shared::new(workers, clock, idle, snapshot));
        let background = background(&shared);
        Ok(Engine::new(shared, threads, background))
    }

    /// The one worker, to be turned by whoever has it.
    pub(crate) fn single(mut self) -> io::Result<(Driver, Idle)> {
        self.check(self.workers.len() != 1)?;
        let clock = Clock::system();
        let driver = self.drivers(&clock)?.pop();
        let driver = driver.ok_or_else(|| io::Error::other("a worker was asked for"))?;
        Ok((driver, self.idle))
    }

    fn check(&self, inline_in_caller: bool) -> io::Result<()> {
        let message = if self.workers.is_empty() {
            "an engine needs a worker"
        } else if self.turner == Turner::CallerDriven && self.workers.len() > 1 {
            "callers turn one worker; start several engines, or let threads turn them (dedicated)"
        } else if inline_in_caller {
            "an application in the turn needs one worker that a thread turns (dedicated), or that \
             is a value of yours (InlineWorker)"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }

    /// The workers, with their devices open.
    fn drivers(&mut self, clock: &Clock) -> io::Result<Vec<Driver>> {
        let setups = std::mem::take(&mut self.workers);
        let mut drivers = Vec::with_capacity(setups.len());
        for (number, setup) in setups.into_iter().enumerate() {
            drivers.push(self.driver(number, setup, clock)?);
        }
        Ok(drivers)
    }

    fn driver(&self, number: usize, setup: WorkerSetup, clock: &Clock) -> io::Result<Driver> {
        let mut pool = Pool::new(Region::new(&setup.region)?)?;
        let region = pool.region().clone();
        let counters: Arc<Counters> = Arc::new(self.statistics.counters(number as u32)?);
        let mut devices = Vec::with_capacity(setup.devices.len());
        for (interface, open) in setup.devices {
            devices.push((interface, open(&mut pool)?));
        }
        let (snapshot, ephemeral) = (self.snapshot.clone(), self.ephemeral.clone());
        let rng = Rng::from_os()?;
        let mut worker = Worker::new(pool, snapshot, counters.clone(), rng, ephemeral);
        for (interface, device) in devices {
            worker.attach(interface, device);
        }
        let (waiter, bell) = doorbell::doorbell()?;
        let handle = Arc::new(Handle::new(number, bell, region, counters));
        Ok(Driver::new(worker, handle, waiter, clock.clone(), self.want_neighbor.clone()))
    }
}

/// Tells each worker of the others.
fn introduce(drivers: &mut [Driver]) {
    let all: Vec<_> = drivers.iter().map(|driver| driver.handle.clone()).collect();
    for driver in drivers {
        let own = driver.handle.number;
        driver.others = all.iter().filter(|other| other.number != own).cloned().collect();
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Builder({:?}, {:?}, {:?})", self.workers, self.turner, self.idle)
    }
}
