//! The steering program: rules in, instructions out.
//!
//! ```text
//! R6 transport header · R7 network header · R8 end of the packet · R9 context (struct xdp_md)
//! stack: [-64, -48) a key to look up · [-48, -8) a fragment's key · [-4, 0) a map value
//! ```
//!
//! Two ends: `hit` redirects to the socket of the receive queue; when the queue has none, the
//! packet is counted for it and goes the way of `miss`, to the kernel. Every read is bounded
//! first; nothing loops, so the program also passes the verifiers of old kernels.

mod address;
mod ports;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use super::abi::{BPF_FUNC_MAP_LOOKUP_ELEM, BPF_FUNC_REDIRECT_MAP, Insn, XDP_PASS, XDP_REDIRECT};
use super::asm::{Assembler, Label, R0, R1, R2, R3, R4, R5, R7, R8, R9, R10, Reg, Width};
use super::steering::{Selection, Steering};

/// Longer lists are looked up in a hash map. A comparison costs under a nanosecond, a lookup
/// about ten: more immediates would be slower, fewer would pay a lookup for short lists.
pub(super) const IMMEDIATES_MAX: usize = 16;

/// Bytes of a fragment's key: source, destination, identification, protocol.
pub(super) const FRAGMENT_KEY: u32 = 40;

/// The maps that the program refers to. The hash maps are there only for long lists.
#[derive(Copy, Clone, Debug)]
pub(super) struct Maps<'a> {
    /// Receive queue → socket.
    pub(super) sockets: BorrowedFd<'a>,
    /// Fragments of datagrams whose first fragment was ours.
    pub(super) fragments: BorrowedFd<'a>,
    /// Packets for the engine that came in on a queue without a socket, by queue.
    pub(super) unserved: BorrowedFd<'a>,
    pub(super) ipv4: Option<BorrowedFd<'a>>,
    pub(super) ipv6: Option<BorrowedFd<'a>>,
    /// Every single port, keyed by [`port_key`].
    pub(super) ports: Option<BorrowedFd<'a>>,
}

/// The program for these rules.
///
/// # Errors
/// When the rules need a jump that BPF can't encode; [`IMMEDIATES_MAX`] keeps that from
/// happening.
pub(super) fn generate(steering: &Steering, maps: &Maps<'_>) -> Result<Vec<Insn>, String> {
    let mut asm = Assembler::default();
    let (hit, miss) = (asm.label(), asm.label());
    let mut generator = Generator { asm, maps, hit, miss };
    generator.asm.copy(R9, R1);
    match &steering.selection {
        Selection::Exclusive => {}
        Selection::Address { addresses } => {
            generator.address_mode(steering.vlan, &Lists::new(addresses));
        }
        Selection::Ports { addresses, tcp, udp } => {
            generator.ports_mode(steering.vlan, &Lists::new(addresses), tcp, udp);
        }
    }
    generator.ends();
    generator.asm.finish()
}

/// A single port's key in the ports map: as the program finds it in the packet.
pub(super) fn port_key(protocol: u8, port: u16) -> u32 {
    u32::from(protocol) << 16 | u32::from(port.to_be())
}

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const ICMPV6: u8 = 58;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

/// Stack slot of a key to look up, 16 bytes.
const LOOKUP: i16 = -64;

/// A constant as a 16-bit load finds it in the packet.
const fn be16(value: u16) -> u32 {
    value.to_be() as u32
}

/// The addresses by family.
struct Lists {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

impl Lists {
    fn new(addresses: &[IpAddr]) -> Self {
        let mut lists = Self { v4: Vec::new(), v6: Vec::new() };
        for address in addresses {
            match address {
                IpAddr::V4(address) => lists.v4.push(*address),
                IpAddr::V6(address) => lists.v6.push(*address),
            }
        }
        lists
    }
}

struct Generator<'a> {
    asm: Assembler,
    maps: &'a Maps<'a>,
    hit: Label,
    miss: Label,
}

