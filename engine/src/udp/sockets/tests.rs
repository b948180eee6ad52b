use super::*;

fn sockets() -> (Sockets, Rng) {
    (Sockets::new(50_000..=50_001), Rng::from_seed(1))
}

fn at(address: &str) -> SocketAddr {
    address.parse().expect("valid")
}

fn find(sockets: &Sockets, to: SocketAddr, from: SocketAddr) -> Option<u32> {
    let addresses = Addresses::new(from.ip(), to.ip()).expect("one version");
    sockets.lookup(&addresses, (from.port(), to.port()), false)
}

#[test]
fn an_address_and_port_has_one_socket() {
    let (mut sockets, mut rng) = sockets();
    let mut bind = |address| sockets.bind(at(address), Owner::Inline, &mut rng).map(|b| b.1);
    assert_eq!(bind("10.0.0.1:7"), Ok(at("10.0.0.1:7")));
    assert_eq!(bind("10.0.0.1:7"), Err(BindError::InUse));
    assert_eq!(bind("0.0.0.0:7"), Err(BindError::InUse));
    assert_eq!(bind("10.0.0.2:7"), Ok(at("10.0.0.2:7")));
    assert_eq!(bind("[::]:7"), Ok(at("[::]:7")), "another version");
    assert_eq!(bind("0.0.0.0:8"), Ok(at("0.0.0.0:8")));
    assert_eq!(bind("10.0.0.1:8"), Err(BindError::InUse));
    for _ in 0..2 {
        assert!(bind("10.0.0.1:0").is_ok_and(|local| (50_000..=50_001).contains(&local.port())));
    }
    assert_eq!(bind("10.0.0.1:0"), Err(BindError::NoPort));
}

#[test]
fn the_most_particular_socket_gets_the_datagram() {
    let (mut sockets, mut rng) = sockets();
    let (own, _) = sockets.bind(at("10.0.0.1:7"), Owner::Inline, &mut rng).expect("free");
    let (other, _) = sockets.bind(at("10.0.0.2:7"), Owner::Inline, &mut rng).expect("free");
    let (any, _) = sockets.bind(at("0.0.0.0:9"), Owner::Inline, &mut rng).expect("free");
    let source = at("10.0.0.9:1000");
    let slot = |sockets: &Sockets, to: &str| find(sockets, at(to), source);
    assert_eq!(slot(&sockets, "10.0.0.1:7"), Some(own.slot));
    assert_eq!(slot(&sockets, "10.0.0.2:7"), Some(other.slot));
    assert_eq!(slot(&sockets, "10.0.0.3:7"), None);
    assert_eq!(slot(&sockets, "10.0.0.3:9"), Some(any.slot));
    let v6 = find(&sockets, at("[fd00::1]:9"), at("[fd00::9]:1000"));
    assert_eq!(v6, None);

    assert!(sockets.connect(own, Some(at("10.0.0.9:1001"))));
    assert_eq!(slot(&sockets, "10.0.0.1:7"), None, "connected to somebody else");
    assert!(sockets.connect(own, Some(source)));
    assert_eq!(slot(&sockets, "10.0.0.1:7"), Some(own.slot));
}

#[test]
fn a_closed_socket_leaves_its_port_to_the_others() {
    let (mut sockets, mut rng) = sockets();
    let ids: Vec<_> = (1..=3)
        .map(|host| {
            let local = SocketAddr::new(IpAddr::V4([10, 0, 0, host].into()), 7);
            sockets.bind(local, Owner::Inline, &mut rng).expect("free").0
        })
        .collect();
    let source = at("10.0.0.9:1000");
    for closed in [1, 2, 0] {
        assert!(sockets.close(ids[closed]).is_some());
        assert!(sockets.close(ids[closed]).is_none(), "twice");
        let to = format!("10.0.0.{}:7", closed + 1);
        assert_eq!(find(&sockets, at(&to), source), None);
    }
    assert_eq!(find(&sockets, at("10.0.0.1:7"), source), None);
    assert!(sockets.bind(at("0.0.0.0:7"), Owner::Inline, &mut rng).is_ok());
}

#[test]
fn the_sockets_of_a_context_are_found() {
    let (mut sockets, mut rng) = sockets();
    let owner = Owner::Context(ContextId(3));
    let (id, _) = sockets.bind(at("10.0.0.1:7"), owner, &mut rng).expect("free");
    sockets.bind(at("10.0.0.1:8"), Owner::Inline, &mut rng).expect("free");
    assert_eq!(sockets.of_context(ContextId(3)).collect::<Vec<_>>(), [id]);
    assert_eq!(sockets.of_context(ContextId(4)).count(), 0);
}
