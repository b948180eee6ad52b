use super::*;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::RouteNextHop;

const ETH: LinkIndex = 2;
const OTHER: LinkIndex = 3;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn station(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

fn link(name: &str) -> Link {
    let (mac, kind) = (station(1), LinkKind::Ethernet);
    Link { name: name.into(), mac, mtu: 1500, kind, up: true }
}

fn route(destination: &str, attributes: Vec<RouteAttribute>) -> RouteMessage {
    let prefix: Prefix = destination.parse().unwrap();
    let mut message = RouteMessage::default();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.kind = RouteType::Unicast;
    message.header.address_family =
        if prefix.address().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.destination_prefix_length = prefix.bits();
    if prefix.bits() > 0 {
        message.attributes.push(RouteAttribute::Destination(prefix.address().into()));
    }
    message.attributes.extend(attributes);
    message
}

fn via(out: LinkIndex, gateway: &str) -> Vec<RouteAttribute> {
    vec![RouteAttribute::Oif(out), RouteAttribute::Gateway(ip(gateway).into())]
}

/// eth (ours, 10.0.0.1/24) and other (not ours), with these routes.
fn world(routes: &[RouteMessage]) -> World {
    World {
        links: [(ETH, link("eth")), (OTHER, link("other"))].into(),
        addresses: vec![(ETH, InterfaceAddress::new(ip("10.0.0.1"), 24))],
        routes: routes.iter().filter_map(KernelRoute::of).collect(),
        neighbors: BTreeMap::new(),
    }
}

fn config(addresses: Option<Vec<InterfaceAddress>>) -> SlowPathConfig {
    let attachment = Attachment { name: "eth".into(), addresses, groups: Vec::new() };
    SlowPathConfig { interfaces: vec![attachment], ..SlowPathConfig::default() }
}

fn next_hop(world: &World, config: &SlowPathConfig, to: &str) -> Option<String> {
    let snapshot = world.builder(config, &[(ETH, link("eth"))], None, 1).build().unwrap();
    snapshot.route(ip(to)).map(|way| format!("{} from {} {}", way.next_hop, way.source, way.mtu))
}

#[test]
fn routes_are_the_kernels_in_order_of_its_metrics() {
    let mut cheap = route("0.0.0.0/0", via(ETH, "10.0.0.254"));
    cheap.attributes.push(RouteAttribute::Priority(50));
    let mut dear = route("0.0.0.0/0", via(ETH, "10.0.0.253"));
    dear.attributes.push(RouteAttribute::Priority(100));
    let mut narrow = route("172.16.0.0/12", via(ETH, "10.0.0.252"));
    narrow.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(1400)]));
    let mut forbidden = route("192.0.2.0/24", Vec::new());
    forbidden.header.kind = RouteType::BlackHole;
    let world = world(&[dear, cheap, narrow, forbidden]);
    let config = config(None);
    let way = |to| next_hop(&world, &config, to);
    assert_eq!(way("8.8.8.8").as_deref(), Some("10.0.0.254 from 10.0.0.1 1500"));
    assert_eq!(way("172.16.9.9").as_deref(), Some("10.0.0.252 from 10.0.0.1 1400"));
    assert_eq!(way("10.0.0.9").as_deref(), Some("10.0.0.9 from 10.0.0.1 1500"));
    assert_eq!(way("192.0.2.1"), None);
}

#[test]
fn a_route_over_anothers_interface_forbids_but_does_not_compete() {
    let mut cheap = route("0.0.0.0/0", via(OTHER, "172.16.0.1"));
    cheap.attributes.push(RouteAttribute::Priority(1));
    let mut ours = route("0.0.0.0/0", via(ETH, "10.0.0.254"));
    ours.attributes.push(RouteAttribute::Priority(900));
    let inner = route("172.16.0.0/16", vec![RouteAttribute::Oif(OTHER)]);
    let world = world(&[cheap, ours, inner]);
    let shared = config(None);
    assert!(next_hop(&world, &shared, "8.8.8.8").is_some_and(|way| way.starts_with("10.0.0.254")));
    assert_eq!(next_hop(&world, &shared, "172.16.0.9"), None);
    let own = config(Some(vec![InterfaceAddress::new(ip("10.0.0.5"), 24)]));
    let way = next_hop(&world, &own, "172.16.0.9");
    assert_eq!(way.as_deref(), Some("10.0.0.254 from 10.0.0.5 1500"), "none of its business");
}

#[test]
fn of_several_hops_the_first_living_one_of_ours_counts() {
    let hop = |index, gateway: &str, flags| {
        let mut hop = RouteNextHop::default();
        hop.interface_index = index;
        hop.flags = flags;
        hop.attributes.push(RouteAttribute::Gateway(ip(gateway).into()));
        hop
    };
    let none = RouteNextHopFlags::empty();
    let hops = vec![
        hop(OTHER, "172.16.0.1", none),
        hop(ETH, "10.0.0.251", RouteNextHopFlags::Linkdown),
        hop(ETH, "10.0.0.252", none),
        hop(ETH, "10.0.0.253", none),
    ];
    let world = world(&[route("0.0.0.0/0", vec![RouteAttribute::MultiPath(hops)])]);
    let way = next_hop(&world, &config(None), "8.8.8.8");
    assert_eq!(way.as_deref(), Some("10.0.0.252 from 10.0.0.1 1500"));
}

