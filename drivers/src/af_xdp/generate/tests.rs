//! Every steering mode against every kind of packet, run by the kernel (BPF_PROG_TEST_RUN).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::super::program::{Program, SharedMaps, Verdict};
use super::super::steering::{PortSet, Steering};
use super::super::sys;
use crate::mem::{Pages, Region, RegionConfig};

const OURS: [u8; 4] = [10, 0, 0, 1];
const THEIRS: [u8; 4] = [10, 0, 0, 9];
const OURS6: [u8; 16] = address6(0x0102_0304);
const THEIRS6: [u8; 16] = address6(0x0900_0009);
const ALL_NODES: [u8; 16] = group6(&[0, 0, 0, 1]);
/// ff02::1:ff02:304 (RFC 4291 §2.7.1).
const OUR_SOLICITED_NODE: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 2, 3, 4];
const BROADCAST_MAC: [u8; 6] = [0xff; 6];
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

const TCP_PORT: u16 = 80;
const UDP_PORT: u16 = 7;
const EPHEMERAL: u16 = 45_000;
const OTHER_PORT: u16 = 22;

const fn address6(low: u32) -> [u8; 16] {
    (0x2001_0db8_u128 << 96 | low as u128).to_be_bytes()
}

const fn group6(low: &[u8; 4]) -> [u8; 16] {
    (0xff02_u128 << 112 | u32::from_be_bytes(*low) as u128).to_be_bytes()
}

/// The programs, in the order of the table's columns.
const COLUMNS: [&str; 8] = [
    "ports",
    "ports+vlan",
    "ports, long",
    "UDP only",
    "address",
    "addr+vlan",
    "addr, long",
    "exclusive",
];

/// What each column should say: E the engine, K the kernel.
struct Case {
    name: &'static str,
    packet: Vec<u8>,
    expected: &'static str,
}

fn case(name: &'static str, packet: Vec<u8>, expected: &'static str) -> Case {
    Case { name, packet, expected }
}

fn steerings() -> [Steering; 8] {
    let ours: Vec<IpAddr> = vec![OURS.into(), OURS6.into()];
    // The lists of these do not fit immediates; ours are in the middle.
    let mut many: Vec<IpAddr> = (0..20u8).map(|n| Ipv4Addr::new(172, 16, 0, n).into()).collect();
    many.extend(ours.iter());
    many.extend((0..20u16).map(|n| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n))));
    let tcp = PortSet::of(&[443, TCP_PORT, 8080]).with_range(40_000..=50_000);
    let udp = PortSet::of(&[53, UDP_PORT]).with_range(40_000..=50_000);
    let long = |port: u16| {
        let mut ports: Vec<u16> = (1000..1020).collect();
        ports.push(port);
        PortSet::of(&ports).with_range(40_000..=50_000)
    };
    [
        Steering::ports(&ours, tcp.clone(), udp.clone()),
        Steering::ports(&ours, tcp, udp.clone()).with_vlan(),
        Steering::ports(&many, long(TCP_PORT), long(UDP_PORT)),
        Steering::ports(&ours, PortSet::none(), udp),
        Steering::address(&ours),
        Steering::address(&ours).with_vlan(),
        Steering::address(&many),
        Steering::exclusive(),
    ]
}

// ---- packets ----

fn ethernet(mac: [u8; 6], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = mac.to_vec();
    frame.extend([2, 0, 0, 0, 0, 9]);
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The same frame behind one tag more.
fn tagged(frame: &[u8], tpid: u16) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    out.extend(tpid.to_be_bytes());
    out.extend(100u16.to_be_bytes());
    out.extend(&frame[12..]);
    out
}

fn arp(mac: [u8; 6], operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 9];
    body.extend(sender);
    body.extend([0; 6]);
    body.extend(target);
    ethernet(mac, 0x0806, &body)
}

struct V4 {
    protocol: u8,
    /// Flags and offset, as in the header.
    fragment: u16,
    id: u16,
    options: usize,
}

const WHOLE: V4 = V4 { protocol: 17, fragment: 0x4000, id: 1, options: 0 };

