use super::*;
use proptest::prelude::*;

fn gateway(last: u8) -> Via {
    Via::gateway(InterfaceId(0), IpAddr::from([10, 0, 0, last]))
}

fn route(prefix: &str, via: Via) -> Route {
    Route::new(prefix.parse().unwrap(), via)
}

/// Enough routes that lead elsewhere to make a table of any kind: a scan, and trees of any height.
fn filler(count: u32) -> impl Iterator<Item = Route> {
    (0..count).flat_map(|i| {
        let v4 = IpAddr::from((0xc000_0000 + 2 * i).to_be_bytes());
        // Every other one alone in the first half of its addresses.
        let place = u128::from(i / 2) << 64 | u128::from(i % 2) << (i % 64);
        let v6 = IpAddr::from((0x3fff_u128 << 112 | place).to_be_bytes());
        [Route::new(Prefix::host(v4), gateway(9)), Route::new(Prefix::host(v6), gateway(9))]
    })
}

#[test]
fn the_longest_prefix_wins_in_tables_of_every_size() {
    for size in [0, 20, 5000] {
        let unreachable =
            Route { destination: "10.1.2.128/25".parse().unwrap(), via: None, metric: 0 };
        let table = RouteTable::new(filler(size).chain([
            route("0.0.0.0/0", gateway(1)),
            route("10.1.0.0/16", gateway(2)),
            route("10.1.2.0/24", gateway(3)),
            unreachable,
            route("10.1.2.200", gateway(4)),
            route("2001:db8::/32", gateway(5)),
            route("2001:db8:0:1::/64", gateway(6)),
            route("2001:db8:0:1::7", gateway(7)),
        ]));
        let expected = [
            ("1.1.1.1", Some(1)),
            ("255.255.255.255", Some(1)),
            ("10.1.255.255", Some(2)),
            ("10.2.0.0", Some(1)),
            ("10.1.2.127", Some(3)),
            ("10.1.2.128", None),
            ("10.1.2.200", Some(4)),
            ("2001:db8:0:2::", Some(5)),
            ("2001:db8:0:1::6", Some(6)),
            ("2001:db8:0:1::7", Some(7)),
            ("2001:db9::", None),
            ("::", None),
        ];
        for (destination, last) in expected {
            let found = table.lookup(destination.parse().unwrap());
            assert_eq!(found.copied(), last.map(gateway), "{destination} among {size} more");
        }
        assert_eq!(table.len(), 8 + 2 * size as usize);
    }
}

#[test]
fn of_equal_destinations_the_metric_decides_then_the_order() {
    for size in [0, 20] {
        let with = |via, metric| Route { metric, ..route("10.0.0.0/8", via) };
        let routes = [with(gateway(1), 5), with(gateway(2), 3), with(gateway(3), 3)];
        let table = RouteTable::new(filler(size).chain(routes));
        assert_eq!(table.lookup([10, 9, 9, 9].into()), Some(&gateway(2)));
    }
}

#[test]
fn an_empty_table_leads_nowhere() {
    let table = RouteTable::default();
    assert!(table.is_empty());
    assert_eq!(table.lookup([10, 0, 0, 1].into()), None);
    assert_eq!(table.lookup([1u16; 8].into()), None);
}

#[test]
fn ways_are_kept_once() {
    let table = RouteTable::new(filler(5000));
    assert_eq!(table.vias(), [gateway(9)]);
}

