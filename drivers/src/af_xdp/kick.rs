//! When the kernel is told of what the TX ring holds, and what its answers mean.
//!
//! No system call stands here, so a test can play the kernel.

use std::io;
use std::time::Duration;

use super::rings::Producer;
use crate::device::DeviceState;
use crate::env::Instant;
use crate::env::limits::BURST;

/// Packets that full bursts may gather before one system call sends them. More, and the first
/// waits longer for the last; fewer, and more calls a packet. A burst that is not full is sent
/// at once, with all before it.
const KICK_PACKETS: usize = 2 * BURST;

/// Kicks in a row that the kernel refused as invalid, none of them sending anything, after which
/// the socket is given up. An invalid descriptor blocks the ring for ever (net/xdp/xsk.c, TX
/// metadata on a plain UMEM).
const REFUSALS_MAX: u32 = 16;

/// How long a kick that was refused for want of memory, or for a reason that nobody foresaw, is
/// not repeated. Shorter, and a host without memory is asked for some by every turn; longer, and
/// packets wait when it has some again.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// What the kernel has been told of the TX ring.
#[derive(Debug, Default)]
pub(super) struct Kicks {
    /// Packets in the TX ring of which the kernel has not been told.
    unkicked: usize,
    /// The TX ring may hold something that the kernel has not taken.
    pending: bool,
    /// The driver said that it is at work, and may just have stopped.
    look_again: bool,
    /// Something was sent since the last turn's end.
    sent_this_turn: bool,
    refusals: u32,
    /// No kick before this, because the last one was refused.
    retry_at: Instant,
}

/// What came of one kick.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Outcome {
    pub(super) syscalls: u64,
    /// Packets that the device dropped; their frames come back all the same.
    pub(super) dropped: u64,
    /// What the device is now, if that was said.
    pub(super) state: Option<DeviceState>,
}

impl Kicks {
    /// Notes that `taken` of `offered` packets were put into the ring; whether the kernel is to be
    /// told now.
    #[inline]
    pub(super) const fn sent(&mut self, offered: usize, taken: usize) -> bool {
        self.unkicked += taken;
        self.pending |= taken > 0;
        self.sent_this_turn |= taken > 0;
        let goes_on = offered == BURST && taken == offered && self.unkicked < KICK_PACKETS;
        offered > 0 && !goes_on
    }

    /// Notes the end of a turn; whether the kernel is to be told of what is in the ring.
    #[inline]
    pub(super) const fn end_turn(&mut self) -> bool {
        let goes_on = self.unkicked > 0 && self.sent_this_turn;
        self.sent_this_turn = false;
        self.pending && !goes_on
    }

    /// When the kernel is to be told again, if nobody sends anything: at once while full bursts
    /// wait for more, or where each packet that the kernel `copies` needs a call of ours.
    #[inline]
    pub(super) fn next_event(&self, copies: bool) -> Option<Instant> {
        let again = copies || self.look_again || self.retry_at > Instant::ZERO;
        if self.unkicked > 0 {
            Some(Instant::ZERO)
        } else if self.pending && again {
            Some(self.retry_at)
        } else {
            None
        }
    }

    /// The next kick is made whatever the last one's answer was.
    pub(super) const fn insist(&mut self) {
        self.retry_at = Instant::ZERO;
    }

