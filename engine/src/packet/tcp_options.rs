//! TCP options: segment size, window scale, SACK, timestamps (RFC 9293 §3.1, 7323, 2018).

/// Bytes that the options of one segment can have: 15 words less the header's own five.
pub const MAX_LEN: usize = 40;

/// The largest window scale (RFC 7323 §2.3): a larger one is taken for this.
pub const MAX_WINDOW_SCALE: u8 = 14;

/// SACK blocks for which one segment has room; with timestamps, one fewer (RFC 2018 §3).
pub const MAX_SACK_BLOCKS: usize = 4;

/// The options of a segment. Whatever the engine does not know was passed over.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
pub struct Options {
    /// The largest segment that the sender takes; in a SYN. Never 0.
    pub mss: Option<u16>,
    /// How many bits its windows are short of; in a SYN. At most [`MAX_WINDOW_SCALE`].
    pub window_scale: Option<u8>,
    /// The sender understands SACK; in a SYN.
    pub sack_permitted: bool,
    /// What the sender received, beyond its acknowledgment number.
    pub sack: SackBlocks,
    /// When it was sent, and what it answers.
    pub timestamps: Option<Timestamps>,
}

/// When a segment was sent, and what it answers (RFC 7323 §3).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
pub struct Timestamps {
    /// The sender's clock.
    pub value: u32,
    /// The receiver's clock, as the sender last heard it.
    pub echo: u32,
}

/// A part of the sequence space: from `left` up to but not including `right`.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
pub struct SackBlock {
    /// The first byte's number.
    pub left: u32,
    /// The number behind the last byte's.
    pub right: u32,
}

/// Up to [`MAX_SACK_BLOCKS`] blocks, in the order of the wire.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
pub struct SackBlocks {
    blocks: [SackBlock; MAX_SACK_BLOCKS],
    count: u8,
}

impl SackBlocks {
    /// Appends a block. `false` if there is no room: then nothing changed.
    pub fn push(&mut self, block: SackBlock) -> bool {
        let Some(place) = self.blocks.get_mut(usize::from(self.count)) else { return false };
        *place = block;
        self.count += 1;
        true
    }

    /// The blocks.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[SackBlock] {
        &self.blocks[..usize::from(self.count)]
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Options {
    /// Reads the options in `bytes`: what stands between a header's byte 20 and its end.
    ///
    /// Can't fail. As in Linux (tcp_parse_options), an option that is shorter than its own head
    /// or longer than what is left ends the list and what came before it counts; one of an
    /// unknown kind, or of a known kind with another length, is passed over; of several the last
    /// one counts.
    #[inline]
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        // Almost every segment of almost every connection, as RFC 7323 appendix A recommends it.
        if let Some(&[NO_OPERATION, NO_OPERATION, TIMESTAMPS, 10, ref stamps @ ..]) =
            bytes.first_chunk::<12>()
            && bytes.len() == 12
        {
            return Self { timestamps: Some(Timestamps::read(stamps)), ..Self::default() };
        }
        if bytes.is_empty() { Self::default() } else { Self::parse_any(bytes) }
    }

    fn parse_any(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        loop {
            match *bytes {
                [] | [END_OF_LIST, ..] => return options,
                [NO_OPERATION, ref rest @ ..] => bytes = rest,
                [kind, len, ..] if len >= 2 && usize::from(len) <= bytes.len() => {
                    let (option, rest) = bytes.split_at(usize::from(len));
                    options.read(kind, &option[2..]);
                    bytes = rest;
                }
                _ => return options,
            }
        }
    }

