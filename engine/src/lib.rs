//! Corewire: a kernel-bypass, poll-mode TCP/IP engine over AF_XDP.
//!
//! The modules stand in the order in which a packet meets them. Everything above [`runtime`] is
//! sans-IO: no syscall, no clock, no thread, no global.

/// What changes rarely, swapped whole between bursts.
pub mod control;
/// Which connection a packet belongs to.
pub mod flow;
/// The network layer: IPv4, ICMP, routes.
pub mod ip;
/// The link layer: Ethernet, neighbours, and the devices' bursts.
pub mod link;
/// Bytes ↔ meaning: every format that the engine reads or writes.
pub mod packet;
/// Sockets: the worker's side, and what passes between it and applications.
pub mod socket;
/// UDP: sockets, datagrams in, datagrams out.
pub mod udp;
/// One core's turn.
pub mod worker;

pub use corewire_drivers::env;
