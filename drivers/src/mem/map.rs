//! Shared mappings: memfd or file, huge or plain pages.
#![allow(unsafe_code, reason = "mmap and the views into it; on the allow-list of scripts/tidy")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use super::fork::process;

/// Which pages a mapping is made of.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Pages {
    /// Huge pages of 2 MiB where the host has them free, else plain pages.
    #[default]
    Auto,
    /// Huge pages of 2 MiB, or an error.
    Huge,
    /// Plain pages.
    Plain,
}

/// A shared mapping of zeroed memory that nobody inherits by fork.
///
/// Views are slices of atomics, so that every byte may change under the reader without undefined
/// behaviour: the kernel or another process may map the same memory.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
    #[cfg_attr(not(test), allow(dead_code, reason = "kept open; tests alone map it again"))]
    fd: Option<OwnedFd>,
    pages: Pages,
    owner: u32,
}

// SAFETY: the mapping is plain memory with no tie to a thread; the pointer is freed once, by Drop.
unsafe impl Send for Mapping {}
// SAFETY: every view that a shared reference gives is made of atomics or guarded by a Frame token.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `len` bytes of zeroed shared memory, rounded up to whole pages.
    ///
    /// # Errors
    /// When the host is out of memory or of huge pages ([`Pages::Huge`]).
    pub fn memfd(name: &std::ffi::CStr, len: usize, pages: Pages) -> io::Result<Self> {
        if pages != Pages::Plain {
            match sys::memfd(name, len.next_multiple_of(HUGE_PAGE), true) {
                Ok(mapping) => return Ok(mapping),
                Err(error) if pages == Pages::Huge => return Err(error),
                Err(_) => {}
            }
        }
        sys::memfd(name, len.next_multiple_of(PAGE), false)
    }

    /// `len` bytes of `file` from its beginning, which is grown to that size.
    ///
    /// # Errors
    /// When the file can't be grown or mapped.
    pub fn file(file: File, len: usize) -> io::Result<Self> {
        let len = len.next_multiple_of(PAGE);
        file.set_len(len as u64)?;
        sys::map(Some(file.into()), len, Pages::Plain)
    }

    /// All of an existing memfd or file, as another process made it.
    ///
    /// # Errors
    /// When its size is zero or unknown, or it can't be mapped.
    pub fn open(fd: OwnedFd) -> io::Result<Self> {
        let file = File::from(fd);
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        sys::map(Some(file.into()), len, Pages::Plain)
    }

    /// `len` bytes at `offset` of what `fd` maps: the rings of an AF_XDP socket. The mapping keeps
    /// the socket alive, not the descriptor.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub(crate) fn socket(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Self> {
        sys::map_socket(fd, offset, len)
    }

    /// Bytes mapped.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the mapping is empty; it never is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pages that the mapping got: [`Pages::Huge`] or [`Pages::Plain`].
    #[must_use]
    pub const fn pages(&self) -> Pages {
        self.pages
    }

    /// The descriptor. Whoever has it can map the memory again, under slices that others hold: so
    /// it is nobody's outside of this crate.
    #[cfg(test)]
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// The first byte. Useful to the kernel's UMEM registration; reading needs a view.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// `count` atomic bytes at `offset`.
    ///
    /// # Panics
    /// When they lie outside the mapping.
    #[inline]
    #[must_use]
    pub fn bytes(&self, offset: usize, count: usize) -> &[AtomicU8] {
        let start = self.check(offset, count, 1);
        // SAFETY: check() proved start..start+count inside this live mapping; an AtomicU8 has the
        // layout and alignment of u8, every bit pattern is valid, and all views are atomics.
        unsafe { std::slice::from_raw_parts(start.cast(), count) }
    }

    /// `count` atomic 32-bit words at `offset`.
    ///
    /// # Panics
    /// When they lie outside the mapping or are not aligned.
    #[inline]
    #[must_use]
    pub fn words32(&self, offset: usize, count: usize) -> &[AtomicU32] {
        let start = self.check(offset, count, 4);
        // SAFETY: as in bytes(); check() proved the alignment of 4 too.
        unsafe { std::slice::from_raw_parts(start.cast(), count) }
    }

    /// `count` atomic 64-bit words at `offset`.
    ///
    /// # Panics
    /// When they lie outside the mapping or are not aligned.
    #[inline]
    #[must_use]
    pub fn words64(&self, offset: usize, count: usize) -> &[AtomicU64] {
        let start = self.check(offset, count, 8);
        // SAFETY: as in bytes(); check() proved the alignment of 8 too.
        unsafe { std::slice::from_raw_parts(start.cast(), count) }
    }

    /// Whether this process made it. A forked child has the value and not the mapping
    /// (`MADV_DONTFORK`): whatever it touches there ends it.
    #[inline]
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.owner == process()
    }

    #[inline]
    fn check(&self, offset: usize, count: usize, size: usize) -> *mut u8 {
        let end = count.checked_mul(size).and_then(|bytes| bytes.checked_add(offset));
        assert!(
            end.is_some_and(|end| end <= self.len) && offset.is_multiple_of(size),
            "a view of {count} × {size} bytes at {offset} does not fit a mapping of {}",
            self.len
        );
        self.start.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // What stands at this address in a forked child is somebody else's.
        if self.is_here() {
            sys::unmap(self.start, self.len);
        }
    }
}

