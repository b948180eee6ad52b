//! UDP (RFC 768, RFC 1122 §4.1): sockets, datagrams in, datagrams out.

/// Datagrams in: which socket?
pub mod input;
/// Datagrams out: the header, its checksum, and the way.
pub mod output;
/// The sockets and their ports.
pub mod sockets;
/// The ways on which datagrams went lately.
mod flows;
/// The headers of one way, written once.
mod template;

pub use input::Received;
pub use sockets::{BindError, Owner, Socket, Sockets};
