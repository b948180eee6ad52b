//! One mapped region cut into frames.
#![allow(unsafe_code, reason = "frame bytes by token; on the allow-list of scripts/tidy")]

use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Frame, FrameState, Loan, Mapping, Packet, Pages};

/// Bits of a frame's key that are its index; the other 12 name the region. 2^20 frames of 2 KiB
/// are 2 GiB a core, many times what stays in any cache; 4,095 regions are more than the cores of
/// any host.
pub const FRAME_INDEX_BITS: u32 = 20;

/// Bytes of one frame.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum FrameSize {
    /// 2,048: up to 1,792 bytes a frame. The default, and what fits twice as often in a cache.
    #[default]
    Bytes2048 = 2048,
    /// 4,096: up to 3,840 bytes a frame. For igb, and MTUs up to 3.8 kB in one frame.
    Bytes4096 = 4096,
}

impl FrameSize {
    /// Bytes of one frame.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self as usize
    }
}

/// What a region is to be.
#[derive(Clone, Debug)]
pub struct RegionConfig {
    /// How many frames: fill ring + RX + TX + completion + contexts × credit + loans.
    pub frames: u32,
    /// Bytes of each.
    pub frame_size: FrameSize,
    /// Which pages.
    pub pages: Pages,
}

impl Default for RegionConfig {
    /// 4,096 frames of 2 KiB: 8 MiB, which is the usual soft limit of locked memory.
    fn default() -> Self {
        Self { frames: 4096, frame_size: FrameSize::default(), pages: Pages::default() }
    }
}

/// One shared mapping cut into frames, the memory of one worker.
///
/// It lives as long as anyone holds a reference: the worker's [`Pool`](super::Pool), a device, or
/// a buffer that an application still reads.
pub struct Region {
    map: Mapping,
    frames: NonNull<u8>,
    /// The state bytes, found once: a view of the mapping is checked each time, and every frame
    /// changes its state six times between wire and wire.
    states: NonNull<AtomicU8>,
    count: u32,
    size: u32,
    /// The size is a power of two, and every access needs the product of it and an index.
    size_shift: u32,
    id: u32,
    has_pool: AtomicBool,
    /// The process that made it, and that alone has it mapped.
    owner: u32,
}

// SAFETY: `frames` and `states` point into `map`, which is Send; states are atomics, and bytes are
// reached only by a Frame or Loan token, of which there is one a frame.
unsafe impl Send for Region {}
// SAFETY: as above: two threads that share the region hold different tokens, so different frames.
unsafe impl Sync for Region {}

impl Region {
    /// Maps and cuts a region.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for no frames or more than 2^20; otherwise what the host
    /// says: no memory, no huge pages, too many regions at once.
    pub fn new(config: &RegionConfig) -> io::Result<Arc<Self>> {
        if config.frames == 0 || config.frames > 1 << FRAME_INDEX_BITS {
            let message = format!("a region has 1 to 1,048,576 frames, not {}", config.frames);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let layout = Layout::of(config.frames as usize, config.frame_size.bytes());
        let map = Mapping::memfd(c"corewire-region", layout.total, config.pages)?;
        let id = RegionIds::take()?;
        let frames = NonNull::new(map.as_ptr().wrapping_add(layout.frames))
            .ok_or_else(|| io::Error::other("mapped at zero"))?;
        let states = NonNull::from(map.bytes(Layout::STATES, config.frames as usize)).cast();
        for (place, word) in [MAGIC, VERSION, config.frames, config.frame_size as u32]
            .into_iter()
            .zip(map.words32(0, 4))
        {
            word.store(place, Ordering::Relaxed);
        }
        Ok(Arc::new(Self {
            map,
            frames,
            states,
            count: config.frames,
            size: config.frame_size as u32,
            size_shift: (config.frame_size as u32).trailing_zeros(),
            id,
            has_pool: AtomicBool::new(false),
            owner: std::process::id(),
        }))
    }

    /// How many frames there are.
    #[must_use]
    pub const fn frame_count(&self) -> u32 {
        self.count
    }

    /// Bytes of a frame.
    #[must_use]
    pub const fn frame_size(&self) -> usize {
        self.size as usize
    }

    /// Bytes mapped in all, bookkeeping included.
    #[must_use]
    pub const fn mapped_bytes(&self) -> usize {
        self.map.len()
    }

    /// The pages that the region got.
    #[must_use]
    pub const fn pages(&self) -> Pages {
        self.map.pages()
    }

    /// The first byte of frame 0, and the bytes of all frames: what a UMEM is registered with.
    #[must_use]
    pub const fn umem(&self) -> (*mut u8, usize) {
        (self.frames.as_ptr(), self.count as usize * self.size as usize)
    }

    /// The bytes that `frame` describes.
    ///
    /// # Panics
    /// When the frame belongs to another region, or describes bytes outside of itself.
    #[inline]
    #[must_use]
    pub fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        let start = self.locate(frame);
        // SAFETY: locate() proved the range inside one frame of this live mapping. The token is
        // borrowed for 'a and is the only one of its frame, and the kernel writes only to frames
        // whose token was given up (state Fill): nobody writes these bytes meanwhile.
        unsafe { std::slice::from_raw_parts(start, usize::from(frame.len())) }
    }

