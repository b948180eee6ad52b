//! What a packet pays for its route: 3, 1,000 and 1,000,000 routes of each IP version.
//!
//! The destinations are random and all different, which no traffic is: each lookup of the large
//! tables misses the cache as often as it can.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corewire::ip::route::{InterfaceId, Prefix, Route, RouteTable, Via};
use corewire_drivers::env::Rng;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Lookups in one iteration.
const LOOKUPS: usize = 65_536;

fn routes(rng: &mut Rng, count: usize, v6: bool) -> Vec<Route> {
    let all = if v6 { Prefix::ALL_V6 } else { Prefix::ALL_V4 };
    let random = (1..count).map(|_| {
        // As in a full Internet table: most are /24 and /48, few are longer.
        let (address, len) = if v6 {
            let bits = 0x2000 << 112 | u128::from(rng.next_u64()) << 61;
            (IpAddr::from(Ipv6Addr::from_bits(bits)), [32, 40, 44, 48, 48, 48, 56, 64])
        } else {
            let address = Ipv4Addr::from_bits(rng.next_u64() as u32);
            (IpAddr::from(address), [16, 20, 22, 23, 24, 24, 24, 24])
        };
        let len = len[(rng.next_u64() & 7) as usize];
        let hop = Ipv4Addr::from_bits(0x0a00_0001 + (rng.next_u64() & 15) as u32);
        let via = Via::gateway(InterfaceId(0), hop.into());
        Route::new(Prefix::holding(address, len).expect("a length that fits"), via)
    });
    let default = Route::new(all, Via::on_link(InterfaceId(1)));
    std::iter::once(default).chain(random).collect()
}

fn lookup(criterion: &mut Criterion) {
    let mut rng = Rng::from_seed(1);
    let mut group = criterion.benchmark_group("route");
    group.throughput(Throughput::Elements(LOOKUPS as u64));
    for (count, v6) in
        [3, 1_000, 1_000_000].into_iter().flat_map(|count| [(count, false), (count, true)])
    {
        let routes = routes(&mut rng, count, v6);
        let table = RouteTable::new(routes.iter().copied());
        // An address inside of a random route, so that the whole trie is walked.
        let destinations: Vec<IpAddr> = (0..LOOKUPS)
            .map(|_| {
                let route = routes[(rng.next_u64() % routes.len() as u64) as usize];
                let noise = rng.next_u64();
                match route.destination.address() {
                    IpAddr::V4(first) => {
                        let host = (noise as u32).checked_shr(u32::from(route.destination.bits()));
                        Ipv4Addr::from_bits(first.to_bits() | host.unwrap_or(0)).into()
                    }
                    IpAddr::V6(first) => {
                        Ipv6Addr::from_bits(first.to_bits() | u128::from(noise)).into()
                    }
                }
            })
            .collect();
        let (mib, len) = (table.memory() >> 20, table.len());
        let name = format!("{} {len} routes, {mib} MiB", if v6 { "IPv6" } else { "IPv4" });
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for destination in &destinations {
                    black_box(table.lookup(*destination));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
