//! From the Ethernet header to the payload, as the engine goes.

use corewire::packet::ipv6_extensions::Chain;
use corewire::packet::{
    Addresses, DropReason, EtherType, Protocol, arp, ethernet, icmp, icmpv6, ipv4, ipv6, tcp, udp,
};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// Where a packet ended.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Walked<'a> {
    /// At its payload: the addresses, the protocol, and what the transport carries.
    Payload(Addresses, Protocol, &'a [u8]),
    /// An ARP packet.
    Arp(arp::Packet),
    /// A fragment, to be put together.
    Fragment,
}

/// A whole frame: what the engine would do with it, held against etherparse.
pub fn packet(bytes: &[u8]) -> Result<Walked<'_>, DropReason> {
    let walked = walk(bytes);
    let Ok(Walked::Payload(addresses, protocol, payload)) = walked else { return walked };
    let sliced = SlicedPacket::from_ethernet(bytes).unwrap();
    let (source, destination) = match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(slice) => {
            let header = slice.header();
            (header.source_addr().into(), header.destination_addr().into())
        }
        NetSlice::Ipv6(slice) => {
            let header = slice.header();
            (header.source_addr().into(), header.destination_addr().into())
        }
        other => panic!("no IP: {other:?}"),
    };
    assert_eq!((addresses.source(), addresses.destination()), (source, destination));
    match sliced.transport.unwrap() {
        TransportSlice::Udp(slice) => {
            assert_eq!((protocol, payload), (Protocol::UDP, slice.payload()));
        }
        TransportSlice::Tcp(slice) => {
            assert_eq!((protocol, payload), (Protocol::TCP, slice.payload()));
        }
        TransportSlice::Icmpv4(slice) => {
            assert_eq!(protocol, Protocol::ICMP);
            assert!(payload.ends_with(slice.payload()));
        }
        TransportSlice::Icmpv6(slice) => {
            assert_eq!(protocol, Protocol::ICMPV6);
            assert!(payload.ends_with(slice.payload()));
        }
        other => panic!("no transport that we know: {other:?}"),
    }
    walked
}

/// Parses a frame layer by layer, each cut to the length that the one before tells.
fn walk(bytes: &[u8]) -> Result<Walked<'_>, DropReason> {
    let header = ethernet::Header::parse(bytes)?;
    let bytes = &bytes[header.header_len()..];
    match header.ether_type {
        EtherType::ARP => arp::Packet::parse(bytes).map(Walked::Arp),
        EtherType::IPV4 => {
            let header = ipv4::Header::parse(bytes, bytes.len())?;
            if header.fragment.is_part() {
                return Ok(Walked::Fragment);
            }
            let payload = &bytes[usize::from(header.header_len)..usize::from(header.total_len)];
            transport(header.addresses(), header.protocol, payload)
        }
        EtherType::IPV6 => {
            let header = ipv6::Header::parse(bytes, bytes.len())?;
            let payload = &bytes[ipv6::HEADER_LEN..][..usize::from(header.payload_len)];
            let chain = Chain::walk(&header, payload)?;
            if chain.fragment.is_some() {
                return Ok(Walked::Fragment);
            }
            let payload = &payload[usize::from(chain.len)..];
            transport(header.addresses(), chain.protocol, payload)
        }
        _ => Err(DropReason::EtherTypeUnknown),
    }
}

fn transport(
    addresses: Addresses,
    protocol: Protocol,
    bytes: &[u8],
) -> Result<Walked<'_>, DropReason> {
    let len = bytes.len() as u16;
    let header_len = match (protocol, addresses.is_v6()) {
        (Protocol::UDP, _) => {
            let header = udp::Header::parse(bytes, bytes.len())?;
            let datagram = &bytes[..usize::from(header.length)];
            header.verify(&addresses, [datagram])?;
            let payload = &datagram[udp::HEADER_LEN..];
            return Ok(Walked::Payload(addresses, protocol, payload));
        }
        (Protocol::TCP, _) => {
            let header = tcp::Header::parse(bytes)?;
            tcp::verify(&addresses, len, [bytes])?;
            usize::from(header.header_len)
        }
        (Protocol::ICMP, false) => {
            icmp::verify([bytes])?;
            icmp::Message::parse(bytes)?;
            icmp::HEADER_LEN
        }
        (Protocol::ICMPV6, true) => {
            icmpv6::verify(&addresses, len, [bytes])?;
            icmpv6::Message::parse(bytes)?;
            icmpv6::HEADER_LEN
        }
        _ => return Err(DropReason::ProtocolUnknown),
    };
    Ok(Walked::Payload(addresses, protocol, &bytes[header_len..]))
}
