//! Frames in: for us? of which kind?

use corewire_drivers::env::{DropReason, Instant};
use corewire_drivers::mem::Packet;

use super::{Link, arp};
use crate::control::snapshot::InterfaceId;
use crate::packet::ethernet::{EtherType, Header, MacAddr};

/// What became of a frame.
#[derive(Debug, Eq, PartialEq)]
pub enum Inbound {
    /// An IPv4 packet, from its IP header on.
    Ipv4,
    /// An IPv6 packet, from its IP header on.
    Ipv6,
    /// It has been dealt with; the frame can go.
    Done,
    /// The packet is the answer now, without its Ethernet header: send it to this station.
    Answer(MacAddr, EtherType),
}

/// Takes the Ethernet header off a frame, and deals with what belongs to the link layer.
///
/// # Errors
/// Why the frame is to be dropped.
#[inline]
pub fn input(
    link: &mut Link,
    now: Instant,
    interface: InterfaceId,
    packet: &mut Packet,
) -> Result<Inbound, DropReason> {
    let header = Header::parse(link.pool.bytes(packet))?;
    let ours = link.mac(interface);
    // A frame for our own MAC address comes first: it is all but every frame.
    if header.destination != ours && !header.destination.is_multicast() {
        return Err(DropReason::NotOurMac);
    }
    // Priority tags (VLAN 0) mean the untagged network; no interface of ours is a VLAN's.
    if header.tags.outer().is_some_and(|tag| tag.id() != 0) || header.tags.inner().is_some() {
        return Err(DropReason::VlanUnknown);
    }
    packet.pull(header.header_len() as u16);
    match header.ether_type {
        EtherType::IPV4 => Ok(Inbound::Ipv4),
        EtherType::IPV6 => Ok(Inbound::Ipv6),
        EtherType::ARP => arp::input(link, now, interface, packet),
        _ => Err(DropReason::EtherTypeUnknown),
    }
}
