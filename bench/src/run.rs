//! Cases: the same work by several systems, run in turn (A B A B …), so that what disturbs the
//! machine for a while disturbs all of them.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::measure::{Measured, Meter, Plan, Role, perform};
use crate::report::document::{Figure, Latency, OURS, Ratio};
use crate::report::statistics::Spread;

/// What all cases of one invocation share.
pub(crate) struct Session<'a> {
    /// How long and where a run is.
    pub(crate) plan: Plan,
    /// How many runs of each system.
    pub(crate) runs: u32,
    /// Time-stamp counter cycles a second, where the clock is made of them.
    pub(crate) cycles_per_second: Option<u64>,
    /// Set by SIGINT: finish with what there is.
    pub(crate) interrupt: &'a AtomicBool,
}

/// The same work, by several systems.
pub(crate) struct Case<'a> {
    /// A mode and its parameters: `udp-echo/64B/window-32`.
    pub(crate) name: String,
    /// veth or memory.
    pub(crate) world: &'static str,
    /// What a sample's value is in: `packets/s`, `echoes/s`, `ns`.
    pub(crate) unit: &'static str,
    /// What a ratio of values is called: `rate`, `throughput` or `time`.
    pub(crate) metric: &'static str,
    /// Who does it, ours first.
    pub(crate) contestants: Vec<Contestant<'a>>,
}

/// One run of one system, to be repeated.
pub(crate) type Runner<'a> = Box<dyn FnMut(&Session<'_>) -> Result<Sample, Refusal> + 'a>;

/// One system.
pub(crate) struct Contestant<'a> {
    /// As it is called in a report's `system`.
    pub(crate) system: &'static str,
    /// Does one run.
    pub(crate) run: Runner<'a>,
}

/// Why there is no sample.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// This machine can't: not installed, no privilege. Says what to do.
    Impossible(String),
    /// It should have worked.
    Failed(io::Error),
}

/// What is not supported or not permitted is not possible here; anything else is a failure.
impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied => {
                Self::Impossible(error.to_string())
            }
            _ => Self::Failed(error),
        }
    }
}

/// What one run gave.
#[derive(Default)]
pub(crate) struct Sample {
    /// In the case's unit.
    pub(crate) value: f64,
    /// Operations that the value is made of.
    pub(crate) operations: u64,
    /// Packets a second that were put on the wire.
    pub(crate) offered: Option<f64>,
    /// Packets a second that did what the case is about.
    pub(crate) delivered: Option<f64>,
    /// Round trips.
    pub(crate) latency: Option<Histogram<u64>>,
    /// What died, by reason.
    pub(crate) drops: BTreeMap<String, u64>,
    /// See [`Figure::cycles_per_packet`].
    pub(crate) cycles_per_packet: Option<f64>,
    /// See [`Figure::syscalls_per_packet`].
    pub(crate) syscalls_per_packet: Option<f64>,
    /// See [`Figure::user_ns_per_packet`].
    pub(crate) user_ns_per_packet: Option<f64>,
    /// Both cores' seconds.
    pub(crate) cpu: BTreeMap<String, serde_json::Value>,
    /// Speaks against the figure.
    pub(crate) doubts: Vec<String>,
    /// Does not, but must be known.
    pub(crate) notes: Vec<String>,
}

