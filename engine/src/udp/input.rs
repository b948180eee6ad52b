//! Datagrams in: which socket?

use std::net::SocketAddr;

use corewire_drivers::env::Counter;
use corewire_drivers::mem::Packet;

use super::Sockets;
use crate::ip::{self, Ip};
use crate::packet::{DropReason, udp};

/// A datagram for one of our sockets. The packet starts at its payload.
#[derive(Copy, Clone, Debug)]
pub struct Received {
    /// The socket's slot.
    pub slot: u32,
    /// Who sent it.
    pub source: SocketAddr,
    /// What it was sent to.
    pub destination: SocketAddr,
    /// Bytes of the IP header, which stands before the UDP header before the payload.
    pub ip_header_len: u8,
}

/// Takes the UDP header off a packet and finds its socket.
///
/// # Errors
/// Why it is to be dropped. The packet starts at its UDP header then.
#[inline]
pub fn input(
    sockets: &Sockets,
    ip: &mut Ip,
    received: &ip::Received,
    packet: &mut Packet,
) -> Result<Received, DropReason> {
    let link = &mut ip.link;
    if packet.first().len() < udp::HEADER_LEN as u16 && !packet.is_linear() {
        link.pool.pull_up(packet, udp::HEADER_LEN).map_err(|_| DropReason::UdpMalformed)?;
    }
    let header = udp::Header::parse(link.pool.bytes(packet), packet.len())?;
    if packet.len() > usize::from(header.length) {
        // Bytes behind the datagram are no part of it.
        link.pool.truncate(packet, usize::from(header.length));
    }
    if packet.is_linear() {
        header.verify(&received.addresses, [link.pool.bytes(packet)])?;
    } else {
        header.verify(&received.addresses, link.pool.segments(packet))?;
    }
    link.counters.add(Counter::UdpIn, 1);
    let source = SocketAddr::new(received.addresses.source(), header.source_port);
    let destination = SocketAddr::new(received.addresses.destination(), header.destination_port);
    let slot =
        sockets.lookup(destination, source, received.to_group).ok_or(DropReason::UdpNoSocket)?;
    packet.pull(udp::HEADER_LEN as u16);
    Ok(Received { slot, source, destination, ip_header_len: received.header_len })
}
