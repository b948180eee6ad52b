//! One queue of a network interface as a [`Device`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use super::diagnose::Facts;
use super::kick::Kicks;
use super::queue::{Limits, Queue};
use super::socket::{Mode, Request, RingSizes, Socket};
use super::{Attachment, BusyPoll, Error, Steering, busy_poll, sys};
use crate::device::{Burst, Capabilities, Device, DeviceCounts, DeviceState, LinkKind};
use crate::env::Instant;
use crate::env::limits::{HEADROOM, MAX_PACKET_FRAMES, RESERVE};
use crate::mem::{FrameState, Pages, Pool, Region, RegionConfig};
use crate::nic::Interface;

/// How often the device looks whether its interface is still there: poll(2) does not tell. One
/// system call of 0.2 µs; ten of these are half a second, within which sockets must know.
const PROBE_EVERY: Duration = Duration::from_millis(50);

/// Busy polling of an empty queue: as often as Firedancer does, which measured it on ixgbe,
/// mlx5 and i40e. More often costs system calls, more rarely latency.
const BUSY_POLL_EVERY: Duration = Duration::from_micros(5);

/// What one VLAN tag adds to a frame; the kernel sends up to the MTU and one tag
/// (VLAN_HLEN in is_skb_forwardable).
const VLAN_TAG: usize = 4;
const ETHERNET: usize = 14;

/// How a queue is to be opened: see [`AfXdp::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is opened"]
pub struct Builder {
    interface: String,
    queue: u32,
    request: Request,
    fill_target: Option<u32>,
    steering: Option<Steering>,
    attachment: Option<Arc<Attachment>>,
    busy_poll: Option<BusyPoll>,
}

impl Builder {
    /// Which queue of the interface; 0 without this.
    pub const fn queue(mut self, queue: u32) -> Self {
        self.queue = queue;
        self
    }