    /// Makes the kernel take what the ring holds, by `wake`, in as many calls as its budget makes
    /// of it.
    pub(super) fn run(
        &mut self,
        now: Instant,
        budget: u32,
        tx: &mut Producer,
        mut wake: impl FnMut() -> io::Result<()>,
    ) -> Outcome {
        let told = std::mem::take(&mut self.unkicked) > 0;
        let mut outcome = Outcome::default();
        self.look_again = false;
        if now < self.retry_at {
            return outcome;
        }
        self.retry_at = Instant::ZERO;
        let mut left = tx.pending();
        // Kernels without the budget option publish their index only when they have taken all
        // that they saw, so calls are counted, not progress.
        let mut calls = left.div_ceil(budget) + 1;
        let mut drops = left;
        // Zero-copy drivers that are at work do not want to be told.
        while left > 0 && tx.needs_wakeup() {
            outcome.syscalls += 1;
            let result = wake();
            let before = std::mem::replace(&mut left, tx.pending());
            self.refusals = if left == before { self.refusals } else { 0 };
            match result.map_err(|error| error.raw_os_error()) {
                // In zero-copy mode the NIC has only been started.
                Ok(()) => break,
                // Queued: the budget is used up, or the completion ring or send buffer is full.
                Err(Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR)) if calls > 1 => calls -= 1,
                // The device has dropped a packet; its frame comes back all the same.
                Err(Some(libc::EBUSY)) if drops > 0 => {
                    drops -= 1;
                    outcome.dropped += 1;
                }
                Err(Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR | libc::EBUSY)) => break,
                Err(error) => {
                    outcome.state = self.refused(now, error);
                    break;
                }
            }
        }
        self.pending = left > 0;
        // A driver that found the ring empty sets the flag after that, and we may have read it
        // between the two: no fence helps. By the next turn it is set.
        self.look_again = told && self.pending && outcome.syscalls == 0;
        outcome
    }

    /// What a kick that sent nothing says about the device.
    #[cold]
    fn refused(&mut self, now: Instant, error: Option<i32>) -> Option<DeviceState> {
        match error {
            Some(libc::ENETDOWN) => return Some(DeviceState::Down),
            Some(libc::ENXIO | libc::ENODEV | libc::EBADF) => return Some(DeviceState::Gone),
            Some(libc::EINVAL) => self.refusals += 1,
            // ENOMEM: the kernel keeps the packet in the ring, and may have memory later.
            _ => {}
        }
        self.retry_at = now + RETRY_AFTER;
        (self.refusals >= REFUSALS_MAX).then_some(DeviceState::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rings::{Entry, Ring};
    use super::*;

    const NOW: Instant = Instant::from_nanos(1_000_000_000);

    /// A TX ring with `count` entries, and its kernel's view.
    fn ring(count: u32, wants_wakeup: bool) -> (Producer, Ring) {
        let ring = Ring::anonymous(64, Entry::Descriptor, 0);
        ring.set_need_wakeup(wants_wakeup);
        let mut tx = Producer::new(ring.clone());
        tx.publish(count);
        (tx, ring)
    }

    fn answer(number: i32) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(number))
    }

    #[test]
    fn what_the_kernel_would_not_take_is_offered_again_at_once() {
        let (mut tx, _kernel) = ring(8, true);
        let mut kicks = Kicks::default();
        assert!(kicks.sent(8, 8), "a burst that is not full is sent at once");
        let outcome = kicks.run(NOW, 32, &mut tx, || answer(libc::EAGAIN));
        assert_eq!(outcome, Outcome { syscalls: 2, ..Outcome::default() });
        assert_eq!(kicks.next_event(true), Some(Instant::ZERO), "a worker must not sleep");
        assert!(kicks.end_turn(), "and the turn's end tells the kernel again");
    }

    #[test]
    fn a_driver_that_has_just_stopped_is_looked_at_again() {
        let (mut tx, kernel) = ring(8, false);
        let mut kicks = Kicks::default();
        kicks.sent(8, 8);
        let at_work = kicks.run(NOW, 32, &mut tx, || panic!("it does not want to be told"));
        assert_eq!(at_work, Outcome::default());
        assert_eq!(kicks.next_event(false), Some(Instant::ZERO));
        kernel.set_need_wakeup(true);
        assert!(kicks.end_turn());
        assert_eq!(kicks.run(NOW, 32, &mut tx, || Ok(())).syscalls, 1, "one turn later");
        assert_eq!(kicks.next_event(false), None, "the NIC was started, and tells by itself");
    }

    #[test]
    fn want_of_memory_is_no_end_and_no_storm() {
        let (mut tx, kernel) = ring(8, true);
        let mut kicks = Kicks::default();
        kicks.sent(8, 8);
        let mut calls = 0;
        for micros in 0..100_000 {
            let now = NOW + Duration::from_micros(micros);
            let outcome = kicks.run(now, 32, &mut tx, || answer(libc::ENOMEM));
            assert_eq!(outcome.state, None);
            assert!(kicks.next_event(true).is_some_and(|at| at > now), "not at once");
            calls += outcome.syscalls;
        }
        assert_eq!(calls, 100, "one a millisecond");
        let later = NOW + Duration::from_millis(200);
        let mut kernel = super::super::rings::Consumer::new(kernel);
        kicks.run(later, 32, &mut tx, || {
            let available = kernel.available();
            kernel.release(available);
            Ok(())
        });
        assert_eq!(kicks.next_event(true), None, "all was sent");
    }

    #[test]
    fn a_ring_that_is_invalid_for_good_is_given_up() {
        let (mut tx, _kernel) = ring(8, true);
        let mut kicks = Kicks::default();
        kicks.sent(8, 8);
        for refusal in 1..=REFUSALS_MAX {
            let now = NOW + RETRY_AFTER * refusal;
            let outcome = kicks.run(now, 32, &mut tx, || answer(libc::EINVAL));
            let gone = refusal == REFUSALS_MAX;
            assert_eq!(outcome.state, gone.then_some(DeviceState::Gone), "refusal {refusal}");
        }
    }
}