fn ip4(from: [u8; 4], to: [u8; 4], v4: &V4, payload: &[u8]) -> Vec<u8> {
    let words = 5 + v4.options;
    let mut packet = vec![0x40 | words as u8, 0];
    packet.extend(((words * 4 + payload.len()) as u16).to_be_bytes());
    packet.extend(v4.id.to_be_bytes());
    packet.extend(v4.fragment.to_be_bytes());
    packet.extend([64, v4.protocol, 0, 0]);
    packet.extend(from);
    packet.extend(to);
    packet.extend(vec![1; v4.options * 4]);
    packet.extend(payload);
    packet
}

/// To us, from another host.
fn to_us(v4: &V4, payload: &[u8]) -> Vec<u8> {
    ethernet(OUR_MAC, 0x0800, &ip4(THEIRS, OURS, v4, payload))
}

fn ip6(from: [u8; 16], to: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 255]);
    packet.extend(from);
    packet.extend(to);
    packet.extend(payload);
    packet
}

fn to_us6(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(OUR_MAC, 0x86dd, &ip6(THEIRS6, OURS6, next, payload))
}

/// A UDP header or the beginning of a TCP one, with something behind it.
fn ports(from: u16, to: u16) -> Vec<u8> {
    let mut header = from.to_be_bytes().to_vec();
    header.extend(to.to_be_bytes());
    header.extend([0; 16]);
    header
}

fn icmp(kind: u8, embedded: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(embedded);
    message
}

fn discovery(kind: u8, to: [u8; 16], target: [u8; 16]) -> Vec<u8> {
    ethernet(OUR_MAC, 0x86dd, &ip6(THEIRS6, to, 58, &icmp(kind, &target)))
}

/// An extension header of `units` × 8 bytes more than the first 8.
fn extension(next: u8, units: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![next, units];
    header.extend(vec![0; 6 + usize::from(units) * 8]);
    header.extend(rest);
    header
}

fn fragment6(next: u8, offset: u16, more: bool, id: u32, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![next, 0];
    header.extend((offset << 3 | u16::from(more)).to_be_bytes());
    header.extend(id.to_be_bytes());
    header.extend(rest);
    header
}

// ---- the matrix ----

fn arp_cases() -> Vec<Case> {
    let (request, reply) = (1, 2);
    vec![
        case("ARP request for us", arp(BROADCAST_MAC, request, THEIRS, OURS), "KKKK EEE E"),
        case("ARP request for another", arp(BROADCAST_MAC, request, OURS, THEIRS), "KKKK KKK E"),
        case("ARP reply to us", arp(OUR_MAC, reply, THEIRS, OURS), "KKKK EEE E"),
        case("ARP reply to another", arp(OUR_MAC, reply, THEIRS, THEIRS), "KKKK KKK E"),
        case("gratuitous ARP, ours", arp(BROADCAST_MAC, request, OURS, OURS), "KKKK EEE E"),
        case("gratuitous ARP, others'", arp(BROADCAST_MAC, request, THEIRS, THEIRS), "KKKK KKK E"),
        case("ARP, VLAN", tagged(&arp(OUR_MAC, reply, THEIRS, OURS), 0x8100), "KKKK KEK E"),
    ]
}

