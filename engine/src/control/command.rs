//! What the world asks of a worker, between two turns.
//!
//! Everything that is neither a packet nor the snapshot's content comes to a worker as a
//! [`Command`]: it owns its state alone, and nobody else touches it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use corewire_drivers::env::{Counter, Instant};
use corewire_drivers::ring::Lender;

use super::snapshot::{InterfaceId, Snapshot};
use crate::packet::MacAddr;
use crate::socket::{ContextId, SocketId};
use crate::udp::BindError;
use crate::worker::Worker;

/// What the world asks of a worker.
#[derive(Debug)]
pub enum Command {
    /// Take a new context's end.
    AddContext(ContextId, Lender),
    /// Make a UDP socket for a context.
    UdpBind {
        /// Whose it is.
        context: ContextId,
        /// Where; with port 0 at an ephemeral port.
        local: SocketAddr,
        /// Bytes of receive buffer asked for.
        receive_buffer: usize,
    },
    /// Let a UDP socket speak with one peer only.
    UdpConnect(SocketId, SocketAddr),
    /// Change an option of a UDP socket.
    UdpSet(SocketId, UdpOption),
    /// Close a UDP socket. What was sent before goes out.
    UdpClose(SocketId),
    /// Go by this snapshot from now on.
    SetSnapshot(Arc<Snapshot>),
    /// Another worker has learned where a neighbour is.
    Learn(InterfaceId, IpAddr, MacAddr),
    /// The kernel has heard, unasked, that a neighbour is elsewhere now.
    Moved(InterfaceId, IpAddr, MacAddr),
}

/// An option of a UDP socket.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum UdpOption {
    /// Whether it may send to broadcast addresses (SO_BROADCAST).
    Broadcast(bool),
    /// Hops that its packets may take (IP_TTL).
    Ttl(u8),
    /// Bytes of its receive buffer (SO_RCVBUF); the answer says what was granted.
    ReceiveBuffer(usize),
}

/// What became of a command.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It was carried out.
    Done,
    /// The socket is there.
    Bound {
        /// Its name.
        socket: SocketId,
        /// Where it is.
        local: SocketAddr,
        /// Bytes of receive buffer granted.
        receive_buffer: usize,
    },
    /// The socket is connected, and sends from this address.
    Connected(IpAddr),
    /// Bytes of receive buffer granted.
    Granted(usize),
    /// The socket could not be made.
    NotBound(BindError),
    /// No route leads to the peer.
    NoRoute,
    /// There is a context of that name, or frames of one that was are still out.
    ContextTaken,
    /// There is no such socket.
    NoSocket,
}

impl Command {
    /// Carries the command out.
    pub fn run(self, worker: &mut Worker, now: Instant) -> Answer {
        worker.counters().add(Counter::Commands, 1);
        match self {
            Self::AddContext(id, lender) => {
                if worker.add_context(id, lender) {
                    Answer::Done
                } else {
                    Answer::ContextTaken
                }
            }
            Self::UdpBind { context, local, receive_buffer } => {
                match worker.udp_bind(context, local, receive_buffer) {
                    Ok((socket, local, receive_buffer)) => {
                        Answer::Bound { socket, local, receive_buffer }
                    }
                    Err(error) => Answer::NotBound(error),
                }
            }
            Self::UdpConnect(id, peer) => connect(worker, id, peer),
            Self::UdpSet(id, option) => set(worker, id, option),
            Self::UdpClose(id) => {
                worker.udp_close(now, id);
                Answer::Done
            }
            Self::SetSnapshot(snapshot) => {
                worker.counters().add(Counter::Snapshots, 1);
                worker.set_snapshot(now, snapshot);
                Answer::Done
            }
            Self::Learn(interface, address, mac) => {
                worker.learn(now, interface, address, mac);
                Answer::Done
            }
            Self::Moved(interface, address, mac) => {
                worker.moved(now, interface, address, mac);
                Answer::Done
            }
        }
    }
}

fn connect(worker: &mut Worker, id: SocketId, peer: SocketAddr) -> Answer {
    let Some(source) = worker.source_towards(peer.ip()) else { return Answer::NoRoute };
    if !worker.udp_connect(id, Some(peer)) {
        return Answer::NoSocket;
    }
    let Some(socket) = worker.udp_socket(id) else { return Answer::NoSocket };
    let bound = socket.local().ip();
    Answer::Connected(if bound.is_unspecified() { source } else { bound })
}

fn set(worker: &mut Worker, id: SocketId, option: UdpOption) -> Answer {
    if let UdpOption::ReceiveBuffer(bytes) = option {
        let granted = worker.udp_set_receive_buffer(id, bytes);
        return granted.map_or(Answer::NoSocket, Answer::Granted);
    }
    let Some(socket) = worker.udp_socket(id) else { return Answer::NoSocket };
    match option {
        UdpOption::Broadcast(allowed) => socket.set_broadcast(allowed),
        UdpOption::Ttl(ttl) => socket.set_ttl(ttl),
        UdpOption::ReceiveBuffer(_) => {}
    }
    Answer::Done
}
