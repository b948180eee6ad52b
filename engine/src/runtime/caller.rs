//! Whose thread turns a worker: one lock word, and nobody's posted work is lost.
//!
//! A caller-driven worker has no thread of its own: an application's thread turns it inside its
//! calls. Several threads may call at once; one of them has the role, the others leave word.
//!
//! ```text
//!  word = LOCKED | WORK | WAITERS | DEAD
//!
//!  run:   0 ──────▶ LOCKED: turn, then unlock          lost: set WORK, and go
//!  unlock: WORK? take it, turn again                   (the turn that follows sees the post)
//!          WAITERS? unlock and wake one                the role is handed to it
//!  wait:  turn until ready, as holder;                 lost: spin, set WAITERS, look, park
//! ```
//!
//! One word, so that posting, registering and unlocking have one order: whoever posts while the
//! role is held is seen by the unlock, and whoever posts later finds the role free. A holder
//! serves others' posts only `MAX_RERUNS` times; after that the post waits for a waiter, the
//! next caller, or the helper thread, which looks `HELPER_AFTER` later.
//!
//! The value itself stands in a mutex that only the holder tries, so it is never contended: the
//! word does the work, and the mutex makes it safe without `unsafe`.

use std::fmt;
use std::time::Duration;

use corewire_drivers::env::Instant;
use corewire_drivers::ring::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use corewire_drivers::ring::sync::{AtomicU32, AtomicU64, Site, order, removed};
use crossbeam_utils::CachePadded;

use super::doorbell::Patience;
#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::{Condvar, Mutex, MutexGuard};
use std::sync::{PoisonError, TryLockError};

/// Somebody turns the worker.
const LOCKED: u32 = 1;
/// Somebody posted something while it was turned.
const WORK: u32 = 2;
/// Somebody is parked.
const WAITERS: u32 = 4;
/// A turn panicked; the value is not turned any more.
const DEAD: u32 = 8;

/// Turns that a holder makes for others' posts before it goes its own way. Fewer: posts wait for
/// the helper more often. More: a thread that only wanted to send is kept by others that send.
pub const MAX_RERUNS: u32 = 8;

/// How long a worker may go without a turn before the helper thread takes over. Shorter: the
/// helper competes with callers that turn often enough. Longer: ACKs and timers are late by it;
/// a tenth of it would be the scheduler's own noise, ten times it a LAN's round trip.
pub const HELPER_AFTER: Duration = Duration::from_micros(50);

/// What a turn was.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Turned {
    /// When: the `now` that the turn was given.
    pub at: Instant,
    /// Whether it brought applications anything: those that are parked must look.
    pub news: bool,
}

/// Who made the turn that was asked for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Ran {
    /// This call.
    Here,
    /// Another thread has the role, and will make a turn that begins after this call. If it
    /// sleeps inside of one, ring its doorbell.
    Elsewhere,
}

/// A turn has panicked, in this thread or another: the worker is dead, and its sockets fail.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Panicked;

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the worker panicked and turns no more; its sockets are lost, make new ones")
    }
}

impl std::error::Error for Panicked {}

/// A value that whichever thread comes along turns.
///
/// Closures given to one `Turner` must do the same: a holder's turn serves the posts of others.
/// They must not call the `Turner` again.
pub struct Turner<T> {
    word: CachePadded<AtomicU32>,
    /// Nanoseconds of [`Turned::at`] of the last turn.
    last_turn: AtomicU64,
    value: Mutex<T>,
    /// How many are parked; what they park on.
    parked: Mutex<usize>,
    woken: Condvar,
}

impl<T> Turner<T> {
    /// A value that nobody turns yet.
    pub fn new(value: T) -> Self {
        Self {
            word: CachePadded::new(AtomicU32::new(0)),
            last_turn: AtomicU64::new(0),
            value: Mutex::new(value),
            parked: Mutex::new(0),
            woken: Condvar::new(),
        }
    }

    /// Makes a turn, or leaves word to whoever is making one. Post first, then call.
    ///
    /// # Errors
    /// [`Panicked`] when a turn has panicked, before or meanwhile.
    #[inline]
    pub fn run(&self, mut turn: impl FnMut(&mut T) -> Turned) -> Result<Ran, Panicked> {
        if let Some(role) = self.try_take(true)? {
            role.serve(&mut turn);
            return Ok(Ran::Here);
        }
        Ok(Ran::Elsewhere)
    }

