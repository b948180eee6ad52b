//! Questions to the kernel, and what its answers mean.

use std::io;
use std::net::IpAddr;

use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Connection;
use super::world::{self, KernelRoute, Link, LinkIndex, World};

/// Links and addresses.
pub(super) fn read_links(requests: &mut Connection, world: &mut World) -> io::Result<()> {
    let links = requests.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let link = |message| match message {
        RouteNetlinkMessage::NewLink(link) => Link::of(&link),
        _ => None,
    };
    let addresses = requests.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let address = |message| match message {
        RouteNetlinkMessage::NewAddress(address) => world::address_of(&address),
        _ => None,
    };
    world.links = links.into_iter().filter_map(link).collect();
    world.addresses = addresses.into_iter().filter_map(address).collect();
    Ok(())
}

pub(super) fn read_routes(requests: &mut Connection, world: &mut World) -> io::Result<()> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        question.header.table = RouteHeader::RT_TABLE_MAIN;
        let routes = match requests.dump(&RouteNetlinkMessage::GetRoute(question)) {
            Ok(routes) => routes,
            // A table that nobody has put a route into does not exist (net/ipv4/fib_frontend.c).
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(error) => return Err(error),
        };
        found.extend(routes.into_iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewRoute(route) => KernelRoute::of(&route),
            _ => None,
        }));
    }
    world.routes = found;
    Ok(())
}

pub(super) fn read_neighbors(requests: &mut Connection, world: &mut World) -> io::Result<()> {
    let question = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
    let neighbor = |message| match message {
        RouteNetlinkMessage::NewNeighbour(message) => world::neighbor_of(&message),
        _ => None,
    };
    let answer = requests.dump(&question)?.into_iter().filter_map(neighbor);
    world.neighbors = answer.filter_map(|(key, found)| found.map(|found| (key, found))).collect();
    Ok(())
}

/// Has the kernel behave as if it had something to send to the neighbour (neigh_event_send).
pub(super) fn use_neighbor(index: LinkIndex, address: IpAddr) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    let (family, address) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    message.header.family = family;
    message.header.ifindex = index;
    message.header.state = NeighbourState::None;
    message.header.flags = NeighbourFlags::Use;
    message.attributes.push(NeighbourAttribute::Destination(address));
    RouteNetlinkMessage::NewNeighbour(message)
}
