//! The routes: which way a packet leaves, by the longest prefix that holds its destination.
//!
//! Built once by the control plane, read by every packet, never changed: a new table comes with a
//! new [snapshot](crate::control::snapshot). A host has a handful of routes, which a scan over one
//! or two cache lines answers fastest; a router has a million, for which a scan, or a search per
//! prefix length, would cost too much. So a table of more than `SCAN_ROUTES` of one IP version
//! becomes a tree over the ranges into which the prefixes cut the addresses (`ranges`), whose
//! cost grows with the logarithm of their number, to the base of a cache line.
//!
//! The tree's leaves name a `Via`, of which there are as many as there are *different* ones: a
//! million routes over four gateways have four, and they stay in the cache.

use core::fmt;
use core::hash::Hash;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::BitAnd;
use core::str::FromStr;
use std::collections::BTreeMap;

/// Where an address falls among a million ranges.
mod ranges;

use ranges::{NONE, RangesV4, RangesV6};

/// Routes of one IP version up to which a scan beats the tree: eight entries of 12 bytes are two
/// cache lines of IPv4. More, and the scan is slower than the two lines that the tree then has.
pub const SCAN_ROUTES: usize = 8;

/// Which of the engine's interfaces: its place in the [snapshot](crate::control::snapshot).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct InterfaceId(pub u8);

/// One route, as the table is built from it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The destinations that it is for.
    pub destination: Prefix,
    /// The way; `None` for destinations that are not to be reached, even if a shorter prefix
    /// knows a way (Linux: `unreachable`, `blackhole` and `prohibit` routes).
    pub via: Option<Via>,
    /// Of several routes to the same destination the one with the smallest metric counts; of
    /// equal ones the first.
    pub metric: u32,
}

/// The way that a route leads.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Via {
    /// The interface that the packet leaves by.
    pub interface: InterfaceId,
    /// The gateway; `None` when the destination itself is on the link.
    pub next_hop: Option<IpAddr>,
    /// The source address to prefer where the socket is not bound to one.
    pub source: Option<IpAddr>,
    /// The largest IP packet on this way in bytes, where that is less than the interface's.
    pub mtu: Option<u32>,
}

impl Via {
    /// Destinations on the link of `interface`.
    #[must_use]
    pub const fn on_link(interface: InterfaceId) -> Self {
        Self { interface, next_hop: None, source: None, mtu: None }
    }

    /// Through the gateway `next_hop` on the link of `interface`.
    #[must_use]
    pub const fn gateway(interface: InterfaceId, next_hop: IpAddr) -> Self {
        Self { interface, next_hop: Some(next_hop), source: None, mtu: None }
    }
}

impl Route {
    /// A route with metric 0.
    #[must_use]
    pub const fn new(destination: Prefix, via: Via) -> Self {
        Self { destination, via: Some(via), metric: 0 }
    }
}

/// The longest-prefix route table, for both IP versions.
#[derive(Clone, Default)]
pub struct RouteTable {
    v4: Family<u32>,
    v6: Family<u128>,
    /// The different ways; a leaf is a place here plus one, or 0 for no way.
    vias: Vec<Via>,
}

