//! The machine, as far as a figure depends on it.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::process::Command;

use corewire_drivers::af_xdp::RingSizes;
use corewire_drivers::mem::FrameSize;
use serde_json::{Value, json};

use crate::mode::flooded::MTU;
use crate::run::Session;

/// What the report says of the machine and the set-up.
pub(crate) fn record(
    session: &Session<'_>,
    clock: &str,
    xdp_mode: &str,
) -> BTreeMap<String, Value> {
    let plan = &session.plan;
    let mut record = BTreeMap::new();
    let mut set = |key: &str, value: Value| record.insert(key.to_owned(), value);
    set("kernel", json!(line("/proc/sys/kernel/osrelease")));
    set("distribution", json!(distribution()));
    set("cpu_model", json!(cpu_info("model name")));
    set("cores", json!(std::thread::available_parallelism().map_or(0, usize::from)));
    set(
        "virtual_machine",
        json!(
            cpu_info("flags")
                .is_some_and(|flags| { flags.split_whitespace().any(|flag| flag == "hypervisor") })
        ),
    );
    set("governor", json!(line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")));
    set("turbo", json!(turbo()));
    set("smt", json!(line("/sys/devices/system/cpu/smt/active").map(|active| active == "1")));
    set("isolated_cores", json!(line("/sys/devices/system/cpu/isolated")));
    set("mitigations", json!(line("/sys/devices/system/cpu/vulnerabilities/spectre_v2")));
    set("memory_kib", json!(memory()));
    set("clock", json!(clock));
    set("cycles_per_second", json!(session.cycles_per_second));
    set("xdp_mode", json!(xdp_mode));
    set("need_wakeup", json!(true));
    set("busy_poll_budget", json!(0));
    let rings = RingSizes::default();
    let (rx, tx, fill, completion) = (rings.rx, rings.tx, rings.fill, rings.completion);
    set("rings", json!({"rx": rx, "tx": tx, "fill": fill, "completion": completion}));
    set("frame_size", json!(FrameSize::default().bytes()));
    set("mtu", json!(MTU));
    set("offloads", json!("off at both ends; GRO on where kernel sockets take live frames"));
    set("generator_core", json!(plan.generator_core));
    set("system_core", json!(plan.system_core));
    set("duration_s", json!(plan.window.as_secs_f64()));
    set("warmup_s", json!(plan.warmup.as_secs_f64()));
    set("runs", json!(session.runs));
    set("root", json!(crate::sys::is_root()));
    record
}

/// The commit of the directory that we run in, with `-dirty` when tracked files were changed.
pub(crate) fn git() -> String {
    let answer = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = answer(&["rev-parse", "HEAD"]) else { return String::new() };
    let changed = answer(&["status", "--porcelain", "-uno"]).is_some_and(|list| !list.is_empty());
    format!("{commit}{}", if changed { "-dirty" } else { "" })
}

fn line(path: &str) -> Option<String> {
    read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The first value of a key in /proc/cpuinfo.
fn cpu_info(key: &str) -> Option<String> {
    field(&read_to_string("/proc/cpuinfo").ok()?, key, ':')
}

fn distribution() -> Option<String> {
    let name = field(&read_to_string("/etc/os-release").ok()?, "PRETTY_NAME", '=')?;
    Some(name.trim_matches('"').to_owned())
}

fn memory() -> Option<u64> {
    let total = field(&read_to_string("/proc/meminfo").ok()?, "MemTotal", ':')?;
    total.split_whitespace().next()?.parse().ok()
}

fn turbo() -> Option<bool> {
    match line("/sys/devices/system/cpu/intel_pstate/no_turbo") {
        Some(off) => Some(off == "0"),
        None => line("/sys/devices/system/cpu/cpufreq/boost").map(|on| on == "1"),
    }
}

fn field(text: &str, key: &str, separator: char) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(separator)?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t: 17\nmodel name\t: A CPU\nmodel name\t: Another\n";
        assert_eq!(field(text, "model name", ':').as_deref(), Some("A CPU"));
        assert_eq!(field(text, "name", ':'), None);
    }
}