    /// Takes one option, of which `data` stands behind its kind and length.
    fn read(&mut self, kind: u8, data: &[u8]) {
        match (kind, data) {
            (MSS, &[0, 0]) => {}
            (MSS, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            (WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift.min(MAX_WINDOW_SCALE)),
            (SACK_PERMITTED, []) => self.sack_permitted = true,
            (TIMESTAMPS, data) => {
                if let Ok(stamps) = data.try_into() {
                    self.timestamps = Some(Timestamps::read(stamps));
                }
            }
            (SACK, data) => {
                let (blocks, []) = data.as_chunks::<8>() else { return };
                self.sack = SackBlocks::default();
                for &[l0, l1, l2, l3, r0, r1, r2, r3] in blocks {
                    let left = u32::from_be_bytes([l0, l1, l2, l3]);
                    let right = u32::from_be_bytes([r0, r1, r2, r3]);
                    // 40 bytes have room for four; more can't come out of a header.
                    self.sack.push(SackBlock { left, right });
                }
            }
            _ => {}
        }
    }

    /// Bytes that [`emit`](Self::emit) writes: a multiple of 4, at most [`MAX_LEN`].
    #[inline]
    #[must_use]
    pub const fn wire_len(&self) -> usize {
        let without_sack = self.len_without_sack();
        match self.sack_blocks_sent() {
            0 => without_sack,
            blocks => without_sack + 4 + 8 * blocks,
        }
    }

    /// Writes the options into the first [`wire_len`](Self::wire_len) bytes, in Linux' order
    /// (tcp_options_write), which middleboxes and fingerprints know: MSS; SACK permitted and
    /// timestamps; window scale; SACK. Of the SACK blocks, as many as there is room for.
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than that: the caller has just made this room.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) {
        let mut rest = &mut bytes[..self.wire_len()];
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            rest = put(rest, [MSS, 4, a, b]);
        }
        let permitted =
            if self.sack_permitted { [SACK_PERMITTED, 2] } else { [NO_OPERATION, NO_OPERATION] };
        if let Some(stamps) = self.timestamps {
            rest = put(rest, [permitted[0], permitted[1], TIMESTAMPS, 10]);
            rest = put(rest, stamps.value.to_be_bytes());
            rest = put(rest, stamps.echo.to_be_bytes());
        } else if self.sack_permitted {
            rest = put(rest, [NO_OPERATION, NO_OPERATION, SACK_PERMITTED, 2]);
        }
        if let Some(shift) = self.window_scale {
            rest = put(rest, [NO_OPERATION, WINDOW_SCALE, 3, shift.min(MAX_WINDOW_SCALE)]);
        }
        let blocks = self.sack_blocks_sent();
        if blocks > 0 {
            rest = put(rest, [NO_OPERATION, NO_OPERATION, SACK, 2 + 8 * blocks as u8]);
            for block in &self.sack.as_slice()[..blocks] {
                rest = put(rest, block.left.to_be_bytes());
                rest = put(rest, block.right.to_be_bytes());
            }
        }
    }

    const fn len_without_sack(&self) -> usize {
        let stamps = match (self.timestamps, self.sack_permitted) {
            (Some(_), _) => 12,
            (None, true) => 4,
            (None, false) => 0,
        };
        let mss = if self.mss.is_some() { 4 } else { 0 };
        mss + stamps + if self.window_scale.is_some() { 4 } else { 0 }
    }

    /// How many SACK blocks there is room for.
    const fn sack_blocks_sent(&self) -> usize {
        // At most 20 bytes are taken before, so this can't wrap.
        let room = (MAX_LEN - self.len_without_sack() - 4) / 8;
        if (self.sack.count as usize) < room { self.sack.count as usize } else { room }
    }
}

impl Timestamps {
    #[inline]
    const fn read(data: &[u8; 8]) -> Self {
        let [v0, v1, v2, v3, e0, e1, e2, e3] = *data;
        Self {
            value: u32::from_be_bytes([v0, v1, v2, v3]),
            echo: u32::from_be_bytes([e0, e1, e2, e3]),
        }
    }
}