impl RouteTable {
    /// The table of these routes. Their order decides only between equal destinations and metrics.
    #[must_use]
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        let mut vias = Vec::new();
        let mut places = BTreeMap::new();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for route in routes {
            let leaf = route.via.map_or(NONE, |via| {
                *places.entry(via).or_insert_with(|| {
                    vias.push(via);
                    // As many as there are routes, of which no host's memory holds 2^32.
                    vias.len() as u32
                })
            });
            let (len, metric) = (route.destination.len, route.metric);
            match route.destination.address {
                IpAddr::V4(address) => v4.push((address.to_bits(), len, metric, leaf)),
                IpAddr::V6(address) => v6.push((address.to_bits(), len, metric, leaf)),
            }
        }
        Self { v4: Family::new(v4), v6: Family::new(v6), vias }
    }

    /// The way to `destination`; `None` when no route, or one that forbids it, holds it.
    #[inline]
    #[must_use]
    pub fn lookup(&self, destination: IpAddr) -> Option<&Via> {
        match destination {
            IpAddr::V4(address) => self.lookup_v4(address),
            IpAddr::V6(address) => self.lookup_v6(address),
        }
    }

    /// The way to an IPv4 destination.
    #[inline]
    #[must_use]
    pub fn lookup_v4(&self, destination: Ipv4Addr) -> Option<&Via> {
        self.via(self.v4.lookup(destination.to_bits()))
    }

    /// The way to an IPv6 destination.
    #[inline]
    #[must_use]
    pub fn lookup_v6(&self, destination: Ipv6Addr) -> Option<&Via> {
        self.via(self.v6.lookup(destination.to_bits()))
    }

    /// How many destinations there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.v4.count + self.v6.count
    }

    /// Whether nothing can be reached.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The different ways that there are.
    #[must_use]
    pub fn vias(&self) -> &[Via] {
        &self.vias
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.v4.memory() + self.v6.memory() + self.vias.capacity() * size_of::<Via>()
    }

    #[inline]
    fn via(&self, leaf: u32) -> Option<&Via> {
        // A leaf of 0 wraps to a place that no vector has.
        self.vias.get((leaf as usize).wrapping_sub(1))
    }
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (v4, v6, vias) = (self.v4.count, self.v6.count, self.vias.len());
        write!(f, "RouteTable({v4} IPv4 and {v6} IPv6 routes over {vias} ways)")
    }
}

/// Addresses that begin alike: `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

impl Prefix {
    /// Every IPv4 address.
    pub const ALL_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), len: 0 };
    /// Every IPv6 address.
    pub const ALL_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), len: 0 };

    /// The prefix of `len` bits, of which `address` is the first address.
    ///
    /// # Errors
    /// When the version has not so many bits, or `address` has bits set behind them.
    pub fn new(address: IpAddr, len: u8) -> Result<Self, PrefixError> {
        let prefix = Self::holding(address, len)?;
        if prefix.address == address {
            Ok(prefix)
        } else {
            Err(PrefixError::HostBits { given: address, prefix })
        }
    }

    /// The prefix of `len` bits that holds `address`.
    ///
    /// # Errors
    /// When the version has not so many bits.
    pub fn holding(address: IpAddr, len: u8) -> Result<Self, PrefixError> {
        if len > bits(address) {
            return Err(PrefixError::TooLong { address, len });
        }
        let address = match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & u32::mask(len))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & u128::mask(len))),
        };
        Ok(Self { address, len })
    }

    /// `address` alone.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        Self { address, len: bits(address) }
    }

    /// The first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits all addresses share.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.len
    }

    /// Whether `address` is one of them; never for the other version.
    #[inline]
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()) & u32::mask(self.len) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()) & u128::mask(self.len) == 0
            }
            _ => false,
        }
    }

    /// The address that means all stations of the subnet (RFC 919 §7). None in subnets of one or
    /// two stations (RFC 3021), and in IPv6, which has no broadcast.
    #[inline]
    #[must_use]
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(first) if self.len <= 30 => {
                Some(Ipv4Addr::from_bits(first.to_bits() | !u32::mask(self.len)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

/// `10.0.0.0/8`, `2001:db8::/32`, or an address alone.
impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let malformed = || PrefixError::Malformed(text.to_owned());
        let Some((address, len)) = text.split_once('/') else {
            return text.parse().map(Self::host).map_err(|_| malformed());
        };
        let address = address.parse().map_err(|_| malformed())?;
        Self::new(address, len.parse().map_err(|_| malformed())?)
    }
}

/// Why this is no prefix.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PrefixError {
    /// More bits than the address has.
    TooLong {
        /// The address.
        address: IpAddr,
        /// The bits asked for.
        len: u8,
    },
    /// An address inside the prefix, not the first of it.
    HostBits {
        /// The address.
        given: IpAddr,
        /// What was probably meant.
        prefix: Prefix,
    },
    /// Not of the form ADDRESS/BITS.
    Malformed(String),
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { address, len } => {
                write!(f, "{address}/{len}: a prefix here has at most {} bits", bits(*address))
            }
            Self::HostBits { given, prefix } => {
                let (len, host) = (prefix.len, Self::host_hint(*given));
                write!(f, "{given}/{len} is not a network: write {prefix}, or {host} for the host")
            }
            Self::Malformed(text) => {
                write!(f, "`{text}` is not a prefix: write it like 10.0.0.0/8 or 2001:db8::/32")
            }
        }
    }
}

