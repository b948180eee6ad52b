//! The sockets and their ports.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use corewire_drivers::env::Rng;

use super::flows::{Flow, Flows};
use crate::flow::PortTable;
use crate::ip::output::DEFAULT_TTL;
use crate::packet::Addresses;
use crate::socket::table::Table;
use crate::socket::{ContextId, SocketId};

/// Who gets a socket's datagrams.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Owner {
    /// The application that runs in the worker's turn.
    Inline,
    /// An application behind a context.
    Context(ContextId),
}

/// One UDP socket, the worker's side.
#[derive(Debug)]
pub struct Socket {
    /// Its own end; the address is unspecified when it takes datagrams to any address of ours.
    pub(super) local: SocketAddr,
    /// The only peer that it speaks with, when it is connected.
    pub(super) peer: Option<SocketAddr>,
    /// Who gets its datagrams.
    pub owner: Owner,
    /// Whether it may send to broadcast addresses (SO_BROADCAST).
    pub(super) broadcast: bool,
    /// Hops that its packets may take.
    pub(super) ttl: u8,
    /// Counts what made the ways that were found void: a new peer, TTL, permission.
    pub(super) epoch: u32,
}

/// Why a socket could not be made.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum BindError {
    /// Another socket has this address and port.
    InUse,
    /// The address is none of the engine's.
    NotAvailable,
    /// Every ephemeral port is taken.
    NoPort,
    /// There are as many sockets as there may be.
    TooMany,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "another socket of the engine has this address and port",
            Self::NotAvailable => {
                "this address is none of the engine's; bind one of those that it was started with"
            }
            Self::NoPort => "every ephemeral port of the engine is taken",
            Self::TooMany => "the engine has as many sockets as its limit allows",
        })
    }
}

impl std::error::Error for BindError {}

/// Sockets that a worker can have: one for every port.
pub const MAX_SOCKETS: usize = 1 << 16;

/// All UDP sockets of a worker.
#[derive(Debug)]
pub struct Sockets {
    table: Table<Socket>,
    /// For each slot what its socket takes: all that a lookup touches.
    filters: Vec<Filter>,
    ports: PortTable,
    flows: Flows,
}

impl Sockets {
    /// No sockets; those that ask for no port get one in `ephemeral`.
    #[must_use]
    pub fn new(ephemeral: std::ops::RangeInclusive<u16>) -> Self {
        let (table, filters) = (Table::new(MAX_SOCKETS), Vec::new());
        Self { table, filters, ports: PortTable::new(ephemeral), flows: Flows::new() }
    }

    /// Makes a socket at `local`; with port 0 at an ephemeral port.
    ///
    /// # Errors
    /// See [`BindError`]. That the address is ours is the caller's to check.
    pub fn bind(
        &mut self,
        local: SocketAddr,
        owner: Owner,
        rng: &mut Rng,
    ) -> Result<(SocketId, SocketAddr), BindError> {
        let port = match local.port() {
            0 => self.ports.unused(rng).ok_or(BindError::NoPort)?,
            port => port,
        };
        if self.of_port(port).any(|(_, other)| overlap(other.local.ip(), local.ip())) {
            return Err(BindError::InUse);
        }
        let local = SocketAddr::new(local.ip(), port);
        let socket =
            Socket { local, peer: None, owner, broadcast: false, ttl: DEFAULT_TTL, epoch: 0 };
        let id = self.table.insert(socket).ok_or(BindError::TooMany)?;
        let filter = Filter::new(local.ip(), None, self.ports.first(port));
        let place = id.slot as usize;
        if place == self.filters.len() {
            self.filters.push(filter);
        } else {
            self.filters[place] = filter;
        }
        self.ports.set(port, Some(id.slot));
        Ok((id, local))
    }

    /// Closes a socket; returns what it was.
    pub fn close(&mut self, id: SocketId) -> Option<Socket> {
        let socket = self.table.remove(id)?;
        let (port, next) = (socket.local.port(), self.filters[id.slot as usize].next);
        if self.ports.first(port) == Some(id.slot) {
            self.ports.set(port, next);
        } else {
            let mut slots = self.of_port(port).map(|(slot, _)| slot as usize);
            let before = slots.find(|slot| self.filters[*slot].next == Some(id.slot));
            drop(slots);
            if let Some(before) = before {
                self.filters[before].next = next;
            }
        }
        Some(socket)
    }

    /// The socket that a datagram with these addresses and ports, the sender's first, is for: one
    /// connected to the sender before one bound to the address before one bound to none.
    #[inline]
    #[must_use]
    pub fn lookup(
        &self,
        addresses: &Addresses,
        (source_port, port): (u16, u16),
        to_group: bool,
    ) -> Option<u32> {
        let (ends, is_v6) = (addresses.to_mapped_bits(), addresses.is_v6());
        let mut best = (0, None);
        let mut next = self.ports.first(port);
        while let Some(slot) = next {
            let filter = self.filters.get(slot as usize)?;
            // A datagram to everybody reaches only sockets that are bound to no address.
            if filter.rank > best.0
                && filter.is_v6 == is_v6
                && filter.admits(ends, source_port)
                && (!to_group || filter.rank == Filter::BOUND_TO_NONE)
            {
                best = (filter.rank, Some(slot));
            }
            next = filter.next;
        }
        best.1
    }

