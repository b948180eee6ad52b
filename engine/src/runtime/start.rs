//! From a configuration to a started engine.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use corewire_drivers::af_xdp::{self, AfXdp, Attachment, Mode, RingSizes, Steering};
use corewire_drivers::device::{Capabilities, Device};
use corewire_drivers::env::Clock;
use corewire_drivers::env::stats::Directory;
use corewire_drivers::mem::Pool;

use super::config::{Config, ConfigError, Interface, Place, Plan, WorkerPlan};
use super::engine::{Background, Engine, Notes};
use super::setup::WorkerSetup;
use super::slow_thread::{SlowThread, wants};
use crate::control::SlowPath;
use crate::control::slow_path::SlowPathError;
use crate::control::snapshot::{self, Snapshot};
use crate::socket::{Application, NoApplication};

/// Why an engine could not be started. The message names the remedy.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// What is configured does not fit together.
    Config(ConfigError),
    /// A queue could not be opened, or the host lacks what it takes.
    Device(af_xdp::Error),
    /// The kernel's view of the network could not be read.
    Network(SlowPathError),
    /// A port that the engine is to take from the kernel is somebody else's.
    PortTaken {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// What the kernel says.
        source: io::Error,
    },
    /// The host refused a thread, memory or a descriptor.
    Host(io::Error),
}

impl Engine {
    /// Opens the queues of the configuration's interfaces and starts the workers.
    ///
    /// What there is to say about it stands in [`notes`](Self::notes): it prints nothing.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn from_config(config: Config) -> Result<Self, StartError> {
        Self::from_config_inline(config, |_| NoApplication)
    }

    /// As [`from_config`](Self::from_config), with an application in each worker's turn: what
    /// `make` makes for the worker of that number.
    ///
    /// # Errors
    /// As [`from_config`](Self::from_config).
    pub fn from_config_inline<A: Application + Send + 'static>(
        config: Config,
        make: impl FnMut(usize) -> A,
    ) -> Result<Self, StartError> {
        let plan = config.plan()?;
        plan.check_host()?;
        let clock = Clock::system();
        let (slow_path, snapshot, said) = SlowPath::new(plan.slow_path.clone(), clock.clone())?;
        let reserved = reserve(&plan, &snapshot)?;
        let (wants, waiter) = wants().map_err(StartError::Host)?;
        let directory = directory(&plan.statistics)?;
        let mut notes: Vec<String> = plan.to_string().lines().map(String::from).collect();
        notes.push(format!("clock: {}", clock.name()));
        notes.extend(said.into_iter().chain(directory.note().map(String::from)));
        let opened = Rc::new(RefCell::new(Opened::default()));
        let snapshot = Arc::new(snapshot);
        let mut builder = Self::builder(snapshot.clone())
            .turner(plan.turner)
            .idle(plan.idle)
            .ephemeral_ports(plan.ephemeral.clone())
            .want_neighbor(wants.closure())
            .clock(clock)
            .statistics(directory);
        let queues = Queues::new(&plan, &snapshot);
        for worker in &plan.workers {
            builder = builder.worker(setup(worker, &queues, &opened));
        }
        let mut failed = None;
        let started = builder.start_with(make, |shared| {
            notes.append(&mut opened.borrow_mut().notes);
            let notes = Notes::new(notes.into());
            let thread = SlowThread::start(slow_path, shared.clone(), notes.clone(), wants, waiter);
            let slow_thread = thread.map_err(|error| failed = Some(error)).ok();
            Background { slow_thread, reserved, notes }
        });
        match (started, failed, opened.take().error) {
            (_, _, Some(error)) => Err(error.into()),
            (_, Some(error), _) | (Err(error), ..) => Err(StartError::Host(error)),
            (Ok(engine), None, None) => Ok(engine),
        }
    }
}

/// What became of opening.
#[derive(Default)]
struct Opened {
    notes: Vec<String>,
    /// Why a queue could not be opened, with its cause and remedy.
    error: Option<af_xdp::Error>,
}

/// The interfaces whose queues are opened, one after the other.
#[derive(Clone)]
struct Queues {
    interfaces: Rc<[RefCell<Queued>]>,
    rings: RingSizes,
}

/// One interface whose queues are opened.
struct Queued {
    interface: Interface,
    steering: Steering,
    /// The modes that may still be tried, the best first.
    modes: Vec<Mode>,
    attachment: Option<Arc<Attachment>>,
}

impl Queues {
    fn new(plan: &Plan, snapshot: &Snapshot) -> Self {
        let queued = plan.interfaces.iter().zip(&snapshot.interfaces).map(|(interface, seen)| {
            let addresses: Vec<_> = addresses(seen).collect();
            RefCell::new(Queued {
                steering: interface.steering(&addresses, &plan.ephemeral),
                modes: interface.modes().to_vec(),
                interface: interface.clone(),
                attachment: None,
            })
        });
        Self { interfaces: queued.collect(), rings: plan.rings }
    }
}

