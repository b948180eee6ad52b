//! How one side wakes the other, without a system call while that one is awake.
//!
//! ```text
//!  waiter                                   ringer, once a batch
//!  spins, looks                             publishes to the ring
//!  sleeping = 1                             ─── fence ───
//!  ─── fence ───                            sleeping? no: done
//!  looks once more                          yes: swap to 0; was it 1: write the eventfd
//!  nothing: sleeps on the eventfd
//! ```
//!
//! The fences are the two halves of one argument. Each side writes first and reads then; with
//! both fences in place at least one of them sees what the other wrote. So either the waiter
//! finds the entry in its last look, or the ringer finds the waiter asleep, or both; a wake-up
//! can't be lost. The swap lets one of several ringers make the one system call.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use corewire_drivers::env::{Clock, Instant};
use corewire_drivers::ring::sync::Ordering::Relaxed;
use corewire_drivers::ring::sync::{AtomicU32, Site, fence_seq_cst, removed};
use crossbeam_utils::CachePadded;

use event::Event;

/// How long to wait, and how.
#[derive(Copy, Clone, Debug)]
pub struct Patience<'a> {
    /// The clock of `deadline` and of the spinning.
    pub clock: &'a Clock,
    /// How long to look again and again before sleeping. Longer: a core burns. Shorter: more
    /// waits end in a wake-up, which costs the ringer a system call (about 1 µs) and the waiter
    /// tens of microseconds.
    pub spin: Duration,
    /// When to give up; `None` for never.
    pub deadline: Option<Instant>,
}

/// Makes a doorbell: the one who waits, and what others ring.
///
/// # Errors
/// When the process or the host has no descriptor left.
pub fn doorbell() -> io::Result<(Waiter, Ringer)> {
    let bell = Bell { sleeping: CachePadded::new(AtomicU32::new(0)), event: Event::new()? };
    let bell = Arc::new(bell);
    Ok((Waiter(bell.clone()), Ringer(bell)))
}

/// The side that sleeps. There is one.
pub struct Waiter(Arc<Bell>);

/// The side that wakes. Clone it for each who publishes something to the waiter.
#[derive(Clone)]
pub struct Ringer(Arc<Bell>);

struct Bell {
    /// 1 while the waiter sleeps or is about to. On a line of its own: the ringer reads it once a
    /// batch, and it changes only around sleep.
    sleeping: CachePadded<AtomicU32>,
    event: Event,
}

impl Ringer {
    /// Wakes the waiter if it sleeps. Call it once a batch, after publishing. Returns whether it
    /// took a system call.
    #[inline]
    pub fn ring(&self) -> bool {
        // Pairs with the fence in Waiter::arm: what was published before is seen by a waiter
        // whose `sleeping` we do not see.
        fence_seq_cst(Site::RingFence);
        // Relaxed: the eventfd, or the waiter's last look, orders what follows. The swap is for
        // a sleeper only: it would take the line from everyone in every batch.
        let wake = self.0.sleeping.load(Relaxed) == 1 && self.0.sleeping.swap(0, Relaxed) == 1;
        if wake {
            self.0.event.write();
        }
        wake
    }
}

impl Waiter {
    /// Waits until `ready` says so: spins, then sleeps. Returns false when the deadline came
    /// first. `ready` looks at what the ringers publish.
    ///
    /// # Errors
    /// When the host can't poll: it has no memory.
    pub fn wait(
        &mut self,
        patience: Patience<'_>,
        mut ready: impl FnMut() -> bool,
    ) -> io::Result<bool> {
        if patience.spin_until(&mut ready) {
            return Ok(true);
        }
        loop {
            if !self.arm(&mut ready) {
                return Ok(true);
            }
            let Some(timeout) = patience.left() else {
                self.disarm();
                return Ok(ready());
            };
            let slept = self.0.event.wait(timeout);
            self.disarm();
            slept?;
            if ready() {
                return Ok(true);
            }
        }
    }

