//! Two hosts joined by a veth pair, made for one test and gone with it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use corewire_drivers::env::Clock;
use corewire_drivers::mem::{FrameSize, Packet, Pages, Pool, Region, RegionConfig};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The interface's name on every host: each host has its own namespace.
pub const NIC: &str = "cw0";

/// Whether this process may make hosts. On CI it must; elsewhere the reason to skip is printed.
pub fn is_root() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        assert!(std::env::var_os("CI").is_none(), "CI runs these tests as root");
        println!("skipped: network namespaces need root");
    }
    root
}

/// Two hosts, A (10.77.0.1, fd77::1) and B (10.77.0.2, fd77::2), joined by a cable.
#[derive(Debug)]
pub struct Cable {
    pub a: Host,
    pub b: Host,
}

/// One host: a network namespace.
#[derive(Debug)]
pub struct Host {
    pub name: String,
    pub ip: IpAddr,
    pub mac: [u8; 6],
}

impl Cable {
    /// A cable of one queue with MTU 1500.
    pub fn new() -> Self {
        Self::with(1, 1500)
    }

    pub fn with(queues: u32, mtu: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |end| format!("cwt-{}-{number}-{end}", std::process::id());
        let (a, b) = (Host::new(name("a"), 1), Host::new(name("b"), 2));
        ip(&format!(
            "link add {NIC} netns {} numrxqueues {queues} numtxqueues {queues} type veth peer name \
             {NIC} netns {} numrxqueues {queues} numtxqueues {queues}",
            a.name, b.name
        ));
        for (host, number) in [(&a, 1), (&b, 2)] {
            host.settle(number, mtu);
        }
        Self { a, b }
    }
}

impl Host {
    fn new(name: String, number: u8) -> Self {
        ip(&format!("netns add {name}"));
        Self { name, ip: [10, 77, 0, number].into(), mac: [2, 0, 0, 0x77, 0, number] }
    }

    fn settle(&self, number: u8, mtu: u32) {
        let peer = 3 - number;
        let ip = |arguments: String| ip(&format!("-n {} {arguments}", self.name));
        self.run("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.disable_ipv6=1");
        // What veth hands over with a partial checksum, or glued together, is no frame of a wire.
        self.run(&format!("ethtool -K {NIC} tx off sg off tso off gso off gro off"));
        ip(format!("link set {NIC} mtu {mtu} address 02:00:00:77:00:0{number}"));
        ip(format!("addr add 10.77.0.{number}/24 dev {NIC}"));
        ip("link set lo up".into());
        ip(format!("link set {NIC} up"));
        ip(format!("neigh replace 10.77.0.{peer} lladdr 02:00:00:77:00:0{peer} dev {NIC}"));
    }

    /// Runs `work` with this thread on the host. Sockets stay where they were made.
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        let home = File::open("/proc/thread-self/ns/net").expect("our own namespace");
        let there = File::open(format!("/run/netns/{}", self.name)).expect("the host's");
        let go = |to: &File| {
            use std::os::fd::AsFd;
            move_into_link_name_space(to.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may change namespaces");
        };
        go(&there);
        let result = work();
        go(&home);
        result
    }

    /// Runs a program on the host; it must succeed.
    pub fn run(&self, command: &str) {
        run(&format!("ip netns exec {} {command}", self.name));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

pub fn ip(arguments: &str) {
    run(&format!("ip {arguments}"));
}

fn run(command: &str) {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a command");
    let output = Command::new(program).args(words).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{command}`: {error}");
}

/// A pool of `frames` frames of 2,048 bytes.
pub fn pool(frames: u32) -> Pool {
    pool_of(frames, FrameSize::Bytes2048)
}

pub fn pool_of(frames: u32, frame_size: FrameSize) -> Pool {
    let config = RegionConfig { frames, frame_size, pages: Pages::Plain };
    Pool::new(Region::new(&config).expect("memory")).expect("the first pool")
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

/// Calls `step` until it gives something, for at most five seconds: a bound, not a measurement.
pub fn wait_for<T>(
    what: &str,
    mut step: impl FnMut(corewire_drivers::env::Instant) -> Option<T>,
) -> T {
    let clock = Clock::monotonic();
    let start = clock.now();
    loop {
        let now = clock.now();
        if let Some(result) = step(now) {
            return result;
        }
        let waited = now.saturating_since(start);
        assert!(waited.as_secs() < 5, "waited five seconds for {what}");
        std::thread::yield_now();
    }
}

/// The error kind and text of a failed open, for tests of messages.
pub fn message<T>(result: Result<T, impl Into<io::Error>>) -> String {
    match result {
        Ok(_) => panic!("it worked"),
        Err(error) => error.into().to_string(),
    }
}
