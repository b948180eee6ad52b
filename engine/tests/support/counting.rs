//! An allocator that counts.
#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait; on the allow-list of scripts/tidy")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, and how often it was asked for memory.
#[derive(Debug)]
pub(crate) struct Counting(AtomicUsize);

impl Counting {
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Allocations and reallocations so far.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Relaxed)
    }
}

// SAFETY: every call goes to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the pointer came from the same allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.0.fetch_add(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