    /// Says "I sleep" and looks once more. True: nothing is ready; sleep until
    /// [`fd`](Self::fd) is readable, in `poll`, `epoll` or mio, then [`disarm`](Self::disarm).
    /// False: `ready` said so; do not sleep.
    #[must_use]
    pub fn arm(&mut self, ready: impl FnOnce() -> bool) -> bool {
        // Swaps throughout, no plain stores: around sleep they cost nothing that counts, and loom
        // knows the order of swaps, while it lets a plain store fall between one's read and write.
        self.0.sleeping.swap(1, Relaxed);
        // Pairs with the fence in Ringer::ring: a ringer that does not see us asleep has
        // published before, and we see that.
        fence_seq_cst(Site::SleepFence);
        let sleep = removed(Site::Recheck) || !ready();
        // No sleep, so no system call, unless somebody has rung already.
        if !sleep && self.0.sleeping.swap(0, Relaxed) == 0 {
            self.0.event.drain();
        }
        sleep
    }

    /// Says "I am awake" after a sleep: nobody makes a system call for us from here on.
    pub fn disarm(&mut self) {
        self.0.sleeping.swap(0, Relaxed);
        // Always: a ringer of the sleep before this one may have written only now, and what is
        // left in the eventfd would end every later sleep at once. One that writes after this
        // ends one sleep early, as its caller must expect of any sleep.
        self.0.event.drain();
    }

    /// What becomes readable when somebody rings while we sleep.
    #[must_use]
    pub fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.event.fd()
    }
}

impl Patience<'_> {
    /// Looks until `ready` says so or the spinning time is over.
    pub(super) fn spin_until(&self, mut ready: impl FnMut() -> bool) -> bool {
        if ready() {
            return true;
        }
        if self.spin.is_zero() {
            return false;
        }
        let mut end = self.clock.now() + self.spin;
        if let Some(deadline) = self.deadline {
            end = end.min(deadline);
        }
        loop {
            for _ in 0..LOOKS_A_CLOCK {
                std::hint::spin_loop();
                if ready() {
                    return true;
                }
            }
            if self.clock.now() >= end {
                return false;
            }
        }
    }

    /// Time until the deadline: `None` when it is over, `Some(None)` when there is none.
    pub(crate) fn left(&self) -> Option<Option<Duration>> {
        let Some(deadline) = self.deadline else {
            return Some(None);
        };
        let left = deadline.saturating_since(self.clock.now());
        (!left.is_zero()).then_some(Some(left))
    }
}

/// Looks between two readings of the clock. A look with its pause is 10 to 50 ns, a reading 8 to
/// 25: fewer, and reading is most of the work; more, and a deadline is overstepped by more.
const LOOKS_A_CLOCK: u32 = 16;

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiter")
    }
}

impl fmt::Debug for Ringer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ringer")
    }
}

/// The system calls: an eventfd.
#[cfg(not(loom))]
mod event {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::time::Duration;

    use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
    use rustix::io::Errno;

    pub(super) struct Event(OwnedFd);

    impl Event {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
        }

        pub(super) fn write(&self) {
            // Fails only when 2^64 - 2 wake-ups are pending: then it is readable already.
            let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        }

        /// Sleeps until the eventfd is readable, a signal arrives or the time is over.
        pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
            // A time that no timespec holds is as good as none.
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }

        pub(super) fn drain(&self) {
            // Fails when nothing is there, which is as good.
            let _ = rustix::io::read(&self.0, &mut [0; 8]);
        }

        pub(super) fn fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

/// What an eventfd is to the model checker: a counter that one can sleep on, for ever.
#[cfg(loom)]
mod event {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};
    use rustix::event::{EventfdFlags, eventfd};

    /// Whether it was written, and a descriptor for code that asks for one but is not modelled.
    pub(super) struct Event(Mutex<bool>, Condvar, OwnedFd);

    impl Event {
        pub(super) fn new() -> io::Result<Self> {
            let fd = eventfd(0, EventfdFlags::CLOEXEC)?;
            Ok(Self(Mutex::new(false), Condvar::new(), fd))
        }

        pub(super) fn write(&self) {
            *self.0.lock().expect("no panic under it") = true;
            self.1.notify_all();
        }

        pub(super) fn wait(&self, _timeout: Option<Duration>) -> io::Result<()> {
            let mut written = self.0.lock().expect("no panic under it");
            while !*written {
                written = self.1.wait(written).expect("no panic under it");
            }
            Ok(())
        }

        pub(super) fn drain(&self) {
            *self.0.lock().expect("no panic under it") = false;
        }

        pub(super) fn fd(&self) -> BorrowedFd<'_> {
            self.2.as_fd()
        }
    }
}

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
