//! The table on the screen.

use std::fmt::Write as _;

use super::document::{Document, Figure};

/// The figures, the ratios, and every warning, for a terminal.
pub(crate) fn render(document: &Document) -> String {
    let mut text = String::new();
    let header = ["case", "world", "system", "median", "min … max", "p50", "p99", "note"];
    let mut rows: Vec<[String; 8]> = vec![header.map(str::to_owned)];
    rows.extend(document.figures().map(|(figure, mark)| row(figure, &mark)));
    columns(&mut text, &rows);
    if !document.ratios.is_empty() {
        text.push('\n');
        let header = ["ours over theirs", "world", "metric", "against", "median", "min … max"];
        let mut rows: Vec<[String; 6]> = vec![header.map(str::to_owned)];
        rows.extend(document.ratios.iter().map(|ratio| {
            [
                ratio.name.clone(),
                ratio.world.clone(),
                ratio.metric.clone(),
                ratio.against.clone(),
                format!("{:.2}", ratio.median),
                format!("{:.2} … {:.2}", ratio.min, ratio.max),
            ]
        }));
        columns(&mut text, &rows);
    }
    for (figure, mark) in document.figures() {
        for warning in &figure.warnings {
            let _ = writeln!(text, "{mark} {} {}: {warning}", figure.name, figure.system);
        }
    }
    text
}

impl Document {
    /// Each figure with its mark: empty, or `[n]` for its warnings below the table, with `!`
    /// when it is not to be trusted.
    fn figures(&self) -> impl Iterator<Item = (&Figure, String)> {
        let mut next = 0;
        self.results.iter().map(move |figure| {
            if figure.warnings.is_empty() {
                return (figure, String::new());
            }
            next += 1;
            (figure, format!("[{next}{}]", if figure.trusted { "" } else { "!" }))
        })
    }
}

fn row(figure: &Figure, mark: &str) -> [String; 8] {
    let latency =
        |pick: Option<u64>| pick.map_or_else(String::new, |nanos| nanoseconds(nanos as f64));
    [
        figure.name.clone(),
        figure.world.clone(),
        figure.system.clone(),
        quantity(figure.median, &figure.unit),
        format!("{} … {}", quantity(figure.min, &figure.unit), quantity(figure.max, &figure.unit)),
        latency(figure.latency_ns.and_then(|latency| latency.p50)),
        latency(figure.latency_ns.and_then(|latency| latency.p99)),
        mark.to_owned(),
    ]
}

/// A value with three digits that matter and its unit.
fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "ns" => nanoseconds(value),
        _ if value >= 1e6 => format!("{:.3} M{unit}", value / 1e6),
        _ if value >= 1e3 => format!("{:.1} k{unit}", value / 1e3),
        _ => format!("{value:.0} {unit}"),
    }
}

fn nanoseconds(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} ms", v / 1e6),
        v if v >= 1e3 => format!("{:.2} µs", v / 1e3),
        v if v >= 100.0 => format!("{v:.0} ns"),
        v => format!("{v:.1} ns"),
    }
}

/// Rows with their columns below each other.
fn columns<const N: usize>(text: &mut String, rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_the_size() {
        assert_eq!(quantity(2_430_000.0, "packets/s"), "2.430 Mpackets/s");
        assert_eq!(quantity(739_000.0, "echoes/s"), "739.0 kechoes/s");
        assert_eq!(quantity(186.4, "ns"), "186 ns");
        assert_eq!(nanoseconds(3_840.0), "3.84 µs");
    }

    #[test]
    fn columns_line_up() {
        let mut text = String::new();
        columns(&mut text, &[["a".into(), "b".into()], ["µµµ".into(), "c".into()]]);
        assert_eq!(text, "a    b\nµµµ  c\n");
    }
}
