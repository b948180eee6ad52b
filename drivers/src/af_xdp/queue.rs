//! Four rings and a pool: packets in, packets out, and every frame accounted for.
//!
//! No system call stands here, so a test can play the kernel on the other end of the rings.

use super::rings::{Consumer, Descriptor, Entries, Producer};
use crate::device::{Burst, DeviceCounts};
use crate::env::limits::{MAX_PACKET_FRAMES, RESERVE};
use crate::mem::{Frame, FrameState, Packet, Pool, Region};

/// Free slots of the fill ring that are worth a refill. Each refill writes a cache line that the
/// kernel reads, perhaps on another core: fewer, and it bounces for every packet; more, and the
/// kernel finds the ring emptier than it need be.
const REFILL_BATCH: u32 = 32;

/// The shortest frame that the kernel takes (net/xdp/xsk.c: ETH_HLEN).
const ETHERNET_HEADER: usize = 14;

/// The four rings of one queue.
#[derive(Debug)]
pub(super) struct Rings {
    pub(super) fill: Producer,
    pub(super) rx: Consumer,
    pub(super) tx: Producer,
    pub(super) completion: Consumer,
}

/// What bounds packets of this queue.
#[derive(Copy, Clone, Debug)]
pub(super) struct Limits {
    /// Frames to keep in the fill ring.
    pub(super) fill_target: u32,
    /// The longest frame to be sent, Ethernet header included.
    pub(super) tx_bytes_max: usize,
    /// Frames in one packet to be sent.
    pub(super) tx_frames_max: usize,
}

/// One queue's rings, and the books about the frames that the kernel has from us.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) rings: Rings,
    pub(super) books: Books,
}

/// What is known about the frames of a queue, and what it has counted.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) counts: DeviceCounts,
    limits: Limits,
    /// log2 of the frame size: an address's frame.
    frame_shift: u32,
    frame_size: u32,
    lent: Lent,
    /// Frames in the fill ring or being filled.
    filling: u32,
    /// A packet of several buffers whose last has not come yet.
    partial: Option<Packet>,
    /// The rest of a packet that was refused is still to come.
    refusing: bool,
}

impl Queue {
    pub(super) fn new(rings: Rings, region: &Region, limits: Limits) -> Self {
        let books = Books {
            counts: DeviceCounts::default(),
            limits,
            frame_shift: region.frame_size().trailing_zeros(),
            frame_size: region.frame_size() as u32,
            lent: Lent(vec![0; region.frame_count().div_ceil(64) as usize]),
            filling: 0,
            partial: None,
            refusing: false,
        };
        Self { rings, books }
    }

    /// Moves received packets to `burst`; how many.
    #[inline]
    pub(super) fn receive(&mut self, pool: &mut Pool, burst: &mut Burst) -> usize {
        let Self { rings, books } = self;
        let available = rings.rx.available();
        if available == 0 {
            return 0;
        }
        let before = burst.len();
        let (entries, first) = rings.rx.slots();
        let mut read = 0;
        while read < available && burst.room() > 0 {
            let descriptor = entries.descriptor(first.wrapping_add(read));
            read += 1;
            if let Some(packet) = books.assemble(pool, descriptor) {
                books.counts.rx_packets += 1;
                books.counts.rx_bytes += packet.len() as u64;
                if let Err(packet) = burst.push(packet) {
                    pool.free(packet);
                }
            }
        }
        rings.rx.release(read);
        burst.len() - before
    }

    /// Gives the kernel free frames to fill, up to the target, but never the pool's last ones.
    #[inline]
    pub(super) fn refill(&mut self, pool: &mut Pool) {
        let target = self.books.limits.fill_target;
        let missing = target.saturating_sub(self.books.filling);
        if missing > 0 && missing >= REFILL_BATCH.min(target) {
            self.refill_now(pool, missing);
        }
    }

    /// Sends packets from the front of `burst`, as many as fit; how many were taken.
    #[inline]
    pub(super) fn transmit(&mut self, pool: &mut Pool, burst: &mut Burst) -> usize {
        let Self { rings, books } = self;
        let frames: usize = burst.as_slice().iter().map(Packet::frame_count).sum();
        let mut room = rings.tx.room(frames as u32) as usize;
        let fits = |packet: &&Packet| {
            let count = packet.frame_count();
            let fits = count <= room;
            room = room.saturating_sub(count);
            fits
        };
        let taken = burst.as_slice().iter().take_while(fits).count();
        let (entries, first) = rings.tx.slots();
        let mut next = first;
        for packet in burst.take_front(taken) {
            if books.is_sendable(pool, &packet) {
                books.counts.tx_packets += 1;
                books.counts.tx_bytes += packet.len() as u64;
                next = books.write(pool, packet, entries, next);
            } else {
                books.counts.tx_dropped += 1;
                pool.free(packet);
            }
        }
        if next != first {
            rings.tx.publish(next.wrapping_sub(first));
        }
        taken
    }

