use super::*;

const A: InterfaceId = InterfaceId(0);
const B: InterfaceId = InterfaceId(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

/// a: 10.0.0.1/24, 10.0.1.1/24, 2001:db8::1/64; b: 192.0.2.2/30.
fn two() -> SnapshotBuilder {
    let a = Interface::ethernet(A, "a", mac(1), 1500)
        .with_address(ip("10.0.0.1"), 24)
        .with_address(ip("10.0.1.1"), 24)
        .with_address(ip("2001:db8::1"), 64);
    let b = Interface::ethernet(B, "b", mac(2), 9000).with_address(ip("192.0.2.2"), 30);
    Snapshot::builder(7).interface(a).interface(b)
}

fn error(builder: SnapshotBuilder) -> String {
    builder.build().unwrap_err().to_string()
}

#[test]
fn local_broadcast_and_group_addresses_are_told_apart() {
    let group = ip("239.1.2.3");
    let mut a = two().build().unwrap().interfaces.remove(0);
    a.groups.push(group);
    let snapshot = Snapshot::builder(1).interface(a).build().unwrap();
    for (address, on) in [("10.0.0.1", Some(A)), ("2001:db8::1", Some(A)), ("10.0.0.2", None)] {
        assert_eq!(snapshot.is_local(ip(address)), on, "{address}");
        assert_eq!(snapshot.has_address(A, ip(address)), on.is_some());
        assert!(!snapshot.has_address(B, ip(address)));
    }
    for (address, is) in [
        ([10, 0, 0, 255], true),
        ([10, 0, 1, 255], true),
        ([255; 4], true),
        ([10, 0, 2, 255], false),
    ] {
        assert_eq!(snapshot.is_broadcast(A, address.into()), is, "{address:?}");
    }
    for (group, joined) in [
        (group, true),
        (ip("239.1.2.4"), false),
        (ip("224.0.0.1"), true),
        (ip("ff02::1"), true),
        (ip("ff02::1:ff00:1"), true),
        (ip("ff02::1:ff00:2"), false),
    ] {
        assert_eq!(snapshot.is_multicast_joined(A, group), joined, "{group}");
        assert!(!snapshot.is_multicast_joined(B, group), "there is no b");
    }
}

#[test]
fn a_packet_finds_its_way_and_its_source() {
    let gateway = ip("10.0.1.254");
    let snapshot = two()
        .default_route(A, gateway)
        .route(Route::new(
            "198.51.100.0/24".parse().unwrap(),
            Via {
                source: Some(ip("10.0.0.1")),
                mtu: Some(1400),
                ..Via::gateway(B, ip("192.0.2.1"))
            },
        ))
        .route(Route::new(
            "203.0.113.0/24".parse().unwrap(),
            Via { mtu: Some(9000), ..Via::gateway(A, ip("10.0.0.2")) },
        ))
        .build()
        .unwrap();
    let way = |to: &str| {
        let NextHop { interface, next_hop, source, mtu } = snapshot.route(ip(to)).unwrap();
        (interface, next_hop.to_string(), source.to_string(), mtu)
    };
    let expect = |interface, next_hop: &str, source: &str, mtu| {
        (interface, next_hop.to_owned(), source.to_owned(), mtu)
    };
    assert_eq!(way("10.0.0.9"), expect(A, "10.0.0.9", "10.0.0.1", 1500));
    assert_eq!(way("10.0.1.9"), expect(A, "10.0.1.9", "10.0.1.1", 1500));
    assert_eq!(way("8.8.8.8"), expect(A, "10.0.1.254", "10.0.1.1", 1500));
    assert_eq!(way("192.0.2.1"), expect(B, "192.0.2.1", "192.0.2.2", 9000));
    assert_eq!(way("198.51.100.9"), expect(B, "192.0.2.1", "10.0.0.1", 1400));
    assert_eq!(way("203.0.113.9"), expect(A, "10.0.0.2", "10.0.0.1", 1500));
    assert_eq!(way("255.255.255.255"), expect(A, "255.255.255.255", "10.0.0.1", 1500));
    assert_eq!(way("224.0.0.9"), expect(A, "224.0.0.9", "10.0.0.1", 1500));
    assert_eq!(way("2001:db8::9"), expect(A, "2001:db8::9", "2001:db8::1", 1500));
    assert_eq!(snapshot.route(ip("2001:db9::9")), None);
}

#[test]
fn a_route_without_source_or_over_a_dead_link_leads_nowhere() {
    let bare = Interface::ethernet(A, "a", mac(1), 1500);
    let over_a = |a| Snapshot::builder(1).interface(a).default_route(A, ip("10.0.0.2"));
    assert_eq!(over_a(bare.clone()).build().unwrap().route(ip("10.0.0.9")), None);
    let mut down = bare.with_address(ip("10.0.0.1"), 24);
    assert!(over_a(down.clone()).build().unwrap().route(ip("10.0.0.9")).is_some());
    down.up = false;
    assert_eq!(over_a(down).build().unwrap().route(ip("10.0.0.9")), None);
}

/// The examples of RFC 6724 §10.1, as far as they concern one host's rules.
#[test]
fn ipv6_sources_follow_rfc_6724() {
    let choose = |ours: &[(&str, u8)], to: &str| {
        let a = ours.iter().fold(Interface::ethernet(A, "a", mac(1), 1500), |a, (address, len)| {
            a.with_address(ip(address), *len)
        });
        let snapshot = Snapshot::builder(1)
            .interface(a)
            .route(Route::new(Prefix::ALL_V6, Via::on_link(A)))
            .build()
            .unwrap();
        snapshot.route(ip(to)).map(|way| way.source.to_string())
    };
    let global = ("2001:db8:3::1", 64);
    let link = ("fe80::1", 64);
    for (ours, to, expected) in [
        (&[global, link][..], "2001:db8:1::1", "2001:db8:3::1"),
        (&[link, global], "ff05::1", "2001:db8:3::1"),
        (&[global, link], "fe80::2", "fe80::1"),
        (&[("fe80::2", 64), ("2001:db8:1::1", 64)], "2001:db8:1::9", "2001:db8:1::1"),
        (&[("2001:db8:1::2", 64), ("2001:db8:3::2", 64)], "2001:db8:1::1", "2001:db8:1::2"),
        (&[("2001:db8:3::2", 64), ("2001:db8:1::2", 64)], "2001:db8:1::1", "2001:db8:1::2"),
        (
            &[("2002:c633:6401::d5e3", 64), ("2001:db8:1::2", 64)],
            "2002:c633:6401::1",
            "2002:c633:6401::d5e3",
        ),
        (&[("fd00::1", 8), ("2001:db8::1", 64)], "2001:db9::1", "2001:db8::1"),
        (&[("2001:db8::1", 64), ("fd00::1", 8)], "fdff::1", "fd00::1"),
        (&[link], "2001:db8::1", "fe80::1"),
        (&[("2001:db8::2", 64), ("2001:db8::1", 64)], "2001:db8::1", "2001:db8::1"),
        (&[("2001::5", 64), ("2600::1", 64)], "2001:db8:1::1", "2600::1"),
        (&[("2001:db8::1", 64), ("fec0::1", 64)], "ff05::1", "fec0::1"),
    ] {
        assert_eq!(choose(ours, to).as_deref(), Some(expected), "{ours:?} to {to}");
    }
}

#[test]
fn a_deprecated_address_is_chosen_last() {
    let mut a = two().build().unwrap().interfaces.remove(0).with_address(ip("2001:db8:0:1::1"), 64);
    a.addresses[2].deprecated = true;
    let snapshot = Snapshot::builder(1).interface(a).build().unwrap();
    let way = snapshot.route(ip("2001:db8::9")).unwrap();
    assert_eq!(way.source, ip("2001:db8:0:1::1"), "although 2001:db8::1 is nearer");
}

#[test]
fn neighbors_are_found_on_their_interface() {
    let (v4, v6) = (ip("10.0.0.9"), ip("2001:db8::9"));
    let builder = two().neighbor(A, v4, mac(7)).neighbor(A, v4, mac(9)).neighbor(A, v6, mac(8));
    let snapshot = builder.build().unwrap();
    assert_eq!(snapshot.neighbor(A, v4), Some(mac(9)));
    assert_eq!(snapshot.neighbor(A, v6), Some(mac(8)));
    assert_eq!(snapshot.neighbor(B, v4), None);
    assert_eq!(snapshot.neighbor(A, ip("10.0.0.8")), None);
}

#[test]
fn martians_are_known() {
    let snapshot = two().build().unwrap();
    for (source, martian) in [
        ("10.0.0.9", false),
        ("240.0.0.1", false),
        ("10.0.0.1", true),
        ("192.0.2.2", true),
        ("10.0.0.255", true),
        ("255.255.255.255", true),
        ("127.0.0.1", true),
        ("0.1.2.3", true),
        ("224.0.0.5", true),
        ("2001:db8::2", false),
        ("2001:db8::1", true),
        ("::", true),
        ("::1", true),
        ("ff02::1", true),
        ("::ffff:10.0.0.9", true),
    ] {
        assert_eq!(snapshot.is_martian_source(A, ip(source)), martian, "{source}");
    }
}

#[test]
fn errors_name_the_fix() {
    let plain = |id: u8| Interface::ethernet(InterfaceId(id), format!("eth{id}"), mac(1), 1500);
    let with =
        |address, len| Snapshot::builder(1).interface(plain(0).with_address(ip(address), len));
    let via = |prefix: &str, via| two().route(Route::new(prefix.parse().unwrap(), via));
    let small = Interface { mtu: 576, ..plain(0) }.with_address(ip("2001:db8::1"), 64);
    let cases = [
        (
            Snapshot::builder(1).interface(plain(1)),
            "eth1 has id 1 at place 0: number interfaces from 0",
        ),
        (
            Snapshot::builder(1).interface(small),
            "eth0 has MTU 576, its addresses need 1280: `ip link set eth0 mtu 1280` or more",
        ),
        (with("224.0.0.1", 24), "eth0 can't have 224.0.0.1: give it the address of one host"),
        (
            with("10.0.0.255", 24),
            "10.0.0.255/24 is the broadcast address of its subnet: \
             choose another, or the right prefix length",
        ),
        (with("10.0.0.1", 33), "10.0.0.1/33: the prefix has at most 32 bits"),
        (
            two().interface(plain(2).with_address(ip("10.0.1.1"), 16)),
            "10.0.1.1 is given to a and to eth2: remove one",
        ),
        (
            Snapshot::builder(1).interface(
                plain(0).with_address(ip("fe80::1"), 64).with_address(ip("fe80::1"), 64),
            ),
            "fe80::1 is given twice to eth0: remove one",
        ),
        (
            via("10.9.0.0/16", Via::on_link(InterfaceId(2))),
            "10.9.0.0/16 is over interface 2, which was not added",
        ),
        (
            via("::/0", Via::gateway(A, ip("10.0.0.2"))),
            "the route to ::/0 names 10.0.0.2: use one IP version in a route",
        ),
        (
            via("0.0.0.0/0", Via::gateway(A, ip("10.0.0.1"))),
            "the route to 0.0.0.0/0 is over 10.0.0.1, our own: name the router's",
        ),
        (
            via("0.0.0.0/0", Via::gateway(A, ip("127.0.0.1"))),
            "the route to 0.0.0.0/0 is over 127.0.0.1: name one router on the link",
        ),
        (
            two().neighbor(A, ip("10.0.0.2"), MacAddr::BROADCAST),
            "10.0.0.2 can't be at ff:ff:ff:ff:ff:ff: give the address of one station",
        ),
        (
            (0..=255)
                .fold(Snapshot::builder(1), |b, id| b.interface(plain(id)))
                .interface(plain(0)),
            "257 interfaces: one engine takes 256; start another",
        ),
    ];
    for (builder, message) in cases {
        assert_eq!(error(builder), message);
    }
}

#[test]
fn two_links_may_have_the_same_link_local_address() {
    let on = |id: u8| {
        let name = format!("eth{id}");
        Interface::ethernet(InterfaceId(id), name, mac(1), 1500).with_address(ip("fe80::1"), 64)
    };
    let snapshot = Snapshot::builder(1).interface(on(0)).interface(on(1)).build().unwrap();
    assert_eq!(snapshot.is_local(ip("fe80::1")), Some(A));
    assert!(snapshot.has_address(B, ip("fe80::1")));
}

#[test]
fn of_a_strange_world_what_fits_is_kept() {
    let odd = two()
        .interface(
            Interface::ethernet(InterfaceId(2), "odd", mac(3), 1000)
                .with_address(ip("10.0.1.1"), 16)
                .with_address(ip("172.16.0.1"), 12)
                .with_address(ip("2001:db8:5::1"), 64),
        )
        .default_route(A, ip("10.0.0.1"))
        .default_route(A, ip("10.0.0.2"))
        .neighbor(A, ip("10.0.0.2"), MacAddr::BROADCAST)
        .neighbor(A, ip("10.0.0.3"), mac(9));
    let (snapshot, refused) = odd.build_what_fits().unwrap();
    let refused: Vec<_> = refused.iter().map(ToString::to_string).collect();
    assert_eq!(
        refused,
        [
            "10.0.1.1 is given to a and to odd: remove one",
            "odd has MTU 1000, its addresses need 1280: `ip link set odd mtu 1280` or more",
            "the route to 0.0.0.0/0 is over 10.0.0.1, our own: name the router's",
            "10.0.0.2 can't be at ff:ff:ff:ff:ff:ff: give the address of one station",
        ]
    );
    assert_eq!(snapshot.is_local(ip("10.0.1.1")), Some(A));
    assert_eq!(snapshot.is_local(ip("172.16.0.1")), Some(InterfaceId(2)));
    assert_eq!(snapshot.is_local(ip("2001:db8:5::1")), None);
    assert_eq!(snapshot.route(ip("8.8.8.8")).unwrap().next_hop, ip("10.0.0.2"));
    assert_eq!(snapshot.route(ip("10.0.9.9")).unwrap().next_hop, ip("10.0.0.2"), "not over odd");
    assert_eq!(snapshot.neighbor(A, ip("10.0.0.3")), Some(mac(9)));
}
