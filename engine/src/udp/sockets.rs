//! The sockets and their ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use corewire_drivers::env::Rng;

use super::output::Flow;
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
    pub peer: Option<SocketAddr>,
    /// Who gets its datagrams.
    pub owner: Owner,
    /// Whether it may send to broadcast addresses (SO_BROADCAST).
    pub broadcast: bool,
    /// Hops that its packets may take.
    pub(super) ttl: u8,
    /// The way to the peer to which it sent last.
    pub(super) flow: Option<Flow>,
    /// Which destinations are its own: what [`local`](Self::local) says, in a form that is quick to
    /// compare.
    accepts: Accepts,
    /// The next socket of the same port.
    next: Option<u32>,
}

#[derive(Copy, Clone, Debug)]
enum Accepts {
    AnyV4,
    AnyV6,
    V4(Ipv4Addr),
    V6(Ipv6Addr),
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
    ports: PortTable,
}

impl Sockets {
    /// No sockets; those that ask for no port get one in `ephemeral`.
    #[must_use]
    pub fn new(ephemeral: std::ops::RangeInclusive<u16>) -> Self {
        Self { table: Table::new(MAX_SOCKETS), ports: PortTable::new(ephemeral) }
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
        let socket = Socket {
            local,
            peer: None,
            owner,
            broadcast: false,
            ttl: DEFAULT_TTL,
            flow: None,
            accepts: Accepts::of(local.ip()),
            next: self.ports.first(port),
        };
        let id = self.table.insert(socket).ok_or(BindError::TooMany)?;
        self.ports.set(port, Some(id.slot));
        Ok((id, local))
    }

    /// Closes a socket; returns what it was.
    pub fn close(&mut self, id: SocketId) -> Option<Socket> {
        let socket = self.table.remove(id)?;
        let port = socket.local.port();
        if self.ports.first(port) == Some(id.slot) {
            self.ports.set(port, socket.next);
        } else {
            let before = self.of_port(port).find(|(_, s)| s.next == Some(id.slot));
            if let Some(slot) = before.map(|(slot, _)| slot)
                && let Some(before) = self.table.slot_mut(slot)
            {
                before.next = socket.next;
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
        let mut best = (0, None);
        let mut next = self.ports.first(port);
        while let Some(slot) = next {
            let socket = self.table.slot(slot)?;
            let score = socket.score(addresses, source_port, to_group);
            if score > best.0 {
                best = (score, Some(slot));
            }
            next = socket.next;
        }
        best.1
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

    /// The sockets of one context.
    pub fn of_context(&self, context: ContextId) -> impl Iterator<Item = SocketId> + '_ {
        let own = self.table.iter().filter(move |(_, s)| s.owner == Owner::Context(context));
        own.map(|(id, _)| id)
    }

    fn of_port(&self, port: u16) -> impl Iterator<Item = (u32, &Socket)> + '_ {
        let mut next = self.ports.first(port);
        std::iter::from_fn(move || {
            let slot = next?;
            let socket = self.table.slot(slot)?;
            next = socket.next;
            Some((slot, socket))
        })
    }
}

impl Socket {
    /// Only this peer, from now on (RFC 1122 §4.1.3.5 leaves it to the interface; as connect(2)).
    pub fn connect(&mut self, peer: SocketAddr) {
        self.peer = Some(peer);
        self.flow = None;
    }

    /// Its own end.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Hops that its packets may take from now on (IP_TTL).
    pub fn set_ttl(&mut self, ttl: u8) {
        self.ttl = ttl;
        self.flow = None;
    }

    /// Hops that its packets may take.
    #[must_use]
    pub const fn ttl(&self) -> u8 {
        self.ttl
    }

    /// How well a datagram fits: 0 not at all.
    #[inline]
    fn score(&self, addresses: &Addresses, source_port: u16, to_group: bool) -> u8 {
        let address = match (self.accepts, *addresses) {
            (Accepts::V4(ours), Addresses::V4 { destination, .. }) if ours == destination => 2,
            (Accepts::V6(ours), Addresses::V6 { destination, .. }) if ours == destination => 2,
            (Accepts::AnyV4, Addresses::V4 { .. }) | (Accepts::AnyV6, Addresses::V6 { .. }) => 1,
            // A datagram to everybody reaches only sockets that are bound to no address.
            _ => 0,
        };
        match self.peer {
            None => address,
            Some(peer) if address != 0 && !to_group => {
                let source = SocketAddr::new(addresses.source(), source_port);
                if peer == source { address + 2 } else { 0 }
            }
            Some(_) => 0,
        }
    }
}

impl Accepts {
    fn of(local: IpAddr) -> Self {
        match local {
            IpAddr::V4(address) if address.is_unspecified() => Self::AnyV4,
            IpAddr::V6(address) if address.is_unspecified() => Self::AnyV6,
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
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
