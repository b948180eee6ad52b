//! One run: threads pinned to their cores, a warm-up, a window, and what was counted in it.
//!
//! Each thread has a [`Gauge`], which it alone writes. The main thread reads all gauges at both
//! ends of the window, so no thread reads a clock for the sake of a rate.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use hdrhistogram::Histogram;

use crate::cpu::{CoreSeconds, CoreTimes, Switches};
use crate::sys;
use crate::world::veth::Host;

/// How long, and where.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Load without counting, first.
    pub(crate) warmup: Duration,
    /// Then load and counting.
    pub(crate) window: Duration,
    /// The core of the load generator.
    pub(crate) generator_core: usize,
    /// The core of the system under test.
    pub(crate) system_core: usize,
}

/// What one thread does in a run.
pub(crate) struct Role<'a> {
    /// On which side it is counted.
    pub(crate) side: Side,
    /// The network namespace that it runs in.
    pub(crate) host: Option<&'a Host>,
    /// Its work: calls [`Cue::ready`] when set up, then goes on until [`Cue::stopped`].
    pub(crate) body: Body<'a>,
}

/// A role's work.
pub(crate) type Body<'a> = Box<dyn FnOnce(&Cue<'_>) -> io::Result<Outcome> + Send + 'a>;

/// The two sides of a run. The generator is told to start when the system is ready.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// What is measured.
    System,
    /// What loads it.
    Generator,
}

/// What a thread leaves behind.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Round trips in nanoseconds, of the window only.
    pub(crate) latency: Option<Histogram<u64>>,
    /// What died, by reason.
    pub(crate) drops: BTreeMap<String, u64>,
    /// What a reader of the figures must know.
    pub(crate) warnings: Vec<String>,
}

/// Counters of one thread, which it alone writes.
#[derive(Default)]
pub(crate) struct Gauge {
    packets: CachePadded<AtomicU64>,
    calls: AtomicU64,
    offered: AtomicU64,
}

impl Gauge {
    /// Adds to a counter of which the calling thread is the only writer.
    fn add(counter: &AtomicU64, count: u64) {
        // Relaxed: a number to be read later, it publishes nothing.
        counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// Packets that did what the mode is about.
    pub(crate) fn packets(&self, count: u64) {
        Self::add(&self.packets, count);
    }

    /// System calls made for them.
    pub(crate) fn calls(&self, count: u64) {
        Self::add(&self.calls, count);
    }

    /// Packets that were put on the wire to begin with.
    pub(crate) fn offered(&self, count: u64) {
        Self::add(&self.offered, count);
    }

    fn read(&self) -> Reading {
        Reading {
            packets: self.packets.load(Ordering::Relaxed),
            calls: self.calls.load(Ordering::Relaxed),
            offered: self.offered.load(Ordering::Relaxed),
        }
    }
}

/// A gauge at one moment, or over a window.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Reading {
    /// See [`Gauge::packets`].
    pub(crate) packets: u64,
    /// See [`Gauge::calls`].
    pub(crate) calls: u64,
    /// See [`Gauge::offered`].
    pub(crate) offered: u64,
}

impl Reading {
    fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets - earlier.packets,
            calls: self.calls - earlier.calls,
            offered: self.offered - earlier.offered,
        }
    }
}

/// What a thread hears from the main thread.
pub(crate) struct Cue<'a> {
    phase: &'a AtomicU8,
    /// The thread's own counters.
    pub(crate) gauge: &'a Gauge,
    ready: mpsc::Sender<()>,
}

impl Cue<'_> {
    /// The thread is set up; the next may start.
    pub(crate) fn ready(&self) {
        // The main thread has gone only when the run has failed; `stopped` will say so.
        let _ = self.ready.send(());
    }

    /// The window is open.
    #[inline]
    pub(crate) fn measuring(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == MEASURE
    }

    /// It is over.
    #[inline]
    pub(crate) fn stopped(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == STOP
    }
}

/// What was seen in one window.
pub(crate) struct Measured {
    /// How long the window was in truth.
    pub(crate) window: Duration,
    /// Counters of each role, in the order of the roles.
    pub(crate) gauges: Vec<Reading>,
    /// What the roles left behind, in the same order.
    pub(crate) outcomes: Vec<Outcome>,
    /// The system's core.
    pub(crate) system: CoreSeconds,
    /// The generator's core.
    pub(crate) generator: CoreSeconds,
    /// What the caller's own meters counted.
    pub(crate) meters: Vec<u64>,
}

