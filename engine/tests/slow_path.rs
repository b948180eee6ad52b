//! The slow path against a real kernel, in network namespaces of its own.

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use corewire::control::slow_path::{Attachment, Changes, Event, SlowPath, SlowPathConfig};
use corewire::control::snapshot::{InterfaceAddress, InterfaceId, Snapshot};
use corewire::env::Clock;
use corewire::packet::MacAddr;

const ENG: InterfaceId = InterfaceId(0);
const INSIDE: &str = "COREWIRE_TEST_NAMESPACE";

/// Runs `body` in a network namespace that vanishes with the process: the test runs itself again,
/// alone, under unshare(1).
fn in_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "CI runs these tests as root");
        eprintln!("skipped: a network namespace needs root");
        return;
    }
    let program = std::env::current_exe().expect("the path of this test");
    let status = Command::new("unshare")
        .args(["--net", "--"])
        .arg(program)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare(1), of util-linux");
    assert!(status.success(), "{test} failed in its namespace");
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status();
    assert!(status.expect("ip(8), of iproute2").success(), "ip {arguments}");
}

/// A second network namespace, kept by a process that does nothing.
struct Peer(Child);

impl Peer {
    /// The peer has 10.77.0.2 at 02:00:00:00:00:02 on one end of a veth pair; `eng` is the other.
    fn new() -> Self {
        let child = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo ready; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("unshare(1)");
        let mut line = [0; 6];
        let out = child.stdout.as_mut().expect("piped");
        std::io::Read::read_exact(out, &mut line).expect("the namespace is there");
        let peer = Self(child);
        peer.connect();
        peer
    }

    fn connect(&self) {
        let pid = self.0.id();
        ip(&format!("link add eng type veth peer name cli netns {pid}"));
        self.ip("link set lo up");
        self.ip("link set cli address 02:00:00:00:00:02 up");
        self.ip("address add 10.77.0.2/24 dev cli");
        ip("link set eng address 02:00:00:00:00:01 up");
        ip("address add 10.77.0.1/24 dev eng");
    }

    fn ip(&self, arguments: &str) {
        let status = Command::new("nsenter")
            .args(["--net", "--target", &self.0.id().to_string(), "ip"])
            .args(arguments.split_whitespace())
            .status();
        assert!(status.expect("nsenter(1)").success(), "ip {arguments} at the peer");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A slow path, the newest snapshot, and everything that happened.
struct Seen {
    slow_path: SlowPath,
    snapshot: Snapshot,
    events: Vec<Event>,
    clock: Clock,
}

impl Seen {
    fn new(addresses: Option<Vec<InterfaceAddress>>) -> Self {
        let clock = Clock::monotonic();
        let config = config("eng", addresses);
        let (slow_path, snapshot, notes) = SlowPath::new(config, clock.clone()).expect("netlink");
        assert_eq!(notes, [] as [String; 0]);
        Self { slow_path, snapshot, events: Vec::new(), clock }
    }

    fn turn(&mut self) {
        let Changes { snapshot, events, notes } = self.slow_path.run_once().expect("netlink");
        self.events.extend(events);
        assert_eq!(notes, [] as [String; 0]);
        if let Some(snapshot) = snapshot {
            assert!(snapshot.generation > self.snapshot.generation);
            self.snapshot = snapshot;
        }
    }

    /// Turns until `what` holds. The deadline only ends a test that fails.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = self.clock.now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(self.clock.now() < deadline, "never: {what}; {:?}", self.events);
            self.slow_path.wait(Duration::from_millis(100), None).expect("poll");
            self.turn();
        }
    }

    fn next_hop(&self, to: &str) -> Option<IpAddr> {
        self.snapshot.route(address(to)).map(|way| way.next_hop)
    }
}

