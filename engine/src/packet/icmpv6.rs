//! ICMP for IPv6 (RFC 4443). Neighbour discovery, which it carries: [`ndp`](crate::packet::ndp).

use super::checksum::Sum;
use super::icmp::Echo;
use super::ipv6_extensions::ProblemCode;
use super::{Addresses, DropReason, Protocol};

/// Bytes of a message's header. Behind it stands the data of an echo, or the packet that an error
/// is about.
pub const HEADER_LEN: usize = 8;

/// An ICMPv6 message's header, parsed.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Message {
    /// The quoted packet did not reach its destination.
    Unreachable {
        /// Why.
        reason: Unreachable,
    },
    /// The quoted packet was too large for a link.
    PacketTooBig {
        /// The MTU of that link. Whoever believes it must check that the packet was his and put a
        /// floor under it (RFC 8201 §4, RFC 5927).
        mtu: u32,
    },
    /// The quoted packet got too old.
    TimeExceeded {
        /// 0 on its way, 1 while its fragments were put together.
        code: u8,
    },
    /// The quoted packet's headers are wrong.
    ParameterProblem {
        /// What is wrong; a [`ProblemCode`], or one that the engine does not know.
        code: u8,
        /// The wrong byte's place in the quoted packet.
        pointer: u32,
    },
    /// Are you there?
    EchoRequest(Echo),
    /// Yes.
    EchoReply(Echo),
    /// Neighbour discovery: [`ndp::Message::parse`](super::ndp::Message::parse) reads the rest.
    Ndp,
    /// Anything else: not for hosts, or unknown.
    Other {
        /// The message's type: an error if below 128.
        kind: u8,
        /// The type's code.
        code: u8,
        /// Bytes 4 to 7.
        rest: [u8; 4],
    },
}

/// Why a packet did not reach its destination: the code of type 1.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Unreachable(pub u8);

impl Unreachable {
    /// No route.
    pub const NO_ROUTE: Self = Self(0);
    /// A firewall says no.
    pub const PROHIBITED: Self = Self(1);
    /// The source address's scope ends before the destination.
    pub const BEYOND_SCOPE: Self = Self(2);
    /// No answer from the host.
    pub const ADDRESS: Self = Self(3);
    /// The host has nothing on the port.
    pub const PORT: Self = Self(4);
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
        let word = u32::from_be_bytes(rest);
        let echo = Echo { identifier: (word >> 16) as u16, sequence: word as u16 };
        Ok(match (kind, code) {
            (ECHO_REQUEST, 0) => Self::EchoRequest(echo),
            (ECHO_REPLY, 0) => Self::EchoReply(echo),
            (ECHO_REQUEST | ECHO_REPLY, _) => return Err(DropReason::IcmpMalformed),
            (ROUTER_SOLICITATION..=REDIRECT, _) => Self::Ndp,
            (UNREACHABLE, _) => Self::Unreachable { reason: Unreachable(code) },
            (PACKET_TOO_BIG, _) => Self::PacketTooBig { mtu: word },
            (TIME_EXCEEDED, _) => Self::TimeExceeded { code },
            (PARAMETER_PROBLEM, _) => Self::ParameterProblem { code, pointer: word },
            _ => Self::Other { kind, code, rest },
        })
    }

    /// The error that tells the sender of a packet what is wrong with its headers.
    #[must_use]
    pub const fn parameter_problem(code: ProblemCode, pointer: u32) -> Self {
        Self::ParameterProblem { code: code as u8, pointer }
    }

    /// Writes the header, with its checksum, into the first [`HEADER_LEN`] bytes. `sum` is that of
    /// the pseudo header and of the payload. [`Message::Ndp`] writes nothing: neighbour discovery
    /// writes its messages itself.
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than that: the caller has just made this room.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8], sum: Sum) {
        let (kind, code, rest) = match *self {
            Self::Unreachable { reason } => (UNREACHABLE, reason.0, [0; 4]),
            Self::PacketTooBig { mtu } => (PACKET_TOO_BIG, 0, mtu.to_be_bytes()),
            Self::TimeExceeded { code } => (TIME_EXCEEDED, code, [0; 4]),
            Self::ParameterProblem { code, pointer } => {
                (PARAMETER_PROBLEM, code, pointer.to_be_bytes())
            }
            Self::EchoRequest(echo) => (ECHO_REQUEST, 0, echo.rest()),
            Self::EchoReply(echo) => (ECHO_REPLY, 0, echo.rest()),
            Self::Other { kind, code, rest } => (kind, code, rest),
            Self::Ndp => return,
        };
        let sum = sum.with_u16(u16::from_be_bytes([kind, code])).with_u32(u32::from_be_bytes(rest));
        let bytes = &mut bytes[..HEADER_LEN];
        bytes[..2].copy_from_slice(&[kind, code]);
        bytes[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
        bytes[4..8].copy_from_slice(&rest);
    }

    /// Whether the message tells of an error, and so quotes a packet. No error is ever sent about
    /// such a one, nor about a redirect, which the caller tells apart (RFC 4443 §2.4(e)).
    #[must_use]
    pub const fn is_error(&self) -> bool {
        match self {
            Self::EchoRequest(_) | Self::EchoReply(_) | Self::Ndp => false,
            Self::Other { kind, .. } => *kind < FIRST_INFORMATIONAL,
            _ => true,
        }
    }
}

