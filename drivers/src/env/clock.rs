//! Moments, and the clocks that make them.
//!
//! The engine never asks what time it is: `now` is an argument that goes down the call. A
//! [`Clock`] makes it once a turn; a simulation makes it from nothing.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

use super::tsc;

/// A moment, in nanoseconds since the clock's own beginning.
///
/// Moments of two clocks must not be compared; the type does not stop you.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The clock's beginning.
    pub const ZERO: Self = Self(0);
    /// Later than any moment that a clock makes: 584 years after its beginning.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The moment `nanos` after the clock's beginning.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's beginning.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero when `earlier` is later. A clock that steps back must not make
    /// a timer run for 584 years.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09} s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Saturates at [`Instant::FAR_FUTURE`].
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, after: Duration) {
        *self = *self + after;
    }
}

/// Saturates at [`Instant::ZERO`].
impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(before.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A source of moments: the time-stamp counter where the kernel trusts it, else
/// CLOCK_MONOTONIC.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// nanoseconds = (cycles - base) × multiplier / 2^32.
    Tsc {
        base: u64,
        multiplier: u64,
    },
    Monotonic {
        base: std::time::Instant,
    },
}

impl Clock {
    /// The best clock of this host. Takes [`CALIBRATION`] when it is the time-stamp counter.
    #[must_use]
    pub fn system() -> Self {
        if kernel_trusts_tsc() { Self::tsc() } else { None }.unwrap_or_else(Self::monotonic)
    }

    /// CLOCK_MONOTONIC, about 25 ns a reading.
    #[must_use]
    pub fn monotonic() -> Self {
        Self(Source::Monotonic { base: std::time::Instant::now() })
    }

    /// The time-stamp counter, about 8 ns a reading, calibrated against CLOCK_MONOTONIC.
    fn tsc() -> Option<Self> {
        let (base, start) = (tsc::read()?, std::time::Instant::now());
        std::thread::sleep(CALIBRATION);
        let (cycles, nanos) = (tsc::read()?.checked_sub(base)?, start.elapsed().as_nanos());
        let multiplier = u64::try_from((nanos << 32).checked_div(u128::from(cycles))?).ok()?;
        (multiplier > 0).then_some(Self(Source::Tsc { base, multiplier }))
    }

    /// The present moment.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        match self.0 {
            Source::Tsc { base, multiplier } => {
                let cycles = tsc::read().unwrap_or(base).saturating_sub(base);
                Instant(((u128::from(cycles) * u128::from(multiplier)) >> 32) as u64)
            }
            Source::Monotonic { base } => {
                Instant(u64::try_from(base.elapsed().as_nanos()).unwrap_or(u64::MAX))
            }
        }
    }

    /// What the clock is made of, for the start-up line: `tsc` or `monotonic`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.0 {
            Source::Tsc { .. } => "tsc",
            Source::Monotonic { .. } => "monotonic",
        }
    }

    /// Time-stamp counter cycles in a second, where the clock is made of them.
    #[must_use]
    pub const fn cycles_per_second(&self) -> Option<u64> {
        match self.0 {
            Source::Tsc { multiplier, .. } => {
                Some(((1_000_000_000u128 << 32) / multiplier as u128) as u64)
            }
            Source::Monotonic { .. } => None,
        }
    }
}

/// The kernel runs its own time on the counter only after it has found it constant, and
/// synchronised between cores (arch/x86/kernel/tsc.c).
fn kernel_trusts_tsc() -> bool {
    std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        .is_ok_and(|source| source.trim() == "tsc")
}

/// 20 ms against a reading error of 50 ns is 2.5 parts in a million, below what a crystal drifts.
/// Shorter, and timers drift against the kernel's; longer, and every start is slower.
pub const CALIBRATION: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Instant::FAR_FUTURE + Duration::from_secs(1), Instant::FAR_FUTURE);
        assert_eq!(Instant::ZERO - Duration::from_secs(1), Instant::ZERO);
        let (early, late) = (Instant::from_nanos(5), Instant::from_nanos(9));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!(late.saturating_since(early), Duration::from_nanos(4));
    }

    #[test]
    fn a_clock_goes_forward() {
        for clock in [Clock::monotonic(), Clock::system()] {
            let mut last = clock.now();
            for _ in 0..10_000 {
                let now = clock.now();
                assert!(now >= last, "{} went back", clock.name());
                last = now;
            }
        }
    }
}
