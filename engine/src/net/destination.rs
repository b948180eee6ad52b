//! Where a datagram may be sent, said at once as the kernel says it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::control::snapshot::Snapshot;
use crate::packet::udp::HEADER_LEN;

/// A destination to which there is a way.
#[derive(Copy, Clone, Debug)]
pub(super) struct Destination {
    pub(super) address: SocketAddr,
    /// Of the snapshot by which it was found good.
    pub(super) generation: u32,
    /// The largest payload that the way holds.
    pub(super) largest: usize,
    /// Whether it means everybody on the link.
    pub(super) is_broadcast: bool,
}

impl Destination {
    /// Looks for the way.
    ///
    /// # Errors
    /// EINVAL for port 0, ENETUNREACH without a route; [`io::ErrorKind::Unsupported`] for the
    /// engine's own address.
    pub(super) fn find(snapshot: &Snapshot, address: SocketAddr) -> io::Result<Self> {
        if address.port() == 0 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        if snapshot.is_local(address.ip()).is_some() {
            let message = "an engine does not yet speak with itself; use another host";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        let (interface, mtu) = match snapshot.route(address.ip()) {
            Some(next) => (next.interface, next.mtu),
            None => {
                // To everybody on the link, whatever the routes; as the worker sends it.
                let first = snapshot.interfaces.first();
                let first = first.filter(|_| address.ip() == Ipv4Addr::BROADCAST);
                first
                    .map(|interface| (interface.id, interface.mtu))
                    .ok_or_else(|| io::Error::from_raw_os_error(libc::ENETUNREACH))?
            }
        };
        let (is_broadcast, ip_header) = match address.ip() {
            IpAddr::V4(v4) => (snapshot.is_broadcast(interface, v4), 20),
            IpAddr::V6(_) => (false, 40),
        };
        let largest = (mtu as usize).saturating_sub(ip_header + HEADER_LEN);
        Ok(Self { address, generation: snapshot.generation, largest, is_broadcast })
    }
}
