//! IPv4, IPv6, ICMP and neighbour discovery.

use corewire::packet::checksum::Sum;
use corewire::packet::ip::TrafficClass;
use corewire::packet::ipv6_extensions::{self, Chain, is_extension};
use corewire::packet::quote::Quote;
use corewire::packet::{
    Addresses, DropReason, Protocol, icmp as icmp4, icmpv6 as icmp6, ipv4 as four, ipv6 as six,
    ndp, ndp_options,
};
use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice};
use smoltcp::wire::{
    Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, Ipv4Packet, Ipv6Packet,
    NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
};

use super::transport::V6;

/// An IPv4 packet: as it is, and with the checksum that it should have, without which hardly one
/// would come further.
pub fn ipv4(bytes: &[u8]) {
    check_ipv4(bytes);
    let mut mended = bytes.to_vec();
    if mended.len() >= four::HEADER_LEN {
        mended[10..12].fill(0);
        let header_len = (usize::from(mended[0] & 15) * 4).min(mended.len());
        let checksum = Sum::new().with(&mended[..header_len]).checksum();
        mended[10..12].copy_from_slice(&checksum.to_be_bytes());
        check_ipv4(&mended);
    }
}

fn check_ipv4(bytes: &[u8]) {
    let parsed = four::Header::parse(bytes, bytes.len());
    let slice = Ipv4HeaderSlice::from_slice(bytes);
    let quoted = four::Header::parse_quoted(bytes);
    assert_eq!(quoted.is_ok(), slice.is_ok());
    let (Ok(slice), Ok(theirs)) = (slice, Ipv4Packet::new_checked(bytes)) else {
        assert_eq!(parsed, Err(DropReason::IpMalformed));
        return;
    };
    let quoted = quoted.unwrap();
    assert_eq!((quoted.source, quoted.destination), (theirs.src_addr(), theirs.dst_addr()));
    assert_eq!(quoted.protocol.0, slice.protocol().0);
    assert_eq!(quoted.ttl, slice.ttl());
    assert_eq!(quoted.header_len, theirs.header_len());
    assert_eq!(quoted.total_len, slice.total_len());
    assert_eq!(usize::from(quoted.payload_len()), theirs.payload().len());
    assert_eq!(quoted.identification, slice.identification());
    assert_eq!(quoted.fragment.offset, theirs.frag_offset());
    assert_eq!(quoted.fragment.more, slice.more_fragments());
    assert_eq!(quoted.fragment.dont, slice.dont_fragment());
    assert_eq!(quoted.fragment.is_part(), slice.is_fragmenting_payload());
    let class = quoted.traffic_class;
    assert_eq!((class.dscp(), class.ecn() as u8), (theirs.dscp(), theirs.ecn()));

    let expected = if !theirs.verify_checksum() {
        Err(DropReason::IpChecksum)
    } else if let Err(reason) = expected_options(slice.options()) {
        Err(reason)
    } else if quoted.fragment.is_part() && !possible_fragment(&quoted) {
        Err(DropReason::IpMalformed)
    } else {
        Ok(quoted)
    };
    assert_eq!(parsed, expected);
    let Ok(header) = parsed else { return };

    let mut written = bytes.to_vec();
    header.emit(&mut written);
    assert_eq!(four::Header::parse(&written, written.len()), Ok(header));
    // The reserved bit is not kept, and of the two zeros of one's complement one is written.
    if bytes[6] & 0x80 == 0 && bytes[10..12] != [0xff, 0xff] {
        assert_eq!(written, bytes);
    }
    if four::Header::decrement_ttl(&mut written) {
        let passed_on = four::Header { ttl: header.ttl - 1, ..header };
        assert_eq!(four::Header::parse(&written, written.len()), Ok(passed_on));
    } else {
        assert!(header.ttl <= 1);
    }
}

