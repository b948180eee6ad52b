//! Load made, and counted, by an XDP program: the other end of a benchmark.
//!
//! One program does both. Attached to a device it counts what arrives there and drops it, before
//! the kernel has made an skb of it. Run by BPF_PROG_TEST_RUN with live frames it numbers each
//! frame and redirects it out of the same device: 9 to 13 million frames a second on one core,
//! which no socket makes. That the program is attached while it is run also saves 25 ms a call,
//! which the kernel else needs to enter it in its dispatcher.

use std::os::fd::{AsFd, OwnedFd};

use super::abi::{
    BPF_FUNC_MAP_LOOKUP_ELEM, BPF_FUNC_REDIRECT_MAP, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_DEVMAP, Insn,
    MapCreate, XDP_DROP, XDP_FLAGS_DRV_MODE, object_name,
};
use super::asm::{Assembler, Label, R0, R1, R2, R3, R6, R7, R8, R10, Reg, Width};
use super::error::Error;
use super::sys;

/// Where each frame's number stands: the four bytes behind Ethernet, IPv4 and UDP headers, then
/// the complement of it, so that no checksum over both changes.
pub const TRAFFIC_MARK: usize = 42;

/// A device whose XDP program sends a flood and counts what comes back.
#[derive(Debug)]
pub struct Traffic {
    frame: Vec<u8>,
    program: OwnedFd,
    counters: OwnedFd,
    /// Alive as long as the program may redirect to it.
    _device: OwnedFd,
    /// Attached as long as it lives.
    _link: OwnedFd,
}

impl Traffic {
    /// Attaches the program to the device with this index, in the calling thread's network
    /// namespace, in native mode. `frame` is what is sent, without the FCS, but for the eight
    /// bytes at [`TRAFFIC_MARK`].
    ///
    /// Frames are sent in vain, without any error, when the device at the other end is a veth
    /// that neither has a native XDP program nor GRO on.
    ///
    /// # Errors
    /// [`Error::MissingCapability`] without CAP_BPF and CAP_NET_ADMIN; [`Error::Settings`] when
    /// the frame is shorter than 60 or longer than 1514 bytes; [`Error::System`] when another
    /// program is attached, or before Linux 5.18.
    pub fn new(ifindex: u32, frame: &[u8]) -> Result<Self, Error> {
        if !(FRAME_MIN..=FRAME_MAX).contains(&frame.len()) {
            let message =
                format!("a frame of {} bytes: traffic has {FRAME_MIN} to {FRAME_MAX}", frame.len());
            return Err(Error::Settings(message));
        }
        let counters = map(BPF_MAP_TYPE_ARRAY, 8, 32)?;
        let device = map(BPF_MAP_TYPE_DEVMAP, 4, 1)?;
        sys::map_set(device.as_fd(), 0, ifindex)
            .map_err(|error| Error::system("enter a device in a map", CAPABILITIES, error))?;
        let insns = generate(&counters, &device).map_err(Error::Verifier)?;
        let program = sys::program_load(NAME, &insns, &mut [])
            .map_err(|error| Error::system("load an XDP program", CAPABILITIES, error))?;
        let link = sys::link_create(program.as_fd(), ifindex, XDP_FLAGS_DRV_MODE)
            .map_err(|error| Error::system("attach an XDP program", CAPABILITIES, error))?;
        Ok(Self { frame: frame.to_vec(), program, counters, _device: device, _link: link })
    }

    /// Sends `count` frames and returns when all are on their way. Costs 7 µs and then about
    /// 0.1 µs a frame, on the calling core, the receiver's part of a veth included. A receiver
    /// that is too slow loses frames; nothing here tells.
    ///
    /// # Errors
    /// ENOSPC when a receiver holds some 65,000 frames unread.
    pub fn send(&self, count: u32) -> Result<(), Error> {
        sys::program_run_live(self.program.as_fd(), &self.frame, count, LIVE_BATCH)
            .map_err(|error| Error::system("send live frames", CAPABILITIES, error))
    }

    /// How many frames were sent so far. Another thread may ask.
    ///
    /// # Errors
    /// [`Error::System`]; not in practice.
    pub fn sent(&self) -> Result<u64, Error> {
        self.counter(SENT)
    }

