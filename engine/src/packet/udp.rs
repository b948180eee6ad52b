//! The UDP header (RFC 768).

use super::checksum::Sum;
use super::{Addresses, DropReason, Protocol};

/// Bytes of a header.
pub const HEADER_LEN: usize = 8;

/// A UDP header, parsed and checked against the packet's length.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Header {
    /// The sender's port; 0 if it wants no answer.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// Bytes of the datagram with this header: 8 or more.
    pub length: u16,
    /// The checksum as on the wire; 0 says that the sender made none.
    pub checksum: u16,
}

impl Header {
    /// Reads a header. `bytes` begins with it; `payload_len` is that of the IP packet's payload,
    /// in all of its pieces.
    ///
    /// The datagram is the first `length` bytes; what the IP packet holds behind it is no part of
    /// it and is to be cut off.
    ///
    /// # Errors
    ///
    /// [`DropReason::UdpMalformed`] if it ends early or its length is shorter than a header or
    /// longer than `payload_len`. Length 0, which a jumbogram has (RFC 2675 §4), is such a one.
    #[inline]
    pub fn parse(bytes: &[u8], payload_len: usize) -> Result<Self, DropReason> {
        let Some(&[s0, s1, d0, d1, l0, l1, c0, c1]) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(DropReason::UdpMalformed);
        };
        let length = u16::from_be_bytes([l0, l1]);
        if usize::from(length) < HEADER_LEN || usize::from(length) > payload_len {
            return Err(DropReason::UdpMalformed);
        }
        Ok(Self {
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            length,
            checksum: u16::from_be_bytes([c0, c1]),
        })
    }

    /// A header without a checksum for `payload_len` bytes, at most 65,527; of a larger one the
    /// low 16 bits of the sum count.
    #[inline]
    #[must_use]
    pub const fn new(source_port: u16, destination_port: u16, payload_len: u16) -> Self {
        let length = payload_len.wrapping_add(HEADER_LEN as u16);
        Self { source_port, destination_port, length, checksum: 0 }
    }

    /// Bytes behind the header.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> u16 {
        self.length.saturating_sub(HEADER_LEN as u16)
    }

    /// Checks the checksum over the datagram: its pieces are `length` bytes, this header's
    /// included.
    ///
    /// # Errors
    ///
    /// [`DropReason::UdpChecksum`] if it is wrong. Over IPv4 a sender may leave it out (RFC 768);
    /// over IPv6 it may not (RFC 8200 §8.1: tunnels only, RFC 6935, and the engine is none).
    #[inline(always)] // of one piece no loop is left
    pub fn verify<'a>(
        &self,
        addresses: &Addresses,
        datagram: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), DropReason> {
        if self.checksum == 0 {
            return if addresses.is_v6() { Err(DropReason::UdpChecksum) } else { Ok(()) };
        }
        let pseudo = addresses.pseudo_header(Protocol::UDP, self.length);
        let sum = datagram.into_iter().fold(pseudo, Sum::with);
        if sum.is_valid() { Ok(()) } else { Err(DropReason::UdpChecksum) }
    }

    /// The header with the checksum over itself and a payload of the given sum.
    #[inline]
    #[must_use]
    pub const fn with_checksum(self, addresses: &Addresses, payload: Sum) -> Self {
        let checksum = addresses
            .pseudo_header(Protocol::UDP, self.length)
            .with_words(self.source_port as u64 + self.destination_port as u64 + self.length as u64)
            .join(payload)
            .checksum();
        // RFC 768: a checksum of zero goes out as ones, which is the same number in one's
        // complement, because zero means that there is none.
        Self { checksum: if checksum == 0 { 0xffff } else { checksum }, ..self }
    }

    /// Writes the header into the first [`HEADER_LEN`] bytes.
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than that: the caller has just made this room.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..HEADER_LEN];
        bytes[..2].copy_from_slice(&self.source_port.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.length.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    const V4: Addresses = Addresses::V4 {
        source: Ipv4Addr::new(10, 0, 0, 1),
        destination: Ipv4Addr::new(10, 0, 0, 2),
    };
    const V6: Addresses =
        Addresses::V6 { source: Ipv6Addr::LOCALHOST, destination: Ipv6Addr::LOCALHOST };

    fn datagram(addresses: &Addresses, payload: &[u8]) -> Vec<u8> {
        let header = Header::new(7, 9, payload.len() as u16);
        let mut bytes = vec![0; 8];
        header.with_checksum(addresses, Sum::new().with(payload)).emit(&mut bytes);
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_datagram_is_read_as_written() {
        for addresses in [V4, V6] {
            let bytes = datagram(&addresses, b"hello");
            let header = Header::parse(&bytes, bytes.len()).unwrap();
            assert_eq!((header.source_port, header.destination_port), (7, 9));
            assert_eq!((header.length, header.payload_len()), (13, 5));
            assert_eq!(header.verify(&addresses, [&bytes[..9], &bytes[9..]]), Ok(()));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let verdict = Header::parse(&flipped, flipped.len())
                    .and_then(|header| header.verify(&addresses, [&flipped[..]]));
                assert!(verdict.is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn lengths_that_can_not_be_are_malformed() {
        let mut bytes = datagram(&V4, b"hello");
        for len in 0..8 {
            assert_eq!(Header::parse(&bytes[..len], 100), Err(DropReason::UdpMalformed));
        }
        assert_eq!(Header::parse(&bytes, 12), Err(DropReason::UdpMalformed));
        assert!(Header::parse(&bytes[..8], 13).is_ok(), "the payload lies in another frame");
        assert!(Header::parse(&bytes, 20).is_ok(), "the IP packet holds more");
        for length in [0, 7] {
            bytes[5] = length;
            assert_eq!(Header::parse(&bytes, 13), Err(DropReason::UdpMalformed));
        }
    }

    #[test]
    fn zero_means_no_checksum_over_ipv4_only() {
        let mut bytes = datagram(&V4, b"hello");
        bytes[6..8].fill(0);
        let header = Header::parse(&bytes, bytes.len()).unwrap();
        assert_eq!(header.verify(&V4, [&bytes[..]]), Ok(()));
        assert_eq!(header.verify(&V6, [&bytes[..]]), Err(DropReason::UdpChecksum));
    }

    #[test]
    fn a_checksum_of_zero_goes_out_as_ones() {
        let without = Header::new(7, 9, 2).with_checksum(&V4, Sum::new().with(&[0, 0]));
        let payload = without.checksum.to_be_bytes();
        let header = Header::new(7, 9, 2).with_checksum(&V4, Sum::new().with(&payload));
        assert_eq!(header.checksum, 0xffff);
        let bytes = datagram(&V4, &payload);
        assert_eq!(header.verify(&V4, [&bytes[..]]), Ok(()));
    }
}
