//! The headers between IPv6's own and what it carries (RFC 8200 §4).
//!
//! ```text
//!  IPv6 │ hop-by-hop │ destination │ routing │ fragment │ destination │ TCP
//!        only here                             at most one
//! ```
//!
//! The walk is bounded thrice: by the number of headers, by the bytes that the caller holds in one
//! piece, and by the packet's length.

use super::ipv6::{self, HEADER_LEN};
use super::{DropReason, Protocol, tcp, udp};

/// Extension headers of one packet. RFC 8200 §4.1 knows no use for more than 7; some senders
/// repeat destination options. More, and each costs every receiver a dependent load.
pub const MAX_HEADERS: usize = 8;

/// Bytes of a fragment header.
pub const FRAGMENT_HEADER_LEN: usize = 8;

/// What stands between the IPv6 header and what the packet carries.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Chain {
    /// What the packet carries; in a fragment, what stands first in the datagram's fragmented part,
    /// an extension header perhaps.
    pub protocol: Protocol,
    /// Where this was said, in bytes from the IPv6 header's first: what an ICMP error about an
    /// unknown protocol points to.
    pub protocol_at: u16,
    /// Bytes of the extension headers: the carried header begins so far behind the IPv6 header.
    pub len: u16,
    /// Which part of a datagram this is, if it is less than a whole one.
    pub fragment: Option<Fragment>,
}

/// Which part of a datagram a packet is.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Fragment {
    /// Bytes of the datagram's fragmented part before this packet's, a multiple of 8.
    pub offset: u16,
    /// More of the datagram follows.
    pub more: bool,
    /// Tells apart the datagrams to which fragments belong.
    pub identification: u32,
}

/// Why the walk ended before its end, and what the sender is to be told.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Refusal {
    /// Under which reason the packet dies.
    pub reason: DropReason,
    /// The ICMP error that RFC 8200 asks for.
    pub answer: Option<Problem>,
}

/// An ICMPv6 parameter problem (RFC 4443 §3.4).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Problem {
    /// What is wrong.
    pub code: ProblemCode,
    /// Where, in bytes from the IPv6 header's first.
    pub pointer: u32,
    /// Whether even a packet to a group is answered (RFC 8200 §4.2, action 10).
    pub even_to_group: bool,
}

/// What is wrong with an IPv6 packet: the code of an ICMPv6 parameter problem.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
#[repr(u8)]
pub enum ProblemCode {
    /// A field's value can't be.
    ErroneousField = 0,
    /// A header that the receiver does not know, or not in this place.
    UnrecognizedNextHeader = 1,
    /// An option that the receiver does not know and that asks to be understood.
    UnrecognizedOption = 2,
    /// A first fragment without all the headers (RFC 7112 §5).
    IncompleteHeaderChain = 3,
}

impl From<Refusal> for DropReason {
    fn from(refusal: Refusal) -> Self {
        refusal.reason
    }
}

impl Chain {
    /// Walks the extension headers of a packet. `bytes` begins behind the IPv6 header.
    ///
    /// A fragment ends the walk. One that is a whole datagram (RFC 6946) does not, and is not
    /// told: there is nothing to put together.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]: [`DropReason::IpMalformed`] for a header that ends early, lengths that can't
    /// be, a hop-by-hop header that is not the first, a second fragment header, a first fragment
    /// without all headers; [`DropReason::IpOptions`] for a routing header with segments left, an
    /// unknown option that forbids to go on, more than [`MAX_HEADERS`] headers.
    #[inline]
    pub fn walk(header: &ipv6::Header, bytes: &[u8]) -> Result<Self, Refusal> {
        if !is_extension(header.next_header) {
            let protocol_at = NEXT_HEADER_AT;
            return Ok(Self { protocol: header.next_header, protocol_at, len: 0, fragment: None });
        }
        let end = bytes.len().min(usize::from(header.payload_len));
        let payload_len = usize::from(header.payload_len);
        Walk { bytes: &bytes[..end], payload_len, first: true, fragmented: false }
            .run(header.next_header)
    }

