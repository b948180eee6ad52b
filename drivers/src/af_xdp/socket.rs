//! An AF_XDP socket: set up in the only order that works, and what it was granted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use super::abi::{
    TX_BATCH_SIZE, XDP_COPY, XDP_MAX_TX_SKB_BUDGET, XDP_SHARED_UMEM, XDP_USE_NEED_WAKEUP,
    XDP_USE_SG, XDP_ZEROCOPY,
};
use super::allowance::memlock_limit;
use super::queue::Rings;
use super::rings::{Consumer, Entry, Producer, Ring};
use super::{Error, sys};
use crate::mem::Region;

/// How frames come from the NIC to us. Always asked for by name: the kernel would choose
/// silently.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The NIC writes into our frames. Needs a driver with AF_XDP zero-copy.
    ZeroCopy,
    /// The driver runs the program, the kernel copies each frame once.
    Copy,
    /// The kernel's own XDP behind the driver, for every device; three to four times slower than
    /// [`Copy`](Self::Copy).
    Generic,
}

impl Mode {
    /// As in configuration and output: `zc`, `copy` or `skb`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZeroCopy => "zc",
            Self::Copy => "copy",
            Self::Generic => "skb",
        }
    }
}

/// Entries of the four rings: powers of two.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct RingSizes {
    /// Packets received and not yet read. Smaller, and a burst overruns it while the worker is
    /// busy; larger, and frames are cold when they are read.
    pub rx: u32,
    /// Frames to be sent.
    pub tx: u32,
    /// Free frames for the NIC: at least `rx`, twice it in zero-copy mode, where the NIC's own
    /// ring holds as many again.
    pub fill: u32,
    /// Frames sent and not yet reclaimed: at least `tx`, or the kernel stops sending.
    pub completion: u32,
}

impl Default for RingSizes {
    /// 2,048, the kernel's own default (XSK_RING_CONS__DEFAULT_NUM_DESCS of libxdp): 0.2 ms of
    /// the 10 Mpps that one core takes.
    fn default() -> Self {
        Self { rx: 2048, tx: 2048, fill: 4096, completion: 2048 }
    }
}

impl RingSizes {
    pub(super) fn check(self) -> Result<(), Error> {
        let named = [
            ("rx", self.rx),
            ("tx", self.tx),
            ("fill", self.fill),
            ("completion", self.completion),
        ];
        for (name, size) in named {
            // MAX_ORDER pages of descriptors are the kernel's limit; 2^16 are already 1 MiB.
            if !size.is_power_of_two() || !(64..=65_536).contains(&size) {
                return Err(Error::Settings(format!(
                    "the {name} ring has {size} entries: use a power of two from 64 to 65536"
                )));
            }
        }
        if self.completion < self.tx || self.fill < self.rx {
            let message = "the completion ring is smaller than the tx ring, or the fill ring \
                           than the rx ring: make them at least as large";
            return Err(Error::Settings(message.into()));
        }
        Ok(())
    }
}

/// What a socket is to be.
#[derive(Copy, Clone, Debug)]
pub(super) struct Request {
    pub(super) mode: Mode,
    pub(super) sizes: RingSizes,
    /// Packets of several buffers.
    pub(super) multi_buffer: bool,
}

/// A socket with its UMEM and rings, not bound yet.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// Descriptors that one sendto may take in copy mode.
    pub(super) tx_budget: u32,
}

impl Socket {
    /// Makes the socket, its rings and, unless it shares `other`'s, its UMEM of the region's
    /// frames.
    pub(super) fn new(
        region: &Region,
        request: &Request,
        shares_umem: bool,
    ) -> Result<(Self, Rings), Error> {
        let fd = sys::socket().map_err(|error| match error.raw_os_error() {
            Some(libc::EAFNOSUPPORT) => Error::System {
                action: "open an AF_XDP socket: the kernel needs CONFIG_XDP_SOCKETS",
                source: error,
            },
            _ => Error::system("open an AF_XDP socket", "cap_net_raw", error),
        })?;
        if !shares_umem {
            register(fd.as_fd(), region)?;
        }
        let rings = make_rings(fd.as_fd(), request.sizes)
            .map_err(|source| Error::System { action: "make the socket's rings", source })?;
        let tx_budget = tune_transmit(fd.as_fd(), request.sizes.tx);
        Ok((Self { fd, tx_budget }, rings))
    }

