//! Packets out: the way, and the header.

use std::net::{IpAddr, Ipv4Addr};

use corewire_drivers::device::LinkKind;
use corewire_drivers::env::{DropReason, Instant};
use corewire_drivers::mem::Packet;

use super::rate::ReplyLimit;
use crate::control::snapshot::InterfaceId;
use crate::flow::HashKey;
use crate::link::Link;
use crate::link::output::Hop;
use crate::packet::ethernet::{EtherType, MacAddr};
use crate::packet::{Addresses, Protocol, ipv4};

/// The network layer of one worker, on its link layer.
#[derive(Debug)]
pub struct Ip {
    /// What carries its packets.
    pub link: Link,
    /// How many errors and answers may go out.
    pub replies: ReplyLimit,
}

/// The way to one destination, found once and used for many packets.
#[derive(Copy, Clone, Debug)]
pub struct Path {
    /// Both ends.
    pub addresses: Addresses,
    /// The largest packet that fits, IP header included.
    pub mtu: u32,
    /// Whether it leads to more than one host.
    pub to_group: bool,
    interface: InterfaceId,
    hop: Hop,
    /// Of the snapshot by which the way was found.
    generation: u32,
}

/// Hops that a packet may take (RFC 1122 §3.2.1.7 asks for a default that can be configured; 64
/// is RFC 1700's).
pub const DEFAULT_TTL: u8 = 64;

impl Ip {
    /// A network layer on `link`.
    #[must_use]
    pub fn new(mut link: Link) -> Self {
        let key = HashKey::new(&mut link.rng);
        Self { link, replies: ReplyLimit::new(key) }
    }

    /// The way from `source`, or from the address that suits best, to `destination`.
    ///
    /// # Errors
    /// [`DropReason::NoRoute`], or [`DropReason::NeighborQueueFull`].
    pub fn path(
        &mut self,
        now: Instant,
        source: Option<IpAddr>,
        destination: IpAddr,
    ) -> Result<Path, DropReason> {
        let generation = self.link.snapshot.generation;
        if let IpAddr::V4(group) = destination
            && (group.is_broadcast() || group.is_multicast())
        {
            return self.group_path(source, group);
        }
        let next = self.link.snapshot.route(destination).ok_or(DropReason::NoRoute)?;
        let source = source.unwrap_or(next.source);
        let addresses = Addresses::new(source, destination).ok_or(DropReason::NoRoute)?;
        let to_group = matches!(destination, IpAddr::V4(address)
            if self.link.snapshot.is_broadcast(next.interface, address));
        let hop = if to_group {
            Hop::Station(MacAddr::BROADCAST)
        } else {
            Hop::Neighbor(self.link.find_neighbor(now, next.interface, next.next_hop)?)
        };
        Ok(Path { addresses, mtu: next.mtu, to_group, interface: next.interface, hop, generation })
    }

    /// The way to everybody, or to a group, on the interface of `source`, or on the first one.
    fn group_path(&self, source: Option<IpAddr>, group: Ipv4Addr) -> Result<Path, DropReason> {
        let snapshot = &self.link.snapshot;
        let interface = match source {
            Some(source) => snapshot.is_local(source),
            None => match snapshot.route(group.into()) {
                Some(next) => Some(next.interface),
                None => snapshot.interfaces.first().map(|interface| interface.id),
            },
        };
        let interface =
            interface.and_then(|id| snapshot.interface(id)).ok_or(DropReason::NoRoute)?;
        let source = source.or_else(|| interface.ipv4_towards(group).map(IpAddr::V4));
        let addresses = Addresses::new(source.ok_or(DropReason::NoRoute)?, group.into());
        let mac =
            if group.is_broadcast() { MacAddr::BROADCAST } else { MacAddr::of_ipv4_group(group) };
        Ok(Path {
            addresses: addresses.ok_or(DropReason::NoRoute)?,
            mtu: interface.mtu,
            to_group: true,
            interface: interface.id,
            hop: Hop::Station(mac),
            generation: snapshot.generation,
        })
    }

    /// Whether a packet can go this way at once: routes have not changed, and the neighbour's
    /// address is known and the same.
    #[inline]
    #[must_use]
    pub fn is_ready(&self, now: Instant, path: &Path) -> bool {
        path.generation == self.link.snapshot.generation
            && match path.hop {
                Hop::Neighbor(neighbor) => self.link.neighbors.is_ready(now, neighbor),
                Hop::Station(_) => true,
            }
    }

    /// Which device leads there, and from which station to which; `None` while the neighbour's
    /// address is not known.
    pub fn station(
        &mut self,
        now: Instant,
        path: &Path,
    ) -> Option<(usize, (LinkKind, MacAddr, MacAddr))> {
        self.link.station(now, path.interface, path.hop)
    }

    /// Puts the IP header before the packet, which starts at its transport header, and sends it.
    ///
    /// # Errors
    /// Why it was dropped; it has been counted and freed.
    #[inline]
    pub fn output(
        &mut self,
        now: Instant,
        path: &Path,
        protocol: Protocol,
        ttl: u8,
        mut packet: Packet,
    ) -> Result<(), DropReason> {
        let payload_len = packet.len();
        if payload_len + ipv4::HEADER_LEN > path.mtu as usize {
            self.link.discard(packet, DropReason::TooBig);
            return Err(DropReason::TooBig);
        }
        let Addresses::V4 { source, destination } = path.addresses else {
            self.link.discard(packet, DropReason::Ipv6Disabled);
            return Err(DropReason::Ipv6Disabled);
        };
        if !packet.push(ipv4::HEADER_LEN as u16) {
            self.link.discard(packet, DropReason::NoFrame);
            return Err(DropReason::NoFrame);
        }
        let mut header = ipv4::Header::new(source, destination, protocol, payload_len as u16);
        header.ttl = ttl;
        header.emit(self.link.pool.bytes_mut(&mut packet));
        self.link.output(now, path.interface, path.hop, EtherType::IPV4, packet)
    }
}
