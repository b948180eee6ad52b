//! UDP, TCP, checksum.

use core::net::{Ipv4Addr, Ipv6Addr};

use corewire::packet::checksum::Sum;
use corewire::packet::tcp::Flags;
use corewire::packet::tcp_options::{Options, SackBlock, Timestamps};
use corewire::packet::{Addresses, DropReason, Protocol, tcp as ours, udp as datagram};
use etherparse::{TcpHeaderSlice, UdpHeaderSlice};
use smoltcp::wire::{Icmpv4Packet, TcpOption, TcpPacket, UdpPacket};

/// The ends of every packet here: the bytes under test begin behind the IP header.
pub(super) const V4: Addresses = Addresses::V4 {
    source: Ipv4Addr::new(192, 0, 2, 1),
    destination: Ipv4Addr::new(198, 51, 100, 2),
};
/// The same over IPv6.
pub(super) const V6: Addresses = Addresses::V6 {
    source: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    destination: Ipv6Addr::new(0xfe80, 0, 0, 0, 0xffff, 0, 0, 2),
};

/// A UDP datagram.
pub fn udp(bytes: &[u8]) {
    let parsed = datagram::Header::parse(bytes, bytes.len());
    let Ok(theirs) = UdpPacket::new_checked(bytes) else {
        assert_eq!(parsed, Err(DropReason::UdpMalformed));
        return;
    };
    let header = parsed.unwrap();
    let slice = UdpHeaderSlice::from_slice(bytes).unwrap();
    assert_eq!(header.source_port, slice.source_port());
    assert_eq!(header.destination_port, slice.destination_port());
    assert_eq!((header.length, header.checksum), (slice.length(), slice.checksum()));
    let whole = &bytes[..usize::from(header.length)];
    assert_eq!(usize::from(header.payload_len()), theirs.payload().len());

    for ends in [V4, V6] {
        let right = theirs.verify_checksum(&ends.source().into(), &ends.destination().into());
        let right = right && !(header.checksum == 0 && ends.is_v6());
        for middle in [0, whole.len() / 2, whole.len() / 2 + 1] {
            let verdict = header.verify(&ends, [&whole[..middle], &whole[middle..]]);
            assert_eq!(verdict.is_ok(), right);
        }
        let mended = header.with_checksum(&ends, Sum::new().with(&whole[8..]));
        assert_ne!(mended.checksum, 0);
        let mut written = whole.to_vec();
        mended.emit(&mut written);
        assert_eq!(mended.verify(&ends, [&written[..]]), Ok(()));
        let theirs = UdpPacket::new_checked(&written).unwrap();
        assert!(theirs.verify_checksum(&ends.source().into(), &ends.destination().into()));
    }
    let mut written = [0xaa; datagram::HEADER_LEN];
    header.emit(&mut written);
    assert_eq!(written, bytes[..datagram::HEADER_LEN]);
}

/// A TCP segment.
pub fn tcp(bytes: &[u8]) {
    let parsed = ours::Header::parse(bytes);
    let Ok(slice) = TcpHeaderSlice::from_slice(bytes) else {
        assert_eq!(parsed, Err(DropReason::TcpMalformed));
        return;
    };
    let header = parsed.unwrap();
    assert_eq!(header.source_port, slice.source_port());
    assert_eq!(header.destination_port, slice.destination_port());
    assert_eq!(header.sequence, slice.sequence_number());
    assert_eq!(header.acknowledgment, slice.acknowledgment_number());
    assert_eq!(usize::from(header.header_len), slice.slice().len());
    assert_eq!(header.window, slice.window_size());
    assert_eq!(header.urgent_pointer, slice.urgent_pointer());
    assert_eq!(header.flags, flags(&slice));
    assert_eq!(header.options(bytes), slice.options());
    options(slice.options());

    for ends in [V4, V6] {
        let theirs = TcpPacket::new_unchecked(bytes);
        let right = theirs.verify_checksum(&ends.source().into(), &ends.destination().into());
        let len = bytes.len() as u16;
        for middle in [0, bytes.len() / 2, bytes.len() / 2 + 1] {
            let verdict = ours::verify(&ends, len, [&bytes[..middle], &bytes[middle..]]);
            assert_eq!(verdict.is_ok(), right);
        }
        let mut written = bytes.to_vec();
        let payload = &bytes[usize::from(header.header_len)..];
        header.emit(&mut written, ends.pseudo_header(Protocol::TCP, len).with(payload));
        assert_eq!(ours::Header::parse(&written), Ok(header));
        let theirs = TcpPacket::new_checked(&written).unwrap();
        assert!(theirs.verify_checksum(&ends.source().into(), &ends.destination().into()));
    }
}

