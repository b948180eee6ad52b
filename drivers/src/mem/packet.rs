//! Packets: one to 18 frames, and the token for one frame.
//!
//! ```text
//!  frame   |<-- head: headroom -->|<-------- len -------->|<-- tailroom -->|
//!          0                      headers … payload                        frame_size
//!                    push ◀───────┤├───────▶ pull
//! ```

use std::num::NonZeroU64;

use super::region::FRAME_INDEX_BITS;

/// The token of one frame: whoever holds it owns the frame's bytes.
///
/// It moves and is never copied. It has no drop glue, so that a burst of them costs nothing: give
/// it back to the [`Pool`](super::Pool) it came from. One that is dropped is a frame lost until
/// the region goes; [`Pool::census`](super::Pool::census) shows it.
///
/// ```text
///  63      48 47      32 31        20 19         0
///  | length  | head     | region     | index      |
/// ```
///
/// One word and not four fields: it travels in a register, and moving it after a change of its
/// length does not wait for the smaller store to reach the cache (a failed store forwarding costs
/// more than reading a header).
#[derive(Eq, PartialEq)]
#[repr(transparent)]
#[must_use = "a frame that is dropped is lost until its region goes; give it back to its pool"]
pub struct Frame(NonZeroU64);

const _: () = assert!(size_of::<Frame>() == 8);
const _: () = assert!(size_of::<Option<Frame>>() == 8);

const HEAD: u32 = 32;
const LENGTH: u32 = 48;

impl Frame {
    /// The token of `key`, region and index. Regions are numbered from 1, so no key is 0.
    #[inline]
    pub(super) const fn new(key: u32, head: u16, len: u16) -> Self {
        let word = key as u64 | (head as u64) << HEAD | (len as u64) << LENGTH;
        match NonZeroU64::new(word) {
            Some(word) => Self(word),
            // A key that somebody made up: it opens no region.
            None => Self(NonZeroU64::MIN),
        }
    }

    /// The frame's place in its region.
    #[inline]
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.key() & ((1 << FRAME_INDEX_BITS) - 1)
    }

    /// Bytes before the data: room for headers.
    #[inline]
    #[must_use]
    pub const fn head(&self) -> u16 {
        (self.0.get() >> HEAD) as u16
    }

    /// Bytes of data.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> u16 {
        (self.0.get() >> LENGTH) as u16
    }

    /// Whether there are no data.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Describes `len` bytes that start `head` bytes into the frame. What lies outside of the
    /// frame is caught where the bytes are asked for.
    #[inline]
    pub const fn set_range(&mut self, head: u16, len: u16) {
        *self = Self::new(self.key(), head, len);
    }

    /// Gives up the first `count` bytes; false, and no change, when there are fewer.
    #[inline]
    pub const fn pull(&mut self, count: u16) -> bool {
        if count > self.len() {
            return false;
        }
        // Together at most the frame's size: no carry leaves the head.
        self.set_range(self.head().wrapping_add(count), self.len() - count);
        true
    }

    /// Grows by `count` bytes into the headroom; false, and no change, when there is less.
    #[inline]
    pub const fn push(&mut self, count: u16) -> bool {
        if count > self.head() {
            return false;
        }
        self.set_range(self.head() - count, self.len().wrapping_add(count));
        true
    }

    /// Grows by `count` bytes at the end. What lies outside of the frame is caught where the bytes
    /// are asked for.
    #[inline]
    pub const fn grow(&mut self, count: u16) {
        self.set_range(self.head(), self.len().saturating_add(count));
    }

    /// Gives up all but the first `len` bytes; no change when there are no more than that.
    #[inline]
    pub const fn truncate(&mut self, len: u16) {
        if len < self.len() {
            self.set_range(self.head(), len);
        }
    }

    #[inline]
    pub(super) const fn region(&self) -> u32 {
        self.key() >> FRAME_INDEX_BITS
    }

    #[inline]
    pub(super) const fn key(&self) -> u32 {
        self.0.get() as u32
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (index, head, len) = (self.index(), self.head(), self.len());
        write!(f, "Frame({index} of region {}: {len} B at {head})", self.region())
    }
}

/// One packet: 1 to 18 frames, headers in the first.
///
/// The first frame stands here; the others are chained in the pool's table. Like a [`Frame`] it
/// has no drop glue, and it travels in two registers.
#[derive(Eq, PartialEq)]
#[must_use = "a packet that is dropped loses its frames until the region goes; free it"]
pub struct Packet {
    first: Frame,
    /// Bytes of all frames (32 bits), frames (16), whether they are kept (1).
    about: u64,
}

const _: () = assert!(size_of::<Packet>() == 16);

const FRAMES: u32 = 32;
const KEPT: u64 = 1 << 48;

