//! What a person types.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The packet-rate benchmark of Corewire, beside the kernel, smoltcp and DPDK.
///
/// Without a mode: a quick suite of under a minute, on veth hosts that it makes itself when it
/// is root, in memory otherwise.
#[derive(Parser, Debug)]
#[command(
    name = "packet-rate",
    version,
    args_conflicts_with_subcommands = true,
    after_help = EXAMPLES
)]
pub(crate) struct Cli {
    /// compare, or nothing for a benchmark
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// What to measure
    #[command(flatten)]
    pub(crate) bench: Bench,
}

/// What is not a benchmark.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Compare two reports: B over A, with the noise band of both
    Compare {
        /// The report to compare with
        a: PathBuf,
        /// The report that is compared
        b: PathBuf,
    },
}

/// A benchmark.
#[derive(Args, Clone, Debug)]
pub(crate) struct Bench {
    /// rx-drop, tx-only, l2-reflect, udp-echo or hand-off; a quick suite of all when left out
    pub(crate) mode: Option<String>,

    /// Where: `veth` between two network namespaces (root), or `memory` in one thread
    #[arg(long, value_enum)]
    pub(crate) world: Option<World>,

    /// Against what, separated by commas: kernel, kernel-blocking, kernel-busy-poll,
    /// kernel-spin, smoltcp, dpdk (where it is installed), or none [default: kernel,smoltcp;
    /// kernel-spin,smoltcp in the quick suite]
    #[arg(long, value_delimiter = ',')]
    pub(crate) compare: Vec<Peer>,

    /// Seconds that a run counts
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) duration: Option<Duration>,

    /// Seconds of load before a run counts
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) warmup: Option<Duration>,

    /// Runs of each system, taken in turn; the figures are medians
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: Option<u32>,

    /// Two cores: the load generator's and the measured system's
    #[arg(long, value_name = "L", value_delimiter = ',')]
    pub(crate) cores: Option<Vec<usize>>,

    /// Packets a second to offer, instead of as many as go; latency then counts from the moment
    /// at which a packet was due
    #[arg(long, value_name = "PPS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,

    /// Requests under way at a time; may be given several times [default: 1, 32 and 128]
    #[arg(long, value_name = "N", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) window: Vec<u32>,

    /// Bytes: of a frame in rx-drop, tx-only and l2-reflect (60 to 1514, without the FCS), of
    /// UDP payload in udp-echo (18 to 1472)
    #[arg(long, value_name = "B")]
    pub(crate) size: Option<u32>,

    /// Ports that the client asks from, in turn; they share the window or the rate
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) connections: Option<u16>,

    /// How AF_XDP shares frames with the driver: zero-copy, copy, or copy below the driver
    #[arg(long = "mode", value_enum, default_value_t = XdpMode::Copy)]
    pub(crate) xdp_mode: XdpMode,

    /// Congestion control of TCP modes, which this version does not have
    #[arg(long, value_name = "CC", hide = true)]
    pub(crate) congestion: Option<String>,

    /// Write the report as one JSON document; - is standard output
    #[arg(long, value_name = "F")]
    pub(crate) json: Option<PathBuf>,

    /// Write a percentile table for each latency, as hdrhistogram's plotter reads it
    #[arg(long, value_name = "F")]
    pub(crate) hgrm: Option<PathBuf>,

    /// Write the latencies of all runs as an interval log of compressed histograms
    #[arg(long, value_name = "F")]
    pub(crate) hlog: Option<PathBuf>,

    /// Write the report as one HTML page
    #[arg(long, value_name = "F")]
    pub(crate) html: Option<PathBuf>,

    /// Measure on this interface instead of a veth pair
    #[arg(long, value_name = "IF", hide = true)]
    pub(crate) interface: Option<String>,
}

/// Where a benchmark takes place.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum World {
    /// Two network namespaces joined by a veth pair.
    Veth,
    /// One process, devices joined in memory.
    Memory,
    /// Two TAP devices: later.
    #[value(hide = true)]
    Tap,
}

