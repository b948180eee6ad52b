//! Address mode: the engine owns addresses that the kernel does not have.

use super::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Generator, ICMPV6, Lists, R1, R2, R5, R7, R8,
    Width, be16,
};

/// ICMPv6 types (RFC 4861 §4).
const ROUTER_ADVERTISEMENT: u32 = 134;
const NEIGHBOR_SOLICITATION: u32 = 135;
const NEIGHBOR_ADVERTISEMENT: u32 = 136;

impl Generator<'_> {
    pub(super) fn address_mode(&mut self, vlan: bool, lists: &Lists) {
        let (ipv4, ipv6, arp) = (self.asm.label(), self.asm.label(), self.asm.label());
        let mut ways = Vec::new();
        if !lists.v4.is_empty() {
            ways.extend([(ETHERTYPE_IPV4, ipv4), (ETHERTYPE_ARP, arp)]);
        }
        if !lists.v6.is_empty() {
            ways.push((ETHERTYPE_IPV6, ipv6));
        }
        self.ethernet(vlan, &ways);
        let (hit, miss) = (self.hit, self.miss);
        if !lists.v4.is_empty() {
            self.asm.place(ipv4);
            self.asm.need(R7, 20, R8, miss);
            self.match_ipv4(&lists.v4, R7, 16, miss);
            self.asm.jump(hit);
            self.asm.place(arp);
            self.arp(lists);
        }
        if !lists.v6.is_empty() {
            self.asm.place(ipv6);
            self.address_ipv6(lists);
        }
    }

    /// ARP whose target is ours: requests for us, replies to us, and another station that
    /// announces our address (RFC 5227 conflicts). Others' gratuitous ARP has their own target.
    fn arp(&mut self, lists: &Lists) {
        let (hit, miss) = (self.hit, self.miss);
        self.asm.need(R7, 28, R8, miss);
        // Ethernet (1) and IPv4 (0x0800), addresses of 6 and 4 bytes: nothing else has its
        // target at byte 24.
        self.asm.load(Width::Word, R2, R7, 0);
        self.asm.jump_if_not_equal(R2, u32::from_ne_bytes([0, 1, 8, 0]), miss);
        self.asm.load(Width::Half, R2, R7, 4);
        self.asm.jump_if_not_equal(R2, be16(0x0604), miss);
        self.match_ipv4(&lists.v4, R7, 24, miss);
        self.asm.jump(hit);
    }

    fn address_ipv6(&mut self, lists: &Lists) {
        let (hit, miss) = (self.hit, self.miss);
        let (discovery, not_ours) = (self.asm.label(), self.asm.label());
        self.asm.need(R7, 40, R8, miss);
        self.match_ipv6(&lists.v6, R7, 24, not_ours);
        // Ours, unless it is a router advertisement: the kernel keeps the routes.
        self.asm.load(Width::Byte, R5, R7, 6);
        self.asm.jump_if_not_equal(R5, ICMPV6.into(), hit);
        self.asm.need(R7, 41, R8, hit);
        self.asm.load(Width::Byte, R2, R7, 40);
        self.asm.jump_if_equal(R2, ROUTER_ADVERTISEMENT, miss);
        self.asm.jump(hit);

        // Neighbour discovery about us to a group: solicitations to our solicited-node group,
        // and the advertisement of another station that claims our address (RFC 4862 §5.4.4).
        self.asm.place(not_ours);
        self.asm.load(Width::Byte, R5, R7, 6);
        self.asm.jump_if_not_equal(R5, ICMPV6.into(), miss);
        self.asm.load(Width::Byte, R1, R7, 24);
        self.asm.jump_if_not_equal(R1, 0xff, miss);
        self.asm.need(R7, 64, R8, miss);
        self.asm.load(Width::Byte, R2, R7, 40);
        self.asm.jump_if_equal(R2, NEIGHBOR_SOLICITATION, discovery);
        self.asm.jump_if_not_equal(R2, NEIGHBOR_ADVERTISEMENT, miss);
        self.asm.place(discovery);
        self.match_ipv6(&lists.v6, R7, 48, miss);
        self.asm.jump(hit);
    }
}
