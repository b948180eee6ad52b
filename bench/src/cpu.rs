//! What the cores did, as the kernel counts it: /proc/stat and the threads' context switches.
//!
//! Ticks are 10 ms, so a window of a second is good to a percent.

use std::time::Duration;

use serde::Serialize;

/// A core's time since boot, by what it was spent on.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CoreTimes {
    user: u64,
    system: u64,
    idle: u64,
    softirq: u64,
    steal: u64,
}

/// Seconds of a core in a window, by what they were spent on.
#[derive(Copy, Clone, Debug, Default, Serialize)]
pub(crate) struct CoreSeconds {
    /// Which core.
    pub(crate) core: usize,
    /// In user space.
    pub(crate) user: f64,
    /// In the kernel, for a process.
    pub(crate) system: f64,
    /// In the kernel's packet processing, for whoever was interrupted.
    pub(crate) softirq: f64,
    /// Taken by the hypervisor for other guests.
    pub(crate) steal: f64,
    /// Unused.
    pub(crate) idle: f64,
    /// Context switches of the side's threads: they waited, or were made to.
    pub(crate) context_switches: u64,
    /// Those of them in which another thread took the core.
    pub(crate) preemptions: u64,
}

impl CoreTimes {
    /// Reads a core's line of /proc/stat; zeroes when there is none.
    pub(crate) fn read(core: usize) -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        Self::find(&stat, core).unwrap_or_default()
    }

    /// `cpuN user nice system idle iowait irq softirq steal guest guest_nice` (proc_stat(5)).
    fn find(stat: &str, core: usize) -> Option<Self> {
        let label = format!("cpu{core} ");
        let line = stat.lines().find_map(|line| line.strip_prefix(&label))?;
        let ticks: Vec<u64> =
            line.split_whitespace().map(|number| number.parse().unwrap_or(0)).collect();
        let tick = |index: usize| ticks.get(index).copied();
        Some(Self {
            user: tick(0)? + tick(1)?,
            system: tick(2)?,
            idle: tick(3)? + tick(4)?,
            softirq: tick(5)? + tick(6)?,
            steal: tick(7).unwrap_or(0),
        })
    }

    /// The seconds between `earlier` and this reading of the same core.
    pub(crate) fn since(self, earlier: Self, core: usize) -> CoreSeconds {
        let seconds = |now: u64, then: u64| now.saturating_sub(then) as f64 / TICKS_PER_SECOND;
        CoreSeconds {
            core,
            user: seconds(self.user, earlier.user),
            system: seconds(self.system, earlier.system),
            softirq: seconds(self.softirq, earlier.softirq),
            steal: seconds(self.steal, earlier.steal),
            idle: seconds(self.idle, earlier.idle),
            context_switches: 0,
            preemptions: 0,
        }
    }
}

impl CoreSeconds {
    /// Seconds in which the core worked.
    pub(crate) fn busy(&self) -> f64 {
        self.user + self.system + self.softirq
    }

    /// The part of a window that the hypervisor took away.
    pub(crate) fn stolen_share(&self, window: Duration) -> f64 {
        self.steal / window.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// How often a thread was switched out.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Switches {
    /// In all.
    pub(crate) all: u64,
    /// Because another thread took the core.
    pub(crate) preemptions: u64,
}

impl Switches {
    /// Of one of this machine's threads or processes; zeroes when it is gone.
    pub(crate) fn of(thread: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
        let read = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        let preemptions = read("nonvoluntary_ctxt_switches:");
        Self { all: read("voluntary_ctxt_switches:") + preemptions, preemptions }
    }

    /// Both sums.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { all: self.all + other.all, preemptions: self.preemptions + other.preemptions }
    }
}

/// USER_HZ, which is 100 on every architecture that Linux runs on here (include/asm-generic/
/// param.h).
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_found_by_its_whole_number() {
        let stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu10 7 0 0 0 0 0 0 0 0 0\n\
                    cpu1 100 20 300 400 50 6 70 8 0 0\n";
        let times = CoreTimes::find(stat, 1).expect("cpu1");
        let seconds = times.since(CoreTimes::default(), 1);
        assert!((seconds.user - 1.2).abs() < 1e-9);
        assert!((seconds.softirq - 0.76).abs() < 1e-9);
        assert!((seconds.steal - 0.08).abs() < 1e-9);
        assert!((seconds.busy() - 4.96).abs() < 1e-9);
        assert_eq!(CoreTimes::find(stat, 2), None);
    }

    #[test]
    fn this_process_has_switched() {
        std::thread::sleep(Duration::from_millis(1));
        assert!(Switches::of(crate::sys::thread_id()).all > 0);
        assert_eq!(Switches::of(u32::MAX), Switches::default());
    }
}
