//! Which packets of a device come to the engine; all others stay with the kernel.
//!
//! **ports** Ours: TCP and UDP to the addresses and ports; TCP fragments to the addresses, if any
//! port of TCP is ours, and UDP fragments whose first one matched; ICMP errors about packets that
//! we sent. The kernel's: ARP, ND, echo, everything else.
//!
//! **address** Ours: everything unicast to the addresses, fragments included; ARP and ND whose
//! target they are. The kernel's: router advertisements, broadcast, multicast, others' ARP.
//!
//! **exclusive** Everything is ours.
//!
//! Whatever the program can't read to the end (truncated, an unknown extension header, more
//! VLAN tags than asked for) is the kernel's.

use core::fmt;
use core::ops::RangeInclusive;
use std::net::IpAddr;

/// Which packets come to the engine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Steering {
    pub(super) selection: Selection,
    /// Look behind up to two VLAN tags; otherwise what has one stays with the kernel.
    pub(super) vlan: bool,
    /// The whole device, even where this host's own connections go over it.
    pub(super) may_cut_off: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Selection {
    Ports { addresses: Vec<IpAddr>, tcp: PortSet, udp: PortSet },
    Address { addresses: Vec<IpAddr> },
    Exclusive,
}

/// Ports of one protocol: single ones, and one range (the ephemeral ports).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PortSet {
    /// Single ports, in any order.
    pub ports: Vec<u16>,
    /// A range, compared by its two ends.
    pub range: Option<RangeInclusive<u16>>,
}

impl PortSet {
    /// No port at all.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// These ports.
    #[must_use]
    pub fn of(ports: &[u16]) -> Self {
        Self { ports: ports.to_vec(), range: None }
    }

    /// And this range of ports.
    #[must_use]
    pub fn with_range(mut self, range: RangeInclusive<u16>) -> Self {
        self.range = Some(range);
        self
    }

    /// Whether no port is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.range.as_ref().is_none_or(RangeInclusive::is_empty)
    }
}

impl Steering {
    /// Ports of addresses that the kernel also has.
    #[must_use]
    pub fn ports(addresses: &[IpAddr], tcp: PortSet, udp: PortSet) -> Self {
        Self {
            selection: Selection::Ports { addresses: addresses.to_vec(), tcp, udp },
            vlan: false,
            may_cut_off: false,
        }
    }

    /// Addresses that the kernel does not have.
    #[must_use]
    pub fn address(addresses: &[IpAddr]) -> Self {
        Self {
            selection: Selection::Address { addresses: addresses.to_vec() },
            vlan: false,
            may_cut_off: false,
        }
    }

    /// The whole device.
    #[must_use]
    pub fn exclusive() -> Self {
        Self { selection: Selection::Exclusive, vlan: false, may_cut_off: false }
    }

    /// Look behind up to two VLAN tags (0x8100 and 0x88a8) too. The NIC must not strip tags:
    /// one that does hides them from the program and from us (`ethtool -K IF rxvlan off`).
    #[must_use]
    pub fn with_vlan(mut self) -> Self {
        self.vlan = true;
        self
    }

    /// Take the whole device even if the default route or this ssh connection goes over it.
    #[must_use]
    pub fn allow_cut_off(mut self) -> Self {
        self.may_cut_off = true;
        self
    }

    /// The mode's name, as in configuration: `ports`, `address` or `exclusive`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.selection {
            Selection::Ports { .. } => "ports",
            Selection::Address { .. } => "address",
            Selection::Exclusive => "exclusive",
        }
    }

    /// Refuses rules that would match nothing or something else than was meant.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let addresses = match &self.selection {
            Selection::Exclusive => return Ok(()),
            Selection::Ports { tcp, udp, .. } if tcp.is_empty() && udp.is_empty() => {
                return Err("steering by ports needs at least one port");
            }
            Selection::Ports { addresses, .. } | Selection::Address { addresses } => addresses,
        };
        if addresses.is_empty() {
            return Err("steering needs at least one address");
        }
        if addresses.iter().any(IpAddr::is_unspecified) {
            return Err("steering needs the addresses themselves, not 0.0.0.0 or ::");
        }
        Ok(())
    }
}

impl fmt::Display for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn rules_that_match_nothing_are_refused() {
        let ours = [IpAddr::from([10, 0, 0, 1])];
        let some = || PortSet::of(&[7]);
        assert!(Steering::ports(&ours, some(), PortSet::none()).check().is_ok());
        assert!(Steering::ports(&ours, PortSet::none(), PortSet::none()).check().is_err());
        assert!(Steering::ports(&[], some(), some()).check().is_err());
        assert!(Steering::address(&[]).check().is_err());
        assert!(Steering::address(&[Ipv4Addr::UNSPECIFIED.into()]).check().is_err());
        assert!(Steering::exclusive().check().is_ok());
        #[expect(clippy::reversed_empty_ranges, reason = "an empty range is the case")]
        let empty = PortSet::none().with_range(9..=8);
        assert!(empty.is_empty());
    }
}