impl Session<'_> {
    /// Runs the roles once; shows each second of it.
    pub(crate) fn perform(
        &self,
        label: &str,
        roles: Vec<Role<'_>>,
        meters: &[Meter<'_>],
    ) -> Result<Measured, Refusal> {
        let mut progress = |packets: u64| eprintln!("  {label}: {packets} in this second");
        Ok(perform(&self.plan, roles, meters, &mut progress, self.interrupt)?)
    }

    /// What every sample of a rate has: `packets` of the case, and what the cores did meanwhile.
    pub(crate) fn sample(&self, measured: &mut Measured, packets: u64) -> Sample {
        let window = measured.window;
        let per_packet = |seconds: f64| seconds / packets.max(1) as f64;
        let mut sample = Sample {
            value: packets as f64 / window.as_secs_f64(),
            delivered: Some(packets as f64 / window.as_secs_f64()),
            operations: packets,
            cycles_per_packet: self
                .cycles_per_second
                .map(|hertz| per_packet(measured.system.busy()) * hertz as f64),
            user_ns_per_packet: Some(per_packet(measured.system.user) * 1e9),
            ..Sample::default()
        };
        for outcome in &mut measured.outcomes {
            for (reason, count) in &outcome.drops {
                *sample.drops.entry(reason.clone()).or_default() += count;
            }
            sample.doubts.append(&mut outcome.warnings);
            sample.latency = sample.latency.take().or_else(|| outcome.latency.take());
        }
        if let Some(wrong) = sample.drops.get("wrong_answers").filter(|count| **count > 0) {
            sample.doubts.push(format!("{wrong} answers had wrong bytes"));
        }
        for (side, core) in [("system", measured.system), ("generator", measured.generator)] {
            let preemptions = core.preemptions as f64 / window.as_secs_f64();
            if preemptions > PREEMPTIONS_LIMIT {
                sample.doubts.push(format!(
                    "other threads took core {} from the {side} {preemptions:.0} times a second",
                    core.core
                ));
            }
            if let Ok(value) = serde_json::to_value(core) {
                sample.cpu.insert(side.into(), value);
            }
            // A single tick of a short window is no evidence.
            if core.stolen_share(window) > STOLEN_LIMIT && core.steal > STOLEN_TICK {
                sample.doubts.push(format!(
                    "the hypervisor took {:.1} % of core {}, which the {side} had",
                    core.stolen_share(window) * 100.0,
                    core.core
                ));
            }
        }
        sample
    }
}

/// What came out of all cases.
#[derive(Default)]
pub(crate) struct Findings {
    /// A figure for each system in each case.
    pub(crate) figures: Vec<Figure>,
    /// Ours over each peer's.
    pub(crate) ratios: Vec<Ratio>,
    /// The latencies behind the figures: (case, system, all runs' round trips).
    pub(crate) histograms: Vec<(String, &'static str, Histogram<u64>)>,
    /// What was not possible here, a line each.
    pub(crate) impossible: Vec<String>,
    /// What failed, a line each.
    pub(crate) failures: Vec<String>,
}

impl Findings {
    /// Runs a case to its end, or until interrupted, and keeps what was found.
    pub(crate) fn add(&mut self, session: &Session<'_>, mut case: Case<'_>) {
        let mut samples: Vec<Vec<Sample>> = case.contestants.iter().map(|_| Vec::new()).collect();
        let mut out = vec![false; case.contestants.len()];
        'runs: for run in 1..=session.runs {
            let contestants = case.contestants.iter_mut().zip(&mut samples).zip(&mut out);
            for ((contestant, samples), out) in contestants.filter(|(_, out)| !**out) {
                if session.interrupt.load(Ordering::Relaxed) {
                    break 'runs;
                }
                let system = contestant.system;
                eprintln!("{} {} {system}, run {run} of {}", case.world, case.name, session.runs);
                match (contestant.run)(session) {
                    Ok(sample) => samples.push(sample),
                    Err(Refusal::Failed(error)) if error.kind() == io::ErrorKind::Interrupted => {
                        break 'runs;
                    }
                    Err(refusal) => {
                        *out = true;
                        self.refuse(&case.name, case.world, system, refusal);
                    }
                }
            }
        }
        self.conclude(&case, samples);
    }

    fn refuse(&mut self, name: &str, world: &str, system: &str, refusal: Refusal) {
        let (list, why) = match refusal {
            Refusal::Impossible(why) => (&mut self.impossible, why),
            Refusal::Failed(error) => (&mut self.failures, error.to_string()),
        };
        let line = format!("{name} in {world}, {system}: {why}");
        eprintln!("{line}");
        list.push(line);
    }

