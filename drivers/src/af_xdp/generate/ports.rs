//! Ports mode: ports of addresses that the kernel also has.

use super::super::abi::{BPF_FUNC_MAP_DELETE_ELEM, BPF_FUNC_MAP_UPDATE_ELEM};
use super::super::asm::{Label, R0, R1, R2, R3, R4, R5, R6, R7, R8, R10, Reg, Width};
use super::super::steering::PortSet;
use super::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, Generator, ICMPV6, IMMEDIATES_MAX, LOOKUP, Lists, TCP, UDP,
    be16,
};

/// IPv6 extension headers that the program walks over, before a fragment header and behind one.
/// RFC 8200 §4.1 names six that should each come once; what has more goes to the kernel. Each
/// costs about 20 instructions.
const EXTENSION_HEADERS_MAX: usize = 6;

/// The longest extension header that is walked over, in its own units: 1,016 bytes. The verifier
/// gives up when the sum of all can pass 64 KiB; real ones are under 100 bytes.
const EXTENSION_LENGTH_MAX: i32 = 126;

const ICMP: u8 = 1;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
/// Hop-by-hop options, routing, authentication, destination options: a bit for each number.
const EXTENSION_HEADERS: u64 = 1 << 0 | 1 << 43 | 1 << AUTHENTICATION | 1 << 60;

/// Stack slots, as offsets from the frame pointer.
const KEY: i16 = -48;
const VALUE: i16 = -4;

/// Where a walk along a packet's headers leads; by all of these R6 is the transport header.
#[derive(Copy, Clone)]
struct Exits {
    tcp: Label,
    udp: Label,
    icmp: Option<Label>,
    /// A fragment header, where it is followed.
    fragment: Option<Label>,
}

/// Where packets of both families meet.
#[derive(Copy, Clone)]
struct Transport {
    tcp: Label,
    /// A fragment of TCP, whichever.
    tcp_fragment: Label,
    udp: Label,
    /// The first fragment of a datagram, its key on the stack.
    first_udp: Label,
    /// There are no ports in it. Its protocol is in R5, its key on the stack.
    later_fragment: Label,
}

/// The ports of both protocols.
struct Ports<'a> {
    tcp: &'a PortSet,
    udp: &'a PortSet,
}

