//! ARP: who has which address (RFC 826, RFC 5227).

use std::net::IpAddr;

use corewire_drivers::env::{Counter, Instant};
use corewire_drivers::mem::Packet;

use super::Link;
use super::neighbor::Evidence;
use crate::control::snapshot::{InterfaceId, Resolution};
use crate::packet::arp::{self, Purpose};
use crate::packet::ethernet::{EtherType, Header, MacAddr};
use crate::packet::vlan::Tags;
use crate::packet::{DropReason, ethernet};

/// An ARP packet came in: learn from it, and answer it in its own frame. Returns whom the packet
/// is an answer for now, if it is one.
///
/// `packet` starts behind the Ethernet header.
///
/// # Errors
/// Why it is to be dropped.
pub fn input(
    link: &mut Link,
    now: Instant,
    interface: InterfaceId,
    packet: &mut Packet,
) -> Result<Option<MacAddr>, DropReason> {
    let message = arp::Packet::parse(link.pool.bytes(packet))?;
    link.counters.add(Counter::ArpIn, 1);
    let Some(ours) = link.snapshot.interface(interface) else {
        return Err(DropReason::ArpNotForUs);
    };
    if ours.resolution != Resolution::Engine || message.sender_mac == ours.mac {
        return Err(DropReason::ArpNotForUs);
    }
    let (mac, for_us) = (ours.mac, ours.has_address(IpAddr::V4(message.target_ip)));
    let evidence = match message.purpose() {
        Purpose::Reply if for_us => Evidence::Answer,
        Purpose::Request if for_us => Evidence::Unsolicited,
        Purpose::Announcement => return announced(link, now, interface, &message),
        Purpose::Probe if for_us => return Ok(Some(answer(link, packet, &message, mac))),
        _ => return Err(DropReason::ArpNotForUs),
    };
    let sender = IpAddr::V4(message.sender_ip);
    if is_neighbor(link, interface, sender) {
        link.learn(now, interface, sender, message.sender_mac, evidence);
    }
    if evidence == Evidence::Answer {
        return Ok(None);
    }
    Ok(Some(answer(link, packet, &message, mac)))
}

/// Whether `address` can be a neighbour's: one that stands on a network of the interface's. What
/// others claim to be is nothing to us, since routes lead to them by a gateway.
fn is_neighbor(link: &Link, interface: InterfaceId, address: IpAddr) -> bool {
    let ours = link.snapshot.interface(interface);
    ours.is_some_and(|ours| ours.addresses.iter().any(|ours| ours.is_on_link(address)))
}

/// A gratuitous ARP may refresh what we know and never makes an entry: else anyone could fill the
/// table with strangers. One that claims our own address is counted.
fn announced(
    link: &mut Link,
    now: Instant,
    interface: InterfaceId,
    message: &arp::Packet,
) -> Result<Option<MacAddr>, DropReason> {
    let sender = IpAddr::V4(message.sender_ip);
    if link.snapshot.is_local(sender).is_some() {
        link.counters.add(Counter::AddressConflicts, 1);
        return Err(DropReason::ArpNotForUs);
    }
    if !link.neighbors.knows(interface, sender) {
        return Err(DropReason::ArpNotForUs);
    }
    link.learn(now, interface, sender, message.sender_mac, Evidence::Unsolicited);
    Ok(None)
}

fn answer(link: &Link, packet: &mut Packet, message: &arp::Packet, mac: MacAddr) -> MacAddr {
    link.counters.add(Counter::ArpOut, 1);
    message.reply(mac).emit(link.pool.bytes_mut(packet));
    message.sender_mac
}

/// Writes the question for `target` into an empty frame, Ethernet header included.
pub(super) fn solicit(
    link: &Link,
    packet: &mut Packet,
    interface: InterfaceId,
    target: std::net::Ipv4Addr,
    known: Option<MacAddr>,
) -> Result<(), DropReason> {
    let ours = link.snapshot.interface(interface).ok_or(DropReason::NoRoute)?;
    // RFC 1122 §3.3.4.3: from the address of ours that the neighbour shares a network with.
    let source = ours.ipv4_towards(target).ok_or(DropReason::NoRoute)?;
    let bytes = link.pool.bytes_mut(packet);
    let header = Header {
        destination: known.unwrap_or(MacAddr::BROADCAST),
        source: ours.mac,
        ether_type: EtherType::ARP,
        tags: Tags::NONE,
    };
    header.emit(bytes);
    arp::Packet::request(ours.mac, source, target).emit(&mut bytes[ethernet::HEADER_LEN..]);
    link.counters.add(Counter::ArpOut, 1);
    Ok(())
}