/// Options by index, where the parser goes by slices.
fn expected_options(options: &[u8]) -> Result<(), DropReason> {
    let mut at = 0;
    while at < options.len() && options[at] != 0 {
        if options[at] == 1 {
            at += 1;
            continue;
        }
        let len = options.get(at + 1).map_or(0, |len| usize::from(*len));
        if len < 2 || at + len > options.len() {
            return Err(DropReason::IpMalformed);
        }
        if matches!(options[at], 131 | 137) {
            return Err(DropReason::IpOptions);
        }
        at += len;
    }
    Ok(())
}

fn possible_fragment(header: &four::Header) -> bool {
    let len = u32::from(header.total_len) - u32::from(header.header_len);
    let end = u32::from(header.fragment.offset) + u32::from(header.total_len);
    end <= 65_535 && (!header.fragment.more || (len > 0 && len % 8 == 0))
}

/// An IPv6 packet with its extension headers.
pub fn ipv6(bytes: &[u8]) {
    let parsed = six::Header::parse(bytes, bytes.len());
    let theirs = Ipv6Packet::new_checked(bytes).ok().filter(|packet| packet.version() == 6);
    let Some(theirs) = theirs else {
        assert_eq!(parsed, Err(DropReason::IpMalformed));
        return;
    };
    let header = parsed.unwrap();
    let slice = Ipv6HeaderSlice::from_slice(bytes).unwrap();
    assert_eq!((header.source, header.destination), (theirs.src_addr(), theirs.dst_addr()));
    assert_eq!(header.next_header.0, slice.next_header().0);
    assert_eq!(header.hop_limit, theirs.hop_limit());
    assert_eq!(header.traffic_class, TrafficClass(theirs.traffic_class()));
    assert_eq!(header.payload_len, slice.payload_length());
    assert_eq!(header.flow_label, theirs.flow_label());
    let mut written = [0xaa; six::HEADER_LEN];
    header.emit(&mut written);
    assert_eq!(written, bytes[..six::HEADER_LEN]);

    let payload = &bytes[six::HEADER_LEN..][..usize::from(header.payload_len)];
    let whole = check_chain(Chain::walk(&header, payload), header.next_header, payload);
    // Fewer bytes in the first piece may only ever lead to a refusal, or to the same answer.
    for len in [payload.len() / 2, payload.len().saturating_sub(1)] {
        if let Ok(chain) = Chain::walk(&header, &payload[..len]) {
            assert_eq!(whole, Some(chain));
        }
    }
    check_chain(Chain::walk_reassembled(header.next_header, payload), header.next_header, payload);
    let _ = Quote::parse_v6(bytes);
}

fn check_chain(
    walked: Result<Chain, ipv6_extensions::Refusal>,
    first: Protocol,
    payload: &[u8],
) -> Option<Chain> {
    let theirs = Ipv6ExtensionsSlice::from_slice(IpNumber(first.0), payload);
    let chain = match walked {
        Ok(chain) => chain,
        Err(refusal) => {
            let reason = DropReason::from(refusal);
            assert!(matches!(reason, DropReason::IpMalformed | DropReason::IpOptions));
            let end = six::HEADER_LEN + payload.len();
            assert!(refusal.answer.is_none_or(|problem| (problem.pointer as usize) < end));
            return None;
        }
    };
    let len = usize::from(chain.len);
    assert!(len <= payload.len());
    if let Some(fragment) = chain.fragment {
        assert!(fragment.offset.is_multiple_of(8) && (fragment.more || fragment.offset > 0));
        let header = &payload[len - ipv6_extensions::FRAGMENT_HEADER_LEN..len];
        let mut written = [0; ipv6_extensions::FRAGMENT_HEADER_LEN];
        fragment.emit(&mut written, chain.protocol);
        assert_eq!(written[..2], [header[0], 0]);
        assert_eq!(written[3] & !6, header[3] & !6, "reserved bits aside");
        assert_eq!((written[2], &written[4..]), (header[2], &header[4..]));
    } else {
        assert!(!is_extension(chain.protocol));
        // etherparse goes on through authentication headers, which the engine does not know.
        if chain.protocol != Protocol::AUTHENTICATION {
            let (_, protocol, rest) = theirs.unwrap();
            assert_eq!((chain.protocol.0, payload.len() - len), (protocol.0, rest.len()));
        }
    }
    Some(chain)
}

