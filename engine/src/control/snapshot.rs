//! What the packet path reads: interfaces, addresses, routes, neighbours.
//!
//! A snapshot never changes. The control plane builds the next one and the worker swaps it in
//! between two bursts, so every packet of a burst sees the same world and nobody takes a lock.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Collects what a snapshot is made of, and checks it.
mod builder;
/// What does not fit together, and how to mend it.
mod error;
/// Which source address goes to which destination (RFC 6724, RFC 1122).
mod source_address;

use corewire_drivers::device::LinkKind;

pub use self::builder::SnapshotBuilder;
pub use self::error::SnapshotError;
pub use crate::ip::route::{InterfaceId, Prefix, Route, RouteTable, Via};
use crate::packet::ethernet::MacAddr;

/// Interfaces of one engine: what an [`InterfaceId`] can name.
pub const MAX_INTERFACES: usize = 256;

/// The smallest MTU at which IPv4 works: RFC 791 lets every router pass on 68 bytes.
pub const MIN_MTU: u32 = 68;

/// The smallest MTU at which IPv6 works (RFC 8200 §5).
pub const MIN_MTU_V6: u32 = 1280;

/// One state of the world, as the packet path sees it.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts up with every snapshot: what was derived from an older one must be looked up anew.
    pub generation: u32,
    /// The interfaces; an [`InterfaceId`] is the place here.
    pub interfaces: Vec<Interface>,
    /// The routes, which successive snapshots share as long as they stay the same: a million take
    /// a second to build.
    pub routes: Arc<RouteTable>,
    /// Every address of ours, sorted. Few, so a search by bisection stays in one cache line.
    local_v4: Vec<(u32, InterfaceId)>,
    local_v6: Vec<(u128, InterfaceId)>,
    /// Every address that means all stations of a link, or a group that its interface is in.
    groups_v4: Vec<(u32, InterfaceId)>,
    /// What the kernel has resolved, and what the configuration says; sorted.
    neighbors_v4: Vec<((InterfaceId, u32), MacAddr)>,
    neighbors_v6: Vec<((InterfaceId, u128), MacAddr)>,
}

/// One interface of the engine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// Its place in [`Snapshot::interfaces`].
    pub id: InterfaceId,
    /// The name that the kernel has for it, for messages.
    pub name: String,
    /// Its station address; unspecified where there is none.
    pub mac: MacAddr,
    /// The largest IP packet in bytes.
    pub mtu: u32,
    /// What its frames start with.
    pub link: LinkKind,
    /// Whether frames flow; a route over an interface that is down leads nowhere.
    pub up: bool,
    /// The addresses that the engine answers for; the first of a version is the primary one.
    pub addresses: Vec<InterfaceAddress>,
    /// Groups that the engine has joined here, besides those that every host is in.
    pub groups: Vec<IpAddr>,
    /// Who finds out the neighbours' station addresses.
    pub resolution: Resolution,
}

/// An address of ours.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits that it shares with its neighbours on the link.
    pub prefix_len: u8,
    /// Answered, but not chosen for something new while there is another (RFC 6724 rule 3).
    pub deprecated: bool,
}

/// Who finds out the neighbours' station addresses.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Resolution {
    /// The engine, by ARP and neighbour discovery: it owns the addresses.
    #[default]
    Engine,
    /// The kernel, which has the same addresses (steering mode `ports`); the engine reads its
    /// table and asks it to resolve.
    Kernel,
}

/// The way to one destination.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct NextHop {
    /// The interface that the packet leaves by.
    pub interface: InterfaceId,
    /// Whose station address it goes to: a gateway, or the destination.
    pub next_hop: IpAddr,
    /// The source address, where the socket is not bound to one.
    pub source: IpAddr,
    /// The largest IP packet on this way in bytes.
    pub mtu: u32,
}

impl Snapshot {
    /// A builder for a snapshot of this generation.
    #[must_use]
    pub fn builder(generation: u32) -> SnapshotBuilder {
        SnapshotBuilder::new(generation)
    }

