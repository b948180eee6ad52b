//! What the kernel's headers define and `libc` lacks: bpf(2), and the newer AF_XDP options.
//!
//! Sizes and offsets are those of include/uapi/linux/{bpf.h,if_xdp.h} and are tested below. A
//! structure shorter than the kernel's is right: bpf(2) reads the missing tail as zero.

/// `XDP_MAX_TX_SKB_BUDGET` (include/uapi/linux/if_xdp.h, Linux 6.17): how many descriptors one
/// sendto may take in copy mode; the kernel's own limit is 32 (TX_BATCH_SIZE, net/xdp/xsk.c).
pub(super) const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
/// What the kernel's limit is where that option is missing.
pub(super) const TX_BATCH_SIZE: u32 = 32;

/// Bind flags as the u16 of `sockaddr_xdp`.
pub(super) const XDP_SHARED_UMEM: u16 = libc::XDP_SHARED_UMEM;
pub(super) const XDP_COPY: u16 = libc::XDP_COPY;
pub(super) const XDP_ZEROCOPY: u16 = libc::XDP_ZEROCOPY;
pub(super) const XDP_USE_NEED_WAKEUP: u16 = libc::XDP_USE_NEED_WAKEUP;
pub(super) const XDP_USE_SG: u16 = libc::XDP_USE_SG;

/// `xdp_desc.options`: the packet goes on in the next descriptor.
pub(super) const XDP_PKT_CONTD: u32 = libc::XDP_PKT_CONTD;

/// XDP verdicts (enum xdp_action).
pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_REDIRECT: u32 = 4;

/// bpf(2) commands (enum bpf_cmd).
pub(super) const BPF_MAP_CREATE: u32 = 0;
pub(super) const BPF_MAP_LOOKUP_ELEM: u32 = 1;
pub(super) const BPF_MAP_UPDATE_ELEM: u32 = 2;
pub(super) const BPF_MAP_DELETE_ELEM: u32 = 3;
pub(super) const BPF_PROG_LOAD: u32 = 5;
pub(super) const BPF_PROG_TEST_RUN: u32 = 10;
pub(super) const BPF_PROG_GET_FD_BY_ID: u32 = 13;
pub(super) const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
pub(super) const BPF_LINK_CREATE: u32 = 28;
pub(super) const BPF_LINK_UPDATE: u32 = 29;
pub(super) const BPF_LINK_DETACH: u32 = 34;

/// Map types (enum bpf_map_type).
pub(super) const BPF_MAP_TYPE_HASH: u32 = 1;
pub(super) const BPF_MAP_TYPE_ARRAY: u32 = 2;
pub(super) const BPF_MAP_TYPE_LRU_HASH: u32 = 9;
pub(super) const BPF_MAP_TYPE_DEVMAP: u32 = 14;
pub(super) const BPF_MAP_TYPE_XSKMAP: u32 = 17;

/// Program and attach type.
pub(super) const BPF_PROG_TYPE_XDP: u32 = 6;
pub(super) const BPF_XDP: u32 = 37;
/// Program flag: the program takes packets of several buffers.
pub(super) const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
/// PROG_TEST_RUN flag: what the program decides really happens to the frame (Linux 5.18).
pub(super) const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// LINK_UPDATE flag: replace only the program named by `old_prog_fd`.
pub(super) const BPF_F_REPLACE: u32 = 1 << 2;
/// LINK_CREATE flags (XDP_FLAGS_*, include/uapi/linux/if_link.h).
pub(super) const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
pub(super) const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Helper functions that the steering program calls (enum bpf_func_id).
pub(super) const BPF_FUNC_MAP_LOOKUP_ELEM: i32 = 1;
pub(super) const BPF_FUNC_MAP_UPDATE_ELEM: i32 = 2;
pub(super) const BPF_FUNC_MAP_DELETE_ELEM: i32 = 3;
pub(super) const BPF_FUNC_REDIRECT_MAP: i32 = 51;

/// Names of programs and maps, as long as the kernel keeps them (BPF_OBJ_NAME_LEN).
pub(super) const BPF_OBJ_NAME_LEN: usize = 16;

/// A program or map name, cut to what the kernel keeps.
pub(super) fn object_name(name: &str) -> [u8; BPF_OBJ_NAME_LEN] {
    let mut out = [0; BPF_OBJ_NAME_LEN];
    // The last byte stays 0: the kernel wants a C string.
    for (to, from) in out[..BPF_OBJ_NAME_LEN - 1].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    out
}

/// One BPF instruction (struct bpf_insn): the destination register in the low four bits of
/// `registers`, the source in the high four.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub(super) struct Insn {
    pub(super) code: u8,
    pub(super) registers: u8,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

/// `bpf_attr` for BPF_MAP_CREATE.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct MapCreate {
    pub(super) map_type: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
    pub(super) inner_map_fd: u32,
    pub(super) numa_node: u32,
    pub(super) map_name: [u8; BPF_OBJ_NAME_LEN],
}

/// `bpf_attr` for BPF_MAP_UPDATE_ELEM and BPF_MAP_DELETE_ELEM.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct MapElement {
    pub(super) map_fd: u32,
    pub(super) pad: u32,
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) flags: u64,
}

