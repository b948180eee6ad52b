//! Sockets without copies: datagrams are read and written in the frames of the NIC.
//!
//! ```text
//!  Context ── one end of the engine, for one thread at a time
//!    ├─ UdpSocket ─ recv ─▶ RxBuf: the payload, in the frame in which it came
//!    │                        └─ answer / into_tx: back out in the same frame
//!    └─ UdpSocket ─ buffer ─▶ TxBuf: written in place ─ send / send_to ─▶
//! ```
//!
//! Nothing here takes a lock, makes a system call while the worker is awake, or allocates per
//! message. What is sent or given back is published in bursts: by itself after 32 messages, when
//! there is nothing more to receive, and before the context waits; by `Context::flush` at once.
//!
//! ```no_run
//! fn echo(engine: &corewire::Engine) -> std::io::Result<()> {
//!     let context = engine.context()?;
//!     let socket = context.udp_bind(([0, 0, 0, 0], 7).into())?;
//!     loop {
//!         while let Some(datagram) = socket.recv()? {
//!             socket.answer(datagram)?;
//!         }
//!         context.wait(None)?;
//!     }
//! }
//! ```

/// Buffers that applications hold.
mod buffer;
/// One application's end of the engine.
mod context;
/// The state of a context.
mod hub;
/// A context's way to one worker.
mod lane;
/// UDP.
mod udp;

pub use buffer::{RxBuf, TxBuf};
pub use context::Context;
pub use hub::SocketKey;
pub(crate) use hub::{Hub, Local};
pub use udp::UdpSocket;
pub(crate) use udp::{Everyone, checked_ttl};
