//! What goes over an interface that must not be cut off.

use std::io;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};

use super::netlink;

/// Every address of this network namespace, with the index of its interface.
///
/// # Errors
/// What the kernel says.
pub fn addresses() -> io::Result<Vec<(u32, IpAddr)>> {
    let answers = netlink::dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let mut addresses = Vec::new();
    for answer in answers {
        let RouteNetlinkMessage::NewAddress(message) = answer else { continue };
        // On point-to-point links the local address stands apart from the peer's.
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let own = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        addresses.extend(local.or(own).map(|address| (message.header.index, address)));
    }
    Ok(addresses)
}

/// Whether a default route, of IPv4 or IPv6, leads over this interface.
///
/// # Errors
/// What the kernel says.
pub fn has_default_route(index: u32) -> io::Result<bool> {
    let answers = netlink::dump(RouteNetlinkMessage::GetRoute(RouteMessage::default()))?;
    Ok(answers.iter().any(|answer| {
        let RouteNetlinkMessage::NewRoute(route) = answer else { return false };
        route.header.destination_prefix_length == 0
            && route.header.kind == RouteType::Unicast
            && route.attributes.contains(&RouteAttribute::Oif(index))
    }))
}

#[cfg(test)]
mod tests {
    use super::super::Interface;
    use super::*;

    #[test]
    fn the_loopback_has_its_address_and_no_default_route() {
        let lo = Interface::find("lo").expect("every namespace has one");
        let addresses = addresses().expect("a list");
        assert!(addresses.contains(&(lo.index, [127, 0, 0, 1].into())), "{addresses:?}");
        assert!(!has_default_route(lo.index).expect("routes"));
    }
}