fn unicast_cases() -> Vec<Case> {
    let tcp = V4 { protocol: 6, ..WHOLE };
    let echo = V4 { protocol: 1, ..WHOLE };
    let udp = |to| to_us(&WHOLE, &ports(9, to));
    let another = ip4(OURS, THEIRS, &WHOLE, &ports(9, UDP_PORT));
    let broadcast = ip4(THEIRS, [255; 4], &WHOLE, &ports(9, UDP_PORT));
    let multicast = ip4(THEIRS, [224, 0, 0, 1], &WHOLE, &ports(9, UDP_PORT));
    let double = tagged(&tagged(&udp(UDP_PORT), 0x8100), 0x88a8);
    vec![
        case("UDP to our port", udp(UDP_PORT), "EEEE EEE E"),
        case("UDP to our ephemeral port", udp(EPHEMERAL), "EEEE EEE E"),
        case("UDP below the range", udp(39_999), "KKKK EEE E"),
        case("UDP, first of the range", udp(40_000), "EEEE EEE E"),
        case("UDP, last of the range", udp(50_000), "EEEE EEE E"),
        case("UDP above the range", udp(50_001), "KKKK EEE E"),
        case("UDP to another port", udp(OTHER_PORT), "KKKK EEE E"),
        case("UDP to our TCP port", udp(TCP_PORT), "KKKK EEE E"),
        case("TCP to our port", to_us(&tcp, &ports(9, TCP_PORT)), "EEEK EEE E"),
        case("TCP to another port", to_us(&tcp, &ports(9, OTHER_PORT)), "KKKK EEE E"),
        case("TCP to our UDP port", to_us(&tcp, &ports(9, UDP_PORT)), "KKKK EEE E"),
        case("UDP to another address", ethernet(OUR_MAC, 0x0800, &another), "KKKK KKK E"),
        case("UDP broadcast", ethernet(BROADCAST_MAC, 0x0800, &broadcast), "KKKK KKK E"),
        case("UDP multicast", ethernet([1, 0, 0x5e, 0, 0, 1], 0x0800, &multicast), "KKKK KKK E"),
        case("ICMP echo request", to_us(&echo, &icmp(8, &[0; 24])), "KKKK EEE E"),
        case("UDP, VLAN", tagged(&udp(UDP_PORT), 0x8100), "KEKK KEK E"),
        case("UDP, two VLANs", double.clone(), "KEKK KEK E"),
        case("UDP, three VLANs", tagged(&double, 0x8100), "KKKK KKK E"),
        case("UDP, 1 word of options", to_us(&options(1), &ports(9, UDP_PORT)), "EEEE EEE E"),
        case("UDP, 10 words of options", to_us(&options(10), &ports(9, UDP_PORT)), "EEEE EEE E"),
        case("options, another port", to_us(&options(10), &ports(9, OTHER_PORT)), "KKKK EEE E"),
        case("other EtherType", ethernet(OUR_MAC, 0x88cc, &[0; 46]), "KKKK KKK E"),
    ]
}

fn options(words: usize) -> V4 {
    V4 { options: words, ..WHOLE }
}

/// In this order: what a first fragment says holds for those that come later.
fn fragment_cases() -> Vec<Case> {
    let first = |id| V4 { fragment: 0x2000, id, ..WHOLE };
    let later = |id| V4 { fragment: 0x00b9, id, ..WHOLE };
    let middle = |id| V4 { fragment: 0x2010, id, ..WHOLE };
    let of_tcp = |v4| V4 { protocol: 6, ..v4 };
    let of_icmp = |v4| V4 { protocol: 1, ..v4 };
    let data = [0xaa; 32];
    vec![
        case("later UDP fragment, unknown", to_us(&later(5), &data), "KKKK EEE E"),
        case("first UDP fragment", to_us(&first(5), &ports(9, UDP_PORT)), "EEEE EEE E"),
        case("middle UDP fragment, known", to_us(&middle(5), &data), "EEEE EEE E"),
        case("later UDP fragment, known", to_us(&later(5), &data), "EEEE EEE E"),
        case("… of another id", to_us(&later(6), &data), "KKKK EEE E"),
        case("… of another protocol", to_us(&of_icmp(later(5)), &data), "KKKK EEE E"),
        case("first, another port", to_us(&first(5), &ports(9, OTHER_PORT)), "KKKK EEE E"),
        case("later UDP fragment, forgotten", to_us(&later(5), &data), "KKKK EEE E"),
        case("first TCP fragment", to_us(&of_tcp(first(5)), &ports(9, OTHER_PORT)), "EEEK EEE E"),
        case("later TCP fragment", to_us(&of_tcp(later(7)), &data), "EEEK EEE E"),
        case("first ICMP fragment", to_us(&of_icmp(first(8)), &icmp(8, &data)), "KKKK EEE E"),
    ]
}

