//! The host's links, addresses, routes and neighbours, as netlink tells them, and the snapshot
//! that follows from them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use corewire_drivers::device::LinkKind;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteNextHopFlags,
    RouteType,
};

use super::{Attachment, SlowPathConfig};
use crate::control::snapshot::{
    Interface, InterfaceAddress, InterfaceId, Prefix, Resolution, Route, RouteTable,
    SnapshotBuilder, Via,
};
use crate::packet::ethernet::MacAddr;

/// Where an interface stands in the kernel: its index, which outlives a change of name.
pub(super) type LinkIndex = u32;

/// The host's network, as far as the engine wants to know it.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) links: BTreeMap<LinkIndex, Link>,
    pub(super) addresses: Vec<(LinkIndex, InterfaceAddress)>,
    pub(super) routes: Vec<KernelRoute>,
    pub(super) neighbors: BTreeMap<(LinkIndex, IpAddr), Neighbor>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) mac: MacAddr,
    pub(super) mtu: u32,
    pub(super) kind: LinkKind,
    pub(super) up: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct KernelRoute {
    destination: Prefix,
    metric: u32,
    source: Option<IpAddr>,
    mtu: Option<u32>,
    /// The ways that are alive, in the kernel's order; empty for destinations that the kernel
    /// forbids.
    hops: Vec<(LinkIndex, Option<IpAddr>)>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Neighbor {
    pub(super) mac: MacAddr,
    /// Not confirmed for a while: the kernel asks again only when it sends something itself.
    pub(super) stale: bool,
}

impl Link {
    /// The link that a message describes.
    pub(super) fn of(message: &LinkMessage) -> Option<(LinkIndex, Self)> {
        let kind = match message.header.link_layer_type {
            LinkLayerType::Ether => LinkKind::Ethernet,
            LinkLayerType::None => LinkKind::Ip,
            _ => return None,
        };
        let mut link = Self {
            name: String::new(),
            mac: MacAddr::UNSPECIFIED,
            mtu: 0,
            kind,
            // Administratively up, and with a carrier (netif_oper_up).
            up: message.header.flags.contains(LinkFlags::Up | LinkFlags::Running),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(bytes) => link.mac = mac(bytes).unwrap_or_default(),
                _ => {}
            }
        }
        (!link.name.is_empty()).then_some((message.header.index, link))
    }
}

/// The address that a message describes, if it can be used: the kernel has proved that nobody
/// else has it, and it is known beyond this host.
pub(super) fn address_of(message: &AddressMessage) -> Option<(LinkIndex, InterfaceAddress)> {
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut address, mut local) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(found) => address = Some(*found),
            AddressAttribute::Local(found) => local = Some(*found),
            AddressAttribute::Flags(found) => flags |= *found,
            _ => {}
        }
    }
    let unproved =
        flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    if unproved
        || flags.contains(AddressFlags::Dadfailed)
        || message.header.scope == AddressScope::Host
    {
        return None;
    }
    // On a point-to-point link `Address` is the other end, and `Local` is ours.
    let mut ours = InterfaceAddress::new(local.or(address)?, message.header.prefix_len);
    ours.deprecated = flags.contains(AddressFlags::Deprecated);
    Some((message.header.index, ours))
}

impl KernelRoute {
    /// The route that a message describes, if it is of the main table and for packets to other
    /// hosts.
    pub(super) fn of(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let forbidden = match header.kind {
            RouteType::Unicast => false,
            RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => true,
            _ => return None,
        };
        let (mut table, mut metric) = (u32::from(header.table), 0);
        let (mut destination, mut source, mut mtu) = (None, None, None);
        let mut hops = Vec::new();
        let (mut out, mut gateway) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(found) => table = *found,
                RouteAttribute::Priority(found) => metric = *found,
                RouteAttribute::Destination(found) => destination = ip(found),
                RouteAttribute::PrefSource(found) => source = ip(found),
                RouteAttribute::Oif(found) => out = Some(*found),
                RouteAttribute::Gateway(found) => gateway = ip(found),
                // A gateway of the other IP version: an answer would need its neighbours.
                RouteAttribute::Via(_) => return None,
                RouteAttribute::Metrics(metrics) => {
                    mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    });
                }
                RouteAttribute::MultiPath(found) => {
                    let alive = found.iter().filter(|hop| !hop.flags.intersects(DEAD));
                    hops.extend(alive.map(|hop| {
                        let gateway = hop.attributes.iter().find_map(|attribute| match attribute {
                            RouteAttribute::Gateway(gateway) => ip(gateway),
                            _ => None,
                        });
                        (hop.interface_index, gateway)
                    }));
                }
                _ => {}
            }
        }
        if table != u32::from(RouteHeader::RT_TABLE_MAIN) || header.source_prefix_length > 0 {
            return None;
        }
        if forbidden {
            hops.clear();
        } else if let Some(out) = out {
            let dead = RouteNextHopFlags::from_bits_retain(header.flags.bits() as u8);
            if dead.intersects(DEAD) {
                return None;
            }
            hops.push((out, gateway));
        }
        if hops.is_empty() && !forbidden {
            return None;
        }
        let any = match header.address_family {
            netlink_packet_route::AddressFamily::Inet => Prefix::ALL_V4,
            netlink_packet_route::AddressFamily::Inet6 => Prefix::ALL_V6,
            _ => return None,
        };
        let len = header.destination_prefix_length;
        let destination =
            Prefix::holding(destination.unwrap_or_else(|| any.address()), len).ok()?;
        Some(Self { destination, metric, source, mtu, hops })
    }
}