    /// The interface of that id.
    #[inline]
    #[must_use]
    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(usize::from(id.0))
    }

    /// The interface that has `address`, if it is ours. Of a link-local one, which several may
    /// have, the first; ask [`has_address`](Self::has_address) about those.
    #[inline]
    #[must_use]
    pub fn is_local(&self, address: IpAddr) -> Option<InterfaceId> {
        match address {
            IpAddr::V4(address) => find(&self.local_v4, address.to_bits()),
            IpAddr::V6(address) => find(&self.local_v6, address.to_bits()),
        }
    }

    /// Whether `address` is ours on `interface`.
    #[inline]
    #[must_use]
    pub fn has_address(&self, interface: InterfaceId, address: IpAddr) -> bool {
        self.interface(interface).is_some_and(|interface| interface.has_address(address))
    }

    /// Whether `address` means every station on the link of `interface`: the limited broadcast
    /// address, or that of one of its subnets.
    #[inline]
    #[must_use]
    pub fn is_broadcast(&self, interface: InterfaceId, address: Ipv4Addr) -> bool {
        address.is_broadcast()
            || self.interface(interface).is_some_and(|i| i.is_directed_broadcast(address))
    }

    /// Whether what is sent to `group` on `interface` is for us too.
    #[inline]
    #[must_use]
    pub fn is_multicast_joined(&self, interface: InterfaceId, group: IpAddr) -> bool {
        self.interface(interface).is_some_and(|interface| interface.is_joined(group))
    }

    /// Whom a packet to `address` that came in on `interface` is for.
    #[inline]
    #[must_use]
    pub fn ipv4_scope(&self, interface: InterfaceId, address: Ipv4Addr) -> Ipv4Scope {
        let address = address.to_bits();
        // A host has few addresses: to look at each is faster than any search.
        if self.local_v4.iter().any(|ours| ours.0 == address) {
            Ipv4Scope::Ours
        } else if self.groups_v4.contains(&(address, interface)) {
            Ipv4Scope::Group
        } else {
            Ipv4Scope::Others
        }
    }

    /// As [`is_martian_source`](Self::is_martian_source).
    #[inline]
    #[must_use]
    pub fn is_martian_source_v4(&self, interface: InterfaceId, source: Ipv4Addr) -> bool {
        let [first, ..] = source.octets();
        let forbidden = first == 0 || first == 127 || first >= 224;
        forbidden || self.ipv4_scope(interface, source) != Ipv4Scope::Others
    }

    /// The station address of a neighbour that the kernel has resolved or the configuration
    /// gives.
    #[inline]
    #[must_use]
    pub fn neighbor(&self, interface: InterfaceId, address: IpAddr) -> Option<MacAddr> {
        match address {
            IpAddr::V4(address) => find(&self.neighbors_v4, (interface, address.to_bits())),
            IpAddr::V6(address) => find(&self.neighbors_v6, (interface, address.to_bits())),
        }
    }

    /// The way to `destination`, which is not one of ours; `None` when no route leads there over
    /// an interface that is up, or no address of ours could be the source.
    #[inline]
    #[must_use]
    pub fn route(&self, destination: IpAddr) -> Option<NextHop> {
        let via = self.routes.lookup(destination)?;
        let interface = self.interface(via.interface).filter(|interface| interface.up)?;
        let to_group = destination.is_multicast()
            || matches!(destination, IpAddr::V4(v4) if self.is_broadcast(via.interface, v4));
        // What is for everybody on the link goes to them, whatever the gateway.
        let next_hop = via.next_hop.filter(|_| !to_group).unwrap_or(destination);
        let source = match via.source {
            Some(source) => source,
            None => source_address::choose(&self.interfaces, interface, next_hop, destination)?,
        };
        let mtu = via.mtu.map_or(interface.mtu, |mtu| mtu.min(interface.mtu));
        Some(NextHop { interface: via.interface, next_hop, source, mtu })
    }

    /// Whether no packet from elsewhere may have `source`: a group, an address of ours (the LAND
    /// attack), the loopback network, "this host" or a broadcast address (RFC 1122 §3.2.1.3,
    /// RFC 4291 §2.7 and §2.5.3).
    ///
    /// 0.0.0.0 and :: belong to hosts that ask for an address. Where one of those is to be
    /// heard, check for it first.
    #[inline]
    #[must_use]
    pub fn is_martian_source(&self, interface: InterfaceId, source: IpAddr) -> bool {
        is_martian(source)
            || source.is_multicast()
            || self.is_local(source).is_some()
            || matches!(source, IpAddr::V4(v4) if self.is_broadcast(interface, v4))
    }
}

/// Whom an IPv4 address means.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Ipv4Scope {
    /// Us.
    Ours,
    /// Everybody on the link, or a group that we are in.
    Group,
    /// Somebody else.
    Others,
}