/// Counters outside of the threads: a BPF map, another process.
pub(crate) type Meter<'a> = Box<dyn Fn() -> u64 + 'a>;

/// Runs the roles once.
///
/// # Errors
/// The first error of a role; `Interrupted` when `interrupt` was set.
pub(crate) fn perform(
    plan: &Plan,
    roles: Vec<Role<'_>>,
    meters: &[Meter<'_>],
    progress: &mut dyn FnMut(u64),
    interrupt: &AtomicBool,
) -> io::Result<Measured> {
    let phase = AtomicU8::new(WARM_UP);
    let gauges: Vec<Gauge> = roles.iter().map(|_| Gauge::default()).collect();
    let threads: Vec<AtomicU32> = roles.iter().map(|_| AtomicU32::new(0)).collect();
    let sides: Vec<Side> = roles.iter().map(|role| role.side).collect();
    std::thread::scope(|scope| {
        let mut handles = Vec::new();
        let mut failed = false;
        for ((role, gauge), thread) in roles.into_iter().zip(&gauges).zip(&threads) {
            let (ready, is_ready) = mpsc::channel();
            let cue = Cue { phase: &phase, gauge, ready };
            let core = match role.side {
                Side::System => plan.system_core,
                Side::Generator => plan.generator_core,
            };
            handles.push(scope.spawn(move || play(role, core, thread, &cue)));
            // A role that fails drops its sender without a word.
            if is_ready.recv_timeout(START_LIMIT).is_err() {
                failed = true;
                break;
            }
        }
        let seen = if failed {
            None
        } else {
            let watch = Watch { plan, gauges: &gauges, meters, threads: &threads, sides: &sides };
            watch.window(&phase, progress, interrupt)
        };
        phase.store(STOP, Ordering::Relaxed);
        let mut outcomes = Vec::new();
        for handle in handles {
            match handle.join() {
                Ok(outcome) => outcomes.push(outcome?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        let mut seen = match seen {
            Some(seen) => seen,
            None if failed => return Err(io::Error::other("a benchmark thread did not start")),
            None => return Err(io::ErrorKind::Interrupted.into()),
        };
        seen.outcomes = outcomes;
        Ok(seen)
    })
}

/// The life of one role's thread.
fn play(role: Role<'_>, core: usize, thread: &AtomicU32, cue: &Cue<'_>) -> io::Result<Outcome> {
    sys::pin_to(core)?;
    if let Some(host) = role.host {
        host.enter()?;
    }
    thread.store(sys::thread_id(), Ordering::Relaxed);
    (role.body)(cue)
}

/// What the main thread looks at.
struct Watch<'a> {
    plan: &'a Plan,
    gauges: &'a [Gauge],
    meters: &'a [Meter<'a>],
    threads: &'a [AtomicU32],
    sides: &'a [Side],
}

/// All counters at one moment.
struct Snapshot {
    at: Instant,
    gauges: Vec<Reading>,
    meters: Vec<u64>,
    system: CoreTimes,
    generator: CoreTimes,
    switches: [Switches; 2],
}

impl Watch<'_> {
    /// Warm-up and window; `None` when interrupted.
    fn window(
        &self,
        phase: &AtomicU8,
        progress: &mut dyn FnMut(u64),
        interrupt: &AtomicBool,
    ) -> Option<Measured> {
        if !sleep(self.plan.warmup, interrupt) {
            return None;
        }
        let before = self.snapshot();
        phase.store(MEASURE, Ordering::Relaxed);
        let end = before.at + self.plan.window;
        let mut line_due = before.at + Duration::from_secs(1);
        let mut last = self.total(&before.gauges, &before.meters);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let next = line_due.saturating_duration_since(Instant::now());
            if !sleep(left.min(next), interrupt) {
                return None;
            }
            if Instant::now() < line_due {
                continue;
            }
            line_due += Duration::from_secs(1);
            let gauges: Vec<Reading> = self.gauges.iter().map(Gauge::read).collect();
            let meters: Vec<u64> = self.meters.iter().map(|meter| meter()).collect();
            let total = self.total(&gauges, &meters);
            progress(total.saturating_sub(last));
            last = total;
        }
        let after = self.snapshot();
        Some(self.between(&before, &after))
    }

    /// What the per-second line shows: the caller's first meter, else the last gauge that moves.
    fn total(&self, gauges: &[Reading], meters: &[u64]) -> u64 {
        meters.first().copied().unwrap_or_else(|| {
            gauges.iter().rev().map(|reading| reading.packets).find(|n| *n > 0).unwrap_or(0)
        })
    }

    fn snapshot(&self) -> Snapshot {
        let mut switches = [Switches::default(); 2];
        for (thread, side) in self.threads.iter().zip(self.sides) {
            let sum = &mut switches[*side as usize];
            *sum = sum.and(Switches::of(thread.load(Ordering::Relaxed)));
        }
        let system = CoreTimes::read(self.plan.system_core);
        let generator = CoreTimes::read(self.plan.generator_core);
        Snapshot {
            switches,
            system,
            generator,
            gauges: self.gauges.iter().map(Gauge::read).collect(),
            meters: self.meters.iter().map(|meter| meter()).collect(),
            at: Instant::now(),
        }
    }

    fn between(&self, before: &Snapshot, after: &Snapshot) -> Measured {
        let gauges = after.gauges.iter().zip(&before.gauges);
        let meters = after.meters.iter().zip(&before.meters);
        let with_switches = |side: Side, core: CoreSeconds| {
            let (now, then) = (after.switches[side as usize], before.switches[side as usize]);
            CoreSeconds {
                context_switches: now.all.saturating_sub(then.all),
                preemptions: now.preemptions.saturating_sub(then.preemptions),
                ..core
            }
        };
        let system = after.system.since(before.system, self.plan.system_core);
        let generator = after.generator.since(before.generator, self.plan.generator_core);
        Measured {
            window: after.at - before.at,
            gauges: gauges.map(|(now, then)| now.since(*then)).collect(),
            outcomes: Vec::new(),
            system: with_switches(Side::System, system),
            generator: with_switches(Side::Generator, generator),
            meters: meters.map(|(now, then)| now.saturating_sub(*then)).collect(),
        }
    }
}