    /// How frames come to us; [`Mode::Copy`] without this.
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.request.mode = mode;
        self
    }

    /// Entries of the four rings.
    pub const fn rings(mut self, sizes: RingSizes) -> Self {
        self.request.sizes = sizes;
        self
    }

    /// Free frames to keep with the kernel; as many as the RX ring has entries without this, or
    /// half of the pool's free ones if that is less. Fewer stay in the cache, and overrun sooner.
    pub const fn fill_target(mut self, frames: u32) -> Self {
        self.fill_target = Some(frames);
        self
    }

    /// Which packets come to us: attaches a program for this queue alone. Without this or
    /// [`attachment`](Self::attachment) none come, and the queue only sends.
    pub fn steering(mut self, steering: Steering) -> Self {
        self.steering = Some(steering);
        self
    }

    /// The program that this queue shares with others of the interface. Its mode is the queue's.
    pub fn attachment(mut self, attachment: &Arc<Attachment>) -> Self {
        self.request.mode = attachment.mode();
        self.attachment = Some(attachment.clone());
        self
    }

    /// Packets of several buffers, received and sent: jumbo frames (Linux 6.6).
    pub const fn multi_buffer(mut self) -> Self {
        self.request.multi_buffer = true;
        self
    }

    /// The worker's system calls poll the NIC. Not useful in copy mode.
    pub const fn busy_poll(mut self, busy_poll: BusyPoll) -> Self {
        self.busy_poll = Some(busy_poll);
        self
    }

    /// Opens the queue, with frames of `pool`.
    ///
    /// # Errors
    /// Each with its cause and remedy: see [`Error`].
    pub fn open(self, pool: &mut Pool) -> Result<AfXdp, Error> {
        self.open_with(pool, None)
    }

    /// Opens the queue in the same UMEM as `other`, which is another queue or another device with
    /// the same pool: frames received on one go out on the other without a copy. Mode,
    /// multi-buffer and need-wakeup are those of `other`.
    ///
    /// # Errors
    /// As [`open`](Self::open); and when `other` has another pool, mode, or is closed.
    pub fn open_sharing(mut self, pool: &mut Pool, other: &AfXdp) -> Result<AfXdp, Error> {
        let refuse = |message: &str| Err(Error::Settings(message.into()));
        let Some(open) = &other.open else {
            return refuse("the queue whose frames are to be shared is closed");
        };
        if !Arc::ptr_eq(&open.region, pool.region()) {
            return refuse("queues share frames only within one pool");
        }
        if open.mode != self.request.mode {
            return refuse("queues that share frames have the same mode");
        }
        // The kernel takes it from the first socket; ours must know.
        self.request.multi_buffer = other.capabilities.max_tx_frames > 1;
        self.open_with(pool, Some(&open.socket))
    }

    fn open_with(mut self, pool: &mut Pool, umem: Option<&Socket>) -> Result<AfXdp, Error> {
        self.request.sizes.check()?;
        let facts = Facts::gather(&self.interface)?;
        facts.check_device()?;
        facts.check_queue(self.queue)?;
        facts.check_mtu(&self.request, pool.region().frame_size())?;
        let (socket, rings) = Socket::new(pool.region(), &self.request, umem.is_some())?;
        if let Some(busy_poll) = self.busy_poll {
            busy_poll.apply(socket.as_fd())?;
        }
        let mut queue = Queue::new(rings, pool.region(), self.limits(&facts.interface, pool));
        // Before bind, even when we only send: some drivers fill an empty ring with buffers of
        // their own, and keep them (ice, i40e).
        queue.prime(pool);
        let bound = self.bind(&facts, &socket, umem).and_then(|()| {
            self.attachment = match (self.attachment.take(), &self.steering) {
                (None, Some(steering)) => {
                    Some(Attachment::new(&self.interface, self.request.mode, steering)?)
                }
                (attachment, _) => attachment,
            };
            let connect =
                |attachment: &Arc<Attachment>| attachment.connect(self.queue, socket.as_fd());
            self.attachment.as_ref().map_or(Ok(()), connect)
        });
        let open = Open {
            attachment: self.attachment,
            ifindex: facts.interface.index,
            queue_id: self.queue,
            queue,
            socket,
            region: pool.region().clone(),
            mode: self.request.mode,
            owner: std::process::id(),
        };
        if let Err(error) = bound {
            open.close(Some(pool));
            return Err(error);
        }
        Ok(AfXdp::new(open, &facts.interface, self.request.multi_buffer, self.busy_poll.is_some()))
    }

    fn bind(&self, facts: &Facts, socket: &Socket, umem: Option<&Socket>) -> Result<(), Error> {
        let mode = self.request.mode;
        let bind = |request: &Request| {
            socket.bind(facts.interface.index, self.queue, request, umem.map(AsFd::as_fd))
        };
        bind(&self.request).map_err(|error| {
            // Old kernels do not know the flag, and do not say so: without it, it works.
            let plain = Request { multi_buffer: false, ..self.request };
            let is_unknown = self.request.multi_buffer
                && error.raw_os_error() == Some(libc::EINVAL)
                && bind(&plain).is_ok();
            if is_unknown {
                return Error::KernelTooOld {
                    feature: "packets of several buffers",
                    needed: "6.6",
                };
            }
            facts.explain_bind(self.queue, &self.request, error)
        })?;
        let granted = socket
            .is_zero_copy()
            .map_err(|source| Error::System { action: "read the socket's mode", source })?;
        if granted == (mode == Mode::ZeroCopy) { Ok(()) } else { Err(facts.no_zero_copy()) }
    }

    fn limits(&self, interface: &Interface, pool: &Pool) -> Limits {
        let most = (pool.free_count() / 2).saturating_sub(RESERVE) as u32;
        let wanted = self.fill_target.unwrap_or_else(|| self.request.sizes.rx.min(most));
        Limits {
            fill_target: wanted.min(self.request.sizes.fill),
            tx_bytes_max: interface.mtu as usize + ETHERNET + VLAN_TAG,
            tx_frames_max: if self.request.multi_buffer { MAX_PACKET_FRAMES } else { 1 },
        }
    }
}

