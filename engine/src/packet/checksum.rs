//! The Internet checksum (RFC 1071), over pieces.
//!
//! A packet lies in up to 18 frames, any of which may have an odd length, so the sum is a value
//! that is fed one piece after the other and remembers on which half of a 16-bit word it stands.
//!
//! The one's complement sum does not care in which order the bytes of its words lie (RFC 1071
//! §2(B)), as long as they all lie in the same. So bytes are added as a little-endian machine loads
//! them, eight at a time, and the result is put into the order of the wire once, at the end.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::Protocol;

/// A one's complement sum that grows piece by piece.
///
/// ```
/// use corewire::packet::checksum::Sum;
///
/// let whole = Sum::new().with(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
/// let pieces = Sum::new().with(&[0x00, 0x01, 0xf2]).with(&[0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
/// assert_eq!(whole.value(), 0xddf2); // the example of RFC 1071 §3
/// assert_eq!(pieces.checksum(), !0xddf2);
/// ```
#[derive(Copy, Clone, Debug, Default)]
#[must_use]
pub struct Sum {
    /// Of words with their bytes swapped, the carries added at the low end: modulo 2^64 − 1, of
    /// which 2^16 − 1 is a divisor.
    sum: u64,
    /// Whether an odd number of bytes went in so far.
    odd: bool,
}

impl Sum {
    /// The sum of no bytes.
    #[inline]
    pub const fn new() -> Self {
        Self { sum: 0, odd: false }
    }

    /// The sum of an IPv4 pseudo header (RFC 9293 §3.1): `len` is that of the segment or
    /// datagram with its header.
    #[inline]
    pub const fn pseudo_v4(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: Protocol,
        len: u16,
    ) -> Self {
        let sum = u32::from_le_bytes(source.octets()) as u64
            + u32::from_le_bytes(destination.octets()) as u64;
        Self { sum, odd: false }.with_words(protocol.0 as u64 + len as u64)
    }

    /// The sum of an IPv6 pseudo header (RFC 8200 §8.1): `len` is that of the upper-layer packet
    /// with its header, without extension headers; `destination` is the final one.
    #[inline]
    pub const fn pseudo_v6(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        protocol: Protocol,
        len: u32,
    ) -> Self {
        let s = u128::from_le_bytes(source.octets());
        let d = u128::from_le_bytes(destination.octets());
        let mut sum = add_carry(s as u64, (s >> 64) as u64);
        sum = add_carry(sum, d as u64);
        sum = add_carry(sum, (d >> 64) as u64);
        Self { sum, odd: false }.with_words(protocol.0 as u64 + len as u64)
    }

    /// The sum with `bytes` behind those that are in it.
    #[inline]
    pub fn with(self, bytes: &[u8]) -> Self {
        let piece = sum_of(bytes);
        // On an odd place each byte stands in the other half of its word, so the sum of the piece
        // comes with its bytes swapped (RFC 1071 §2(B)).
        let piece = if self.odd { u64::from(fold(piece).swap_bytes()) } else { piece };
        Self { sum: add_carry(self.sum, piece), odd: self.odd ^ (bytes.len() % 2 == 1) }
    }

    /// The sum with a word of a header in it, which stands on an even place.
    #[inline]
    pub const fn with_u16(self, word: u16) -> Self {
        self.with_words(word as u64)
    }

    /// The sum with two words of a header in it, which stand on even places.
    #[inline]
    pub const fn with_u32(self, words: u32) -> Self {
        self.with_words(words as u64)
    }

    /// The sum with the plain sum of some 16- or 32-bit words in it, which stand on even places:
    /// several fields of a header cost one change of byte order.
    #[inline]
    pub(super) const fn with_words(self, words: u64) -> Self {
        Self { sum: add_carry(self.sum, words.swap_bytes()), odd: self.odd }
    }

    /// The sum of two parts of a packet, in any order, both of which begin on an even place: a
    /// header and what follows it, say. At most one of them has an odd length: the last.
    ///
    /// So the payload can be summed where it is copied, and its header where it is written.
    #[inline]
    pub const fn join(self, other: Self) -> Self {
        Self { sum: add_carry(self.sum, other.sum), odd: self.odd ^ other.odd }
    }

    /// The sum, of 16 bits.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u16 {
        fold(self.sum).swap_bytes()
    }

    /// The checksum: the sum's complement.
    #[inline]
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !self.value()
    }

    /// Whether what went in contains its own right checksum.
    #[inline]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        // 0xffff in any byte order. Only zeros alone sum to 0, and those hold no checksum.
        fold(self.sum) == 0xffff
    }
}

/// The checksum after the 16-bit word `old`, on an even place, became `new` (RFC 1624 §3, eqn. 3).
#[inline]
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = !checksum as u32 + !old as u32 + new as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// The checksum after the two words `old`, on even places, became `new`: an address, say.
#[inline]
#[must_use]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let high = update(checksum, (old >> 16) as u16, (new >> 16) as u16);
    update(high, old as u16, new as u16)
}

/// From here on, bytes are summed by vector instructions. Below it, finding out which ones there
/// are and adding up their lanes costs more than it saves (benches/checksum.rs).
const VECTORS_FROM: usize = 96;

/// The sum of `bytes` as little-endian words, modulo 2^64 − 1.
#[inline]
fn sum_of(bytes: &[u8]) -> u64 {
    if bytes.len() >= VECTORS_FROM {
        return sum_of_long(bytes);
    }
    sum_of_short(bytes)
}

