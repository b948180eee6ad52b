//! Packets: one to 18 frames, and the token for one frame.
//!
//! ```text
//!  frame   |<-- head: headroom -->|<-------- len -------->|<-- tailroom -->|
//!          0                      headers … payload                        frame_size
//!                    push ◀───────┤├───────▶ pull
//! ```

use super::region::FRAME_INDEX_BITS;

/// The token of one frame: whoever holds it owns the frame's bytes.
///
/// It moves and is never copied. It has no drop glue, so that a burst of them costs nothing: give
/// it back to the [`Pool`](super::Pool) it came from. One that is dropped is a frame lost until
/// the region goes; [`Pool::census`](super::Pool::census) shows it.
#[derive(Debug, Eq, PartialEq)]
#[must_use = "a frame that is dropped is lost until its region goes; give it back to its pool"]
pub struct Frame {
    /// Region in the upper 12 bits, index in the lower 20.
    key: u32,
    head: u16,
    len: u16,
}

const _: () = assert!(size_of::<Frame>() == 8);

impl Frame {
    pub(super) const fn new(key: u32, head: u16, len: u16) -> Self {
        Self { key, head, len }
    }

    /// The frame's place in its region.
    #[inline]
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.key & ((1 << FRAME_INDEX_BITS) - 1)
    }

    /// Bytes before the data: room for headers.
    #[inline]
    #[must_use]
    pub const fn head(&self) -> u16 {
        self.head
    }

    /// Bytes of data.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> u16 {
        self.len
    }

    /// Whether there are no data.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Describes `len` bytes that start `head` bytes into the frame. What lies outside of the
    /// frame is caught where the bytes are asked for.
    #[inline]
    pub const fn set_range(&mut self, head: u16, len: u16) {
        self.head = head;
        self.len = len;
    }

    /// Gives up the first `count` bytes; false, and no change, when there are fewer.
    #[inline]
    pub const fn pull(&mut self, count: u16) -> bool {
        if count > self.len {
            return false;
        }
        self.head += count;
        self.len -= count;
        true
    }

    /// Grows by `count` bytes into the headroom; false, and no change, when there is less.
    #[inline]
    pub const fn push(&mut self, count: u16) -> bool {
        if count > self.head {
            return false;
        }
        self.head -= count;
        self.len += count;
        true
    }

    /// Grows by `count` bytes at the end. What lies outside of the frame is caught where the bytes
    /// are asked for.
    #[inline]
    pub const fn grow(&mut self, count: u16) {
        self.len = self.len.saturating_add(count);
    }

    /// Gives up all but the first `len` bytes; no change when there are no more than that.
    #[inline]
    pub const fn truncate(&mut self, len: u16) {
        if len < self.len {
            self.len = len;
        }
    }

    #[inline]
    pub(super) const fn region(&self) -> u32 {
        self.key >> FRAME_INDEX_BITS
    }

    #[inline]
    pub(super) const fn key(&self) -> u32 {
        self.key
    }
}

/// One packet: 1 to 18 frames, headers in the first.
///
/// The first frame stands here; the others are chained in the pool's table. Like a [`Frame`] it
/// has no drop glue.
#[derive(Debug, Eq, PartialEq)]
#[must_use = "a packet that is dropped loses its frames until the region goes; free it"]
pub struct Packet {
    pub(super) first: Frame,
    /// Bytes of all frames.
    pub(super) total: u32,
    /// Frames, the first included.
    pub(super) frames: u16,
    /// Whether the frames are still needed when they are sent.
    pub(super) kept: bool,
}

const _: () = assert!(size_of::<Packet>() == 16);

impl Packet {
    /// Bytes of the packet, over all its frames.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.total as usize
    }

    /// Whether there are no bytes.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// How many frames the packet has.
    #[inline]
    #[must_use]
    pub const fn frame_count(&self) -> usize {
        self.frames as usize
    }

    /// Whether all bytes are in the first frame.
    #[inline]
    #[must_use]
    pub const fn is_linear(&self) -> bool {
        self.frames == 1
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
        self.first.head as usize
    }

    /// Gives up the first `count` bytes; false, and no change, when the first frame has fewer.
    #[inline]
    pub const fn pull(&mut self, count: u16) -> bool {
        let pulled = self.first.pull(count);
        if pulled {
            self.total -= count as u32;
        }
        pulled
    }

    /// Describes the `len` bytes behind the first `skip` ones of a packet of one frame; false, and
    /// no change, when it has fewer, or more frames.
    #[inline]
    pub const fn narrow(&mut self, skip: u16, len: u16) -> bool {
        if self.frames != 1 || skip as u32 + len as u32 > self.total {
            return false;
        }
        self.first.head += skip;
        self.first.len = len;
        self.total = len as u32;
        true
    }

    /// Grows by `count` bytes into the headroom; false, and no change, when there is less.
    #[inline]
    pub const fn push(&mut self, count: u16) -> bool {
        let pushed = self.first.push(count);
        if pushed {
            self.total += count as u32;
        }
        pushed
    }

    /// Grows a packet of one frame by `count` bytes at the end; no change when it has more. What
    /// lies outside of the frame is caught where the bytes are asked for.
    #[inline]
    pub const fn grow(&mut self, count: u16) {
        if self.frames == 1 {
            self.first.grow(count);
            self.total = self.first.len as u32;
        }
    }

    /// Says that the frames are still needed when they are sent: they come back from
    /// [`Pool::next_kept`](super::Pool::next_kept) instead of becoming free.
    #[inline]
    pub const fn keep(&mut self) {
        self.kept = true;
    }

    /// Whether the frames are still needed when they are sent.
    #[inline]
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.kept
    }

    /// The frame of a packet that has only one, or the packet back.
    ///
    /// # Errors
    /// The packet, when it has more frames.
    #[inline]
    pub const fn into_frame(self) -> Result<Frame, Self> {
        if self.frames == 1 { Ok(self.first) } else { Err(self) }
    }
}

impl From<Frame> for Packet {
    #[inline]
    fn from(first: Frame) -> Self {
        Self { total: u32::from(first.len), frames: 1, kept: false, first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_and_push_stay_inside() {
        let mut frame = Frame::new(0, 10, 4);
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
