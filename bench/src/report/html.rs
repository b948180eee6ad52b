//! The report as one HTML page that needs nothing else: tables, and percentile curves as SVG.

use std::fmt::Write as _;

use super::document::Document;
use super::histograms::Named;

/// The page.
pub(crate) fn render(document: &Document, histograms: &[Named]) -> String {
    let mut page = String::from(HEAD);
    let _ = writeln!(page, "<h1>packet-rate {}</h1>", escape(&document.version));
    let _ = writeln!(
        page,
        "<p><code>{}</code><br>commit {}</p>",
        escape(&document.command),
        escape(&document.git)
    );
    figures(&mut page, document);
    ratios(&mut page, document);
    curves(&mut page, histograms);
    page.push_str("<h2>Environment</h2>\n<table>\n");
    for (key, value) in &document.environment {
        let value = value.to_string();
        let _ = writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", escape(key), escape(&value));
    }
    page.push_str("</table>\n</body>\n</html>\n");
    page
}

fn figures(page: &mut String, document: &Document) {
    page.push_str("<h2>Figures</h2>\n<table>\n");
    row(page, "th", &["case", "world", "system", "median", "min", "max", "p50 ns", "p99 ns", ""]);
    for figure in &document.results {
        let latency = |pick: Option<u64>| pick.map_or_else(String::new, |nanos| nanos.to_string());
        let value = |value: f64| format!("{value:.1} {}", figure.unit);
        row(
            page,
            "td",
            &[
                &figure.name,
                &figure.world,
                &figure.system,
                &value(figure.median),
                &value(figure.min),
                &value(figure.max),
                &latency(figure.latency_ns.and_then(|latency| latency.p50)),
                &latency(figure.latency_ns.and_then(|latency| latency.p99)),
                if figure.trusted { "" } else { "not trusted" },
            ],
        );
        for warning in &figure.warnings {
            let _ = writeln!(page, "<tr><td colspan=9 class=warning>{}</td></tr>", escape(warning));
        }
        if figure.drops.values().any(|count| *count > 0) {
            let drops: Vec<String> = figure
                .drops
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(reason, count)| format!("{reason} {count}"))
                .collect();
            let drops = escape(&drops.join(", "));
            let _ = writeln!(page, "<tr><td colspan=9 class=warning>drops: {drops}</td></tr>");
        }
    }
    page.push_str("</table>\n");
}

fn ratios(page: &mut String, document: &Document) {
    page.push_str("<h2>Ours over theirs</h2>\n<table>\n");
    row(page, "th", &["case", "world", "metric", "against", "median", "min", "max"]);
    for ratio in &document.ratios {
        let value = |value: f64| format!("{value:.2}");
        let (median, min, max) = (value(ratio.median), value(ratio.min), value(ratio.max));
        let words = [&ratio.name[..], &ratio.world, &ratio.metric, &ratio.against];
        row(page, "td", &[&words[..], &[&median, &min, &max]].concat());
    }
    page.push_str("</table>\n");
}

/// A curve for each system in each case: latency over the number of nines.
fn curves(page: &mut String, histograms: &[Named]) {
    let mut cases: Vec<&str> = histograms.iter().map(|(case, ..)| case.as_str()).collect();
    cases.dedup();
    for case in cases {
        let here: Vec<&Named> = histograms.iter().filter(|(name, ..)| name == case).collect();
        let top = here.iter().map(|(.., histogram)| histogram.max()).max().unwrap_or(1).max(1);
        let _ = writeln!(page, "<h2>{}: latency by percentile</h2>", escape(case));
        let (width, height) = (WIDTH + 2.0 * MARGIN, HEIGHT + 2.0 * MARGIN);
        let _ = writeln!(page, "<svg viewBox=\"0 0 {width} {height}\" role=img>");
        for nines in 0..=NINES {
            let x = MARGIN + WIDTH * f64::from(nines) / f64::from(NINES);
            let label = 100.0 - 100.0 / 10f64.powi(nines);
            let y = MARGIN + HEIGHT + 18.0;
            let _ = writeln!(page, "<text x={x:.0} y={y:.0} text-anchor=middle>{label} %</text>");
        }
        for power in 0..=9 {
            let value = 10f64.powi(power);
            if value <= top as f64 && value >= 100.0 {
                let y = y_of(value, top);
                let label = escape(&format!("{} µs", value / 1000.0));
                let _ = writeln!(page, "<text x=2 y={y:.1}>{label}</text>");
                let end = MARGIN + WIDTH;
                let _ = writeln!(page, "<path class=grid d=\"M{MARGIN} {y:.1}H{end}\"/>");
            }
        }
        for (place, (_, system, histogram)) in here.iter().enumerate() {
            let color = COLORS[place % COLORS.len()];
            let points: Vec<String> = (0..=STEPS)
                .map(|step| {
                    let nines = f64::from(NINES) * f64::from(step) / f64::from(STEPS);
                    let quantile = 1.0 - 10f64.powf(-nines);
                    let value = histogram.value_at_quantile(quantile).max(1) as f64;
                    let x = MARGIN + WIDTH * nines / f64::from(NINES);
                    format!("{x:.1},{:.1}", y_of(value, top))
                })
                .collect();
            let points = points.join(" ");
            let _ = writeln!(page, "<polyline stroke=\"{color}\" points=\"{points}\"/>");
            let y = MARGIN + 16.0 * (place as f64 + 1.0);
            let x = MARGIN + 10.0;
            let _ = writeln!(page, "<text x={x} y={y} fill=\"{color}\">{}</text>", escape(system));
        }
        page.push_str("</svg>\n");
    }
}

/// Logarithmic, from 100 ns at the bottom to the largest value at the top.
fn y_of(value: f64, top: u64) -> f64 {
    let (low, high) = (2.0, (top as f64).log10().max(2.1));
    let share = (value.max(100.0).log10() - low) / (high - low);
    MARGIN + HEIGHT * (1.0 - share.clamp(0.0, 1.0))
}

fn row(page: &mut String, tag: &str, cells: &[&str]) {
    page.push_str("<tr>");
    for cell in cells {
        let _ = write!(page, "<{tag}>{}</{tag}>", escape(cell));
    }
    page.push_str("</tr>\n");
}

/// A report may come from anywhere; its words are words.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const HEAD: &str = "<!doctype html>
<html lang=en>
<meta charset=utf-8>
<title>packet-rate</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse } th, td { text-align: left; padding: 2px 10px }
th { border-bottom: 1px solid #888 } .warning { color: #a50; font-size: 13px }
svg { width: 100%; height: auto } text { font-size: 12px }
polyline { fill: none; stroke-width: 2 } .grid { stroke: #ddd; fill: none }
</style>
<body>
";

/// Blue, orange, green, red, purple: apart for most eyes (Okabe and Ito).
const COLORS: [&str; 5] = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"];
const WIDTH: f64 = 840.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 70.0;
/// 99.99 % is the last that the samples of a run of seconds can tell.
const NINES: i32 = 4;
/// Points of a curve.
const STEPS: i32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_can_not_become_markup() {
        let document = Document {
            version: "1".into(),
            git: String::new(),
            command: "packet-rate <script>".into(),
            environment: std::collections::BTreeMap::new(),
            results: Vec::new(),
            ratios: Vec::new(),
        };
        let mut histogram = hdrhistogram::Histogram::new(3).expect("three digits");
        (1_000..2_000).for_each(|nanos| histogram.record(nanos).expect("grows"));
        let page = render(&document, &[("udp-echo/64B/window-1".into(), "corewire", histogram)]);
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
        assert_eq!(page.matches("<polyline").count(), 1);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