/// Sleeps, and returns whether nobody interrupted.
fn sleep(time: Duration, interrupt: &AtomicBool) -> bool {
    let end = Instant::now() + time;
    loop {
        if interrupt.load(Ordering::Relaxed) {
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// A role that is not ready by then never will be. DPDK takes about two seconds; a queue that is
/// still being freed, one.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Tries until it works: what a run sees in its window depends on whether the machine let its
/// threads run at all.
#[cfg(test)]
pub(crate) fn eventually(mut works: impl FnMut() -> bool) {
    assert!((0..100).any(|_| works()), "never worked");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            warmup: Duration::from_millis(10),
            window: Duration::from_millis(50),
            generator_core: 0,
            system_core: 0,
        }
    }

    #[test]
    fn only_the_window_is_counted() {
        let body = |cue: &Cue<'_>| {
            cue.gauge.packets(1_000_000);
            cue.ready();
            let mut counted = 0;
            while !cue.stopped() {
                if cue.measuring() && counted < 5 {
                    cue.gauge.packets(1);
                    counted += 1;
                }
                std::thread::yield_now();
            }
            Ok(Outcome::default())
        };
        let never = AtomicBool::new(false);
        eventually(|| {
            let role = Role { side: Side::System, host: None, body: Box::new(body) };
            let seen = perform(&plan(), vec![role], &[], &mut |_| {}, &never).expect("a run");
            assert!(seen.window >= Duration::from_millis(50));
            assert!(seen.gauges[0].packets <= 5, "what came before the window was counted");
            seen.gauges[0].packets == 5
        });
    }

    #[test]
    fn a_role_that_fails_ends_the_run_with_its_error() {
        let fails = |_: &Cue<'_>| Err(io::Error::from_raw_os_error(libc::EBUSY));
        let role = Role { side: Side::System, host: None, body: Box::new(fails) };
        let never = AtomicBool::new(false);
        let seen = perform(&plan(), vec![role], &[], &mut |_| {}, &never);
        assert_eq!(seen.err().and_then(|error| error.raw_os_error()), Some(libc::EBUSY));
    }

    #[test]
    fn an_interrupt_ends_the_run() {
        let body = |cue: &Cue<'_>| {
            cue.ready();
            while !cue.stopped() {
                std::thread::yield_now();
            }
            Ok(Outcome::default())
        };
        let role = Role { side: Side::System, host: None, body: Box::new(body) };
        let at_once = AtomicBool::new(true);
        let seen = perform(&plan(), vec![role], &[], &mut |_| {}, &at_once);
        assert_eq!(seen.err().map(|error| error.kind()), Some(io::ErrorKind::Interrupted));
    }
}
