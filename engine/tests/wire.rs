//! One engine, and a wire on which the test writes frames by hand and reads what comes back.

mod support;

#[path = "support/bed.rs"]
mod bed;

use bed::{Bed, HOST, OURS, PEER, THEIRS, arp, ping, udp};
use corewire::control::{Answer, Command};
use corewire::env::{Counter, DropReason};
use corewire::packet::MacAddr;
use corewire_drivers::device::{Burst, Device};
use corewire_drivers::env::limits::HEADROOM;
use corewire_drivers::mem::Packet;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use std::net::IpAddr;
use std::time::Duration;
use support::{Collect, ETH};

/// Changes the IPv4 header of a frame and mends its checksum.
fn with_ip(mut frame: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    change(&mut frame[14..]);
    frame[24..26].fill(0);
    let header_len = usize::from(frame[14] & 0x0f) * 4;
    let sum: u32 = frame[14..14 + header_len]
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn arp_is_answered_for_our_address_alone() {
    let mut bed = Bed::new();
    let answers = bed.exchange(&arp(1, THEIRS, PEER, [0; 6], HOST, [0xff; 6]));
    assert_eq!(answers, [arp(2, OURS, HOST, THEIRS, PEER, THEIRS)]);
    let probe = bed.exchange(&arp(1, THEIRS, [0; 4], [0; 6], HOST, [0xff; 6]));
    assert_eq!(probe, [arp(2, OURS, HOST, THEIRS, [0; 4], THEIRS)]);
    let other = arp(1, THEIRS, PEER, [0; 6], [10, 0, 0, 3], [0xff; 6]);
    bed.dropped(&other, DropReason::ArpNotForUs);
    let stranger = arp(1, THEIRS, [10, 0, 0, 9], [0; 6], [10, 0, 0, 9], [0xff; 6]);
    bed.dropped(&stranger, DropReason::ArpNotForUs);
    bed.dropped(&arp(1, THEIRS, HOST, [0; 6], HOST, [0xff; 6]), DropReason::ArpNotForUs);
    assert_eq!(bed.engine.counters().get(Counter::AddressConflicts), 1);
    bed.dropped(&arp(1, THEIRS, PEER, [0; 6], HOST, [0xff; 6])[..41], DropReason::ArpMalformed);
}

/// Others' gratuitous ARP goes to the kernel, which tells us over netlink.
#[test]
fn a_neighbour_that_has_moved_is_spoken_to_there() {
    let mut bed = Bed::acquainted();
    let elsewhere = [2, 0, 0, 0, 0, 0x22];
    let stations = |answers: &[Vec<u8>]| -> Vec<[u8; 6]> {
        let udp = answers.iter().filter(|frame| frame[12..14] == [8, 0]);
        udp.filter_map(|frame| frame.first_chunk().copied()).collect()
    };
    assert_eq!(stations(&bed.exchange(&udp(5, 7, b"before"))), [THEIRS]);
    bed.now += Duration::from_secs(2);
    let moved = Command::Moved(ETH, IpAddr::from(PEER), MacAddr(elsewhere));
    assert_eq!(moved.run(&mut bed.engine, bed.now), Answer::Done);
    assert_eq!(stations(&bed.exchange(&udp(5, 7, b"after"))), [elsewhere]);
    assert_eq!(bed.engine.neighbor_changes(), 1);
    // At once again: somebody may be posing as it.
    let back = Command::Moved(ETH, IpAddr::from(PEER), MacAddr(THEIRS));
    assert_eq!(back.run(&mut bed.engine, bed.now), Answer::Done);
    assert_eq!(stations(&bed.exchange(&udp(5, 7, b"still"))), [elsewhere]);
    assert_eq!(bed.engine.neighbor_changes(), 2);
}

#[test]
fn a_ping_comes_back_byte_for_byte_and_one_to_everybody_does_not() {
    let mut bed = Bed::acquainted();
    for len in [0, 1, 7, 17, 18, 56, 700, 1472] {
        let payload: Vec<u8> = (0..len).map(|n| n as u8 ^ 0x5a).collect();
        let answers = bed.exchange(&ping(HOST, &payload));
        let [answer] = &answers[..] else { panic!("{} answers", answers.len()) };
        let sliced = SlicedPacket::from_ethernet(answer).expect("well formed");
        let Some(TransportSlice::Icmpv4(icmp)) = &sliced.transport else { panic!("no ICMP") };
        assert!(matches!(icmp.icmp_type(), etherparse::Icmpv4Type::EchoReply(h)
            if h.id == 7 && h.seq == 3));
        assert_eq!(icmp.payload(), payload);
        let checksum = icmp.icmp_type().calc_checksum(icmp.payload());
        assert_eq!(icmp.checksum(), checksum, "{len} bytes");
    }
    let mut everybody = ping([255; 4], b"smurf");
    everybody[..6].fill(0xff);
    bed.dropped(&everybody, DropReason::IcmpIgnored);
    let mut directed = ping([10, 0, 0, 255], b"smurf");
    directed[..6].fill(0xff);
    bed.dropped(&directed, DropReason::IcmpIgnored);
    let mut broken = ping(HOST, b"payload");
    broken[45] ^= 1;
    bed.dropped(&broken, DropReason::IcmpChecksum);
}

#[test]
fn padding_is_neither_delivered_nor_leaked() {
    let mut bed = Bed::acquainted();
    let mut frame = udp(1000, 7, b"hi");
    frame.resize(60, 0xee);
    let answers = bed.exchange(&frame);
    let [answer] = &answers[..] else { panic!("{} answers", answers.len()) };
    let sliced = SlicedPacket::from_ethernet(answer).expect("well formed");
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else { panic!("no UDP") };
    assert_eq!((udp.source_port(), udp.destination_port(), udp.payload()), (7, 1000, &b"hi"[..]));
    assert_eq!(answer.len(), 60);
    assert_eq!(answer[44..], [0; 16], "what the frame held before stays here");
}

#[test]
fn a_checksum_is_checked_where_there_is_one() {
    let mut bed = Bed::acquainted();
    let good = udp(1000, 7, b"payload");
    for bit in 0..8 * (good.len() - 34) {
        let mut frame = good.clone();
        frame[34 + bit / 8] ^= 1 << (bit % 8);
        // A changed port or length is refused for another reason, or by the checksum.
        assert!(bed.exchange(&frame).is_empty(), "bit {bit} was not noticed");
    }
    let mut none = good.clone();
    none[40..42].fill(0);
    assert_eq!(bed.exchange(&none).len(), 1, "a sender may leave the checksum out");
    assert_eq!(bed.exchange(&good).len(), 1);
}

#[test]
fn what_no_host_may_send_is_dropped_by_name() {
    let mut bed = Bed::acquainted();
    let frame = udp(1000, 7, b"8 bytes!");
    for source in [[127, 0, 0, 1], [0; 4], [224, 0, 0, 5], [255; 4], HOST, [10, 0, 0, 255]] {
        let spoofed = with_ip(frame.clone(), |ip| ip[12..16].copy_from_slice(&source));
        bed.dropped(&spoofed, DropReason::IpBadSource);
    }
    let elsewhere = with_ip(frame.clone(), |ip| ip[19] = 77);
    bed.dropped(&elsewhere, DropReason::IpNotForUs);
    bed.dropped(&with_ip(frame.clone(), |ip| ip[6] = 0x20), DropReason::IpFragment);
    bed.dropped(&with_ip(frame.clone(), |ip| ip[7] = 3), DropReason::IpFragment);
    bed.dropped(&with_ip(frame.clone(), |ip| ip[9] = 99), DropReason::ProtocolUnknown);
    bed.dropped(&with_ip(frame.clone(), |ip| ip[3] += 9), DropReason::IpMalformed);
    bed.dropped(&with_ip(frame.clone(), |ip| ip[0] = 0x44), DropReason::IpMalformed);
    let mut broken = frame.clone();
    broken[22] ^= 1;
    bed.dropped(&broken, DropReason::IpChecksum);
    let mut to_other = frame.clone();
    to_other[5] = 77;
    bed.dropped(&to_other, DropReason::NotOurMac);
    let mut from_group = frame.clone();
    from_group[6] |= 1;
    bed.dropped(&from_group, DropReason::EthernetBadSource);
    let mut unknown = frame.clone();
    unknown[12..14].copy_from_slice(&[0x88, 0xcc]);
    bed.dropped(&unknown, DropReason::EtherTypeUnknown);
    let mut v6 = frame.clone();
    v6[12..14].copy_from_slice(&[0x86, 0xdd]);
    bed.dropped(&v6, DropReason::Ipv6Disabled);
    let tag = |id: u16| [&frame[..12], &[0x81, 0], &id.to_be_bytes()[..], &frame[12..]].concat();
    bed.dropped(&tag(5), DropReason::VlanUnknown);
    assert_eq!(bed.exchange(&tag(0)).len(), 1, "a priority tag is no VLAN");
    bed.dropped(&frame[..13], DropReason::EthernetTruncated);
    for len in 14..34 {
        bed.dropped(&frame[..len], DropReason::IpMalformed);
    }
}

#[test]
fn options_are_passed_over_and_source_routes_are_not_followed() {
    let mut bed = Bed::acquainted();
    let frame = udp(1000, 7, b"payload");
    let with_option = |option: [u8; 4]| {
        let longer = [&frame[..34], &option, &frame[34..]].concat();
        with_ip(longer, |ip| {
            ip[0] = 0x46;
            ip[3] += 4;
        })
    };
    assert_eq!(bed.exchange(&with_option([148, 4, 0, 0])).len(), 1, "router alert");
    bed.dropped(&with_option([131, 3, 4, 0]), DropReason::IpOptions);
    bed.dropped(&with_option([137, 3, 4, 0]), DropReason::IpOptions);
}

#[test]
fn a_closed_port_is_unreachable_and_the_error_quotes_the_datagram() {
    let mut bed = Bed::acquainted();
    let frame = udp(1000, 4321, b"is anybody there?");
    let answers = bed.exchange(&frame);
    let [answer] = &answers[..] else { panic!("{} answers", answers.len()) };
    let sliced = SlicedPacket::from_ethernet(answer).expect("well formed");
    let Some(NetSlice::Ipv4(net)) = &sliced.net else { panic!("no IPv4") };
    assert_eq!(net.header().destination(), PEER);
    let Some(TransportSlice::Icmpv4(icmp)) = &sliced.transport else { panic!("no ICMP") };
    assert_eq!((answer[34], answer[35]), (3, 3));
    assert_eq!(icmp.payload(), &frame[14..], "the datagram as it came, IP header first");
    assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));

    let flood = (0..100).filter(|_| !bed.exchange(&frame).is_empty()).count();
    assert!(flood < 7, "{flood} of 100 in no time");
    assert_eq!(bed.engine.counters().dropped(DropReason::RateLimited) as usize, 100 - flood);
    let mut everybody = with_ip(frame, |ip| ip[16..20].fill(255));
    everybody[..6].fill(0xff);
    everybody[40..42].fill(0);
    bed.dropped(&everybody, DropReason::UdpNoSocket);
}

