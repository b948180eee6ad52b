//! Ethernet, VLAN, ARP.

use corewire::packet::vlan::{Kind, Tag};
use corewire::packet::{DropReason, EtherType, MacAddr, arp as ours, ethernet as eth};
use etherparse::{Ethernet2Header, SingleVlanHeader};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame};

/// An Ethernet frame.
pub fn ethernet(bytes: &[u8]) {
    let parsed = eth::Header::parse(bytes);
    let expected = expected_ethernet(bytes);
    assert_eq!(parsed.map(|header| (header.ether_type, header.header_len())), expected);
    let Ok(header) = parsed else { return };

    let frame = EthernetFrame::new_checked(bytes).unwrap();
    assert_eq!(header.destination, MacAddr(frame.dst_addr().0));
    assert_eq!(header.source, MacAddr(frame.src_addr().0));
    assert_eq!(header.destination.is_multicast(), frame.dst_addr().is_multicast());
    assert_eq!(header.source.to_string().parse(), Ok(header.source));

    let mut rest = &bytes[eth::HEADER_LEN..];
    for tag in [header.tags.outer(), header.tags.inner()].into_iter().flatten() {
        let (theirs, behind) = SingleVlanHeader::from_slice(rest).unwrap();
        let expected = Tag::new(tag.kind, theirs.vlan_id.value())
            .with_priority(theirs.pcp.value())
            .with_drop_eligible(theirs.drop_eligible_indicator);
        assert_eq!(tag, expected);
        assert!(matches!(tag.kind, Kind::Customer | Kind::Service));
        rest = behind;
    }

    let mut written = vec![0xaa; header.header_len()];
    header.emit(&mut written);
    assert_eq!(written, bytes[..header.header_len()]);
}

/// The Ethernet type behind the last tag and the header's length, as etherparse walks them.
fn expected_ethernet(bytes: &[u8]) -> Result<(EtherType, usize), DropReason> {
    let Ok((header, mut rest)) = Ethernet2Header::from_slice(bytes) else {
        return Err(DropReason::EthernetTruncated);
    };
    if EthernetAddress(header.source).is_multicast() {
        return Err(DropReason::EthernetBadSource);
    }
    let mut ether_type = header.ether_type.0;
    let mut len = eth::HEADER_LEN;
    while matches!(ether_type, 0x8100 | 0x88a8) {
        if len == eth::MAX_HEADER_LEN {
            return Err(DropReason::VlanUnknown);
        }
        let Ok((tag, behind)) = SingleVlanHeader::from_slice(rest) else {
            return Err(DropReason::EthernetTruncated);
        };
        (ether_type, rest) = (tag.ether_type.0, behind);
        len += 4;
    }
    Ok((EtherType(ether_type), len))
}

/// An ARP packet.
pub fn arp(bytes: &[u8]) {
    let parsed = ours::Packet::parse(bytes);
    let theirs = ArpPacket::new_checked(bytes).ok().and_then(|p| ArpRepr::parse(&p).ok());
    let Some(ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_hardware_addr,
        target_protocol_addr,
    }) = theirs
    else {
        assert_eq!(parsed, Err(DropReason::ArpMalformed));
        return;
    };
    let operation = match operation {
        ArpOperation::Request => ours::Operation::Request,
        ArpOperation::Reply => ours::Operation::Reply,
        _ => {
            assert_eq!(parsed, Err(DropReason::ArpNotForUs));
            return;
        }
    };
    if !source_hardware_addr.is_unicast() || source_hardware_addr.0 == [0; 6] {
        assert_eq!(parsed, Err(DropReason::ArpMalformed));
        return;
    }
    let packet = ours::Packet {
        operation,
        sender_mac: MacAddr(source_hardware_addr.0),
        sender_ip: source_protocol_addr,
        target_mac: MacAddr(target_hardware_addr.0),
        target_ip: target_protocol_addr,
    };
    assert_eq!(parsed, Ok(packet));
    let mut written = [0xaa; ours::PACKET_LEN];
    packet.emit(&mut written);
    assert_eq!(written, bytes[..ours::PACKET_LEN]);
}