/// Writes four bytes; what is left comes back.
#[inline]
fn put(bytes: &mut [u8], word: [u8; 4]) -> &mut [u8] {
    let (place, rest) = bytes.split_at_mut(4);
    place.copy_from_slice(&word);
    rest
}

const END_OF_LIST: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const STAMPS: Option<Timestamps> = Some(Timestamps { value: 0x0102_0304, echo: 0x0506_0708 });

    fn sack(count: u32) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        for block in 0..count {
            assert!(blocks.push(SackBlock { left: block * 10, right: block * 10 + 5 }));
        }
        blocks
    }

    fn emitted(options: &Options) -> Vec<u8> {
        let mut bytes = vec![0xaa; 41];
        options.emit(&mut bytes);
        assert!(bytes[options.wire_len()..].iter().all(|byte| *byte == 0xaa));
        bytes.truncate(options.wire_len());
        bytes
    }

    #[test]
    fn a_syn_looks_like_one_of_linux() {
        let options = Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: STAMPS,
            ..Options::default()
        };
        let bytes = emitted(&options);
        let linux = [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7];
        assert_eq!(bytes, linux);
        assert_eq!(Options::parse(&bytes), options);
        let without = Options { timestamps: None, ..options };
        assert_eq!(emitted(&without), [2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7]);
    }

    #[test]
    fn sack_fills_the_room_that_is_left() {
        let options = Options { sack: sack(4), ..Options::default() };
        assert_eq!(options.wire_len(), 36);
        assert_eq!(Options::parse(&emitted(&options)), options);
        let options = Options { timestamps: STAMPS, ..options };
        assert_eq!(options.wire_len(), 40);
        assert_eq!(
            Options::parse(&emitted(&options)),
            Options { sack: sack(3), timestamps: STAMPS, ..Options::default() }
        );
        assert!(!sack(4).push(SackBlock::default()) && SackBlocks::default().is_empty());
        assert_eq!(Options::default().wire_len(), 0);
    }

    #[test]
    fn the_usual_twelve_bytes_are_read_like_any() {
        let bytes = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
        let options = Options { timestamps: STAMPS, ..Options::default() };
        assert_eq!(Options::parse(&bytes), options);
        assert_eq!(Options::parse_any(&bytes), options);
        assert_eq!(emitted(&options), bytes);
        let more = [&bytes[..], &[2, 4, 5, 0xb4]].concat();
        assert_eq!(Options::parse(&more), Options { mss: Some(1460), ..options });
    }

    #[test]
    fn what_is_unknown_or_has_another_length_is_passed_over() {
        let read = |bytes: &[u8]| Options::parse(&[bytes, &[2, 4, 1, 2]].concat());
        let mss = Options { mss: Some(0x102), ..Options::default() };
        for odd in [
            &[30, 3, 9][..],
            &[2, 3, 1],
            &[2, 4, 0, 0],
            &[3, 2],
            &[4, 3, 1],
            &[5, 2],
            &[5, 9, 1, 2, 3, 4, 5, 6, 7],
            &[8, 9, 1, 2, 3, 4, 5, 6, 7],
            &[34, 2],
        ] {
            assert_eq!(read(odd), mss, "{odd:?}");
        }
        assert_eq!(read(&[2, 4, 9, 9]), mss, "the last one counts");
        assert_eq!(Options::parse(&[3, 3, 255]).window_scale, Some(14));
    }

    #[test]
    fn what_overruns_ends_the_list() {
        for end in [&[0][..], &[2], &[2, 0, 1, 2], &[2, 1, 1, 2], &[2, 5, 1, 2], &[8, 255], &[255]]
        {
            let options = Options::parse(&[&[3, 3, 7], end].concat());
            let expected = Options { window_scale: Some(7), ..Options::default() };
            assert_eq!(options, expected, "{end:?}");
        }
        let behind = Options::parse(&[0, 2, 4, 5, 0xb4]);
        assert_eq!(behind, Options::default(), "nothing behind the end is read");
    }
}
