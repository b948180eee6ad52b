//! What both versions of IP share: protocols, traffic class, a pair of addresses.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;

/// What an IP packet carries, or which IPv6 extension header follows (IANA, protocol numbers).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// Hop-by-hop options, only ever right behind the IPv6 header.
    pub const HOP_BY_HOP: Self = Self(0);
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// IGMP.
    pub const IGMP: Self = Self(2);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// An IPv6 routing header.
    pub const ROUTING: Self = Self(43);
    /// An IPv6 fragment header.
    pub const FRAGMENT: Self = Self(44);
    /// IPsec's encapsulated payload.
    pub const ESP: Self = Self(50);
    /// IPsec's authentication header.
    pub const AUTHENTICATION: Self = Self(51);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// Nothing follows the IPv6 headers.
    pub const NO_NEXT_HEADER: Self = Self(59);
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: Self = Self(60);
}

/// How routers treat a packet (RFC 2474), and what they say about congestion (RFC 3168): the byte
/// that IPv4 once called type of service.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
pub struct TrafficClass(pub u8);

impl TrafficClass {
    /// A class of the given differentiated services code point, of which 6 bits count.
    #[inline]
    #[must_use]
    pub const fn new(dscp: u8, ecn: Ecn) -> Self {
        Self(dscp << 2 | ecn as u8)
    }

    /// The differentiated services code point, 0 to 63.
    #[inline]
    #[must_use]
    pub const fn dscp(self) -> u8 {
        self.0 >> 2
    }

    /// What routers say about congestion.
    #[inline]
    #[must_use]
    pub const fn ecn(self) -> Ecn {
        match self.0 & 3 {
            0 => Ecn::NotCapable,
            1 => Ecn::Capable1,
            2 => Ecn::Capable0,
            _ => Ecn::CongestionExperienced,
        }
    }

    /// The same class with another word about congestion.
    #[inline]
    #[must_use]
    pub const fn with_ecn(self, ecn: Ecn) -> Self {
        Self::new(self.dscp(), ecn)
    }
}

/// Explicit congestion notification (RFC 3168 §5).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not take part.
    #[default]
    NotCapable = 0,
    /// It does: ECT(1), which marks a low-latency flow (RFC 9331).
    Capable1 = 1,
    /// It does: ECT(0).
    Capable0 = 2,
    /// A router on the way was congested.
    CongestionExperienced = 3,
}

/// The two ends of a packet: always of the same IP version.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Addresses {
    /// Of an IPv4 packet.
    V4 {
        /// Who sent it.
        source: Ipv4Addr,
        /// Whom it is for.
        destination: Ipv4Addr,
    },
    /// Of an IPv6 packet.
    V6 {
        /// Who sent it.
        source: Ipv6Addr,
        /// Whom it is for.
        destination: Ipv6Addr,
    },
}

impl Addresses {
    /// The pair, if both ends are of the same version.
    #[inline]
    #[must_use]
    pub const fn new(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Self::V4 { source, destination }),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Self::V6 { source, destination }),
            _ => None,
        }
    }

    /// Who sent it.
    #[inline]
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        match *self {
            Self::V4 { source, .. } => IpAddr::V4(source),
            Self::V6 { source, .. } => IpAddr::V6(source),
        }
    }

    /// Whom it is for.
    #[inline]
    #[must_use]
    pub const fn destination(&self) -> IpAddr {
        match *self {
            Self::V4 { destination, .. } => IpAddr::V4(destination),
            Self::V6 { destination, .. } => IpAddr::V6(destination),
        }
    }

    /// Source and destination as numbers, IPv4 addresses in their mapped form (RFC 4291
    /// §2.5.5.2): one comparison serves both versions.
    #[inline]
    #[must_use]
    pub const fn to_mapped_bits(&self) -> (u128, u128) {
        const MAPPED: u128 = 0xffff << 32;
        match *self {
            Self::V4 { source, destination } => {
                (MAPPED | source.to_bits() as u128, MAPPED | destination.to_bits() as u128)
            }
            Self::V6 { source, destination } => (source.to_bits(), destination.to_bits()),
        }
    }

    /// Whether it is of an IPv6 packet.
    #[inline]
    #[must_use]
    pub const fn is_v6(&self) -> bool {
        matches!(self, Self::V6 { .. })
    }

    /// The pair of the answer.
    #[inline]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        match *self {
            Self::V4 { source, destination } => {
                Self::V4 { source: destination, destination: source }
            }
            Self::V6 { source, destination } => {
                Self::V6 { source: destination, destination: source }
            }
        }
    }

    /// The sum of the pseudo header that TCP, UDP and ICMPv6 put before their own: `len` is that
    /// of their header and what is behind it.
    #[inline]
    pub const fn pseudo_header(&self, protocol: Protocol, len: u16) -> Sum {
        match *self {
            Self::V4 { source, destination } => Sum::pseudo_v4(source, destination, protocol, len),
            Self::V6 { source, destination } => {
                Sum::pseudo_v6(source, destination, protocol, len as u32)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_traffic_class_is_its_parts() {
        for byte in 0..=255 {
            let class = TrafficClass(byte);
            assert_eq!(TrafficClass::new(class.dscp(), class.ecn()), class);
        }
        let marked = TrafficClass::new(46, Ecn::Capable0).with_ecn(Ecn::CongestionExperienced);
        assert_eq!(marked, TrafficClass(0xbb));
    }

    #[test]
    fn pairs_do_not_mix_versions() {
        let (v4, v6) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([1u16; 8]));
        assert_eq!(Addresses::new(v4, v6), None);
        for (a, b) in [(v4, IpAddr::from([10, 0, 0, 2])), (v6, IpAddr::from([2u16; 8]))] {
            let pair = Addresses::new(a, b).unwrap();
            assert_eq!((pair.source(), pair.destination()), (a, b));
            assert_eq!((pair.reversed().source(), pair.reversed().destination()), (b, a));
            assert_eq!(pair.is_v6(), a.is_ipv6());
            let sum = pair.pseudo_header(Protocol::UDP, 8);
            assert_eq!(sum.value(), pair.reversed().pseudo_header(Protocol::UDP, 8).value());
        }
    }
}
