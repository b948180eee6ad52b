//! The words of a ring in shared memory.
//!
//! ```text
//!    0  magic, version, capacity, bytes of an entry
//!  128  producer: index, closed         written by the producer alone
//!  256  consumer: index, closed         written by the consumer alone
//!  384  return stack: head              only where a ring carries frames back
//!  512  entries, four to a cache line
//! ```
//!
//! 128 bytes apart, because processors fetch cache lines in pairs: closer, and the ends would
//! steal each other's line. Nothing here is an address, so that every process may map it anywhere.
#![allow(unsafe_code, reason = "views that keep their mapping alive; on the allow-list")]

use super::sync::AtomicU32;

#[cfg(not(loom))]
pub(super) use mapped::Words;
#[cfg(loom)]
pub(super) use modelled::Words;

/// One end's words: where it stands, and whether it has gone.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Side {
    /// Entries published, or consumed, since the ring was made; wraps.
    pub(super) index: AtomicU32,
    /// 1 when this end is gone.
    pub(super) closed: AtomicU32,
}

#[cfg(not(loom))]
mod mapped {
    use std::io;
    use std::ptr::NonNull;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::super::Entry;
    use super::super::sync::Ordering::Relaxed;
    use super::{AtomicU32, Side};
    use crate::mem::{Mapping, Pages, Region};

    /// "CWRG": a process that maps a ring checks it, and the version, before it believes the
    /// layout.
    const MAGIC: u32 = u32::from_le_bytes(*b"CWRG");
    const VERSION: u32 = 1;
    /// More entries than any region has frames (2^20), twice.
    const MAX_CAPACITY: u32 = 1 << 22;

    const PRODUCER: usize = 128;
    const CONSUMER: usize = 256;
    const RETURNS: usize = 384;
    const ENTRIES: usize = 512;

    /// One entry's place. Both words are atomics: what a peer scribbles is a wrong number, never
    /// undefined behaviour. Relaxed: the indices order them.
    #[derive(Debug)]
    #[repr(C)]
    pub(in super::super) struct Slot([AtomicU64; 2]);

    impl Slot {
        #[inline]
        pub(in super::super) fn put(&self, [low, high]: [u64; 2]) {
            self.0[0].store(low, Relaxed);
            self.0[1].store(high, Relaxed);
        }

        #[inline]
        pub(in super::super) fn get(&self) -> [u64; 2] {
            [self.0[0].load(Relaxed), self.0[1].load(Relaxed)]
        }
    }

    /// One end's view of a ring.
    #[derive(Clone, Debug)]
    pub(in super::super) struct Words {
        slots: NonNull<[Slot]>,
        producer: NonNull<Side>,
        consumer: NonNull<Side>,
        map: Arc<Mapping>,
    }

    // SAFETY: the pointers lead into `map`, which is Send and Sync and lives as long as they do;
    // everything they lead to is made of atomics.
    unsafe impl Send for Words {}
    // SAFETY: as above; a shared reference reaches nothing but atomics.
    unsafe impl Sync for Words {}

    impl Words {
        /// A new ring of `capacity` entries, in a memfd.
        pub(in super::super) fn new(capacity: u32) -> io::Result<Self> {
            check_capacity(capacity)?;
            let len = ENTRIES + capacity as usize * size_of::<Slot>();
            let map = Mapping::memfd(c"corewire-ring", len, Pages::Plain)?;
            let head = map.words32(0, 4);
            let entry = size_of::<Slot>() as u32;
            for (word, value) in head.iter().zip([MAGIC, VERSION, capacity, entry]) {
                word.store(value, Relaxed);
            }
            Self::view(map, capacity)
        }

        /// A ring that another process made.
        pub(in super::super) fn open(map: Mapping) -> io::Result<Self> {
            if map.len() < ENTRIES {
                return Err(wrong("it is too short"));
            }
            // Read once: the other process may change it meanwhile.
            let [magic, version, capacity, entry] =
                [0, 4, 8, 12].map(|at| map.words32(at, 1)[0].load(Relaxed));
            if magic != MAGIC {
                return Err(wrong("its magic number is another's"));
            }
            if version != VERSION || entry as usize != size_of::<Slot>() {
                return Err(wrong("another version made it; use the same on both ends"));
            }
            check_capacity(capacity)?;
            if map.len() < ENTRIES + capacity as usize * size_of::<Slot>() {
                return Err(wrong("it is shorter than it says"));
            }
            Self::view(map, capacity)
        }

        fn view(map: Mapping, capacity: u32) -> io::Result<Self> {
            // Two atomic words a side and a slot; the views check bounds and alignment.
            let at = |view: *const AtomicU32| NonNull::new(view.cast::<Side>().cast_mut());
            let producer = at(map.words32(PRODUCER, 2).as_ptr());
            let consumer = at(map.words32(CONSUMER, 2).as_ptr());
            let slots = map.words64(ENTRIES, capacity as usize * 2).as_ptr();
            let slots = NonNull::new(slots.cast::<Slot>().cast_mut());
            let (Some(producer), Some(consumer), Some(slots)) = (producer, consumer, slots) else {
                return Err(io::Error::other("mapped at zero"));
            };
            let slots = NonNull::slice_from_raw_parts(slots, capacity as usize);
            Ok(Self { slots, producer, consumer, map: Arc::new(map) })
        }

        pub(in super::super) fn capacity(&self) -> u32 {
            self.slots.len() as u32
        }

        #[inline]
        pub(in super::super) const fn producer(&self) -> &Side {
            // SAFETY: view() took it from a checked view of the mapping that `self.map` keeps.
            unsafe { self.producer.as_ref() }
        }

