//! Hosts joined by veth pairs, made for one test and gone with it; and queues on them.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use corewire_drivers::af_xdp::{AfXdp, Builder, Error, Mode, Steering};
use corewire_drivers::device::{Burst, Device};
use corewire_drivers::env::{Clock, Instant};
use corewire_drivers::mem::{FrameSize, Packet, Pages, Pool, Region, RegionConfig};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The interface's name on every host: each host has its own namespace.
pub const NIC: &str = "cw0";
/// The second interface of a host between two others.
pub const NIC1: &str = "cw1";

/// Whether this process may make hosts. On CI it must; elsewhere the reason to skip is printed.
pub fn is_root() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        assert!(std::env::var_os("CI").is_none(), "CI runs these tests as root");
        println!("skipped: network namespaces need root");
    }
    root
}

/// One host: a network namespace.
#[derive(Debug)]
pub struct Host {
    pub name: String,
}

/// Two hosts joined by a cable: A is 10.77.0.1, B is 10.77.0.2.
#[derive(Debug)]
pub struct Cable {
    pub a: Host,
    pub b: Host,
}

pub const IP_A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1));
pub const IP_B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 2));
/// The MAC address of the interface whose IP address ends in this number.
pub const fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0x77, 0, number]
}

impl Cable {
    /// A cable of one queue with MTU 1500.
    pub fn new() -> Self {
        Self::with(1, 1500)
    }

    pub fn with(queues: u32, mtu: u32) -> Self {
        let (a, b) = (Host::new(), Host::new());
        join((&a, NIC, 1), (&b, NIC, 2), queues, mtu);
        Self { a, b }
    }
}