    /// The bytes that `frame` describes, to write.
    ///
    /// # Panics
    /// As [`bytes`](Self::bytes).
    #[inline]
    #[must_use]
    pub fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        let start = self.locate(frame);
        // SAFETY: as in bytes(), and the token is borrowed exclusively for 'a.
        unsafe { std::slice::from_raw_parts_mut(start, usize::from(frame.len())) }
    }

    /// The bytes of a frame that was lent.
    ///
    /// # Panics
    /// As [`bytes`](Self::bytes).
    #[inline]
    #[must_use]
    pub fn loan_bytes<'a>(&'a self, loan: &'a Loan) -> &'a [u8] {
        self.bytes(loan.frame())
    }

    /// The bytes of a frame that was lent, to write.
    ///
    /// # Panics
    /// As [`bytes`](Self::bytes).
    #[inline]
    #[must_use]
    pub fn loan_bytes_mut<'a>(&'a self, loan: &'a mut Loan) -> &'a mut [u8] {
        self.bytes_mut(loan.frame_mut())
    }

    /// The bytes of a frame that is chained to `packet`.
    #[inline]
    pub(super) fn chained<'a>(
        &'a self,
        index: u32,
        head: u16,
        len: u16,
        _packet: &'a Packet,
    ) -> &'a [u8] {
        let start = self.locate(&self.token(index, head, len));
        // SAFETY: locate() proved the range inside one frame. The frame's token stands in the
        // chain of the packet, which is borrowed for 'a; so nobody writes the bytes meanwhile.
        unsafe { std::slice::from_raw_parts(start, usize::from(len)) }
    }

    /// Asks the processor for the first cache line that `frame` describes. A hint: never wrong,
    /// at worst useless.
    #[inline]
    pub fn prefetch(&self, frame: &Frame) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // No check: an address that is nobody's is not fetched, and faults nowhere.
            let offset = (frame.index() as usize) << self.size_shift | usize::from(frame.head());
            let at = self.frames.as_ptr().wrapping_add(offset);
            // SAFETY: PREFETCHT0 is part of SSE, which x86_64 always has, and never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = frame;
    }

    /// Whether `frame` is one of this region's.
    #[inline]
    #[must_use]
    pub const fn owns(&self, frame: &Frame) -> bool {
        frame.region() == self.id
    }

    /// One state byte a frame.
    #[inline]
    pub(super) const fn states(&self) -> &[AtomicU8] {
        // SAFETY: new() made the pointer from a view of `count` atomics in the mapping, which lives
        // as long as self; nobody has a view of them that is not made of atomics.
        unsafe { std::slice::from_raw_parts(self.states.as_ptr(), self.count as usize) }
    }

    /// One link a frame, for the lock-free stack on which buffers come back.
    pub(crate) fn return_links(&self) -> &[AtomicU32] {
        let layout = Layout::of(self.count as usize, self.size as usize);
        self.map.words32(layout.links, self.count as usize)
    }

    /// The token of frame `index`: the caller has just proved that there is no other.
    #[inline]
    pub(super) const fn token(&self, index: u32, head: u16, len: u16) -> Frame {
        Frame::new(self.id << FRAME_INDEX_BITS | index, head, len)
    }

    /// Claims the right to be the region's only pool.
    pub(super) fn claim_pool(&self) -> bool {
        !self.has_pool.swap(true, Ordering::AcqRel)
    }

    #[inline]
    fn locate(&self, frame: &Frame) -> *mut u8 {
        assert!(self.owns(frame), "a frame of another region");
        let (head, len) = (usize::from(frame.head()), usize::from(frame.len()));
        assert!(head + len <= self.size as usize, "a frame that describes bytes outside of itself");
        self.frames.as_ptr().wrapping_add((frame.index() as usize) << self.size_shift | head)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // A forked child has the value and not the memory (MADV_DONTFORK): nothing to look at.
        if self.owner != std::process::id() {
            return;
        }
        // A token that outlives its region must not open a later one. The id is free for reuse
        // only if every frame came home; otherwise somebody may still hold a token.
        let home = |state: &AtomicU8| state.load(Ordering::Relaxed) == FrameState::Free as u8;
        if self.states().iter().all(home) {
            RegionIds::give(self.id);
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({} frames of {} B, {:?} pages)", self.count, self.size, self.map.pages())
    }
}

