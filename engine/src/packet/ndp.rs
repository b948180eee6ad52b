//! Neighbour discovery for IPv6 (RFC 4861): routers, neighbours, redirects, and their options.
//!
//! A message is believed only if it can't have come through a router: its hop limit is still 255.

use core::net::Ipv6Addr;

use super::icmpv6::{REDIRECT, ROUTER_SOLICITATION};
use super::ipv6;
use super::ndp_options::{NdpOption, options};
use super::{DropReason, Protocol};

/// The hop limit of every message: what has passed a router has less (RFC 4861 §3.1).
pub const HOP_LIMIT: u8 = 255;

/// A neighbour discovery message, parsed and checked. Its options: [`Message::options`].
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Message {
    /// Which routers are there?
    RouterSolicitation,
    /// I am a router, and this is how the link works.
    RouterAdvertisement(RouterAdvertisement),
    /// Who has this address?
    NeighborSolicitation {
        /// The address: never a group's.
        target: Ipv6Addr,
    },
    /// I have this address.
    NeighborAdvertisement {
        /// The sender is a router.
        router: bool,
        /// Somebody asked.
        solicited: bool,
        /// What was known of the address is to be overwritten.
        overriding: bool,
        /// The address: never a group's.
        target: Ipv6Addr,
    },
    /// There is a better first hop to this destination. Not to be believed without care.
    Redirect {
        /// The better first hop; the destination itself if it is on the link.
        target: Ipv6Addr,
        /// The destination: never a group's.
        destination: Ipv6Addr,
    },
}

/// What a router says about itself and the link (RFC 4861 §4.2).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct RouterAdvertisement {
    /// What hosts put into their packets' hop limit; 0: as they like.
    pub hop_limit: u8,
    /// Addresses come by DHCPv6.
    pub managed: bool,
    /// Other configuration comes by DHCPv6.
    pub other: bool,
    /// How it compares with other routers.
    pub preference: Preference,
    /// Seconds for which it may be a default router; 0: it is none.
    pub lifetime_s: u16,
    /// Milliseconds for which a neighbour that answered counts as reachable; 0: as they like.
    pub reachable_ms: u32,
    /// Milliseconds between two solicitations; 0: as they like.
    pub retransmit_ms: u32,
}

/// How a router compares with others (RFC 4191 §2.1).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
pub enum Preference {
    /// Before others.
    High,
    /// Like most.
    #[default]
    Medium,
    /// Behind others.
    Low,
}

impl Message {
    /// Reads a message. `bytes` is the whole ICMPv6 message, in one piece, and `header` that of its
    /// packet. The checksum is checked apart, by [`icmpv6::verify`](super::icmpv6::verify).
    ///
    /// # Errors
    ///
    /// [`DropReason::IcmpMalformed`] if it fails a check of RFC 4861 §6.1, §7.1 or §8.1: the hop
    /// limit, the code, its length, its options' lengths, its addresses;
    /// [`DropReason::IcmpIgnored`] if it is no neighbour discovery.
    pub fn parse(bytes: &[u8], header: &ipv6::Header) -> Result<Self, DropReason> {
        let Some((&[kind, code, _, _, r0, r1, r2, r3], body)) = bytes.split_first_chunk::<8>()
        else {
            return Err(DropReason::IcmpMalformed);
        };
        if !(ROUTER_SOLICITATION..=REDIRECT).contains(&kind) {
            return Err(DropReason::IcmpIgnored);
        }
        if header.hop_limit != HOP_LIMIT || code != 0 {
            return Err(DropReason::IcmpMalformed);
        }
        let message = match kind {
            ROUTER_SOLICITATION => Self::RouterSolicitation,
            ROUTER_ADVERTISEMENT => {
                let Some(&timers) = body.first_chunk::<8>() else {
                    return Err(DropReason::IcmpMalformed);
                };
                Self::RouterAdvertisement(RouterAdvertisement::read([r0, r1, r2, r3], timers))
            }
            NEIGHBOR_SOLICITATION => Self::NeighborSolicitation { target: unicast(body)? },
            NEIGHBOR_ADVERTISEMENT => Self::NeighborAdvertisement {
                router: r0 & ROUTER != 0,
                solicited: r0 & SOLICITED != 0,
                overriding: r0 & OVERRIDE != 0,
                target: unicast(body)?,
            },
            _ => {
                let target = unicast(body)?;
                Self::Redirect { target, destination: unicast(&body[16..])? }
            }
        };
        message.check(bytes, header)?;
        Ok(message)
    }

    /// The options of the message that begins with `bytes`. All of them are whole, if `bytes` was
    /// parsed; empty if it was not.
    pub fn options<'a>(
        &self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = Result<NdpOption<'a>, DropReason>> + use<'a> {
        options(bytes.get(self.fixed_len()..).unwrap_or_default())
    }

