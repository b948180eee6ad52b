//! What each hop of a packet costs, in the order in which a packet meets them.
//!
//!   cargo bench -p corewire-bench --bench hops

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use corewire::control::snapshot::{Interface, Snapshot};
use corewire::ip::route::InterfaceId;
use corewire::packet::checksum::Sum;
use corewire::packet::ethernet::{self, EtherType};
use corewire::packet::vlan::Tags;
use corewire::packet::{Addresses, MacAddr, Protocol, ipv4, udp};
use corewire::socket::{Application, Datagram, SocketId, Turn};
use corewire::worker::Worker;
use corewire_drivers::cable::CableEnd;
use corewire_drivers::device::{Burst, Device as _};
use corewire_drivers::env::limits::HEADROOM;
use corewire_drivers::env::{Counters, Instant, Rng};
use corewire_drivers::mem::{Packet, Pool, Region, RegionConfig};
use corewire_drivers::ring::lending::{self, LendingConfig};
use corewire_drivers::ring::{Entry, spsc};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Half a burst.
const BURST: u32 = 32;
const NOW: Instant = Instant::from_nanos(1_000_000_000);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const INTERFACE: InterfaceId = InterfaceId(0);

fn pool() -> Pool {
    let config = RegionConfig { frames: 512, ..RegionConfig::default() };
    Pool::new(Region::new(&config).expect("memory")).expect("the region's first pool")
}

fn memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory");
    group.throughput(Throughput::Elements(1));
    let mut pool = pool();
    group.bench_function("pool take and give", |bench| {
        bench.iter(|| {
            let frame = pool.take().expect("one is free");
            pool.give(black_box(frame));
        });
    });
}

fn cable(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cable");
    group.throughput(Throughput::Elements(u64::from(BURST)));
    for size in [64, 1514] {
        let (mut here, mut there) = CableEnd::pair(1500, 256);
        let (mut sender, mut receiver, mut burst) = (pool(), pool(), Burst::new());
        group.bench_function(format!("{BURST} packets of {size} B there"), |bench| {
            bench.iter(|| {
                for _ in 0..BURST {
                    let mut frame = sender.take().expect("one is free");
                    frame.set_range(HEADROOM, size);
                    burst.push(Packet::from(frame)).expect("half a burst fits");
                }
                here.tx_burst(NOW, &mut sender, &mut burst);
                there.rx_burst(NOW, &mut receiver, &mut burst);
                burst.free(&mut receiver);
                there.rx_burst(NOW, &mut receiver, &mut burst);
                here.reclaim(NOW, &mut sender);
            });
        });
    }
}

/// A UDP datagram that fills a frame of `size` bytes.
fn frame(size: usize) -> Vec<u8> {
    let mut frame = vec![0x5a; size];
    ethernet::Header {
        destination: MacAddr([2, 0, 0, 0, 0, 2]),
        source: MacAddr([2, 0, 0, 0, 0, 1]),
        ether_type: EtherType::IPV4,
        tags: Tags::NONE,
    }
    .emit(&mut frame);
    let datagram = (size - 34) as u16;
    ipv4::Header::new(CLIENT, SERVER, Protocol::UDP, datagram).emit(&mut frame[14..]);
    let addresses = Addresses::V4 { source: CLIENT, destination: SERVER };
    let payload = Sum::new().with(&frame[42..]);
    let header = udp::Header::new(40_000, 7, datagram - 8);
    header.with_checksum(&addresses, payload).emit(&mut frame[34..]);
    frame
}

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    for size in [64, 1514] {
        let frame = frame(size);
        group.bench_function(format!("Ethernet, IPv4, UDP, both checksums, {size} B"), |bench| {
            bench.iter(|| {
                let frame = black_box(&frame[..]);
                let link = ethernet::Header::parse(frame)?;
                let packet = &frame[link.header_len()..];
                let ip = ipv4::Header::parse(packet, packet.len())?;
                let datagram = &packet[usize::from(ip.header_len)..usize::from(ip.total_len)];
                let header = udp::Header::parse(datagram, datagram.len())?;
                header.verify(&ip.addresses(), [datagram])?;
                Ok::<_, corewire_drivers::env::DropReason>(header)
            });
        });
    }
}

