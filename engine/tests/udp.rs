//! UDP between two engines, through ARP, IP and back, over a cable in memory.

mod support;

use corewire::env::{Counter, DropReason};
use std::net::SocketAddr;
use std::time::Duration;
use support::{Collect, Echo, Pair, ip};

fn at(host: u8, port: u16) -> SocketAddr {
    (ip(host), port).into()
}

#[test]
fn an_echo_of_every_size_that_fits_comes_back_whole() {
    let (mut pair, mut client, mut server) = (Pair::new(), Collect::default(), Echo::default());
    let bound = pair.b.with_turn(pair.now, |turn| turn.udp_bind(at(2, 7)));
    bound.expect("a free port");
    let now = pair.now;
    let (socket, local) =
        pair.a.with_turn(now, |turn| turn.udp_bind(at(1, 0))).expect("an ephemeral port");
    assert!(local.port() >= 49152);
    for len in (0..=1472).step_by(23).chain([1, 17, 18, 19, 1472]) {
        let bytes: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
        let now = pair.now;
        pair.a
            .with_turn(now, |turn| {
                turn.udp_send(socket, at(2, 7), len, |to| to.copy_from_slice(&bytes))
            })
            .expect("sent");
        pair.settle(&mut client, &mut server);
        assert_eq!(client.datagrams.pop(), Some((at(2, 7), bytes)), "{len} bytes");
        assert!(client.datagrams.is_empty());
    }
    let counters = pair.a.counters();
    assert_eq!(counters.get(Counter::ArpOut), 1, "one question is enough");
    let too_long = pair.a.with_turn(now, |turn| turn.udp_send(socket, at(2, 7), 1473, |_| {}));
    assert_eq!(too_long, Err(DropReason::TooBig));
    assert!(pair.a.shut_down() && pair.b.shut_down(), "every frame came home");
}

#[test]
fn a_port_that_nobody_has_is_refused_to_a_connected_socket() {
    let (mut pair, mut client, mut server) = (Pair::new(), Collect::default(), Echo::default());
    let now = pair.now;
    let (socket, _) = pair.a.with_turn(now, |turn| turn.udp_bind(at(1, 0))).expect("a port");
    assert!(pair.a.udp_connect(socket, Some(at(2, 9))));
    pair.a.with_turn(now, |turn| turn.udp_send(socket, at(2, 9), 5, |_| {})).expect("sent");
    pair.settle(&mut client, &mut server);
    assert_eq!(client.errors.len(), 1);
    assert_eq!(server.seen, 0);
    assert_eq!(pair.b.counters().dropped(DropReason::UdpNoSocket), 1);
}

#[test]
fn a_neighbour_that_does_not_answer_is_given_up() {
    let (mut pair, mut client, mut server) = (Pair::new(), Collect::default(), Echo::default());
    let now = pair.now;
    let (socket, _) = pair.a.with_turn(now, |turn| turn.udp_bind(at(1, 0))).expect("a port");
    for _ in 0..5 {
        let sent = pair.a.with_turn(now, |turn| turn.udp_send(socket, at(77, 9), 5, |_| {}));
        sent.expect("it waits for the answer");
    }
    for _ in 0..6 {
        pair.settle(&mut client, &mut server);
        pair.now += Duration::from_secs(1);
    }
    let counters = pair.a.counters();
    assert_eq!(counters.get(Counter::ArpOut), 3);
    assert_eq!(counters.dropped(DropReason::NeighborQueueFull), 2);
    assert_eq!(counters.dropped(DropReason::NeighborUnreachable), 3);
    assert!(pair.a.shut_down());
}