fn icmp_error_cases() -> Vec<Case> {
    let echo = V4 { protocol: 1, ..WHOLE };
    let tcp = V4 { protocol: 6, ..WHOLE };
    let error = |kind, embedded: &[u8]| to_us(&echo, &icmp(kind, embedded));
    let sent = |v4: &V4, port| ip4(OURS, THEIRS, v4, &ports(port, 9)[..8]);
    let not_ours = ip4(THEIRS, OURS, &WHOLE, &ports(UDP_PORT, 9)[..8]);
    let later = V4 { fragment: 0x00b9, ..WHOLE };
    vec![
        case("unreachable, our UDP port", error(3, &sent(&WHOLE, UDP_PORT)), "EEEE EEE E"),
        case("time exceeded, our TCP port", error(11, &sent(&tcp, TCP_PORT)), "EEEK EEE E"),
        case("parameter problem, ephemeral", error(12, &sent(&tcp, EPHEMERAL)), "EEEK EEE E"),
        case("unreachable, options inside", error(3, &sent(&options(3), UDP_PORT)), "EEEE EEE E"),
        case("unreachable, another port", error(3, &sent(&WHOLE, OTHER_PORT)), "KKKK EEE E"),
        case("unreachable, not our packet", error(3, &not_ours), "KKKK EEE E"),
        case("unreachable, a later fragment", error(3, &sent(&later, UDP_PORT)), "KKKK EEE E"),
        case("redirect", error(5, &sent(&WHOLE, UDP_PORT)), "KKKK EEE E"),
        case("source quench", error(4, &sent(&WHOLE, UDP_PORT)), "KKKK EEE E"),
    ]
}

fn ipv6_cases() -> Vec<Case> {
    let udp = ports(9, UDP_PORT);
    let other = ports(9, OTHER_PORT);
    let deep = (0..6)
        .fold(udp.clone(), |inner, depth| extension(if depth == 0 { 17 } else { 60 }, 0, &inner));
    let another = ip6(OURS6, THEIRS6, 17, &udp);
    // RFC 8200 §4.5: two bits between offset and M that receivers ignore.
    let mut reserved = fragment6(6, 0, false, 5, &other);
    reserved[3] |= 6;
    vec![
        case("IPv6 UDP to our port", to_us6(17, &udp), "EEEE EEE E"),
        case("IPv6 TCP to our port", to_us6(6, &ports(9, TCP_PORT)), "EEEK EEE E"),
        case("IPv6 UDP to another port", to_us6(17, &other), "KKKK EEE E"),
        case("IPv6 to another address", ethernet(OUR_MAC, 0x86dd, &another), "KKKK KKK E"),
        case("IPv6, VLAN", tagged(&to_us6(17, &udp), 0x88a8), "KEKK KEK E"),
        case("hop-by-hop, UDP", to_us6(0, &extension(17, 2, &udp)), "EEEE EEE E"),
        case("hop-by-hop, another port", to_us6(0, &extension(17, 2, &other)), "KKKK EEE E"),
        case("authentication, UDP", to_us6(51, &authentication(17, &udp)), "EEEE EEE E"),
        case("six extension headers", to_us6(60, &deep), "EEEE EEE E"),
        case("seven extension headers", to_us6(60, &extension(60, 0, &deep)), "KKKK EEE E"),
        case("unknown extension header", to_us6(135, &extension(17, 0, &udp)), "KKKK EEE E"),
        case("IPv6 echo request", to_us6(58, &icmp(128, &[0; 56])), "KKKK EEE E"),
        case("later fragment, unknown", to_us6(44, &fragment6(17, 9, true, 3, &udp)), "KKKK EEE E"),
        case("first UDP fragment", to_us6(44, &fragment6(17, 0, true, 3, &udp)), "EEEE EEE E"),
        case("later fragment, known", to_us6(44, &fragment6(17, 9, false, 3, &udp)), "EEEE EEE E"),
        case("first, another port", to_us6(44, &fragment6(17, 0, true, 3, &other)), "KKKK EEE E"),
        case("later, forgotten", to_us6(44, &fragment6(17, 9, true, 3, &udp)), "KKKK EEE E"),
        case("later TCP fragment", to_us6(44, &fragment6(6, 9, true, 4, &udp)), "EEEK EEE E"),
        case("first TCP fragment", to_us6(44, &fragment6(6, 0, true, 4, &other)), "EEEK EEE E"),
        case("atomic UDP fragment", to_us6(44, &fragment6(17, 0, false, 5, &udp)), "EEEE EEE E"),
        case("atomic TCP, reserved bits", to_us6(44, &reserved), "KKKK EEE E"),
        case("atomic, another port", to_us6(44, &fragment6(17, 0, false, 5, &other)), "KKKK EEE E"),
    ]
}