/// Whether `address` must not be seen on a wire, as destination either: the loopback network,
/// "this network" (RFC 1122 §3.2.1.3), :: and ::1 (RFC 4291 §2.5), an IPv4 address in IPv6's
/// clothes (RFC 4291 §2.5.5.2 means them for programs, not for wires).
#[inline]
#[must_use]
pub const fn is_martian(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4.octets()[0], 0 | 127),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback() || v6.to_ipv4_mapped().is_some(),
    }
}

impl Interface {
    /// An Ethernet interface that is up, with no address yet.
    #[must_use]
    pub fn ethernet(id: InterfaceId, name: impl Into<String>, mac: MacAddr, mtu: u32) -> Self {
        Self {
            id,
            name: name.into(),
            mac,
            mtu,
            link: LinkKind::Ethernet,
            up: true,
            addresses: Vec::new(),
            groups: Vec::new(),
            resolution: Resolution::Engine,
        }
    }

    /// The same interface with one address more.
    #[must_use]
    pub fn with_address(mut self, address: IpAddr, prefix_len: u8) -> Self {
        self.addresses.push(InterfaceAddress::new(address, prefix_len));
        self
    }

    /// Whether `address` is one of its own.
    #[inline]
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|ours| ours.address == address)
    }

    /// The address to speak from to the on-link station `neighbor`: the first one on the same
    /// subnet, else the first one (RFC 1122 §3.3.4.3).
    #[inline]
    #[must_use]
    pub fn ipv4_towards(&self, neighbor: Ipv4Addr) -> Option<Ipv4Addr> {
        let v4 = |ours: &&InterfaceAddress| ours.address.is_ipv4();
        let near = |ours: &&InterfaceAddress| ours.is_on_link(neighbor.into());
        let ours = self.addresses.iter().find(near).or_else(|| self.addresses.iter().find(v4))?;
        match ours.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    /// Every address by which more stations than us are meant on this interface.
    fn ipv4_groups(&self) -> impl Iterator<Item = (u32, InterfaceId)> + '_ {
        let directed = self.addresses.iter().filter_map(InterfaceAddress::broadcast);
        let joined = self.groups.iter().filter_map(|group| match group {
            IpAddr::V4(group) => Some(*group),
            IpAddr::V6(_) => None,
        });
        let always = [Ipv4Addr::BROADCAST, ALL_SYSTEMS];
        directed.chain(joined).chain(always).map(|group| (group.to_bits(), self.id))
    }

    fn is_directed_broadcast(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|ours| ours.broadcast() == Some(address))
    }

    fn is_joined(&self, group: IpAddr) -> bool {
        let always = match group {
            IpAddr::V4(group) => group == ALL_SYSTEMS,
            IpAddr::V6(group) => {
                group == ALL_NODES
                    || self.addresses.iter().any(|ours| ours.solicited_node() == Some(group))
            }
        };
        always || self.groups.contains(&group)
    }
}

/// Every IPv4 host is in it (RFC 1112 §4).
const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// Every IPv6 node is in it (RFC 4291 §2.8).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

impl InterfaceAddress {
    /// An address and the bits that it shares with its neighbours.
    #[must_use]
    pub const fn new(address: IpAddr, prefix_len: u8) -> Self {
        Self { address, prefix_len, deprecated: false }
    }

    /// The subnet that the address is on.
    ///
    /// # Errors
    /// When the version has not so many bits.
    pub fn subnet(&self) -> Result<Prefix, crate::ip::route::PrefixError> {
        Prefix::holding(self.address, self.prefix_len)
    }

    /// Whether `address` is on the same subnet.
    #[inline]
    #[must_use]
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        self.subnet().is_ok_and(|subnet| subnet.contains(address))
    }

    #[inline]
    fn broadcast(&self) -> Option<Ipv4Addr> {
        self.subnet().ok()?.broadcast()
    }

    /// The group to which neighbour solicitations for the address go (RFC 4291 §2.7.1).
    fn solicited_node(&self) -> Option<Ipv6Addr> {
        let IpAddr::V6(address) = self.address else { return None };
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0);
        Some(Ipv6Addr::from_bits(group.to_bits() | address.to_bits() & 0xff_ffff))
    }
}

/// The value at `key` in a sorted list.
#[inline]
fn find<K: Ord, V: Copy>(sorted: &[(K, V)], key: K) -> Option<V> {
    let place = sorted.partition_point(|(have, _)| *have < key);
    sorted.get(place).filter(|(have, _)| *have == key).map(|&(_, value)| value)
}

#[cfg(test)]
mod tests;