impl core::error::Error for PrefixError {}

impl PrefixError {
    const fn host_hint(address: IpAddr) -> Prefix {
        Prefix::host(address)
    }
}

/// Bits of an address of this one's version.
const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// An address as a number; the first bit on the wire is the highest.
trait Key: Copy + Ord + BitAnd<Output = Self> {
    /// What answers in large tables.
    type Ranges: Clone;
    /// A number whose first `len` bits are set.
    fn mask(len: u8) -> Self;
    /// Of prefixes sorted by first address and length, without repetition.
    fn ranges(prefixes: &[(Self, u8, u32)]) -> Self::Ranges;
    /// The leaf of the longest prefix that holds the address.
    fn find(self, ranges: &Self::Ranges) -> u32;
    /// Bytes on the heap.
    fn memory(ranges: &Self::Ranges) -> usize;
}

macro_rules! key {
    ($($number:ty: $ranges:ty),+) => {$(
        impl Key for $number {
            type Ranges = $ranges;

            #[inline]
            fn mask(len: u8) -> Self {
                Self::MAX.checked_shl(Self::BITS.saturating_sub(u32::from(len))).unwrap_or(0)
            }

            fn ranges(prefixes: &[(Self, u8, u32)]) -> Self::Ranges {
                <$ranges>::new(prefixes)
            }

            #[inline]
            fn find(self, ranges: &Self::Ranges) -> u32 {
                ranges.lookup(self)
            }

            fn memory(ranges: &Self::Ranges) -> usize {
                ranges.memory()
            }
        }
    )+};
}

key!(u32: RangesV4, u128: RangesV6);

/// The routes of one IP version.
#[derive(Clone)]
struct Family<K: Key> {
    /// Longest prefix first: the first that holds an address is its route. Empty in large tables.
    scan: Vec<Entry<K>>,
    ranges: Option<K::Ranges>,
    count: usize,
}

#[derive(Copy, Clone)]
struct Entry<K> {
    first: K,
    mask: K,
    leaf: u32,
}

impl<K: Key> Default for Family<K> {
    fn default() -> Self {
        Self { scan: Vec::new(), ranges: None, count: 0 }
    }
}

impl<K: Key> Family<K> {
    /// `routes`: first address, prefix length, metric, leaf.
    fn new(mut routes: Vec<(K, u8, u32, u32)>) -> Self {
        // Stable: of equal destinations and metrics the first given stays.
        routes.sort_by_key(|&(first, len, metric, _)| (first, len, metric));
        routes.dedup_by_key(|&mut (first, len, ..)| (first, len));
        let count = routes.len();
        if count > SCAN_ROUTES {
            let routes: Vec<_> = routes.iter().map(|&(k, len, _, leaf)| (k, len, leaf)).collect();
            return Self { scan: Vec::new(), ranges: Some(K::ranges(&routes)), count };
        }
        routes.sort_by_key(|&(_, len, ..)| core::cmp::Reverse(len));
        let entry = |&(first, len, _, leaf): &_| Entry { first, mask: K::mask(len), leaf };
        Self { scan: routes.iter().map(entry).collect(), ranges: None, count }
    }

    #[inline]
    fn lookup(&self, key: K) -> u32 {
        if let Some(ranges) = &self.ranges {
            return key.find(ranges);
        }
        let found = self.scan.iter().find(|entry| key & entry.mask == entry.first);
        found.map_or(NONE, |entry| entry.leaf)
    }

    fn memory(&self) -> usize {
        self.scan.capacity() * size_of::<Entry<K>>() + self.ranges.as_ref().map_or(0, K::memory)
    }
}

#[cfg(test)]
mod tests;