    /// Makes a turn if nobody is making one: what the helper thread calls. Returns whether it
    /// did.
    ///
    /// # Errors
    /// [`Panicked`] when a turn has panicked.
    pub fn try_run(&self, mut turn: impl FnMut(&mut T) -> Turned) -> Result<bool, Panicked> {
        let role = self.try_take(false)?;
        Ok(role.map(|role| role.serve(&mut turn)).is_some())
    }

    /// Turns until `ready` says so, or parks while another thread does. Returns false when the
    /// deadline came first. A turn may sleep, until the deadline, if the worker has nothing to
    /// do; whoever loses then rings its doorbell.
    ///
    /// # Errors
    /// [`Panicked`] when a turn has panicked, in this thread or another.
    pub fn wait(
        &self,
        patience: Patience<'_>,
        mut ready: impl FnMut() -> bool,
        mut turn: impl FnMut(&mut T) -> Turned,
    ) -> Result<bool, Panicked> {
        loop {
            if ready() {
                self.pass_on();
                return Ok(true);
            }
            if let Some(role) = self.try_take(false)? {
                let mut is_ready = false;
                role.serve_until(&mut turn, || {
                    is_ready = ready();
                    is_ready || patience.left().is_none()
                });
                return Ok(is_ready);
            }
            // The holder's turns may bring what we wait for; or it leaves, and we turn.
            let is_free = || self.word.load(Relaxed) & LOCKED == 0;
            if patience.spin_until(|| ready() || is_free()) {
                continue;
            }
            let Some(left) = patience.left() else {
                self.pass_on();
                return Ok(false);
            };
            self.park(left, &mut ready);
        }
    }