impl Queued {
    /// Opens a queue in the best mode that the driver has; the first queue decides for all.
    fn open(
        &mut self,
        queue: u32,
        (rings, fill): (RingSizes, u32),
        pool: &mut Pool,
    ) -> Result<AfXdp, af_xdp::Error> {
        loop {
            let mode = self.modes.first().copied().unwrap_or(Mode::Generic);
            match self.open_in(mode, queue, (rings, fill), pool) {
                Ok(device) => {
                    self.modes.truncate(1);
                    return Ok(device);
                }
                Err(af_xdp::Error::NoZeroCopy { .. } | af_xdp::Error::NoXdp { .. })
                    if self.modes.len() > 1 =>
                {
                    self.attachment = None;
                    self.modes.remove(0);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn open_in(
        &mut self,
        mode: Mode,
        queue: u32,
        (rings, fill): (RingSizes, u32),
        pool: &mut Pool,
    ) -> Result<AfXdp, af_xdp::Error> {
        let name = self.interface.name();
        let attachment = match &self.attachment {
            Some(attachment) => attachment.clone(),
            None => {
                let new = Attachment::new(name, mode, &self.steering)?;
                self.attachment.insert(new).clone()
            }
        };
        let mut builder = AfXdp::builder(name).queue(queue).rings(rings).fill_target(fill);
        builder = builder.attachment(&attachment);
        if self.interface.is_multi_buffer() {
            builder = builder.multi_buffer();
        }
        if let Some(busy_poll) = self.interface.busy_polling() {
            builder = builder.busy_poll(busy_poll);
        }
        builder.open(pool)
    }
}

fn setup(worker: &WorkerPlan, queues: &Queues, opened: &Rc<RefCell<Opened>>) -> WorkerSetup {
    let mut setup = WorkerSetup::new().region(worker.region());
    if let Some(core) = worker.core {
        setup = setup.core(core);
    }
    for &(id, queue) in &worker.queues {
        let (queues, opened, fill) = (queues.clone(), opened.clone(), worker.memory.fill);
        setup = setup.open(id, move |pool| {
            let mut queued = queues.interfaces[usize::from(id.0)].borrow_mut();
            match queued.open(queue, (queues.rings, fill), pool) {
                Ok(device) => {
                    let Capabilities { name, mtu, .. } = device.capabilities();
                    opened.borrow_mut().notes.push(format!("{name}: open, MTU {mtu}"));
                    Ok(Box::new(device))
                }
                Err(error) => {
                    let message = error.to_string();
                    opened.borrow_mut().error = Some(error);
                    Err(io::Error::other(message))
                }
            }
        });
    }
    setup
}

/// Binds a kernel socket to every port that is taken by number, so that no other program gets it
/// and wonders where its packets are.
fn reserve(plan: &Plan, snapshot: &Snapshot) -> Result<Vec<UdpSocket>, StartError> {
    let mut reserved = Vec::new();
    for (interface, seen) in plan.interfaces.iter().zip(&snapshot.interfaces) {
        for address in addresses(seen) {
            for port in interface.taken_ports().iter().copied() {
                let socket = UdpSocket::bind((address, port));
                let taken = |source| StartError::PortTaken { address, port, source };
                reserved.push(socket.map_err(taken)?);
            }
        }
    }
    Ok(reserved)
}

/// The addresses whose packets are taken: IPv6 is not processed yet, so it stays with the kernel.
fn addresses(interface: &snapshot::Interface) -> impl Iterator<Item = IpAddr> + '_ {
    interface.addresses.iter().map(|ours| ours.address).filter(IpAddr::is_ipv4)
}

fn directory(place: &Place) -> Result<Directory, StartError> {
    let directory = match place {
        Place::System => {
            let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
            Directory::open(runtime.as_deref())
        }
        Place::Directory(path) => Directory::at(path).map_err(StartError::Host)?,
        Place::Memory => Directory::none(),
    };
    // What it can't remove, the next engine may.
    let _ = directory.reap();
    Ok(directory)
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Device(error) => error.fmt(f),
            Self::Network(error) => error.fmt(f),
            Self::PortTaken { address, port, source } => write!(
                f,
                "port {port} of {address} can't be taken from the kernel ({source}); stop the \
                 program that has it, or configure another port"
            ),
            Self::Host(error) => error.fmt(f),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Config(error) => error.source(),
            Self::Device(error) => error.source(),
            Self::Network(error) => error.source(),
            Self::PortTaken { source, .. } => Some(source),
            Self::Host(error) => error.source(),
        }
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<af_xdp::Error> for StartError {
    fn from(error: af_xdp::Error) -> Self {
        Self::Device(error)
    }
}

impl From<SlowPathError> for StartError {
    fn from(error: SlowPathError) -> Self {
        Self::Network(error)
    }
}

/// For `main` functions and callers that know nothing of engines.
impl From<StartError> for io::Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Device(error) => error.into(),
            StartError::Host(error) => error,
            other => Self::new(io::ErrorKind::InvalidInput, other),
        }
    }
}