#[inline]
fn sum_of_short(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut sum = 0;
    for word in words {
        sum = add_carry(sum, u64::from_le_bytes(*word));
    }
    let rest = match bytes.last_chunk::<8>() {
        // The last 8 bytes, less those that are summed already. In two steps, because to shift
        // all 64 bits out at once is not defined.
        Some(last) => u64::from_le_bytes(*last) >> (56 - 8 * tail.len()) >> 8,
        None => sum_of_few(tail),
    };
    // RFC 1071 §4.1: a last odd byte is followed by a zero; here zeros stand above it.
    add_carry(sum, rest)
}

/// Fewer than 8 bytes: rare, so it is not repeated at every place that sums.
#[inline(never)]
fn sum_of_few(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Adds halves of 32 bits into sums of 64 bits, which the compiler turns into vectors: this is
/// compiled once for every x86-64 and once for AVX2, and which runs is found out at run time. Plain
/// loops over 64-bit lanes with their carries took 2 to 5 times as long, AVX-512 no less.
///
/// The sum can't overflow: that would take 2^32 halves.
#[multiversion::multiversion(targets("x86_64+avx2"))]
fn sum_of_long(bytes: &[u8]) -> u64 {
    let (halves, tail) = bytes.as_chunks::<4>();
    let mut sum = sum_of_short(tail);
    for half in halves {
        sum += u64::from(u32::from_le_bytes(*half));
    }
    sum
}

/// One's complement addition of 64 bits.
#[inline]
const fn add_carry(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    // Can't overflow again: the sum of two numbers below 2^64 that overflowed is below 2^64 − 1.
    sum + carry as u64
}

/// The same sum in 16 bits. Zero only if every word was zero.
#[inline]
const fn fold(sum: u64) -> u16 {
    // The sum of both halves stands in the upper one, with the carry that the lower one gave it.
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// RFC 1071 as it reads, word by word.
    fn simple(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn nothing_sums_to_zero_and_ones_to_ones() {
        assert_eq!(Sum::new().value(), 0);
        assert!(!Sum::new().is_valid());
        for len in [2, 8, 60, 128, 9000, 65_534] {
            assert_eq!(Sum::new().with(&vec![0xff; len]).value(), 0xffff, "{len}");
        }
    }

    proptest! {
        #[test]
        fn pieces_sum_to_what_the_whole_does(pieces in vec(vec(any::<u8>(), 0..400), 0..18)) {
            let whole = pieces.concat();
            let sum = pieces.iter().fold(Sum::new(), |sum, piece| sum.with(piece));
            prop_assert_eq!(sum.value(), simple(&whole));
            prop_assert_eq!(Sum::new().with(&whole).value(), simple(&whole));
        }

        #[test]
        fn joined_sums_are_one(mut a in vec(any::<u8>(), 0..300), b in vec(any::<u8>(), 0..300)) {
            a.truncate(a.len() & !1);
            let (first, last) = (Sum::new().with(&a), Sum::new().with(&b));
            let whole = simple(&[&a[..], &b[..], &[1, 2, 3]].concat());
            prop_assert_eq!(first.join(last).with(&[1, 2, 3]).value(), whole);
            prop_assert_eq!(last.join(first).with(&[1, 2, 3]).value(), whole);
        }

        #[test]
        fn words_are_bytes(a in any::<u16>(), b in any::<u32>()) {
            let bytes = [&a.to_be_bytes()[..], &b.to_be_bytes()[..]].concat();
            prop_assert_eq!(Sum::new().with_u16(a).with_u32(b).value(), simple(&bytes));
        }

        #[test]
        fn pseudo_headers_are_their_bytes(s in any::<u128>(), d in any::<u128>(),
                                          protocol in any::<u8>(), len in any::<u32>()) {
            let (source, destination) = (Ipv6Addr::from(s), Ipv6Addr::from(d));
            let bytes = [&source.octets()[..], &destination.octets()[..],
                         &len.to_be_bytes()[..], &[0, 0, 0, protocol]].concat();
            let sum = Sum::pseudo_v6(source, destination, Protocol(protocol), len);
            prop_assert_eq!(sum.value(), simple(&bytes));

            let (source, destination) = (Ipv4Addr::from(s as u32), Ipv4Addr::from(d as u32));
            let bytes = [&source.octets()[..], &destination.octets()[..], &[0, protocol],
                         &(len as u16).to_be_bytes()[..]].concat();
            let sum = Sum::pseudo_v4(source, destination, Protocol(protocol), len as u16);
            prop_assert_eq!(sum.value(), simple(&bytes));
        }

        #[test]
        fn an_update_is_a_new_checksum(mut bytes in vec(any::<u8>(), 8..64),
                                       word in any::<u16>(), words in any::<u32>()) {
            bytes[7] |= 1; // RFC 1624 §3 excludes bytes that are all zero
            let before = Sum::new().with(&bytes).checksum();
            let old = u16::from_be_bytes([bytes[0], bytes[1]]);
            bytes[..2].copy_from_slice(&word.to_be_bytes());
            let after = Sum::new().with(&bytes).checksum();
            prop_assert_eq!(update(before, old, word), after);
            let old = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
            bytes[2..6].copy_from_slice(&words.to_be_bytes());
            prop_assert_eq!(update_u32(after, old, words), Sum::new().with(&bytes).checksum());
        }
    }
}
