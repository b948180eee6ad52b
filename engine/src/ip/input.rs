//! Packets in: valid? ours?

use std::net::Ipv4Addr;

use corewire_drivers::mem::Packet;

use super::Ip;
use crate::control::snapshot::InterfaceId;
use crate::packet::{Addresses, DropReason, Protocol, ipv4};

/// What the network layer knows of a packet that it hands on. The packet starts behind its IP
/// header; [`header_len`](Self::header_len) bytes before that it is still there.
#[derive(Copy, Clone, Debug)]
pub struct Received {
    /// Both ends.
    pub addresses: Addresses,
    /// What the packet carries.
    pub protocol: Protocol,
    /// Where it came in.
    pub interface: InterfaceId,
    /// Bytes of the IP header.
    pub header_len: u8,
    /// Whether it was for more than one host: no error is ever sent about such a packet, and none
    /// but a socket that asked for it gets it.
    pub to_group: bool,
}

/// Takes the IPv4 header off a packet that is for us.
///
/// # Errors
/// Why the packet is to be dropped.
#[inline]
pub fn ipv4(ip: &Ip, interface: InterfaceId, packet: &mut Packet) -> Result<Received, DropReason> {
    let link = &ip.link;
    let header = ipv4::Header::parse(link.pool.bytes(packet), packet.len())?;
    let snapshot = &link.snapshot;
    let to_group = if snapshot.has_address(interface, header.destination.into()) {
        false
    } else if is_group(ip, interface, header.destination) {
        true
    } else if snapshot.is_local(header.destination.into()).is_some() {
        // The weak host model (RFC 1122 §3.3.4.2), as Linux: any address of ours on any interface.
        false
    } else {
        return Err(DropReason::IpNotForUs);
    };
    check_source(ip, interface, header.source)?;
    if header.fragment.is_part() {
        return Err(DropReason::IpFragment);
    }
    Ok(Received {
        addresses: header.addresses(),
        protocol: header.protocol,
        interface,
        header_len: header.header_len,
        to_group,
    })
}

/// Cuts the padding off, and the IP header.
#[inline]
pub fn strip(ip: &mut Ip, packet: &mut Packet, received: &Received) {
    // The header has been parsed: the length is there, and holds.
    let total_len = match *ip.link.pool.bytes(packet) {
        [_, _, high, low, ..] => usize::from(u16::from_be_bytes([high, low])),
        _ => 0,
    };
    if packet.len() > total_len {
        ip.link.pool.truncate(packet, total_len);
    }
    packet.pull(u16::from(received.header_len));
}

/// Limited and directed broadcast, and the groups that hosts are always in.
fn is_group(ip: &Ip, interface: InterfaceId, address: Ipv4Addr) -> bool {
    address.is_broadcast()
        || ip.link.snapshot.is_broadcast(interface, address)
        || address == Ipv4Addr::new(224, 0, 0, 1)
}

/// RFC 1122 §3.2.1.3: nobody sends from a group, from the loopback network or from an address of
/// ours (the LAND attack); 0.0.0.0 belongs to hosts that ask for their address by DHCP, which the
/// engine does not serve.
#[inline]
fn check_source(ip: &Ip, interface: InterfaceId, source: Ipv4Addr) -> Result<(), DropReason> {
    let [first, ..] = source.octets();
    let forbidden = first == 127 || first == 0 || first >= 224;
    if forbidden
        || ip.link.snapshot.is_local(source.into()).is_some()
        || ip.link.snapshot.is_broadcast(interface, source)
    {
        return Err(DropReason::IpBadSource);
    }
    Ok(())
}