/// The page of every architecture that the engine runs on (x86_64, aarch64 with 4 KiB pages);
/// with larger pages mmap rounds up by itself.
const PAGE: usize = 4096;
/// The huge page that UMEM registration likes best: one TLB entry for 1,024 frames of 2 KiB.
const HUGE_PAGE: usize = 2 << 20;

#[cfg(not(miri))]
mod sys {
    use super::{AsFd, BorrowedFd, File, Mapping, NonNull, OwnedFd, Pages, io, process};
    use std::os::fd::{AsRawFd, FromRawFd};

    pub(super) fn memfd(name: &std::ffi::CStr, len: usize, huge: bool) -> io::Result<Mapping> {
        let flags = libc::MFD_CLOEXEC
            | libc::MFD_ALLOW_SEALING
            | if huge { libc::MFD_HUGETLB | libc::MFD_HUGE_2MB } else { 0 };
        // SAFETY: name is a C string that outlives the call; the call touches no other memory.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let file = File::from(fd);
        file.set_len(len as u64)?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // Who gets at the descriptor through /proc can't cut the memory off under us (SIGBUS).
        // SAFETY: takes a descriptor and an integer. Without the seals all works as with them.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) };
        map(Some(file.into()), len, if huge { Pages::Huge } else { Pages::Plain })
    }

    pub(super) fn map(fd: Option<OwnedFd>, len: usize, pages: Pages) -> io::Result<Mapping> {
        if len == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an empty file can't be mapped",
            ));
        }
        let start = map_at(fd.as_ref().map(AsFd::as_fd), 0, len)?;
        Ok(Mapping { start, len, fd, pages, owner: process() })
    }

    pub(super) fn map_socket(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Mapping> {
        let start = map_at(Some(fd), offset, len)?;
        Ok(Mapping { start, len, fd: None, pages: Pages::Plain, owner: process() })
    }

    fn map_at(fd: Option<BorrowedFd<'_>>, offset: u64, len: usize) -> io::Result<NonNull<u8>> {
        let raw = fd.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let anonymous = if fd.is_none() { libc::MAP_ANONYMOUS } else { 0 };
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE | anonymous;
        let (null, access) = (std::ptr::null_mut(), libc::PROT_READ | libc::PROT_WRITE);
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a fresh mapping at an address that the kernel chooses aliases nothing of ours.
        let start = unsafe { libc::mmap(null, len, access, flags, raw, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A child that inherits frames which the NIC still writes would see them change.
        // SAFETY: the range is the mapping made above. The result is of no matter: without the
        // advice a child merely sees the memory.
        unsafe { libc::madvise(start, len, libc::MADV_DONTFORK) };
        NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at zero"))
    }

    pub(super) fn unmap(start: NonNull<u8>, len: usize) {
        // SAFETY: start and len are those of a mapping that map() made; Drop runs once, and every
        // view borrows from the Mapping, so none is left.
        unsafe { libc::munmap(start.as_ptr().cast(), len) };
    }
}

/// Miri knows no memfd: the same memory from the allocator.
#[cfg(miri)]
mod sys {
    use super::{BorrowedFd, Mapping, NonNull, OwnedFd, PAGE, Pages, io, process};
    use std::alloc::{Layout, alloc_zeroed, dealloc};

    pub(super) fn memfd(_name: &std::ffi::CStr, len: usize, _huge: bool) -> io::Result<Mapping> {
        map(None, len, Pages::Plain)
    }

    pub(super) fn map(fd: Option<OwnedFd>, len: usize, pages: Pages) -> io::Result<Mapping> {
        let layout = Layout::from_size_align(len.max(1), PAGE).map_err(io::Error::other)?;
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).ok_or_else(|| io::Error::other("out of memory"))?;
        Ok(Mapping { start, len, fd, pages, owner: process() })
    }

    pub(super) fn map_socket(
        _fd: BorrowedFd<'_>,
        _offset: u64,
        _len: usize,
    ) -> io::Result<Mapping> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn unmap(start: NonNull<u8>, len: usize) {
        let layout = Layout::from_size_align(len.max(1), PAGE);
        if let Ok(layout) = layout {
            // SAFETY: allocated by map() above with this very layout, freed once.
            unsafe { dealloc(start.as_ptr(), layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn views_share_memory_and_are_bounded() {
        let map = Mapping::memfd(c"test", 100, Pages::Plain).expect("a page");
        assert_eq!(map.len(), 4096);
        map.words64(8, 1)[0].store(u64::MAX, Relaxed);
        assert_eq!(map.bytes(0, 9)[8].load(Relaxed), 0xff);
        assert_eq!(map.words32(4, 1)[0].load(Relaxed), 0);
        for (offset, count) in [(4096, 1), (0, 513), (usize::MAX & !7, 2), (4, 1)] {
            let view = std::panic::catch_unwind(|| map.words64(offset, count).len());
            assert!(view.is_err(), "{count} words at {offset}");
        }
    }

    #[test]
    #[cfg(not(miri))]
    fn another_mapping_of_the_same_memory_sees_it() {
        let map = Mapping::memfd(c"test", 4096, Pages::Plain).expect("a page");
        let fd = map.fd().expect("a memfd").try_clone_to_owned().expect("a descriptor");
        let file = File::from(fd.try_clone().expect("a descriptor"));
        assert!(file.set_len(0).is_err() && file.set_len(8192).is_err(), "its size is sealed");
        let other = Mapping::open(fd).expect("mapped again");
        map.words32(128, 1)[0].store(7, Relaxed);
        assert_eq!(other.words32(128, 1)[0].load(Relaxed), 7);
    }
}