    /// Bytes of the message with `options` behind it.
    #[must_use]
    pub fn wire_len(&self, options: &[NdpOption<'_>]) -> usize {
        self.fixed_len() + options.iter().map(NdpOption::wire_len).sum::<usize>()
    }

    /// Writes the message with `options` behind it, and its checksum, into the first
    /// [`wire_len`](Self::wire_len) bytes. The packet goes from `source` to `destination`, with
    /// [`HOP_LIMIT`].
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than that: the caller has just made this room.
    pub fn emit(
        &self,
        bytes: &mut [u8],
        options: &[NdpOption<'_>],
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) {
        let bytes = &mut bytes[..self.wire_len(options)];
        let (fixed, mut rest) = bytes.split_at_mut(self.fixed_len());
        fixed.fill(0);
        match *self {
            Self::RouterSolicitation => fixed[0] = ROUTER_SOLICITATION,
            Self::RouterAdvertisement(advertisement) => advertisement.write(fixed),
            Self::NeighborSolicitation { target } => {
                fixed[0] = NEIGHBOR_SOLICITATION;
                fixed[8..24].copy_from_slice(&target.octets());
            }
            Self::NeighborAdvertisement { router, solicited, overriding, target } => {
                fixed[0] = NEIGHBOR_ADVERTISEMENT;
                let flags = [(router, ROUTER), (solicited, SOLICITED), (overriding, OVERRIDE)];
                fixed[4] = flags.iter().filter(|flag| flag.0).map(|flag| flag.1).sum();
                fixed[8..24].copy_from_slice(&target.octets());
            }
            Self::Redirect { target, destination } => {
                fixed[0] = REDIRECT;
                fixed[8..24].copy_from_slice(&target.octets());
                fixed[24..40].copy_from_slice(&destination.octets());
            }
        }
        for option in options {
            let (place, behind) = rest.split_at_mut(option.wire_len());
            option.emit(place);
            rest = behind;
        }
        let header = ipv6::Header::new(source, destination, Protocol::ICMPV6, 0);
        let sum = header.pseudo_header(Protocol::ICMPV6, bytes.len() as u16).with(bytes);
        bytes[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    }

    /// Bytes before the options.
    const fn fixed_len(&self) -> usize {
        match self {
            Self::RouterSolicitation => 8,
            Self::RouterAdvertisement(_) => 16,
            Self::NeighborSolicitation { .. } | Self::NeighborAdvertisement { .. } => 24,
            Self::Redirect { .. } => 40,
        }
    }

    /// The checks that look at the packet's addresses and at the options.
    fn check(&self, bytes: &[u8], header: &ipv6::Header) -> Result<(), DropReason> {
        let mut tells_source = false;
        for option in self.options(bytes) {
            tells_source |= matches!(option?, NdpOption::SourceLinkLayer(_));
        }
        let (source, destination) = (header.source, header.destination);
        let believed = match *self {
            // RFC 4861 §6.1.1 and §7.1.1: who has no address yet must not be learnt.
            Self::RouterSolicitation => !source.is_unspecified() || !tells_source,
            Self::NeighborSolicitation { target } => {
                !source.is_unspecified()
                    || (!tells_source && destination == ipv6::solicited_node(target))
            }
            // §6.1.2, §8.1: routers are known by their link-local addresses.
            Self::RouterAdvertisement(_) => source.is_unicast_link_local(),
            Self::Redirect { target, destination } => {
                source.is_unicast_link_local()
                    && (target == destination || target.is_unicast_link_local())
            }
            // §7.1.2: nobody asks for a group.
            Self::NeighborAdvertisement { solicited, .. } => {
                !solicited || !destination.is_multicast()
            }
        };
        if believed { Ok(()) } else { Err(DropReason::IcmpMalformed) }
    }
}

impl RouterAdvertisement {
    fn read(head: [u8; 4], timers: [u8; 8]) -> Self {
        let [hop_limit, flags, l0, l1] = head;
        let [a0, a1, a2, a3, t0, t1, t2, t3] = timers;
        Self {
            hop_limit,
            managed: flags & MANAGED != 0,
            other: flags & OTHER != 0,
            preference: Preference::from_bits(flags >> 3),
            lifetime_s: u16::from_be_bytes([l0, l1]),
            reachable_ms: u32::from_be_bytes([a0, a1, a2, a3]),
            retransmit_ms: u32::from_be_bytes([t0, t1, t2, t3]),
        }
    }

    fn write(&self, fixed: &mut [u8]) {
        fixed[0] = ROUTER_ADVERTISEMENT;
        fixed[4] = self.hop_limit;
        fixed[5] = if self.managed { MANAGED } else { 0 }
            | if self.other { OTHER } else { 0 }
            | self.preference.bits() << 3;
        fixed[6..8].copy_from_slice(&self.lifetime_s.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.reachable_ms.to_be_bytes());
        fixed[12..16].copy_from_slice(&self.retransmit_ms.to_be_bytes());
    }
}

impl Preference {
    /// Of two bits; the reserved value counts as medium (RFC 4191 §2.2).
    pub(super) const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            1 => Self::High,
            3 => Self::Low,
            _ => Self::Medium,
        }
    }

    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::High => 1,
            Self::Medium => 0,
            Self::Low => 3,
        }
    }
}

/// The address at the start of `bytes`, which must not be a group's.
fn unicast(bytes: &[u8]) -> Result<Ipv6Addr, DropReason> {
    match bytes.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets)) {
        Some(address) if !address.is_multicast() => Ok(address),
        _ => Err(DropReason::IcmpMalformed),
    }
}

const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// Flags of a neighbour advertisement (RFC 4861 §4.4).
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Flags of a router advertisement (RFC 4861 §4.2).
const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;

#[cfg(test)]
mod tests;
