//! What the checksum costs, by length, beside the loop of RFC 1071 and smoltcp's.
//!
//!   cargo bench -p corewire --bench checksum

use std::hint::black_box;

use corewire::packet::checksum::Sum;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use smoltcp::wire::Icmpv4Packet;

/// RFC 1071 §4.1 as it reads.
fn simple(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    let mut pairs = bytes.chunks_exact(2);
    for pair in &mut pairs {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    if let [byte] = *pairs.remainder() {
        sum += u32::from(byte) << 8;
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn lengths(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    // A header, a small datagram, around the change to lanes, full frames.
    for len in [20, 26, 64, 95, 96, 256, 576, 1460, 8960] {
        let bytes: Vec<u8> = (0..len).map(|at: usize| (at * 7 + 3) as u8).collect();
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_with_input(BenchmarkId::new("corewire", len), &bytes, |b, bytes| {
            b.iter(|| Sum::new().with(black_box(bytes)).value());
        });
        group.bench_with_input(BenchmarkId::new("simple", len), &bytes, |b, bytes| {
            b.iter(|| simple(black_box(bytes)));
        });
        group.bench_with_input(BenchmarkId::new("smoltcp", len), &bytes, |b, bytes| {
            // Its sum is not public; this is nothing but a sum and a comparison.
            b.iter(|| Icmpv4Packet::new_unchecked(black_box(&bytes[..])).verify_checksum());
        });
    }
}

criterion_group!(benches, lengths);
criterion_main!(benches);