/// What must go in this order: no packets come any more, rings, socket, memory.
#[derive(Debug)]
struct Open {
    attachment: Option<Arc<Attachment>>,
    ifindex: u32,
    queue_id: u32,
    queue: Queue,
    socket: Socket,
    region: Arc<Region>,
    mode: Mode,
    /// The process that opened it. A forked child has copies of the descriptors, which are the
    /// parent's queue, program and maps; and none of the memory (MADV_DONTFORK).
    owner: u32,
}

impl Open {
    fn is_inherited(&self) -> bool {
        self.owner != std::process::id()
    }

    /// Detaches, unmaps, closes: in the only order that frees the queue. A ring that is mapped
    /// keeps the socket alive, and with it the queue taken. Then the frames that the kernel had
    /// go back to the pool.
    fn close(self, pool: Option<&mut Pool>) -> DeviceCounts {
        let Self { attachment, ifindex, queue_id, queue, socket, region, mode, .. } = self;
        if let Some(attachment) = attachment {
            // The last one to hold the program drops it, link first: then no packet is on its
            // way when the socket goes.
            if Arc::strong_count(&attachment) > 1 {
                attachment.disconnect(queue_id);
            }
            drop(attachment);
        }
        let Some(pool) = pool else {
            let (_, counts) = queue.close(None);
            drop((socket, region));
            return counts;
        };
        // What of ours may still be read: a driver with IFF_TX_SKB_NO_LINEAR (virtio_net) sends in
        // copy mode too from our pages, which its packets refer to (xsk_build_skb_zerocopy,
        // net/xdp/xsk.c). What comes in is copied, and that is over when the socket is closed.
        let sends = pool.census().count(FrameState::Transmitting)
            + pool.census().count(FrameState::TransmittingKept);
        let (lent, mut counts) = queue.close(Some(pool));
        drop((socket, region));
        // The socket lives on until the last of its packets is freed, and the queue with it; and a
        // NIC in zero-copy mode may write until the driver has been told. Frames of which the end
        // is not known are lost rather than used by two.
        let is_over = mode != Mode::ZeroCopy && sends == 0;
        if is_over || is_torn_down(ifindex, queue_id) {
            lent.give_back(pool);
        } else {
            counts.frames_lost += u64::from(lent.count());
        }
        counts
    }
}

/// Waits, for half a second at most, until the kernel has let go of the queue: only then can it
/// be bound again, which in copy mode does not touch the driver.
fn is_torn_down(ifindex: u32, queue: u32) -> bool {
    let config = RegionConfig { frames: 64, pages: Pages::Plain, ..RegionConfig::default() };
    let request = Request {
        mode: Mode::Copy,
        sizes: RingSizes { rx: 64, tx: 64, fill: 64, completion: 64 },
        multi_buffer: false,
    };
    let Ok(region) = Region::new(&config) else { return false };
    let Ok((socket, _rings)) = Socket::new(&region, &request, false) else { return false };
    let bound = socket.bind(ifindex, queue, &request, None);
    means_torn_down(&bound)
}

/// Whether binding says that nobody has the queue: it worked, or there is no such queue or device.
/// Every other refusal says nothing about it.
fn means_torn_down(bound: &io::Result<()>) -> bool {
    let number = bound.as_ref().err().map(io::Error::raw_os_error);
    matches!(number, None | Some(Some(libc::ENODEV | libc::ENXIO)))
}

/// One queue of a network interface.
///
/// Dropping it gives the queue back to the kernel; [`release`](Device::release) before that
/// returns its frames to the pool, which otherwise are lost until the region goes.
#[derive(Debug)]
pub struct AfXdp {
    open: Option<Open>,
    capabilities: Capabilities,
    state: DeviceState,
    /// What the queue had counted when it was closed.
    last_counts: DeviceCounts,
    polls_busily: bool,
    next_probe: Instant,
    next_busy_poll: Instant,
    kicks: Kicks,
}

impl AfXdp {
    /// A queue of `interface`, to be set up and opened.
    pub fn builder(interface: &str) -> Builder {
        Builder {
            interface: interface.into(),
            queue: 0,
            request: Request { mode: Mode::Copy, sizes: RingSizes::default(), multi_buffer: false },
            fill_target: None,
            steering: None,
            attachment: None,
            busy_poll: None,
        }
    }

