//! The scenarios whose instructions scripts/icount counts under callgrind.
//!
//! `icount --list` names them; `icount NAME COUNT` sets one up and does it COUNT times. The script
//! runs each with two counts and divides the difference, so that setting up costs nothing.
//! Everything is determined: seeds are fixed, and no clock is read.

use std::hint::black_box;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use corewire::ip::route::{InterfaceId, Prefix, Route, RouteTable, Via};
use corewire::packet::checksum::Sum;
use corewire::packet::{ethernet, ipv4, udp};
use corewire_drivers::cable::CableEnd;
use corewire_drivers::device::{Burst, Device as _};
use corewire_drivers::env::limits::HEADROOM;
use corewire_drivers::env::{DropReason, Instant, Rng};
use corewire_drivers::mem::{Packet, Pool, Region, RegionConfig};
use corewire_drivers::ring::{Entry, spsc};

/// Scenarios of the whole stack.
mod engine;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--list"] => {
            SCENARIOS.iter().for_each(|(name, _)| println!("{name}"));
            ExitCode::SUCCESS
        }
        [name, count] => match (find(name), count.parse()) {
            (Some(scenario), Ok(count)) => match scenario(count) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("icount {name}: {error}");
                    ExitCode::FAILURE
                }
            },
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: icount --list | icount NAME COUNT; scripts/icount runs it under callgrind");
    ExitCode::from(2)
}

/// Does its work that many times.
type Scenario = fn(u32) -> io::Result<()>;

/// In the order in which a packet meets them.
const SCENARIOS: [(&str, Scenario); 12] = [
    ("pool-take-give", pool_take_give),
    ("cable-64B", |count| cable(count, 64)),
    ("cable-1514B", |count| cable(count, 1514)),
    ("checksum-20B", |count| checksum(count, 20)),
    ("checksum-1500B", |count| checksum(count, 1500)),
    ("rx-drop-parse-64B", parse),
    ("route-lookup-4", |count| route(count, 4)),
    ("route-lookup-10000", |count| route(count, 10_000)),
    ("udp-echo-18B", |count| engine::udp_echo(count, 18)),
    ("udp-echo-1400B", |count| engine::udp_echo(count, 1400)),
    ("arp-answer", engine::arp_answer),
    ("ring-burst-32", ring),
];

fn find(name: &str) -> Option<Scenario> {
    SCENARIOS.iter().find(|(known, _)| *known == name).map(|(_, scenario)| *scenario)
}

fn pool() -> io::Result<Pool> {
    Pool::new(Region::new(&RegionConfig { frames: 512, ..RegionConfig::default() })?)
}

/// A frame out of the pool and back.
fn pool_take_give(count: u32) -> io::Result<()> {
    let mut pool = pool()?;
    for _ in 0..count {
        if let Some(frame) = pool.take() {
            pool.give(black_box(frame));
        }
    }
    Ok(())
}

/// A packet over a cable, in bursts of 32.
fn cable(count: u32, size: u16) -> io::Result<()> {
    let (mut here, mut there) = CableEnd::pair(1500, 256);
    let (mut sender, mut receiver) = (pool()?, pool()?);
    let mut burst = Burst::new();
    for _ in 0..count.div_ceil(32) {
        for _ in 0..32 {
            let Some(mut frame) = sender.take() else { break };
            frame.set_range(HEADROOM, size);
            if let Err(packet) = burst.push(Packet::from(frame)) {
                sender.free(packet);
            }
        }
        here.tx_burst(Instant::ZERO, &mut sender, &mut burst);
        there.rx_burst(Instant::ZERO, &mut receiver, &mut burst);
        burst.free(&mut receiver);
        there.rx_burst(Instant::ZERO, &mut receiver, &mut burst);
        here.reclaim(Instant::ZERO, &mut sender);
    }
    Ok(())
}

fn checksum(count: u32, size: usize) -> io::Result<()> {
    let bytes = vec![0x5a; size];
    for _ in 0..count {
        black_box(Sum::new().with(black_box(&bytes)).checksum());
    }
    Ok(())
}

/// What rx-drop does with a frame: every header and both checksums.
fn parse(count: u32) -> io::Result<()> {
    let frame = frame();
    for _ in 0..count {
        let parsed = parse_udp(black_box(&frame));
        black_box(parsed.map_err(|reason| io::Error::other(reason.name()))?);
    }
    Ok(())
}

fn parse_udp(frame: &[u8]) -> Result<udp::Header, DropReason> {
    let link = ethernet::Header::parse(frame)?;
    let packet = &frame[link.header_len()..];
    let ip = ipv4::Header::parse(packet, packet.len())?;
    let datagram = &packet[usize::from(ip.header_len)..usize::from(ip.total_len)];
    let header = udp::Header::parse(datagram, datagram.len())?;
    header.verify(&ip.addresses(), [&datagram[..usize::from(header.length)]])?;
    Ok(header)
}

/// A UDP datagram of 22 bytes.
fn frame() -> Vec<u8> {
    use corewire::packet::ethernet::{EtherType, MacAddr};
    use corewire::packet::vlan::Tags;
    use corewire::packet::{Addresses, Protocol};
    let (source, destination) = (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2));
    let mut frame = vec![0x5a; 64];
    ethernet::Header {
        destination: MacAddr([2, 0, 0, 0, 0, 2]),
        source: MacAddr([2, 0, 0, 0, 0, 1]),
        ether_type: EtherType::IPV4,
        tags: Tags::NONE,
    }
    .emit(&mut frame);
    ipv4::Header::new(source, destination, Protocol::UDP, 30).emit(&mut frame[14..]);
    let addresses = Addresses::V4 { source, destination };
    let payload = Sum::new().with(&frame[42..]);
    udp::Header::new(9, 9, 22).with_checksum(&addresses, payload).emit(&mut frame[34..]);
    frame
}

/// The route to a destination, among so many /24 and a default route that every other needs.
fn route(count: u32, routes: u32) -> io::Result<()> {
    let via = Via::on_link(InterfaceId(0));
    let address = |index: u32| Ipv4Addr::from(0x0a00_0000 | index << 8);
    let destination = |index: u32, bits: u8| {
        Prefix::holding(IpAddr::V4(address(index)), bits).map_err(io::Error::other)
    };
    let mut all = vec![Route::new(destination(0, 0)?, via)];
    for index in 1..routes {
        all.push(Route::new(destination(index, 24)?, via));
    }
    let table = RouteTable::new(all);
    let mut rng = Rng::from_seed(1);
    let asked: Vec<Ipv4Addr> = (0..256).map(|_| address(rng.below(routes * 2))).collect();
    for destination in asked.iter().cycle().take(count as usize) {
        black_box(table.lookup_v4(black_box(*destination)));
    }
    Ok(())
}

/// An entry through an index ring, in bursts of 32.
fn ring(count: u32) -> io::Result<()> {
    let (mut producer, mut consumer) = spsc::pair(256)?;
    let mut entries = [Entry::default(); 32];
    for _ in 0..count.div_ceil(32) {
        producer.push_burst(black_box(&entries));
        black_box(consumer.pop_burst(&mut entries));
    }
    Ok(())
}
