//! AF_XDP: one queue of a NIC, or of a veth, as a [`Device`](crate::device::Device).
//!
//! ```text
//!  NIC queue ─▶ steering program ─▶ XSKMAP ─▶ AF_XDP socket: fill, RX, TX, completion rings
//!                      │ everything else                        │ frames of the worker's region
//!                      ▼                                        ▼
//!                   the kernel                        AfXdp: rx_burst, tx_burst, reclaim
//! ```
//!
//! No clang, no ELF, no libbpf: the program is generated for the rules asked for and loaded with
//! bpf(2). It is attached by a bpf_link, so it ends with the process, `kill -9` included.

//!
//! Count what comes in on a queue, as root:
//!
//! ```no_run
//! use corewire_drivers::af_xdp::{AfXdp, Mode, PortSet, Steering};
//! use corewire_drivers::device::{Burst, Device};
//! use corewire_drivers::env::Clock;
//! use corewire_drivers::mem::{Pool, Region, RegionConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut pool = Pool::new(Region::new(&RegionConfig::default())?)?;
//! let ours = ["192.0.2.1".parse()?];
//! let steering = Steering::ports(&ours, PortSet::none(), PortSet::of(&[7]));
//! let mut queue = AfXdp::builder("eth0").mode(Mode::Copy).steering(steering).open(&mut pool)?;
//! let (clock, mut burst) = (Clock::system(), Burst::new());
//! loop {
//!     let now = clock.now();
//!     queue.rx_burst(now, &mut pool, &mut burst);
//!     for packet in burst.drain() {
//!         println!("{} bytes: {:?}", packet.len(), pool.bytes(&packet));
//!         pool.free(packet);
//!     }
//!     queue.reclaim(now, &mut pool);
//! }
//! # }
//! ```

/// What the kernel's headers define and `libc` lacks.
mod abi;
/// What this process may use: locked memory and cores.
mod allowance;
/// An assembler for the steering program.
mod asm;
/// The worker's system calls run the NIC's softirq.
mod busy_poll;
/// A queue as a device.
mod device;
/// From error numbers to causes and remedies.
mod diagnose;
/// What can go wrong before the first packet.
mod error;
/// The steering program: rules in, instructions out.
mod generate;
/// When the kernel is told of the TX ring.
mod kick;
/// The steering program on an interface.
mod link;
/// The steering program, loaded.
mod program;
/// Four rings and a pool: packets in, packets out.
mod queue;
/// The rings that the kernel and we share.
mod rings;
/// An AF_XDP socket, set up.
mod socket;
/// Which packets come to the engine.
mod steering;
/// The system calls, typed.
mod sys;
/// Load made, and counted, by an XDP program.
mod traffic;

pub use allowance::{check_core, check_memlock};
pub use busy_poll::BusyPoll;
pub use device::{AfXdp, Builder};
pub use error::Error;
pub use link::{Attachment, UnservedQueue};
pub use program::Verdict;
pub use socket::{Mode, RingSizes};
pub use steering::{PortSet, Steering};
pub use traffic::{TRAFFIC_MARK, Traffic};