    fn new(open: Open, interface: &Interface, multi_buffer: bool, polls_busily: bool) -> Self {
        let capabilities = Capabilities {
            link: LinkKind::Ethernet,
            mac: interface.mac,
            mtu: interface.mtu as usize,
            max_tx_frames: if multi_buffer { MAX_PACKET_FRAMES } else { 1 },
            checksums_trusted: false,
            name: format!("{} queue {} ({})", interface.name, open.queue_id, open.mode.name()),
        };
        Self {
            open: Some(open),
            capabilities,
            state: if interface.is_up { DeviceState::Up } else { DeviceState::Down },
            last_counts: DeviceCounts::default(),
            polls_busily,
            next_probe: Instant::ZERO,
            next_busy_poll: Instant::ZERO,
            kicks: Kicks::default(),
        }
    }

    /// How frames come from the NIC, as the kernel granted it; `None` when closed.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.open.as_ref().map(|open| open.mode)
    }

    /// The program that this queue gets its packets from.
    #[must_use]
    pub fn attachment(&self) -> Option<&Arc<Attachment>> {
        self.open.as_ref()?.attachment.as_ref()
    }

    /// Descriptors that one system call may send in copy mode: the whole ring where the kernel
    /// has XDP_MAX_TX_SKB_BUDGET (Linux 6.17), else 32.
    #[must_use]
    pub fn tx_budget(&self) -> u32 {
        self.open.as_ref().map_or(0, |open| open.socket.tx_budget)
    }

    /// Whether the queue has a NAPI, without which busy polling does nothing. In copy mode it is
    /// known only after the first packet.
    #[must_use]
    pub fn can_busy_poll(&self) -> bool {
        self.open.as_ref().is_some_and(|open| busy_poll::is_effective(open.socket.as_fd()))
    }

    /// Makes the kernel take what the TX ring holds.
    fn kick(&mut self, now: Instant) {
        let Some(Open { queue, socket, .. }) = &mut self.open else { return };
        let wake = || sys::wake_tx(socket.as_fd());
        let outcome = self.kicks.run(now, socket.tx_budget, &mut queue.rings.tx, wake);
        queue.books.counts.syscalls += outcome.syscalls;
        queue.books.counts.tx_dropped += outcome.dropped;
        self.state = outcome.state.unwrap_or(self.state);
    }

    /// Looks whether the interface is still there and up.
    #[cold]
    fn probe(&mut self, now: Instant) {
        self.next_probe = now + PROBE_EVERY;
        let Some(open) = &mut self.open else { return };
        open.queue.books.counts.syscalls += 1;
        // Receives nothing: it checks the binding and IFF_UP first (xsk_check_common).
        let result = sys::wake_rx(open.socket.as_fd());
        self.state = match result.map_err(|error| error.raw_os_error()) {
            _ if self.state == DeviceState::Gone => DeviceState::Gone,
            Err(Some(libc::ENETDOWN)) => DeviceState::Down,
            Err(Some(libc::ENXIO | libc::ENODEV | libc::EBADF)) => DeviceState::Gone,
            _ => DeviceState::Up,
        };
    }

    /// Wakes the driver when it waits for the fill ring, and polls it when that is our job.
    #[inline]
    fn wake_receive(&mut self, now: Instant, received: usize) {
        let Some(open) = &mut self.open else { return };
        let polls = self.polls_busily && received == 0 && now >= self.next_busy_poll;
        if polls || open.queue.rings.fill.needs_wakeup() {
            self.next_busy_poll = now + BUSY_POLL_EVERY;
            open.queue.books.counts.syscalls += 1;
            // Errors are the probe's business.
            let _ = sys::wake_rx(open.socket.as_fd());
        }
    }
}

impl Device for AfXdp {
    fn rx_burst(&mut self, now: Instant, pool: &mut Pool, burst: &mut Burst) -> usize {
        if now >= self.next_probe {
            self.probe(now);
        }
        let Some(open) = &mut self.open else { return 0 };
        let received = open.queue.receive(pool, burst);
        open.queue.refill(pool);
        self.wake_receive(now, received);
        received
    }