#[test]
fn a_broadcast_reaches_a_socket_that_is_bound_to_no_address() {
    let mut bed = Bed::acquainted();
    let mut collect = Collect::default();
    for (port, seen) in [(7, 0), (9, 1)] {
        let mut frame = with_ip(udp(1000, port, b"all"), |ip| ip[16..20].fill(255));
        frame[..6].fill(0xff);
        frame[40..42].fill(0);
        let mut burst = Burst::new();
        let mut token = bed.pool.take().expect("a frame");
        token.set_range(HEADROOM, frame.len() as u16);
        bed.pool.region().bytes_mut(&mut token).copy_from_slice(&frame);
        burst.push(Packet::from(token)).expect("room");
        bed.end.tx_burst(bed.now, &mut bed.pool, &mut burst);
        bed.engine.turn(bed.now, &mut collect);
        assert_eq!(collect.datagrams.len(), seen, "port {port}");
    }
}

#[test]
fn a_neighbour_that_moves_gets_the_next_datagram_at_its_new_address() {
    let mut bed = Bed::acquainted();
    assert_eq!(bed.exchange(&udp(1000, 7, b"one"))[0][..6], THEIRS);
    let moved = [2, 0, 0, 0, 0, 99];
    bed.now += Duration::from_secs(2);
    bed.exchange(&arp(1, moved, PEER, [0; 6], HOST, [0xff; 6]));
    let mut frame = udp(1000, 7, b"two");
    frame[6..12].copy_from_slice(&moved);
    assert_eq!(bed.exchange(&frame)[0][..6], moved);
}