    /// Lets a socket speak with `peer` alone from now on, or with everybody again (connect(2)).
    /// Returns whether there is such a socket.
    pub fn connect(&mut self, id: SocketId, peer: Option<SocketAddr>) -> bool {
        let Some(socket) = self.table.get_mut(id) else { return false };
        socket.peer = peer;
        socket.epoch = socket.epoch.wrapping_add(1);
        let filter = &mut self.filters[id.slot as usize];
        *filter = Filter::new(socket.local.ip(), peer, filter.next);
        true
    }

    /// A socket to send from, and the place where its way to `peer` is kept.
    #[inline]
    #[must_use]
    pub(super) fn sender(
        &mut self,
        id: SocketId,
        peer: SocketAddr,
    ) -> Option<(&Socket, &mut Option<Flow>)> {
        Some((self.table.get_mut(id)?, self.flows.place(id, peer)))
    }

    /// A socket by its name.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.table.get_mut(id)
    }

    /// A socket by its slot.
    #[inline]
    #[must_use]
    pub fn slot_mut(&mut self, slot: u32) -> Option<&mut Socket> {
        self.table.slot_mut(slot)
    }

    /// The whole name of the socket in `slot`, and who gets its datagrams.
    #[inline]
    #[must_use]
    pub fn owner(&self, slot: u32) -> Option<(SocketId, Owner)> {
        Some((self.table.id(slot)?, self.table.slot(slot)?.owner))
    }

    /// The whole name of the socket in `slot`.
    #[inline]
    #[must_use]
    pub fn id(&self, slot: u32) -> Option<SocketId> {
        self.table.id(slot)
    }

    /// All sockets and their owners.
    pub fn iter(&self) -> impl Iterator<Item = (SocketId, Owner)> + '_ {
        self.table.iter().map(|(id, socket)| (id, socket.owner))
    }

    /// The sockets of one context.
    pub fn of_context(&self, context: ContextId) -> impl Iterator<Item = SocketId> + '_ {
        let own = self.table.iter().filter(move |(_, s)| s.owner == Owner::Context(context));
        own.map(|(id, _)| id)
    }

    fn of_port(&self, port: u16) -> impl Iterator<Item = (u32, &Socket)> + '_ {
        let mut next = self.ports.first(port);
        std::iter::from_fn(move || {
            let slot = next?;
            next = self.filters.get(slot as usize)?.next;
            Some((slot, self.table.slot(slot)?))
        })
    }
}

impl Socket {
    /// The only peer that it speaks with, when it is connected.
    #[must_use]
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Its own end.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Hops that its packets may take from now on (IP_TTL).
    pub fn set_ttl(&mut self, ttl: u8) {
        self.ttl = ttl;
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Whether it may send to broadcast addresses from now on (SO_BROADCAST).
    pub fn set_broadcast(&mut self, allowed: bool) {
        self.broadcast = allowed;
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Hops that its packets may take.
    #[must_use]
    pub const fn ttl(&self) -> u8 {
        self.ttl
    }
}

/// Which datagrams a socket takes, in a form that is quick to compare: addresses of both versions
/// as numbers of 128 bits, and masks for what may be anything.
#[derive(Copy, Clone, Debug)]
struct Filter {
    to: u128,
    to_mask: u128,
    from: u128,
    from_mask: u128,
    from_port: u16,
    port_mask: u16,
    is_v6: bool,
    /// How particular the socket is; the most particular one gets the datagram.
    rank: u8,
    /// The next socket of the same port.
    next: Option<u32>,
}

impl Filter {
    const BOUND_TO_NONE: u8 = 1;

    fn new(local: IpAddr, peer: Option<SocketAddr>, next: Option<u32>) -> Self {
        let to = mapped_bits(local);
        let to_mask = if local.is_unspecified() { 0 } else { !0 };
        let (from, from_port) = peer.map_or((0, 0), |peer| (mapped_bits(peer.ip()), peer.port()));
        let (from_mask, port_mask) = if peer.is_some() { (!0, !0) } else { (0, 0) };
        let bound = if local.is_unspecified() { Self::BOUND_TO_NONE } else { 2 };
        let rank = if peer.is_some() { bound + 2 } else { bound };
        let is_v6 = local.is_ipv6();
        Self { to, to_mask, from, from_mask, from_port, port_mask, is_v6, rank, next }
    }

    #[inline]
    const fn admits(&self, (from, to): (u128, u128), from_port: u16) -> bool {
        (to ^ self.to) & self.to_mask | (from ^ self.from) & self.from_mask == 0
            && (from_port ^ self.from_port) & self.port_mask == 0
    }
}

/// The address as a number; an IPv4 address in its mapped form (RFC 4291 §2.5.5.2).
fn mapped_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Whether `local` stands for any address of `destination`'s version.
#[inline]
fn wildcard(local: IpAddr, destination: IpAddr) -> bool {
    local.is_unspecified() && local.is_ipv4() == destination.is_ipv4()
}

/// Whether two sockets of one port would both want some datagram.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    one == other || wildcard(one, other) || wildcard(other, one)
}

#[cfg(test)]
mod tests;
