//! A core's frames.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::state::advance;
use super::{Frame, FrameState, Loan, LoanError, Packet, Region, Returned, StateViolation};
use crate::env::DropReason;
use crate::env::limits::{HEADROOM, MAX_PACKET_FRAMES};

/// A core's frames: a LIFO of the free ones, the state of all, and the chains of packets.
///
/// Last in, first out: the frame that was freed last is the one whose bytes are still in the
/// cache.
#[derive(Debug)]
pub struct Pool {
    region: Arc<Region>,
    free: Vec<u32>,
    /// What follows a frame in its packet; meaningful only where the packet says so.
    links: Box<[Link]>,
    /// To which context a loaned frame is lent.
    lent_to: Box<[u16]>,
    /// Frames whose transmission is done and whose data are still needed.
    kept: Vec<u32>,
}

#[derive(Copy, Clone, Debug, Default)]
struct Link {
    index: u32,
    head: u16,
    len: u16,
}

/// How many frames are in each state.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Census {
    counts: [u32; FrameState::ALL.len()],
}

impl Census {
    /// How many frames are in `state`.
    #[must_use]
    pub const fn count(&self, state: FrameState) -> u32 {
        self.counts[state as usize]
    }

    /// Frames in all states together; it is the region's count, or memory was overwritten.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.counts.iter().sum()
    }
}

