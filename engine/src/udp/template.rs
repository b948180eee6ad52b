//! The headers of every datagram from one socket to one peer, written once.
//!
//! Between two datagrams of the same way only the lengths and the checksums differ. So the layers
//! write their headers once, into a template, and each datagram takes a copy of fixed size with
//! four fields mended.

use corewire_drivers::device::LinkKind;

use crate::ip::Path;
use crate::packet::checksum::Sum;
use crate::packet::ethernet::{self, EtherType, MacAddr};
use crate::packet::vlan::Tags;
use crate::packet::{Addresses, Protocol, ipv4, udp};

/// Bytes before the payload that a template is copied into, from its end backwards: one copy of
/// a fixed size instead of one whose size the processor has to find out. A cache line; Ethernet,
/// IPv4 and UDP take 42 of it.
pub(super) const ROOM: usize = 64;

/// The headers of one way.
#[derive(Copy, Clone, Debug)]
pub(super) struct Template {
    /// They end where the payload begins. Lengths and checksums are zero.
    bytes: [u8; ROOM],
    /// How many of the bytes are headers.
    pub(super) len: u16,
    /// The largest payload that fits the way.
    pub(super) max_payload: u16,
    /// The sum of the IP header, and of the pseudo header with the UDP header.
    ip: Sum,
    udp: Sum,
}

/// The largest payload of a datagram that is not cut: 65,535 less the headers of IPv4 and UDP.
pub(super) const MAX_PAYLOAD: usize = u16::MAX as usize - HEADERS;

const HEADERS: usize = ipv4::HEADER_LEN + udp::HEADER_LEN;
const IP: usize = ROOM - HEADERS;
const UDP: usize = ROOM - udp::HEADER_LEN;

impl Template {
    /// The headers from `source_port` to `destination_port` along `path`; `None` for IPv6.
    pub(super) fn new(
        path: &Path,
        (kind, from, to): (LinkKind, MacAddr, MacAddr),
        ttl: u8,
        (source_port, destination_port): (u16, u16),
    ) -> Option<Self> {
        let Addresses::V4 { source, destination } = path.addresses else { return None };
        let mut bytes = [0; ROOM];
        let mut header = ipv4::Header::new(source, destination, Protocol::UDP, 0);
        header.ttl = ttl;
        header.emit(&mut bytes[IP..UDP]);
        bytes[IP + 2..IP + 4].fill(0);
        bytes[IP + 10..IP + 12].fill(0);
        udp::Header { source_port, destination_port, length: 0, checksum: 0 }
            .emit(&mut bytes[UDP..]);
        let link = match kind {
            LinkKind::Ip => 0,
            LinkKind::Ethernet => {
                let ether_type = EtherType::IPV4;
                ethernet::Header { destination: to, source: from, ether_type, tags: Tags::NONE }
                    .emit(&mut bytes[IP - ethernet::HEADER_LEN..IP]);
                ethernet::HEADER_LEN
            }
        };
        let max_payload = (path.mtu as usize).saturating_sub(HEADERS).min(MAX_PAYLOAD);
        Some(Self {
            ip: Sum::new().with(&bytes[IP..UDP]),
            udp: path.addresses.pseudo_header(Protocol::UDP, 0).with(&bytes[UDP..]),
            bytes,
            len: (link + HEADERS) as u16,
            max_payload: max_payload as u16,
        })
    }

    /// Writes the headers of a datagram with this payload, which fits.
    #[inline]
    pub(super) fn write(&self, to: &mut [u8; ROOM], payload: &[u8]) {
        let length = (payload.len() + udp::HEADER_LEN) as u16;
        let total = length + ipv4::HEADER_LEN as u16;
        let payload = Sum::new().with(payload);
        *to = self.bytes;
        to[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
        to[IP + 10..IP + 12].copy_from_slice(&self.ip.with_u16(total).checksum().to_be_bytes());
        to[UDP + 4..UDP + 6].copy_from_slice(&length.to_be_bytes());
        // The length stands in the pseudo header too.
        let sum = self.udp.with_u16(length).with_u16(length).join(payload).checksum();
        let sum = if sum == 0 { 0xffff } else { sum };
        to[UDP + 6..UDP + 8].copy_from_slice(&sum.to_be_bytes());
    }
}
