//! What a ring carries: 16 bytes, four to a cache line.
//!
//! ```text
//!  low word   | length u16 | offset u16 | frame u32 |
//!  high word  | tag u32                 | socket u32|
//! ```
//!
//! An entry is numbers, not a right: whoever takes one out of a ring that another party writes
//! checks every field before use.

/// One hand-off: these bytes of that frame, for this socket.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Entry {
    /// The frame's key, region and index; [`NO_FRAME`](Self::NO_FRAME) for an entry without one.
    pub frame: u32,
    /// First byte, from the frame's beginning.
    pub offset: u16,
    /// Bytes.
    pub length: u16,
    /// The socket's slot.
    pub socket: u32,
    /// The socket's generation and flags, as both ends agree.
    pub tag: u32,
}

const _: () = assert!(size_of::<Entry>() == 16);

impl Entry {
    /// The key of no frame: regions are numbered from 1.
    pub const NO_FRAME: u32 = 0;

    /// As a ring stores it.
    #[inline]
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        [
            self.frame as u64 | (self.offset as u64) << 32 | (self.length as u64) << 48,
            self.socket as u64 | (self.tag as u64) << 32,
        ]
    }

    /// From what a ring stores; any two words are some entry.
    #[inline]
    #[must_use]
    pub const fn from_words([low, high]: [u64; 2]) -> Self {
        Self {
            frame: low as u32,
            offset: (low >> 32) as u16,
            length: (low >> 48) as u16,
            socket: high as u32,
            tag: (high >> 32) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_its_own_bits() {
        for bit in 0..128 {
            let number = 1u128 << bit;
            let words = [number as u64, (number >> 64) as u64];
            let entry = Entry::from_words(words);
            assert_eq!(entry.to_words(), words);
            let set = entry.frame.count_ones()
                + entry.offset.count_ones()
                + entry.length.count_ones()
                + entry.socket.count_ones()
                + entry.tag.count_ones();
            assert_eq!(set, 1, "bit {bit}");
        }
        let entry = Entry { frame: 0x0120_0003, offset: 256, length: 1500, socket: 9, tag: 7 };
        assert_eq!(Entry::from_words(entry.to_words()), entry);
    }
}