impl Generator<'_> {
    /// Ethernet and its VLAN tags: leaves the network header in R7 and jumps by type; a type
    /// that is not among `ways` is a miss.
    fn ethernet(&mut self, vlan: bool, ways: &[(u16, Label)]) {
        let miss = self.miss;
        self.asm.load(Width::Word, R7, R9, 0);
        self.asm.load(Width::Word, R8, R9, 4);
        self.asm.need(R7, 14, R8, miss);
        self.asm.load(Width::Half, R5, R7, 12);
        self.asm.add(R7, 14);
        let tags = if vlan { 2 } else { 0 };
        for _ in 0..tags {
            let (tagged, untagged) = (self.asm.label(), self.asm.label());
            self.asm.jump_if_equal(R5, be16(ETHERTYPE_VLAN), tagged);
            self.asm.jump_if_not_equal(R5, be16(ETHERTYPE_QINQ), untagged);
            self.asm.place(tagged);
            self.asm.need(R7, 4, R8, miss);
            self.asm.load(Width::Half, R5, R7, 2);
            self.asm.add(R7, 4);
            self.asm.place(untagged);
        }
        for (ether_type, way) in ways {
            self.asm.jump_if_equal(R5, be16(*ether_type), *way);
        }
        self.asm.jump(miss);
    }

    /// Goes on when the IPv4 address at `base + offset` is in the list, else to `otherwise`.
    /// Uses R0 to R5.
    fn match_ipv4(&mut self, list: &[Ipv4Addr], base: Reg, offset: i16, otherwise: Label) {
        self.asm.load(Width::Word, R2, base, offset);
        if let Some(map) = self.maps.ipv4 {
            self.asm.store(R10, LOOKUP, R2);
            self.lookup(map, LOOKUP);
            self.asm.jump_if_null(R0, otherwise);
            return;
        }
        let found = self.asm.label();
        let immediate = |address: &Ipv4Addr| u32::from_ne_bytes(address.octets());
        let (last, others) = list.split_last().expect("a family without addresses has no code");
        for address in others {
            self.asm.jump_if_equal(R2, immediate(address), found);
        }
        self.asm.jump_if_not_equal(R2, immediate(last), otherwise);
        self.asm.place(found);
    }

    /// The same for an IPv6 address.
    fn match_ipv6(&mut self, list: &[Ipv6Addr], base: Reg, offset: i16, otherwise: Label) {
        let words = [R2, R3, R4, R5];
        for (word, at) in words.into_iter().zip((0..).step_by(4)) {
            self.asm.load(Width::Word, word, base, offset + at);
        }
        if let Some(map) = self.maps.ipv6 {
            for (word, at) in words.into_iter().zip((0..).step_by(4)) {
                self.asm.store(R10, LOOKUP + at, word);
            }
            self.lookup(map, LOOKUP);
            self.asm.jump_if_null(R0, otherwise);
            return;
        }
        let found = self.asm.label();
        for (place, address) in list.iter().enumerate() {
            let is_last = place + 1 == list.len();
            let next = if is_last { otherwise } else { self.asm.label() };
            let octets = address.octets();
            let (quads, _) = octets.as_chunks::<4>();
            for (word, quad) in words.into_iter().zip(quads) {
                self.asm.jump_if_not_equal(word, u32::from_ne_bytes(*quad), next);
            }
            if !is_last {
                self.asm.jump(found);
                self.asm.place(next);
            }
        }
        self.asm.place(found);
    }

    /// R0 = the address of the value under the key in the stack slot, or zero. Uses R1 to R5.
    fn lookup(&mut self, map: BorrowedFd<'_>, slot: i16) {
        self.map_call(BPF_FUNC_MAP_LOOKUP_ELEM, map, slot);
    }

    /// Calls a helper whose first two arguments are a map and a key.
    fn map_call(&mut self, helper: i32, map: BorrowedFd<'_>, slot: i16) {
        self.asm.load_map(R1, map);
        self.asm.copy(R2, R10);
        self.asm.add(R2, i32::from(slot));
        self.asm.call(helper);
    }

    fn ends(&mut self) {
        let (miss, done) = (self.miss, self.asm.label());
        self.asm.place(self.hit);
        self.asm.load_map(R1, self.maps.sockets);
        self.asm.load(Width::Word, R2, R9, 16);
        // The low bits of the flags are the verdict when the queue has no socket (Linux 5.3).
        // With 0 it would be ABORTED, and the kernel would never see the packet.
        self.asm.set(R3, XDP_PASS.cast_signed());
        self.asm.call(BPF_FUNC_REDIRECT_MAP);
        self.asm.jump_if_equal(R0, XDP_REDIRECT, done);
        self.asm.load(Width::Word, R1, R9, 16);
        self.asm.store(R10, LOOKUP, R1);
        self.lookup(self.maps.unserved, LOOKUP);
        self.asm.jump_if_null(R0, miss);
        self.asm.set(R1, 1);
        self.asm.add_atomic(R0, 0, R1);
        self.asm.place(miss);
        self.asm.set(R0, XDP_PASS.cast_signed());
        self.asm.place(done);
        self.asm.exit();
    }
}