impl Pool {
    /// The pool of `region`, with every frame free.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when the region has a pool: two would hand out each frame
    /// twice.
    pub fn new(region: Arc<Region>) -> io::Result<Self> {
        if !region.claim_pool() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "this region has its pool; make another region",
            ));
        }
        let count = region.frame_count() as usize;
        Ok(Self {
            free: (0..region.frame_count()).rev().collect(),
            links: vec![Link::default(); count].into(),
            lent_to: vec![0; count].into(),
            kept: Vec::with_capacity(count),
            region,
        })
    }

    /// The region whose frames these are.
    #[must_use]
    pub const fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Free frames.
    #[inline]
    #[must_use]
    pub const fn free_count(&self) -> usize {
        self.free.len()
    }

    /// A free frame, empty, with [`HEADROOM`] before its data: free → held.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        let index = self.free.pop()?;
        self.set(index, FrameState::Held);
        Some(self.region.token(index, HEADROOM, 0))
    }

    /// Takes a frame back: received or held → free.
    ///
    /// # Panics
    /// When the frame is another region's.
    #[inline]
    pub fn give(&mut self, frame: Frame) {
        assert!(self.region.owns(&frame), "a frame of another region");
        self.set(frame.index(), FrameState::Free);
        self.free.push(frame.index());
    }

    /// Takes a packet back, all its frames.
    ///
    /// # Panics
    /// When the packet is another region's.
    #[inline]
    pub fn free(&mut self, packet: Packet) {
        let mut rest = Some(packet);
        while let Some(packet) = rest {
            let (frame, others) = self.detach(packet);
            self.give(frame);
            rest = others;
        }
    }

    /// The bytes of the packet's first frame.
    ///
    /// # Panics
    /// When the packet is another region's.
    #[inline]
    #[must_use]
    pub fn bytes<'a>(&'a self, packet: &'a Packet) -> &'a [u8] {
        self.region.bytes(packet.first())
    }

    /// The bytes of the packet's first frame, to write.
    ///
    /// # Panics
    /// When the packet is another region's.
    #[inline]
    #[must_use]
    pub fn bytes_mut<'a>(&'a self, packet: &'a mut Packet) -> &'a mut [u8] {
        self.region.bytes_mut(packet.first_mut())
    }

    /// The packet's bytes, frame by frame.
    #[inline]
    pub fn segments<'a>(&'a self, packet: &'a Packet) -> Segments<'a> {
        assert!(self.region.owns(packet.first()), "a packet of another region");
        Segments { pool: self, packet, next: packet.first().index(), left: packet.frames() }
    }

    /// Chains `frame` behind the packet's last frame.
    ///
    /// # Errors
    /// The frame, when the packet has [`MAX_PACKET_FRAMES`] already.
    ///
    /// # Panics
    /// When one of them is another region's.
    pub fn append(&mut self, packet: &mut Packet, frame: Frame) -> Result<(), Frame> {
        assert!(self.region.owns(packet.first()), "a packet of another region");
        assert!(self.region.owns(&frame), "a frame of another region");
        if packet.frame_count() >= MAX_PACKET_FRAMES {
            return Err(frame);
        }
        let mut last = packet.first().index() as usize;
        for _ in 1..packet.frames() {
            last = self.links[last].index as usize;
        }
        self.links[last] = Link { index: frame.index(), head: frame.head(), len: frame.len() };
        packet.set(packet.len() as u32 + u32::from(frame.len()), packet.frames() + 1);
        Ok(())
    }

    /// The packet's first frame, and what is left of the packet.
    ///
    /// # Panics
    /// When the packet is another region's.
    #[inline]
    pub fn detach(&mut self, packet: Packet) -> (Frame, Option<Packet>) {
        let (first, total, frames, kept) = packet.into_parts();
        if frames == 1 {
            return (first, None);
        }
        assert!(self.region.owns(&first), "a packet of another region");
        let Link { index, head, len } = self.links[first.index() as usize];
        let second = self.region.token(index, head, len);
        let total = total.saturating_sub(u32::from(first.len()));
        (first, Some(Packet::new(second, total, frames - 1, kept)))
    }

    /// Makes the packet's first `count` bytes linear, by moving bytes from later frames into the
    /// first one.
    ///
    /// # Errors
    /// [`DropReason::IpMalformed`] when the packet is shorter than that,
    /// [`DropReason::NoFrame`] when the first frame has no room.
    pub fn pull_up(&mut self, packet: &mut Packet, count: usize) -> Result<(), DropReason> {
        assert!(self.region.owns(packet.first()), "a packet of another region");
        if usize::from(packet.first().len()) >= count {
            return Ok(());
        }
        if packet.len() < count {
            return Err(DropReason::IpMalformed);
        }
        if packet.headroom() + count > self.region.frame_size() {
            return Err(DropReason::NoFrame);
        }
        while usize::from(packet.first().len()) < count {
            let first = packet.first().index() as usize;
            let Link { index, head, len } = self.links[first];
            let source = self.region.token(index, head, len);
            let end = usize::from(packet.first().len());
            // Both fit in u16: a frame is at most 4,096 bytes.
            let moved = (count - end).min(usize::from(len)) as u16;
            packet.first_mut().grow(moved);
            let piece = &self.region.bytes(&source)[..usize::from(moved)];
            self.region.bytes_mut(packet.first_mut())[end..].copy_from_slice(piece);
            if moved == len {
                self.links[first] = self.links[index as usize];
                packet.set(packet.len() as u32, packet.frames() - 1);
                self.give(source);
            } else {
                self.links[first] = Link { index, head: head + moved, len: len - moved };
            }
        }
        Ok(())
    }

    /// Cuts the packet to its first `len` bytes and frees frames that have none left. No change
    /// when it is no longer than that.
    ///
    /// # Panics
    /// When the packet is another region's.
    pub fn truncate(&mut self, packet: &mut Packet, len: usize) {
        assert!(self.region.owns(packet.first()), "a packet of another region");
        if len >= packet.len() {
            return;
        }
        let mut left = len as u32;
        packet.first_mut().truncate(left.min(u32::from(u16::MAX)) as u16);
        left -= u32::from(packet.first().len());
        let (mut at, frames) = (packet.first().index() as usize, packet.frames());
        for kept in 1..frames {
            if left == 0 {
                let Link { index, head, len } = self.links[at];
                let rest = self.region.token(index, head, len);
                packet.set(0, kept);
                self.free(Packet::new(rest, 0, frames - kept, false));
                break;
            }
            let link = &mut self.links[at];
            link.len = left.min(u32::from(link.len)) as u16;
            left -= u32::from(link.len);
            at = link.index as usize;
        }
        packet.set(len as u32, packet.frames());
    }

    /// The packet's token for one frame more: a copy of all its bytes in one frame of this pool.
    ///
    /// # Errors
    /// [`DropReason::NoFrame`] when no frame is free or the bytes do not fit in one.
    pub fn linear_copy(&mut self, packet: &Packet) -> Result<Packet, DropReason> {
        let room = self.region.frame_size() - usize::from(HEADROOM);
        if packet.len() > room {
            return Err(DropReason::NoFrame);
        }
        let mut frame = self.take().ok_or(DropReason::NoFrame)?;
        frame.set_range(HEADROOM, packet.len() as u16);
        let mut rest = self.region.bytes_mut(&mut frame);
        for segment in self.segments(packet) {
            let (here, after) = rest.split_at_mut(segment.len());
            here.copy_from_slice(segment);
            rest = after;
        }
        Ok(frame.into())
    }

    /// A free frame's index for the fill ring, without a token in between: free → fill.
    #[inline]
    pub(crate) fn take_to_fill(&mut self) -> Option<u32> {
        let index = self.free.pop()?;
        self.set(index, FrameState::Fill);
        Some(index)
    }

    /// A device says that it filled frame `index` with `len` bytes at `head`: fill → received.
    ///
    /// # Errors
    /// When the device did not have that frame: a duplicate, or never given. Count it and go on.
    #[inline]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "only the owning core moves frames")]
    pub(crate) fn received(
        &mut self,
        index: u32,
        head: u16,
        len: u16,
    ) -> Result<Frame, StateViolation> {
        advance(self.region.states(), index, FrameState::Fill, FrameState::Received)?;
        Ok(self.region.token(index, head, len))
    }

    /// A device gives back a frame that it did not fill: fill → free.
    ///
    /// # Errors
    /// When the device did not have that frame.
    pub(crate) fn unfilled(&mut self, index: u32) -> Result<(), StateViolation> {
        advance(self.region.states(), index, FrameState::Fill, FrameState::Free)?;
        self.free.push(index);
        Ok(())
    }

    /// Gives a frame to a device to be sent: → transmitting. Returns its index; the frame is free
    /// again at [`completed`](Self::completed), or comes from [`next_kept`](Self::next_kept) when
    /// it is `kept`.
    ///
    /// # Panics
    /// When the frame is another region's.
    #[inline]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "only the owning core moves frames")]
    pub(crate) fn transmit(&mut self, frame: Frame, kept: bool) -> u32 {
        assert!(self.region.owns(&frame), "a frame of another region");
        let state = if kept { FrameState::TransmittingKept } else { FrameState::Transmitting };
        self.set(frame.index(), state);
        frame.index()
    }

    /// Takes back a frame whose token the device kept while it sent it: a device in memory, which
    /// reads the bytes itself. → free, or held when it is `kept`.
    ///
    /// # Panics
    /// When the frame is another region's.
    #[inline]
    pub fn sent(&mut self, frame: Frame, kept: bool) {
        if kept {
            assert!(self.region.owns(&frame), "a frame of another region");
            self.set(frame.index(), FrameState::Held);
            self.kept.push(frame.index());
        } else {
            self.give(frame);
        }
    }

    /// A device says that it has sent frame `index`: transmitting → free, or kept → held.
    ///
    /// # Errors
    /// When the device did not have that frame. Count it and go on.
    #[inline]
    pub(crate) fn completed(&mut self, index: u32) -> Result<(), StateViolation> {
        let states = self.region.states();
        match advance(states, index, FrameState::Transmitting, FrameState::Free) {
            Ok(()) => self.free.push(index),
            Err(error) if error.found == Some(FrameState::TransmittingKept) => {
                advance(states, index, FrameState::TransmittingKept, FrameState::Held)?;
                self.kept.push(index);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A frame whose transmission is done and whose data were to be kept. It describes no bytes:
    /// who kept it knows which.
    pub fn next_kept(&mut self) -> Option<Frame> {
        self.kept.pop().map(|index| self.region.token(index, 0, 0))
    }

    /// Lends a frame to context `context`: → loaned.
    ///
    /// # Panics
    /// When the frame is another region's.
    #[inline]
    pub fn loan(&mut self, frame: Frame, context: u16) -> Loan {
        assert!(self.region.owns(&frame), "a frame of another region");
        self.set(frame.index(), FrameState::Loaned);
        self.lent_to[frame.index() as usize] = context;
        Loan::new(frame)
    }

    /// Context `context` says that it gives back a frame, with some bytes in it: loaned → held.
    /// Every number is checked.
    ///
    /// # Errors
    /// When the frame is not on loan to that context or does not hold those bytes: the context
    /// can't be trusted.
    #[inline]
    pub fn unloan(&mut self, returned: Returned, context: u16) -> Result<Frame, LoanError> {
        let Returned { key, offset, length } = returned;
        let frame = Frame::new(key, offset, length);
        if !self.region.owns(&frame) {
            return Err(LoanError::OtherRegion { key });
        }
        let index = frame.index();
        if usize::from(offset) + usize::from(length) > self.region.frame_size() {
            return Err(LoanError::OutOfFrame { index, offset, length });
        }
        if let Some(&lent_to) = self.lent_to.get(index as usize)
            && lent_to != context
            && self.state(index) == Some(FrameState::Loaned)
        {
            return Err(LoanError::OtherContext { index, lent_to });
        }
        advance(self.region.states(), index, FrameState::Loaned, FrameState::Held)
            .map_err(LoanError::NotLoaned)?;
        Ok(frame)
    }

    /// Where frame `index` is; `None` when there is no such frame.
    #[must_use]
    pub fn state(&self, index: u32) -> Option<FrameState> {
        self.region
            .states()
            .get(index as usize)
            .and_then(|b| FrameState::from_byte(b.load(Relaxed)))
    }

    /// Counts the frames in each state, by the table.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for byte in self.region.states() {
            if let Some(count) = census.counts.get_mut(usize::from(byte.load(Relaxed))) {
                *count += 1;
            }
        }
        census
    }

    /// Whether every frame came home: none is with a device, an application or a queue, and no
    /// token was dropped.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_conserved() && self.free.len() == self.region.frame_count() as usize
    }

    /// Whether the table and the free list agree: no frame was freed twice, and none is free and
    /// elsewhere. A token that was dropped it does not see: [`is_whole`](Self::is_whole) does, once
    /// nobody should have any.
    #[must_use]
    pub fn is_conserved(&self) -> bool {
        let census = self.census();
        census.total() == self.region.frame_count()
            && census.count(FrameState::Free) as usize == self.free.len()
    }

    /// The holder of a token moves the frame: no check is needed, the token is the proof.
    #[inline]
    fn set(&self, index: u32, state: FrameState) {
        self.region.states()[index as usize].store(state as u8, Relaxed);
    }
}

/// The bytes of a packet, frame by frame.
#[derive(Debug)]
pub struct Segments<'a> {
    pool: &'a Pool,
    packet: &'a Packet,
    next: u32,
    left: u16,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        if self.left + 1 == self.packet.frames() {
            return Some(self.pool.bytes(self.packet));
        }
        let Link { index, head, len } = self.pool.links[self.next as usize];
        self.next = index;
        // The packet is borrowed for 'a, and with it every frame that is chained to it.
        Some(self.pool.region.chained(index, head, len, self.packet))
    }
}

#[cfg(test)]
mod tests;