    /// Binds to the queue; the fill ring has frames in it already. `umem` is a bound socket
    /// whose UMEM this one shares.
    ///
    /// A queue that has just been closed is busy for a few milliseconds, because the kernel
    /// tears it down in the background: so a refusal for that is tried again for a second.
    pub(super) fn bind(
        &self,
        ifindex: u32,
        queue: u32,
        request: &Request,
        umem: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let mut address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: ifindex,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        if let Some(umem) = umem {
            // Copy or zero-copy and need_wakeup come from the first socket; naming them again is
            // an error.
            address.sxdp_flags = XDP_SHARED_UMEM;
            address.sxdp_shared_umem_fd = std::os::fd::AsRawFd::as_raw_fd(&umem).cast_unsigned();
        } else {
            address.sxdp_flags |= match request.mode {
                Mode::ZeroCopy => XDP_ZEROCOPY,
                Mode::Copy | Mode::Generic => XDP_COPY,
            };
            if request.multi_buffer {
                address.sxdp_flags |= XDP_USE_SG;
            }
        }
        let mut pause = Duration::from_millis(1);
        loop {
            match sys::bind(self.fd.as_fd(), &address) {
                Err(error)
                    if error.raw_os_error() == Some(libc::EBUSY) && pause < BIND_PAUSE_MAX =>
                {
                    thread::sleep(pause);
                    pause *= 2;
                }
                result => return result,
            }
        }
    }

    /// Whether the kernel granted zero-copy.
    pub(super) fn is_zero_copy(&self) -> io::Result<bool> {
        sys::is_zero_copy(self.fd.as_fd())
    }
}

impl AsFd for Socket {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// 1 + 2 + … + 256 ms: half a second in all, and a process that really has the queue is reported
/// soon enough. Teardown was done after 4 ms on an idle machine, up to a second on a busy one.
const BIND_PAUSE_MAX: Duration = Duration::from_millis(512);

/// What one frame under way in copy mode may be charged to the send buffer: a full page and its
/// sk_buff (SKB_TRUESIZE).
const CHARGE: u32 = 4096 + 1024;

fn register(fd: BorrowedFd<'_>, region: &Region) -> Result<(), Error> {
    let (address, length) = region.umem();
    let umem = libc::xdp_umem_reg {
        addr: address.expose_provenance() as u64,
        len: length as u64,
        chunk_size: region.frame_size() as u32,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    sys::register_umem(fd, &umem).map_err(|error| match error.raw_os_error() {
        // Locked pages are charged to RLIMIT_MEMLOCK unless CAP_IPC_LOCK (net/xdp/xdp_umem.c).
        Some(libc::ENOBUFS) => Error::Memlock { needed: length as u64, limit: memlock_limit() },
        _ => Error::System { action: "register the frames with the kernel", source: error },
    })
}

fn make_rings(fd: BorrowedFd<'_>, sizes: RingSizes) -> io::Result<Rings> {
    let set = |option, size| sys::set_u32(fd, libc::SOL_XDP, option, size);
    set(libc::XDP_UMEM_FILL_RING, sizes.fill)?;
    set(libc::XDP_UMEM_COMPLETION_RING, sizes.completion)?;
    set(libc::XDP_RX_RING, sizes.rx)?;
    set(libc::XDP_TX_RING, sizes.tx)?;
    let at = sys::mmap_offsets(fd)?;
    let map = |offset: u64, places: &libc::xdp_ring_offset, size, entry| {
        Ring::map(fd, offset, places, size, entry)
    };
    let fill_at = libc::XDP_UMEM_PGOFF_FILL_RING;
    let completion_at = libc::XDP_UMEM_PGOFF_COMPLETION_RING;
    Ok(Rings {
        fill: Producer::new(map(fill_at, &at.fr, sizes.fill, Entry::Address)?),
        completion: Consumer::new(map(completion_at, &at.cr, sizes.completion, Entry::Address)?),
        rx: Consumer::new(map(
            libc::XDP_PGOFF_RX_RING as u64,
            &at.rx,
            sizes.rx,
            Entry::Descriptor,
        )?),
        tx: Producer::new(map(
            libc::XDP_PGOFF_TX_RING as u64,
            &at.tx,
            sizes.tx,
            Entry::Descriptor,
        )?),
    })
}

/// Lets one sendto take the whole TX ring, where the kernel can; the limit otherwise.
fn tune_transmit(fd: BorrowedFd<'_>, tx_entries: u32) -> u32 {
    // The send buffer would otherwise end a sendto after some 90 frames with EAGAIN. Without
    // CAP_NET_ADMIN it is limited to net.core.wmem_max, which costs speed, not correctness.
    let wanted = tx_entries.saturating_mul(CHARGE).min(i32::MAX as u32);
    if sys::set_u32(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, wanted).is_err() {
        let _ = sys::set_u32(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, wanted);
    }
    // Kernels before 6.17 do not know the option.
    match sys::set_u32(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, tx_entries) {
        Ok(()) => tx_entries,
        Err(_) => TX_BATCH_SIZE,
    }
}
