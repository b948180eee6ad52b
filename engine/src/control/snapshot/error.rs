//! What does not fit together, and how to mend it.

use core::fmt;
use core::net::IpAddr;

use super::{InterfaceAddress, InterfaceId, MAX_INTERFACES, Prefix};
use crate::packet::ethernet::MacAddr;

/// What does not fit together.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SnapshotError {
    /// More interfaces than [`MAX_INTERFACES`].
    TooManyInterfaces(usize),
    /// An interface whose id is not its place.
    OutOfOrder {
        /// The interface.
        name: String,
        /// Its id.
        id: InterfaceId,
        /// Its place.
        place: usize,
    },
    /// An MTU below what the addresses' version needs.
    SmallMtu {
        /// The interface.
        name: String,
        /// Its MTU.
        mtu: u32,
        /// What it needs.
        least: u32,
    },
    /// An address that no interface may have.
    BadAddress {
        /// The interface.
        name: String,
        /// The address.
        address: IpAddr,
    },
    /// An address that means every station of its subnet.
    BroadcastAddress(InterfaceAddress),
    /// A prefix longer than the address.
    PrefixLength(InterfaceAddress),
    /// The same address on two interfaces, or twice on one.
    Repeated {
        /// The address.
        address: IpAddr,
        /// The one interface.
        first: String,
        /// The other.
        second: String,
    },
    /// A route or a neighbour on an interface that is not there.
    NoSuchInterface {
        /// Where the route leads, or the neighbour.
        prefix: Prefix,
        /// The interface named.
        id: InterfaceId,
    },
    /// A route of one IP version over an address of the other.
    MixedVersions {
        /// Where the route leads.
        prefix: Prefix,
        /// The address of the other version.
        address: IpAddr,
    },
    /// A route over an address of the interface itself.
    OwnGateway {
        /// Where the route leads.
        prefix: Prefix,
        /// The gateway.
        gateway: IpAddr,
    },
    /// A route over an address that no station has.
    BadGateway {
        /// Where the route leads.
        prefix: Prefix,
        /// The gateway.
        gateway: IpAddr,
    },
    /// A neighbour whose station address names nobody, or many.
    GroupMac {
        /// The neighbour.
        address: IpAddr,
        /// The station address.
        mac: MacAddr,
    },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyInterfaces(count) => {
                write!(f, "{count} interfaces: one engine takes {MAX_INTERFACES}; start another")
            }
            Self::OutOfOrder { name, id, place } => {
                write!(f, "{name} has id {} at place {place}: number interfaces from 0", id.0)
            }
            Self::SmallMtu { name, mtu, least } => write!(
                f,
                "{name} has MTU {mtu}, its addresses need {least}: \
                 `ip link set {name} mtu {least}` or more"
            ),
            Self::BadAddress { name, address } => {
                write!(f, "{name} can't have {address}: give it the address of one host")
            }
            Self::BroadcastAddress(InterfaceAddress { address, prefix_len, .. }) => write!(
                f,
                "{address}/{prefix_len} is the broadcast address of its subnet: \
                 choose another, or the right prefix length"
            ),
            Self::PrefixLength(InterfaceAddress { address, prefix_len, .. }) => {
                let most = if address.is_ipv4() { 32 } else { 128 };
                write!(f, "{address}/{prefix_len}: the prefix has at most {most} bits")
            }
            Self::Repeated { address, first, second } if first == second => {
                write!(f, "{address} is given twice to {first}: remove one")
            }
            Self::Repeated { address, first, second } => {
                write!(f, "{address} is given to {first} and to {second}: remove one")
            }
            Self::NoSuchInterface { prefix, id } => {
                write!(f, "{prefix} is over interface {}, which was not added", id.0)
            }
            Self::MixedVersions { prefix, address } => {
                write!(f, "the route to {prefix} names {address}: use one IP version in a route")
            }
            Self::OwnGateway { prefix, gateway } => {
                write!(f, "the route to {prefix} is over {gateway}, our own: name the router's")
            }
            Self::BadGateway { prefix, gateway } => {
                write!(f, "the route to {prefix} is over {gateway}: name one router on the link")
            }
            Self::GroupMac { address, mac } => {
                write!(f, "{address} can't be at {mac}: give the address of one station")
            }
        }
    }
}

impl core::error::Error for SnapshotError {}
