//! The system calls of AF_XDP and bpf(2), typed.
//!
//! Each function takes borrowed descriptors and slices and gives an [`io::Result`]; a call that
//! a signal interrupts is made again.
#![allow(unsafe_code, reason = "raw system calls; on the allow-list of scripts/tidy")]

use core::ffi::c_void;
use core::mem::{size_of, size_of_val};
use core::ptr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::abi;
use super::abi::Insn;

/// A new AF_XDP socket of the calling thread's network namespace.
pub(super) fn socket() -> io::Result<OwnedFd> {
    // SAFETY: socket(2) touches no memory of ours.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    owned(i64::from(fd))
}

/// setsockopt(2) of a 32-bit value.
pub(super) fn set_u32(fd: BorrowedFd<'_>, level: i32, option: i32, value: u32) -> io::Result<()> {
    set_option(fd, level, option, &value)
}

/// `XDP_UMEM_REG`: gives the kernel the memory from `address` on.
///
/// The memory must stay mapped and hold no Rust reference for as long as the socket lives; the
/// caller holds the region's `Arc` beside the descriptor for that.
pub(super) fn register_umem(fd: BorrowedFd<'_>, umem: &libc::xdp_umem_reg) -> io::Result<()> {
    set_option(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, umem)
}

/// `XDP_MMAP_OFFSETS`: where producer, consumer, flags and descriptors lie in each ring.
pub(super) fn mmap_offsets(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    let none = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
    let mut offsets = libc::xdp_mmap_offsets { rx: none, tx: none, fr: none, cr: none };
    let length = get_option(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
    if length != size_of_val(&offsets) {
        // Linux before 5.4: no flags word, so no need_wakeup. Older than what we support.
        return Err(io::Error::other("the kernel's AF_XDP rings have no flags (before Linux 5.4)"));
    }
    Ok(offsets)
}

/// `XDP_OPTIONS`: whether the kernel granted zero-copy.
pub(super) fn is_zero_copy(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut options = libc::xdp_options { flags: 0 };
    get_option(fd, libc::SOL_XDP, libc::XDP_OPTIONS, &mut options)?;
    Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// `XDP_STATISTICS`, all six counters since the socket was made.
pub(super) fn statistics(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_statistics> {
    let mut counts = libc::xdp_statistics {
        rx_dropped: 0,
        rx_invalid_descs: 0,
        tx_invalid_descs: 0,
        rx_ring_full: 0,
        rx_fill_ring_empty_descs: 0,
        tx_ring_empty_descs: 0,
    };
    get_option(fd, libc::SOL_XDP, libc::XDP_STATISTICS, &mut counts)?;
    Ok(counts)
}

/// A 32-bit socket option.
pub(super) fn get_u32(fd: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<u32> {
    let mut value = 0u32;
    get_option(fd, level, option, &mut value)?;
    Ok(value)
}

/// bind(2) to a queue.
pub(super) fn bind(fd: BorrowedFd<'_>, address: &libc::sockaddr_xdp) -> io::Result<()> {
    retry(|| {
        // SAFETY: the pointer and the length are of one live structure, which bind only reads.
        i64::from(unsafe {
            libc::bind(
                fd.as_raw_fd(),
                ptr::from_ref(address).cast(),
                size_of::<libc::sockaddr_xdp>() as libc::socklen_t,
            )
        })
    })
    .map(drop)
}

/// Asks the kernel to transmit what the TX ring holds. Never waits.
#[inline]
pub(super) fn wake_tx(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed: both pointers are null, with length 0.
    let sent =
        unsafe { libc::sendto(fd.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
    check_count(sent as i64).map(drop)
}

/// Asks the kernel to receive into what the fill ring holds. Never waits.
#[inline]
pub(super) fn wake_rx(fd: BorrowedFd<'_>) -> io::Result<()> {
    let (none, no_address) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: no buffer and no address are passed: all pointers are null, with length 0.
    let received = unsafe {
        libc::recvfrom(fd.as_raw_fd(), none, 0, libc::MSG_DONTWAIT, no_address, ptr::null_mut())
    };
    check_count(received as i64).map(drop)
}

/// BPF_MAP_CREATE.
pub(super) fn map_create(attr: &mut abi::MapCreate) -> io::Result<OwnedFd> {
    owned(bpf(abi::BPF_MAP_CREATE, attr)?)
}

/// BPF_MAP_UPDATE_ELEM with a `u32` key and a `u32` value: all that a steering map holds, but
/// for the longer keys of [`map_insert`].
pub(super) fn map_set(map: BorrowedFd<'_>, key: u32, value: u32) -> io::Result<()> {
    map_insert(map, &key.to_ne_bytes(), value)
}

/// BPF_MAP_UPDATE_ELEM. `key` must be as long as the map's key and its value four bytes, which
/// every map of [`super::program`] keeps.
pub(super) fn map_insert(map: BorrowedFd<'_>, key: &[u8], value: u32) -> io::Result<()> {
    let mut attr = abi::MapElement {
        map_fd: map.as_raw_fd().cast_unsigned(),
        key: address_of(key),
        value: ptr::from_ref(&value).expose_provenance() as u64,
        ..Default::default()
    };
    bpf(abi::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// BPF_MAP_DELETE_ELEM of a `u32` key.
pub(super) fn map_delete(map: BorrowedFd<'_>, key: u32) -> io::Result<()> {
    let mut attr = abi::MapElement {
        map_fd: map.as_raw_fd().cast_unsigned(),
        key: ptr::from_ref(&key).expose_provenance() as u64,
        ..Default::default()
    };
    bpf(abi::BPF_MAP_DELETE_ELEM, &mut attr).map(drop)
}

/// BPF_MAP_LOOKUP_ELEM of a `u32` key in a map whose values are eight bytes.
pub(super) fn map_get_u64(map: BorrowedFd<'_>, key: u32) -> io::Result<u64> {
    let mut value = 0u64;
    let mut attr = abi::MapElement {
        map_fd: map.as_raw_fd().cast_unsigned(),
        key: ptr::from_ref(&key).expose_provenance() as u64,
        value: ptr::from_mut(&mut value).expose_provenance() as u64,
        ..Default::default()
    };
    bpf(abi::BPF_MAP_LOOKUP_ELEM, &mut attr)?;
    Ok(value)
}

/// BPF_PROG_LOAD of an XDP program that takes packets of several buffers. A non-empty `log` is
/// filled with the verifier's words.
pub(super) fn program_load(name: &str, insns: &[Insn], log: &mut [u8]) -> io::Result<OwnedFd> {
    // bpf_redirect_map is not for GPL programs only, so the project's own licence will do.
    let license = c"Dual MIT/GPL";
    let mut attr = abi::ProgLoad {
        prog_type: abi::BPF_PROG_TYPE_XDP,
        insn_cnt: insns.len() as u32,
        insns: insns.as_ptr().expose_provenance() as u64,
        license: license.as_ptr().expose_provenance() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr().expose_provenance() as u64 },
        prog_flags: abi::BPF_F_XDP_HAS_FRAGS,
        prog_name: abi::object_name(name),
        expected_attach_type: abi::BPF_XDP,
        ..Default::default()
    };
    owned(bpf(abi::BPF_PROG_LOAD, &mut attr)?)
}

/// BPF_PROG_TEST_RUN of `packet`, as if it came in: the program's verdict.
pub(super) fn program_test(program: BorrowedFd<'_>, packet: &[u8]) -> io::Result<u32> {
    let mut attr = abi::TestRun {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        data_size_in: packet.len() as u32,
        data_in: address_of(packet),
        repeat: 1,
        ..Default::default()
    };
    bpf(abi::BPF_PROG_TEST_RUN, &mut attr)?;
    Ok(attr.retval)
}

/// BPF_PROG_TEST_RUN of `count` live frames that begin as `packet`, `batch` at a time: what the
/// program decides really happens to them.
pub(super) fn program_run_live(
    program: BorrowedFd<'_>,
    packet: &[u8],
    count: u32,
    batch: u32,
) -> io::Result<()> {
    let mut attr = abi::TestRun {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        data_size_in: packet.len() as u32,
        data_in: address_of(packet),
        repeat: count,
        flags: abi::BPF_F_TEST_XDP_LIVE_FRAMES,
        batch_size: batch,
        ..Default::default()
    };
    bpf(abi::BPF_PROG_TEST_RUN, &mut attr).map(drop)
}

/// The name of the program with this id, as its loader gave it.
pub(super) fn program_name(id: u32) -> io::Result<String> {
    let mut attr = abi::GetFdById { id, ..Default::default() };
    let program = owned(bpf(abi::BPF_PROG_GET_FD_BY_ID, &mut attr)?)?;
    let mut info = abi::ProgInfo::default();
    let mut attr = abi::InfoByFd {
        bpf_fd: program.as_raw_fd().cast_unsigned(),
        info_len: size_of::<abi::ProgInfo>() as u32,
        info: ptr::from_mut(&mut info).expose_provenance() as u64,
    };
    bpf(abi::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    let name = info.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// BPF_LINK_CREATE: attaches `program` to the device for as long as the descriptor lives.
pub(super) fn link_create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attr = abi::LinkCreate {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_ifindex: ifindex,
        attach_type: abi::BPF_XDP,
        flags,
    };
    owned(bpf(abi::BPF_LINK_CREATE, &mut attr)?)
}

/// BPF_LINK_UPDATE: `new` takes the place of `old` with no packet between them unseen.
pub(super) fn link_update(
    link: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
    old: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut attr = abi::LinkUpdate {
        link_fd: link.as_raw_fd().cast_unsigned(),
        new_prog_fd: new.as_raw_fd().cast_unsigned(),
        flags: abi::BPF_F_REPLACE,
        old_prog_fd: old.as_raw_fd().cast_unsigned(),
    };
    bpf(abi::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// BPF_LINK_DETACH (Linux 5.9): the program is off the device, whoever else has the descriptor.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = abi::LinkDetach { link_fd: link.as_raw_fd().cast_unsigned() };
    bpf(abi::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// bpf(2). Private: what `attr` points to is right only because every caller above makes those
/// addresses from live references of its own arguments.
fn bpf<T>(command: u32, attr: &mut T) -> io::Result<i64> {
    retry(|| {
        // SAFETY: `attr` is ours alone and as long as we say; the addresses in it are of slices
        // and values that outlive the call, with the lengths beside them.
        unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attr), size_of::<T>()) }
    })
}

fn set_option<T>(fd: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> io::Result<()> {
    retry(|| {
        // SAFETY: the pointer and the length are of one live value, which the call only reads.
        i64::from(unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                level,
                option,
                ptr::from_ref(value).cast::<c_void>(),
                size_of::<T>() as libc::socklen_t,
            )
        })
    })
    .map(drop)
}

/// How many bytes of `value` the kernel filled. Private: every caller passes a structure of
/// integers, for which any bytes are a value.
fn get_option<T>(fd: BorrowedFd<'_>, level: i32, option: i32, value: &mut T) -> io::Result<usize> {
    let mut length = size_of::<T>() as libc::socklen_t;
    retry(|| {
        // SAFETY: the kernel writes at most `length` bytes, which is the size of `value`.
        i64::from(unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                level,
                option,
                ptr::from_mut(value).cast::<c_void>(),
                &raw mut length,
            )
        })
    })?;
    Ok(length as usize)
}

fn address_of(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

/// A descriptor that a call just returned.
fn owned(result: i64) -> io::Result<OwnedFd> {
    let fd = check_count(result)?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check_count(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn retry(mut call: impl FnMut() -> i64) -> io::Result<i64> {
    loop {
        match check_count(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
