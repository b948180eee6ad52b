//! Which process this is, without a system call.
//!
//! Our mappings are not inherited by fork (`MADV_DONTFORK`), but the values that lead into them
//! are, and so every drop must know whether it happens in the process that made the value, buffers
//! of the packet path included. getpid(2) has been a system call since glibc 2.25; a page that the
//! kernel empties for the child (`MADV_WIPEONFORK`, Linux 4.14) says the same for one load.
#![allow(unsafe_code, reason = "one page from mmap; on the allow-list of scripts/tidy")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A number that no ancestor of this process has. Siblings may have the same.
#[inline]
pub(crate) fn process() -> u32 {
    let Some(number) = MARK.get_or_init(sys::mark) else { return std::process::id() };
    match number.load(Relaxed) {
        0 => choose(number),
        number => number,
    }
}

/// 0 in a child that has not asked yet.
static MARK: OnceLock<Option<&'static AtomicU32>> = OnceLock::new();

/// The next number. Plain memory, so that a child goes on where its parent was.
static NEXT: AtomicU32 = AtomicU32::new(1);

#[cold]
fn choose(mark: &AtomicU32) -> u32 {
    let new = NEXT.fetch_add(1, Relaxed);
    match mark.compare_exchange(0, new, Relaxed, Relaxed) {
        Ok(_) => new,
        Err(others) => others,
    }
}

#[cfg(not(miri))]
mod sys {
    use super::AtomicU32;
    use std::ptr::{NonNull, null_mut};

    /// A word in a page of its own that is zero in every child.
    pub(super) fn mark() -> Option<&'static AtomicU32> {
        // SAFETY: sysconf reads one number and touches no memory of ours.
        let len = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh mapping at an address that the kernel chooses aliases nothing of ours.
        let page = unsafe { libc::mmap(null_mut(), len, access, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the range is the mapping made above.
        if unsafe { libc::madvise(page, len, libc::MADV_WIPEONFORK) } != 0 {
            // SAFETY: the range is the mapping made above, and nobody has seen it.
            unsafe { libc::munmap(page, len) };
            return None;
        }
        let page: NonNull<AtomicU32> = NonNull::new(page.cast())?;
        // SAFETY: a zeroed page is a valid word, aligned, and is never unmapped from here on; the
        // kernel empties it only for a child, before that runs.
        Some(unsafe { page.as_ref() })
    }
}

/// Miri forks nothing.
#[cfg(miri)]
mod sys {
    pub(super) fn mark() -> Option<&'static super::AtomicU32> {
        None
    }
}
