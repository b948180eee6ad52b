//! What a header costs to read and to write: the part of a hop that is bytes and meaning.
//!
//!   cargo bench -p corewire --bench packet

use std::hint::black_box;
use std::net::Ipv4Addr;

use corewire::packet::checksum::Sum;
use corewire::packet::vlan::Tags;
use corewire::packet::{DropReason, EtherType, MacAddr, Protocol, ethernet, ipv4, tcp, udp};
use corewire::packet::{ipv6, tcp_options};
use criterion::{Criterion, criterion_group, criterion_main};

const PAYLOAD: usize = 18;

/// A UDP datagram of 18 bytes in the shortest Ethernet frame, as in DESIGN's echo.
fn frame() -> [u8; 60] {
    let mut bytes = [7; 60];
    write(&mut bytes);
    bytes
}

/// Ethernet, IPv4 and UDP, as the read side of a stack does it: both checksums verified.
fn read(bytes: &[u8]) -> Result<(u16, usize), DropReason> {
    let header = ethernet::Header::parse(bytes)?;
    if header.ether_type != EtherType::IPV4 {
        return Err(DropReason::EtherTypeUnknown);
    }
    let bytes = &bytes[header.header_len()..];
    let ip = ipv4::Header::parse(bytes, bytes.len())?;
    let bytes = &bytes[usize::from(ip.header_len)..usize::from(ip.total_len)];
    let datagram = udp::Header::parse(bytes, bytes.len())?;
    let bytes = &bytes[..usize::from(datagram.length)];
    datagram.verify(&ip.addresses(), [bytes])?;
    Ok((datagram.destination_port, bytes.len()))
}

/// The same three headers around what stands behind them.
fn write(bytes: &mut [u8; 60]) {
    let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let (source, destination) = black_box((source, destination));
    let (headers, payload) = bytes.split_at_mut(60 - PAYLOAD);
    let datagram = udp::Header::new(black_box(7), 9, PAYLOAD as u16);
    let ip = ipv4::Header::new(source, destination, Protocol::UDP, datagram.length);
    datagram.with_checksum(&ip.addresses(), Sum::new().with(payload)).emit(&mut headers[34..]);
    ip.emit(&mut headers[14..]);
    let header = ethernet::Header {
        destination: MacAddr([2, 0, 0, 0, 0, 1]),
        source: MacAddr([2, 0, 0, 0, 0, 2]),
        ether_type: EtherType::IPV4,
        tags: Tags::NONE,
    };
    header.emit(headers);
}

fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("packet");
    let bytes = frame();
    group.bench_function("read Ethernet, IPv4, UDP of 60 bytes", |b| {
        b.iter(|| read(black_box(&bytes)));
    });
    let mut bytes = frame();
    group.bench_function("write Ethernet, IPv4, UDP of 60 bytes", |b| {
        b.iter(|| write(black_box(&mut bytes)));
    });
    let bytes = frame();
    group.bench_function("read Ethernet", |b| {
        b.iter(|| ethernet::Header::parse(black_box(&bytes)));
    });
    group.bench_function("read IPv4", |b| {
        b.iter(|| ipv4::Header::parse(black_box(&bytes[14..]), 46));
    });
    group.bench_function("read UDP", |b| {
        b.iter(|| udp::Header::parse(black_box(&bytes[34..]), 26));
    });
    let mut six = [0; 48];
    ipv6::Header::new([1; 8].into(), [2; 8].into(), Protocol::UDP, 8).emit(&mut six);
    group.bench_function("read IPv6", |b| {
        b.iter(|| ipv6::Header::parse(black_box(&six), 48));
    });
    let mut segment = [0; 32];
    segment[20..].copy_from_slice(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    segment[12] = 0x80;
    group.bench_function("read TCP with timestamps", |b| {
        b.iter(|| {
            let header = tcp::Header::parse(black_box(&segment))?;
            Ok::<_, DropReason>((header, tcp_options::Options::parse(header.options(&segment))))
        });
    });
}

criterion_group!(benches, headers);
criterion_main!(benches);
