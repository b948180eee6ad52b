//! MAC addresses, Ethernet types, the Ethernet header.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use super::DropReason;
use super::vlan::{self, Tags};

/// Bytes of an Ethernet header without tags.
pub const HEADER_LEN: usize = 14;

/// Bytes of the longest Ethernet header that the engine reads or writes: two tags.
pub const MAX_HEADER_LEN: usize = HEADER_LEN + vlan::MAX_TAGS * vlan::TAG_LEN;

/// Bytes of the shortest frame on the wire, without its frame check sequence (IEEE 802.3 §4A.4.2:
/// 64 with it). A shorter one is padded with zeros by whoever sends it.
pub const MIN_FRAME_LEN: usize = 60;

/// An Ethernet header with its tags, parsed and checked.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Header {
    /// The station, or the group of stations, that the frame is for.
    pub destination: MacAddr,
    /// The station that sent the frame.
    pub source: MacAddr,
    /// What stands behind the header and its tags.
    pub ether_type: EtherType,
    /// The VLAN tags, the outer one first.
    pub tags: Tags,
}

impl Header {
    /// Reads the header and its tags. `bytes` begins with the destination address.
    ///
    /// The frame's padding can't be told here; the IP header's length does that.
    ///
    /// # Errors
    ///
    /// [`DropReason::EthernetTruncated`] if the header or a tag ends early,
    /// [`DropReason::EthernetBadSource`] for a group address as source (IEEE 802.3 §3.2.3),
    /// [`DropReason::VlanUnknown`] for a third tag.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(DropReason::EthernetTruncated);
        };
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *head;
        let source = MacAddr([s0, s1, s2, s3, s4, s5]);
        if source.is_multicast() {
            return Err(DropReason::EthernetBadSource);
        }
        let first = EtherType(u16::from_be_bytes([t0, t1]));
        let (ether_type, tags) =
            if first.is_tag() { Tags::parse(first, rest)? } else { (first, Tags::NONE) };
        Ok(Self { destination: MacAddr([d0, d1, d2, d3, d4, d5]), source, ether_type, tags })
    }

    /// Bytes of the header and its tags.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + self.tags.wire_len()
    }

    /// Writes the header and its tags into the first [`header_len`](Self::header_len) bytes.
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than that: the caller has just made this room.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..self.header_len()];
        bytes[..6].copy_from_slice(&self.destination.0);
        bytes[6..12].copy_from_slice(&self.source.0);
        self.tags.emit(&mut bytes[12..], self.ether_type);
    }
}

/// A station's or a group's address, in the order of the wire.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Every station on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// No station: what an ARP request says about its target.
    pub const UNSPECIFIED: Self = Self([0; 6]);

    /// The bytes, in the order of the wire.
    #[inline]
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether this is [`BROADCAST`](Self::BROADCAST).
    #[inline]
    #[must_use]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// Whether this names a group of stations; broadcast is one.
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether this names one station.
    #[inline]
    #[must_use]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::UNSPECIFIED
    }

    /// The group address to which an IPv4 multicast group maps: 01:00:5e and the low 23 bits
    /// (RFC 1112 §6.4). 32 groups share one, so a receiver filters by IP address too.
    #[inline]
    #[must_use]
    pub const fn of_ipv4_group(group: Ipv4Addr) -> Self {
        let [_, b, c, d] = group.octets();
        Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }

    /// The group address to which an IPv6 multicast group maps: 33:33 and the low 32 bits
    /// (RFC 2464 §7).
    #[inline]
    #[must_use]
    pub const fn of_ipv6_group(group: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = group.octets();
        Self([0x33, 0x33, a, b, c, d])
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacAddrError;

    /// Reads six bytes of one or two hexadecimal digits, with `:` or `-` between them.
    fn from_str(text: &str) -> Result<Self, ParseMacAddrError> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut parts = text.split(separator);
        let mut octets = [0; 6];
        for octet in &mut octets {
            let part = parts.next().ok_or(ParseMacAddrError)?;
            // `from_str_radix` would take a sign.
            if part.len() > 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(ParseMacAddrError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| ParseMacAddrError)?;
        }
        if parts.next().is_some() { Err(ParseMacAddrError) } else { Ok(Self(octets)) }
    }
}

