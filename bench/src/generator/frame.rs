//! The frames that generators write: UDP over IPv4 over Ethernet, made once and then only
//! numbered.

use std::net::Ipv4Addr;

use corewire::packet::checksum::Sum;
use corewire::packet::ethernet::{self, EtherType, MacAddr};
use corewire::packet::vlan::Tags;
use corewire::packet::{Addresses, Protocol, ipv4, udp};

use super::ledger;
use crate::world::veth::Host;

/// Bytes before the payload.
pub(crate) const HEADERS: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN;

/// One side of a conversation.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Party {
    /// Hardware address.
    pub(crate) mac: [u8; 6],
    /// IP address.
    pub(crate) address: Ipv4Addr,
    /// UDP port.
    pub(crate) port: u16,
}

impl Party {
    /// A port of a host.
    pub(crate) const fn of(host: &Host, port: u16) -> Self {
        Self { mac: host.mac, address: host.address, port }
    }
}

/// A frame with the payload of request 0. That of every other request has the same checksum.
pub(crate) fn udp_frame(from: Party, to: Party, payload: usize) -> Vec<u8> {
    let mut frame = vec![0; HEADERS + payload];
    let (headers, body) = frame.split_at_mut(HEADERS);
    ledger::write(0, body);
    let addresses = Addresses::V4 { source: from.address, destination: to.address };
    // Payloads here are at most 1472 bytes.
    let length = payload as u16;
    let (ethernet, rest) = headers.split_at_mut(ethernet::HEADER_LEN);
    let (ip, udp) = rest.split_at_mut(ipv4::HEADER_LEN);
    ethernet::Header {
        destination: MacAddr(to.mac),
        source: MacAddr(from.mac),
        ether_type: EtherType::IPV4,
        tags: Tags::NONE,
    }
    .emit(ethernet);
    let datagram = length + udp::HEADER_LEN as u16;
    ipv4::Header::new(from.address, to.address, Protocol::UDP, datagram).emit(ip);
    udp::Header::new(from.port, to.port, length)
        .with_checksum(&addresses, Sum::new().with(body))
        .emit(udp);
    frame
}

/// The UDP payload of a frame that `from` sent to `to`, if all headers and checksums are right.
///
/// The same reader checks what a server answers and what a generator sent: whatever a kernel, a
/// stack or DPDK does to the fields that may differ (TTL, identification, TOS) is allowed.
#[inline]
pub(crate) fn udp_payload(frame: &[u8], from: &Party, to: &Party) -> Option<(u16, usize)> {
    let link = ethernet::Header::parse(frame).ok()?;
    let packet = &frame[link.header_len()..];
    let ip = ipv4::Header::parse(packet, packet.len()).ok()?;
    let start = usize::from(ip.header_len);
    let datagram = packet.get(start..usize::from(ip.total_len))?;
    let header = udp::Header::parse(datagram, datagram.len()).ok()?;
    let whole = &datagram[..usize::from(header.length)];
    header.verify(&ip.addresses(), [whole]).ok()?;
    let right = link.ether_type == EtherType::IPV4
        && link.destination.0 == to.mac
        && ip.protocol == Protocol::UDP
        && !ip.fragment.is_part()
        && (ip.source, ip.destination) == (from.address, to.address)
        && header.source_port == from.port;
    right.then_some((header.destination_port, link.header_len() + start + udp::HEADER_LEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Party =
        Party { mac: [2, 0, 0, 0, 0, 1], address: Ipv4Addr::new(198, 18, 0, 1), port: 9 };
    const B: Party =
        Party { mac: [2, 0, 0, 0, 0, 2], address: Ipv4Addr::new(198, 18, 0, 2), port: 7 };

    #[test]
    fn every_number_makes_a_right_frame() {
        for payload in [18, 22, 64, 1472] {
            let mut frame = udp_frame(A, B, payload);
            for number in [0, 1, 77, u64::MAX] {
                ledger::write(number, &mut frame[HEADERS..]);
                assert_eq!(udp_payload(&frame, &A, &B), Some((B.port, HEADERS)), "{payload}");
            }
        }
    }

    #[test]
    fn an_independent_parser_agrees() {
        let frame = udp_frame(A, B, 64);
        let ethernet = smoltcp::wire::EthernetFrame::new_checked(&frame[..]).expect("ethernet");
        let ip = smoltcp::wire::Ipv4Packet::new_checked(ethernet.payload()).expect("ip");
        let udp = smoltcp::wire::UdpPacket::new_checked(ip.payload()).expect("udp");
        assert!(ip.verify_checksum());
        assert!(udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
    }

    #[test]
    fn every_wrong_byte_of_the_headers_that_matters_is_seen() {
        let frame = udp_frame(A, B, 22);
        for index in (0..6).chain(12..HEADERS + 22) {
            let mut wrong = frame.clone();
            wrong[index] ^= 0x10;
            assert_eq!(udp_payload(&wrong, &A, &B), None, "byte {index}");
        }
        assert_eq!(udp_payload(&frame, &B, &A), None);
        assert_eq!(udp_payload(&frame[..40], &A, &B), None);
    }
}
