//! The packet that an ICMP error quotes: which of our packets it is about.
//!
//! A forged error costs an attacker one packet, so what is read here only *finds* the connection
//! or socket; whoever owns it checks that the quoted sequence number is in flight (RFC 5927 §4.1).

use super::icmp::Echo;
use super::{Addresses, DropReason, Protocol, ipv4, ipv6, ipv6_extensions};

/// What an ICMP error says about the packet that caused it.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Quote {
    /// The packet's two ends: we are the source.
    pub addresses: Addresses,
    /// What it carried.
    pub protocol: Protocol,
    /// Whose it was.
    pub transport: Transport,
}

/// What the quoted packet's transport header says. RFC 792 promises its first 8 bytes, so that is
/// all that is read.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Transport {
    /// A UDP datagram.
    Udp {
        /// Our port.
        source_port: u16,
        /// The other's.
        destination_port: u16,
    },
    /// A TCP segment.
    Tcp {
        /// Our port.
        source_port: u16,
        /// The other's.
        destination_port: u16,
        /// The segment's first number.
        sequence: u32,
    },
    /// An echo request.
    Echo(Echo),
    /// Another protocol, a fragment without its header, or fewer than 8 bytes of it.
    Unknown,
}

impl Quote {
    /// Reads the packet behind the header of an ICMP error.
    ///
    /// # Errors
    ///
    /// [`DropReason::IcmpMalformed`] if what is quoted has no whole IPv4 header.
    pub fn parse_v4(bytes: &[u8]) -> Result<Self, DropReason> {
        let Ok(header) = ipv4::Header::parse_quoted(bytes) else {
            return Err(DropReason::IcmpMalformed);
        };
        let rest = bytes.get(usize::from(header.header_len)..).unwrap_or_default();
        let transport = if header.fragment.offset == 0 {
            Transport::read(header.protocol, rest)
        } else {
            Transport::Unknown
        };
        Ok(Self { addresses: header.addresses(), protocol: header.protocol, transport })
    }

    /// Reads the packet behind the header of an ICMPv6 error.
    ///
    /// # Errors
    ///
    /// [`DropReason::IcmpMalformed`] if what is quoted has no whole IPv6 header.
    pub fn parse_v6(bytes: &[u8]) -> Result<Self, DropReason> {
        let Ok(header) = ipv6::Header::parse_quoted(bytes) else {
            return Err(DropReason::IcmpMalformed);
        };
        let mut rest = bytes.get(ipv6::HEADER_LEN..).unwrap_or_default();
        let mut protocol = header.next_header;
        let mut transport = None;
        for _ in 0..ipv6_extensions::MAX_HEADERS {
            if !ipv6_extensions::is_extension(protocol) {
                break;
            }
            let later_part = protocol == Protocol::FRAGMENT
                && !matches!(rest, [_, _, 0, low, ..] if low >> 3 == 0);
            let Some((next, len)) = ipv6_extensions::step(protocol, rest) else { break };
            (protocol, rest) = (next, &rest[len..]);
            if later_part {
                transport = Some(Transport::Unknown);
                break;
            }
        }
        let transport = transport.unwrap_or_else(|| Transport::read(protocol, rest));
        Ok(Self { addresses: header.addresses(), protocol, transport })
    }
}

impl Transport {
    fn read(protocol: Protocol, bytes: &[u8]) -> Self {
        let Some(&[a, b, c, d, e, f, g, h]) = bytes.first_chunk::<8>() else {
            return Self::Unknown;
        };
        let source_port = u16::from_be_bytes([a, b]);
        let destination_port = u16::from_be_bytes([c, d]);
        let word = u32::from_be_bytes([e, f, g, h]);
        match (protocol, a) {
            (Protocol::UDP, _) => Self::Udp { source_port, destination_port },
            (Protocol::TCP, _) => Self::Tcp { source_port, destination_port, sequence: word },
            (Protocol::ICMP, ECHO_REQUEST) | (Protocol::ICMPV6, ECHO_REQUEST_V6) => {
                Self::Echo(Echo { identifier: (word >> 16) as u16, sequence: word as u16 })
            }
            _ => Self::Unknown,
        }
    }
}