impl Host {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cwt-{}-{number}", std::process::id());
        run(&format!("ip netns add {name}"));
        let host = Self { name };
        host.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
        host.ip("link set lo up");
        host
    }

    /// Runs `work` with this thread on the host. Sockets stay where they were made.
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        let home = File::open("/proc/thread-self/ns/net").expect("our own namespace");
        let there = File::open(format!("/run/netns/{}", self.name)).expect("the host's");
        let go = |to: &File| {
            move_into_link_name_space(to.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may change namespaces");
        };
        go(&there);
        let result = work();
        go(&home);
        result
    }

    /// Runs a program on the host; it must succeed.
    pub fn run(&self, command: &str) -> String {
        run(&format!("ip netns exec {} {command}", self.name))
    }

    /// Whether one of twenty pings to `address` is answered. Each has a number of its own, so the
    /// kernel spreads them over the queues.
    pub fn pings(&self, address: &str) -> bool {
        (0..20).any(|_| {
            let mut ping = Command::new("ip");
            ping.args(["netns", "exec", &self.name, "ping", "-c", "1", "-W", "1", address]);
            ping.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
        })
    }

    /// `ip` on the host, which may fail because the kernel lacks what it asks for.
    pub fn try_ip(&self, arguments: &str) -> bool {
        let mut ip = Command::new("ip");
        ip.args(["-n", &self.name]).args(arguments.split(' ')).stderr(Stdio::null());
        ip.status().is_ok_and(|status| status.success())
    }

    /// `ip` on the host; it must succeed.
    pub fn ip(&self, arguments: &str) -> String {
        run(&format!("ip -n {} {arguments}", self.name))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Joins two hosts: `(host, interface, number)`; the addresses end in the number. Ends with
/// numbers above 2 are in 10.77.1.0/24.
pub fn join(a: (&Host, &str, u8), b: (&Host, &str, u8), queues: u32, mtu: u32) {
    let count = format!("numrxqueues {queues} numtxqueues {queues}");
    a.0.ip(&format!(
        "link add {} {count} type veth peer name {} netns {} {count}",
        a.1, b.1, b.0.name
    ));
    for ((host, nic, number), peer) in [(a, b.2), (b, a.2)] {
        let net = u8::from(number > 2);
        // What veth hands over with a partial checksum, or glued together, is no frame of a wire.
        host.run(&format!("ethtool -K {nic} tx off sg off tso off gso off gro off"));
        host.ip(&format!("link set {nic} mtu {mtu} address 02:00:00:77:00:0{number} up"));
        host.ip(&format!("addr add 10.77.{net}.{number}/24 dev {nic}"));
        let mac = format!("02:00:00:77:00:0{peer}");
        host.ip(&format!("neigh replace 10.77.{net}.{peer} lladdr {mac} dev {nic}"));
    }
}

fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a command");
    let output = Command::new(program).args(words).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{command}`: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

// ---- queues ----

/// A pool of `frames` frames of 2,048 bytes.
pub fn pool(frames: u32) -> Pool {
    pool_of(frames, FrameSize::Bytes2048)
}

pub fn pool_of(frames: u32, frame_size: FrameSize) -> Pool {
    let config = RegionConfig { frames, frame_size, pages: Pages::Plain };
    Pool::new(Region::new(&config).expect("memory")).expect("the first pool")
}

/// A builder for the host's first queue that takes everything.
pub fn taking_all() -> Builder {
    AfXdp::builder(NIC).steering(Steering::exclusive())
}

/// A queue and the pool of its frames.
#[derive(Debug)]
pub struct End {
    pub device: AfXdp,
    pub pool: Pool,
}

impl End {
    /// A queue that takes everything.
    pub fn open(host: &Host, mode: Mode) -> Self {
        Self::build(host, taking_all().mode(mode), pool(4096))
    }

    pub fn build(host: &Host, builder: Builder, pool: Pool) -> Self {
        Self::try_build(host, builder, pool).expect("an open queue")
    }

    /// As [`build`](Self::build), for several buffers; `None` on a kernel that has none, which
    /// must say so.
    pub fn jumbo(host: &Host, frames: u32) -> Option<Self> {
        match Self::try_build(host, taking_all().multi_buffer(), pool(frames)) {
            Err(error @ Error::KernelTooOld { needed: "6.6", .. }) => {
                println!("skipped in part: {error}");
                None
            }
            built => Some(built.expect("an open queue")),
        }
    }

    pub fn try_build(host: &Host, builder: Builder, mut pool: Pool) -> Result<Self, Error> {
        host.enter(|| builder.open(&mut pool)).map(|device| Self { device, pool })
    }

    /// Offers packets of one frame each; how many were taken.
    pub fn offer(&mut self, frames: &[Vec<u8>]) -> usize {
        let mut burst = Burst::new();
        for bytes in frames {
            burst.push(packet(&mut self.pool, bytes)).expect("room in the burst");
        }
        let taken = self.device.tx_burst(Instant::ZERO, &mut self.pool, &mut burst);
        burst.free(&mut self.pool);
        taken
    }

    /// Sends packets of one frame each, and a turn later is done with it.
    pub fn send(&mut self, frames: &[Vec<u8>]) {
        assert_eq!(self.offer(frames), frames.len(), "the TX ring has room");
        self.turn();
        self.turn();
    }

    /// What a worker does once a turn.
    pub fn turn(&mut self) {
        self.device.reclaim(Instant::ZERO, &mut self.pool);
    }

    /// Receives until `count` packets came, in order.
    pub fn receive(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut received = Vec::new();
        wait_for("packets", |now| {
            received.extend(self.poll(now));
            (received.len() >= count).then_some(())
        });
        received
    }

    /// Receives what there is.
    pub fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut burst = Burst::new();
        self.device.rx_burst(now, &mut self.pool, &mut burst);
        burst
            .drain()
            .map(|packet| {
                let bytes = bytes(&self.pool, &packet);
                self.pool.free(packet);
                bytes
            })
            .collect()
    }

    /// Closes the queue. Everything comes home, or memory was lost.
    pub fn release(mut self) -> Pool {
        self.device.release(&mut self.pool);
        let (census, all) = (self.pool.census(), self.pool.region().frame_count());
        assert!(self.pool.is_conserved());
        assert_eq!(self.pool.free_count() as u32, all, "{census:?}");
        self.pool
    }
}

/// A packet of one frame with these bytes.
pub fn packet(pool: &mut Pool, bytes: &[u8]) -> Packet {
    let mut frame = pool.take().expect("a free frame");
    frame.set_range(frame.head(), bytes.len() as u16);
    let mut packet = Packet::from(frame);
    pool.bytes_mut(&mut packet).copy_from_slice(bytes);
    packet
}

/// All bytes of a packet.
pub fn bytes(pool: &Pool, packet: &Packet) -> Vec<u8> {
    pool.segments(packet).collect::<Vec<_>>().concat()
}

/// A frame of `length` bytes that differ, to the interface with this number. Its EtherType is an
/// experimental one (IEEE 802), which no kernel answers.
pub fn frame(to: u8, length: usize) -> Vec<u8> {
    let mut frame = mac(to).to_vec();
    frame.extend([2, 0, 0, 0, 0, 99, 0x88, 0xb5]);
    frame.extend((0..length).map(|n| (n * 7 + n / 256 + length) as u8));
    frame.truncate(length);
    frame
}

/// Calls `step` until it gives something, for at most ten seconds: a bound, not a measurement.
pub fn wait_for<T>(what: &str, mut step: impl FnMut(Instant) -> Option<T>) -> T {
    let clock = Clock::monotonic();
    let start = clock.now();
    loop {
        let now = clock.now();
        if let Some(result) = step(now) {
            return result;
        }
        let waited = now.saturating_since(start);
        assert!(waited.as_secs() < 10, "waited ten seconds for {what}");
        std::thread::yield_now();
    }
}
