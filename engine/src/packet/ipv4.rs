//! The IPv4 header (RFC 791) and its options.

use core::net::Ipv4Addr;

use super::checksum::Sum;
use super::ip::TrafficClass;
use super::{Addresses, DropReason, Protocol};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

/// Bytes of the longest header: its length field counts up to 15 words.
pub const MAX_HEADER_LEN: usize = 60;

/// Bytes that every host can receive in one datagram, reassembled if need be (RFC 791 §3.1). An
/// ICMP error is cut to it (RFC 1812 §4.3.2.3).
pub const MIN_REASSEMBLY_LEN: usize = 576;

/// An IPv4 header, parsed and checked.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Header {
    /// Who sent it.
    pub source: Ipv4Addr,
    /// Whom it is for.
    pub destination: Ipv4Addr,
    /// What it carries.
    pub protocol: Protocol,
    /// Bytes of this header with its options: 20 to 60, a multiple of 4.
    pub header_len: u8,
    /// Routers that it may still pass.
    pub ttl: u8,
    /// How routers treat it, and what they say about congestion.
    pub traffic_class: TrafficClass,
    /// Bytes of the whole packet: never fewer than the header's.
    pub total_len: u16,
    /// Tells apart the datagrams to which fragments belong; means nothing otherwise (RFC 6864).
    pub identification: u16,
    /// Which part of a datagram this is.
    pub fragment: Fragment,
}

/// Which part of a datagram a packet is.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
pub struct Fragment {
    /// Bytes of the datagram's payload before this packet's, a multiple of 8.
    pub offset: u16,
    /// More of the datagram follows.
    pub more: bool,
    /// No router may cut it.
    pub dont: bool,
}

impl Fragment {
    /// A whole datagram that no router may cut.
    pub const DONT: Self = Self { offset: 0, more: false, dont: true };

    /// Whether this is less than a whole datagram.
    #[inline]
    #[must_use]
    pub const fn is_part(self) -> bool {
        self.more || self.offset != 0
    }
}

