//! Corewire: a kernel-bypass, poll-mode TCP/IP engine over AF_XDP.
//!
//! The modules stand in the order in which a packet meets them. Everything above [`runtime`] is
//! sans-IO: no syscall, no clock, no thread, no global.

/// Bytes ↔ meaning: every format that the engine reads or writes.
pub mod packet;
/// The link layer: Ethernet, neighbours, and the devices' bursts.
pub mod link;
/// The network layer: IPv4, ICMP, routes.
pub mod ip;
/// Which connection a packet belongs to.
pub mod flow;
/// UDP: sockets, datagrams in, datagrams out.
pub mod udp;
/// Sockets: the worker's side, and what passes between it and applications.
pub mod socket;
/// One core's turn.
pub mod worker;
/// What changes rarely, swapped whole between bursts.
pub mod control;
/// Threads: who turns a worker, who sleeps, who wakes whom.
pub mod runtime;
/// Sockets without copies and locks.
pub mod zero_copy;
/// Sockets with std's signatures.
pub mod net;
/// The application as part of the turn.
pub mod inline;

pub use corewire_drivers::env;
pub use runtime::Engine;