/// What Corewire is compared with.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Kernel sockets, all three ways.
    Kernel,
    /// Kernel sockets, blocking.
    KernelBlocking,
    /// Kernel sockets with SO_BUSY_POLL.
    KernelBusyPoll,
    /// Kernel sockets, spinning on MSG_DONTWAIT.
    KernelSpin,
    /// smoltcp, in memory.
    Smoltcp,
    /// DPDK's testpmd on its AF_XDP driver.
    Dpdk,
    /// Nothing.
    None,
}

/// How AF_XDP shares frames with the driver.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum XdpMode {
    /// The NIC writes into our memory.
    Zc,
    /// The kernel copies from the driver's memory.
    Copy,
    /// The kernel copies from its own packets, above the driver.
    Skb,
}

impl XdpMode {
    /// As it is typed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Zc => "zc",
            Self::Copy => "copy",
            Self::Skb => "skb",
        }
    }
}

/// What is measured.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Receive, parse, count, recycle.
    RxDrop,
    /// Transmit as fast as it goes.
    TxOnly,
    /// Swap the hardware addresses and send back.
    L2Reflect,
    /// Answer UDP datagrams.
    UdpEcho,
    /// Carry buffers to another thread and back.
    HandOff,
}

impl Mode {
    /// The modes of this version, as they are typed.
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        ("rx-drop", Self::RxDrop),
        ("tx-only", Self::TxOnly),
        ("l2-reflect", Self::L2Reflect),
        ("udp-echo", Self::UdpEcho),
        ("hand-off", Self::HandOff),
    ];

    /// The mode of that name.
    ///
    /// # Errors
    /// A line for the user, when there is none or not yet.
    pub(crate) fn find(name: &str) -> Result<Self, String> {
        if let Some((_, mode)) = Self::ALL.iter().find(|(known, _)| *known == name) {
            return Ok(*mode);
        }
        let known = Self::ALL.map(|(name, _)| name).join(", ");
        Err(if LATER.contains(&name) {
            format!("{name} is not in this version, which has {known}")
        } else {
            format!("there is no mode {name}; there are {known}")
        })
    }

    /// As it is typed.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| *name)
    }
}

impl Bench {
    /// Whether a peer was asked for, by its own name or with its family.
    pub(crate) fn compares(&self, peer: Peer) -> bool {
        let compare = match (&self.compare[..], &self.mode) {
            ([], None) => &[Peer::KernelSpin, Peer::Smoltcp],
            ([], Some(_)) => &[Peer::Kernel, Peer::Smoltcp],
            (given, _) => given,
        };
        let kernel = matches!(peer, Peer::KernelBlocking | Peer::KernelBusyPoll | Peer::KernelSpin);
        compare.contains(&peer) || kernel && compare.contains(&Peer::Kernel)
    }

    /// Refuses what this version does not have, or what makes no sense together.
    ///
    /// # Errors
    /// A line for the user.
    pub(crate) fn check(&self) -> Result<Option<Mode>, String> {
        let mode = self.mode.as_deref().map(Mode::find).transpose()?;
        if self.world == Some(World::Tap) {
            return Err("--world tap is not in this version, which has veth and memory".into());
        }
        if self.congestion.is_some() {
            return Err("--congestion is for TCP, which is not in this version".into());
        }
        if self.interface.is_some() {
            return Err("--interface is not in this version: it measures on a veth pair that it \
                        makes itself, or in memory"
                .into());
        }
        if let Some(cores) = &self.cores
            && (cores.len() != 2 || cores[0] == cores[1])
        {
            return Err("--cores takes two different cores: the generator's and the system's, \
                        such as --cores 0,1"
                .into());
        }
        self.check_load(mode)?;
        Ok(mode)
    }

