//! packet-rate: the packet-rate benchmark.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser as _;
use corewire_drivers::env::Clock;

use cli::{Bench, Cli, Command, Mode, World};
use measure::Plan;
use report::document::Document;
use run::{Case, Findings, Session};

mod cli;
mod cpu;
mod environment;
mod generator;
mod measure;
mod mode;
mod report;
mod run;
mod sys;
mod system;
mod world;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Compare { a, b }) => compare(&a, &b),
        None => measure_all(&cli.bench),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err((code, message)) => {
            eprintln!("packet-rate: {message}");
            ExitCode::from(code)
        }
    }
}

/// An exit code, or one with a line for the user.
type Ended = Result<u8, (u8, String)>;

/// `packet-rate compare A B`.
fn compare(a: &Path, b: &Path) -> Ended {
    let read = |path: &Path| -> Result<Document, (u8, String)> {
        let failed = |error: String| (USAGE, format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
    };
    let (text, worse) = report::compare::compare(&read(a)?, &read(b)?);
    print!("{text}");
    Ok(if worse { PROBLEM } else { DONE })
}

/// A benchmark, from the command line to the report.
fn measure_all(bench: &Bench) -> Ended {
    let mode = bench.check().map_err(|message| (USAGE, message))?;
    let world = choose_world(bench)?;
    let interrupt = Arc::new(AtomicBool::new(false));
    // Without it, an interrupt ends the process without a summary, and leaves nothing behind.
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupt))
        .map_err(|error| (FAILED, format!("can't watch for an interrupt: {error}")))?;
    let clock = Clock::system();
    let quick = mode.is_none();
    let seconds = |given: Option<Duration>, quick_s: f64, long_s: f64| {
        given.unwrap_or_else(|| Duration::from_secs_f64(if quick { quick_s } else { long_s }))
    };
    let cores = choose_cores(bench)?;
    let session = Session {
        plan: Plan {
            warmup: seconds(bench.warmup, 0.2, 0.5),
            window: seconds(bench.duration, 0.5, 2.0),
            generator_core: cores.0,
            system_core: cores.1,
        },
        runs: bench.runs.unwrap_or(3),
        cycles_per_second: clock.cycles_per_second(),
        interrupt: &interrupt,
    };
    let mut findings = Findings::default();
    for case in cases(bench, mode, world) {
        if interrupt.load(Ordering::Relaxed) {
            break;
        }
        findings.add(&session, case);
    }
    let document = Document {
        version: env!("CARGO_PKG_VERSION").into(),
        git: environment::git(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        environment: environment::record(&session, clock.name(), bench.xdp_mode.name()),
        results: std::mem::take(&mut findings.figures),
        ratios: std::mem::take(&mut findings.ratios),
    };
    publish(bench, quick, &document, &findings)?;
    match (&findings.failures[..], &findings.impossible[..]) {
        ([first, ..], _) => Err((FAILED, first.clone())),
        ([], [first, ..]) if document.results.is_empty() => Err((NOT_HERE, first.clone())),
        _ => Ok(DONE),
    }
}

/// veth as root, else memory, saying why.
fn choose_world(bench: &Bench) -> Result<World, (u8, String)> {
    match (bench.world, sys::is_root()) {
        (Some(World::Veth), false) => {
            let message = "--world veth makes network namespaces, which takes root; --world memory \
                           does not";
            Err((NOT_HERE, message.into()))
        }
        (Some(world), _) => Ok(world),
        (None, true) => {
            eprintln!(
                "as root: measuring between two network namespaces joined by a veth pair, made \
                 for this and gone after it"
            );
            Ok(World::Veth)
        }
        (None, false) => {
            eprintln!("not root: measuring in memory; network namespaces take root");
            Ok(World::Memory)
        }
    }
}

