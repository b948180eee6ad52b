//! Datagrams out: the header, its checksum, and the way.

use std::net::SocketAddr;

use corewire_drivers::env::{Counter, Instant};
use corewire_drivers::mem::Packet;

use super::flows::Flow;
use super::template::{MAX_PAYLOAD, ROOM, Template};
use super::{Socket, Sockets};
use crate::ip::{Ip, Path};
use crate::packet::checksum::Sum;
use crate::packet::{DropReason, Protocol, udp};
use crate::socket::SocketId;

/// Sends `packet`, a payload, from socket `id` to `peer`.
///
/// The way is found once, and its headers are written once, for as long as nothing on it changes.
///
/// # Errors
/// Why it was dropped; it has been counted and freed.
#[inline]
pub fn output(
    ip: &mut Ip,
    sockets: &mut Sockets,
    now: Instant,
    id: SocketId,
    peer: SocketAddr,
    packet: Packet,
) -> Result<(), DropReason> {
    let Some((socket, place)) = sockets.sender(id, peer) else {
        ip.link.discard(packet, DropReason::SocketClosed);
        return Err(DropReason::SocketClosed);
    };
    if let Some(flow) = place
        && flow.leads(id, socket, peer)
        && let Some((device, template)) = &flow.template
        && ip.is_ready(now, &flow.path)
        && packet.is_linear()
        && packet.headroom() >= ROOM
        && packet.len() <= usize::from(template.max_payload)
    {
        return with_template(ip, template, *device, packet);
    }
    layer_by_layer(ip, now, (id, socket, place), peer, packet)
}

impl Flow {
    /// Whether this is the way from `socket` to `peer`.
    #[inline]
    fn leads(&self, id: SocketId, socket: &Socket, peer: SocketAddr) -> bool {
        self.to == peer && self.socket == id && self.epoch == socket.epoch
    }
}

#[inline]
fn with_template(
    ip: &mut Ip,
    template: &Template,
    place: usize,
    mut packet: Packet,
) -> Result<(), DropReason> {
    packet.push(ROOM as u16);
    if let Some((headers, payload)) = ip.link.pool.bytes_mut(&mut packet).split_first_chunk_mut() {
        template.write(headers, payload);
    }
    packet.pull(ROOM as u16 - template.len);
    ip.link.counters.add(Counter::UdpOut, 1);
    ip.link.output_framed(place, packet)
}

/// The long way: for the first datagram to a peer, and for those of several frames.
#[cold]
fn layer_by_layer(
    ip: &mut Ip,
    now: Instant,
    (id, socket, place): (SocketId, &Socket, &mut Option<Flow>),
    peer: SocketAddr,
    mut packet: Packet,
) -> Result<(), DropReason> {
    let path = match place {
        Some(flow)
            if flow.leads(id, socket, peer)
                && flow.template.is_some()
                && ip.is_ready(now, &flow.path) =>
        {
            flow.path
        }
        _ => match find_path(ip, now, (id, socket, place), peer) {
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
    let payload = ip.link.pool.segments(&packet).fold(Sum::new(), Sum::with);
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

fn find_path(
    ip: &mut Ip,
    now: Instant,
    (id, socket, place): (SocketId, &Socket, &mut Option<Flow>),
    peer: SocketAddr,
) -> Result<Path, DropReason> {
    let source = Some(socket.local.ip()).filter(|address| !address.is_unspecified());
    let path = ip.path(now, source, peer.ip())?;
    if path.to_group && !peer.ip().is_multicast() && !socket.broadcast {
        return Err(DropReason::BroadcastNotAllowed);
    }
    let ports = (socket.local.port(), peer.port());
    let template = ip.station(now, &path).and_then(|(place, stations)| {
        Some((place, Template::new(&path, stations, socket.ttl, ports)?))
    });
    *place = Some(Flow { socket: id, epoch: socket.epoch, to: peer, path, template });
    Ok(path)
}