/// `bpf_attr` for BPF_PROG_LOAD.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct ProgLoad {
    pub(super) prog_type: u32,
    pub(super) insn_cnt: u32,
    pub(super) insns: u64,
    pub(super) license: u64,
    pub(super) log_level: u32,
    pub(super) log_size: u32,
    pub(super) log_buf: u64,
    pub(super) kern_version: u32,
    pub(super) prog_flags: u32,
    pub(super) prog_name: [u8; BPF_OBJ_NAME_LEN],
    pub(super) prog_ifindex: u32,
    pub(super) expected_attach_type: u32,
}

/// `bpf_attr` for BPF_PROG_TEST_RUN.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct TestRun {
    pub(super) prog_fd: u32,
    pub(super) retval: u32,
    pub(super) data_size_in: u32,
    pub(super) data_size_out: u32,
    pub(super) data_in: u64,
    pub(super) data_out: u64,
    pub(super) repeat: u32,
    pub(super) duration: u32,
    pub(super) ctx_size_in: u32,
    pub(super) ctx_size_out: u32,
    pub(super) ctx_in: u64,
    pub(super) ctx_out: u64,
    pub(super) flags: u32,
    pub(super) cpu: u32,
    pub(super) batch_size: u32,
    pub(super) pad: u32,
}

/// `bpf_attr` for BPF_PROG_GET_FD_BY_ID.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct GetFdById {
    pub(super) id: u32,
    pub(super) next_id: u32,
    pub(super) open_flags: u32,
}

/// `bpf_attr` for BPF_OBJ_GET_INFO_BY_FD.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct InfoByFd {
    pub(super) bpf_fd: u32,
    pub(super) info_len: u32,
    pub(super) info: u64,
}

/// `bpf_attr` for BPF_LINK_CREATE.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct LinkCreate {
    pub(super) prog_fd: u32,
    pub(super) target_ifindex: u32,
    pub(super) attach_type: u32,
    pub(super) flags: u32,
}

/// `bpf_attr` for BPF_LINK_UPDATE.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct LinkUpdate {
    pub(super) link_fd: u32,
    pub(super) new_prog_fd: u32,
    pub(super) flags: u32,
    pub(super) old_prog_fd: u32,
}

/// `bpf_attr` for BPF_LINK_DETACH.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct LinkDetach {
    pub(super) link_fd: u32,
}

/// The beginning of struct bpf_prog_info: enough to name a program.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct ProgInfo {
    pub(super) prog_type: u32,
    pub(super) id: u32,
    pub(super) tag: [u8; 8],
    pub(super) jited_prog_len: u32,
    pub(super) xlated_prog_len: u32,
    pub(super) jited_prog_insns: u64,
    pub(super) xlated_prog_insns: u64,
    pub(super) load_time: u64,
    pub(super) created_by_uid: u32,
    pub(super) nr_map_ids: u32,
    pub(super) map_ids: u64,
    pub(super) name: [u8; BPF_OBJ_NAME_LEN],
}

#[cfg(test)]
mod tests {
    use core::mem::{offset_of, size_of};

    use super::*;

    /// Offsets of include/uapi/linux/bpf.h; a wrong one reads another field of the union.
    #[test]
    fn bpf_attributes_lie_where_the_kernel_reads_them() {
        assert_eq!(size_of::<Insn>(), 8);
        assert_eq!(offset_of!(MapCreate, map_name), 28);
        assert_eq!(size_of::<MapElement>(), 32);
        assert_eq!(offset_of!(MapElement, flags), 24);
        assert_eq!(offset_of!(ProgLoad, log_level), 24);
        assert_eq!(offset_of!(ProgLoad, log_buf), 32);
        assert_eq!(offset_of!(ProgLoad, prog_flags), 44);
        assert_eq!(offset_of!(ProgLoad, prog_name), 48);
        assert_eq!(offset_of!(ProgLoad, expected_attach_type), 68);
        assert_eq!(offset_of!(TestRun, data_in), 16);
        assert_eq!(offset_of!(TestRun, ctx_in), 48);
        assert_eq!(offset_of!(TestRun, flags), 64);
        assert_eq!(offset_of!(TestRun, batch_size), 72);
        assert_eq!(offset_of!(InfoByFd, info), 8);
        assert_eq!(offset_of!(LinkCreate, flags), 12);
        assert_eq!(offset_of!(LinkUpdate, old_prog_fd), 12);
        assert_eq!(offset_of!(ProgInfo, load_time), 40);
        assert_eq!(offset_of!(ProgInfo, name), 64);
    }

    /// Sizes of include/uapi/linux/if_xdp.h; a shorter xdp_umem_reg is read without its flags.
    #[test]
    fn libc_has_the_current_socket_structures() {
        assert_eq!(size_of::<libc::sockaddr_xdp>(), 16);
        assert_eq!(size_of::<libc::xdp_umem_reg>(), 32);
        assert_eq!(size_of::<libc::xdp_desc>(), 16);
        assert_eq!(size_of::<libc::xdp_ring_offset>(), 32);
        assert_eq!(size_of::<libc::xdp_mmap_offsets>(), 128);
        assert_eq!(size_of::<libc::xdp_statistics>(), 48);
        assert_eq!(size_of::<libc::xdp_options>(), 4);
    }

    #[test]
    fn a_long_name_is_cut_and_ends() {
        assert_eq!(&object_name("abc")[..4], b"abc\0");
        assert_eq!(object_name("0123456789abcdefXYZ")[15], 0);
    }
}