    /// How many frames have arrived, and were dropped.
    ///
    /// # Errors
    /// [`Error::System`]; not in practice.
    pub fn received(&self) -> Result<u64, Error> {
        self.counter(RECEIVED)
    }

    fn counter(&self, which: i32) -> Result<u64, Error> {
        sys::map_get_u64(self.counters.as_fd(), which.cast_unsigned())
            .map_err(|error| Error::system("read a counter", CAPABILITIES, error))
    }
}

/// ```text
/// if ctx->ingress_ifindex != 1 { received += 1; return DROP }
/// sent += 1; *(u32 *)(data + 42) = sent; *(u32 *)(data + 46) = !sent;
/// return redirect_map(device, 0, 0)
/// ```
fn generate(counters: &OwnedFd, device: &OwnedFd) -> Result<Vec<Insn>, String> {
    let mut asm = Assembler::default();
    let (arrived, drop) = (asm.label(), asm.label());
    // struct xdp_md: data at 0, data_end at 4, ingress_ifindex at 12.
    asm.load(Width::Word, R7, R1, 0);
    asm.load(Width::Word, R8, R1, 4);
    asm.load(Width::Word, R2, R1, 12);
    asm.jump_if_not_equal(R2, LOOPBACK, arrived);

    asm.need(R7, FRAME_MIN as i32, R8, drop);
    increment(&mut asm, counters, SENT, R6, drop);
    asm.store(R7, TRAFFIC_MARK as i16, R6);
    asm.xor(R6, -1);
    asm.store(R7, TRAFFIC_MARK as i16 + 4, R6);
    asm.load_map(R1, device.as_fd());
    asm.set(R2, 0);
    asm.set(R3, 0);
    asm.call(BPF_FUNC_REDIRECT_MAP);
    asm.exit();

    asm.place(arrived);
    increment(&mut asm, counters, RECEIVED, R6, drop);
    asm.place(drop);
    asm.set(R0, XDP_DROP.cast_signed());
    asm.exit();
    asm.finish()
}

/// `counters[which] += 1`, with the new count in `count`. Plain, not atomic: each counter is
/// written by one core, the one that sends or the one on which the device's only queue is polled.
fn increment(asm: &mut Assembler, counters: &OwnedFd, which: i32, count: Reg, otherwise: Label) {
    asm.set(R2, which);
    asm.store(R10, -4, R2);
    asm.copy(R2, R10);
    asm.add(R2, -4);
    asm.load_map(R1, counters.as_fd());
    asm.call(BPF_FUNC_MAP_LOOKUP_ELEM);
    asm.jump_if_null(R0, otherwise);
    asm.load_u64(count, R0, 0);
    asm.add(count, 1);
    asm.store_reg_u64(R0, 0, count);
}

fn map(map_type: u32, value_size: u32, max_entries: u32) -> Result<OwnedFd, Error> {
    let mut attr = MapCreate {
        map_type,
        key_size: 4,
        value_size,
        max_entries,
        map_name: object_name(NAME),
        ..Default::default()
    };
    sys::map_create(&mut attr).map_err(|error| Error::system("make a BPF map", CAPABILITIES, error))
}

const NAME: &str = "corewire_load";
const CAPABILITIES: &str = "cap_net_admin,cap_bpf";

const SENT: i32 = 0;
/// 16 values of eight bytes further: two cores that count on one cache line would slow each other.
const RECEIVED: i32 = 16;

/// The device that a test run seems to come in on (bpf_prog_test_run_xdp, net/bpf/test_run.c):
/// the first of every network namespace, on which no frame of ours arrives.
const LOOPBACK: u32 = 1;

/// The shortest Ethernet frame without the FCS. The program writes up to byte 50.
const FRAME_MIN: usize = 60;
/// The longest of an MTU of 1500. Live frames go up to 3408 bytes.
const FRAME_MAX: usize = 1514;

/// Measured best: 128 costs a quarter more, and 64 is the most that a veth takes without loss.
const LIVE_BATCH: u32 = 32;
