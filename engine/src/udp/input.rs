//! Datagrams in: which socket?

use corewire_drivers::mem::{Packet, Pool};

use super::Sockets;
use crate::ip;
use crate::packet::checksum::Sum;
use crate::packet::{DropReason, Protocol, udp};

/// A datagram for one of our sockets. Its addresses stand in what the network layer says of it.
#[derive(Copy, Clone, Debug)]
pub struct Received {
    /// The socket's slot.
    pub slot: u32,
    /// The sender's port, and the port that it was sent to.
    pub ports: (u16, u16),
    /// Bytes of payload.
    pub payload_len: u16,
}

/// Reads the UDP header of the datagram that begins `skip` bytes into `packet`, and finds its
/// socket. `bytes` is what the first frame holds from there on.
///
/// # Errors
/// Why it is to be dropped.
#[inline(always)]
pub fn input(
    sockets: &Sockets,
    received: &ip::Received,
    bytes: &[u8],
    whole: (&Pool, &Packet, usize),
) -> Result<Received, DropReason> {
    let header = udp::Header::parse(bytes, usize::from(received.payload_len))?;
    match bytes.get(..usize::from(header.length)) {
        Some(datagram) => header.verify(&received.addresses, [datagram])?,
        None => verify_pieces(&header, received, whole)?,
    }
    let ports = (header.source_port, header.destination_port);
    let slot = sockets.lookup(&received.addresses, ports, received.to_group);
    let slot = slot.ok_or(DropReason::UdpNoSocket)?;
    Ok(Received { slot, ports, payload_len: header.payload_len() })
}

/// Checks a datagram that goes on in further frames.
#[cold]
fn verify_pieces(
    header: &udp::Header,
    received: &ip::Received,
    (pool, packet, skip): (&Pool, &Packet, usize),
) -> Result<(), DropReason> {
    if header.checksum == 0 && !received.addresses.is_v6() {
        return Ok(());
    }
    let (mut skip, mut left) = (skip, usize::from(header.length));
    let pseudo = received.addresses.pseudo_header(Protocol::UDP, header.length);
    let sum = pool.segments(packet).fold(pseudo, |sum: Sum, segment| {
        let segment = segment.get(skip..).unwrap_or_default();
        let piece = &segment[..segment.len().min(left)];
        (skip, left) = (0, left - piece.len());
        sum.with(piece)
    });
    if left == 0 && sum.is_valid() { Ok(()) } else { Err(DropReason::UdpChecksum) }
}