fn flags(slice: &TcpHeaderSlice<'_>) -> Flags {
    [
        (slice.fin(), Flags::FIN),
        (slice.syn(), Flags::SYN),
        (slice.rst(), Flags::RST),
        (slice.psh(), Flags::PSH),
        (slice.ack(), Flags::ACK),
        (slice.urg(), Flags::URG),
        (slice.ece(), Flags::ECE),
        (slice.cwr(), Flags::CWR),
        (slice.ns(), Flags::AE),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .fold(Flags::NONE, |flags, (_, flag)| flags | flag)
}

/// The options of a segment, which are what smoltcp reads unless it gives up.
fn options(bytes: &[u8]) {
    let options = Options::parse(bytes);
    assert!(options.window_scale.unwrap_or(0) <= 14);
    assert_ne!(options.mss, Some(0));

    let mut written = vec![0xaa; options.wire_len()];
    options.emit(&mut written);
    assert!(written.len() <= 40 && written.len().is_multiple_of(4));
    let again = Options::parse(&written);
    if options.timestamps.is_none() || options.sack.as_slice().len() < 4 {
        // A SYN with everything and many SACK blocks has no room for them all.
        let room = again.sack.as_slice().len();
        assert_eq!(again.sack.as_slice(), &options.sack.as_slice()[..room]);
        assert_eq!(Options { sack: options.sack, ..again }, options);
    }

    let (mut rest, mut expected) = (bytes, Options::default());
    let mut sack = [None; 3];
    while !rest.is_empty() {
        let Ok((behind, option)) = TcpOption::parse(rest) else { return };
        match option {
            TcpOption::EndOfList => break,
            TcpOption::MaxSegmentSize(0) | TcpOption::NoOperation => {}
            TcpOption::MaxSegmentSize(mss) => expected.mss = Some(mss),
            TcpOption::WindowScale(shift) => expected.window_scale = Some(shift.min(14)),
            TcpOption::SackPermitted => expected.sack_permitted = true,
            TcpOption::SackRange(blocks) => {
                // smoltcp reads whole blocks from an option of any length.
                if !(usize::from(rest[1]) - 2).is_multiple_of(8) {
                    return;
                }
                sack = blocks;
            }
            TcpOption::TimeStamp { tsval, tsecr } => {
                expected.timestamps = Some(Timestamps { value: tsval, echo: tsecr });
            }
            TcpOption::Unknown { .. } => {}
        }
        rest = behind;
    }
    expected.sack = options.sack;
    assert_eq!(options, expected);
    // smoltcp keeps three of them.
    let theirs = sack.into_iter().flatten().map(|(left, right)| SackBlock { left, right });
    assert!(theirs.eq(options.sack.as_slice().iter().take(3).copied()));
}

/// The first byte says how the rest is cut in pieces.
pub fn checksum(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    let pieces = bytes.chunks(usize::from(cut) + 1);
    let sum = pieces.fold(Sum::new(), Sum::with);
    let theirs = etherparse::checksum::Sum16BitWords::new().add_slice(bytes);
    assert_eq!(sum.checksum(), u16::from_be(theirs.ones_complement()));
    assert_eq!(Sum::new().with(bytes).value(), sum.value());
    assert_eq!(sum.is_valid(), Icmpv4Packet::new_unchecked(bytes).verify_checksum());
}