        #[inline]
        pub(in super::super) const fn consumer(&self) -> &Side {
            // SAFETY: view() took it from a checked view of the mapping that `self.map` keeps.
            unsafe { self.consumer.as_ref() }
        }

        /// The place of entry `index`, which wraps at the capacity.
        #[inline]
        pub(in super::super) const fn slot(&self, index: u32) -> &Slot {
            // SAFETY: view() took it from a checked view of the mapping that `self.map` keeps.
            let slots = unsafe { self.slots.as_ref() };
            &slots[index as usize & (slots.len() - 1)]
        }

        /// The places of `count` entries from `index` on: two runs, as they may wrap.
        #[inline]
        pub(in super::super) fn runs(&self, index: u32, count: usize) -> [&[Slot]; 2] {
            // SAFETY: view() took it from a checked view of the mapping that `self.map` keeps.
            let slots = unsafe { self.slots.as_ref() };
            let (before, from) = slots.split_at(index as usize & (slots.len() - 1));
            let first = count.min(from.len());
            [&from[..first], &before[..(count - first).min(before.len())]]
        }

        /// The head of the return stack that goes with the ring.
        pub(in super::super) fn returns(&self) -> &AtomicU32 {
            &self.map.words32(RETURNS, 1)[0]
        }

        /// The links of the return stack: one a frame, in the region.
        pub(in super::super) fn links<'a>(&self, region: &'a Region) -> &'a [AtomicU32] {
            region.return_links()
        }

        /// Whether this process has it: a forked child does not.
        #[inline]
        pub(in super::super) fn is_here(&self) -> bool {
            self.map.is_here()
        }

        pub(in super::super) fn mapping(&self) -> &Mapping {
            &self.map
        }
    }

    fn check_capacity(capacity: u32) -> io::Result<()> {
        if capacity.is_power_of_two() && capacity <= MAX_CAPACITY {
            return Ok(());
        }
        let message = format!("a ring has a power of two of entries up to 2^22, not {capacity}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }

    fn wrong(why: &str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("this is no ring: {why}"))
    }

    const _: () = assert!(size_of::<Slot>() == size_of::<Entry>() && ENTRIES.is_multiple_of(64));
}

/// The same words as loom wants them. A slot is a cell, not atomics: so the model fails when the
/// indices do not order a write and a read of it.
#[cfg(loom)]
mod modelled {
    use std::io;
    use std::sync::Arc;

    use loom::cell::UnsafeCell;

    use super::{AtomicU32, Side};
    use crate::mem::Region;

    #[derive(Debug)]
    pub(in super::super) struct Slot(UnsafeCell<[u64; 2]>);

    impl Slot {
        pub(in super::super) fn put(&self, words: [u64; 2]) {
            // SAFETY: loom panics before the closure if another access is not ordered.
            self.0.with_mut(|slot| unsafe { *slot = words });
        }

        pub(in super::super) fn get(&self) -> [u64; 2] {
            // SAFETY: loom panics before the closure if a write is not ordered.
            self.0.with(|slot| unsafe { *slot })
        }
    }

    #[derive(Clone, Debug)]
    pub(in super::super) struct Words(Arc<Modelled>);

    #[derive(Debug)]
    struct Modelled {
        producer: Side,
        consumer: Side,
        slots: Box<[Slot]>,
        returns: AtomicU32,
        links: Box<[AtomicU32]>,
    }

    // SAFETY: loom checks every access to the cells.
    unsafe impl Send for Words {}
    // SAFETY: as above.
    unsafe impl Sync for Words {}

    impl Words {
        pub(in super::super) fn new(capacity: u32) -> io::Result<Self> {
            Ok(Self::starting_at(capacity, 0))
        }

        /// A ring whose indices start at `start`, so that a model sees them wrap.
        pub(in super::super) fn starting_at(capacity: u32, start: u32) -> Self {
            let side = || Side { index: AtomicU32::new(start), closed: AtomicU32::new(0) };
            Self(Arc::new(Modelled {
                producer: side(),
                consumer: side(),
                slots: (0..capacity).map(|_| Slot(UnsafeCell::new([0; 2]))).collect(),
                returns: AtomicU32::new(0),
                links: (0..capacity).map(|_| AtomicU32::new(0)).collect(),
            }))
        }

        pub(in super::super) fn capacity(&self) -> u32 {
            self.0.slots.len() as u32
        }

        pub(in super::super) const fn is_here(&self) -> bool {
            let Self(_) = self;
            true
        }

        pub(in super::super) fn producer(&self) -> &Side {
            &self.0.producer
        }

        pub(in super::super) fn consumer(&self) -> &Side {
            &self.0.consumer
        }

        pub(in super::super) fn slot(&self, index: u32) -> &Slot {
            &self.0.slots[index as usize & (self.0.slots.len() - 1)]
        }

        pub(in super::super) fn runs(&self, index: u32, count: usize) -> [&[Slot]; 2] {
            let (before, from) = self.0.slots.split_at(index as usize & (self.0.slots.len() - 1));
            let first = count.min(from.len());
            [&from[..first], &before[..(count - first).min(before.len())]]
        }

        pub(in super::super) fn returns(&self) -> &AtomicU32 {
            &self.0.returns
        }

        /// Links of the model's own: those of the region are not loom's.
        pub(in super::super) fn links(&self, region: &Region) -> &[AtomicU32] {
            &self.0.links[..region.return_links().len().min(self.0.links.len())]
        }
    }
}