const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    const TRANSPORT: [u8; 8] = [0x01, 0xbb, 0xc3, 0x50, 1, 2, 3, 4];
    const TCP: Transport =
        Transport::Tcp { source_port: 443, destination_port: 50_000, sequence: 0x0102_0304 };

    fn v4(protocol: Protocol, fragment: ipv4::Fragment, transport: &[u8]) -> Vec<u8> {
        let (source, destination) = (Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST);
        let mut header = ipv4::Header::new(source, destination, protocol, 1400);
        (header.fragment, header.header_len) = (fragment, 24);
        let mut bytes = vec![1; 24];
        header.emit(&mut bytes);
        bytes.extend_from_slice(transport);
        bytes
    }

    fn v6(first: Protocol, rest: &[u8]) -> Vec<u8> {
        let (source, destination) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        let mut bytes = vec![0; 40];
        ipv6::Header::new(source, destination, first, 1400).emit(&mut bytes);
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn each_transport_is_told() {
        let whole = ipv4::Fragment::DONT;
        let udp = Transport::Udp { source_port: 443, destination_port: 50_000 };
        let echo = Transport::Echo(Echo { identifier: 0x0102, sequence: 0x0304 });
        let with_kind = |kind| {
            let mut bytes = TRANSPORT;
            bytes[0] = kind;
            bytes
        };
        for (protocol, bytes, transport) in [
            (Protocol::TCP, TRANSPORT, TCP),
            (Protocol::UDP, TRANSPORT, udp),
            (Protocol::ICMP, with_kind(8), echo),
            (Protocol::ICMP, with_kind(0), Transport::Unknown),
            (Protocol::ICMPV6, with_kind(128), echo),
            (Protocol::IGMP, TRANSPORT, Transport::Unknown),
        ] {
            let quote = Quote::parse_v4(&v4(protocol, whole, &bytes)).unwrap();
            assert_eq!((quote.protocol, quote.transport), (protocol, transport));
            assert_eq!(quote.addresses.source(), Ipv4Addr::LOCALHOST);
            let quote = Quote::parse_v6(&v6(protocol, &bytes)).unwrap();
            assert_eq!((quote.protocol, quote.transport), (protocol, transport));
            assert_eq!(quote.addresses.source(), Ipv6Addr::LOCALHOST);
        }
    }

    #[test]
    fn what_is_cut_off_is_unknown_or_malformed() {
        let bytes = v4(Protocol::TCP, ipv4::Fragment::DONT, &TRANSPORT);
        for len in 0..24 {
            assert_eq!(Quote::parse_v4(&bytes[..len]), Err(DropReason::IcmpMalformed));
        }
        for len in 24..32 {
            let quote = Quote::parse_v4(&bytes[..len]).unwrap();
            assert_eq!(quote.transport, Transport::Unknown);
        }
        let bytes = v6(Protocol::TCP, &TRANSPORT);
        for len in 0..40 {
            assert_eq!(Quote::parse_v6(&bytes[..len]), Err(DropReason::IcmpMalformed));
        }
        assert_eq!(Quote::parse_v6(&bytes[..47]).unwrap().transport, Transport::Unknown);
    }

    #[test]
    fn later_fragments_have_no_ports() {
        for (offset, transport) in [(0, TCP), (8, Transport::Unknown), (4096, Transport::Unknown)] {
            let fragment = ipv4::Fragment { offset, more: true, dont: false };
            let quote = Quote::parse_v4(&v4(Protocol::TCP, fragment, &TRANSPORT)).unwrap();
            assert_eq!(quote.transport, transport);
            let mut header = [0; 16];
            let fragment = ipv6_extensions::Fragment { offset, more: true, identification: 7 };
            header[0] = Protocol::FRAGMENT.0;
            fragment.emit(&mut header[8..], Protocol::TCP);
            let rest = [&header[..], &TRANSPORT].concat();
            let quote = Quote::parse_v6(&v6(Protocol::HOP_BY_HOP, &rest)).unwrap();
            assert_eq!((quote.protocol, quote.transport), (Protocol::TCP, transport));
        }
        let headers = [60, 0, 1, 4, 0, 0, 0, 0].repeat(20);
        let quote = Quote::parse_v6(&v6(Protocol::HOP_BY_HOP, &headers)).unwrap();
        assert_eq!(quote.transport, Transport::Unknown, "too many headers");
    }
}