    /// Returns sent frames to the pool; how many.
    #[inline]
    pub(super) fn complete(&mut self, pool: &mut Pool) -> usize {
        let Self { rings, books } = self;
        let available = rings.completion.available();
        if available == 0 {
            return 0;
        }
        let (entries, first) = rings.completion.slots();
        let mut returned = 0;
        for entry in 0..available {
            // The kernel returns the exact address, offset included, and even those of
            // descriptors that it found invalid.
            let address = entries.address(first.wrapping_add(entry));
            returned += usize::from(books.complete(pool, address));
        }
        rings.completion.release(available);
        returned
    }

    /// Fills the fill ring up to its target, whatever is missing: before bind.
    pub(super) fn prime(&mut self, pool: &mut Pool) {
        self.refill_now(pool, self.books.limits.fill_target.saturating_sub(self.books.filling));
    }

    /// Lets go of the rings, which are unmapped; what the kernel had is left in the books.
    pub(super) fn close(self, pool: Option<&mut Pool>) -> (Lent, DeviceCounts) {
        if let (Some(packet), Some(pool)) = (self.books.partial, pool) {
            pool.free(packet);
        }
        (self.books.lent, self.books.counts)
    }

    #[inline(never)]
    fn refill_now(&mut self, pool: &mut Pool, missing: u32) {
        let Self { rings, books } = self;
        let room = rings.fill.room(missing).min(missing);
        let spare = pool.free_count().saturating_sub(RESERVE) as u32;
        let (entries, first) = rings.fill.slots();
        let mut written = 0;
        while written < room.min(spare) {
            let Some(index) = pool.take_to_fill() else { break };
            books.lent.insert(index);
            let address = u64::from(index) << books.frame_shift;
            entries.set_address(first.wrapping_add(written), address);
            written += 1;
        }
        if written > 0 {
            books.filling += written;
            rings.fill.publish(written);
        }
    }
}

impl Books {
    /// A whole packet, when this descriptor ends one.
    #[inline]
    fn assemble(&mut self, pool: &mut Pool, descriptor: Descriptor) -> Option<Packet> {
        let frame = self.accept(pool, descriptor);
        if self.partial.is_none() && !self.refusing && !descriptor.more {
            return frame.map(Packet::from);
        }
        self.assemble_buffers(pool, frame, descriptor.more)
    }

    /// One buffer of a packet of several. A packet with a bad buffer, or with too many, is
    /// refused whole.
    #[cold]
    fn assemble_buffers(
        &mut self,
        pool: &mut Pool,
        frame: Option<Frame>,
        more: bool,
    ) -> Option<Packet> {
        let partial = self.partial.take();
        let whole = match (frame, partial) {
            (Some(frame), None) if !self.refusing => Some(frame.into()),
            (Some(frame), Some(mut packet)) => match pool.append(&mut packet, frame) {
                Ok(()) => Some(packet),
                Err(frame) => {
                    pool.give(frame);
                    pool.free(packet);
                    self.counts.bad_descriptors += 1;
                    None
                }
            },
            (frame, partial) => {
                frame.into_iter().for_each(|frame| pool.give(frame));
                partial.into_iter().for_each(|packet| pool.free(packet));
                None
            }
        };
        self.refusing = more && whole.is_none();
        if more {
            self.partial = whole;
            return None;
        }
        whole
    }