fn config(name: &str, addresses: Option<Vec<InterfaceAddress>>) -> SlowPathConfig {
    let attachment = Attachment { name: name.into(), addresses, groups: Vec::new() };
    SlowPathConfig { interfaces: vec![attachment], ..SlowPathConfig::default() }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn own(text: &str) -> Option<Vec<InterfaceAddress>> {
    Some(vec![InterfaceAddress::new(address(text), 24)])
}

#[test]
fn the_kernel_resolves_what_workers_want() {
    in_namespace("the_kernel_resolves_what_workers_want", || {
        let peer = Peer::new();
        // An IPv6 address that comes when duplicate address detection is over would be a change.
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
        let mut seen = Seen::new(None);
        let neighbor = address("10.77.0.2");
        assert_eq!(seen.snapshot.neighbor(ENG, neighbor), None);
        let routes = seen.snapshot.routes.clone();
        seen.slow_path.want(ENG, neighbor);
        let at = |last| Some(MacAddr([2, 0, 0, 0, 0, last]));
        seen.until("resolved", |seen| seen.snapshot.neighbor(ENG, neighbor) == at(2));
        assert!(Arc::ptr_eq(&routes, &seen.snapshot.routes), "only a neighbour has changed");
        // Nobody has this one: asked for, and forgotten.
        seen.slow_path.want(ENG, address("10.77.0.3"));
        seen.turn();
        ip("neighbor del 10.77.0.2 dev eng");
        seen.until("forgotten", |seen| seen.snapshot.neighbor(ENG, neighbor).is_none());
        peer.ip("link set cli address 02:00:00:00:00:22");
        // As a worker that has something to send: again and again.
        let deadline = seen.clock.now() + Duration::from_secs(20);
        while seen.snapshot.neighbor(ENG, neighbor) != at(0x22) {
            assert!(seen.clock.now() < deadline, "never resolved again");
            seen.slow_path.want(ENG, neighbor);
            seen.slow_path.wait(Duration::from_millis(100), None).expect("poll");
            seen.turn();
        }
    });
}

#[test]
fn stale_neighbours_in_use_are_confirmed() {
    in_namespace("stale_neighbours_in_use_are_confirmed", || {
        let peer = Peer::new();
        let mut seen = Seen::new(None);
        let neighbor = address("10.77.0.2");
        seen.slow_path.want(ENG, neighbor);
        seen.until("resolved", |seen| seen.snapshot.neighbor(ENG, neighbor).is_some());
        // The peer moves and tells nobody. Left alone the kernel would keep the old address: it
        // asks only when it is to send something itself.
        for (name, value) in [("delay_first_probe_time", "1"), ("ucast_solicit", "1")] {
            let path = format!("/proc/sys/net/ipv4/neigh/eng/{name}");
            std::fs::write(path, value).expect("a namespace of our own");
        }
        peer.ip("link set cli address 02:00:00:00:00:33");
        std::thread::sleep(Duration::from_millis(1100));
        ip("neighbor replace 10.77.0.2 dev eng lladdr 02:00:00:00:00:02 nud stale");
        seen.until("not confirmed", |seen| seen.snapshot.neighbor(ENG, neighbor).is_none());
        seen.slow_path.want(ENG, neighbor);
        let moved = Some(MacAddr([2, 0, 0, 0, 0, 0x33]));
        seen.until("found again", |seen| seen.snapshot.neighbor(ENG, neighbor) == moved);
    });
}

#[test]
fn addresses_routes_and_links_are_followed() {
    in_namespace("addresses_routes_and_links_are_followed", || {
        let peer = Peer::new();
        let mut seen = Seen::new(None);
        let gateway = address("10.77.0.254");
        assert_eq!(seen.next_hop("8.8.8.8"), None);
        ip("route add default via 10.77.0.254 dev eng");
        seen.until("a default route", |seen| seen.next_hop("8.8.8.8") == Some(gateway));
        ip("route replace default via 10.77.0.253 dev eng");
        seen.until("another", |seen| seen.next_hop("8.8.8.8") == Some(address("10.77.0.253")));
        ip("address add 10.88.0.1/24 dev eng");
        let more = address("10.88.0.1");
        seen.until("one more address", |seen| seen.snapshot.is_local(more) == Some(ENG));
        ip("address del 10.88.0.1/24 dev eng");
        seen.until("one less", |seen| seen.snapshot.is_local(more).is_none());

        peer.ip("link set cli down");
        seen.until("no carrier", |seen| seen.events == [Event::LinkDown(ENG)]);
        assert_eq!(seen.next_hop("10.77.0.9"), None);
        peer.ip("link set cli up");
        seen.until("carrier", |seen| seen.events.last() == Some(&Event::LinkUp(ENG)));
        seen.until("the route again", |seen| seen.next_hop("10.77.0.9").is_some());
        ip("link set eng down");
        seen.until("down", |seen| seen.events.last() == Some(&Event::LinkDown(ENG)));
        seen.until("no default route", |seen| seen.next_hop("8.8.8.8").is_none());

        ip("link del eng");
        seen.until("removed", |seen| seen.events.last() == Some(&Event::Removed(ENG)));
        assert!(!seen.snapshot.interfaces[0].up);
        peer.connect();
        let back = |event: Option<&Event>| matches!(event, Some(Event::Returned(ENG, _)));
        seen.until("back", |seen| seen.events.iter().rev().take(3).any(|e| back(Some(e))));
        seen.until("usable", |seen| seen.next_hop("10.77.0.9").is_some());
    });
}

#[test]
fn more_changes_than_the_socket_holds_are_read_anew() {
    in_namespace("more_changes_than_the_socket_holds_are_read_anew", || {
        let _peer = Peer::new();
        let mut seen = Seen::new(None);
        let count = 10_000u32;
        let at = |i: u32| {
            let [_, _, c, d] = i.to_be_bytes();
            (format!("44.0.{c}.{d}"), MacAddr([2, 0, 0, 9, c, d]))
        };
        let batch: String = (0..count)
            .map(|i| {
                let (address, mac) = at(i);
                format!(
                    "route add {address}/32 via 10.77.0.254\n\
                     neighbor add {address} dev eng lladdr {mac}\n"
                )
            })
            .collect();
        let mut child =
            Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip(8)");
        let stdin = child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut { stdin }, batch.as_bytes()).expect("ip(8) reads");
        assert!(child.wait().expect("ip(8)").success());
        let reached = |seen: &Seen, i: u32| {
            let (there, mac) = at(i);
            let there = address(&there);
            seen.snapshot.neighbor(ENG, there) == Some(mac) && seen.snapshot.route(there).is_some()
        };
        seen.until("the last one", |seen| reached(seen, count - 1));
        assert!((0..count).all(|i| reached(&seen, i)));
    });
}

