//! ARP for IPv4 over Ethernet (RFC 826), with the probes and announcements of RFC 5227.

use core::net::Ipv4Addr;

use super::{DropReason, MacAddr};

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const PACKET_LEN: usize = 28;

/// An ARP packet for IPv4 over Ethernet.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Packet {
    /// A question or an answer.
    pub operation: Operation,
    /// The sender's MAC address: of one station, never of a group.
    pub sender_mac: MacAddr,
    /// The sender's IPv4 address; unspecified in a probe.
    pub sender_ip: Ipv4Addr,
    /// The target's MAC address. Nothing in a request: the question is what it is.
    pub target_mac: MacAddr,
    /// The target's IPv4 address.
    pub target_ip: Ipv4Addr,
}

/// A question or an answer.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Operation {
    /// Who has the target's IPv4 address?
    Request,
    /// The sender has the sender's IPv4 address.
    Reply,
}

/// What an ARP packet is for.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Purpose {
    /// The sender asks for the target's MAC address.
    Request,
    /// The sender answers.
    Reply,
    /// The sender asks whether anybody has an address that it would like to take (RFC 5227 §2.1).
    /// Nothing is to be learnt from it: it says nothing about the sender.
    Probe,
    /// The sender tells everybody its address unasked (RFC 5227 §2.3), by request or by reply:
    /// gratuitous ARP.
    Announcement,
}

impl Packet {
    /// Reads an ARP packet. What stands behind it is the frame's padding.
    ///
    /// # Errors
    ///
    /// [`DropReason::ArpMalformed`] if it ends early, is not for IPv4 over Ethernet, or has a
    /// group address or none as sender; [`DropReason::ArpNotForUs`] for an operation that is
    /// neither request nor reply (RARP, InARP, …).
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let Some(&packet) = bytes.first_chunk::<PACKET_LEN>() else {
            return Err(DropReason::ArpMalformed);
        };
        let [k0, k1, k2, k3, k4, k5, o0, o1, addresses @ ..] = packet;
        if [k0, k1, k2, k3, k4, k5] != IPV4_OVER_ETHERNET {
            return Err(DropReason::ArpMalformed);
        }
        let [s0, s1, s2, s3, s4, s5, i0, i1, i2, i3, target @ ..] = addresses;
        let [t0, t1, t2, t3, t4, t5, j0, j1, j2, j3] = target;
        let operation = match u16::from_be_bytes([o0, o1]) {
            REQUEST => Operation::Request,
            REPLY => Operation::Reply,
            _ => return Err(DropReason::ArpNotForUs),
        };
        let sender_mac = MacAddr([s0, s1, s2, s3, s4, s5]);
        if !sender_mac.is_unicast() {
            return Err(DropReason::ArpMalformed);
        }
        Ok(Self {
            operation,
            sender_mac,
            sender_ip: Ipv4Addr::new(i0, i1, i2, i3),
            target_mac: MacAddr([t0, t1, t2, t3, t4, t5]),
            target_ip: Ipv4Addr::new(j0, j1, j2, j3),
        })
    }

    /// Writes the packet into the first [`PACKET_LEN`] bytes.
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than that: the caller has just made this room.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) {
        let operation = match self.operation {
            Operation::Request => REQUEST,
            Operation::Reply => REPLY,
        };
        let bytes = &mut bytes[..PACKET_LEN];
        bytes[..6].copy_from_slice(&IPV4_OVER_ETHERNET);
        bytes[6..8].copy_from_slice(&operation.to_be_bytes());
        bytes[8..14].copy_from_slice(&self.sender_mac.0);
        bytes[14..18].copy_from_slice(&self.sender_ip.octets());
        bytes[18..24].copy_from_slice(&self.target_mac.0);
        bytes[24..28].copy_from_slice(&self.target_ip.octets());
    }

    /// What the packet is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        match self.operation {
            Operation::Request if self.sender_ip.is_unspecified() => Purpose::Probe,
            _ if self.sender_ip == self.target_ip => Purpose::Announcement,
            Operation::Request => Purpose::Request,
            Operation::Reply => Purpose::Reply,
        }
    }

    /// The question who has `target`, asked by the station `mac` with the address `ip`.
    #[must_use]
    pub const fn request(mac: MacAddr, ip: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self {
            operation: Operation::Request,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: MacAddr::UNSPECIFIED,
            target_ip: target,
        }
    }

    /// The question whether anybody has `target`, which `mac` would like to take (RFC 5227
    /// §2.1.1).
    #[must_use]
    pub const fn probe(mac: MacAddr, target: Ipv4Addr) -> Self {
        Self::request(mac, Ipv4Addr::UNSPECIFIED, target)
    }

    /// The news that `mac` has the address `ip`, as a request (RFC 5227 §2.3, and why not as a
    /// reply: §3).
    #[must_use]
    pub const fn announcement(mac: MacAddr, ip: Ipv4Addr) -> Self {
        Self::request(mac, ip, ip)
    }

    /// The answer to this request: its target's address belongs to `mac`.
    #[must_use]
    pub const fn reply(&self, mac: MacAddr) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }
}