fn snapshot(own: Ipv4Addr, peer: Ipv4Addr) -> Arc<Snapshot> {
    let mac = |address: Ipv4Addr| MacAddr([2, 0, 0, 0, 0, address.octets()[3]]);
    let interface =
        Interface::ethernet(INTERFACE, "cable0", mac(own), 1500).with_address(IpAddr::V4(own), 24);
    let snapshot = Snapshot::builder(1).interface(interface);
    let snapshot = snapshot.neighbor(INTERFACE, IpAddr::V4(peer), mac(peer)).build();
    Arc::new(snapshot.expect("it fits together"))
}

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lookup");
    group.throughput(Throughput::Elements(1));
    let snapshot = snapshot(CLIENT, SERVER);
    let to = IpAddr::V4(SERVER);
    group.bench_function("route of a host with one subnet", |bench| {
        bench.iter(|| snapshot.route(black_box(to)));
    });
    group.bench_function("address of ours", |bench| {
        bench.iter(|| snapshot.is_local(black_box(IpAddr::V4(CLIENT))));
    });
    group.bench_function("neighbour that is configured", |bench| {
        bench.iter(|| snapshot.neighbor(INTERFACE, black_box(to)));
    });
}

struct Echo;

impl Application for Echo {
    fn on_datagram(&mut self, turn: &mut Turn<'_>, datagram: Datagram<'_>) {
        datagram.answer(turn).expect("the cable has room");
    }
}

/// Sends half a burst whenever all answers have come.
struct Asker {
    socket: SocketId,
    size: usize,
    under_way: u32,
}

impl Application for Asker {
    fn on_datagram(&mut self, turn: &mut Turn<'_>, datagram: Datagram<'_>) {
        assert_eq!(datagram.payload(turn).len(), self.size);
        self.under_way -= 1;
    }

    fn on_turn(&mut self, turn: &mut Turn<'_>) {
        let to = SocketAddr::new(SERVER.into(), 7);
        while self.under_way < BURST {
            let write = |payload: &mut [u8]| payload.fill(0x5a);
            turn.udp_send(self.socket, to, self.size, write).expect("a frame and room");
            self.under_way += 1;
        }
    }
}

fn worker(end: CableEnd, own: Ipv4Addr, peer: Ipv4Addr) -> Worker {
    let counters = Arc::new(Counters::memfd(0).expect("memory"));
    let rng = Rng::from_seed(1);
    let mut worker = Worker::new(pool(), snapshot(own, peer), counters, rng, 49_152..=65_535);
    worker.attach(INTERFACE, Box::new(end));
    worker
}

/// Input, echo, output, and the client's output and input: both ends.
fn stack(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stack");
    group.throughput(Throughput::Elements(u64::from(BURST)));
    for size in [18, 1400] {
        let (here, there) = CableEnd::pair(1500, 256);
        let mut client = worker(here, CLIENT, SERVER);
        let mut server = worker(there, SERVER, CLIENT);
        let bind = |worker: &mut Worker, address: Ipv4Addr, port| {
            let at = SocketAddr::new(address.into(), port);
            worker.with_turn(NOW, |turn| turn.udp_bind(at)).expect("a free port").0
        };
        bind(&mut server, SERVER, 7);
        let socket = bind(&mut client, CLIENT, 40_000);
        let mut asker = Asker { socket, size, under_way: 0 };
        group.bench_function(format!("{BURST} UDP echoes of {size} B, both ends"), |bench| {
            bench.iter(|| {
                client.turn(NOW, &mut asker);
                server.turn(NOW, &mut Echo);
            });
        });
    }
}

fn hand_off(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hand-off on one core");
    group.throughput(Throughput::Elements(u64::from(BURST)));
    let (mut producer, mut consumer) = spsc::pair(256).expect("memory");
    let mut entries = [Entry::default(); BURST as usize];
    group.bench_function(format!("ring, {BURST} entries"), |bench| {
        bench.iter(|| {
            producer.push_burst(black_box(&entries));
            consumer.pop_burst(&mut entries)
        });
    });
    let mut pool = pool();
    let config = LendingConfig { frames: 256, signals: 16 };
    let (mut lender, mut borrower) = lending::pair(pool.region(), config).expect("memory");
    group.bench_function(format!("{BURST} frames lent and given back"), |bench| {
        bench.iter(|| {
            for _ in 0..BURST {
                let frame = pool.take().expect("one is free");
                lender.lend(pool.loan(frame, 1), 7, 0).expect("room for all frames");
            }
            lender.publish();
            while let Some(handed) = borrower.receive() {
                let loan = handed.loan.expect("no signal was sent");
                borrower.send(loan, handed.socket, handed.tag).expect("room for all frames");
            }
            borrower.publish();
            while let Some(sent) = lender.take_back() {
                let returned = sent.frame.expect("no signal was sent");
                let frame = pool.unloan(returned, 1).expect("it was on loan");
                pool.give(frame);
            }
        });
    });
}

criterion_group!(hops, memory, cable, parsing, lookup, stack, hand_off);
criterion_main!(hops);
