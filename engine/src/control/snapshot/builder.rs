//! Collects what a snapshot is made of, and checks it.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    Interface, InterfaceAddress, InterfaceId, MAX_INTERFACES, MIN_MTU, MIN_MTU_V6, Prefix, Route,
    RouteTable, Snapshot, SnapshotError, Via, is_martian,
};
use crate::packet::ethernet::MacAddr;

/// Collects what a snapshot is made of, and checks it.
#[derive(Clone, Debug, Default)]
pub struct SnapshotBuilder {
    generation: u32,
    interfaces: Vec<Interface>,
    routes: Vec<Route>,
    built_routes: Option<Arc<RouteTable>>,
    neighbors: BTreeMap<(InterfaceId, IpAddr), MacAddr>,
}

impl SnapshotBuilder {
    pub(super) fn new(generation: u32) -> Self {
        Self { generation, ..Self::default() }
    }

    /// Adds an interface; ids count up from 0 in the order of addition.
    #[must_use]
    pub fn interface(mut self, interface: Interface) -> Self {
        self.interfaces.push(interface);
        self
    }

    /// Adds a route. Subnets of the interfaces' addresses need none: [`build`](Self::build) adds
    /// those, with metric 0.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Adds a default route over a gateway.
    #[must_use]
    pub fn default_route(self, interface: InterfaceId, gateway: IpAddr) -> Self {
        let all = if gateway.is_ipv4() { Prefix::ALL_V4 } else { Prefix::ALL_V6 };
        self.route(Route::new(all, Via::gateway(interface, gateway)))
    }

    /// Takes the routes of an earlier snapshot with the same interfaces and addresses, and none of
    /// those that were added.
    #[must_use]
    pub fn routes_of(mut self, routes: Arc<RouteTable>) -> Self {
        self.built_routes = Some(routes);
        self
    }

    /// Adds a neighbour's station address; a later one for the same neighbour counts.
    #[must_use]
    pub fn neighbor(mut self, interface: InterfaceId, address: IpAddr, mac: MacAddr) -> Self {
        self.neighbors.insert((interface, address), mac);
        self
    }

    /// The snapshot.
    ///
    /// # Errors
    /// The first thing that does not fit together, and how to mend it.
    pub fn build(self) -> Result<Snapshot, SnapshotError> {
        let (snapshot, refused) = self.build_what_fits()?;
        refused.into_iter().next().map_or(Ok(snapshot), Err)
    }

    /// The snapshot of what fits together, and what does not: for a world that is not ours to
    /// judge, as the kernel's.
    ///
    /// # Errors
    /// When the interfaces themselves are too many or out of order.
    pub fn build_what_fits(mut self) -> Result<(Snapshot, Vec<SnapshotError>), SnapshotError> {
        if self.interfaces.len() > MAX_INTERFACES {
            return Err(SnapshotError::TooManyInterfaces(self.interfaces.len()));
        }
        for (place, Interface { id, name, .. }) in self.interfaces.iter().enumerate() {
            if usize::from(id.0) != place {
                return Err(SnapshotError::OutOfOrder { name: name.clone(), id: *id, place });
            }
        }
        let mut refused = Vec::new();
        let (local_v4, local_v6) = keep_addresses(&mut self.interfaces, &mut refused);
        let routes = match self.built_routes.take() {
            Some(routes) => routes,
            None => Arc::new(self.build_routes(&mut refused)),
        };
        let groups_v4 = self.interfaces.iter().flat_map(Interface::ipv4_groups).collect();
        let (mut neighbors_v4, mut neighbors_v6) = (Vec::new(), Vec::new());
        for (&(interface, address), &mac) in &self.neighbors {
            if keep(self.check_neighbor(interface, address, mac), &mut refused) {
                match address {
                    IpAddr::V4(v4) => neighbors_v4.push(((interface, v4.to_bits()), mac)),
                    IpAddr::V6(v6) => neighbors_v6.push(((interface, v6.to_bits()), mac)),
                }
            }
        }
        let Self { generation, interfaces, .. } = self;
        let snapshot = Snapshot {
            generation,
            interfaces,
            routes,
            local_v4,
            local_v6,
            groups_v4,
            neighbors_v4,
            neighbors_v6,
        };
        Ok((snapshot, refused))
    }