    fn tx_burst(&mut self, now: Instant, pool: &mut Pool, burst: &mut Burst) -> usize {
        if self.state != DeviceState::Up {
            return 0;
        }
        let Some(open) = &mut self.open else { return 0 };
        // The kernel reserves room in the completion ring before it sends.
        open.queue.complete(pool);
        let offered = burst.len();
        let taken = open.queue.transmit(pool, burst);
        if self.kicks.sent(offered, taken) {
            self.kick(now);
        }
        taken
    }

    fn reclaim(&mut self, now: Instant, pool: &mut Pool) -> usize {
        let Some(open) = &mut self.open else { return 0 };
        let mut returned = open.queue.complete(pool);
        if self.kicks.end_turn() && self.state == DeviceState::Up {
            self.kick(now);
            returned += self.open.as_mut().map_or(0, |open| open.queue.complete(pool));
        }
        returned
    }

    fn release(&mut self, pool: &mut Pool) {
        // Not ours: the child's copies of the descriptors are closed, the parent goes on.
        if self.open.as_ref().is_some_and(Open::is_inherited) {
            self.open = None;
            self.state = DeviceState::Gone;
            return;
        }
        // What was accepted goes out, if the device takes it at all.
        if self.state == DeviceState::Up {
            self.kicks.insist();
            self.kick(Instant::ZERO);
        }
        let Some(mut open) = self.open.take() else { return };
        if let Some(attachment) = &open.attachment {
            attachment.disconnect(open.queue_id);
        }
        let mut burst = Burst::new();
        while open.queue.receive(pool, &mut burst) > 0 {
            burst.free(pool);
        }
        open.queue.complete(pool);
        self.last_counts = open.close(Some(pool));
        self.state = DeviceState::Gone;
    }

    /// Now, while the kernel has to be told of packets; else when the interface is looked after.
    fn next_event(&self) -> Instant {
        let copies = self.mode() != Some(Mode::ZeroCopy);
        // While the link is down nobody is told anything.
        let kick = self.kicks.next_event(copies).filter(|_| self.state == DeviceState::Up);
        kick.map_or(self.next_probe, |at| at.min(self.next_probe))
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_ref().map(|open| open.socket.as_fd())
    }

    fn state(&self) -> DeviceState {
        self.state
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Asks the kernel for its part (XDP_STATISTICS): one system call.
    fn counts(&self) -> DeviceCounts {
        let Some(open) = &self.open else { return self.last_counts };
        let mut counts = open.queue.books.counts;
        if let Ok(kernel) = sys::statistics(open.socket.as_fd()) {
            counts.rx_ring_full = kernel.rx_ring_full;
            counts.rx_no_frame = kernel.rx_fill_ring_empty_descs;
            // In copy mode a packet without a frame counts in both.
            counts.rx_too_big = kernel.rx_dropped.saturating_sub(kernel.rx_fill_ring_empty_descs);
            counts.bad_descriptors += kernel.rx_invalid_descs + kernel.tx_invalid_descs;
        }
        counts
    }
}

impl Drop for AfXdp {
    fn drop(&mut self) {
        if let Some(open) = self.open.take_if(|open| !open.is_inherited()) {
            open.close(None);
        }
    }
}

const _: () = assert!(HEADROOM == 256, "frames are received behind XDP_PACKET_HEADROOM");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_queue_that_is_free_or_not_there_is_torn_down() {
        let error = |number| Err(io::Error::from_raw_os_error(number));
        for gone in [Ok(()), error(libc::ENODEV), error(libc::ENXIO)] {
            assert!(means_torn_down(&gone), "{gone:?}");
        }
        let numbers = [libc::EBUSY, libc::ENETDOWN, libc::ENOBUFS, libc::EPERM, libc::EINVAL];
        for unknown in numbers.map(error).into_iter().chain([Err(io::ErrorKind::Other.into())]) {
            assert!(!means_torn_down(&unknown), "{unknown:?}");
        }
    }
}