    /// Walks the extension headers that a datagram's fragmented part began with, after it was put
    /// together: `protocol` is what its fragments' [`Chain`] said.
    ///
    /// # Errors
    ///
    /// As [`walk`](Self::walk). Pointers count as if the fragmented part stood right behind the
    /// IPv6 header, as it does in a reassembled packet (RFC 8200 §4.5).
    pub fn walk_reassembled(protocol: Protocol, bytes: &[u8]) -> Result<Self, Refusal> {
        let payload_len = bytes.len();
        Walk { bytes, payload_len, first: false, fragmented: true }.run(protocol)
    }
}

impl Fragment {
    /// Writes a fragment header, before a part of what begins with `next`, into the first
    /// [`FRAGMENT_HEADER_LEN`] bytes. Of `offset`, the low 3 bits don't count.
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than that: the caller has just made this room.
    pub fn emit(&self, bytes: &mut [u8], next: Protocol) {
        let bytes = &mut bytes[..FRAGMENT_HEADER_LEN];
        let offset = (self.offset & !7) | u16::from(self.more);
        bytes[..2].copy_from_slice(&[next.0, 0]);
        bytes[2..4].copy_from_slice(&offset.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.identification.to_be_bytes());
    }
}

/// Whether a header of this kind is one that the walk goes through. ESP and the authentication
/// header are not: the engine has no keys, so they are unknown protocols to it.
#[inline]
#[must_use]
pub const fn is_extension(protocol: Protocol) -> bool {
    matches!(
        protocol,
        Protocol::HOP_BY_HOP
            | Protocol::ROUTING
            | Protocol::FRAGMENT
            | Protocol::DESTINATION_OPTIONS
    )
}

/// Steps over the extension header `kind` at the start of `bytes`, unchecked but for its length:
/// the next one's kind, and this one's bytes. `None` if it ends early.
pub(super) fn step(kind: Protocol, bytes: &[u8]) -> Option<(Protocol, usize)> {
    let &[next, words, ..] = bytes.first_chunk::<8>()?;
    let len = if kind == Protocol::FRAGMENT { 8 } else { (usize::from(words) + 1) * 8 };
    (len <= bytes.len()).then_some((Protocol(next), len))
}

/// Where the IPv6 header says what follows.
const NEXT_HEADER_AT: u16 = 6;
/// Where the IPv6 header says how much follows.
const PAYLOAD_LEN_AT: u32 = 4;

struct Walk<'a> {
    /// From behind the IPv6 header to the end of the first piece or of the payload.
    bytes: &'a [u8],
    payload_len: usize,
    /// Whether the next header stands right behind the IPv6 header.
    first: bool,
    /// Whether a fragment header went by.
    fragmented: bool,
}

impl Walk<'_> {
    #[cold]
    fn run(mut self, mut protocol: Protocol) -> Result<Chain, Refusal> {
        let mut protocol_at = NEXT_HEADER_AT;
        let mut at = 0;
        for _ in 0..=MAX_HEADERS {
            if !is_extension(protocol) {
                return Ok(Chain { protocol, protocol_at, len: at as u16, fragment: None });
            }
            let bytes = &self.bytes[at..];
            let Some((next, len)) = step(protocol, bytes) else { return Err(MALFORMED) };
            let header = &bytes[..len];
            match protocol {
                Protocol::HOP_BY_HOP if !self.first => {
                    let code = ProblemCode::UnrecognizedNextHeader;
                    return Err(problem(DropReason::IpMalformed, code, u32::from(protocol_at)));
                }
                Protocol::FRAGMENT => {
                    let fragment = self.fragment(header, at)?;
                    if fragment.offset != 0 || fragment.more {
                        if fragment.offset == 0 {
                            check_completeness(next, &bytes[len..])?;
                        }
                        let (protocol_at, len) = ((HEADER_LEN + at) as u16, (at + len) as u16);
                        let fragment = Some(fragment);
                        return Ok(Chain { protocol: next, protocol_at, len, fragment });
                    }
                }
                Protocol::ROUTING if header[3] != 0 => {
                    // RFC 8200 §4.4: an unknown type with segments left; type 0 is treated as
                    // unknown (RFC 5095), and the engine knows no other.
                    let pointer = (HEADER_LEN + at + 2) as u32;
                    let code = ProblemCode::ErroneousField;
                    return Err(problem(DropReason::IpOptions, code, pointer));
                }
                Protocol::ROUTING => {}
                _ => check_options(header, at)?,
            }
            self.first = false;
            (protocol, protocol_at) = (next, (HEADER_LEN + at) as u16);
            at += len;
        }
        Err(Refusal { reason: DropReason::IpOptions, answer: None })
    }

    /// Reads a fragment header, `header`, and checks it as RFC 8200 §4.5 asks.
    fn fragment(&mut self, header: &[u8], at: usize) -> Result<Fragment, Refusal> {
        let Some(&[_, _, f0, f1, i0, i1, i2, i3]) = header.first_chunk() else {
            return Err(MALFORMED);
        };
        if self.fragmented {
            return Err(MALFORMED);
        }
        self.fragmented = true;
        let field = u16::from_be_bytes([f0, f1]);
        let (offset, more) = (field & !7, field & 1 != 0);
        let len = self.payload_len - at - FRAGMENT_HEADER_LEN;
        let code = ProblemCode::ErroneousField;
        if more && (!len.is_multiple_of(8) || len == 0) {
            return Err(problem(DropReason::IpMalformed, code, PAYLOAD_LEN_AT));
        }
        // What stands before the fragment header counts too: it is in the reassembled packet.
        if usize::from(offset) + at + len > usize::from(u16::MAX) {
            let pointer = (HEADER_LEN + at + 2) as u32;
            return Err(problem(DropReason::IpMalformed, code, pointer));
        }
        Ok(Fragment { offset, more, identification: u32::from_be_bytes([i0, i1, i2, i3]) })
    }
}

