//! The document: what `--json` writes. Readers ignore keys that they do not know.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::statistics::Spread;

/// One report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Document {
    /// Of packet-rate.
    pub(crate) version: String,
    /// The commit that it was built from, with `-dirty` when the tree was changed; empty when
    /// there is no git.
    pub(crate) git: String,
    /// What was typed.
    pub(crate) command: String,
    /// The machine, and how it was set up.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, serde_json::Value>,
    /// A figure each.
    pub(crate) results: Vec<Figure>,
    /// Ours over theirs.
    pub(crate) ratios: Vec<Ratio>,
}

/// What one system did in one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// The case: a mode and its parameters.
    pub(crate) name: String,
    /// veth or memory.
    pub(crate) world: String,
    /// corewire, or a peer.
    pub(crate) system: String,
    /// Of `median`, `min`, `max` and `values`.
    pub(crate) unit: String,
    /// The middle run.
    pub(crate) median: f64,
    /// The lowest run.
    pub(crate) min: f64,
    /// The highest run.
    pub(crate) max: f64,
    /// How many runs there were.
    pub(crate) runs: usize,
    /// What each run gave, in order.
    #[serde(default)]
    pub(crate) values: Vec<f64>,
    /// Packets a second that were put on the wire, in the middle run.
    pub(crate) offered: Option<f64>,
    /// Packets a second that did what the case is about, in the middle run.
    pub(crate) delivered: Option<f64>,
    /// What died in all runs, by reason.
    #[serde(default)]
    pub(crate) drops: BTreeMap<String, u64>,
    /// Operations that the figures are made of.
    pub(crate) samples: u64,
    /// Round trips, of all runs together.
    pub(crate) latency_ns: Option<Latency>,
    /// Time-stamp counter cycles in which the system's core worked, a packet.
    pub(crate) cycles_per_packet: Option<f64>,
    /// System calls that the system made, a packet.
    pub(crate) syscalls_per_packet: Option<f64>,
    /// Nanoseconds in user space on the system's core, a packet.
    #[serde(default)]
    pub(crate) user_ns_per_packet: Option<f64>,
    /// Both cores' seconds, by what they were spent on, in all runs.
    #[serde(default)]
    pub(crate) cpu: BTreeMap<String, serde_json::Value>,
    /// Whether nothing below speaks against the figure.
    pub(crate) trusted: bool,
    /// What does, or what a reader must know.
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
}

/// A distribution in nanoseconds; `None` where too few samples were taken for it.
#[derive(Copy, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// The median.
    pub(crate) p50: Option<u64>,
    /// Nine of ten are not above.
    pub(crate) p90: Option<u64>,
    /// 99 of a hundred are not above.
    pub(crate) p99: Option<u64>,
    /// 999 of a thousand are not above.
    #[serde(rename = "p99.9")]
    pub(crate) p999: Option<u64>,
    /// The longest.
    pub(crate) max: Option<u64>,
}

impl Latency {
    /// Percentiles, each only when at least ten samples lie beyond it: p99.9 needs 10,000.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let samples = histogram.len();
        let at = |quantile: f64| {
            let beyond = samples as f64 * (1.0 - quantile);
            (beyond >= SAMPLES_BEYOND).then(|| histogram.value_at_quantile(quantile))
        };
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: (samples > 0).then(|| histogram.max()),
        }
    }
}

/// Ours over theirs, pair by pair: each run of ours with the run of theirs beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ratio {
    /// The case.
    pub(crate) name: String,
    /// veth or memory.
    pub(crate) world: String,
    /// rate, throughput, latency_p50, latency_p99 or time.
    pub(crate) metric: String,
    /// Ours.
    pub(crate) system: String,
    /// Theirs.
    pub(crate) against: String,
    /// The middle pair.
    pub(crate) median: f64,
    /// The lowest pair.
    pub(crate) min: f64,
    /// The highest pair.
    pub(crate) max: f64,
}

impl Ratio {
    /// Of values taken in turn; `None` when there is no pair or a divisor is zero.
    pub(crate) fn of(
        case: (&str, &str),
        metric: &str,
        against: &str,
        ours: &[f64],
        theirs: &[f64],
    ) -> Option<Self> {
        let pairs: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
        let spread = Spread::of(&pairs)?;
        Some(Self {
            name: case.0.into(),
            world: case.1.into(),
            metric: metric.into(),
            system: OURS.into(),
            against: against.into(),
            median: spread.median,
            min: spread.min,
            max: spread.max,
        })
    }
}

/// What we call ourselves in `system`.
pub(crate) const OURS: &str = "corewire";

/// Fewer samples beyond a percentile, and it is the story of a few packets.
const SAMPLES_BEYOND: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_need_samples() {
        let mut histogram = Histogram::new(3).expect("three digits");
        for value in 0..1_000 {
            histogram.record(value).expect("grows");
        }
        let latency = Latency::of(&histogram);
        assert!(latency.p99.is_some_and(|p99| (985..=995).contains(&p99)));
        assert_eq!(latency.p999, None, "one sample beyond it");
        assert_eq!(latency.max, Some(999));
    }

    #[test]
    fn ratios_are_made_pair_by_pair() {
        let ratio = Ratio::of(("n", "w"), "rate", "dpdk", &[2.0, 9.0, 4.0], &[1.0, 3.0, 4.0]);
        let ratio = ratio.expect("three pairs");
        assert!((ratio.median - 2.0).abs() < 1e-9 && (ratio.max - 3.0).abs() < 1e-9);
        assert!(Ratio::of(("n", "w"), "rate", "dpdk", &[2.0], &[0.0]).is_none());
        assert!(Ratio::of(("n", "w"), "rate", "dpdk", &[], &[]).is_none());
    }

    #[test]
    fn the_document_has_the_keys_that_were_promised() {
        let latency = Latency { p50: Some(1), p90: None, p99: None, p999: None, max: None };
        let text = serde_json::to_string(&latency).expect("plain data");
        assert_eq!(text, r#"{"p50":1,"p90":null,"p99":null,"p99.9":null,"max":null}"#);
    }
}
