//! Both ends of a connection in one key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Both ends of a connection: 36 bytes, IPv4 addresses in their mapped form (RFC 4291 §2.5.5.2),
/// so that one table serves both versions.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Tuple {
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
}

impl Tuple {
    /// The connection from `local` to `remote`.
    #[inline]
    #[must_use]
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local: mapped(local.ip()),
            remote: mapped(remote.ip()),
            local_port: local.port(),
            remote_port: remote.port(),
        }
    }

    /// This end.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(unmapped(self.local), self.local_port)
    }

    /// The other end.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(unmapped(self.remote), self.remote_port)
    }
}

#[inline]
fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[inline]
fn unmapped(octets: [u8; 16]) -> IpAddr {
    match octets {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Ipv4Addr::new(a, b, c, d).into(),
        octets => Ipv6Addr::from(octets).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_survive() {
        for (local, remote) in [("10.0.0.1:1", "10.0.0.2:65535"), ("[fd00::1]:7", "[fd00::2]:9")] {
            let (local, remote) = (local.parse().expect("valid"), remote.parse().expect("valid"));
            let tuple = Tuple::new(local, remote);
            assert_eq!((tuple.local(), tuple.remote()), (local, remote));
            assert_ne!(tuple, Tuple::new(remote, local));
        }
    }
}