    fn conclude(&mut self, case: &Case<'_>, samples: Vec<Vec<Sample>>) {
        let systems = case.contestants.iter().map(|contestant| contestant.system);
        let mut ours = Series::default();
        for (system, samples) in systems.zip(samples) {
            let series = Series::of(&samples);
            if system == OURS {
                ours = series;
            } else {
                self.ratios.extend(ours.over(&series, case, system));
            }
            if let Some((figure, histogram)) = figure(case, system, samples) {
                self.figures.push(figure);
                if let Some(histogram) = histogram {
                    self.histograms.push((case.name.clone(), system, histogram));
                }
            }
        }
    }
}

/// One system's runs, as ratios need them.
#[derive(Default)]
struct Series {
    values: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Series {
    fn of(samples: &[Sample]) -> Self {
        let at = |quantile: f64| {
            let latencies = samples.iter().filter_map(|sample| sample.latency.as_ref());
            latencies.map(|latency| latency.value_at_quantile(quantile) as f64).collect()
        };
        let values = samples.iter().map(|sample| sample.value).collect();
        Self { values, p50: at(0.5), p99: at(0.99) }
    }

    fn over(&self, theirs: &Self, case: &Case<'_>, against: &str) -> Vec<Ratio> {
        let name = (case.name.as_str(), case.world);
        [
            Ratio::of(name, case.metric, against, &self.values, &theirs.values),
            Ratio::of(name, "latency_p50", against, &self.p50, &theirs.p50),
            Ratio::of(name, "latency_p99", against, &self.p99, &theirs.p99),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The figure of some runs; `None` of none.
fn figure(
    case: &Case<'_>,
    system: &str,
    samples: Vec<Sample>,
) -> Option<(Figure, Option<Histogram<u64>>)> {
    let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    let spread = Spread::of(&values)?;
    let middle = samples.iter().min_by(|a, b| {
        (a.value - spread.median).abs().total_cmp(&(b.value - spread.median).abs())
    })?;
    let middle_of = |pick: fn(&Sample) -> Option<f64>| {
        let values: Vec<f64> = samples.iter().filter_map(pick).collect();
        Spread::of(&values).map(|spread| spread.median)
    };
    let mut figure = Figure {
        name: case.name.clone(),
        world: case.world.into(),
        system: system.into(),
        unit: case.unit.into(),
        median: spread.median,
        min: spread.min,
        max: spread.max,
        runs: values.len(),
        offered: middle.offered,
        delivered: middle.delivered,
        drops: BTreeMap::new(),
        samples: samples.iter().map(|sample| sample.operations).sum(),
        latency_ns: None,
        cycles_per_packet: middle_of(|sample| sample.cycles_per_packet),
        syscalls_per_packet: middle_of(|sample| sample.syscalls_per_packet),
        user_ns_per_packet: middle_of(|sample| sample.user_ns_per_packet),
        cpu: middle.cpu.clone(),
        trusted: true,
        warnings: Vec::new(),
        values,
    };
    let (mut all, mut doubts, mut notes) = (None::<Histogram<u64>>, Vec::new(), Vec::new());
    for sample in samples {
        for (reason, count) in sample.drops {
            *figure.drops.entry(reason).or_default() += count;
        }
        doubts.extend(sample.doubts);
        notes.extend(sample.notes);
        match (&mut all, sample.latency) {
            (None, latency) => all = latency,
            // Both have the same bounds and digits, so this can't fail.
            (Some(all), Some(latency)) => all.add(&latency).unwrap_or_default(),
            (Some(_), None) => {}
        }
    }
    figure.latency_ns = all.as_ref().map(Latency::of);
    if let Some(Latency { p99: None, .. }) = figure.latency_ns {
        doubts.push(format!("too few samples ({}) for p99", figure.samples));
    }
    if spread.relative_range() > SPREAD_LIMIT {
        doubts.push(format!("the runs lie {:.0} % apart", spread.relative_range() * 100.0));
    }
    figure.trusted = doubts.is_empty();
    figure.warnings = doubts.into_iter().chain(notes).collect();
    // The same doubt of several runs, with other numbers, is one doubt.
    let words = |warning: &mut String| {
        warning.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect::<String>()
    };
    figure.warnings.sort_by_key(|warning| words(&mut warning.clone()));
    figure.warnings.dedup_by_key(words);
    Some((figure, all))
}

/// A histogram as all latencies here are kept: nanoseconds up to a minute, with three digits,
/// which are a hundredth of the noise. It never grows, so recording never allocates.
pub(crate) fn latency_histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(io::Error::other)
}

/// A rate from a count.
pub(crate) fn per_second(count: u64, window: Duration) -> f64 {
    count as f64 / window.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// More of a core taken by other guests, and the figure is about them (BEN-2).
const STOLEN_LIMIT: f64 = 0.01;

/// What one tick of /proc/stat is worth, and a bit.
const STOLEN_TICK: f64 = 0.015;

/// The kernel's own threads take a core a few times a second; more is somebody else's work.
const PREEMPTIONS_LIMIT: f64 = 20.0;

/// Gaps under a tenth are noise on this kind of machine; runs that lie further apart than twice
/// that were disturbed.
const SPREAD_LIMIT: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;

    fn session(interrupt: &AtomicBool) -> Session<'_> {
        let plan = Plan {
            warmup: Duration::ZERO,
            window: Duration::from_secs(1),
            generator_core: 0,
            system_core: 0,
        };
        Session { plan, runs: 3, cycles_per_second: None, interrupt }
    }

    fn contestant(system: &'static str, values: &'static [f64]) -> Contestant<'static> {
        let mut values = values.iter();
        Contestant {
            system,
            run: Box::new(move |_| match values.next() {
                Some(value) => Ok(Sample { value: *value, operations: 1, ..Sample::default() }),
                None => Err(Refusal::Impossible("not installed".into())),
            }),
        }
    }

    fn case(contestants: Vec<Contestant<'_>>) -> Case<'_> {
        let name = "case".to_owned();
        Case { name, world: "memory", unit: "packets/s", metric: "rate", contestants }
    }

    #[test]
    fn ratios_are_of_runs_side_by_side() {
        let never = AtomicBool::new(false);
        let mut findings = Findings::default();
        let contestants =
            vec![contestant(OURS, &[10.0, 11.0, 12.0]), contestant("dpdk", &[5.0, 11.0, 4.0])];
        findings.add(&session(&never), case(contestants));
        assert!((findings.ratios[0].median - 2.0).abs() < 1e-9);
        assert!((findings.figures[0].median - 11.0).abs() < 1e-9);
        assert!(findings.figures[0].trusted, "{:?}", findings.figures[0].warnings);
        assert!(!findings.figures[1].trusted, "4 to 11 is no steady figure");
    }

    #[test]
    fn a_peer_that_is_not_there_leaves_no_figure() {
        let never = AtomicBool::new(false);
        let mut findings = Findings::default();
        findings.add(
            &session(&never),
            case(vec![contestant(OURS, &[1.0, 1.0, 1.0]), contestant("dpdk", &[])]),
        );
        assert_eq!((findings.figures.len(), findings.ratios.len()), (1, 0));
        assert_eq!(findings.impossible.len(), 1, "asked once, not in every run");
    }

    #[test]
    fn an_interrupt_keeps_what_there_is() {
        let at_once = AtomicBool::new(true);
        let mut findings = Findings::default();
        findings.add(&session(&at_once), case(vec![contestant(OURS, &[1.0])]));
        assert!(findings.figures.is_empty() && findings.failures.is_empty());
    }
}
