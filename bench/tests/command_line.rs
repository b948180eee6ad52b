//! packet-rate as a person runs it: exit codes, an interrupt, the report.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

fn packet_rate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_packet-rate"));
    command.args(arguments).current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

fn run(arguments: &[&str]) -> Output {
    packet_rate(arguments).output().expect("it starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Short runs in memory, which work everywhere.
const SHORT: [&str; 8] =
    ["--world", "memory", "--duration", "0.05", "--warmup", "0.01", "--runs", "2"];

#[test]
fn what_does_not_exist_is_a_usage_error() {
    for arguments in [
        &["fast"][..],
        &["tcp-stream"],
        &["udp-echo", "--world", "tap"],
        &["udp-echo", "--cores", "0,4095"],
        &["--no-such-option"],
        &["compare", "no-such-file", "nor-this"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_report_has_what_was_promised() {
    let arguments = [&["udp-echo", "--json", "-"][..], &SHORT].concat();
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("standard output is one document");
    for key in ["version", "git", "command", "environment", "results", "ratios"] {
        assert!(report.get(key).is_some(), "{key}");
    }
    let systems: Vec<_> = report["results"].as_array().expect("a list").iter().collect();
    assert_eq!(systems.len(), 2, "{systems:?}");
    for result in systems {
        assert_eq!(result["runs"], 2);
        assert_eq!(result["values"].as_array().map(Vec::len), Some(2));
        assert_eq!(result["world"], "memory");
        assert!(result["median"].as_f64().is_some_and(|median| median > 0.0));
        assert!(result["min"].as_f64() <= result["max"].as_f64());
    }
    assert_eq!(report["ratios"][0]["against"], "smoltcp");
    assert_eq!(report["ratios"][0]["metric"], "time");
}

#[test]
fn a_report_compared_with_itself_is_the_same() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("itself.json");
    let path = path.to_str().expect("a path in UTF-8");
    let measured = run(&[&["rx-drop", "--json", path][..], &SHORT].concat());
    assert_eq!(measured.status.code(), Some(0), "{}", stderr(&measured));
    let compared = run(&["compare", path, path]);
    assert_eq!(compared.status.code(), Some(0), "{}", stderr(&compared));
    let text = String::from_utf8_lossy(&compared.stdout).into_owned();
    assert!(text.contains("rx-drop/64B corewire: 1.000"), "{text}");
}

#[test]
fn an_interrupt_prints_what_there_is() {
    let long = ["udp-echo", "--world", "memory", "--duration", "0.05", "--warmup", "0.01"];
    let mut child = packet_rate(&[&long[..], &["--runs", "1000", "--json", "-"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    // The third run has begun, so two are done.
    assert!(lines.any(|line| line.expect("text").contains("run 3 of 1000")));
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    // Read on, or its table would block it.
    let reader = std::thread::spawn(move || lines.count());
    let output = child.wait_with_output().expect("it ends");
    reader.join().expect("no panic");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert!(report["results"][0]["runs"].as_u64().is_some_and(|runs| (2..1000).contains(&runs)));
}

/// What was in /proc/PID/mounts or the process table does not matter: the namespaces have no
/// name, so all that could stay is an interface in this one.
#[test]
fn nothing_is_left_after_a_kill() {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt as _;
        own.uid() == 0
    });
    if !is_root {
        assert!(std::env::var_os("CI").is_none(), "CI must run this as root");
        eprintln!("skipped: making network namespaces needs root");
        return;
    }
    let mut child = packet_rate(&["rx-drop", "--duration", "60", "--compare", "none"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    assert!(lines.any(|line| line.expect("text").contains("in this second")), "frames flow");
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    let table = std::fs::read_to_string("/proc/net/dev").expect("proc");
    assert!(!table.contains("cwgen0") && !table.contains("cwsut0"), "{table}");
    let again = run(&["rx-drop", "--duration", "0.2", "--runs", "1", "--compare", "none"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
}
