//! Frames in: for us? of which kind?

use crate::packet::DropReason;
use crate::packet::ethernet::{EtherType, Header, MacAddr};

/// What a frame for us carries.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Inbound {
    /// What stands behind the header.
    pub ether_type: EtherType,
    /// Bytes of the header with its tags.
    pub header_len: u16,
}

/// Reads the Ethernet header of a frame that came in where our address is `ours`.
///
/// # Errors
/// Why the frame is to be dropped.
#[inline(always)]
pub fn input(bytes: &[u8], ours: MacAddr) -> Result<Inbound, DropReason> {
    let header = Header::parse(bytes)?;
    if header.destination != ours && !header.destination.is_multicast() {
        return Err(DropReason::NotOurMac);
    }
    // Priority tags (VLAN 0) mean the untagged network; no interface of ours is a VLAN's.
    if header.tags.outer().is_some_and(|tag| tag.id() != 0) || header.tags.inner().is_some() {
        return Err(DropReason::VlanUnknown);
    }
    Ok(Inbound { ether_type: header.ether_type, header_len: header.header_len() as u16 })
}