/// The text is no MAC address.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct ParseMacAddrError;

impl fmt::Display for ParseMacAddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address: write six hexadecimal bytes, such as 02:00:00:00:00:01")
    }
}

impl core::error::Error for ParseMacAddrError {}

/// What an Ethernet frame carries (IANA, IEEE 802 numbers).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// A customer tag follows (IEEE 802.1Q).
    pub const VLAN: Self = Self(0x8100);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// A service tag follows (IEEE 802.1ad).
    pub const QINQ: Self = Self(0x88a8);

    /// Whether a VLAN tag follows.
    #[inline]
    #[must_use]
    pub const fn is_tag(self) -> bool {
        matches!(self, Self::VLAN | Self::QINQ)
    }

    /// Whether this is no type but the length of an IEEE 802.3 frame with LLC (802.3 §3.2.6).
    #[inline]
    #[must_use]
    pub const fn is_length(self) -> bool {
        self.0 < 0x0600
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];

    #[test]
    fn a_plain_header_is_read_and_written() {
        let header = Header::parse(&PLAIN).unwrap();
        assert_eq!(header.destination, MacAddr([2, 0, 0, 0, 0, 1]));
        assert_eq!(header.source, MacAddr([2, 0, 0, 0, 0, 2]));
        assert_eq!(header.ether_type, EtherType::IPV4);
        assert_eq!(header.header_len(), 14);
        let mut bytes = [0xaa; 15];
        header.emit(&mut bytes);
        assert_eq!(bytes[..14], PLAIN);
        assert_eq!(bytes[14], 0xaa, "nothing behind the header is touched");
    }

    #[test]
    fn every_prefix_is_truncated() {
        for len in 0..PLAIN.len() {
            assert_eq!(Header::parse(&PLAIN[..len]), Err(DropReason::EthernetTruncated));
        }
    }

    #[test]
    fn a_group_sends_nothing() {
        let mut bytes = PLAIN;
        bytes[6] |= 1;
        assert_eq!(Header::parse(&bytes), Err(DropReason::EthernetBadSource));
    }

    #[test]
    fn groups_map_to_group_addresses() {
        let ipv4 = MacAddr::of_ipv4_group(Ipv4Addr::new(239, 255, 1, 2));
        assert_eq!(ipv4.to_string(), "01:00:5e:7f:01:02");
        let ipv6 = MacAddr::of_ipv6_group(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff28, 0x9c5a));
        assert_eq!(ipv6.to_string(), "33:33:ff:28:9c:5a");
        assert!(ipv4.is_multicast() && ipv6.is_multicast() && !ipv4.is_broadcast());
        assert!(MacAddr::BROADCAST.is_multicast() && MacAddr::BROADCAST.is_broadcast());
        assert!(MacAddr([2, 0, 0, 0, 0, 1]).is_unicast());
        assert!(!MacAddr::UNSPECIFIED.is_unicast() && !MacAddr::BROADCAST.is_unicast());
    }

    #[test]
    fn text_is_read() {
        assert_eq!("02:0:a:B:cc:ff".parse(), Ok(MacAddr([2, 0, 10, 11, 0xcc, 0xff])));
        assert_eq!("02-00-00-00-00-01".parse(), Ok(MacAddr([2, 0, 0, 0, 0, 1])));
        for wrong in ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "02:00:00:00:00:+1", "g:::::"] {
            assert_eq!(wrong.parse::<MacAddr>(), Err(ParseMacAddrError), "{wrong}");
        }
        assert!(ParseMacAddrError.to_string().contains("02:00:00:00:00:01"));
    }

    #[test]
    fn lengths_are_told_from_types() {
        assert!(EtherType(1500).is_length() && !EtherType::IPV4.is_length());
    }
}