/// Where things stand in the mapping. The frames come last and start on a page, as UMEM
/// registration wants.
struct Layout {
    links: usize,
    frames: usize,
    total: usize,
}

impl Layout {
    /// The state bytes follow the header's page.
    const STATES: usize = 4096;

    const fn of(count: usize, size: usize) -> Self {
        let links = Self::STATES + count.next_multiple_of(64);
        let frames = (links + count * 4).next_multiple_of(4096);
        Self { links, frames, total: frames + count * size }
    }
}

/// "CWRE": another process checks it, and the version, before it believes the layout.
const MAGIC: u32 = u32::from_le_bytes(*b"CWRE");
const VERSION: u32 = 1;

/// Which of the 12-bit region names are free, in this process.
struct RegionIds {
    next: u32,
    free: Vec<u32>,
}

static REGION_IDS: Mutex<RegionIds> = Mutex::new(RegionIds { next: 1, free: Vec::new() });

impl RegionIds {
    fn take() -> io::Result<u32> {
        let mut ids = REGION_IDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = ids.free.pop() {
            return Ok(id);
        }
        if ids.next >> (32 - FRAME_INDEX_BITS) != 0 {
            return Err(io::Error::other(
                "4,095 regions are in use or were dropped with frames out",
            ));
        }
        ids.next += 1;
        Ok(ids.next - 1)
    }

    fn give(id: u32) {
        REGION_IDS.lock().unwrap_or_else(PoisonError::into_inner).free.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pool;
    use super::*;

    fn region(frames: u32) -> Arc<Region> {
        let config = RegionConfig { frames, pages: Pages::Plain, ..RegionConfig::default() };
        Region::new(&config).expect("a small region")
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for frames in [0, (1 << FRAME_INDEX_BITS) + 1] {
            let config = RegionConfig { frames, ..RegionConfig::default() };
            let error = Region::new(&config).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn frames_do_not_overlap_and_start_on_a_page() {
        let region = region(3);
        assert_eq!(region.umem().0 as usize % 4096, 0);
        let mut pool = Pool::new(region.clone()).expect("the first pool");
        let mut frames: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        for (mark, frame) in (1u8..).zip(&mut frames) {
            frame.set_range(0, 2048);
            region.bytes_mut(frame).fill(mark);
        }
        for (mark, frame) in (1u8..).zip(&frames) {
            assert!(region.bytes(frame).iter().all(|byte| *byte == mark));
        }
        frames.into_iter().for_each(|frame| pool.give(frame));
    }

    #[test]
    fn a_token_opens_only_its_own_region() {
        let (one, two) = (region(1), region(1));
        let mut pool = Pool::new(one).expect("the first pool");
        let frame = pool.take().expect("a frame");
        let opened = std::panic::catch_unwind(|| two.bytes(&frame).len());
        assert!(opened.is_err());
        pool.give(frame);
    }

    #[test]
    fn a_token_that_outlives_its_region_opens_no_later_one() {
        let mut pool = Pool::new(region(1)).expect("the first pool");
        let stray = pool.take().expect("a frame");
        drop(pool);
        for _ in 0..8 {
            assert!(!region(1).owns(&stray));
        }
    }
}
