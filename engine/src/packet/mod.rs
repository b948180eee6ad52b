//! Bytes ↔ meaning, and nothing else: every format that the engine reads or writes.
//!
//! A `parse` takes the bytes from its header on and answers a small `Copy` value, or the
//! [`DropReason`](crate::packet::DropReason) under which the packet dies. What it answered has been
//! checked against the bytes, so nobody checks it again. An `emit` writes what `parse` reads.
//!
//! A packet may span 1 to 18 frames, so three rules bind the caller:
//!
//! - The first `min(packet's length, MAX_HEADERS)` bytes stand in one piece. A header that goes
//!   on behind them is refused like a truncated one.
//! - `available` and `payload_len` count the bytes of *all* frames; `bytes` holds the first piece.
//! - Each length that a header tells is checked against the one before it, and the caller cuts
//!   the packet to it. So padding behind the IP packet is never taken for data.

/// Who has this IPv4 address?
pub mod arp;
/// The Internet checksum, over pieces.
pub mod checksum;
/// MAC addresses, Ethernet types, the Ethernet header.
pub mod ethernet;
/// ICMP for IPv4.
pub mod icmp;
/// ICMP for IPv6.
pub mod icmpv6;
/// What both versions of IP share: protocols, traffic class, a pair of addresses.
pub mod ip;
/// The IPv4 header and its options.
pub mod ipv4;
/// The IPv6 header.
pub mod ipv6;
/// The headers between IPv6's own and what it carries.
pub mod ipv6_extensions;
/// Neighbour discovery for IPv6.
pub mod ndp;
/// The options of neighbour discovery.
pub mod ndp_options;
/// The packet that an ICMP error quotes.
pub mod quote;
/// The TCP header.
pub mod tcp;
/// TCP options.
pub mod tcp_options;
/// The UDP header.
pub mod udp;
/// Up to two 802.1Q tags behind the MAC addresses.
pub mod vlan;

pub use corewire_drivers::env::DropReason;
pub use ethernet::{EtherType, MacAddr};
pub use ip::{Addresses, Protocol};
