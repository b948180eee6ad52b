//! The TCP header (RFC 9293 §3.1). Its options: [`tcp_options`](crate::packet::tcp_options).

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

use super::checksum::Sum;
use super::{Addresses, DropReason, Protocol};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

/// Bytes of the longest header: its length field counts up to 15 words.
pub const MAX_HEADER_LEN: usize = 60;

/// A TCP header, parsed and checked.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Header {
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// The number of the first byte of data, or of the SYN.
    pub sequence: u32,
    /// The number of the byte that the sender awaits, if [`Flags::ACK`] is set.
    pub acknowledgment: u32,
    /// Bytes of this header with its options: 20 to 60, a multiple of 4.
    pub header_len: u8,
    /// What the segment says besides its data.
    pub flags: Flags,
    /// Bytes that the sender would take from `acknowledgment` on, before scaling.
    pub window: u16,
    /// Bytes from `sequence` to behind the urgent data, if [`Flags::URG`] is set. May point
    /// anywhere: whoever uses it saturates.
    pub urgent_pointer: u16,
}

impl Header {
    /// Reads a header. `bytes` begins with it and holds it whole, and nothing behind the IP
    /// packet's payload.
    ///
    /// The options stand between byte 20 and `header_len`. Reserved bits are not looked at
    /// (RFC 9293 §3.1).
    ///
    /// # Errors
    ///
    /// [`DropReason::TcpMalformed`] if the header ends early or is told to be shorter than 20
    /// bytes.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let Some(fixed) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(DropReason::TcpMalformed);
        };
        let header_len = fixed[12] >> 4 << 2;
        if usize::from(header_len) < HEADER_LEN || usize::from(header_len) > bytes.len() {
            return Err(DropReason::TcpMalformed);
        }
        let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, f0, f1, w0, w1, _, _, u0, u1] = *fixed;
        Ok(Self {
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            sequence: u32::from_be_bytes([q0, q1, q2, q3]),
            acknowledgment: u32::from_be_bytes([a0, a1, a2, a3]),
            header_len,
            flags: Flags(u16::from_be_bytes([f0, f1]) & Flags::ALL),
            window: u16::from_be_bytes([w0, w1]),
            urgent_pointer: u16::from_be_bytes([u0, u1]),
        })
    }

    /// The bytes of the options, of the segment that begins with `bytes`. Empty if `bytes` is not
    /// what was parsed.
    #[inline]
    #[must_use]
    pub fn options<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(HEADER_LEN..usize::from(self.header_len)).unwrap_or_default()
    }

    /// Writes the header into the first `header_len` bytes. Options, if `header_len` makes room
    /// for some, stand there already. `sum` is that of the pseudo header and of the payload.
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than `header_len`, or that less than 20: the caller has just made
    /// this room.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8], sum: Sum) {
        let (fixed, options) = bytes[..usize::from(self.header_len)].split_at_mut(HEADER_LEN);
        let offset_and_flags = u16::from(self.header_len >> 2) << 12 | (self.flags.0 & Flags::ALL);
        let ports = u32::from(self.source_port) << 16 | u32::from(self.destination_port);
        let fourth = u32::from(offset_and_flags) << 16 | u32::from(self.window);
        let urgent = u32::from(self.urgent_pointer);
        let words = [ports, self.sequence, self.acknowledgment, fourth, urgent];
        let mut sum = sum.with_words(words.iter().map(|word| u64::from(*word)).sum());
        if !options.is_empty() {
            sum = sum.join(Sum::new().with(options));
        }
        let fifth = u32::from(sum.checksum()) << 16 | urgent;
        let words = [ports, self.sequence, self.acknowledgment, fourth, fifth];
        for (field, word) in fixed.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *field = word.to_be_bytes();
        }
    }
}

/// Checks the checksum over a segment of `len` bytes, header included; `segment` are its pieces.
///
/// # Errors
///
/// [`DropReason::TcpChecksum`] if it is wrong.
#[inline]
pub fn verify<'a>(
    addresses: &Addresses,
    len: u16,
    segment: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), DropReason> {
    let pseudo = addresses.pseudo_header(Protocol::TCP, len);
    let sum = segment.into_iter().fold(pseudo, Sum::with);
    if sum.is_valid() { Ok(()) } else { Err(DropReason::TcpChecksum) }
}

