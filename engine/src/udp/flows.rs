//! The ways on which datagrams went lately, with their headers.

use std::net::{IpAddr, SocketAddr};

use super::template::Template;
use crate::ip::Path;
use crate::socket::SocketId;

/// The way from a socket to a peer.
#[derive(Copy, Clone, Debug)]
pub(super) struct Flow {
    pub(super) socket: SocketId,
    /// The socket's, when the way was found.
    pub(super) epoch: u32,
    pub(super) to: SocketAddr,
    pub(super) path: Path,
    /// Which device leads there, and the headers; once the neighbour is known.
    pub(super) template: Option<(usize, Template)>,
}

/// Ways that a worker remembers: 256 KiB with their headers, allocated once. A server with more
/// clients at a time finds the way anew for some datagrams, which costs a route lookup and is
/// never wrong.
const FLOWS: usize = 1024;

/// A direct-mapped cache: two flows of one place take turns.
#[derive(Debug)]
pub(super) struct Flows(Box<[Option<Flow>]>);

impl Flows {
    pub(super) fn new() -> Self {
        Self(vec![None; FLOWS].into())
    }

    /// The place of the way from `socket` to `peer`; what stands there may be another's.
    ///
    /// The hash is no secret: who makes his flows collide makes his own answers slow.
    #[inline]
    pub(super) fn place(&mut self, socket: SocketId, peer: SocketAddr) -> &mut Option<Flow> {
        let address = match peer.ip() {
            IpAddr::V4(address) => address.to_bits(),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                (bits ^ bits >> 32 ^ bits >> 64 ^ bits >> 96) as u32
            }
        };
        let key = address ^ u32::from(peer.port()) << 16 ^ socket.slot;
        // Knuth's multiplicative hash: the upper bits depend on all of the key.
        let hash = key.wrapping_mul(0x9e37_79b1);
        &mut self.0[hash as usize >> (32 - FLOWS.trailing_zeros())]
    }
}

const _: () = assert!(FLOWS.is_power_of_two());
