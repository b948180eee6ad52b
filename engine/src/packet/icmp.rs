//! ICMP for IPv4 (RFC 792).

use core::net::Ipv4Addr;

use super::DropReason;
use super::checksum::Sum;

/// Bytes of a message's header. Behind it stands the data of an echo, or the packet that an error
/// is about.
pub const HEADER_LEN: usize = 8;

/// An ICMP message's header, parsed.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Message {
    /// Are you there?
    EchoRequest(Echo),
    /// Yes.
    EchoReply(Echo),
    /// The quoted packet did not reach its destination.
    Unreachable {
        /// Why.
        reason: Unreachable,
    },
    /// The quoted packet was too large for a link and was not to be cut.
    FragmentationNeeded {
        /// The MTU of that link; 0 from routers older than RFC 1191. Whoever believes it must
        /// check that the packet was his and put a floor under it (RFC 5927).
        next_hop_mtu: u16,
    },
    /// The quoted packet should go by another router. Not to be believed.
    Redirect {
        /// 0 for the network, 1 for the host; 2 and 3 the same for one type of service.
        code: u8,
        /// The other router.
        gateway: Ipv4Addr,
    },
    /// The quoted packet got too old.
    TimeExceeded {
        /// 0 on its way, 1 while its fragments were put together.
        code: u8,
    },
    /// The quoted packet's header is wrong.
    ParameterProblem {
        /// 0: `pointer` says where.
        code: u8,
        /// The wrong byte's place in the quoted packet.
        pointer: u8,
    },
    /// Anything else: obsolete, or not for hosts.
    Other {
        /// The message's type.
        kind: u8,
        /// The type's code.
        code: u8,
        /// Bytes 4 to 7.
        rest: [u8; 4],
    },
}

/// What pairs an echo request with its reply.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Echo {
    /// Which of the sender's pings.
    pub identifier: u16,
    /// Which request of it.
    pub sequence: u16,
}

/// Why a packet did not reach its destination: the code of type 3, without 4
/// ([`Message::FragmentationNeeded`]).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Unreachable(u8);

impl Unreachable {
    /// No route to the network.
    pub const NET: Self = Self(0);
    /// No answer from the host.
    pub const HOST: Self = Self(1);
    /// The host does not speak the protocol.
    pub const PROTOCOL: Self = Self(2);
    /// The host has nothing on the port.
    pub const PORT: Self = Self(3);
    /// A source route ended.
    pub const SOURCE_ROUTE_FAILED: Self = Self(5);
    /// A firewall says no (RFC 1812 §5.2.7.1).
    pub const PROHIBITED: Self = Self(13);

    /// The reason of the given code; none for 4.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        if code == FRAGMENTATION_NEEDED { None } else { Some(Self(code)) }
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl Message {
    /// Reads a message's header. The checksum is checked apart, by [`verify`], because it covers
    /// all of the packet's pieces.
    ///
    /// # Errors
    ///
    /// [`DropReason::IcmpMalformed`] if the header ends early, or an echo has a code.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let Some(&[kind, code, _, _, rest @ ..]) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(DropReason::IcmpMalformed);
        };
        let [r0, r1, r2, r3] = rest;
        let echo = Echo {
            identifier: u16::from_be_bytes([r0, r1]),
            sequence: u16::from_be_bytes([r2, r3]),
        };
        Ok(match (kind, code) {
            (ECHO_REQUEST, 0) => Self::EchoRequest(echo),
            (ECHO_REPLY, 0) => Self::EchoReply(echo),
            (ECHO_REQUEST | ECHO_REPLY, _) => return Err(DropReason::IcmpMalformed),
            (UNREACHABLE, FRAGMENTATION_NEEDED) => {
                Self::FragmentationNeeded { next_hop_mtu: echo.sequence }
            }
            (UNREACHABLE, _) => Self::Unreachable { reason: Unreachable(code) },
            (REDIRECT, _) => Self::Redirect { code, gateway: Ipv4Addr::new(r0, r1, r2, r3) },
            (TIME_EXCEEDED, _) => Self::TimeExceeded { code },
            (PARAMETER_PROBLEM, _) => Self::ParameterProblem { code, pointer: r0 },
            _ => Self::Other { kind, code, rest },
        })
    }

    /// Writes the header, with the checksum over itself and a payload of the given sum, into the
    /// first [`HEADER_LEN`] bytes.
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than that: the caller has just made this room.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8], payload: Sum) {
        let (kind, code, rest) = self.fields();
        let sum = Sum::new()
            .with_u16(u16::from_be_bytes([kind, code]))
            .with_u32(u32::from_be_bytes(rest))
            .join(payload);
        let bytes = &mut bytes[..HEADER_LEN];
        bytes[..2].copy_from_slice(&[kind, code]);
        bytes[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
        bytes[4..8].copy_from_slice(&rest);
    }

    /// Whether the message tells of an error, and so quotes a packet. No error is ever sent about
    /// such a one (RFC 1122 §3.2.2).
    ///
    /// Unknown types count as errors: what may be one must not be answered by another.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        match self {
            Self::EchoRequest(_) | Self::EchoReply(_) => false,
            Self::Other { kind, .. } => !matches!(*kind, 9 | 10 | 13..=18),
            _ => true,
        }
    }

    /// Type, code and bytes 4 to 7.
    const fn fields(&self) -> (u8, u8, [u8; 4]) {
        match *self {
            Self::EchoRequest(echo) => (ECHO_REQUEST, 0, echo.rest()),
            Self::EchoReply(echo) => (ECHO_REPLY, 0, echo.rest()),
            Self::Unreachable { reason } => (UNREACHABLE, reason.0, [0; 4]),
            Self::FragmentationNeeded { next_hop_mtu } => {
                let [m0, m1] = next_hop_mtu.to_be_bytes();
                (UNREACHABLE, FRAGMENTATION_NEEDED, [0, 0, m0, m1])
            }
            Self::Redirect { code, gateway } => (REDIRECT, code, gateway.octets()),
            Self::TimeExceeded { code } => (TIME_EXCEEDED, code, [0; 4]),
            Self::ParameterProblem { code, pointer } => {
                (PARAMETER_PROBLEM, code, [pointer, 0, 0, 0])
            }
            Self::Other { kind, code, rest } => (kind, code, rest),
        }
    }
}