impl Header {
    /// Reads a header. `bytes` begins with it; `available` counts the bytes from there to the end
    /// of the frame, in all of the packet's pieces, padding included.
    ///
    /// The payload is what stands between `header_len` and `total_len`; what stands behind it is
    /// padding and is to be cut off (RFC 894).
    ///
    /// # Errors
    ///
    /// [`DropReason::IpMalformed`] if the header ends early, is no IPv4, or tells lengths or a
    /// fragment that can't be; [`DropReason::IpChecksum`]; [`DropReason::IpOptions`] for a source
    /// route, which is refused here as RFC 7126 §4.3 and §4.4 advise. Unknown options are passed
    /// over (RFC 1122 §3.2.1.8).
    #[inline(always)] // what the caller does not look at need not be read
    pub fn parse(bytes: &[u8], available: usize) -> Result<Self, DropReason> {
        let Some(fixed) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(DropReason::IpMalformed);
        };
        let header = Self::read(fixed);
        let total_len = usize::from(header.total_len);
        // 0x45: version 4 and five words, which is all but every packet.
        if fixed[0] == 0x45 {
            if total_len < HEADER_LEN || total_len > available {
                return Err(DropReason::IpMalformed);
            }
            if !Sum::new().with(fixed).is_valid() {
                return Err(DropReason::IpChecksum);
            }
        } else {
            header.check_options(bytes, fixed[0], available)?;
        }
        if header.fragment.is_part() {
            header.check_fragment()?;
        }
        Ok(header)
    }

    /// Reads the header of a packet that an ICMP error quotes: only as much of the packet is there
    /// as the router cared to send, its checksum may be of another hop, and whoever sent it was
    /// us. So nothing is checked but that it is an IPv4 header that `bytes` holds whole.
    ///
    /// # Errors
    ///
    /// [`DropReason::IpMalformed`].
    pub fn parse_quoted(bytes: &[u8]) -> Result<Self, DropReason> {
        let Some(fixed) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(DropReason::IpMalformed);
        };
        let header = Self::read(fixed);
        let header_len = usize::from(header.header_len);
        if fixed[0] >> 4 != 4 || header_len < HEADER_LEN || header_len > bytes.len() {
            return Err(DropReason::IpMalformed);
        }
        Ok(header)
    }

    /// A header without options for a whole datagram of `payload_len` bytes that may not be cut,
    /// with the default TTL of 64 (RFC 1700).
    ///
    /// `payload_len` is at most 65,515; of a larger one the low 16 bits of the sum count.
    #[inline]
    #[must_use]
    pub const fn new(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: Protocol,
        payload_len: u16,
    ) -> Self {
        Self {
            source,
            destination,
            protocol,
            header_len: HEADER_LEN as u8,
            ttl: 64,
            traffic_class: TrafficClass(0),
            total_len: payload_len.wrapping_add(HEADER_LEN as u16),
            identification: 0,
            fragment: Fragment::DONT,
        }
    }

    /// Bytes behind the header.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> u16 {
        // Parsing checked that this can't wrap.
        self.total_len.wrapping_sub(self.header_len as u16)
    }

    /// The two ends.
    #[inline]
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        Addresses::V4 { source: self.source, destination: self.destination }
    }

    /// The sum of the pseudo header of what the packet carries.
    #[inline]
    pub const fn pseudo_header(&self) -> Sum {
        Sum::pseudo_v4(self.source, self.destination, self.protocol, self.payload_len())
    }

    /// Writes the header, with its checksum, into the first `header_len` bytes. Options, if
    /// `header_len` makes room for some, stand there already.
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than `header_len`, or that less than 20: the caller has just made
    /// this room.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) {
        let (fixed, options) = bytes[..usize::from(self.header_len)].split_at_mut(HEADER_LEN);
        let flags = u16::from(self.fragment.dont) << 14 | u16::from(self.fragment.more) << 13;
        let (source, destination) = (self.source.to_bits(), self.destination.to_bits());
        let first = u32::from_be_bytes([0x40 | self.header_len >> 2, self.traffic_class.0, 0, 0])
            | u32::from(self.total_len);
        let second =
            u32::from(self.identification) << 16 | u32::from(flags | self.fragment.offset >> 3);
        let third = u32::from_be_bytes([self.ttl, self.protocol.0, 0, 0]);
        let words = [first, second, third, source, destination];
        let mut sum = Sum::new().with_words(words.iter().map(|word| u64::from(*word)).sum());
        if !options.is_empty() {
            sum = sum.with(options);
        }
        let third = third | u32::from(sum.checksum());
        let words = [first, second, third, source, destination];
        for (field, word) in fixed.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *field = word.to_be_bytes();
        }
    }

    /// Takes one from the TTL of the header in `bytes` and mends its checksum (RFC 1141), for a
    /// packet that is passed on. `false` if it was 0 or 1, in which case nothing is written, or if
    /// `bytes` ends early.
    #[inline]
    #[must_use]
    pub fn decrement_ttl(bytes: &mut [u8]) -> bool {
        let Some(fixed) = bytes.first_chunk_mut::<HEADER_LEN>() else { return false };
        if fixed[8] <= 1 {
            return false;
        }
        let old = u16::from_be_bytes([fixed[8], fixed[9]]);
        fixed[8] -= 1;
        let new = u16::from_be_bytes([fixed[8], fixed[9]]);
        let checksum = u16::from_be_bytes([fixed[10], fixed[11]]);
        fixed[10..12].copy_from_slice(&super::checksum::update(checksum, old, new).to_be_bytes());
        true
    }

    /// The fields as they stand, unchecked.
    #[inline]
    fn read(fixed: &[u8; HEADER_LEN]) -> Self {
        let [vl, tos, l0, l1, i0, i1, f0, f1, ttl, protocol, _, _, addresses @ ..] = *fixed;
        let [s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
        let fragment = u16::from_be_bytes([f0, f1]);
        Self {
            source: Ipv4Addr::new(s0, s1, s2, s3),
            destination: Ipv4Addr::new(d0, d1, d2, d3),
            protocol: Protocol(protocol),
            header_len: (vl & 0x0f) << 2,
            ttl,
            traffic_class: TrafficClass(tos),
            total_len: u16::from_be_bytes([l0, l1]),
            identification: u16::from_be_bytes([i0, i1]),
            // The highest bit is reserved; RFC 791 says that it is zero, Linux does not look.
            fragment: Fragment {
                offset: (fragment & 0x1fff) << 3,
                more: fragment & 0x2000 != 0,
                dont: fragment & 0x4000 != 0,
            },
        }
    }

    /// The checks of a header that is not the usual 20 bytes of version 4.
    #[cold]
    fn check_options(&self, bytes: &[u8], first: u8, available: usize) -> Result<(), DropReason> {
        let header_len = usize::from(self.header_len);
        let total_len = usize::from(self.total_len);
        if first >> 4 != 4 || header_len < HEADER_LEN {
            return Err(DropReason::IpMalformed);
        }
        if total_len < header_len || total_len > available {
            return Err(DropReason::IpMalformed);
        }
        let Some(header) = bytes.get(..header_len) else { return Err(DropReason::IpMalformed) };
        if !Sum::new().with(header).is_valid() {
            return Err(DropReason::IpChecksum);
        }
        for option in options(&header[HEADER_LEN..]) {
            if option?.is_source_route() {
                return Err(DropReason::IpOptions);
            }
        }
        Ok(())
    }

    /// A fragment must not reach behind the longest datagram ("ping of death"), and only the last
    /// one's length may be no multiple of 8 (RFC 791 §3.2).
    #[cold]
    fn check_fragment(&self) -> Result<(), DropReason> {
        let payload_len = u32::from(self.payload_len());
        let end = u32::from(self.header_len) + u32::from(self.fragment.offset) + payload_len;
        let uneven = self.fragment.more && (!payload_len.is_multiple_of(8) || payload_len == 0);
        if end > u32::from(u16::MAX) || uneven { Err(DropReason::IpMalformed) } else { Ok(()) }
    }
}

