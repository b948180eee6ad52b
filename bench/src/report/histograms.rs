//! hdrhistogram's own files, for its plotters and for later arithmetic.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2Serializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

/// A latency distribution, and whose it is: case, system.
pub(crate) type Named = (String, &'static str, Histogram<u64>);

/// Percentile tables (`.hgrm`), one below the other, each with its name before it.
pub(crate) fn write_percentiles(to: &mut impl Write, histograms: &[Named]) -> io::Result<()> {
    for (case, system, histogram) in histograms {
        writeln!(to, "#[{case} {system}, nanoseconds]")?;
        writeln!(
            to,
            "{:>12} {:>14} {:>10} {:>14}",
            "Value", "Percentile", "TotalCount", "1/(1-P)"
        )?;
        writeln!(to)?;
        for step in histogram.iter_quantiles(TICKS_PER_HALF) {
            let percentile = step.quantile_iterated_to();
            let value = step.value_iterated_to();
            let count = histogram.count_between(0, value);
            write!(to, "{value:>12} {percentile:>14.12} {count:>10}")?;
            if percentile < 1.0 {
                writeln!(to, " {:>14.2}", 1.0 / (1.0 - percentile))?;
            } else {
                writeln!(to)?;
            }
        }
        writeln!(
            to,
            "#[Mean = {:.3}, StdDeviation = {:.3}]\n#[Max = {}, Total count = {}]",
            histogram.mean(),
            histogram.stdev(),
            histogram.max(),
            histogram.len()
        )?;
    }
    Ok(())
}

/// An interval log (`.hlog`): one interval a distribution, tagged with its name.
pub(crate) fn write_log(to: &mut impl Write, histograms: &[Named]) -> io::Result<()> {
    let mut serializer = V2Serializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("packet-rate: nanoseconds")
        .with_start_time(SystemTime::now())
        .begin_log_with(to, &mut serializer)?;
    for (case, system, histogram) in histograms {
        let name: String =
            format!("{case}.{system}").replace(|c: char| c == ',' || c.is_whitespace(), "-");
        let tag = Tag::new(&name);
        writer
            .write_histogram(histogram, Duration::ZERO, Duration::ZERO, tag)
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
    }
    Ok(())
}

/// HdrHistogram's own tools use five.
const TICKS_PER_HALF: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Named> {
        let mut histogram = Histogram::new(3).expect("three digits");
        for value in [100, 200, 300] {
            histogram.record(value).expect("grows");
        }
        vec![("udp-echo/64B/window-1".into(), "corewire", histogram)]
    }

    #[test]
    fn a_percentile_table_ends_at_the_maximum() {
        let mut text = Vec::new();
        write_percentiles(&mut text, &sample()).expect("memory");
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains("Max = 300, Total count = 3"), "{text}");
        assert!(text.contains("1.000000000000          3"), "{text}");
    }

    #[test]
    fn a_log_has_an_interval_for_each() {
        let mut text = Vec::new();
        write_log(&mut text, &sample()).expect("memory");
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains("Tag=udp-echo/64B/window-1.corewire,"), "{text}");
    }
}