    fn build_routes(&mut self, refused: &mut Vec<SnapshotError>) -> RouteTable {
        let mut routes = core::mem::take(&mut self.routes);
        routes.retain(|route| keep(self.check_route(route), refused));
        let on_link = self.interfaces.iter().flat_map(|interface| {
            let subnets = interface.addresses.iter().filter_map(|ours| ours.subnet().ok());
            subnets.map(|subnet| Route::new(subnet, Via::on_link(interface.id)))
        });
        // Given routes first: one for a subnet of ours takes the place of the derived one.
        RouteTable::new(routes.into_iter().chain(on_link))
    }

    fn check_route(&self, route: &Route) -> Result<(), SnapshotError> {
        let Some(via) = route.via else { return Ok(()) };
        let prefix = route.destination;
        let interface = self
            .interfaces
            .get(usize::from(via.interface.0))
            .ok_or(SnapshotError::NoSuchInterface { prefix, id: via.interface })?;
        for address in [via.next_hop, via.source].into_iter().flatten() {
            if address.is_ipv4() != prefix.address().is_ipv4() {
                return Err(SnapshotError::MixedVersions { prefix, address });
            }
        }
        match via.next_hop {
            Some(gateway) if interface.has_address(gateway) => {
                Err(SnapshotError::OwnGateway { prefix, gateway })
            }
            Some(gateway) if gateway.is_multicast() || is_martian(gateway) => {
                Err(SnapshotError::BadGateway { prefix, gateway })
            }
            _ => Ok(()),
        }
    }

    fn check_neighbor(
        &self,
        interface: InterfaceId,
        address: IpAddr,
        mac: MacAddr,
    ) -> Result<(), SnapshotError> {
        if usize::from(interface.0) >= self.interfaces.len() {
            return Err(SnapshotError::NoSuchInterface {
                prefix: Prefix::host(address),
                id: interface,
            });
        }
        if mac.is_unicast() { Ok(()) } else { Err(SnapshotError::GroupMac { address, mac }) }
    }
}

/// Whether what was checked stays; what does not is noted.
fn keep(checked: Result<(), SnapshotError>, refused: &mut Vec<SnapshotError>) -> bool {
    checked.map_err(|error| refused.push(error)).is_ok()
}

type Local<K> = Vec<(K, InterfaceId)>;

/// Removes addresses that can't be, and returns those that stay, sorted.
fn keep_addresses(
    interfaces: &mut [Interface],
    refused: &mut Vec<SnapshotError>,
) -> (Local<u32>, Local<u128>) {
    let mut seen = BTreeMap::<IpAddr, (InterfaceId, String)>::new();
    for interface in interfaces {
        let (id, name, mtu) = (interface.id, interface.name.clone(), interface.mtu);
        interface.addresses.retain(|ours| {
            let address = ours.address;
            let checked = check_address(&name, mtu, ours).and_then(|()| {
                let Some((other, first)) = seen.get(&address) else { return Ok(()) };
                let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
                if link_local && *other != id {
                    return Ok(());
                }
                let (first, second) = (first.clone(), name.clone());
                Err(SnapshotError::Repeated { address, first, second })
            });
            let stays = keep(checked, refused);
            if stays {
                seen.entry(address).or_insert_with(|| (id, name.clone()));
            }
            stays
        });
    }
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    // Sorted, as the map is; of link-local ones on several links the first stays.
    for (address, (id, _)) in seen {
        match address {
            IpAddr::V4(address) => v4.push((address.to_bits(), id)),
            IpAddr::V6(address) => v6.push((address.to_bits(), id)),
        }
    }
    (v4, v6)
}

fn check_address(name: &str, mtu: u32, ours: &InterfaceAddress) -> Result<(), SnapshotError> {
    let (name, address) = (name.to_owned(), ours.address);
    let least = if address.is_ipv6() { MIN_MTU_V6 } else { MIN_MTU };
    if mtu < least {
        return Err(SnapshotError::SmallMtu { name, mtu, least });
    }
    if ours.subnet().is_err() {
        return Err(SnapshotError::PrefixLength(*ours));
    }
    let limited = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_multicast() || is_martian(address) || limited {
        return Err(SnapshotError::BadAddress { name, address });
    }
    if ours.broadcast().map(IpAddr::V4) == Some(address) {
        return Err(SnapshotError::BroadcastAddress(*ours));
    }
    Ok(())
}