#[test]
fn prefixes_are_checked_and_errors_name_the_fix() {
    let error = |text: &str| text.parse::<Prefix>().unwrap_err().to_string();
    assert_eq!(
        error("10.0.0.1/8"),
        "10.0.0.1/8 is not a network: write 10.0.0.0/8, or 10.0.0.1/32 for the host"
    );
    assert_eq!(error("10.0.0.0/33"), "10.0.0.0/33: a prefix here has at most 32 bits");
    assert_eq!(error("::/129"), "::/129: a prefix here has at most 128 bits");
    assert_eq!(error("10/8"), "`10/8` is not a prefix: write it like 10.0.0.0/8 or 2001:db8::/32");
    let prefix: Prefix = "10.4.0.0/14".parse().unwrap();
    assert_eq!(prefix.to_string(), "10.4.0.0/14");
    assert!(prefix.contains([10, 7, 255, 255].into()) && !prefix.contains([10, 8, 0, 0].into()));
    assert!(!prefix.contains("a04::".parse().unwrap()));
    assert_eq!(prefix.broadcast(), Some([10, 7, 255, 255].into()));
    assert_eq!("10.0.0.0/31".parse::<Prefix>().unwrap().broadcast(), None);
    assert!(Prefix::ALL_V6.contains([0xffff; 8].into()));
}

/// Addresses and prefixes over few bits here and there, so that prefixes nest and repeat.
fn sparse() -> impl Strategy<Value = u128> {
    let bit = prop_oneof![Just(0), Just(96), Just(100), Just(104), Just(120), 0..128u32];
    prop::collection::vec(bit, 0..5)
        .prop_map(|bits| bits.into_iter().fold(0, |number, bit| number | 1u128 << (127 - bit)))
}

fn lengths() -> impl Strategy<Value = u8> {
    prop_oneof![0..=128u8, Just(0), Just(6), Just(16), Just(22), Just(24), Just(32), Just(128)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

    #[test]
    fn agrees_with_a_plain_prefix_trie(
        routes in prop::collection::vec((sparse(), lengths(), 0..6u8), 0..40),
        asked in prop::collection::vec(sparse(), 1..60),
        more in prop_oneof![8 => Just(0u32), 1 => 0..4096u32],
    ) {
        if cfg!(miri) && more > 0 {
            return Ok(());
        }
        let mut oracle4 = prefix_trie::PrefixMap::<(u32, u8), Option<Via>>::new();
        let mut oracle6 = prefix_trie::PrefixMap::<(u128, u8), Option<Via>>::new();
        let mut table = Vec::new();
        for (address, len, last) in routes {
            let via = (last > 0).then(|| gateway(last));
            let short = len.min(32);
            let v4 = Ipv4Addr::from_bits((address >> 96) as u32);
            let v6 = Ipv6Addr::from_bits(address);
            let both = [Prefix::holding(v4.into(), short), Prefix::holding(v6.into(), len)];
            for destination in both {
                table.push(Route { destination: destination.unwrap(), via, metric: 0 });
            }
            // The first of equal ones stays.
            oracle4.entry((v4.to_bits() & u32::mask(short), short)).or_insert(via);
            oracle6.entry((address & u128::mask(len), len)).or_insert(via);
        }
        for route in filler(more) {
            match route.destination.address() {
                IpAddr::V4(v4) => oracle4.entry((v4.to_bits(), 32)).or_insert(route.via),
                IpAddr::V6(v6) => oracle6.entry((v6.to_bits(), 128)).or_insert(route.via),
            };
            table.push(route);
        }
        let table = RouteTable::new(table);
        let fillers = [0, 1, more / 2, more.saturating_sub(1)].into_iter().flat_map(|i| {
            let v6 = 0x3fff << 112 | u128::from(i / 2) << 64;
            [u128::from(0xc000_0000 + 2 * i) << 96, v6, v6 | u128::from(i % 2) << (i % 64)]
        });
        for address in asked.into_iter().chain(fillers) {
            let v4 = (address >> 96) as u32;
            let expected = oracle4.get_lpm(&(v4, 32)).and_then(|(_, via)| *via);
            prop_assert_eq!(table.lookup_v4(Ipv4Addr::from_bits(v4)).copied(), expected);
            let expected = oracle6.get_lpm(&(address, 128)).and_then(|(_, via)| *via);
            prop_assert_eq!(table.lookup_v6(Ipv6Addr::from_bits(address)).copied(), expected);
        }
    }
}