    /// The frame that the kernel says it has filled, if it had that frame from us and the bytes
    /// lie in it.
    #[inline]
    fn accept(&mut self, pool: &mut Pool, descriptor: Descriptor) -> Option<Frame> {
        let Descriptor { address, length, .. } = descriptor;
        let head = address as u32 & (self.frame_size - 1);
        let Some(index) = self.take_back(address) else {
            self.counts.bad_descriptors += 1;
            return None;
        };
        let fits = length <= self.frame_size - head;
        // Both fit in u16: a frame has at most 4,096 bytes.
        let (head, length) = if fits { (head as u16, length as u16) } else { (0, 0) };
        match pool.received(index, head, length) {
            Ok(frame) if fits => {
                self.filling -= 1;
                pool.region().prefetch(&frame);
                Some(frame)
            }
            Ok(frame) => {
                self.filling -= 1;
                self.counts.bad_descriptors += 1;
                pool.give(frame);
                None
            }
            Err(_) => {
                // Ours, but to be sent: it stays the kernel's until it is completed.
                self.lent.insert(index);
                self.counts.bad_descriptors += 1;
                None
            }
        }
    }

    /// Whether the kernel would take the packet. One that it refuses would stop the ring for a
    /// turn, and with some faults for ever.
    #[inline]
    fn is_sendable(&self, pool: &Pool, packet: &Packet) -> bool {
        let fits = |frame: &Frame| {
            u32::from(frame.head()) + u32::from(frame.len()) <= self.frame_size && !frame.is_empty()
        };
        fits(packet.first())
            && (ETHERNET_HEADER..=self.limits.tx_bytes_max).contains(&packet.len())
            && (packet.is_linear() || self.is_sendable_chain(pool, packet))
    }

    #[cold]
    fn is_sendable_chain(&self, pool: &Pool, packet: &Packet) -> bool {
        packet.frame_count() <= self.limits.tx_frames_max.min(MAX_PACKET_FRAMES)
            && pool.segments(packet).all(|segment| !segment.is_empty())
    }

    /// Writes the packet's frames from entry `next` on; the entry behind them.
    #[inline]
    fn write(
        &mut self,
        pool: &mut Pool,
        packet: Packet,
        entries: Entries<'_>,
        mut next: u32,
    ) -> u32 {
        let kept = packet.is_kept();
        let mut rest = Some(packet);
        while let Some(packet) = rest {
            let (frame, others) = pool.detach(packet);
            let (head, length) = (u64::from(frame.head()), u32::from(frame.len()));
            let index = pool.transmit(frame, kept);
            self.lent.insert(index);
            let descriptor = Descriptor {
                address: u64::from(index) << self.frame_shift | head,
                length,
                more: others.is_some(),
            };
            entries.set_descriptor(next, descriptor);
            next = next.wrapping_add(1);
            rest = others;
        }
        next
    }

    /// The kernel says that it has sent the frame at this address; whether that came home.
    #[inline]
    fn complete(&mut self, pool: &mut Pool, address: u64) -> bool {
        let Some(index) = self.take_back(address) else {
            self.counts.bad_descriptors += 1;
            return false;
        };
        let is_ours = pool.completed(index).is_ok();
        if !is_ours {
            // Ours, but to be filled: it stays the kernel's.
            self.lent.insert(index);
            self.counts.bad_descriptors += 1;
        }
        is_ours
    }

    /// The frame at this address, if the kernel has it from us; now it has not any more.
    #[inline]
    fn take_back(&mut self, address: u64) -> Option<u32> {
        let index = u32::try_from(address >> self.frame_shift).ok()?;
        self.lent.remove(index).then_some(index)
    }
}

/// One bit a frame: the kernel has it through this queue.
///
/// The pool's table knows that a frame is with some device; this knows that it is with us. So a
/// kernel that names another queue's frame is refused, and a closed queue can take back its own.
#[derive(Debug, Default)]
pub(super) struct Lent(Vec<u64>);

impl Lent {
    #[inline]
    fn insert(&mut self, index: u32) {
        self.0[index as usize / 64] |= 1 << (index % 64);
    }

    /// Whether it was there.
    #[inline]
    fn remove(&mut self, index: u32) -> bool {
        let Some(word) = self.0.get_mut(index as usize / 64) else { return false };
        let bit = 1 << (index % 64);
        let was = *word & bit != 0;
        *word &= !bit;
        was
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Gives every frame back to the pool: only when the kernel can't touch them any more,
    /// because the socket is gone.
    pub(super) fn give_back(self, pool: &mut Pool) {
        for (word, mut bits) in (0u32..).zip(self.0) {
            while bits != 0 {
                let index = word * 64 + bits.trailing_zeros();
                bits &= bits - 1;
                // The pool refuses what is in another state; then the frame is not lost either.
                let _ = match pool.state(index) {
                    Some(FrameState::Fill) => pool.unfilled(index),
                    _ => pool.completed(index),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests;
