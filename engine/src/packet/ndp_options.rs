//! The options of neighbour discovery (RFC 4861 §4.6).

use core::net::Ipv6Addr;

use super::{DropReason, MacAddr};

/// One option of a neighbour discovery message.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum NdpOption<'a> {
    /// The sender's MAC address.
    SourceLinkLayer(MacAddr),
    /// The target's MAC address.
    TargetLinkLayer(MacAddr),
    /// A prefix that is on the link, or from which hosts make addresses.
    Prefix(Prefix),
    /// The start of the packet that led to a redirect. Written in whole words of 8 bytes, the last
    /// one filled with zeros.
    RedirectedHeader(&'a [u8]),
    /// The link's MTU.
    Mtu(u32),
    /// A number by which a host knows its own question, come back to it (RFC 7527).
    Nonce([u8; 6]),
    /// Anything else, which is passed over (RFC 4861 §4.6). Written in whole words, as above.
    Other {
        /// The option's type.
        kind: u8,
        /// What stands behind its type and length.
        data: &'a [u8],
    },
}

/// A prefix that is on the link, or from which hosts make addresses (RFC 4861 §4.6.2).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Prefix {
    /// The prefix; bits behind its length mean nothing.
    pub address: Ipv6Addr,
    /// How many bits of the address count: at most 128, else the option is passed over.
    pub len: u8,
    /// Its addresses are neighbours.
    pub on_link: bool,
    /// Hosts make addresses from it (RFC 4862).
    pub autonomous: bool,
    /// Seconds for which it holds; all ones: for ever.
    pub valid_s: u32,
    /// Seconds for which its addresses are preferred; all ones: for ever.
    pub preferred_s: u32,
}

/// The options in `bytes`, which are those behind a message's fixed part.
///
/// One that has no length, or more than what is left, is the last: [`DropReason::IcmpMalformed`].
pub fn options(bytes: &[u8]) -> Options<'_> {
    Options { rest: bytes }
}

/// Goes through a message's options; made by [`options`].
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<NdpOption<'a>, DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        match *self.rest {
            [] => None,
            [kind, words, ..] if words > 0 && usize::from(words) * 8 <= self.rest.len() => {
                let (option, rest) = self.rest.split_at(usize::from(words) * 8);
                self.rest = rest;
                Some(Ok(NdpOption::read(kind, &option[2..])))
            }
            _ => {
                self.rest = &[];
                Some(Err(DropReason::IcmpMalformed))
            }
        }
    }
}

impl<'a> NdpOption<'a> {
    /// Bytes of the option: a multiple of 8. Of more than 2,040 only so many are written.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        match self {
            Self::SourceLinkLayer(_) | Self::TargetLinkLayer(_) | Self::Mtu(_) | Self::Nonce(_) => {
                8
            }
            Self::Prefix(_) => 32,
            Self::RedirectedHeader(packet) => (8 + packet.len()).next_multiple_of(8).min(MAX_LEN),
            Self::Other { data, .. } => (2 + data.len()).next_multiple_of(8).min(MAX_LEN),
        }
    }

    /// Writes the option into the first [`wire_len`](Self::wire_len) bytes.
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than that: the caller has just made this room.
    pub fn emit(&self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..self.wire_len()];
        bytes.fill(0);
        bytes[1] = (bytes.len() / 8) as u8;
        let (kind, at, data): (u8, usize, &[u8]) = match self {
            Self::SourceLinkLayer(mac) => (SOURCE_LINK_LAYER, 2, &mac.0),
            Self::TargetLinkLayer(mac) => (TARGET_LINK_LAYER, 2, &mac.0),
            Self::Prefix(prefix) => {
                bytes[2] = prefix.len;
                bytes[3] = if prefix.on_link { ON_LINK } else { 0 }
                    | if prefix.autonomous { AUTONOMOUS } else { 0 };
                bytes[4..8].copy_from_slice(&prefix.valid_s.to_be_bytes());
                bytes[8..12].copy_from_slice(&prefix.preferred_s.to_be_bytes());
                (PREFIX, 16, &prefix.address.octets())
            }
            Self::RedirectedHeader(packet) => (REDIRECTED_HEADER, 8, packet),
            Self::Mtu(mtu) => (MTU, 4, &mtu.to_be_bytes()),
            Self::Nonce(nonce) => (NONCE, 2, nonce),
            Self::Other { kind, data } => (*kind, 2, data),
        };
        bytes[0] = kind;
        let place = &mut bytes[at..];
        let len = data.len().min(place.len());
        place[..len].copy_from_slice(&data[..len]);
    }

    /// An option of the given kind, of which `data` stands behind its type and length. One that
    /// has another length than its kind should have is passed over like an unknown one.
    fn read(kind: u8, data: &'a [u8]) -> Self {
        let other = Self::Other { kind, data };
        match kind {
            SOURCE_LINK_LAYER | TARGET_LINK_LAYER | NONCE => match data.try_into() {
                Ok(octets) if kind == NONCE => Self::Nonce(octets),
                // A group can't be a station.
                Ok(octets) if !MacAddr(octets).is_unicast() => other,
                Ok(octets) if kind == SOURCE_LINK_LAYER => Self::SourceLinkLayer(MacAddr(octets)),
                Ok(octets) => Self::TargetLinkLayer(MacAddr(octets)),
                Err(_) => other,
            },
            MTU => match *data {
                [_, _, a, b, c, d] => Self::Mtu(u32::from_be_bytes([a, b, c, d])),
                _ => other,
            },
            PREFIX => Prefix::read(data).map_or(other, Self::Prefix),
            REDIRECTED_HEADER => data.get(6..).map_or(other, Self::RedirectedHeader),
            _ => other,
        }
    }
}

