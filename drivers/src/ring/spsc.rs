//! The ring: one producer, one consumer, indices in shared memory.
//!
//! Each end owns one index, which only it stores, and keeps what it last saw of the other's. It
//! reads the other's again only when the ring looks full, or empty: so a burst costs one cache
//! line of indices and one for every four entries. Indices count for ever and wrap at 2^32; they
//! are cut to the capacity, a power of two, only at the access.
//!
//! The other end may be another process, and hostile: its index is believed only when it can be
//! true, else nothing moves and [`Consumer::misbehaved`] says so.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;

use super::Entry;
use super::memory::Words;
use super::sync::Ordering::{Acquire, Relaxed, Release};
use super::sync::{Site, order};
#[cfg(not(loom))]
use crate::mem::Mapping;

/// Entries that a consumer takes before it tells the producer, at most. Smaller: more stores to a
/// line that the producer reads. Larger: a longer ring for the same number of frames.
const RELEASE_EVERY: u32 = 32;

/// The ring has no room; the entry was not taken.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ring is full; let the other end take something, or make it larger")
    }
}

impl std::error::Error for Full {}

/// The end that puts entries in. `Send`, not `Sync`.
pub struct Producer {
    pub(super) words: Words,
    /// Where the next entry goes.
    next: u32,
    /// What the consumer can see.
    published: u32,
    /// Where there was no more room when the consumer's index was last read.
    limit: u32,
    misbehaved: bool,
    not_sync: PhantomData<Cell<()>>,
}

/// The end that takes entries out. `Send`, not `Sync`.
pub struct Consumer {
    pub(super) words: Words,
    /// The next entry to take.
    next: u32,
    /// What the producer can see.
    released: u32,
    /// Where there were no more entries when the producer's index was last read.
    limit: u32,
    release_every: u32,
    misbehaved: bool,
    not_sync: PhantomData<Cell<()>>,
}

/// The capacity of a ring in which `items` entries always find room: those that are under way and
/// those that the consumer has taken without telling yet.
#[must_use]
pub const fn capacity_for(items: u32) -> u32 {
    items.saturating_add(RELEASE_EVERY).next_power_of_two()
}

/// Both ends of a new ring, in a memfd of its own.
///
/// # Errors
/// When `capacity` is no power of two up to 2^22, or the host has no memory.
pub fn pair(capacity: u32) -> io::Result<(Producer, Consumer)> {
    let words = Words::new(capacity)?;
    Ok((Producer::new(words.clone()), Consumer::new(words)))
}

impl Producer {
    /// The producing end of a ring that another process made.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when the mapping holds no ring of this version.
    #[cfg(not(loom))]
    pub fn open(mapping: Mapping) -> io::Result<Self> {
        Words::open(mapping).map(Self::new)
    }

    /// Starts where this end last stood: it alone writes that word.
    pub(super) fn new(words: Words) -> Self {
        let next = words.producer().index.load(Relaxed);
        // Full until the consumer's index is read.
        let limit = next;
        Self { words, next, published: next, limit, misbehaved: false, not_sync: PhantomData }
    }

    /// Puts `entry` in. The consumer sees it after [`publish`](Self::publish).
    ///
    /// # Errors
    /// [`Full`], when there is no room.
    #[inline]
    pub fn push(&mut self, entry: Entry) -> Result<(), Full> {
        if self.next == self.limit && !self.look_for_room() {
            return Err(Full);
        }
        self.words.slot(self.next).put(entry.to_words());
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    /// Puts in as many of `entries` as there is room for, from the front, and publishes them.
    /// Returns how many.
    #[inline]
    pub fn push_burst(&mut self, entries: &[Entry]) -> usize {
        let mut room = self.limit.wrapping_sub(self.next) as usize;
        if room < entries.len() && self.look_for_room() {
            room = self.limit.wrapping_sub(self.next) as usize;
        }
        let pushed = entries.len().min(room);
        let mut left = entries[..pushed].iter();
        for run in self.words.runs(self.next, pushed) {
            run.iter().zip(&mut left).for_each(|(slot, entry)| slot.put(entry.to_words()));
        }
        self.next = self.next.wrapping_add(pushed as u32);
        self.publish();
        pushed
    }

    /// Lets the consumer see everything pushed. Returns whether there was anything new.
    #[inline]
    pub fn publish(&mut self) -> bool {
        let new = self.next != self.published;
        if new {
            // Release: the entries, and the bytes of the frames that they name, are written
            // before. Pairs with the Acquire in Consumer::look_for_entries.
            self.words.producer().index.store(self.next, order(Site::Publish, Release));
            self.published = self.next;
        }
        new
    }

    /// Entries that the ring holds at most.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.words.capacity()
    }