    /// Whether nobody makes a turn and none was made for [`HELPER_AFTER`]: then the helper thread
    /// calls [`try_run`](Self::try_run).
    #[must_use]
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.word.load(Relaxed) & (LOCKED | DEAD) == 0
            && now.saturating_since(self.last_turn()) >= HELPER_AFTER
    }

    /// When the last turn was; [`Instant::ZERO`] before the first.
    #[must_use]
    pub fn last_turn(&self) -> Instant {
        Instant::from_nanos(self.last_turn.load(Relaxed))
    }

    /// Whether a turn has panicked.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.word.load(Relaxed) & DEAD != 0
    }

    /// The value, also of a dead worker: its pool can still be swept.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the role, or leaves word when `post` says so.
    #[inline]
    fn try_take(&self, post: bool) -> Result<Option<Role<'_, T>>, Panicked> {
        // Acquire on both ways in: the turn sees what was posted before. Pairs with the Release
        // of those who left word, below.
        let taken = order(Site::TakeWork, Acquire);
        let Err(mut seen) = self.word.compare_exchange(0, LOCKED, taken, Relaxed) else {
            return Ok(Some(Role::new(self)));
        };
        loop {
            if seen & DEAD != 0 {
                return Err(Panicked);
            }
            if seen & LOCKED != 0 && !post {
                return Ok(None);
            }
            // Locked: leave word. Free: the turn that we make takes the posted work on itself.
            let (new, how) = if seen & LOCKED != 0 {
                // Release: what we posted comes before. Pairs with the Acquire above, and that in
                // Role::take_posts.
                (seen | WORK, order(Site::PostWork, Release))
            } else {
                ((seen | LOCKED) & !WORK, taken)
            };
            match self.word.compare_exchange_weak(seen, new, how, Relaxed) {
                Ok(_) if seen & LOCKED != 0 => return Ok(None),
                Ok(_) => return Ok(Some(Role::new(self))),
                Err(other) => seen = other,
            }
        }
    }

    /// Parks until woken or the time is over, unless there is a reason not to.
    fn park(&self, timeout: Option<Duration>, ready: &mut impl FnMut() -> bool) {
        let mut parked = lock(&self.parked);
        *parked += 1;
        // Acquire: what the holder's last turn brought, if that turn ended before this; if it
        // ends later, the holder sees WAITERS. Pairs with the Release in Role::take_posts.
        let word = self.word.fetch_or(WAITERS, order(Site::Park, Acquire));
        if word & LOCKED != 0 && word & DEAD == 0 && !ready() {
            // We hold `parked` from before we registered until we sleep: a holder that saw
            // WAITERS notifies only after that.
            parked = match timeout {
                None => self.woken.wait(parked).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let woken = self.woken.wait_timeout(parked, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *parked -= 1;
        if *parked == 0 {
            self.word.fetch_and(!WAITERS, Relaxed);
        }
    }

    /// We leave without having turned. If we were woken to take the role, another must.
    fn pass_on(&self) {
        if self.word.load(Relaxed) & (LOCKED | WAITERS) == WAITERS && !removed(Site::PassOn) {
            self.wake(false);
        }
    }

    #[cold]
    fn wake(&self, all: bool) {
        let parked = lock(&self.parked);
        if all {
            self.woken.notify_all();
        } else {
            self.woken.notify_one();
        }
        drop(parked);
    }
}

/// The right to turn the value.
struct Role<'a, T> {
    turner: &'a Turner<T>,
    held: bool,
    /// The last turn brought something and the parked have not been told.
    news: bool,
}

impl<'a, T> Role<'a, T> {
    const fn new(turner: &'a Turner<T>) -> Self {
        Self { turner, held: true, news: false }
    }

    /// One turn, and more for what others post meanwhile.
    #[inline]
    fn serve(self, turn: &mut impl FnMut(&mut T) -> Turned) {
        self.serve_until(turn, || true);
    }

    /// Turns until `done`, and more for what others post meanwhile; then unlocks.
    #[inline]
    fn serve_until(
        mut self,
        turn: &mut impl FnMut(&mut T) -> Turned,
        mut done: impl FnMut() -> bool,
    ) {
        let mut reruns = 0;
        let mut value = self.turner.open();
        loop {
            self.turn(&mut value, turn);
            if !done() {
                self.take_posts();
                continue;
            }
            // The value first: who finds the role free must find the value free.
            drop(value);
            if self.unlock(reruns >= MAX_RERUNS) {
                return;
            }
            reruns += 1;
            value = self.turner.open();
            self.take_posts();
        }
    }

    #[inline]
    fn turn(&mut self, value: &mut T, turn: &mut impl FnMut(&mut T) -> Turned) {
        let Turned { at, news } = turn(value);
        self.turner.last_turn.store(at.as_nanos(), Relaxed);
        self.news |= news;
    }

    /// Takes posted work on the turn to come, and tells the parked what the last one brought.
    fn take_posts(&mut self) {
        // Acquire: the posts. Release: what the last turn brought, to waiters that register
        // later.
        let word = self.turner.word.fetch_and(!WORK, order(Site::TakeWork, AcqRel));
        self.tell(word);
    }

    /// Gives the role up; false when there is posted work, unless we are `tired` of it.
    #[inline]
    fn unlock(&mut self, tired: bool) -> bool {
        let word = &self.turner.word;
        let mut seen = LOCKED;
        loop {
            if seen & WORK != 0 && !tired && !removed(Site::SeeWork) {
                return false;
            }
            // Relaxed: the mutex orders the value for the next holder, and whoever registers
            // after this finds the role free and does not park.
            match word.compare_exchange_weak(seen, seen & !LOCKED, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(other) => seen = other,
            }
        }
        self.held = false;
        let told_all = self.tell(seen);
        if seen & WAITERS != 0 && !told_all && !removed(Site::HandOver) {
            self.turner.wake(false);
        }
        true
    }

    /// Wakes all who are parked if there are news for them. Returns whether it did.
    #[inline]
    fn tell(&mut self, word: u32) -> bool {
        let tell = self.news && word & WAITERS != 0 && !removed(Site::WakeWaiters);
        if tell {
            self.turner.wake(true);
        }
        // Without WAITERS too: who registers later looks for itself.
        self.news = false;
        tell
    }
}

impl<T> Drop for Role<'_, T> {
    /// Still held: a turn panicked.
    fn drop(&mut self) {
        if self.held {
            self.turner.word.fetch_or(DEAD, AcqRel);
            self.turner.wake(true);
        }
    }
}

impl<T> Turner<T> {
    /// The value, for the holder of the role.
    #[inline]
    fn open(&self) -> MutexGuard<'_, T> {
        match self.value.try_lock() {
            Ok(value) => value,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                debug_assert!(false, "two holders of one role");
                lock(&self.value)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> fmt::Debug for Turner<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Turner(word {:#x})", self.word.load(Relaxed))
    }
}

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