/// The generator's and the system's core.
fn choose_cores(bench: &Bench) -> Result<(usize, usize), (u8, String)> {
    let allowed = sys::allowed_cores().map_err(|error| (FAILED, error.to_string()))?;
    let cores = match bench.cores.as_deref() {
        Some(cores) => (cores[0], cores[1]),
        // One core for both measures the scheduler too; the environment record shows it.
        None => (allowed[0], *allowed.get(1).unwrap_or(&allowed[0])),
    };
    for core in [cores.0, cores.1] {
        if !allowed.contains(&core) {
            let message = format!("core {core} is not among those of this process: {allowed:?}");
            return Err((USAGE, message));
        }
    }
    Ok(cores)
}

/// What to measure, in order.
fn cases(bench: &Bench, mode: Option<Mode>, world: World) -> Vec<Case<'static>> {
    use mode::{flooded, hand_off, tx_only, udp_echo};
    let wanted = |one: Mode| mode.is_none_or(|mode| mode == one);
    let mut cases = Vec::new();
    if world == World::Veth {
        if wanted(Mode::RxDrop) {
            cases.push(flooded::over_veth(bench, flooded::Work::Drop));
        }
        if wanted(Mode::TxOnly) {
            cases.push(tx_only::over_veth(bench));
        }
        if wanted(Mode::L2Reflect) {
            cases.push(flooded::over_veth(bench, flooded::Work::Reflect));
        }
        if wanted(Mode::UdpEcho) {
            let windows = if mode.is_none() { &[128][..] } else { &[1, 32, 128] };
            cases.extend(udp_echo::against_servers(bench, windows));
            if bench.rate.is_none() && bench.window.is_empty() {
                cases.push(udp_echo::round_trip(bench));
            }
        }
    } else {
        cases.extend(mode::in_memory::cases(bench, mode));
    }
    // In the quick suite both worlds' echoes: what the stack costs shows in memory alone.
    if wanted(Mode::UdpEcho) && (world == World::Memory || mode.is_none()) {
        cases.extend(udp_echo::in_memory(bench));
    }
    if wanted(Mode::HandOff) {
        cases.extend(hand_off::cases(mode.is_none()));
    }
    cases
}

/// Everything that was asked to be written.
fn publish(bench: &Bench, quick: bool, document: &Document, findings: &Findings) -> Ended {
    let failed = |path: &Path, error: &dyn std::fmt::Display| {
        (FAILED, format!("can't write {}: {error}", path.display()))
    };
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| (FAILED, format!("can't make the report: {error}")))?;
    let table = report::table::render(document);
    let to_stdout = bench.json.as_deref() == Some(Path::new("-"));
    if to_stdout {
        println!("{text}");
        eprint!("{table}");
    } else {
        print!("{table}");
        for why in &findings.impossible {
            println!("not measured: {why}");
        }
    }
    if let Some(path) = bench.json.as_deref().filter(|_| !to_stdout) {
        std::fs::write(path, &text).map_err(|error| failed(path, &error))?;
    }
    if quick {
        let directory = Path::new("target/packet-rate");
        let path = directory.join("report.json");
        std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&path, &text))
            .map_err(|error| failed(&path, &error))?;
        eprintln!("report: {}", path.display());
    }
    if let Some(path) = &bench.html {
        let page = report::html::render(document, &findings.histograms);
        std::fs::write(path, page).map_err(|error| failed(path, &error))?;
    }
    if let Some(path) = &bench.hgrm {
        let mut file = std::fs::File::create(path).map_err(|error| failed(path, &error))?;
        report::histograms::write_percentiles(&mut file, &findings.histograms)
            .and_then(|()| file.flush())
            .map_err(|error| failed(path, &error))?;
    }
    if let Some(path) = &bench.hlog {
        let mut file = std::fs::File::create(path).map_err(|error| failed(path, &error))?;
        report::histograms::write_log(&mut file, &findings.histograms)
            .and_then(|()| file.flush())
            .map_err(|error| failed(path, &error))?;
    }
    Ok(DONE)
}

/// Exit codes, of all programs of this project.
const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const PROBLEM: u8 = 3;
const NOT_HERE: u8 = 77;
