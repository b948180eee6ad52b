//! The IPv6 header (RFC 8200). What may stand behind it:
//! [`ipv6_extensions`](crate::packet::ipv6_extensions).

use core::net::Ipv6Addr;

use super::checksum::Sum;
use super::ip::TrafficClass;
use super::{Addresses, DropReason, Protocol};

/// Bytes of the header; it has no options of its own.
pub const HEADER_LEN: usize = 40;

/// Bytes that every IPv6 link carries in one packet (RFC 8200 §5). An ICMP error is cut to it
/// (RFC 4443 §2.4(c)).
pub const MIN_MTU: usize = 1280;

/// An IPv6 header, parsed and checked.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Header {
    /// Who sent it.
    pub source: Ipv6Addr,
    /// Whom it is for.
    pub destination: Ipv6Addr,
    /// The header that follows: an extension's, or what the packet carries.
    pub next_header: Protocol,
    /// Routers that it may still pass.
    pub hop_limit: u8,
    /// How routers treat it, and what they say about congestion.
    pub traffic_class: TrafficClass,
    /// Bytes behind this header, extension headers included.
    pub payload_len: u16,
    /// Which flow of the sender it belongs to: 20 bits (RFC 6437).
    pub flow_label: u32,
}

impl Header {
    /// Reads a header. `bytes` begins with it; `available` counts the bytes from there to the end
    /// of the frame, in all of the packet's pieces, padding included.
    ///
    /// What stands behind `payload_len` is padding and is to be cut off.
    ///
    /// # Errors
    ///
    /// [`DropReason::IpMalformed`] if the header ends early, is no IPv6, or tells a length that the
    /// frame can't hold. A jumbogram (RFC 2675) is such a one: its hop-by-hop options say so behind
    /// a length of zero.
    #[inline]
    pub fn parse(bytes: &[u8], available: usize) -> Result<Self, DropReason> {
        let header = Self::parse_quoted(bytes)?;
        if HEADER_LEN + usize::from(header.payload_len) > available {
            return Err(DropReason::IpMalformed);
        }
        Ok(header)
    }

    /// Reads the header of a packet that an ICMP error quotes: only as much of the packet is there
    /// as the router cared to send.
    ///
    /// # Errors
    ///
    /// [`DropReason::IpMalformed`] if the header ends early or is no IPv6.
    #[inline]
    pub fn parse_quoted(bytes: &[u8]) -> Result<Self, DropReason> {
        let Some((head, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(DropReason::IpMalformed);
        };
        let (Some(source), Some(destination)) =
            (rest.first_chunk::<16>(), rest.get(16..).and_then(<[u8]>::first_chunk::<16>))
        else {
            return Err(DropReason::IpMalformed);
        };
        let [w0, w1, w2, w3, l0, l1, next_header, hop_limit] = *head;
        let word = u32::from_be_bytes([w0, w1, w2, w3]);
        if word >> 28 != 6 {
            return Err(DropReason::IpMalformed);
        }
        Ok(Self {
            source: Ipv6Addr::from(*source),
            destination: Ipv6Addr::from(*destination),
            next_header: Protocol(next_header),
            hop_limit,
            traffic_class: TrafficClass((word >> 20) as u8),
            payload_len: u16::from_be_bytes([l0, l1]),
            flow_label: word & FLOW_LABEL,
        })
    }

    /// A header with the default hop limit of 64 (RFC 1700) and no flow label.
    #[inline]
    #[must_use]
    pub const fn new(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        next_header: Protocol,
        payload_len: u16,
    ) -> Self {
        Self {
            source,
            destination,
            next_header,
            hop_limit: 64,
            traffic_class: TrafficClass(0),
            payload_len,
            flow_label: 0,
        }
    }

    /// The two ends.
    #[inline]
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        Addresses::V6 { source: self.source, destination: self.destination }
    }

    /// The sum of the pseudo header of what the packet carries behind extension headers: `len`
    /// bytes of `protocol`.
    #[inline]
    pub const fn pseudo_header(&self, protocol: Protocol, len: u16) -> Sum {
        Sum::pseudo_v6(self.source, self.destination, protocol, len as u32)
    }

    /// Writes the header into the first [`HEADER_LEN`] bytes. Of the flow label, 20 bits count.
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than that: the caller has just made this room.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..HEADER_LEN];
        let word = 6 << 28 | u32::from(self.traffic_class.0) << 20 | (self.flow_label & FLOW_LABEL);
        bytes[..4].copy_from_slice(&word.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.payload_len.to_be_bytes());
        bytes[6..8].copy_from_slice(&[self.next_header.0, self.hop_limit]);
        bytes[8..24].copy_from_slice(&self.source.octets());
        bytes[24..40].copy_from_slice(&self.destination.octets());
    }
}

/// The multicast group in which a neighbour listens for who asks about `address`: ff02::1:ff and
/// its low 24 bits (RFC 4291 §2.7.1).
#[inline]
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a as u16, (b as u16) << 8 | c as u16)
}

/// The low 20 bits of the first word.
const FLOW_LABEL: u32 = 0x000f_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 40] = [
        0x6b, 0x91, 0x23, 0x45, 0x00, 0x08, 17,
        3, // class 0xb9, label 0x12345, 8 bytes of UDP
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // source
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // destination
    ];

    #[test]
    fn a_header_is_read_as_written() {
        let header = Header::parse(&BYTES, 48).unwrap();
        assert_eq!(header.source, "fe80::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(header.destination, "2001:db8::2".parse::<Ipv6Addr>().unwrap());
        assert_eq!((header.next_header, header.hop_limit), (Protocol::UDP, 3));
        assert_eq!((header.traffic_class, header.flow_label), (TrafficClass(0xb9), 0x12345));
        assert_eq!(header.payload_len, 8);
        let mut bytes = [0; 40];
        header.emit(&mut bytes);
        assert_eq!(bytes, BYTES);
        Header { flow_label: 0xfff1_2345, ..header }.emit(&mut bytes);
        assert_eq!(bytes, BYTES, "the label does not spill");
        assert_eq!(header.addresses().source(), header.source);
        let sum = header.addresses().pseudo_header(Protocol::UDP, 8);
        assert_eq!(header.pseudo_header(Protocol::UDP, 8).value(), sum.value());
        let new = Header::new(header.source, header.destination, Protocol::UDP, 8);
        assert_eq!(Header { hop_limit: 3, traffic_class: TrafficClass(0xb9), ..new }, {
            Header { flow_label: 0, ..header }
        });
    }

    #[test]
    fn what_can_not_be_is_malformed() {
        for len in 0..40 {
            assert_eq!(Header::parse(&BYTES[..len], 48), Err(DropReason::IpMalformed), "{len}");
        }
        assert_eq!(Header::parse(&BYTES, 47), Err(DropReason::IpMalformed));
        assert!(Header::parse(&BYTES, 60).is_ok(), "padding");
        let mut wrong = BYTES;
        wrong[0] = 0x4b;
        assert_eq!(Header::parse(&wrong, 48), Err(DropReason::IpMalformed));
    }

    #[test]
    fn a_solicited_node_is_a_group() {
        let group = solicited_node("2001:db8::1:abcd:ef01".parse().unwrap());
        assert_eq!(group, "ff02::1:ffcd:ef01".parse::<Ipv6Addr>().unwrap());
    }
}
