//! Packets in: valid? ours?

use crate::control::snapshot::{InterfaceId, Ipv4Scope, Snapshot};
use crate::packet::{Addresses, DropReason, Protocol, ipv4};

/// What the network layer knows of a packet that it hands on.
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
    /// Bytes of what stands behind it. The frame may be longer: that is padding.
    pub payload_len: u16,
    /// Whether it was for more than one host: no error is ever sent about such a packet, and only
    /// sockets that are bound to no address get it.
    pub to_group: bool,
}

/// Reads the IPv4 header of a packet that came in on `interface`. `bytes` begins with it;
/// `available` counts the bytes from there to the end of the frame, in all of its pieces.
///
/// # Errors
/// Why the packet is to be dropped.
#[inline(always)]
pub fn ipv4(
    snapshot: &Snapshot,
    interface: InterfaceId,
    bytes: &[u8],
    available: usize,
) -> Result<Received, DropReason> {
    let header = ipv4::Header::parse(bytes, available)?;
    // The weak host model (RFC 1122 §3.3.4.2), as Linux: any address of ours on any interface.
    let to_group = match snapshot.ipv4_scope(interface, header.destination) {
        Ipv4Scope::Ours => false,
        Ipv4Scope::Group => true,
        Ipv4Scope::Others => return Err(DropReason::IpNotForUs),
    };
    // 0.0.0.0 belongs to hosts that ask for their address by DHCP, which the engine does not
    // serve.
    if snapshot.is_martian_source_v4(interface, header.source) {
        return Err(DropReason::IpBadSource);
    }
    if header.fragment.is_part() {
        return Err(DropReason::IpFragment);
    }
    Ok(Received {
        addresses: header.addresses(),
        protocol: header.protocol,
        interface,
        header_len: header.header_len,
        payload_len: header.payload_len(),
        to_group,
    })
}