/// One option of a header.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct HeaderOption<'a> {
    /// The option's type: bit 7 says that every fragment carries it.
    pub kind: u8,
    /// What stands behind its type and length.
    pub data: &'a [u8],
}

impl HeaderOption<'_> {
    /// Loose source and record route (RFC 791 §3.1).
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    /// Strict source and record route (RFC 791 §3.1).
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
    /// Routers should look into the packet (RFC 2113).
    pub const ROUTER_ALERT: u8 = 148;

    /// Whether the sender asks for a way of its own.
    #[must_use]
    pub const fn is_source_route(&self) -> bool {
        matches!(self.kind, Self::LOOSE_SOURCE_ROUTE | Self::STRICT_SOURCE_ROUTE)
    }
}

/// The options in `bytes`, which are those behind a header's first 20.
///
/// Ends at the end of list or of `bytes`. An option that is shorter than its own head, or longer
/// than what is left, is the last: [`DropReason::IpMalformed`].
pub fn options(bytes: &[u8]) -> Options<'_> {
    Options { rest: bytes }
}

/// Goes through a header's options; made by [`options`].
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<HeaderOption<'a>, DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match *self.rest {
                [] | [END_OF_OPTIONS, ..] => return None,
                [NO_OPERATION, ref rest @ ..] => self.rest = rest,
                [kind, len, ..] if len >= 2 && usize::from(len) <= self.rest.len() => {
                    let (option, rest) = self.rest.split_at(usize::from(len));
                    self.rest = rest;
                    return Some(Ok(HeaderOption { kind, data: &option[2..] }));
                }
                _ => {
                    self.rest = &[];
                    return Some(Err(DropReason::IpMalformed));
                }
            }
        }
    }
}

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;

#[cfg(test)]
mod tests;