    /// Whether the consumer is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // Acquire: the consumer's last index is in place. Pairs with the Release in
        // Consumer::drop.
        self.words.consumer().closed.load(order(Site::SeeClosed, Acquire)) != 0
    }

    /// Whether the consumer's index was ever one that can't be.
    #[must_use]
    pub const fn misbehaved(&self) -> bool {
        self.misbehaved
    }

    /// Takes back the youngest entry that a consumer which [is gone](Self::is_closed) did not
    /// take. `None` while the consumer lives, and when nothing is left.
    pub fn recall(&mut self) -> Option<Entry> {
        if !self.is_closed() {
            return None;
        }
        let consumed = self.words.consumer().index.load(Relaxed);
        let left = self.next.wrapping_sub(consumed);
        if left == 0 || left > self.capacity() {
            return None;
        }
        self.next = self.next.wrapping_sub(1);
        self.published = self.next;
        Some(Entry::from_words(self.words.slot(self.next).get()))
    }

    /// The memory, to hand the consuming end to another process.
    #[cfg(not(loom))]
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        self.words.mapping()
    }

    /// Where the next entry goes.
    pub(super) const fn position(&self) -> u32 {
        self.next
    }

    /// Whether the entry that was put in at `position` was taken, when we last looked.
    pub(super) fn is_taken(&self, position: u32) -> bool {
        let consumed = self.limit.wrapping_sub(self.capacity());
        consumed.wrapping_sub(position).wrapping_sub(1) < u32::MAX / 2
    }

    /// Reads the consumer's index again. Out of line: once a lap, when all goes well.
    #[cold]
    pub(super) fn look_for_room(&mut self) -> bool {
        // Acquire: the consumer has read the entries that we are about to overwrite. Pairs with
        // the Release in Consumer::release.
        let consumed = self.words.consumer().index.load(order(Site::Reuse, Acquire));
        let held = self.next.wrapping_sub(consumed);
        if held > self.capacity() {
            self.misbehaved = true;
            return false;
        }
        self.limit = consumed.wrapping_add(self.capacity());
        self.next != self.limit
    }
}

impl Drop for Producer {
    /// Publishes what was pushed, then says that no more will come.
    fn drop(&mut self) {
        // A forked child is not the end that goes.
        if !self.words.is_here() {
            return;
        }
        self.publish();
        // Release: after the last index. Pairs with the Acquire in Consumer::is_closed.
        self.words.producer().closed.store(1, order(Site::Close, Release));
    }
}

impl Consumer {
    /// The consuming end of a ring that another process made.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when the mapping holds no ring of this version.
    #[cfg(not(loom))]
    pub fn open(mapping: Mapping) -> io::Result<Self> {
        Words::open(mapping).map(Self::new)
    }

    /// Starts where this end last stood: it alone writes that word.
    pub(super) fn new(words: Words) -> Self {
        let next = words.consumer().index.load(Relaxed);
        let release_every = (words.capacity() / 4).clamp(1, RELEASE_EVERY);
        let (released, limit) = (next, next);
        let (misbehaved, not_sync) = (false, PhantomData);
        Self { words, next, released, limit, release_every, misbehaved, not_sync }
    }

    /// Takes the oldest entry; `None` when there is none.
    #[inline]
    pub fn pop(&mut self) -> Option<Entry> {
        if self.next == self.limit && !self.look_for_entries() {
            return None;
        }
        let entry = Entry::from_words(self.words.slot(self.next).get());
        self.next = self.next.wrapping_add(1);
        if self.next == self.limit || self.next.wrapping_sub(self.released) >= self.release_every {
            self.release();
        }
        Some(entry)
    }

    /// Takes as many entries as there are and `entries` holds, oldest first. Returns how many.
    #[inline]
    pub fn pop_burst(&mut self, entries: &mut [Entry]) -> usize {
        let mut there = self.limit.wrapping_sub(self.next) as usize;
        if there < entries.len() && self.look_for_entries() {
            there = self.limit.wrapping_sub(self.next) as usize;
        }
        let count = entries.len().min(there);
        let mut left = entries[..count].iter_mut();
        for run in self.words.runs(self.next, count) {
            // The slots first: zip takes from its first side before it finds the second empty.
            let slots = run.iter().zip(&mut left);
            slots.for_each(|(slot, place)| *place = Entry::from_words(slot.get()));
        }
        self.next = self.next.wrapping_add(count as u32);
        self.release();
        count
    }

    /// Lets the producer reuse the places of all entries taken. [`pop`](Self::pop) does it by
    /// itself every 32 entries and when the ring looks empty.
    #[inline]
    pub fn release(&mut self) {
        if self.released != self.next {
            // Release: the entries have been read. Pairs with the Acquire in
            // Producer::look_for_room.
            self.words.consumer().index.store(self.next, order(Site::Release, Release));
            self.released = self.next;
        }
    }

    /// Whether there is nothing to take right now.
    #[inline]
    #[must_use]
    pub fn is_empty(&mut self) -> bool {
        self.next == self.limit && !self.look_for_entries()
    }

    /// Entries that the ring holds at most.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.words.capacity()
    }

    /// Whether the producer is gone. What it published before is still there to be taken.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // Acquire: the producer's last index is in place. Pairs with the Release in
        // Producer::drop.
        self.words.producer().closed.load(order(Site::SeeClosed, Acquire)) != 0
    }

    /// Whether the producer's index was ever one that can't be.
    #[must_use]
    pub const fn misbehaved(&self) -> bool {
        self.misbehaved
    }

    /// The memory, to hand the producing end to another process.
    #[cfg(not(loom))]
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        self.words.mapping()
    }

    /// Reads the producer's index again.
    #[inline]
    fn look_for_entries(&mut self) -> bool {
        // Acquire: the entries up to there, and the bytes of their frames, are written. Pairs
        // with the Release in Producer::publish.
        let published = self.words.producer().index.load(order(Site::Observe, Acquire));
        if published.wrapping_sub(self.next) > self.capacity() {
            self.misbehaved = true;
            return false;
        }
        self.limit = published;
        self.next != self.limit
    }
}

impl Drop for Consumer {
    /// Releases what was taken, then says that nothing more will be.
    fn drop(&mut self) {
        // A forked child is not the end that goes.
        if !self.words.is_here() {
            return;
        }
        self.release();
        // Release: after the last index. Pairs with the Acquire in Producer::is_closed.
        self.words.consumer().closed.store(1, order(Site::Close, Release));
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer({} of {})", self.next, self.capacity())
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consumer({} of {})", self.next, self.capacity())
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
