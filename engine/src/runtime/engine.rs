//! Started workers.

use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use corewire_drivers::env::Clock;
use corewire_drivers::ring::{Borrower, LendingConfig, lending};

use super::config::Idle;
use super::doorbell::Ringer;
use super::handle::{WorkerRef, network_down};
use super::setup::Builder;
use super::slow_thread::SlowThread;
use super::stats::Stats;
use super::threads::Ended;
use crate::control::snapshot::Snapshot;
use crate::control::{Answer, Command};
use crate::socket::ContextId;

/// Started workers: dropping the last clone ends them.
///
/// It is a guest in its process: no signal handler, panic hook or limit of the process is changed.
#[derive(Clone)]
pub struct Engine(Arc<Running>);

struct Running {
    shared: Arc<Shared>,
    threads: Mutex<Vec<Ended>>,
    slow_thread: Mutex<Option<SlowThread>>,
    /// Kernel sockets on the ports that the engine takes from the kernel.
    _reserved: Vec<UdpSocket>,
    notes: Notes,
    /// A forked child has the handle, and no threads.
    owner: u32,
}

/// What an engine has besides its workers.
#[derive(Default)]
pub(super) struct Background {
    pub(super) slow_thread: Option<SlowThread>,
    pub(super) reserved: Vec<UdpSocket>,
    pub(super) notes: Notes,
}

/// What there is to say, which grows while the engine runs.
pub(super) type Notes = Arc<Mutex<Vec<String>>>;

/// How an engine ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// Of each worker: whether every frame came home. Frames that applications still hold did
    /// not; nor did those of a worker that panicked.
    pub conserved: Vec<bool>,
}

impl Report {
    /// Whether every frame of every worker came home.
    #[must_use]
    pub fn is_conserved(&self) -> bool {
        self.conserved.iter().all(|conserved| *conserved)
    }
}

impl Engine {
    pub(super) fn new(shared: Arc<Shared>, threads: Vec<Ended>, background: Background) -> Self {
        let Background { slow_thread, reserved, notes } = background;
        let (threads, slow_thread) = (Mutex::new(threads), Mutex::new(slow_thread));
        let owner = std::process::id();
        Self(Arc::new(Running { shared, threads, slow_thread, _reserved: reserved, notes, owner }))
    }

    /// An engine to be started part by part, with workers, devices and memory of any kind.
    pub fn builder(snapshot: Arc<Snapshot>) -> Builder {
        Builder::new(snapshot)
    }

    /// What the workers counted, to be read at any time.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let workers = &self.0.shared.workers;
        Stats { workers: workers.iter().map(|worker| worker.handle.counters.clone()).collect() }
    }

    /// The world as the packet path sees it.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.shared.snapshot.load_full()
    }

    /// Lets every worker go by a new snapshot. Its generation must be another one.
    ///
    /// # Errors
    /// [`io::ErrorKind::NetworkDown`] when a worker is gone; the others go by it.
    pub fn set_snapshot(&self, snapshot: Arc<Snapshot>) -> io::Result<()> {
        self.0.shared.set_snapshot(&snapshot)
    }

    /// What there is to say about how it was started: who does what, and with how much memory;
    /// what of the kernel's world it can't use, and what has come to that since. For people, a
    /// line each; the lines that were there stay, and later ones follow them.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        lock(&self.0.notes).clone()
    }

    /// Ends the workers, whoever else has a handle, and says how they ended. Sockets fail with
    /// [`io::ErrorKind::NetworkDown`] from then on. A forked child, which has no worker, ends
    /// nothing and says nothing.
    pub fn shut_down(self) -> Report {
        self.0.stop()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({:?})", self.0.shared.workers)
    }
}

impl Running {
    fn stop(&self) -> Report {
        if self.owner != std::process::id() {
            return Report { conserved: Vec::new() };
        }
        // First: it tells the workers of changes.
        drop(lock(&self.slow_thread).take());
        self.shared.workers.iter().for_each(|worker| worker.handle.stop());
        let threads = std::mem::take(&mut *lock(&self.threads));
        let ended = threads.into_iter().map(|thread| thread.join().unwrap_or(false));
        Report { conserved: ended.collect() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the engine and all contexts share.
pub(crate) struct Shared {
    pub(crate) workers: Vec<WorkerRef>,
    pub(crate) clock: Clock,
    pub(crate) idle: Idle,
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// Which names of contexts are taken.
    names: Mutex<Vec<bool>>,
}

/// Contexts of one engine. Each has a place in every worker's list, which a turn walks.
const MAX_CONTEXTS: usize = 4096;

impl Shared {
    pub(super) fn new(
        workers: Vec<WorkerRef>,
        clock: Clock,
        idle: Idle,
        snapshot: Arc<Snapshot>,
    ) -> Self {
        let snapshot = ArcSwap::new(snapshot);
        Self { workers, clock, idle, snapshot, names: Mutex::new(Vec::new()) }
    }

    /// Lets every worker go by a new snapshot.
    ///
    /// # Errors
    /// [`io::ErrorKind::NetworkDown`] when a worker is gone; the others go by it.
    pub(super) fn set_snapshot(&self, snapshot: &Arc<Snapshot>) -> io::Result<()> {
        self.snapshot.store(snapshot.clone());
        let mut told = Ok(());
        for worker in &self.workers {
            let answer = worker.ask(Command::SetSnapshot(snapshot.clone()), None);
            if let Err(error) = answer {
                told = Err(error);
            }
        }
        told
    }

    /// Makes a context: its name, and an end of a hand-off with each worker.
    pub(crate) fn connect(
        &self,
        bell: &Ringer,
        config: LendingConfig,
    ) -> io::Result<(ContextId, Vec<Borrower>)> {
        let mut passed_over = Vec::new();
        let made = loop {
            let id = match self.take_name() {
                Ok(id) => id,
                Err(error) => break Err(error),
            };
            match self.introduce(id, bell, config) {
                Ok(Some(borrowers)) => break Ok((id, borrowers)),
                // Frames of the last context of that name are still out.
                Ok(None) => passed_over.push(id),
                Err(error) => {
                    passed_over.push(id);
                    break Err(error);
                }
            }
        };
        passed_over.into_iter().for_each(|id| self.give_name(id));
        made
    }

    fn introduce(
        &self,
        id: ContextId,
        bell: &Ringer,
        config: LendingConfig,
    ) -> io::Result<Option<Vec<Borrower>>> {
        let mut borrowers = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (lender, borrower) = lending::pair(&worker.handle.region, config)?;
            match worker.ask(Command::AddContext(id, lender), Some(bell.clone()))? {
                Answer::Done => borrowers.push(borrower),
                Answer::ContextTaken => return Ok(None),
                _ => return Err(network_down()),
            }
        }
        Ok(Some(borrowers))
    }

    fn take_name(&self) -> io::Result<ContextId> {
        let mut names = lock(&self.names);
        let place = match names.iter().position(|taken| !taken) {
            Some(place) => place,
            None if names.len() < MAX_CONTEXTS => {
                names.push(false);
                names.len() - 1
            }
            None => {
                let message = format!("this engine has {MAX_CONTEXTS} contexts; drop some");
                return Err(io::Error::new(io::ErrorKind::QuotaExceeded, message));
            }
        };
        names[place] = true;
        Ok(ContextId(place as u16))
    }

    /// The context is gone.
    pub(crate) fn give_name(&self, id: ContextId) {
        if let Some(taken) = lock(&self.names).get_mut(usize::from(id.0)) {
            *taken = false;
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({:?})", self.workers)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is whole between two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
