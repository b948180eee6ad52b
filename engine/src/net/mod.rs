//! Sockets with the signatures and the errors of [`std::net`].
//!
//! They use the engine that was given to [`Engine::install`](crate::Engine::install), or the one
//! that made them: [`Engine::udp`](crate::Engine::udp). `&UdpSocket` may be used by several
//! threads at once, as std's: each call takes a lock, uncontended where one thread uses it, and
//! copies the datagram once. Without either: [`zero_copy`](crate::zero_copy).

/// UDP.
mod udp;
/// Who sleeps for all threads of one socket.
mod sleepers;
/// Where a datagram may be sent, said at once.
mod destination;

pub use udp::UdpSocket;
