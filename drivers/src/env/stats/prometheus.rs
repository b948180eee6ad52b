//! Prometheus text (exposition format 0.0.4).

use std::collections::HashSet;
use std::fmt::Write;

use super::{Entry, Kind, Statistics};

/// The text for a scrape: all samples of a metric in one block, each with its process and worker.
#[must_use]
pub fn render(workers: &[Statistics]) -> String {
    let mut text = String::new();
    let mut done = HashSet::new();
    for entry in workers.iter().flat_map(|worker| &worker.entries) {
        if done.insert(entry.metric.as_str()) {
            block(&mut text, entry, workers);
        }
    }
    text
}

fn block(text: &mut String, first: &Entry, workers: &[Statistics]) {
    let (suffix, kind) = match first.kind {
        Kind::Counter => ("_total", "counter"),
        Kind::Gauge => ("", "gauge"),
    };
    let name = format!("corewire_{}{suffix}", first.metric);
    // The help of a labelled metric would be that of its first label.
    let help = if first.metric == super::DROPPED {
        "Packets that died, by reason.".into()
    } else {
        first.help.replace('\\', r"\\").replace('\n', r"\n")
    };
    // Writing to a String never fails.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    for worker in workers {
        for entry in worker.entries.iter().filter(|entry| entry.metric == first.metric) {
            let (pid, number, value) = (worker.pid, worker.worker, entry.value);
            let _ = write!(text, "{name}{{pid=\"{pid}\",worker=\"{number}\"");
            if let Some((label, value)) = &entry.label {
                let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
                let _ = write!(text, ",{label}=\"{value}\"");
            }
            let _ = writeln!(text, "}} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_metric_stand_together_and_are_escaped() {
        let entry = |kind, metric: &str, label: Option<(&str, &str)>, value| Entry {
            kind,
            metric: metric.into(),
            label: label.map(|(key, value)| (key.into(), value.into())),
            help: "Back\\slash.".into(),
            value,
        };
        let worker = |worker, value| Statistics {
            pid: 9,
            worker,
            started: 0,
            alive: true,
            entries: vec![
                entry(Kind::Counter, "turns", None, value),
                entry(Kind::Gauge, "frames", Some(("state", "a\"b\\c")), 1),
                entry(Kind::Gauge, "frames", Some(("state", "held")), 2),
            ],
        };
        let expected = r#"# HELP corewire_turns_total Back\\slash.
# TYPE corewire_turns_total counter
corewire_turns_total{pid="9",worker="0"} 5
corewire_turns_total{pid="9",worker="1"} 6
# HELP corewire_frames Back\\slash.
# TYPE corewire_frames gauge
corewire_frames{pid="9",worker="0",state="a\"b\\c"} 1
corewire_frames{pid="9",worker="0",state="held"} 2
corewire_frames{pid="9",worker="1",state="a\"b\\c"} 1
corewire_frames{pid="9",worker="1",state="held"} 2
"#;
        assert_eq!(render(&[worker(0, 5), worker(1, 6)]), expected);
    }
}