    /// What the load is made of must be something that the mode has.
    fn check_load(&self, mode: Option<Mode>) -> Result<(), String> {
        use Mode::{L2Reflect, RxDrop, TxOnly, UdpEcho};
        let given = [
            ("--size", self.size.is_some(), &[RxDrop, TxOnly, L2Reflect, UdpEcho][..]),
            ("--rate", self.rate.is_some(), &[RxDrop, L2Reflect, UdpEcho]),
            ("--window", !self.window.is_empty(), &[UdpEcho]),
            ("--connections", self.connections.is_some(), &[UdpEcho]),
        ];
        for (option, given, modes) in given {
            if given && !mode.is_some_and(|mode| modes.contains(&mode)) {
                let names: Vec<_> = modes.iter().map(|mode| mode.name()).collect();
                return Err(format!("{option} is for {}", names.join(", ")));
            }
        }
        let range = if mode == Some(UdpEcho) { 18..=1472 } else { 60..=1514 };
        if let (Some(size), Some(mode)) = (self.size, mode)
            && !range.contains(&size)
        {
            let (least, most) = (range.start(), range.end());
            return Err(format!("--size for {} is {least} to {most} bytes", mode.name()));
        }
        if self.rate.is_some() && !self.window.is_empty() {
            return Err("--rate sends at moments of its own, --window waits for answers: \
                        give one of them"
                .into());
        }
        if self.world == Some(World::Memory) && (self.rate.is_some() || self.connections.is_some())
        {
            return Err("--rate and --connections are for --world veth".into());
        }
        Ok(())
    }
}

/// Seconds with a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| (0.0..=86_400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("{text} is not a number of seconds from 0 to 86400"))
}

/// Modes of DESIGN that later versions bring.
const LATER: [&str; 7] = [
    "l3-forward",
    "udp-stream",
    "tcp-request-response",
    "tcp-stream",
    "connect-rate",
    "http",
    "connections",
];

const EXAMPLES: &str = "\
Examples:
  packet-rate                                    the quick suite
  packet-rate rx-drop --compare dpdk             receive only, beside DPDK's testpmd
  packet-rate udp-echo --window 1 --runs 5       round trips, beside the kernel
  packet-rate udp-echo --rate 200000             latency at a rate, from the moment it was due
  packet-rate udp-echo --world memory --size 18  the stack alone, beside smoltcp
  packet-rate compare before.json after.json

Exit codes: 0 done, 1 failed, 2 usage, 3 compare found something slower, 77 not possible here.";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str]) -> Result<Option<Mode>, String> {
        let all = std::iter::once("packet-rate").chain(arguments.iter().copied());
        Cli::try_parse_from(all).map_err(|error| error.to_string())?.bench.check()
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn modes_of_later_versions_are_refused_by_name() {
        for name in LATER {
            let error = check(&[name]).expect_err("a later mode");
            assert!(error.contains("not in this version"), "{error}");
        }
        assert!(check(&["quick"]).expect_err("no such mode").contains("there are rx-drop"));
    }

    #[test]
    fn every_mode_is_found_by_its_name() {
        for (name, mode) in Mode::ALL {
            assert_eq!(check(&[name]), Ok(Some(mode)));
            assert_eq!(mode.name(), name);
        }
        assert_eq!(check(&[]), Ok(None));
    }

    #[test]
    fn nonsense_is_refused() {
        for arguments in [
            &["rx-drop", "--cores", "1,1"][..],
            &["rx-drop", "--cores", "1"],
            &["rx-drop", "--size", "59"],
            &["udp-echo", "--size", "1473"],
            &["udp-echo", "--rate", "5", "--window", "5"],
            &["udp-echo", "--world", "tap"],
            &["udp-echo", "--duration", "nan"],
            &["udp-echo", "--window", "0"],
            &["tx-only", "--rate", "5"],
            &["hand-off", "--size", "64"],
            &["rx-drop", "--window", "1"],
            &["--size", "64"],
            &["udp-echo", "--world", "memory", "--rate", "5"],
        ] {
            assert!(check(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn kernel_means_three_ways() {
        let cli = Cli::try_parse_from(["packet-rate", "--compare", "kernel,dpdk"]).expect("parses");
        assert!(cli.bench.compares(Peer::KernelSpin) && cli.bench.compares(Peer::KernelBlocking));
        assert!(cli.bench.compares(Peer::Dpdk) && !cli.bench.compares(Peer::Smoltcp));
        let quick = Cli::try_parse_from(["packet-rate"]).expect("parses").bench;
        assert!(quick.compares(Peer::KernelSpin) && !quick.compares(Peer::KernelBlocking));
        let mode = Cli::try_parse_from(["packet-rate", "rx-drop"]).expect("parses").bench;
        assert!(mode.compares(Peer::KernelBlocking) && !mode.compares(Peer::Dpdk));
    }
}