impl Echo {
    /// Bytes 4 to 7 of an echo, of either IP version.
    pub(super) const fn rest(self) -> [u8; 4] {
        let ([i0, i1], [s0, s1]) = (self.identifier.to_be_bytes(), self.sequence.to_be_bytes());
        [i0, i1, s0, s1]
    }
}

/// Checks the checksum over the whole message, header included.
///
/// # Errors
///
/// [`DropReason::IcmpChecksum`] if it is wrong.
#[inline]
pub fn verify<'a>(message: impl IntoIterator<Item = &'a [u8]>) -> Result<(), DropReason> {
    let sum = message.into_iter().fold(Sum::new(), Sum::with);
    if sum.is_valid() { Ok(()) } else { Err(DropReason::IcmpChecksum) }
}

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const REDIRECT: u8 = 5;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

/// The code of type 3 that carries an MTU (RFC 1191 §4).
const FRAGMENTATION_NEEDED: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: Echo = Echo { identifier: 0x1234, sequence: 7 };

    #[test]
    fn every_message_is_read_as_written() {
        let gateway = Ipv4Addr::new(10, 0, 0, 254);
        for message in [
            Message::EchoRequest(ECHO),
            Message::EchoReply(ECHO),
            Message::Unreachable { reason: Unreachable::PORT },
            Message::FragmentationNeeded { next_hop_mtu: 1400 },
            Message::Redirect { code: 1, gateway },
            Message::TimeExceeded { code: 0 },
            Message::ParameterProblem { code: 0, pointer: 20 },
            Message::Other { kind: 13, code: 0, rest: [1, 2, 3, 4] },
        ] {
            let mut bytes = *b"........odd";
            let payload = Sum::new().with(&bytes[8..]);
            message.emit(&mut bytes, payload);
            assert_eq!(Message::parse(&bytes), Ok(message));
            assert_eq!(verify([&bytes[..3], &bytes[3..]]), Ok(()));
            bytes[9] ^= 4;
            assert_eq!(verify([&bytes[..]]), Err(DropReason::IcmpChecksum));
            for len in 0..8 {
                assert_eq!(Message::parse(&bytes[..len]), Err(DropReason::IcmpMalformed));
            }
        }
    }

    #[test]
    fn an_echo_has_no_code() {
        for kind in [0, 8] {
            let bytes = [kind, 1, 0, 0, 0, 0, 0, 0];
            assert_eq!(Message::parse(&bytes), Err(DropReason::IcmpMalformed));
        }
    }

    #[test]
    fn only_what_is_no_error_may_be_answered_by_one() {
        let parse = |kind| Message::parse(&[kind, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let errors: Vec<u8> = (0..=20).filter(|kind| parse(*kind).is_error()).collect();
        assert_eq!(errors, [1, 2, 3, 4, 5, 6, 7, 11, 12, 19, 20]);
    }

    #[test]
    fn too_big_is_no_plain_unreachable() {
        assert_eq!(Unreachable::from_code(4), None);
        assert_eq!(Unreachable::from_code(3).map(Unreachable::code), Some(3));
    }
}