/// Walks the options of a hop-by-hop or destination header that stands `at` bytes behind the IPv6
/// header. The engine acts on none of them: each says in its type what that means (RFC 8200 §4.2).
fn check_options(header: &[u8], at: usize) -> Result<(), Refusal> {
    let mut rest = &header[2..];
    loop {
        match *rest {
            [] => return Ok(()),
            [PAD1, ref more @ ..] => rest = more,
            [kind, len, ref more @ ..] if usize::from(len) <= more.len() => {
                let offset = header.len() - rest.len();
                check_option(kind, (HEADER_LEN + at + offset) as u32)?;
                rest = &more[usize::from(len)..];
            }
            _ => return Err(MALFORMED),
        }
    }
}

/// What an option's type says that someone who does not know it shall do (RFC 8200 §4.2).
const fn check_option(kind: u8, pointer: u32) -> Result<(), Refusal> {
    let (reason, code) = (DropReason::IpOptions, ProblemCode::UnrecognizedOption);
    match kind >> 6 {
        0 => Ok(()),
        1 => Err(Refusal { reason, answer: None }),
        action => {
            let answer = Some(Problem { code, pointer, even_to_group: action == 2 });
            Err(Refusal { reason, answer })
        }
    }
}

/// Checks that a first fragment, `bytes` from behind its fragment header on, holds all headers
/// (RFC 7112): else nobody on the way could have filtered it.
fn check_completeness(mut protocol: Protocol, mut bytes: &[u8]) -> Result<(), Refusal> {
    let incomplete = problem(DropReason::IpMalformed, ProblemCode::IncompleteHeaderChain, 0);
    for _ in 0..=MAX_HEADERS {
        let least = match protocol {
            Protocol::TCP => tcp::HEADER_LEN,
            Protocol::UDP => udp::HEADER_LEN,
            Protocol::ICMPV6 => super::icmp::HEADER_LEN,
            _ if is_extension(protocol) => {
                let Some((next, len)) = step(protocol, bytes) else { return Err(incomplete) };
                (protocol, bytes) = (next, &bytes[len..]);
                continue;
            }
            _ => 0,
        };
        return if bytes.len() < least { Err(incomplete) } else { Ok(()) };
    }
    Err(Refusal { reason: DropReason::IpOptions, answer: None })
}

const fn problem(reason: DropReason, code: ProblemCode, pointer: u32) -> Refusal {
    Refusal { reason, answer: Some(Problem { code, pointer, even_to_group: false }) }
}

const MALFORMED: Refusal = Refusal { reason: DropReason::IpMalformed, answer: None };

/// The one option without a length: a byte of nothing.
const PAD1: u8 = 0;

#[cfg(test)]
mod tests;