#[test]
fn addresses_of_our_own_are_not_the_kernels() {
    in_namespace("addresses_of_our_own_are_not_the_kernels", || {
        let _peer = Peer::new();
        ip("route add default via 10.77.0.254 dev eng");
        let start = |config| SlowPath::new(config, Clock::monotonic());
        let taken = start(config("eng", own("10.77.0.1"))).expect_err("the kernel has it");
        assert_eq!(
            taken.to_string(),
            "10.77.0.1 for eng is the kernel's on eng too: `ip address del 10.77.0.1 dev eng`, \
             or steering mode `ports`"
        );
        let missing = start(config("eth7", None)).expect_err("there is none");
        assert_eq!(
            missing.to_string(),
            "no interface eth7 in this network namespace: there are eng"
        );

        let mut seen = Seen::new(own("10.77.0.5"));
        assert_eq!(seen.snapshot.is_local(address("10.77.0.5")), Some(ENG));
        assert_eq!(seen.snapshot.is_local(address("10.77.0.1")), None);
        let way = seen.snapshot.route(address("8.8.8.8")).expect("the kernel's default route");
        assert_eq!(way.next_hop, address("10.77.0.254"));
        assert_eq!(way.source, address("10.77.0.5"));
        ip("neighbor replace 10.77.0.9 dev eng lladdr 02:00:00:00:00:09");
        ip("neighbor replace 10.77.0.9 dev eng lladdr 02:00:00:00:00:19");
        let moved = Event::NeighborMoved(ENG, address("10.77.0.9"), MacAddr([2, 0, 0, 0, 0, 0x19]));
        seen.until("a hint", |seen| seen.events.contains(&moved));
        assert_eq!(seen.snapshot.neighbor(ENG, address("10.77.0.9")), None);

        ip("address add 10.77.0.5/24 dev eng");
        let clock = Clock::monotonic();
        let deadline = clock.now() + Duration::from_secs(20);
        loop {
            let changes = seen.slow_path.run_once().expect("netlink");
            if changes.events.contains(&Event::AddressTaken(ENG, address("10.77.0.5"))) {
                let note = "10.77.0.5 is the engine's, and now the kernel's on eng too: \
                            `ip address del 10.77.0.5 dev eng`";
                assert_eq!(changes.notes, [note]);
                break;
            }
            assert!(clock.now() < deadline, "never noticed");
            seen.slow_path.wait(Duration::from_millis(100), None).expect("poll");
        }
    });
}