impl Generator<'_> {
    pub(super) fn ports_mode(&mut self, vlan: bool, lists: &Lists, tcp: &PortSet, udp: &PortSet) {
        let ports = Ports { tcp, udp };
        let (ipv4, ipv6) = (self.asm.label(), self.asm.label());
        let ways = [
            (!lists.v4.is_empty()).then_some((ETHERTYPE_IPV4, ipv4)),
            (!lists.v6.is_empty()).then_some((ETHERTYPE_IPV6, ipv6)),
        ];
        self.ethernet(vlan, &ways.into_iter().flatten().collect::<Vec<_>>());
        let transport = Transport {
            tcp: self.asm.label(),
            tcp_fragment: if tcp.is_empty() { self.miss } else { self.hit },
            udp: self.asm.label(),
            first_udp: self.asm.label(),
            later_fragment: self.asm.label(),
        };
        if !lists.v4.is_empty() {
            self.asm.place(ipv4);
            self.ipv4(lists, transport);
            self.icmp_error_ipv4(lists, &ports);
        }
        if !lists.v6.is_empty() {
            let icmp = self.asm.label();
            self.asm.place(ipv6);
            self.ipv6(lists, transport, icmp);
            self.asm.place(icmp);
            self.icmp_error_ipv6(lists, &ports);
        }
        self.transport(&ports, transport);
    }

    /// IPv4 to one of our addresses, whatever its options. Whole ICMP messages fall through.
    fn ipv4(&mut self, lists: &Lists, transport: Transport) {
        let miss = self.miss;
        let whole = self.asm.label();
        self.ipv4_header(R7);
        self.match_ipv4(&lists.v4, R7, 16, miss);
        self.asm.copy(R6, R7);
        self.add_ipv4_header_length(R6, R7);
        self.asm.load(Width::Byte, R5, R7, 9);
        self.asm.load(Width::Half, R4, R7, 6);
        // MF and the offset; DF and the reserved bit are no fragment's.
        self.asm.and(R4, be16(0x3fff).cast_signed());
        self.asm.jump_if_equal(R4, 0, whole);
        self.fragment_key_ipv4();
        self.asm.and(R4, be16(0x1fff).cast_signed());
        self.asm.jump_if_not_equal(R4, 0, transport.later_fragment);
        self.asm.jump_if_equal(R5, TCP.into(), transport.tcp_fragment);
        self.asm.jump_if_equal(R5, UDP.into(), transport.first_udp);
        self.asm.jump(miss);
        self.asm.place(whole);
        self.asm.jump_if_equal(R5, TCP.into(), transport.tcp);
        self.asm.jump_if_equal(R5, UDP.into(), transport.udp);
        self.asm.jump_if_not_equal(R5, ICMP.into(), miss);
    }

    /// IPv6 to one of our addresses, walked to its transport header.
    fn ipv6(&mut self, lists: &Lists, transport: Transport, icmp: Label) {
        let miss = self.miss;
        let fragment = self.asm.label();
        self.asm.need(R7, 40, R8, miss);
        self.asm.load(Width::Byte, R1, R7, 0);
        self.asm.and(R1, 0xf0);
        self.asm.jump_if_not_equal(R1, 0x60, miss);
        self.match_ipv6(&lists.v6, R7, 24, miss);
        self.asm.copy(R6, R7);
        self.asm.load(Width::Byte, R5, R7, 6);
        self.asm.add(R6, 40);
        let Transport { tcp, udp, .. } = transport;
        self.walk(Exits { tcp, udp, icmp: Some(icmp), fragment: Some(fragment) });

        self.asm.place(fragment);
        self.fragment_header_ipv6(transport);
        let (a_tcp, a_udp, an_icmp) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.walk(Exits { tcp: a_tcp, udp: a_udp, icmp: Some(an_icmp), fragment: None });
        // R0 is 0 in a packet of one fragment (RFC 6946), which is whole.
        self.asm.place(a_tcp);
        self.asm.jump_if_equal(R0, 0, tcp);
        self.asm.jump(transport.tcp_fragment);
        self.asm.place(a_udp);
        self.asm.jump_if_equal(R0, 0, udp);
        self.asm.jump(transport.first_udp);
        self.asm.place(an_icmp);
        self.asm.jump_if_equal(R0, 0, icmp);
        self.asm.jump(miss);
    }

    /// Follows next headers from R6, the first of type R5, until one that `exits` names. Uses R1
    /// to R4.
    ///
    /// Without branches between kinds of header: the verifier follows every path, and five to
    /// the power of six are too many. Deeper packets are verified first, so that it sees that
    /// shallower ones are nothing new.
    fn walk(&mut self, exits: Exits) {
        let miss = self.miss;
        for _ in 0..EXTENSION_HEADERS_MAX {
            self.leave(exits);
            self.asm.jump_if_above(R5, 63, miss);
            self.asm.set_u64(R3, EXTENSION_HEADERS);
            self.asm.shift_right_reg(R3, R5);
            self.asm.and(R3, 1);
            self.asm.jump_if_equal(R3, 0, miss);
            self.asm.need(R6, 8, R8, miss);
            self.asm.load(Width::Byte, R2, R6, 1);
            self.asm.jump_if_above(R2, EXTENSION_LENGTH_MAX, miss);
            // R3 = 1 in an authentication header, else 0.
            self.asm.copy(R3, R5);
            self.asm.xor(R3, AUTHENTICATION.into());
            self.asm.add(R3, -1);
            self.asm.shift_right(R3, 63);
            // Units of 8 bytes, not counting the first (RFC 8200 §4.3); there, words of 4 bytes
            // less 2 (RFC 4302 §2.2).
            self.asm.set(R4, 3);
            self.asm.sub_reg(R4, R3);
            self.asm.add(R2, 1);
            self.asm.add_reg(R2, R3);
            self.asm.shift_left_reg(R2, R4);
            // No change: it tells verifiers that can't follow the shift.
            self.asm.and(R2, 0x3fc);
            self.asm.load(Width::Byte, R5, R6, 0);
            self.asm.add_reg(R6, R2);
        }
        self.leave(exits);
        self.asm.jump(miss);
    }

    fn leave(&mut self, exits: Exits) {
        self.asm.jump_if_equal(R5, TCP.into(), exits.tcp);
        self.asm.jump_if_equal(R5, UDP.into(), exits.udp);
        if let Some(icmp) = exits.icmp {
            self.asm.jump_if_equal(R5, ICMPV6.into(), icmp);
        }
        if let Some(fragment) = exits.fragment {
            self.asm.jump_if_equal(R5, FRAGMENT.into(), fragment);
        }
    }

    /// RFC 8200 §4.5. Leaves 1 in R0 in a first fragment, 0 in a packet of one fragment.
    fn fragment_header_ipv6(&mut self, transport: Transport) {
        let miss = self.miss;
        let whole = self.asm.label();
        self.asm.need(R6, 8, R8, miss);
        self.asm.load(Width::Byte, R5, R6, 0);
        self.asm.load(Width::Half, R4, R6, 2);
        self.asm.set(R0, 0);
        self.asm.and(R4, be16(0xfff9).cast_signed());
        self.asm.jump_if_equal(R4, 0, whole);
        self.copy_words(R7, 8, KEY, 8);
        self.copy_words(R6, 4, KEY + 32, 1);
        self.asm.set(R2, 6);
        self.asm.store(R10, KEY + 36, R2);
        self.asm.and(R4, be16(0xfff8).cast_signed());
        self.asm.jump_if_not_equal(R4, 0, transport.later_fragment);
        self.asm.set(R0, 1);
        self.asm.place(whole);
        self.asm.add(R6, 8);
    }

    /// The key of an IPv4 fragment; the identification is one per protocol (RFC 791 §2.3).
    fn fragment_key_ipv4(&mut self) {
        for at in (0..40).step_by(8) {
            self.asm.store_u64(R10, KEY + at, 0);
        }
        self.copy_words(R7, 12, KEY, 1);
        self.copy_words(R7, 16, KEY + 16, 1);
        self.asm.load(Width::Half, R2, R7, 4);
        self.asm.store(R10, KEY + 32, R2);
        self.asm.copy(R2, R5);
        self.asm.or(R2, 0x400);
        self.asm.store(R10, KEY + 36, R2);
    }

    /// The ends of both families' walks: TCP, UDP, first and later fragments.
    ///
    /// TCP does not fragment by itself: a fragment of it is rare, and all of them come to us if any
    /// port of TCP does, so that none depends on the first one's coming first.
    fn transport(&mut self, ports: &Ports<'_>, transport: Transport) {
        let (hit, miss) = (self.hit, self.miss);
        self.asm.place(transport.tcp);
        self.match_port(TCP, ports.tcp, 2, hit, miss);
        self.asm.place(transport.udp);
        self.match_port(UDP, ports.udp, 2, hit, miss);

        self.asm.place(transport.first_udp);
        if ports.udp.is_empty() {
            self.asm.jump(miss);
        } else {
            let (ours, not_ours) = (self.asm.label(), self.asm.label());
            self.match_port(UDP, ports.udp, 2, ours, not_ours);
            self.asm.place(ours);
            self.asm.set(R1, 1);
            self.asm.store(R10, VALUE, R1);
            self.asm.copy(R3, R10);
            self.asm.add(R3, VALUE.into());
            self.asm.set(R4, 0);
            self.map_call(BPF_FUNC_MAP_UPDATE_ELEM, self.maps.fragments, KEY);
            self.asm.jump(hit);
            // An identification that was ours before is not any more.
            self.asm.place(not_ours);
            self.map_call(BPF_FUNC_MAP_DELETE_ELEM, self.maps.fragments, KEY);
            self.asm.jump(miss);
        }

        self.asm.place(transport.later_fragment);
        self.asm.jump_if_equal(R5, TCP.into(), transport.tcp_fragment);
        self.lookup(self.maps.fragments, KEY);
        self.asm.jump_if_null(R0, miss);
        self.asm.jump(hit);
    }

    /// ICMP errors about a packet of ours: unreachable, time exceeded, parameter problem
    /// (RFC 792). Redirects are the kernel's, which keeps the routes; source quench is dead
    /// (RFC 6633).
    fn icmp_error_ipv4(&mut self, lists: &Lists, ports: &Ports<'_>) {
        let miss = self.miss;
        let error = self.asm.label();
        self.asm.need(R6, 28, R8, miss);
        self.asm.load(Width::Byte, R1, R6, 0);
        for kind in [3, 11] {
            self.asm.jump_if_equal(R1, kind, error);
        }
        self.asm.jump_if_not_equal(R1, 12, miss);
        self.asm.place(error);
        self.asm.add(R6, 8);
        self.ipv4_header(R6);
        self.match_ipv4(&lists.v4, R6, 12, miss);
        self.asm.load(Width::Half, R4, R6, 6);
        self.asm.and(R4, be16(0x1fff).cast_signed());
        self.asm.jump_if_not_equal(R4, 0, miss);
        self.asm.load(Width::Byte, R5, R6, 9);
        self.add_ipv4_header_length(R6, R6);
        let exits = self.embedded_exits();
        self.asm.jump_if_equal(R5, TCP.into(), exits.tcp);
        self.asm.jump_if_equal(R5, UDP.into(), exits.udp);
        self.asm.jump(miss);
        self.embedded_ports(ports, exits);
    }

    /// The same for ICMPv6: types 1 to 4 (RFC 4443 §3).
    fn icmp_error_ipv6(&mut self, lists: &Lists, ports: &Ports<'_>) {
        let miss = self.miss;
        self.asm.need(R6, 48, R8, miss);
        self.asm.load(Width::Byte, R1, R6, 0);
        self.asm.jump_if_below(R1, 1, miss);
        self.asm.jump_if_above(R1, 4, miss);
        self.asm.load(Width::Byte, R1, R6, 8);
        self.asm.and(R1, 0xf0);
        self.asm.jump_if_not_equal(R1, 0x60, miss);
        self.match_ipv6(&lists.v6, R6, 16, miss);
        self.asm.load(Width::Byte, R5, R6, 14);
        self.asm.add(R6, 48);
        let exits = self.embedded_exits();
        self.walk(exits);
        self.embedded_ports(ports, exits);
    }

    fn embedded_exits(&mut self) -> Exits {
        let (tcp, udp) = (self.asm.label(), self.asm.label());
        Exits { tcp, udp, icmp: None, fragment: None }
    }

    /// We sent the packet in the error: its source port is ours.
    fn embedded_ports(&mut self, ports: &Ports<'_>, exits: Exits) {
        let (hit, miss) = (self.hit, self.miss);
        self.asm.place(exits.tcp);
        self.match_port(TCP, ports.tcp, 0, hit, miss);
        self.asm.place(exits.udp);
        self.match_port(UDP, ports.udp, 0, hit, miss);
    }

    /// Jumps by the port at R6 + `offset`. Uses R0 to R3 and, for long lists, R4 and R5.
    fn match_port(&mut self, protocol: u8, set: &PortSet, offset: i16, hit: Label, miss: Label) {
        if set.is_empty() {
            self.asm.jump(miss);
            return;
        }
        self.asm.need(R6, i32::from(offset) + 2, R8, miss);
        self.asm.load(Width::Half, R2, R6, offset);
        let in_map = set.ports.len() > IMMEDIATES_MAX;
        if !in_map {
            for port in &set.ports {
                self.asm.jump_if_equal(R2, be16(*port), hit);
            }
        }
        if let Some(range) = set.range.as_ref().filter(|range| !range.is_empty()) {
            let outside = self.asm.label();
            self.asm.copy(R3, R2);
            self.asm.be16_to_host(R3);
            self.asm.jump_if_below(R3, (*range.start()).into(), outside);
            self.asm.jump_if_above(R3, (*range.end()).into(), outside);
            self.asm.jump(hit);
            self.asm.place(outside);
        }
        if let (true, Some(map)) = (in_map, self.maps.ports) {
            self.asm.or(R2, i32::from(protocol) << 16);
            self.asm.store(R10, LOOKUP, R2);
            self.lookup(map, LOOKUP);
            self.asm.jump_if_null(R0, miss);
            self.asm.jump(hit);
        } else {
            self.asm.jump(miss);
        }
    }

    /// A whole IPv4 header of version 4 stands at `at`. Uses R1.
    fn ipv4_header(&mut self, at: Reg) {
        let miss = self.miss;
        self.asm.need(at, 20, R8, miss);
        self.asm.load(Width::Byte, R1, at, 0);
        // Version 4 and at least 5 words: 0x45 to 0x4f.
        self.asm.jump_if_below(R1, 0x45, miss);
        self.asm.jump_if_above(R1, 0x4f, miss);
    }

    /// `reg += ` the header length of the IPv4 header at `header`: options are skipped, however
    /// many. Uses R1.
    fn add_ipv4_header_length(&mut self, reg: Reg, header: Reg) {
        self.asm.load(Width::Byte, R1, header, 0);
        self.asm.and(R1, 0x0f);
        self.asm.shift_left(R1, 2);
        self.asm.add_reg(reg, R1);
    }

    /// Copies words of the packet to the stack. Uses R2.
    fn copy_words(&mut self, from: Reg, offset: i16, slot: i16, words: i16) {
        for at in (0..words).map(|word| word * 4) {
            self.asm.load(Width::Word, R2, from, offset + at);
            self.asm.store(R10, slot + at, R2);
        }
    }
}
