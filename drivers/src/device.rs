//! The seam: what a source and sink of frames must provide.
//!
//! A device moves bursts of packets between a worker's pool and a wire. New I/O means a new
//! device, never an `if` in the engine.

use std::os::fd::BorrowedFd;

use crate::env::limits::BURST;
use crate::env::{DropReason, Instant};
use crate::mem::{Packet, Pool};

/// What poll(2) sleeps on until a device has frames.
pub type WaitFd<'a> = BorrowedFd<'a>;

/// What a frame of the device starts with.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum LinkKind {
    /// An Ethernet header.
    #[default]
    Ethernet,
    /// An IP header: TUN devices.
    Ip,
}

/// What a device is and can do. Fixed while it lives, but for `up`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// What a frame starts with.
    pub link: LinkKind,
    /// Its MAC address; zeros where there is none.
    pub mac: [u8; 6],
    /// The largest IP packet that it carries, in bytes.
    pub mtu: usize,
    /// Frames in one packet that it can send.
    pub max_tx_frames: usize,
    /// Whether nobody can have changed a bit on the way, so that checksums need no verification:
    /// true for devices in memory only if asked for.
    pub checksums_trusted: bool,
    /// The name for messages: an interface and queue, or what the device is.
    pub name: String,
}

/// Why a device has stopped working.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum DeviceState {
    /// Frames flow.
    Up,
    /// The link or the interface is down; it may come back.
    Down,
    /// The interface is gone, or the socket can't be used any more.
    Gone,
}

/// One queue of one network device, or something that behaves like it.
///
/// The frames that a device holds are in state fill or transmitting of the pool that it is given;
/// it is always given the same one.
pub trait Device: Send {
    /// Moves received packets to the end of `burst`, until that is full or none is left, and
    /// gives the device free frames for those to come. Returns how many it moved.
    ///
    /// A packet that the device must refuse is counted by the device under its [`DropReason`].
    fn rx_burst(&mut self, now: Instant, pool: &mut Pool, burst: &mut Burst) -> usize;

    /// Takes packets from the front of `burst` to be sent, as many as fit, and returns how many.
    /// What stays in the burst was not accepted.
    ///
    /// Their frames come back to the pool in [`reclaim`](Self::reclaim), or at once.
    fn tx_burst(&mut self, now: Instant, pool: &mut Pool, burst: &mut Burst) -> usize;

    /// Returns frames whose transmission is done to the pool, and makes the device go on with
    /// what it was given. Returns how many came back. Called every turn.
    fn reclaim(&mut self, now: Instant, pool: &mut Pool) -> usize;

    /// Returns every frame that the device holds to the pool, as far as it can get at them:
    /// before the device is dropped.
    fn release(&mut self, pool: &mut Pool);

    /// When the device has something to do by itself next, if nothing arrives before:
    /// [`Instant::FAR_FUTURE`] when nothing.
    fn next_event(&self) -> Instant {
        Instant::FAR_FUTURE
    }

    /// What to sleep on with poll(2) until frames arrive; `None` when the device can only be
    /// polled.
    fn wait_fd(&self) -> Option<WaitFd<'_>> {
        None
    }

    /// Whether frames flow.
    fn state(&self) -> DeviceState {
        DeviceState::Up
    }

    /// What the device is and can do.
    fn capabilities(&self) -> &Capabilities;

    /// What the device has counted since it was made.
    fn counts(&self) -> DeviceCounts;
}

/// What a device has counted since it was made.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct DeviceCounts {
    /// Packets received and handed on.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets accepted to be sent.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// System calls on the packet path.
    pub syscalls: u64,
    /// Ring entries that named a frame which the device did not have.
    pub bad_descriptors: u64,
    /// Packets lost because no frame was ready to receive them.
    pub rx_no_frame: u64,
    /// Packets lost because the receive ring was full.
    pub rx_ring_full: u64,
    /// Packets lost because they did not fit the buffers.
    pub rx_too_big: u64,
    /// Packets that were accepted and not sent.
    pub tx_dropped: u64,
    /// Frames that the kernel may still have touched when the device was released: lost to the
    /// pool until the region goes.
    pub frames_lost: u64,
}

impl DeviceCounts {
    /// The counters that are drops, each under its reason.
    #[must_use]
    pub const fn drops(&self) -> [(DropReason, u64); 5] {
        [
            (DropReason::BadDescriptor, self.bad_descriptors),
            (DropReason::NoFrame, self.rx_no_frame),
            (DropReason::RxRingFull, self.rx_ring_full),
            (DropReason::TooBig, self.rx_too_big),
            (DropReason::TxQueueFull, self.tx_dropped),
        ]
    }
}

/// Up to [`BURST`] packets, in order.
#[derive(Debug)]
pub struct Burst(Vec<Packet>);

impl Burst {
    /// An empty burst; the only allocation it ever makes.
    #[must_use]
    pub fn new() -> Self {
        Self(Vec::with_capacity(BURST))
    }

    /// An empty burst without memory, to stand in for another one while that is in use.
    #[must_use]
    pub const fn stand_in() -> Self {
        Self(Vec::new())
    }

    /// How many packets there are.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many more fit.
    #[inline]
    #[must_use]
    pub const fn room(&self) -> usize {
        BURST - self.0.len()
    }

    /// Adds a packet at the end.
    ///
    /// # Errors
    /// The packet, when the burst is full.
    #[inline]
    pub fn push(&mut self, packet: Packet) -> Result<(), Packet> {
        if self.0.len() == BURST {
            return Err(packet);
        }
        self.0.push(packet);
        Ok(())
    }

    /// The packets, to look at.
    #[inline]
    pub fn as_slice(&self) -> &[Packet] {
        &self.0
    }

    /// Removes the first `count` packets, in order.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline]
    pub fn take_front(&mut self, count: usize) -> impl ExactSizeIterator<Item = Packet> + '_ {
        self.0.drain(..count)
    }

    /// Removes all packets, in order.
    #[inline]
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = Packet> + '_ {
        self.0.drain(..)
    }

    /// Returns all packets to the pool.
    pub fn free(&mut self, pool: &mut Pool) {
        self.drain().for_each(|packet| pool.free(packet));
    }
}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}