/// Checks the checksum over a message of `len` bytes, header included; `message` are its pieces.
///
/// # Errors
///
/// [`DropReason::IcmpChecksum`] if it is wrong.
#[inline]
pub fn verify<'a>(
    addresses: &Addresses,
    len: u16,
    message: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), DropReason> {
    let pseudo = addresses.pseudo_header(Protocol::ICMPV6, len);
    let sum = message.into_iter().fold(pseudo, Sum::with);
    if sum.is_valid() { Ok(()) } else { Err(DropReason::IcmpChecksum) }
}

const UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
/// Types below are errors (RFC 4443 §2.1).
const FIRST_INFORMATIONAL: u8 = 128;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
pub(super) const ROUTER_SOLICITATION: u8 = 133;
pub(super) const REDIRECT: u8 = 137;

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv6Addr;

    const ENDS: Addresses =
        Addresses::V6 { source: Ipv6Addr::LOCALHOST, destination: Ipv6Addr::UNSPECIFIED };
    const ECHO: Echo = Echo { identifier: 0x1234, sequence: 7 };

    #[test]
    fn every_message_is_read_as_written() {
        for message in [
            Message::Unreachable { reason: Unreachable::PORT },
            Message::PacketTooBig { mtu: 0x0001_0500 },
            Message::TimeExceeded { code: 1 },
            Message::parameter_problem(ProblemCode::UnrecognizedOption, 42),
            Message::EchoRequest(ECHO),
            Message::EchoReply(ECHO),
            Message::Other { kind: 143, code: 0, rest: [1, 2, 3, 4] },
        ] {
            let mut bytes = *b"........odd";
            let sum = ENDS.pseudo_header(Protocol::ICMPV6, 11).with(&bytes[8..]);
            message.emit(&mut bytes, sum);
            assert_eq!(Message::parse(&bytes), Ok(message));
            assert_eq!(verify(&ENDS, 11, [&bytes[..3], &bytes[3..]]), Ok(()));
            bytes[9] ^= 4;
            assert_eq!(verify(&ENDS, 11, [&bytes[..]]), Err(DropReason::IcmpChecksum));
            for len in 0..8 {
                assert_eq!(Message::parse(&bytes[..len]), Err(DropReason::IcmpMalformed));
            }
        }
    }

    #[test]
    fn an_echo_has_no_code() {
        for kind in [128, 129] {
            let bytes = [kind, 1, 0, 0, 0, 0, 0, 0];
            assert_eq!(Message::parse(&bytes), Err(DropReason::IcmpMalformed));
        }
    }

    #[test]
    fn only_what_is_no_error_may_be_answered_by_one() {
        for kind in 0..=255 {
            let message = Message::parse(&[kind, 0, 0, 0, 0, 0, 0, 0]).unwrap();
            assert_eq!(message.is_error(), kind < 128, "{kind}");
            assert_eq!(message == Message::Ndp, (133..=137).contains(&kind), "{kind}");
        }
        let mut bytes = [0xaa; 8];
        Message::Ndp.emit(&mut bytes, Sum::new());
        assert_eq!(bytes, [0xaa; 8]);
    }
}
