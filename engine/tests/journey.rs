//! One packet's journey, hop by hop, and who owns its frame at each. The hops are those of the
//! table in docs/ARCHITECTURE.md.

#[path = "support/bed.rs"]
mod bed;
mod support;

use bed::{Bed, HOST, OURS, PEER, THEIRS, udp};
use corewire::socket::entry::{Destination, Kind, Tag};
use corewire::socket::{ContextId, NoApplication};
use corewire_drivers::device::{Burst, Device};
use corewire_drivers::env::limits::HEADROOM;
use corewire_drivers::mem::{FrameState, Packet};
use corewire_drivers::ring::{Borrower, LendingConfig, lending};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use support::ip;

const APP: ContextId = ContextId(0);
/// Ethernet, IPv4 and UDP headers.
const HEADERS: u16 = 14 + 20 + 8;

/// An engine with an application behind a context, on port 1000.
fn bed_with_app() -> (Bed, Borrower) {
    let mut bed = Bed::acquainted();
    let config = LendingConfig { frames: u32::MAX, signals: 16 };
    let (lender, borrower) = lending::pair(bed.engine.pool().region(), config).expect("rings");
    assert!(bed.engine.add_context(APP, lender));
    bed.engine.udp_bind(APP, (ip(2), 1000).into(), 1 << 16).expect("a port");
    (bed, borrower)
}

/// Puts a frame on the wire to the engine.
fn put(bed: &mut Bed, bytes: &[u8]) {
    let mut frame = bed.pool.take().expect("a frame");
    frame.set_range(HEADROOM, bytes.len() as u16);
    bed.pool.region().bytes_mut(&mut frame).copy_from_slice(bytes);
    let mut burst = Burst::new();
    burst.push(Packet::from(frame)).expect("room");
    bed.end.tx_burst(bed.now, &mut bed.pool, &mut burst);
}

/// Takes what the engine sent off the wire.
fn take(bed: &mut Bed) -> Vec<Vec<u8>> {
    let mut burst = Burst::new();
    bed.end.rx_burst(bed.now, &mut bed.pool, &mut burst);
    let packets = burst.drain().map(|packet| {
        let bytes = bed.pool.bytes(&packet).to_vec();
        bed.pool.free(packet);
        bytes
    });
    packets.collect()
}

#[test]
fn s8_headers_are_removed_going_up_and_added_going_down() {
    let (mut bed, mut app) = bed_with_app();
    let count = |bed: &Bed, state| bed.engine.pool().census().count(state);
    let frames = bed.engine.pool().region().frame_count();
    assert_eq!(count(&bed, FrameState::Free), frames, "before: all frames are the pool's");

    // Hops 1 to 6: the device fills a frame, the worker takes it through Ethernet, IP and UDP, and
    // it waits in the ring, unpublished.
    put(&mut bed, &udp(99, 1000, b"one packet's journey"));
    bed.engine.turn(bed.now, &mut NoApplication);
    assert_eq!(count(&bed, FrameState::Loaned), 1);
    assert!(app.is_empty(), "hop 7 is at the end of the turn");

    // Hops 7 and 8: published, and the application is to be woken if it sleeps.
    let mut woken = Vec::new();
    bed.engine.publish(|context| woken.push(context));
    assert_eq!(woken, [APP]);

    // Hop 9: the application reads the payload in the frame in which it came.
    let handed = app.receive().expect("a datagram");
    let mut loan = handed.loan.expect("with a frame");
    let (index, region) = (loan.index(), bed.engine.pool().region().clone());
    assert_eq!(bed.engine.pool().state(index), Some(FrameState::Loaned));
    assert_eq!(region.loan_bytes(&loan), b"one packet's journey");
    // The headers have been taken off, not away: they stand before the payload.
    let (head, len) = (loan.head(), loan.len());
    loan.set_range(head - HEADERS, HEADERS);
    assert_eq!(region.loan_bytes(&loan)[..14], [&OURS[..], &THEIRS, &[8, 0]].concat());
    assert_eq!(region.loan_bytes(&loan)[26..34], [PEER, HOST].concat());

    // Hop 10: written in place, and sent back with the address before it.
    loan.set_range(head - Destination::LEN as u16, Destination::LEN as u16);
    let place = region.loan_bytes_mut(&mut loan).first_chunk_mut().expect("20 bytes");
    Destination((PEER, 99).into()).write(place);
    loan.set_range(head, len);
    region.loan_bytes_mut(&mut loan)[..3].copy_from_slice(b"ONE");
    let tag = Tag::unpack(handed.tag).expect("a kind");
    let tag = Tag { kind: Kind::SendTo, ip_header_words: 0, ..tag };
    app.send(loan, handed.socket, tag.pack()).expect("room");
    app.publish();
    assert_eq!(bed.engine.pool().state(index), Some(FrameState::Loaned), "until it is taken");

    // Hops 11 to 13: headers grow downward into the headroom, and the device has the frame.
    bed.engine.turn(bed.now, &mut NoApplication);
    // A cable keeps the token itself; with a NIC's queue it would be `Transmitting`.
    assert_eq!(bed.engine.pool().state(index), Some(FrameState::Held));
    let sent = take(&mut bed);
    let [sent] = &sent[..] else { panic!("{} frames", sent.len()) };
    assert_eq!(sent.len(), usize::from(HEADERS + len), "the payload did not move or grow");
    let sliced = SlicedPacket::from_ethernet(sent).expect("well formed");
    let Some(NetSlice::Ipv4(ipv4)) = &sliced.net else { panic!("no IPv4") };
    assert_eq!((ipv4.header().source(), ipv4.header().destination()), (HOST, PEER));
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else { panic!("no UDP") };
    assert_eq!((udp.source_port(), udp.destination_port()), (1000, 99));
    assert_eq!(udp.payload(), b"ONE packet's journey");
    let checksum = udp.to_header().calc_checksum_ipv4_raw(HOST, PEER, udp.payload());
    assert_eq!(checksum.ok(), Some(udp.checksum()));

    // Hop 14: sent, so free again.
    take(&mut bed);
    bed.engine.turn(bed.now, &mut NoApplication);
    assert_eq!(bed.engine.pool().state(index), Some(FrameState::Free));
    assert_eq!(count(&bed, FrameState::Free), frames);
    drop(app);
    assert!(bed.engine.shut_down());
}
