//! What everybody but its own thread knows of a worker.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::mpsc::TryRecvError;

use corewire_drivers::env::{Counter, Counters, Instant};
use corewire_drivers::mem::Region;

use super::caller::{Panicked, Ran, Turned, Turner};
use super::doorbell::{Patience, Ringer};
use super::driver::Driver;
use super::idle::IdleSince;
use super::mailbox::Mailbox;
use crate::control::{Answer, Command};
use crate::socket::NoApplication;

/// What everybody but its own thread knows of a worker.
pub(crate) struct Handle {
    pub(super) number: usize,
    pub(super) mail: Mailbox,
    pub(super) region: Arc<Region>,
    pub(super) counters: Arc<Counters>,
    state: AtomicU8,
}

/// It is to end.
const STOPPING: u8 = 1;
/// It has ended, or died: nobody turns it any more.
const ENDED: u8 = 2;
/// All of its devices are gone.
const CUT_OFF: u8 = 4;

impl Handle {
    pub(super) fn new(
        number: usize,
        bell: Ringer,
        region: Arc<Region>,
        counters: Arc<Counters>,
    ) -> Self {
        Self { number, mail: Mailbox::new(bell), region, counters, state: AtomicU8::new(0) }
    }

    /// Whether nothing will come from it any more.
    #[inline]
    pub(crate) fn is_down(&self) -> bool {
        self.state.load(Relaxed) & (ENDED | CUT_OFF) != 0
    }

    /// Wakes it if it sleeps.
    #[inline]
    pub(crate) fn ring(&self) {
        self.mail.bell().ring();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state.load(Relaxed) & STOPPING != 0
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state.load(Relaxed) & ENDED != 0
    }

    /// Whether all of its devices are gone.
    pub(super) fn is_cut_off(&self) -> bool {
        self.state.load(Relaxed) & CUT_OFF != 0
    }

    /// Makes it end.
    pub(super) fn stop(&self) {
        self.state.fetch_or(STOPPING, Relaxed);
        self.mail.bell().ring();
    }

    /// It has ended, or died.
    pub(super) fn end(&self) {
        self.state.fetch_or(ENDED, Relaxed);
        self.mail.close();
    }

    /// All of its devices are gone. True the first time.
    pub(super) fn cut_off(&self) -> bool {
        self.state.fetch_or(CUT_OFF, Relaxed) & CUT_OFF == 0
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}", self.number)
    }
}

/// A worker as applications reach it.
#[derive(Clone, Debug)]
pub(crate) struct WorkerRef {
    pub(crate) handle: Arc<Handle>,
    /// Where applications turn it themselves.
    pub(super) turner: Option<Arc<Turner<Driver>>>,
}

impl WorkerRef {
    /// Lets the worker see what was published to it: it is woken if it sleeps, or turned.
    #[inline]
    pub(crate) fn kick(&self) {
        match &self.turner {
            None => {
                self.handle.mail.bell().ring();
            }
            Some(turner) => self.turn(turner),
        }
    }

    /// Makes a turn where applications turn the worker themselves: something may have come.
    #[inline]
    pub(crate) fn poll(&self) {
        if let Some(turner) = &self.turner {
            self.turn(turner);
        }
    }

    #[inline]
    fn turn(&self, turner: &Turner<Driver>) {
        if self.handle.has_ended() || self.handle.is_stopping() {
            // Whoever ends the worker needs the role.
            return;
        }
        match self.guard(|| turner.run(turn_once)) {
            // It may sleep in a turn.
            Some(Ran::Elsewhere) => {
                self.handle.mail.bell().ring();
            }
            Some(Ran::Here) | None => {}
        }
    }

    /// Runs a turn in which the worker may panic: then it has ended.
    fn guard<R>(&self, turn: impl FnOnce() -> Result<R, Panicked>) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(turn)) {
            Ok(Ok(result)) => Some(result),
            Ok(Err(Panicked)) => None,
            Err(_) => {
                self.handle.counters.add(Counter::PanicsCaught, 1);
                self.handle.end();
                None
            }
        }
    }

    /// Whether applications turn it themselves.
    pub(crate) const fn is_caller_driven(&self) -> bool {
        self.turner.is_some()
    }

    /// Turns the worker, where applications do, until `ready` says so; false when the deadline
    /// came first, or there is nothing to turn.
    pub(crate) fn wait(&self, patience: Patience<'_>, mut ready: impl FnMut() -> bool) -> bool {
        let Some(turner) = &self.turner else { return false };
        if self.handle.is_stopping() {
            // Soon there is an error to be had; who ends the worker needs the role for that.
            std::thread::yield_now();
            return true;
        }
        let mut idle = IdleSince::default();
        let until = patience.deadline.unwrap_or(Instant::FAR_FUTURE);
        let handle = &self.handle;
        let turn = |driver: &mut Driver| {
            let (mut at, progress) = driver.turn(&mut NoApplication);
            let news = !progress.is_idle();
            if news {
                idle.reset();
            } else if idle.lasted(at, patience.spin) {
                // No memory to poll with: then we look again.
                let _ = driver.sleep(until);
                at = driver.clock.now();
            }
            // That nothing will come is news too: who is parked would wait for it.
            Turned { at, news: news || handle.is_down() }
        };
        let waited = self.guard(|| {
            turner.wait(patience, || ready() || handle.is_down() || handle.is_stopping(), turn)
        });
        waited.unwrap_or(true)
    }

    /// What the helper thread does when nobody has turned the worker for a while.
    pub(super) fn help(&self, turner: &Turner<Driver>) {
        let mut slept = false;
        let turn = |driver: &mut Driver| {
            let (mut at, progress) = driver.turn(&mut NoApplication);
            if progress.is_idle() && !slept {
                slept = true;
                let _ = driver.sleep(Instant::FAR_FUTURE);
                at = driver.clock.now();
            }
            Turned { at, news: !progress.is_idle() || self.handle.is_down() }
        };
        self.guard(|| turner.try_run(turn));
    }

    /// Asks the worker for something and waits for its answer.
    ///
    /// # Errors
    /// [`io::ErrorKind::NetworkDown`] when the worker is gone.
    pub(crate) fn ask(&self, command: Command, bell: Option<Ringer>) -> io::Result<Answer> {
        let answer = self.handle.mail.ask(command, bell);
        if self.turner.is_none() {
            return answer.recv().map_err(|_| network_down());
        }
        loop {
            self.poll();
            match answer.try_recv() {
                Ok(answer) => return Ok(answer),
                Err(TryRecvError::Disconnected) => return Err(network_down()),
                Err(TryRecvError::Empty) if self.handle.has_ended() => return Err(network_down()),
                Err(TryRecvError::Empty) => std::thread::yield_now(),
            }
        }
    }

    /// Has a socket closed, whatever it takes to get the word through. When it returns, the port
    /// is free and datagrams to it are refused, as after close(2).
    pub(crate) fn close_socket(&self, socket: crate::socket::SocketId) {
        while !self.handle.mail.is_closed() {
            if self.ask(Command::UdpClose(socket), None).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// One turn, for whoever holds the role.
#[inline]
fn turn_once(driver: &mut Driver) -> Turned {
    let (at, progress) = driver.turn(&mut NoApplication);
    Turned { at, news: !progress.is_idle() || driver.handle.is_down() }
}

/// What every call says once the worker is gone.
pub(crate) fn network_down() -> io::Error {
    io::Error::from_raw_os_error(libc::ENETDOWN)
}
