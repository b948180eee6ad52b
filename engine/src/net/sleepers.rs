//! Who sleeps for all threads of one socket.
//!
//! A context has one doorbell and one who sleeps on it. Where several threads wait for one socket,
//! one of them leads: it sleeps on the doorbell, the others on a condition that it signals when it
//! wakes. Then everyone looks, and another leads.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::runtime::doorbell::{Patience, Waiter};

/// Everyone who waits for one socket.
#[derive(Debug)]
pub(super) struct Sleepers {
    waiter: Mutex<Waiter>,
    led: Mutex<bool>,
    left: Condvar,
}

impl Sleepers {
    pub(super) fn new(waiter: Waiter) -> Self {
        Self { waiter: Mutex::new(waiter), led: Mutex::new(false), left: Condvar::new() }
    }

    /// Waits until `ready` may say so; false when the deadline came first.
    ///
    /// # Errors
    /// When the host can't poll: it has no memory.
    pub(super) fn wait(
        &self,
        patience: Patience<'_>,
        ready: impl FnMut() -> bool,
    ) -> io::Result<bool> {
        match self.lead(&patience) {
            Some(_lead) => lock(&self.waiter).wait(patience, ready),
            None => Ok(patience.left().is_some()),
        }
    }

    /// The lead, or `None` after another has led for a while.
    fn lead(&self, patience: &Patience<'_>) -> Option<Lead<'_>> {
        let mut led = lock(&self.led);
        if !*led {
            *led = true;
            return Some(Lead(self));
        }
        match patience.left() {
            Some(Some(left)) => drop(self.left.wait_timeout(led, left)),
            Some(None) => drop(self.left.wait(led)),
            None => {}
        }
        None
    }
}

/// The right to sleep on the doorbell. It passes on, also when its holder unwinds.
struct Lead<'a>(&'a Sleepers);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        *lock(&self.0.led) = false;
        self.0.left.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