/// What a segment says besides its data.
#[derive(Copy, Clone, Default, Eq, PartialEq, Hash)]
pub struct Flags(u16);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// The sender has no more data.
    pub const FIN: Self = Self(0x001);
    /// The sequence number is the initial one.
    pub const SYN: Self = Self(0x002);
    /// There is no such connection, or no longer.
    pub const RST: Self = Self(0x004);
    /// Let the application have what came so far.
    pub const PSH: Self = Self(0x008);
    /// The acknowledgment number counts.
    pub const ACK: Self = Self(0x010);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x020);
    /// The sender heard of congestion: ECN echo (RFC 3168 §6.1).
    pub const ECE: Self = Self(0x040);
    /// The sender's congestion window is reduced (RFC 3168 §6.1).
    pub const CWR: Self = Self(0x080);
    /// Accurate ECN (RFC 9768 §3.1.1); the nonce sum of RFC 3540 once.
    pub const AE: Self = Self(0x100);

    const ALL: u16 = 0x1ff;

    /// The flags of the low 9 bits, in the order of the wire.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & Self::ALL)
    }

    /// The flags as 9 bits, in the order of the wire.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether all of `flags` are set.
    #[inline]
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of `flags` is set.
    #[inline]
    #[must_use]
    pub const fn intersects(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Those that are set here and not in `flags`.
    #[inline]
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// Those that are set in either.
    #[inline]
    #[must_use]
    pub const fn union(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, flags: Self) -> Self {
        self.union(flags)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, flags: Self) {
        *self = self.union(flags);
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 9] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"];
        let mut separator = "";
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 >> bit & 1 == 1 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if self.0 == 0 { f.write_str("NONE") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    const HEADER: Header = Header {
        source_port: 443,
        destination_port: 50_000,
        sequence: 0x0102_0304,
        acknowledgment: 0xfffe_fdfc,
        header_len: 24,
        flags: Flags(0x112),
        window: 0xabcd,
        urgent_pointer: 9,
    };
    const V4: Addresses =
        Addresses::V4 { source: Ipv4Addr::LOCALHOST, destination: Ipv4Addr::BROADCAST };
    const V6: Addresses =
        Addresses::V6 { source: Ipv6Addr::LOCALHOST, destination: Ipv6Addr::UNSPECIFIED };

    fn segment(addresses: &Addresses) -> Vec<u8> {
        let mut bytes = b"....................\x02\x04\x05\xb4odd".to_vec();
        let pseudo = addresses.pseudo_header(Protocol::TCP, bytes.len() as u16);
        HEADER.emit(&mut bytes, pseudo.with(b"odd"));
        bytes
    }

    #[test]
    fn a_segment_is_read_as_written() {
        for addresses in [V4, V6] {
            let bytes = segment(&addresses);
            assert_eq!(Header::parse(&bytes), Ok(HEADER));
            assert_eq!(HEADER.options(&bytes), [2, 4, 5, 0xb4]);
            assert_eq!(verify(&addresses, 27, [&bytes[..21], &bytes[21..]]), Ok(()));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let verdict = verify(&addresses, 27, [&flipped[..]]);
                assert_eq!(verdict, Err(DropReason::TcpChecksum), "bit {bit}");
            }
        }
        assert_eq!(HEADER.options(&[]), [0u8; 0]);
    }

    #[test]
    fn reserved_bits_are_not_looked_at() {
        let mut bytes = segment(&V4);
        bytes[12] |= 0x0e;
        assert_eq!(Header::parse(&bytes), Ok(HEADER));
    }

    #[test]
    fn lengths_that_can_not_be_are_malformed() {
        let mut bytes = segment(&V4);
        for len in 0..24 {
            assert_eq!(Header::parse(&bytes[..len]), Err(DropReason::TcpMalformed), "{len}");
        }
        assert!(Header::parse(&bytes[..24]).is_ok());
        for offset in [0x00, 0x40, 0x70, 0xf0] {
            bytes[12] = offset;
            assert_eq!(Header::parse(&bytes), Err(DropReason::TcpMalformed), "{offset:x}");
        }
    }

    #[test]
    fn flags_are_a_set() {
        let mut flags = Flags::SYN | Flags::ACK;
        assert!(flags.contains(Flags::SYN) && !flags.contains(Flags::SYN | Flags::FIN));
        assert!(flags.intersects(Flags::SYN | Flags::FIN) && !flags.intersects(Flags::RST));
        flags |= Flags::AE;
        assert_eq!(flags, Flags::from_bits(0xf112));
        assert_eq!(format!("{flags:?} {:?}", Flags::NONE), "SYN|ACK|AE NONE");
        assert_eq!(flags.without(Flags::SYN | Flags::AE).bits(), Flags::ACK.bits());
    }
}