/// An ICMP message for IPv4.
pub fn icmp(bytes: &[u8]) {
    let parsed = icmp4::Message::parse(bytes);
    if bytes.len() < icmp4::HEADER_LEN {
        assert_eq!(parsed, Err(DropReason::IcmpMalformed));
        return;
    }
    let theirs = Icmpv4Packet::new_checked(bytes).unwrap();
    assert_eq!(icmp4::verify([bytes]).is_ok(), theirs.verify_checksum());
    if let Ok(quote) = Quote::parse_v4(&bytes[icmp4::HEADER_LEN..]) {
        assert!(!quote.addresses.is_v6());
    }
    let Ok(message) = parsed else {
        let echo =
            matches!(theirs.msg_type(), Icmpv4Message::EchoRequest | Icmpv4Message::EchoReply);
        assert!(echo && theirs.msg_code() != 0);
        return;
    };
    match message {
        icmp4::Message::EchoRequest(echo) | icmp4::Message::EchoReply(echo) => {
            assert_eq!(echo.identifier, theirs.echo_ident());
            assert_eq!(echo.sequence, theirs.echo_seq_no());
        }
        icmp4::Message::Unreachable { reason } => {
            assert_eq!(theirs.msg_type(), Icmpv4Message::DstUnreachable);
            assert_eq!(reason.code(), theirs.msg_code());
        }
        _ => {}
    }
    let mut written = bytes.to_vec();
    message.emit(&mut written, Sum::new().with(&bytes[icmp4::HEADER_LEN..]));
    assert_eq!(icmp4::Message::parse(&written), Ok(message));
    assert_eq!(written[..2], bytes[..2]);
    let theirs = Icmpv4Packet::new_checked(&written).unwrap();
    // Zeros alone can't be told from their checksum.
    assert!(theirs.verify_checksum() || written.iter().all(|byte| *byte == 0));
}

/// An ICMPv6 message, neighbour discovery included.
pub fn icmpv6(bytes: &[u8]) {
    let parsed = icmp6::Message::parse(bytes);
    if bytes.len() < icmp6::HEADER_LEN {
        assert_eq!(parsed, Err(DropReason::IcmpMalformed));
        return;
    }
    let Addresses::V6 { source, destination } = V6 else { return };
    let theirs = Icmpv6Packet::new_unchecked(bytes);
    let right = theirs.verify_checksum(&source, &destination);
    let len = bytes.len() as u16;
    assert_eq!(icmp6::verify(&V6, len, [bytes]).is_ok(), right);
    if let Ok(quote) = Quote::parse_v6(&bytes[icmp6::HEADER_LEN..]) {
        assert!(quote.addresses.is_v6());
    }
    let Ok(message) = parsed else {
        let kind = theirs.msg_type();
        assert!(matches!(kind, Icmpv6Message::EchoRequest | Icmpv6Message::EchoReply));
        return;
    };
    if message == icmp6::Message::Ndp {
        discovery(bytes);
        return;
    }
    let mut written = bytes.to_vec();
    let pseudo = V6.pseudo_header(Protocol::ICMPV6, len);
    message.emit(&mut written, pseudo.with(&bytes[icmp6::HEADER_LEN..]));
    assert_eq!(icmp6::Message::parse(&written), Ok(message));
    // RFC 4443 §3.2: a code that a receiver does not look at.
    let code = if matches!(message, icmp6::Message::PacketTooBig { .. }) { 0 } else { bytes[1] };
    assert_eq!(written[..2], [bytes[0], code]);
    let theirs = Icmpv6Packet::new_unchecked(&written[..]);
    assert!(theirs.verify_checksum(&source, &destination));
}

