//! Collects what a snapshot is made of, and checks it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

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

    /// Adds a neighbour's station address; a later one for the same neighbour counts.
    #[must_use]
    pub fn neighbor(mut self, interface: InterfaceId, address: IpAddr, mac: MacAddr) -> Self {
        self.neighbors.insert((interface, address), mac);
        self
    }

    /// The snapshot.
    ///
    /// # Errors
    /// What does not fit together, and how to mend it.
    pub fn build(self) -> Result<Snapshot, SnapshotError> {
        if self.interfaces.len() > MAX_INTERFACES {
            return Err(SnapshotError::TooManyInterfaces(self.interfaces.len()));
        }
        let (mut local_v4, mut local_v6) = (Vec::new(), Vec::new());
        let mut on_link = Vec::new();
        for (place, interface) in self.interfaces.iter().enumerate() {
            check_interface(place, interface)?;
            for ours in &interface.addresses {
                match ours.address {
                    IpAddr::V4(address) => local_v4.push((address.to_bits(), interface.id)),
                    IpAddr::V6(address) => local_v6.push((address.to_bits(), interface.id)),
                }
                let subnet = ours.subnet().map_err(|_| SnapshotError::PrefixLength(*ours))?;
                on_link.push(Route::new(subnet, Via::on_link(interface.id)));
            }
        }
        local_v4.sort_unstable();
        local_v6.sort_unstable();
        self.check_repetition(&local_v4, &local_v6)?;
        for route in &self.routes {
            self.check_route(route)?;
        }
        let (mut neighbors_v4, mut neighbors_v6) = (Vec::new(), Vec::new());
        for (&(interface, address), &mac) in &self.neighbors {
            self.check_neighbor(interface, address, mac)?;
            match address {
                IpAddr::V4(address) => neighbors_v4.push(((interface, address.to_bits()), mac)),
                IpAddr::V6(address) => neighbors_v6.push(((interface, address.to_bits()), mac)),
            }
        }
        // Given routes first: one for a subnet of ours takes the place of the derived one.
        let routes = RouteTable::new(self.routes.into_iter().chain(on_link));
        Ok(Snapshot {
            generation: self.generation,
            interfaces: self.interfaces,
            routes,
            local_v4,
            local_v6,
            neighbors_v4,
            neighbors_v6,
        })
    }

    fn check_repetition(
        &self,
        v4: &[(u32, InterfaceId)],
        v6: &[(u128, InterfaceId)],
    ) -> Result<(), SnapshotError> {
        let repeated = |address: IpAddr, first: InterfaceId, second: InterfaceId| {
            let name = |id: InterfaceId| self.interfaces[usize::from(id.0)].name.clone();
            SnapshotError::Repeated { address, first: name(first), second: name(second) }
        };
        if let Some(pair) = v4.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(repeated(Ipv4Addr::from_bits(pair[0].0).into(), pair[0].1, pair[1].1));
        }
        let same = |pair: &&[(u128, InterfaceId)]| {
            let link_local = Ipv6Addr::from_bits(pair[0].0).is_unicast_link_local();
            pair[0].0 == pair[1].0 && (!link_local || pair[0].1 == pair[1].1)
        };
        match v6.windows(2).find(same) {
            Some(pair) => {
                Err(repeated(Ipv6Addr::from_bits(pair[0].0).into(), pair[0].1, pair[1].1))
            }
            None => Ok(()),
        }
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

fn check_interface(place: usize, interface: &Interface) -> Result<(), SnapshotError> {
    let name = || interface.name.clone();
    if usize::from(interface.id.0) != place {
        return Err(SnapshotError::OutOfOrder { name: name(), id: interface.id, place });
    }
    let v6 = interface.addresses.iter().any(|ours| ours.address.is_ipv6());
    let least = if v6 { MIN_MTU_V6 } else { MIN_MTU };
    if interface.mtu < least {
        return Err(SnapshotError::SmallMtu { name: name(), mtu: interface.mtu, least });
    }
    let bad = |ours: &&InterfaceAddress| {
        let address = ours.address;
        address.is_multicast()
            || is_martian(address)
            || matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
    };
    if let Some(ours) = interface.addresses.iter().find(bad) {
        return Err(SnapshotError::BadAddress { name: name(), address: ours.address });
    }
    let broadcast = |ours: &&InterfaceAddress| {
        let own = ours.broadcast().map(IpAddr::V4);
        own == Some(ours.address)
    };
    match interface.addresses.iter().find(broadcast) {
        Some(ours) => Err(SnapshotError::BroadcastAddress(*ours)),
        None => Ok(()),
    }
}
