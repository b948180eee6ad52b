//! The network layer: IPv4 (RFC 791, RFC 1122 §3). IPv6 has its formats, and comes later.

/// How many errors may go out.
pub mod rate;
/// ICMP: echo, and errors within a rate.
pub mod icmp;
/// Packets in: valid? ours?
pub mod input;
/// Packets out: the way, and the header.
pub mod output;
/// Which way a packet leaves.
pub mod route;

pub use input::Received;
pub use output::{Ip, Path};