/// A neighbour discovery message from a link-local address and from nobody.
fn discovery(bytes: &[u8]) {
    for (source, destination) in [("fe80::1", "fe80::2"), ("::", "ff02::1:ff00:2")] {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let mut header = six::Header::new(source, destination, Protocol::ICMPV6, 0);
        assert_eq!(ndp::Message::parse(bytes, &header), Err(DropReason::IcmpMalformed));
        header.hop_limit = ndp::HOP_LIMIT;
        let Ok(message) = ndp::Message::parse(bytes, &header) else { continue };

        let options: Vec<_> = message.options(bytes).map(|option| option.unwrap()).collect();
        let mut written = vec![0xaa; message.wire_len(&options)];
        message.emit(&mut written, &options, source, destination);
        assert_eq!(written.len(), bytes.len());
        assert_eq!(ndp::Message::parse(&written, &header), Ok(message));
        assert!(message.options(&written).eq(options.iter().copied().map(Ok)));
        let theirs = Icmpv6Packet::new_checked(&written[..]).unwrap();
        assert!(theirs.verify_checksum(&source, &destination));

        let theirs = Icmpv6Packet::new_checked(bytes).unwrap();
        let Ok(theirs) = NdiscRepr::parse(&theirs) else { continue };
        compare_discovery(&message, &options, &theirs);
    }
}

fn compare_discovery(
    message: &ndp::Message,
    options: &[ndp_options::NdpOption<'_>],
    theirs: &NdiscRepr<'_>,
) {
    use ndp_options::NdpOption::{Mtu, Other, SourceLinkLayer, TargetLinkLayer};
    let last = |pick: fn(&ndp_options::NdpOption<'_>) -> Option<[u8; 6]>| {
        options.iter().rev().find_map(pick)
    };
    let source = last(|option| match option {
        SourceLinkLayer(mac) => Some(mac.0),
        _ => None,
    });
    let target = last(|option| match option {
        TargetLinkLayer(mac) => Some(mac.0),
        _ => None,
    });
    // smoltcp takes addresses of any kind and of any length, which count as unknown here.
    let odd = options.iter().any(|option| matches!(option, Other { kind: 1 | 2, .. }));
    let known = |theirs: &Option<RawHardwareAddress>, ours: Option<[u8; 6]>| {
        let theirs = theirs.as_ref().map(RawHardwareAddress::as_bytes);
        assert!(odd || theirs == ours.as_ref().map(|mac| &mac[..]));
    };
    match (message, theirs) {
        (ndp::Message::RouterSolicitation, NdiscRepr::RouterSolicit { lladdr }) => {
            known(lladdr, source);
        }
        (
            ndp::Message::RouterAdvertisement(ours),
            NdiscRepr::RouterAdvert {
                hop_limit, router_lifetime, reachable_time, mtu, lladdr, ..
            },
        ) => {
            assert_eq!(ours.hop_limit, *hop_limit);
            assert_eq!(u64::from(ours.lifetime_s), router_lifetime.secs());
            assert_eq!(u64::from(ours.reachable_ms), reachable_time.total_millis());
            let told = options.iter().rev().find_map(|option| match option {
                Mtu(mtu) => Some(*mtu),
                _ => None,
            });
            assert_eq!(told, *mtu);
            known(lladdr, source);
        }
        (
            ndp::Message::NeighborSolicitation { target: ours },
            NdiscRepr::NeighborSolicit { target_addr, lladdr },
        ) => {
            assert_eq!(ours, target_addr);
            known(lladdr, source);
        }
        (
            ndp::Message::NeighborAdvertisement { router, solicited, overriding, target: ours },
            NdiscRepr::NeighborAdvert { flags, target_addr, lladdr },
        ) => {
            assert_eq!(ours, target_addr);
            assert_eq!(*router, flags.contains(NdiscNeighborFlags::ROUTER));
            assert_eq!(*solicited, flags.contains(NdiscNeighborFlags::SOLICITED));
            assert_eq!(*overriding, flags.contains(NdiscNeighborFlags::OVERRIDE));
            known(lladdr, target);
        }
        (
            ndp::Message::Redirect { target: ours, destination },
            NdiscRepr::Redirect { target_addr, dest_addr, lladdr, .. },
        ) => {
            assert_eq!((ours, destination), (target_addr, dest_addr));
            known(lladdr, target);
        }
        _ => panic!("{message:?} is not {theirs:?}"),
    }
}
