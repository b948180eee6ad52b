//! Ways to carry 16-byte items to another core: the driver's index rings, rtrb, lists linked
//! through the frames themselves, and the bare cache line below all of them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use corewire_drivers::ring::{self, Entry, spsc};
use crossbeam_utils::CachePadded;

/// What is carried; `frame` says which frame the item is about.
pub(crate) type Item = Entry;

/// The sending end of a lane.
pub(crate) trait Sender: Send {
    /// Sends as many as there is room for, from the front, and says how many.
    fn send(&mut self, items: &[Item]) -> usize;
}

/// The receiving end of a lane.
pub(crate) trait Receiver: Send {
    /// Receives as many as there are and `items` holds, and says how many.
    fn receive(&mut self, items: &mut [Item]) -> usize;
}

impl Sender for ring::Producer {
    #[inline]
    fn send(&mut self, items: &[Item]) -> usize {
        self.push_burst(items)
    }
}

impl Receiver for ring::Consumer {
    #[inline]
    fn receive(&mut self, items: &mut [Item]) -> usize {
        self.pop_burst(items)
    }
}

/// A lane of the driver's index rings.
pub(crate) fn index_ring() -> io::Result<(ring::Producer, ring::Consumer)> {
    spsc::pair(spsc::capacity_for(FRAMES as u32))
}

impl Sender for rtrb::Producer<Item> {
    #[inline]
    fn send(&mut self, items: &[Item]) -> usize {
        self.push_partial_slice(items).0.len()
    }
}

impl Receiver for rtrb::Consumer<Item> {
    #[inline]
    fn receive(&mut self, items: &mut [Item]) -> usize {
        self.pop_partial_slice(items).0.len()
    }
}

/// A lane of rtrb.
pub(crate) fn rtrb_ring() -> (rtrb::Producer<Item>, rtrb::Consumer<Item>) {
    rtrb::RingBuffer::new(FRAMES)
}

/// One item at a time over one cache line: what no hand-off can beat.
pub(crate) struct CacheLine {
    line: Arc<CachePadded<AtomicU64>>,
    seen: u64,
}

/// Both ends of a cache line.
pub(crate) fn cache_line() -> (CacheLine, CacheLine) {
    let line = Arc::new(CachePadded::new(AtomicU64::new(0)));
    (CacheLine { line: Arc::clone(&line), seen: 0 }, CacheLine { line, seen: 0 })
}

impl Sender for CacheLine {
    #[inline]
    fn send(&mut self, items: &[Item]) -> usize {
        self.seen += items.len() as u64;
        // Release: what the sender wrote before is there. Pairs with the Acquire below.
        self.line.store(self.seen, Ordering::Release);
        items.len()
    }
}

impl Receiver for CacheLine {
    #[inline]
    fn receive(&mut self, items: &mut [Item]) -> usize {
        // Acquire: pairs with the Release above.
        let count = self.line.load(Ordering::Acquire) - self.seen;
        let count = (count as usize).min(items.len());
        self.seen += count as u64;
        count
    }
}

/// Frames of 2 KiB, as a region has them, of which the first cache line is looked at.
pub(crate) struct Frames(Box<[FrameHead]>);

/// A frame's beginning. The alignment puts 2 KiB between two of them, as in a region.
#[repr(align(2048))]
#[derive(Default)]
struct FrameHead {
    /// The next of a list, when the frame is in one.
    next: AtomicU32,
    item: [AtomicU64; 2],
    payload: AtomicU64,
}

