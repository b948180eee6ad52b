//! ICMP: echo, and errors within a rate (RFC 792, RFC 1122 §3.2.2).

use corewire_drivers::env::{Counter, DropReason, Instant};
use corewire_drivers::mem::Packet;

use super::output::DEFAULT_TTL;
use super::{Ip, Received};
use crate::flow::Tuple;
use crate::packet::checksum::Sum;
use crate::packet::icmp::{self, Message, Unreachable};
use crate::packet::{Protocol, ipv4};

/// What became of an ICMP message.
#[derive(Debug, Eq, PartialEq)]
pub enum Inbound {
    /// The packet is the answer now; send it back to where it came from.
    Answer,
    /// A datagram of ours did not reach its destination.
    Unreachable {
        /// Whose it was: its source is this end.
        tuple: Tuple,
        /// Why.
        reason: Unreachable,
    },
}

/// Deals with an ICMP message, which starts behind its IP header.
///
/// # Errors
/// Why it is to be dropped.
pub fn input(ip: &Ip, received: &Received, packet: &mut Packet) -> Result<Inbound, DropReason> {
    ip.link.counters.add(Counter::IcmpIn, 1);
    icmp::verify(ip.link.pool.segments(packet))?;
    match Message::parse(ip.link.pool.bytes(packet))? {
        // RFC 1122 §3.2.2.6 lets a host ignore an echo to a group; one that does not takes part in
        // smurf attacks.
        Message::EchoRequest(_) if received.to_group => Err(DropReason::IcmpIgnored),
        Message::EchoRequest(echo) => {
            let rest = packet_sum(ip, packet, icmp::HEADER_LEN);
            Message::EchoReply(echo).emit(ip.link.pool.bytes_mut(packet), rest);
            Ok(Inbound::Answer)
        }
        Message::Unreachable { reason } => {
            let quoted = ip.link.pool.bytes(packet).get(icmp::HEADER_LEN..);
            let tuple = quoted_udp(quoted.unwrap_or_default())?;
            Ok(Inbound::Unreachable { tuple, reason })
        }
        _ => Err(DropReason::IcmpIgnored),
    }
}

/// The sum of the packet behind its first `skip` bytes, which the first frame holds.
fn packet_sum(ip: &Ip, packet: &Packet, skip: usize) -> Sum {
    let mut skip = skip;
    ip.link.pool.segments(packet).fold(Sum::new(), |sum, segment| {
        let rest = segment.get(skip..).unwrap_or_default();
        skip = 0;
        sum.with(rest)
    })
}

/// Both ends of the UDP datagram that an error quotes: we were its source.
fn quoted_udp(bytes: &[u8]) -> Result<Tuple, DropReason> {
    let header = ipv4::Header::parse_quoted(bytes)?;
    if header.protocol != Protocol::UDP || header.fragment.offset != 0 {
        return Err(DropReason::IcmpIgnored);
    }
    let ports = bytes.get(usize::from(header.header_len)..).and_then(<[u8]>::first_chunk::<4>);
    let Some(&[s0, s1, d0, d1]) = ports else { return Err(DropReason::IcmpMalformed) };
    let end = |address: std::net::Ipv4Addr, high, low| {
        std::net::SocketAddr::new(address.into(), u16::from_be_bytes([high, low]))
    };
    Ok(Tuple::new(end(header.source, s0, s1), end(header.destination, d0, d1)))
}

/// Sends the packet, an ICMP message, back to where `received` came from.
pub fn answer(ip: &mut Ip, now: Instant, received: &Received, packet: Packet) {
    ip.link.counters.add(Counter::IcmpOut, 1);
    let (ours, theirs) = (received.addresses.destination(), received.addresses.source());
    let ours = ip.link.snapshot.is_local(ours).map(|_| ours);
    match ip.path(now, ours, theirs) {
        Ok(path) => {
            // What can't be sent has been counted.
            let _ = ip.output(now, &path, Protocol::ICMP, DEFAULT_TTL, packet);
        }
        Err(reason) => ip.link.discard(packet, reason),
    }
}

/// Tells the sender of a UDP datagram that nobody has its port, within the rate limit.
///
/// `packet` starts behind the IP header that `received` describes, and does so again afterwards.
pub fn port_unreachable(ip: &mut Ip, now: Instant, received: &Received, packet: &mut Packet) {
    // RFC 1122 §3.2.2: no error about a packet to a group.
    if received.to_group {
        return;
    }
    if !ip.replies.allow(now, received.addresses.source()) {
        ip.link.counters.add_drop(DropReason::RateLimited);
        return;
    }
    let Some(mut frame) = ip.link.pool.take() else {
        ip.link.counters.add_drop(DropReason::NoFrame);
        return;
    };
    // Pulled headers are still there: nobody has written to the frame.
    let header_len = u16::from(received.header_len);
    packet.push(header_len);
    let room = MAX_ERROR_LEN - ipv4::HEADER_LEN - icmp::HEADER_LEN;
    let quoted = ip.link.pool.bytes(packet);
    let quoted = &quoted[..quoted.len().min(room)];
    frame.set_range(frame.head(), (icmp::HEADER_LEN + quoted.len()) as u16);
    let mut error = Packet::from(frame);
    let bytes = ip.link.pool.bytes_mut(&mut error);
    bytes[icmp::HEADER_LEN..].copy_from_slice(quoted);
    let message = Message::Unreachable { reason: Unreachable::PORT };
    message.emit(bytes, Sum::new().with(quoted));
    packet.pull(header_len);
    answer(ip, now, received, error);
}

/// The largest error: what every host must be able to take (RFC 1812 §4.3.2.3).
const MAX_ERROR_LEN: usize = 576;
