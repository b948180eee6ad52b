//! DPDK's testpmd on its AF_XDP driver, where it is installed: the same queue of the same veth.
//!
//! Debian: `apt-get install dpdk-dev librte-net-af-xdp23 librte-mempool-ring23`, and
//! `sysctl vm.nr_hugepages=600` (what was set before is put back by whoever sets it).

use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::measure::{Cue, Outcome, Plan};
use crate::run::Refusal;
use crate::sys;
use crate::world::veth::Host;

/// What testpmd does with packets (`--forward-mode`).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    /// Receive only.
    RxOnly,
    /// Transmit only.
    TxOnly,
    /// Swap hardware addresses and send back.
    MacSwap,
    /// Swap all addresses and ports and send back: an echo server without a stack.
    FiveTupleSwap,
}

impl Forward {
    const fn argument(self) -> &'static str {
        match self {
            Self::RxOnly => "rxonly",
            Self::TxOnly => "txonly",
            Self::MacSwap => "macswap",
            Self::FiveTupleSwap => "5tswap",
        }
    }
}

/// What testpmd needs here: itself and huge pages.
///
/// # Errors
/// What is missing, and how to get it.
pub(crate) fn available() -> Result<PathBuf, Refusal> {
    let program = find_program().ok_or_else(|| {
        Refusal::Impossible(
            "dpdk-testpmd is not installed: apt-get install dpdk-dev librte-net-af-xdp23 \
             librte-mempool-ring23"
                .into(),
        )
    })?;
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    let free: u32 = free.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if free < HUGE_PAGES {
        return Err(Refusal::Impossible(format!(
            "DPDK needs {HUGE_PAGES} free huge pages of 2 MiB and there are {free}: sysctl \
             vm.nr_hugepages=600"
        )));
    }
    Ok(program)
}

fn find_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join("dpdk-testpmd")).find(|file| file.is_file())
}

/// Runs testpmd in the calling thread's network namespace until the cue says stop. Its gauge
/// counts packets received, by testpmd's own rates; what it sent is counted by the other end.
pub(crate) fn forward(
    program: &PathBuf,
    forward: Forward,
    frame_size: usize,
    host: &Host,
    plan: &Plan,
    cue: &Cue<'_>,
) -> io::Result<Outcome> {
    // Its threads pin themselves; this one only reads a line now and then.
    let mut child = Testpmd::start(program, forward, frame_size, host, plan)?;
    let lines = child.lines()?;
    let mut outcome = Outcome::default();
    Testpmd::wait_until_forwarding(&lines)?;
    cue.ready();
    let mut rates = Rates::default();
    while !cue.stopped() {
        match lines.recv_timeout(Duration::from_millis(20)) {
            Ok(line) => {
                if let Some(rate) = rates.note(&line)
                    && cue.measuring()
                {
                    rates.in_window.push(rate);
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("dpdk-testpmd ended by itself"));
            }
        }
    }
    child.stop();
    if let Some(rate) = rates.mean() {
        outcome.drops.insert(OWN_RATE.into(), rate);
    }
    Ok(outcome)
}

/// Under this name an outcome carries testpmd's own rate of reception, in packets a second.
pub(crate) const OWN_RATE: &str = "dpdk own rx rate";

/// testpmd under way; killed when dropped.
struct Testpmd(Child);

impl Testpmd {
    fn start(
        program: &PathBuf,
        forward: Forward,
        frame_size: usize,
        host: &Host,
        plan: &Plan,
    ) -> io::Result<Self> {
        let cores = format!("{},{}", plan.generator_core, plan.system_core);
        // busy_budget=0: its default of 64 halves the rate on a device that can't be polled.
        let device = format!("net_af_xdp0,iface={},force_copy=1,busy_budget=0", host.interface);
        let mut command = Command::new(program);
        command
            .args(["-l", &cores, "--main-lcore", &plan.generator_core.to_string()])
            .args(["--no-pci", "--in-memory", "--no-telemetry", "-m", "900"])
            .arg(format!("--vdev={device}"))
            .args(["--", "--auto-start", "--stats-period=1", "--port-topology=loop"])
            .arg(format!("--forward-mode={}", forward.argument()));
        if forward == Forward::TxOnly {
            command.arg(format!("--txpkts={frame_size}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        // The thread that runs this is pinned to the system's core, which the child inherits and
        // then changes for each of its own threads.
        sys::bind_to_this_thread(&mut command);
        Ok(Self(command.spawn()?))
    }

    /// Its lines of output, read by a thread that ends with them.
    fn lines(&mut self) -> io::Result<mpsc::Receiver<String>> {
        let output = self.0.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        let (send, receive) = mpsc::channel();
        std::thread::Builder::new().name("testpmd output".into()).spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        })?;
        Ok(receive)
    }

    fn wait_until_forwarding(lines: &mpsc::Receiver<String>) -> io::Result<()> {
        let end = Instant::now() + START_LIMIT;
        let mut last = String::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) if line.contains("NIC statistics for port") => return Ok(()),
                Ok(line) => last = line,
                Err(_) => {
                    return Err(io::Error::other(format!("dpdk-testpmd did not start: {last}")));
                }
            }
        }
    }

    fn stop(&mut self) {
        // It prints its totals and detaches its XDP program on SIGINT; it has 2 s for that.
        if sys::signal_child(&self.0, libc::SIGINT).is_ok() {
            let end = Instant::now() + Duration::from_secs(2);
            while Instant::now() < end {
                if matches!(self.0.try_wait(), Ok(Some(_))) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// testpmd's rates, as it prints them each second.
#[derive(Default)]
struct Rates {
    in_window: Vec<u64>,
}

impl Rates {
    /// The rate in a line such as `  Rx-pps:      9271234          Rx-bps:   4450192320`.
    fn note(&self, line: &str) -> Option<u64> {
        line.trim().strip_prefix("Rx-pps:")?.split_whitespace().next()?.parse().ok()
    }

    fn mean(&self) -> Option<u64> {
        // The first spans the beginning of the window, where it is longer than one period.
        let whole = if self.in_window.len() > 1 { &self.in_window[1..] } else { &self.in_window };
        (!whole.is_empty()).then(|| whole.iter().sum::<u64>() / whole.len() as u64)
    }
}

/// `-m 900` in pages of 2 MiB.
const HUGE_PAGES: u32 = 450;
/// Its own initialisation takes about two seconds.
const START_LIMIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_from_its_output() {
        let mut rates = Rates::default();
        assert_eq!(
            rates.note("  Rx-pps:      9271234          Rx-bps:   4450192320"),
            Some(9_271_234)
        );
        assert_eq!(rates.note("  Tx-pps:            0          Tx-bps:            0"), None);
        rates.in_window = vec![1, 10, 20];
        assert_eq!(rates.mean(), Some(15));
        assert_eq!(Rates::default().mean(), None);
    }
}