impl Frames {
    /// [`FRAMES`] of them.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self((0..FRAMES).map(|_| FrameHead::default()).collect()))
    }

    /// Reads and changes a frame's payload, as an application does.
    #[inline]
    pub(crate) fn touch(&self, item: &Item) {
        let payload = &self.0[item.frame as usize % FRAMES].payload;
        payload.store(payload.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// A lane that carries frames as lists, linked through the frames: the sender links a burst and
/// swaps its head in, the receiver takes everything by one swap.
pub(crate) struct FrameList {
    head: Arc<CachePadded<AtomicU32>>,
    frames: Arc<Frames>,
    /// Taken and not yet handed on: the head of a list.
    taken: u32,
}

/// Both ends of a frame list.
pub(crate) fn frame_list(frames: &Arc<Frames>) -> (FrameList, FrameList) {
    let head = Arc::new(CachePadded::new(AtomicU32::new(NONE)));
    let end = || FrameList { head: Arc::clone(&head), frames: Arc::clone(frames), taken: NONE };
    (end(), end())
}

impl Sender for FrameList {
    #[inline]
    fn send(&mut self, items: &[Item]) -> usize {
        let [first, .., last] = items else {
            return items.iter().map(|item| self.send_list(item, item, items)).sum();
        };
        self.send_list(first, last, items)
    }
}

impl FrameList {
    #[inline]
    fn send_list(&self, first: &Item, last: &Item, items: &[Item]) -> usize {
        for (index, item) in items.iter().enumerate() {
            let frame = &self.frames.0[item.frame as usize % FRAMES];
            let [low, high] = item.to_words();
            frame.item[0].store(low, Ordering::Relaxed);
            frame.item[1].store(high, Ordering::Relaxed);
            if let Some(next) = items.get(index + 1) {
                frame.next.store(next.frame, Ordering::Relaxed);
            }
        }
        let tail = &self.frames.0[last.frame as usize % FRAMES].next;
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            tail.store(head, Ordering::Relaxed);
            // Release: links and items are written. Pairs with the Acquire in `receive`.
            let swapped = self.head.compare_exchange_weak(
                head,
                first.frame,
                Ordering::Release,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return items.len(),
                Err(now) => head = now,
            }
        }
    }
}

impl Receiver for FrameList {
    #[inline]
    fn receive(&mut self, items: &mut [Item]) -> usize {
        if self.taken == NONE && self.head.load(Ordering::Relaxed) != NONE {
            // Acquire: links and items are there. Pairs with the Release in `send_list`.
            self.taken = self.head.swap(NONE, Ordering::Acquire);
        }
        let mut count = 0;
        while self.taken != NONE && count < items.len() {
            let frame = &self.frames.0[self.taken as usize % FRAMES];
            let words = [0, 1].map(|word| frame.item[word].load(Ordering::Relaxed));
            items[count] = Entry::from_words(words);
            self.taken = frame.next.load(Ordering::Relaxed);
            count += 1;
        }
        count
    }
}

/// Frames that may be on their way: 2 MiB of them, about the L2 cache of a core.
pub(crate) const FRAMES: usize = 1024;
/// No frame.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn item(frame: u32) -> Item {
        Item { frame, offset: 3, length: 4, socket: 5, tag: frame + 6 }
    }

    /// Everything sent arrives once.
    fn carries(mut sender: impl Sender, mut receiver: impl Receiver) {
        let sent: Vec<Item> = (0..100).map(item).collect();
        let mut came = Vec::new();
        let mut room = [Item::default(); 32];
        for burst in sent.chunks(10) {
            assert_eq!(sender.send(burst), burst.len());
            let count = receiver.receive(&mut room);
            came.extend_from_slice(&room[..count]);
        }
        came.sort_by_key(|item| item.frame);
        assert_eq!(came, sent);
        assert_eq!(receiver.receive(&mut room), 0);
    }

    #[test]
    fn every_lane_carries_every_item_once() {
        let (sender, receiver) = index_ring().expect("memory");
        carries(sender, receiver);
        let (sender, receiver) = rtrb_ring();
        carries(sender, receiver);
        let (sender, receiver) = frame_list(&Frames::new());
        carries(sender, receiver);
    }

    #[test]
    fn a_list_longer_than_the_room_is_taken_in_parts() {
        let (mut sender, mut receiver) = frame_list(&Frames::new());
        sender.send(&[item(1), item(2), item(3)]);
        sender.send(&[item(4)]);
        let mut room = [Item::default(); 3];
        assert_eq!(receiver.receive(&mut room), 3);
        assert_eq!(receiver.receive(&mut room), 1);
        assert_eq!(room[0], item(3));
    }
}
