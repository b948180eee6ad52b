//! The four rings that the kernel and we share.
//!
//! ```text
//!               we produce                we consume
//!   receive   fill: empty frames   ───▶  rx: filled frames
//!   transmit  tx: frames to send   ───▶  completion: frames that were sent
//! ```
//!
//! Indices run freely through all of u32 and are masked only where an entry is touched. Our own
//! index stands in a plain field; the kernel's is read only when the last reading says that there
//! is nothing to do, so a burst costs one shared cache line, not one an entry. What the kernel's
//! index says is never believed beyond the ring's size.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::abi::XDP_PKT_CONTD;
use crate::mem::Mapping;

/// An entry of the RX or TX ring (struct xdp_desc).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Descriptor {
    /// Bytes from the beginning of the UMEM.
    pub(super) address: u64,
    pub(super) length: u32,
    /// The packet goes on in the next entry.
    pub(super) more: bool,
}

/// What an entry of a ring is, in 64-bit words.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Entry {
    /// A frame's address: fill and completion.
    Address = 1,
    /// A [`Descriptor`]: RX and TX.
    Descriptor = 2,
}

/// A ring's memory and where things lie in it.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    map: Arc<Mapping>,
    producer: usize,
    consumer: usize,
    flags: usize,
    entries: usize,
    entry: Entry,
    size: u32,
}

impl Ring {
    /// Maps the ring of `size` entries that `socket` has at `offset`.
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        offset: u64,
        at: &libc::xdp_ring_offset,
        size: u32,
        entry: Entry,
    ) -> io::Result<Self> {
        let entries = at.desc as usize;
        let len = entries + size as usize * entry as usize * 8;
        let map = Arc::new(Mapping::socket(socket, offset, len)?);
        let (producer, consumer) = (at.producer as usize, at.consumer as usize);
        let flags = at.flags as usize;
        // The kernel's offsets are checked once, here: the views below panic on wrong ones.
        let words = [producer, consumer, flags].map(|word| word + 4 <= len && word % 4 == 0);
        if words.contains(&false) || !entries.is_multiple_of(8) {
            return Err(io::Error::other("the kernel's ring offsets make no sense"));
        }
        Ok(Self { map, producer, consumer, flags, entries, entry, size })
    }

    /// A ring that no kernel knows, with both indices at `start`: for tests, which play the
    /// kernel on a clone of it. The offsets are those of Linux 6.18.
    #[cfg(test)]
    pub(super) fn anonymous(size: u32, entry: Entry, start: u32) -> Self {
        let len = 320 + size as usize * entry as usize * 8;
        let map = Mapping::memfd(c"ring", len, crate::mem::Pages::Plain).expect("a page or two");
        let ring = Self {
            map: Arc::new(map),
            producer: 0,
            consumer: 128,
            flags: 196,
            entries: 320,
            entry,
            size,
        };
        ring.word(ring.producer).store(start, Relaxed);
        ring.word(ring.consumer).store(start, Relaxed);
        ring
    }

    /// What the kernel says about system calls, in a test that plays it.
    #[cfg(test)]
    pub(super) fn set_need_wakeup(&self, wanted: bool) {
        let flag = if wanted { libc::XDP_RING_NEED_WAKEUP } else { 0 };
        self.word(self.flags).store(flag, Relaxed);
    }

    #[inline]
    fn word(&self, at: usize) -> &AtomicU32 {
        &self.map.words32(at, 1)[0]
    }

    #[inline]
    fn entries(&self) -> Entries<'_> {
        let words = self.size as usize * self.entry as usize;
        Entries { words: self.map.words64(self.entries, words), mask: self.size - 1 }
    }
}

/// The entries of a ring, by free-running index.
#[derive(Copy, Clone)]
pub(super) struct Entries<'a> {
    words: &'a [AtomicU64],
    mask: u32,
}

impl Entries<'_> {
    #[inline]
    pub(super) fn address(&self, index: u32) -> u64 {
        self.words[(index & self.mask) as usize].load(Relaxed)
    }

    #[inline]
    pub(super) fn set_address(&self, index: u32, address: u64) {
        self.words[(index & self.mask) as usize].store(address, Relaxed);
    }

    /// A private copy: the kernel can't change it after it was checked.
    #[inline]
    pub(super) fn descriptor(&self, index: u32) -> Descriptor {
        let at = (index & self.mask) as usize * 2;
        let address = self.words[at].load(Relaxed);
        let [length, options] = halves(self.words[at + 1].load(Relaxed));
        Descriptor { address, length, more: options & XDP_PKT_CONTD != 0 }
    }

    #[inline]
    pub(super) fn set_descriptor(&self, index: u32, descriptor: Descriptor) {
        let at = (index & self.mask) as usize * 2;
        let options = if descriptor.more { XDP_PKT_CONTD } else { 0 };
        self.words[at].store(descriptor.address, Relaxed);
        self.words[at + 1].store(whole(descriptor.length, options), Relaxed);
    }
}