/// RFC 4302: the length counts words of 4 bytes, less 2; here 12 bytes and 12 of checksum.
fn authentication(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![next, 4];
    header.extend([0; 22]);
    header.extend(rest);
    header
}

fn icmpv6_cases() -> Vec<Case> {
    let sent = |from, next, rest: &[u8]| ip6(from, THEIRS6, next, rest);
    let error = |kind, embedded: &[u8]| to_us6(58, &icmp(kind, embedded));
    let udp = ports(UDP_PORT, 9);
    let extended = extension(17, 0, &udp);
    let to_group = |kind, to| discovery(kind, to, OURS6);
    vec![
        case("too big, our UDP port", error(2, &sent(OURS6, 17, &udp)), "EEEE EEE E"),
        case("unreachable, extension inside", error(1, &sent(OURS6, 60, &extended)), "EEEE EEE E"),
        case(
            "time exceeded, another port",
            error(3, &sent(OURS6, 17, &ports(22, 9))),
            "KKKK EEE E",
        ),
        case("too big, not our packet", error(2, &sent(THEIRS6, 17, &udp)), "KKKK EEE E"),
        case("NS, our solicited-node", to_group(135, OUR_SOLICITED_NODE), "KKKK EEE E"),
        case("NS, unicast to us", to_group(135, OURS6), "KKKK EEE E"),
        case("NS for another", discovery(135, OUR_SOLICITED_NODE, THEIRS6), "KKKK KKK E"),
        case("NA to us", discovery(136, OURS6, THEIRS6), "KKKK EEE E"),
        case("NA to all, about our address", to_group(136, ALL_NODES), "KKKK EEE E"),
        case("NA to all, about another", discovery(136, ALL_NODES, THEIRS6), "KKKK KKK E"),
        case("RA to all nodes", discovery(134, ALL_NODES, [0; 16]), "KKKK KKK E"),
        case("RA to us", discovery(134, OURS6, [0; 16]), "KKKK KKK E"),
        case("MLD query to all nodes", discovery(130, ALL_NODES, [0; 16]), "KKKK KKK E"),
    ]
}

/// A socket far enough set up to stand in the socket map: the kernel redirects to no other.
struct Bed {
    steerings: [Steering; 8],
    programs: Vec<(Program, SharedMaps)>,
    _socket: OwnedFd,
    _region: Arc<Region>,
}

impl Bed {
    fn new() -> Option<Self> {
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        if !is_root {
            assert!(std::env::var_os("CI").is_none(), "CI runs the steering matrix as root");
            println!("skipped: BPF_PROG_TEST_RUN needs root");
            return None;
        }
        let config = RegionConfig { frames: 64, pages: Pages::Plain, ..RegionConfig::default() };
        let region = Region::new(&config).expect("a region");
        let socket = sys::socket().expect("an AF_XDP socket");
        let (address, length) = region.umem();
        let umem = libc::xdp_umem_reg {
            addr: address.expose_provenance() as u64,
            len: length as u64,
            chunk_size: 2048,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        sys::register_umem(socket.as_fd(), &umem).expect("a UMEM");
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING] {
            sys::set_u32(socket.as_fd(), libc::SOL_XDP, ring, 64).expect("a ring");
        }
        let steerings = steerings();
        let load = |steering| {
            let maps = SharedMaps::new().expect("maps");
            maps.insert(0, socket.as_fd()).expect("a socket in the map");
            (Program::load(steering, &maps).expect("a program that the verifier takes"), maps)
        };
        let programs = steerings.iter().map(load).collect();
        Some(Self { steerings, programs, _socket: socket, _region: region })
    }

    /// What each program has counted for the queue without a socket.
    fn unserved(&self) -> Vec<u64> {
        self.programs.iter().map(|(_, maps)| maps.unserved(0).expect("a count")).collect()
    }

