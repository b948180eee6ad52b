//! Which source address goes to which destination, where the socket is not bound to one.

use core::cmp::Reverse;
use core::net::{IpAddr, Ipv6Addr};

use super::{Interface, InterfaceAddress};

/// The address to send from, out of `leaves_by`, over `next_hop`, to `destination`.
///
/// IPv4: the first on the subnet of the next hop, else the first of the interface, else the first
/// of any interface (RFC 1122 §3.3.4.3, and as Linux's inet_select_addr does).
pub(super) fn choose(
    all: &[Interface],
    leaves_by: &Interface,
    next_hop: IpAddr,
    destination: IpAddr,
) -> Option<IpAddr> {
    match (next_hop, destination) {
        (IpAddr::V4(neighbor), _) => leaves_by
            .ipv4_towards(neighbor)
            .or_else(|| all.iter().find_map(|other| other.ipv4_towards(neighbor)))
            .map(IpAddr::V4),
        (_, IpAddr::V6(destination)) => choose_v6(all, leaves_by, destination).map(IpAddr::V6),
        (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// RFC 6724 §5, rules 1, 2, 3, 5, 6 and 8; 4 and 7 are about mobile and temporary addresses, of
/// which the engine has none. Of equal candidates the first counts.
fn choose_v6(all: &[Interface], leaves_by: &Interface, to: Ipv6Addr) -> Option<Ipv6Addr> {
    let candidates = all.iter().flat_map(|interface| {
        interface.addresses.iter().map(move |ours| (interface.id == leaves_by.id, ours))
    });
    let ranked = candidates.filter_map(|(here, ours)| rank(here, ours, to));
    // min_by_key keeps the first of equals, max_by_key the last.
    ranked.min_by_key(|&(rank, _)| Reverse(rank)).map(|(_, address)| address)
}

/// How well an address suits, the larger the better.
type Rank = (bool, u8, bool, bool, bool, u32);

fn rank(here: bool, ours: &InterfaceAddress, to: Ipv6Addr) -> Option<(Rank, Ipv6Addr)> {
    let IpAddr::V6(address) = ours.address else { return None };
    let (from_scope, to_scope) = (scope(address), scope(to));
    // An address of the link means nobody on another link (RFC 4291 §2.5.6), and §4 of RFC 6724
    // asks for candidates of the interface for such destinations.
    if !here && (from_scope <= LINK_LOCAL || to_scope <= LINK_LOCAL) {
        return None;
    }
    // Rule 2: the smallest scope that reaches as far as the destination's, else the largest. They
    // are numbers below 16.
    let scope_rank = if from_scope >= to_scope { u8::MAX - from_scope } else { from_scope };
    let shared = (address.to_bits() ^ to.to_bits()).leading_zeros();
    let rank = (
        address == to,
        scope_rank,
        !ours.deprecated,
        here,
        label(address) == label(to),
        // The address's own prefix is as far as likeness says anything (rule 8).
        shared.min(u32::from(ours.prefix_len)),
    );
    Some((rank, address))
}

const LINK_LOCAL: u8 = 2;
const SITE_LOCAL: u8 = 5;
const GLOBAL: u8 = 14;

/// How far an address reaches, by the numbers of RFC 4291 §2.7 (RFC 6724 §3.1).
const fn scope(address: Ipv6Addr) -> u8 {
    let octets = address.octets();
    match octets {
        [0xff, flags_and_scope, ..] => flags_and_scope & 15,
        [0xfe, second, ..] if second & 0xc0 == 0x80 => LINK_LOCAL,
        [0xfe, second, ..] if second & 0xc0 == 0xc0 => SITE_LOCAL,
        _ if address.is_loopback() => LINK_LOCAL,
        _ => GLOBAL,
    }
}

/// Addresses of one label are likely to reach each other (RFC 6724 §2.1, the default policy
/// table).
fn label(address: Ipv6Addr) -> u8 {
    let bits = address.to_bits();
    let longest = POLICY.iter().find(|(first, len, _)| {
        let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
        bits & mask == *first
    });
    longest.map_or(1, |&(.., label)| label)
}

/// First address, prefix length, label; longest first.
const POLICY: [(u128, u32, u8); 8] = [
    (1, 128, 0),
    (0xffff_0000_0000, 96, 4),
    (0, 96, 3),
    (0x2001 << 112, 32, 5),
    (0x2002 << 112, 16, 2),
    (0x3ffe << 112, 16, 12),
    (0xfec0 << 112, 10, 11),
    (0xfc00 << 112, 7, 13),
];
