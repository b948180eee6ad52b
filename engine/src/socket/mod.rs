//! Sockets: the worker's side, and what passes between it and applications.

/// The application that runs in the worker's turn.
pub mod application;
/// The worker's end of contexts: what is lent, queued, returned.
pub mod context;
/// What ring entries say besides a frame.
pub mod entry;
/// Slots with generations.
pub mod table;

pub use application::{Application, Datagram, NoApplication, Turn};
pub use context::{ContextId, Contexts};

/// Names a socket of one worker. It stops working when the socket is closed, even if another one
/// takes its slot.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct SocketId {
    /// The place in the worker's table.
    pub(crate) slot: u32,
    /// How often the place has been used.
    pub(crate) generation: u16,
}