/// The neighbour that a message describes: `None` inside when nobody knows its station address.
pub(super) fn neighbor_of(
    message: &NeighbourMessage,
) -> Option<((LinkIndex, IpAddr), Option<Neighbor>)> {
    let (mut address, mut station) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => {
                address = Some(IpAddr::V4(*found));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => {
                address = Some(IpAddr::V6(*found));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => station = mac(bytes),
            _ => {}
        }
    }
    let address = address.filter(|address| !address.is_multicast())?;
    use NeighbourState::{Delay, Permanent, Probe, Reachable, Stale};
    let valid = matches!(message.header.state, Reachable | Stale | Delay | Probe | Permanent);
    let stale = message.header.state == Stale;
    let known = station.filter(|mac| valid && mac.is_unicast());
    Some(((message.header.ifindex, address), known.map(|mac| Neighbor { mac, stale })))
}

impl World {
    /// The index of the link of that name.
    pub(super) fn index(&self, name: &str) -> Option<LinkIndex> {
        self.links.iter().find(|(_, link)| link.name == name).map(|(index, _)| *index)
    }

    /// What a snapshot of the world is made of. `last` has each interface as it was when it was
    /// there last; `routes` are those of an earlier snapshot, if nothing has changed but
    /// neighbours.
    pub(super) fn builder(
        &self,
        config: &SlowPathConfig,
        last: &[(LinkIndex, Link)],
        routes: Option<Arc<RouteTable>>,
        generation: u32,
    ) -> SnapshotBuilder {
        let ids: HashMap<LinkIndex, InterfaceId> =
            last.iter().zip(0..).map(|((index, _), id)| (*index, InterfaceId(id))).collect();
        let mut builder = crate::control::Snapshot::builder(generation);
        for ((attachment, (index, link)), id) in config.interfaces.iter().zip(last).zip(0..) {
            builder = builder.interface(self.interface(InterfaceId(id), attachment, *index, link));
        }
        builder = match routes {
            Some(routes) => builder.routes_of(routes),
            None => {
                let configured = config.routes.iter().copied();
                configured.chain(self.routes(config, &ids)).fold(builder, SnapshotBuilder::route)
            }
        };
        for ((index, address), neighbor) in &self.neighbors {
            if let Some(id) = ids.get(index)
                && config.resolution(*id) == Resolution::Kernel
            {
                builder = builder.neighbor(*id, *address, neighbor.mac);
            }
        }
        // The configured ones last: they count.
        let configured = config.neighbors.iter();
        configured
            .fold(builder, |builder, (id, address, mac)| builder.neighbor(*id, *address, *mac))
    }

    fn interface(
        &self,
        id: InterfaceId,
        attachment: &Attachment,
        index: LinkIndex,
        link: &Link,
    ) -> Interface {
        let kernels = || {
            let here = self.addresses.iter().filter(|(at, _)| *at == index);
            here.map(|(_, address)| *address).collect()
        };
        Interface {
            id,
            name: link.name.clone(),
            mac: link.mac,
            mtu: link.mtu,
            link: link.kind,
            up: link.up && self.links.contains_key(&index),
            addresses: attachment.addresses.clone().unwrap_or_else(kernels),
            groups: attachment.groups.clone(),
            resolution: attachment.resolution(),
        }
    }

    /// The kernel's routes, as the engine must see them.
    ///
    /// A route over an interface that the engine does not have forbids its destinations: the
    /// kernel would not send there over ours. It never stands against a route of ours to the same
    /// destination, as a second default route. Where the engine has addresses of its own the
    /// kernel's other links are none of its business.
    fn routes<'a>(
        &'a self,
        config: &'a SlowPathConfig,
        ids: &'a HashMap<LinkIndex, InterfaceId>,
    ) -> impl Iterator<Item = Route> + 'a {
        let shares = config.interfaces.iter().any(|a| a.resolution() == Resolution::Kernel);
        self.routes.iter().filter_map(move |route| {
            let KernelRoute { destination, metric, source, mtu, hops } = route;
            let (destination, metric) = (*destination, *metric);
            if hops.is_empty() {
                return Some(Route { destination, via: None, metric });
            }
            let ours = hops.iter().find_map(|(index, hop)| ids.get(index).map(|id| (*id, *hop)));
            let Some((interface, next_hop)) = ours else {
                return shares.then_some(Route { destination, via: None, metric: u32::MAX });
            };
            // Where the engine has its own addresses, the kernel's is not one to speak from.
            let kernels = config.resolution(interface) == Resolution::Kernel;
            let source = source.filter(|_| kernels);
            let via = Via { interface, next_hop, source, mtu: *mtu };
            Some(Route { destination, via: Some(via), metric })
        })
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> Option<MacAddr> {
    bytes.try_into().ok().map(MacAddr)
}

/// Hops that lead nowhere: their interface is gone, or without carrier.
const DEAD: RouteNextHopFlags = RouteNextHopFlags::Dead.union(RouteNextHopFlags::Linkdown);

#[cfg(test)]
mod tests;
