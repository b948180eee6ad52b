//! What a worker does while there is nothing to do.

use std::time::Duration;

use corewire_drivers::env::Instant;

use super::config::Idle;

/// How long a worker sleeps that has a device which can only be polled.
pub(super) const POLLED_DEVICE: Duration = Duration::from_micros(100);

impl Idle {
    /// How long to look before sleeping: so long a worker does, and an application that waits.
    #[must_use]
    pub const fn look_for(self) -> Duration {
        match self {
            Self::Spin => Duration::MAX,
            Self::Adaptive { spin } => spin,
            Self::Interrupt => Duration::ZERO,
        }
    }
}

/// Since when there has been nothing to do.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct IdleSince(Option<Instant>);

impl IdleSince {
    /// There was something.
    #[inline]
    pub(super) const fn reset(&mut self) {
        self.0 = None;
    }

    /// Nothing at `now`: whether that has lasted for `spin`.
    #[inline]
    pub(super) fn lasted(&mut self, now: Instant, spin: Duration) -> bool {
        let since = *self.0.get_or_insert(now);
        now.saturating_since(since) >= spin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_sleeps_when_it_says() {
        let at = |nanos| Instant::from_nanos(nanos);
        for (idle, first, later) in [
            (Idle::Spin, false, false),
            (Idle::default(), false, true),
            (Idle::Interrupt, true, true),
        ] {
            let mut since = IdleSince::default();
            assert_eq!(since.lasted(at(1_000), idle.look_for()), first, "{idle:?}");
            assert_eq!(since.lasted(at(51_000), idle.look_for()), later, "{idle:?}");
            since.reset();
            assert_eq!(since.lasted(at(60_000), idle.look_for()), first, "{idle:?}");
        }
    }
}