/// Hardware type 1 and address length 6, protocol type 0x0800 and address length 4 (RFC 826).
const IPV4_OVER_ETHERNET: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST_BYTES: [u8; 28] = [
        0, 1, 8, 0, 6, 4, 0, 1, // request
        2, 0, 0, 0, 0, 1, 10, 0, 0, 1, // sender
        0, 0, 0, 0, 0, 0, 10, 0, 0, 2, // target
    ];
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const TARGET: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    #[test]
    fn a_request_is_read_written_and_answered() {
        let request = Packet::parse(&REQUEST_BYTES).unwrap();
        assert_eq!(request, Packet::request(MAC, IP, TARGET));
        let reply = request.reply(OTHER);
        assert_eq!((reply.sender_mac, reply.sender_ip), (OTHER, TARGET));
        assert_eq!((reply.target_mac, reply.target_ip), (MAC, IP));
        for packet in [request, reply] {
            let mut bytes = [0; 28];
            packet.emit(&mut bytes);
            assert_eq!(Packet::parse(&bytes), Ok(packet));
        }
    }

    #[test]
    fn each_purpose_is_told() {
        let request = Packet::request(MAC, IP, TARGET);
        assert_eq!(request.purpose(), Purpose::Request);
        assert_eq!(request.reply(OTHER).purpose(), Purpose::Reply);
        assert_eq!(Packet::probe(MAC, TARGET).purpose(), Purpose::Probe);
        assert_eq!(Packet::announcement(MAC, IP).purpose(), Purpose::Announcement);
        let by_reply = Packet { operation: Operation::Reply, ..Packet::announcement(MAC, IP) };
        assert_eq!(by_reply.purpose(), Purpose::Announcement);
    }

    #[test]
    fn what_is_not_ipv4_over_ethernet_is_refused() {
        for len in 0..28 {
            assert_eq!(Packet::parse(&REQUEST_BYTES[..len]), Err(DropReason::ArpMalformed));
        }
        for at in 0..6 {
            let mut bytes = REQUEST_BYTES;
            bytes[at] ^= 0x10;
            assert_eq!(Packet::parse(&bytes), Err(DropReason::ArpMalformed), "byte {at}");
        }
        let mut rarp = REQUEST_BYTES;
        rarp[7] = 3;
        assert_eq!(Packet::parse(&rarp), Err(DropReason::ArpNotForUs));
        for first in [1, 0] {
            let mut bytes = REQUEST_BYTES;
            bytes[8..14].copy_from_slice(&[first, 0, 0, 0, 0, 0]);
            assert_eq!(Packet::parse(&bytes), Err(DropReason::ArpMalformed), "bad sender");
        }
    }
}