impl Prefix {
    fn read(data: &[u8]) -> Option<Self> {
        let &[len, flags, v0, v1, v2, v3, p0, p1, p2, p3, _, _, _, _, ref address @ ..] =
            <&[u8; 30]>::try_from(data).ok()?;
        (len <= 128).then_some(Self {
            address: Ipv6Addr::from(*address),
            len,
            on_link: flags & ON_LINK != 0,
            autonomous: flags & AUTONOMOUS != 0,
            valid_s: u32::from_be_bytes([v0, v1, v2, v3]),
            preferred_s: u32::from_be_bytes([p0, p1, p2, p3]),
        })
    }
}

/// What a length of one byte, in words of 8 bytes, can say.
const MAX_LEN: usize = 255 * 8;

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const PREFIX: u8 = 3;
const REDIRECTED_HEADER: u8 = 4;
const MTU: u8 = 5;
const NONCE: u8 = 14;

/// Flags of a prefix (RFC 4861 §4.6.2).
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    #[test]
    fn every_option_is_read_as_written() {
        let prefix = Prefix {
            address: "2001:db8::".parse().unwrap(),
            len: 64,
            on_link: true,
            autonomous: false,
            valid_s: 0x0102_0304,
            preferred_s: u32::MAX,
        };
        for (option, len) in [
            (NdpOption::SourceLinkLayer(MAC), 8),
            (NdpOption::TargetLinkLayer(MAC), 8),
            (NdpOption::Prefix(prefix), 32),
            (NdpOption::Prefix(Prefix { on_link: false, autonomous: true, ..prefix }), 32),
            (NdpOption::RedirectedHeader(&[7; 16]), 24),
            (NdpOption::Mtu(9000), 8),
            (NdpOption::Nonce([1, 2, 3, 4, 5, 6]), 8),
            (NdpOption::Other { kind: 25, data: &[9; 22] }, 24),
        ] {
            let mut bytes = vec![0xaa; len + 1];
            assert_eq!(option.wire_len(), len);
            option.emit(&mut bytes);
            assert_eq!(bytes[len], 0xaa);
            let read: Vec<_> = options(&bytes[..len]).collect();
            assert_eq!(read, [Ok(option)]);
        }
    }

    #[test]
    fn data_is_filled_up_and_cut_off() {
        let mut bytes = [0xaa; 16];
        NdpOption::Other { kind: 25, data: &[9; 7] }.emit(&mut bytes);
        assert_eq!(bytes, [25, 2, 9, 9, 9, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0]);
        let long = [7; 3000];
        for option in
            [NdpOption::RedirectedHeader(&long), NdpOption::Other { kind: 9, data: &long }]
        {
            let mut bytes = vec![0; option.wire_len()];
            assert_eq!(bytes.len(), 2040);
            option.emit(&mut bytes);
            assert_eq!((bytes[1], bytes[2039]), (255, 7));
        }
    }

    #[test]
    fn one_without_a_length_is_the_last() {
        let two = [5, 1, 0, 0, 0, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let read: Vec<_> = options(&two).collect();
        assert_eq!(read, [Ok(NdpOption::Mtu(1280)), Err(DropReason::IcmpMalformed)]);
        for wrong in [&[1][..], &[1, 1, 2, 0, 0, 0, 0], &[1, 2, 2, 0, 0, 0, 0, 0]] {
            let read: Vec<_> = options(wrong).collect();
            assert_eq!(read, [Err(DropReason::IcmpMalformed)], "{wrong:?}");
        }
    }

    #[test]
    fn known_kinds_of_other_lengths_are_passed_over() {
        let mut long = [0; 40];
        long[1] = 5;
        for kind in [1, 2, 3, 5, 14] {
            long[0] = kind;
            let read = options(&long).next();
            assert_eq!(read, Some(Ok(NdpOption::Other { kind, data: &long[2..] })));
        }
        for group in [[1, 1, 3, 0, 0, 0, 0, 0], [2, 1, 0, 0, 0, 0, 0, 0]] {
            let read = options(&group).next();
            assert_eq!(read, Some(Ok(NdpOption::Other { kind: group[0], data: &group[2..] })));
        }
        let mut prefix = [0; 32];
        prefix[..3].copy_from_slice(&[3, 4, 129]);
        let read = options(&prefix).next();
        assert_eq!(read, Some(Ok(NdpOption::Other { kind: 3, data: &prefix[2..] })));
    }
}
