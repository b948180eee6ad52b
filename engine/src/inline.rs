//! The application as part of the worker's turn: no ring, no copy, no atomic operation between
//! it and the packet.
//!
//! `Builder::start_inline` gives each worker's thread an application; `InlineWorker` is one
//! worker as a value, which its owner turns.

use std::io;
use std::time::Duration;

pub use crate::socket::application::SocketError;
pub use crate::socket::{Application, Datagram, SocketId, Turn};

use crate::runtime::config::Idle;
use crate::runtime::{Builder, Driver};
use crate::worker::Progress;
use corewire_drivers::env::{Counters, Instant};

/// One worker and the application in its turn.
#[derive(Debug)]
pub struct InlineWorker<A> {
    driver: Driver,
    application: A,
    idle: Idle,
}

impl<A: Application> InlineWorker<A> {
    /// The builder's one worker, with `application` in its turn.
    ///
    /// # Errors
    /// As [`Builder::start`]; and when the builder has not one worker.
    pub fn new(builder: Builder, application: A) -> io::Result<Self> {
        let (driver, idle) = builder.single()?;
        Ok(Self { driver, application, idle })
    }

    /// One turn.
    #[inline]
    pub fn turn(&mut self) -> Progress {
        self.driver.turn(&mut self.application).1
    }

    /// Turns until `done` says so; rests, when there is nothing to do, as the idle policy says.
    pub fn run_until(&mut self, mut done: impl FnMut(&mut A) -> bool) {
        let mut since: Option<Instant> = None;
        while !done(&mut self.application) {
            let (now, progress) = self.driver.turn(&mut self.application);
            if !progress.is_idle() {
                since = None;
                continue;
            }
            let idle_for = now.saturating_since(*since.get_or_insert(now));
            if idle_for >= self.idle.look_for() {
                // `done` may depend on what others do: look once in a while. No memory to poll
                // with: then we look at once.
                let _ = self.driver.sleep(now + LOOK_EVERY);
            }
        }
    }

    /// Acts outside of a turn: to make the first sockets, to send something.
    pub fn with_turn<R>(&mut self, act: impl FnOnce(&mut Turn<'_>, &mut A) -> R) -> R {
        let Self { driver, application, .. } = self;
        driver.with_turn(|turn| act(turn, application))
    }

    /// The application.
    #[must_use]
    pub const fn application(&self) -> &A {
        &self.application
    }

    /// The application.
    pub const fn application_mut(&mut self) -> &mut A {
        &mut self.application
    }

    /// What the worker counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.driver.counters()
    }

    /// Ends it. Whether every frame came home.
    pub fn shut_down(mut self) -> bool {
        self.driver.shut_down()
    }
}

/// How often a worker that sleeps asks whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(10);