/// The two 32-bit fields that lie one behind the other in a 64-bit word.
#[inline]
const fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

#[inline]
const fn whole(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// Our end of a ring that we fill: fill and TX.
#[derive(Debug)]
pub(super) struct Producer {
    ring: Ring,
    /// The next entry to publish.
    next: u32,
    /// The kernel's index, as last read.
    consumed: u32,
}

impl Producer {
    pub(super) fn new(ring: Ring) -> Self {
        let next = ring.word(ring.producer).load(Relaxed);
        let consumed = ring.word(ring.consumer).load(Acquire);
        Self { ring, next, consumed }
    }

    /// How many entries can be written, reading the kernel's index only when fewer than `wanted`
    /// are known to be.
    #[inline]
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        let room = self.ring.size.saturating_sub(self.next.wrapping_sub(self.consumed));
        if room >= wanted { room } else { self.ring.size.saturating_sub(self.pending()) }
    }

    /// Entries that the kernel has not consumed. Reads its index.
    ///
    /// More than the ring holds means that the kernel's index makes no sense; then nothing can be
    /// written until it does.
    #[inline]
    pub(super) fn pending(&mut self) -> u32 {
        // Pairs with the kernel's smp_store_release in __xskq_cons_release (net/xdp/xsk_queue.h):
        // it has read the entries that we are about to overwrite.
        self.consumed = self.ring.word(self.ring.consumer).load(Acquire);
        self.next.wrapping_sub(self.consumed)
    }

    /// The ring's entries and the index of the first that may be written.
    #[inline]
    pub(super) fn slots(&self) -> (Entries<'_>, u32) {
        (self.ring.entries(), self.next)
    }

    /// Shows the kernel `count` more entries.
    #[inline]
    pub(super) fn publish(&mut self, count: u32) {
        self.next = self.next.wrapping_add(count);
        // Pairs with the kernel's smp_load_acquire in __xskq_cons_peek: it sees whole entries.
        self.ring.word(self.ring.producer).store(self.next, Release);
    }

    /// Whether the kernel wants a system call to go on with this ring.
    ///
    /// There is no full fence between publishing and this load, so it can be missed once; asked
    /// every turn, a missed flag costs one turn.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.ring.word(self.ring.flags).load(Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// Our end of a ring that the kernel fills: RX and completion.
#[derive(Debug)]
pub(super) struct Consumer {
    ring: Ring,
    /// The next entry to read.
    next: u32,
    /// The kernel's index, as last read.
    produced: u32,
}

impl Consumer {
    pub(super) fn new(ring: Ring) -> Self {
        let next = ring.word(ring.consumer).load(Relaxed);
        Self { ring, next, produced: next }
    }

    /// How many entries can be read; the kernel's index is read only when none is known to be.
    #[inline]
    pub(super) fn available(&mut self) -> u32 {
        if self.produced == self.next {
            // Pairs with the kernel's smp_store_release in xskq_prod_submit: the entries up to
            // its index, and the frames that they name, are written.
            self.produced = self.ring.word(self.ring.producer).load(Acquire);
        }
        let available = self.produced.wrapping_sub(self.next);
        // More than fit: the kernel's index makes no sense. Read nothing until it does.
        if available <= self.ring.size {
            available
        } else {
            self.produced = self.next;
            0
        }
    }

    /// The ring's entries and the index of the first that can be read.
    #[inline]
    pub(super) fn slots(&self) -> (Entries<'_>, u32) {
        (self.ring.entries(), self.next)
    }

    /// Lets the kernel write `count` entries anew.
    #[inline]
    pub(super) fn release(&mut self, count: u32) {
        self.next = self.next.wrapping_add(count);
        // Pairs with the kernel's smp_load_acquire in xskq_prod_is_full: we have read them.
        self.ring.word(self.ring.consumer).store(self.next, Release);
    }
}

#[cfg(test)]
mod tests;