impl Packet {
    /// The packet of these frames: `total` bytes in `frames` of them.
    #[inline]
    pub(super) const fn new(first: Frame, total: u32, frames: u16, kept: bool) -> Self {
        let kept = if kept { KEPT } else { 0 };
        Self { first, about: total as u64 | (frames as u64) << FRAMES | kept }
    }

    /// The first frame, bytes, frames, whether they are kept.
    #[inline]
    pub(super) const fn into_parts(self) -> (Frame, u32, u16, bool) {
        let (total, frames, kept) = (self.about as u32, self.frames(), self.is_kept());
        (self.first, total, frames, kept)
    }

    /// The first frame, to change; its length must then be told by [`set`](Self::set).
    #[inline]
    pub(super) const fn first_mut(&mut self) -> &mut Frame {
        &mut self.first
    }

    /// Says anew how many bytes and frames there are.
    #[inline]
    pub(super) const fn set(&mut self, total: u32, frames: u16) {
        self.about = total as u64 | (frames as u64) << FRAMES | self.about & KEPT;
    }

    #[inline]
    pub(super) const fn frames(&self) -> u16 {
        (self.about >> FRAMES) as u16
    }

    /// Bytes of the packet, over all its frames.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.about as u32 as usize
    }

    /// Whether there are no bytes.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many frames the packet has.
    #[inline]
    #[must_use]
    pub const fn frame_count(&self) -> usize {
        self.frames() as usize
    }

    /// Whether all bytes are in the first frame.
    #[inline]
    #[must_use]
    pub const fn is_linear(&self) -> bool {
        self.frames() == 1
    }

    /// The first frame, to look at.
    #[inline]
    pub const fn first(&self) -> &Frame {
        &self.first
    }

    /// Bytes before the first frame's data.
    #[inline]
    #[must_use]
    pub const fn headroom(&self) -> usize {
        self.first.head() as usize
    }

    /// Gives up the first `count` bytes; false, and no change, when the first frame has fewer.
    #[inline]
    pub const fn pull(&mut self, count: u16) -> bool {
        let pulled = self.first.pull(count);
        if pulled {
            self.about -= count as u64;
        }
        pulled
    }

    /// Describes the `len` bytes behind the first `skip` ones of a packet of one frame; false, and
    /// no change, when it has fewer, or more frames.
    #[inline]
    pub const fn narrow(&mut self, skip: u16, len: u16) -> bool {
        if !self.is_linear() || skip as usize + len as usize > self.len() {
            return false;
        }
        self.first.set_range(self.first.head() + skip, len);
        self.set(len as u32, 1);
        true
    }

    /// Grows by `count` bytes into the headroom; false, and no change, when there is less.
    #[inline]
    pub const fn push(&mut self, count: u16) -> bool {
        let pushed = self.first.push(count);
        if pushed {
            self.about += count as u64;
        }
        pushed
    }

    /// Grows a packet of one frame by `count` bytes at the end; no change when it has more. What
    /// lies outside of the frame is caught where the bytes are asked for.
    #[inline]
    pub const fn grow(&mut self, count: u16) {
        if self.is_linear() {
            self.first.grow(count);
            self.set(self.first.len() as u32, 1);
        }
    }

    /// Says that the frames are still needed when they are sent: they come back from
    /// [`Pool::next_kept`](super::Pool::next_kept) instead of becoming free.
    #[inline]
    pub const fn keep(&mut self) {
        self.about |= KEPT;
    }

    /// Whether the frames are still needed when they are sent.
    #[inline]
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.about & KEPT != 0
    }

    /// The frame of a packet that has only one, or the packet back.
    ///
    /// # Errors
    /// The packet, when it has more frames.
    #[inline]
    pub const fn into_frame(self) -> Result<Frame, Self> {
        if self.is_linear() { Ok(self.first) } else { Err(self) }
    }
}

impl From<Frame> for Packet {
    #[inline]
    fn from(first: Frame) -> Self {
        let total = u32::from(first.len());
        Self::new(first, total, 1, false)
    }
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (len, frames) = (self.len(), self.frames());
        write!(f, "Packet({len} B in {frames} frames from {:?})", self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_and_push_stay_inside() {
        let mut frame = Frame::new(1 << 20, 10, 4);
        assert!(!frame.pull(5) && !frame.push(11));
        assert!(frame.push(10) && frame.pull(14));
        assert_eq!((frame.head(), frame.len()), (14, 0));
        frame.set_range(14, 8);
        frame.truncate(9);
        assert_eq!(frame.len(), 8);
        frame.truncate(2);
        assert_eq!(frame.len(), 2);
    }

    #[test]
    fn a_packet_counts_all_bytes() {
        let mut packet = Packet::from(Frame::new(3, 64, 20));
        assert!(packet.push(14) && packet.pull(4));
        assert_eq!((packet.len(), packet.headroom(), packet.is_linear()), (30, 54, true));
        assert!(!packet.pull(31));
        assert_eq!(packet.len(), 30);
    }
}