#[test]
fn other_tables_local_and_dead_routes_are_not_seen() {
    let good = || route("0.0.0.0/0", via(ETH, "10.0.0.254"));
    assert!(KernelRoute::of(&good()).is_some());
    let mut local = good();
    local.header.kind = RouteType::Local;
    let mut table = good();
    table.attributes.push(RouteAttribute::Table(100));
    let mut source = good();
    source.header.source_prefix_length = 8;
    let mut dead = good();
    dead.header.flags = netlink_packet_route::route::RouteFlags::Dead;
    let mut long = good();
    long.header.destination_prefix_length = 33;
    let nowhere = route("10.9.0.0/16", Vec::new());
    for (place, message) in [local, table, source, dead, long, nowhere].iter().enumerate() {
        assert_eq!(KernelRoute::of(message), None, "case {place}");
    }
}

#[test]
fn only_proved_addresses_that_others_can_know_are_used() {
    let address = |flags: AddressFlags, scope| {
        let mut message = AddressMessage::default();
        message.header.index = ETH;
        message.header.prefix_len = 64;
        message.header.scope = scope;
        message.attributes.push(AddressAttribute::Address(ip("2001:db8::1")));
        message.attributes.push(AddressAttribute::Flags(flags));
        address_of(&message).map(|(index, ours)| (index, ours.address, ours.deprecated))
    };
    let (none, world) = (AddressFlags::empty(), AddressScope::Universe);
    let found = |deprecated| Some((ETH, ip("2001:db8::1"), deprecated));
    assert_eq!(address(none, world), found(false));
    assert_eq!(address(none, AddressScope::Link), found(false));
    assert_eq!(address(AddressFlags::Deprecated, world), found(true));
    assert_eq!(address(AddressFlags::Tentative, world), None);
    assert_eq!(address(AddressFlags::Tentative | AddressFlags::Optimistic, world), found(false));
    assert_eq!(address(AddressFlags::Dadfailed, world), None);
    assert_eq!(address(none, AddressScope::Host), None);

    let mut tunnel = AddressMessage::default();
    tunnel.attributes.push(AddressAttribute::Address(ip("10.0.0.2")));
    tunnel.attributes.push(AddressAttribute::Local(ip("10.0.0.1")));
    let (_, ours) = address_of(&tunnel).unwrap();
    assert_eq!(ours.address, ip("10.0.0.1"), "the other is at the far end");
}

#[test]
fn neighbours_without_a_station_address_are_unknown() {
    let neighbor = |state, mac: &[u8]| {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = ETH;
        message.header.state = state;
        let address = NeighbourAddress::Inet([10, 0, 0, 9].into());
        message.attributes.push(NeighbourAttribute::Destination(address));
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        let (key, found) = neighbor_of(&message).unwrap();
        assert_eq!(key, (ETH, ip("10.0.0.9")));
        found.map(|neighbor| (neighbor.mac, neighbor.stale))
    };
    let good = station(9).octets();
    assert_eq!(neighbor(NeighbourState::Reachable, &good), Some((station(9), false)));
    assert_eq!(neighbor(NeighbourState::Permanent, &good), Some((station(9), false)));
    assert_eq!(neighbor(NeighbourState::Stale, &good), Some((station(9), true)));
    assert_eq!(neighbor(NeighbourState::Failed, &good), None);
    assert_eq!(neighbor(NeighbourState::Incomplete, &good), None);
    assert_eq!(neighbor(NeighbourState::Reachable, &[0xff; 6]), None);
    assert_eq!(neighbor(NeighbourState::Reachable, &[2; 4]), None);
}

#[test]
fn the_kernels_neighbours_serve_only_where_it_resolves() {
    let mut world = world(&[]);
    let neighbor = Neighbor { mac: station(9), stale: false };
    world.neighbors.insert((ETH, ip("10.0.0.9")), neighbor);
    world.neighbors.insert((OTHER, ip("10.0.0.8")), neighbor);
    let found = |mut config: SlowPathConfig, to: &str| {
        config.neighbors.push((InterfaceId(0), ip("10.0.0.7"), station(7)));
        let snapshot = world.builder(&config, &[(ETH, link("eth"))], None, 1).build().unwrap();
        snapshot.neighbor(InterfaceId(0), ip(to))
    };
    let own = || config(Some(vec![InterfaceAddress::new(ip("10.0.0.5"), 24)]));
    assert_eq!(found(config(None), "10.0.0.9"), Some(station(9)));
    assert_eq!(found(config(None), "10.0.0.8"), None);
    assert_eq!(found(own(), "10.0.0.9"), None);
    for config in [config(None), own()] {
        assert_eq!(found(config, "10.0.0.7"), Some(station(7)));
    }
}
