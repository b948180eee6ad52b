//! What every parser must do with every input: one function a format, called by the property
//! tests and the corpora's replay here, and by the fuzz targets in fuzz/.
//!
//! Each takes any bytes and panics if the parser does, if `emit` does not write what `parse` read,
//! or if it disagrees with etherparse and smoltcp where those have an opinion.

/// Ethernet, VLAN, ARP.
mod link;
/// IPv4, IPv6, ICMP and neighbour discovery.
mod network;
/// UDP, TCP, checksum.
mod transport;
/// From the Ethernet header to the payload.
mod walk;

pub use link::{arp, ethernet};
pub use network::{icmp, icmpv6, ipv4, ipv6};
pub use transport::{checksum, tcp, udp};
pub use walk::{Walked, packet};

/// A format's name, and what must hold of any bytes taken for it.
pub type Target = (&'static str, fn(&[u8]));

/// Every format, by the name of its fuzz target and of its corpus.
pub const ALL: [Target; 10] = [
    ("ethernet", ethernet),
    ("arp", arp),
    ("ipv4", ipv4),
    ("ipv6", ipv6),
    ("icmp", icmp),
    ("icmpv6", icmpv6),
    ("udp", udp),
    ("tcp", tcp),
    ("checksum", checksum),
    ("packet", |bytes| {
        let _ = packet(bytes);
    }),
];
