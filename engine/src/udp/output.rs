//! Datagrams out: the header, its checksum, and the way.

use std::net::SocketAddr;

use corewire_drivers::env::{Counter, Instant};
use corewire_drivers::mem::Packet;

use super::Socket;
use crate::ip::Ip;
use crate::packet::checksum::Sum;
use crate::packet::{DropReason, Protocol, udp};

/// Sends `packet`, a payload, from `socket` to `peer`.
///
/// The way is found once and kept with the socket for as long as it sends to the same peer.
///
/// # Errors
/// Why it was dropped; it has been counted and freed.
#[inline]
pub fn output(
    ip: &mut Ip,
    now: Instant,
    socket: &mut Socket,
    peer: SocketAddr,
    mut packet: Packet,
) -> Result<(), DropReason> {
    let path = match &socket.path {
        Some((to, path)) if *to == peer && ip.is_current(path) => *path,
        _ => match find_path(ip, now, socket, peer) {
            Ok(path) => path,
            Err(reason) => {
                ip.link.discard(packet, reason);
                return Err(reason);
            }
        },
    };
    if packet.len() > MAX_PAYLOAD {
        ip.link.discard(packet, DropReason::TooBig);
        return Err(DropReason::TooBig);
    }
    let payload = if packet.is_linear() {
        Sum::new().with(ip.link.pool.bytes(&packet))
    } else {
        ip.link.pool.segments(&packet).fold(Sum::new(), Sum::with)
    };
    let header = udp::Header::new(socket.local.port(), peer.port(), packet.len() as u16)
        .with_checksum(&path.addresses, payload);
    if !packet.push(udp::HEADER_LEN as u16) {
        ip.link.discard(packet, DropReason::NoFrame);
        return Err(DropReason::NoFrame);
    }
    header.emit(ip.link.pool.bytes_mut(&mut packet));
    ip.link.counters.add(Counter::UdpOut, 1);
    ip.output(now, &path, Protocol::UDP, socket.ttl, packet)
}

/// The largest payload of a datagram that is not cut: 65,535 less the headers of IPv4 and UDP.
pub const MAX_PAYLOAD: usize = 65_507;

#[cold]
fn find_path(
    ip: &mut Ip,
    now: Instant,
    socket: &mut Socket,
    peer: SocketAddr,
) -> Result<crate::ip::Path, DropReason> {
    let source = Some(socket.local.ip()).filter(|address| !address.is_unspecified());
    let path = ip.path(now, source, peer.ip())?;
    if path.to_group && !peer.ip().is_multicast() && !socket.broadcast {
        return Err(DropReason::BroadcastNotAllowed);
    }
    socket.path = Some((peer, path));
    Ok(path)
}
