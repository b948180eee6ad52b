//! Two engines joined in memory, for tests: one thread, a clock that only the test moves.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "each test file uses its part"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use corewire::control::snapshot::{Interface, InterfaceId, Snapshot};
use corewire::packet::MacAddr;
use corewire::socket::Application;
use corewire::worker::{Progress, Worker};
use corewire_drivers::cable::CableEnd;
use corewire_drivers::device::Device;
use corewire_drivers::env::{Counters, Instant, Rng};
use corewire_drivers::mem::{Pages, Pool, Region, RegionConfig};

/// The only interface of a test host.
pub const ETH: InterfaceId = InterfaceId(0);

/// 10.0.0.`host`.
pub fn ip(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host)
}

/// A snapshot with one interface, 10.0.0.`host`/24.
pub fn snapshot(host: u8, mac: [u8; 6], mtu: u32) -> Arc<Snapshot> {
    let interface =
        Interface::ethernet(ETH, "test0", MacAddr(mac), mtu).with_address(IpAddr::V4(ip(host)), 24);
    Arc::new(Snapshot::builder(1).interface(interface).build().expect("a valid snapshot"))
}

/// A worker on `device` that is 10.0.0.`host`.
pub fn worker(host: u8, device: impl Device + 'static, frames: u32) -> Worker {
    let config = RegionConfig { frames, pages: Pages::Plain, ..RegionConfig::default() };
    let pool = Pool::new(Region::new(&config).expect("memory")).expect("the first pool");
    let (mac, mtu) = (device.capabilities().mac, device.capabilities().mtu as u32);
    let counters = Arc::new(Counters::memfd(0).expect("memory"));
    let rng = Rng::from_seed(u64::from(host));
    let mut worker = Worker::new(pool, snapshot(host, mac, mtu), counters, rng, 49152..=65535);
    worker.attach(ETH, Box::new(device));
    worker
}

/// Two hosts on one cable, 10.0.0.1 and 10.0.0.2.
pub struct Pair {
    pub a: Worker,
    pub b: Worker,
    pub now: Instant,
}

impl Pair {
    pub fn new() -> Self {
        let (a, b) = CableEnd::pair(1500, 1024);
        let now = Instant::from_nanos(1_000_000_000);
        Self { a: worker(1, a, 2048), b: worker(2, b, 2048), now }
    }

    /// Turns both until neither has anything to do.
    pub fn settle(&mut self, a: &mut impl Application, b: &mut impl Application) {
        for _ in 0..10_000 {
            let one: Progress = self.a.turn(self.now, a);
            let other = self.b.turn(self.now, b);
            self.now += Duration::from_micros(1);
            if one.is_idle() && other.is_idle() {
                return;
            }
        }
        panic!("the hosts never came to rest");
    }
}

/// Answers every datagram in its own frame.
#[derive(Default)]
pub struct Echo {
    pub seen: usize,
}

impl Application for Echo {
    fn on_datagram(
        &mut self,
        turn: &mut corewire::socket::Turn<'_>,
        datagram: corewire::socket::Datagram<'_>,
    ) {
        self.seen += 1;
        let _ = datagram.answer(turn);
    }
}

/// Keeps what it receives.
#[derive(Default)]
pub struct Collect {
    pub datagrams: Vec<(std::net::SocketAddr, Vec<u8>)>,
    pub errors: Vec<corewire::socket::application::SocketError>,
}

impl Application for Collect {
    fn on_datagram(
        &mut self,
        turn: &mut corewire::socket::Turn<'_>,
        datagram: corewire::socket::Datagram<'_>,
    ) {
        let bytes = datagram.segments(turn).flatten().copied().collect();
        self.datagrams.push((datagram.peer(), bytes));
    }

    fn on_error(
        &mut self,
        _turn: &mut corewire::socket::Turn<'_>,
        _socket: corewire::socket::SocketId,
        error: corewire::socket::application::SocketError,
    ) {
        self.errors.push(error);
    }
}
