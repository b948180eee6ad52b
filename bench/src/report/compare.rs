//! Two reports, figure by figure.

use super::document::{Document, Figure};

/// A report of what changed from `a` to `b`, and whether something got worse beyond the noise.
pub(crate) fn compare(a: &Document, b: &Document) -> (String, bool) {
    let mut text = String::new();
    let mut worse = false;
    for after in &b.results {
        let before = a.results.iter().find(|before| same_case(before, after));
        let Some(before) = before else {
            text +=
                &format!("{} {} {}: only in the second\n", after.world, after.name, after.system);
            continue;
        };
        let change = Change::of(before, after);
        worse |= change.verdict == "worse";
        text += &format!(
            "{} {} {}: {:.3} (noise ±{:.0} %) {}\n",
            after.world,
            after.name,
            after.system,
            change.ratio,
            change.noise * 100.0,
            change.verdict
        );
    }
    for before in &a.results {
        if !b.results.iter().any(|after| same_case(before, after)) {
            let Figure { world, name, system, .. } = before;
            text += &format!("{world} {name} {system}: only in the first\n");
        }
    }
    (text, worse)
}

fn same_case(a: &Figure, b: &Figure) -> bool {
    (&a.name, &a.world, &a.system, &a.unit) == (&b.name, &b.world, &b.system, &b.unit)
}

struct Change {
    ratio: f64,
    noise: f64,
    verdict: &'static str,
}

impl Change {
    /// The ratio of the medians; noise is how far the runs of either lie from its median, and
    /// [`NOISE`] at least.
    fn of(before: &Figure, after: &Figure) -> Self {
        let ratio = after.median / before.median;
        let apart = |figure: &Figure| (figure.max - figure.min) / figure.median.abs() / 2.0;
        let noise = apart(before).max(apart(after)).max(NOISE);
        // A time should be small, a rate large.
        let gain = if after.unit == "ns" { 1.0 / ratio } else { ratio };
        let verdict = match gain {
            gain if gain < 1.0 - noise => "worse",
            gain if gain > 1.0 + noise => "better",
            _ => "same",
        };
        Self { ratio, noise, verdict }
    }
}

/// Gaps under a tenth are noise on a machine that others share.
const NOISE: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    fn document(unit: &str, median: f64) -> Document {
        let figure = serde_json::json!({
            "name": "n", "world": "memory", "system": "corewire", "unit": unit,
            "median": median, "min": median, "max": median, "runs": 1, "samples": 1,
            "trusted": true, "a key of a later version": 1,
        });
        serde_json::from_value(serde_json::json!({
            "version": "1", "git": "", "command": "", "results": [figure], "ratios": [],
        }))
        .expect("a document")
    }

    #[test]
    fn a_slower_rate_and_a_longer_time_are_worse() {
        let worse =
            |unit, before, after| compare(&document(unit, before), &document(unit, after)).1;
        assert!(worse("packets/s", 10.0, 8.0));
        assert!(!worse("packets/s", 10.0, 9.5), "noise");
        assert!(!worse("packets/s", 8.0, 10.0));
        assert!(worse("ns", 8.0, 10.0));
        assert!(!worse("ns", 10.0, 8.0));
    }

    #[test]
    fn a_case_of_one_report_only_is_named() {
        let (text, worse) = compare(&document("ns", 1.0), &document("packets/s", 1.0));
        assert!(text.contains("only in the first") && text.contains("only in the second"));
        assert!(!worse);
    }
}