    /// One letter a program: E the engine, K the kernel.
    fn verdicts(&self, packet: &[u8]) -> String {
        let verdict = |(program, _): &(Program, SharedMaps)| match program
            .verdict(packet)
            .expect("a test run")
        {
            Verdict::Engine => 'E',
            Verdict::Kernel => 'K',
        };
        self.programs.iter().map(verdict).collect()
    }
}

fn all_cases() -> Vec<Case> {
    let groups = [
        arp_cases(),
        unicast_cases(),
        fragment_cases(),
        icmp_error_cases(),
        ipv6_cases(),
        icmpv6_cases(),
    ];
    groups.into_iter().flatten().collect()
}

#[test]
fn every_mode_against_every_kind_of_packet() {
    let Some(bed) = Bed::new() else { return };
    let mut table = format!("{:<34}", "E: the engine, K: the kernel");
    for column in COLUMNS {
        write!(table, " {column:<11}").expect("a string");
    }
    let mut wrong = Vec::new();
    for case in all_cases() {
        let (expected, found) = (case.expected.replace(' ', ""), bed.verdicts(&case.packet));
        write!(table, "\n{:<34}", case.name).expect("a string");
        for (want, got) in expected.chars().zip(found.chars()) {
            let mark = if want == got { String::new() } else { format!(" not {want}") };
            write!(table, " {:<11}", format!("{got}{mark}")).expect("a string");
        }
        if expected != found {
            wrong.push(case.name);
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "wrong verdicts for {wrong:?}; see the table");
}

/// Cut anywhere, a packet for us is ours only as long as the program can read what it compares;
/// what it can't read is the kernel's, never dropped.
#[test]
fn truncated_at_every_length() {
    let Some(bed) = Bed::new() else { return };
    for case in all_cases() {
        let whole = bed.verdicts(&case.packet);
        // BPF_PROG_TEST_RUN takes no less than an Ethernet header.
        for length in 14..case.packet.len() {
            let cut = bed.verdicts(&case.packet[..length]);
            for (column, (whole, cut)) in whole.chars().zip(cut.chars()).enumerate() {
                // A packet for the kernel stays there; router advertisements alone are told by
                // their last byte, so a cut one can look like any packet to us.
                let told_by_the_end = case.name == "RA to us" && length == 54;
                assert!(
                    whole == 'E' || cut == 'K' || told_by_the_end,
                    "{} cut to {length} bytes comes to us in {}",
                    case.name,
                    COLUMNS[column]
                );
                let exclusive = bed.steerings[column].name() == "exclusive";
                assert!(!exclusive || cut == 'E', "exclusive leaves out a packet of {length} B");
            }
        }
    }
    // The exact length from which each is readable, in ports mode: header and both ports.
    let exact = [
        (to_us(&WHOLE, &ports(9, UDP_PORT)), 14 + 20 + 4),
        (to_us(&options(10), &ports(9, UDP_PORT)), 14 + 60 + 4),
        (to_us6(17, &ports(9, UDP_PORT)), 14 + 40 + 4),
        (to_us6(0, &extension(17, 2, &ports(9, UDP_PORT))), 14 + 40 + 24 + 4),
    ];
    for (packet, needed) in exact {
        for length in 14..packet.len() {
            let comes = bed.verdicts(&packet[..length]).starts_with('E');
            assert_eq!(comes, length >= needed, "{length} bytes, {needed} needed");
        }
    }
}

/// A queue without a socket leaves everything to the kernel, and counts what was for us.
#[test]
fn an_empty_slot_is_the_kernels() {
    let Some(bed) = Bed::new() else { return };
    bed.programs.iter().for_each(|(_, maps)| maps.remove(0));
    for case in all_cases() {
        let before: Vec<_> = bed.unserved();
        assert!(bed.verdicts(&case.packet).chars().all(|who| who == 'K'), "{}", case.name);
        let letter = |(before, after)| if before == after { 'K' } else { 'E' };
        let counted: String = before.into_iter().zip(bed.unserved()).map(letter).collect();
        assert_eq!(counted, case.expected.replace(' ', ""), "{}", case.name);
    }
    assert!(bed._socket.as_raw_fd() >= 0);
}
