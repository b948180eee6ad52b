//! Sockets of `corewire::net` do what those of `std::net` do: one body of calls runs over both,
//! and what each call says is compared, error kinds and numbers included.

#[path = "support/engines.rs"]
mod engines;

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use corewire::Engine;
use corewire::runtime::config::{Idle, Turner};
use engines::{PATIENCE, pair};

/// What both kinds of sockets can do.
trait Udp: Sized + Send + Sync {
    fn recv_from(&self, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
    fn peek_from(&self, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
    fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize>;
    fn connect(&self, to: SocketAddr) -> io::Result<()>;
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
    fn recv(&self, bytes: &mut [u8]) -> io::Result<usize>;
    fn peek(&self, bytes: &mut [u8]) -> io::Result<usize>;
    fn local_addr(&self) -> io::Result<SocketAddr>;
    fn peer_addr(&self) -> io::Result<SocketAddr>;
    fn try_clone(&self) -> io::Result<Self>;
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    fn read_timeout(&self) -> io::Result<Option<Duration>>;
    fn write_timeout(&self) -> io::Result<Option<Duration>>;
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()>;
    fn set_broadcast(&self, broadcast: bool) -> io::Result<()>;
    fn broadcast(&self) -> io::Result<bool>;
    fn set_ttl(&self, ttl: u32) -> io::Result<()>;
    fn ttl(&self) -> io::Result<u32>;
    fn take_error(&self) -> io::Result<Option<io::Error>>;
}

macro_rules! udp {
    ($socket:ty: $($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)+) => {
        impl Udp for $socket {
            $(fn $name(&self, $($arg: $type),*) -> io::Result<$result> {
                <$socket>::$name(self, $($arg),*)
            })+
        }
    };
}

macro_rules! udp_for {
    ($($socket:ty),+) => {
        $(udp! { $socket:
            recv_from(bytes: &mut [u8]) -> (usize, SocketAddr);
            peek_from(bytes: &mut [u8]) -> (usize, SocketAddr);
            send_to(bytes: &[u8], to: SocketAddr) -> usize;
            connect(to: SocketAddr) -> ();
            send(bytes: &[u8]) -> usize;
            recv(bytes: &mut [u8]) -> usize;
            peek(bytes: &mut [u8]) -> usize;
            local_addr() -> SocketAddr;
            peer_addr() -> SocketAddr;
            try_clone() -> Self;
            set_read_timeout(timeout: Option<Duration>) -> ();
            set_write_timeout(timeout: Option<Duration>) -> ();
            read_timeout() -> Option<Duration>;
            write_timeout() -> Option<Duration>;
            set_nonblocking(nonblocking: bool) -> ();
            set_broadcast(broadcast: bool) -> ();
            broadcast() -> bool;
            set_ttl(ttl: u32) -> ();
            ttl() -> u32;
            take_error() -> Option<io::Error>;
        })+
    };
}

udp_for!(std::net::UdpSocket, corewire::net::UdpSocket);

/// Two hosts with sockets of one kind.
struct World<S> {
    /// Makes a socket on the first host, or on the second.
    bind: Box<dyn Fn(usize, SocketAddr) -> io::Result<S>>,
    hosts: [&'static str; 2],
    broadcast: &'static str,
}

/// The kernel's: two addresses of the loopback network.
fn kernel() -> World<std::net::UdpSocket> {
    World {
        bind: Box::new(|_, address| std::net::UdpSocket::bind(address)),
        hosts: ["127.0.0.1", "127.0.0.2"],
        broadcast: "127.255.255.255",
    }
}

/// Ours: two engines on a cable.
fn ours(engines: [Engine; 2]) -> World<corewire::net::UdpSocket> {
    World {
        bind: Box::new(move |host, address| engines[host].udp(address)),
        hosts: ["10.0.0.1", "10.0.0.2"],
        broadcast: "10.0.0.255",
    }
}

/// What the calls said, in order.
struct Log<S> {
    world: World<S>,
    lines: Vec<String>,
}

impl<S: Udp> Log<S> {
    fn at(&self, host: usize, port: u16) -> SocketAddr {
        format!("{}:{port}", self.world.hosts[host]).parse().expect("an address")
    }

    fn bind(&self, host: usize) -> S {
        let socket = (self.world.bind)(host, self.at(host, 0)).expect("a port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    }

    /// Notes what a call said: hosts by their number, so that worlds compare.
    fn note<T: Debug>(&mut self, call: &str, result: io::Result<T>) {
        let said = match result {
            Ok(value) => format!("{value:?}"),
            Err(error) => {
                format!("{:?}, number {:?}", error.kind(), error.raw_os_error().unwrap_or(0))
            }
        };
        self.lines.push(format!("{call}: {said}"));
    }

    /// As [`note`](Self::note) of errors whose number std does not always keep.
    fn note_kind<T: Debug>(&mut self, call: &str, result: io::Result<T>) {
        self.lines.push(format!("{call}: {:?}", result.map_err(|error| error.kind())));
    }

    fn everything(&mut self) {
        self.waiting();
        self.datagrams();
        self.connections();
        self.refusals();
        self.options();
        self.clones();
    }

    fn waiting(&mut self) {
        let a = self.bind(0);
        let mut bytes = [0; 16];
        self.note("zero read timeout", a.set_read_timeout(Some(Duration::ZERO)));
        self.note("zero write timeout", a.set_write_timeout(Some(Duration::ZERO)));
        self.note("set read timeout", a.set_read_timeout(Some(Duration::from_millis(20))));
        self.note("read timeout", a.read_timeout());
        self.note_kind("recv, timed out", a.recv(&mut bytes));
        self.note_kind("peek, timed out", a.peek(&mut bytes));
        self.note("set write timeout", a.set_write_timeout(Some(Duration::from_millis(40))));
        self.note("write timeout", a.write_timeout());
        self.note("no read timeout", a.set_read_timeout(None));
        self.note("read timeout", a.read_timeout());
        self.note("nonblocking", a.set_nonblocking(true));
        self.note_kind("recv, nonblocking", a.recv(&mut bytes));
        self.note_kind("peek, nonblocking", a.peek_from(&mut bytes));
    }

    fn datagrams(&mut self) {
        let (a, b) = (self.bind(0), self.bind(1));
        let to = b.local_addr().expect("it is there");
        let from = a.local_addr().expect("it is there");
        self.lines.push(format!("ports: {} {}", to.port() > 0, from.port() > 0));
        let mut bytes = [0; 2048];
        for len in [1, 100, 1472] {
            self.note("send_to", a.send_to(&vec![len as u8; len], to));
            let received = b.recv_from(&mut bytes).map(|(len, peer)| (len, peer == from));
            self.note("recv_from", received);
            assert!(bytes[..len].iter().all(|byte| *byte == len as u8));
        }
        self.note("send_to, long", a.send_to(&[7; 100], to));
        self.note("send_to, short", a.send_to(b"next", to));
        self.note("recv, cut", b.recv(&mut bytes[..10]));
        self.note("recv, the next", b.recv(&mut bytes));
        self.note("send_to, empty", a.send_to(b"", to));
        self.note("recv, empty", b.recv(&mut bytes));
        self.note("send_to", a.send_to(b"stays", to));
        self.note("peek, cut", b.peek(&mut bytes[..2]));
        let peeked = b.peek_from(&mut bytes).map(|(len, peer)| (len, peer == from));
        self.note("peek_from", peeked);
        self.note("recv into nothing", b.recv(&mut []));
        b.set_nonblocking(true).expect("set");
        self.note_kind("it is gone", b.recv(&mut bytes));
        self.note("take_error", b.take_error().map(|error| error.is_none()));
    }

    fn connections(&mut self) {
        let (a, b, c) = (self.bind(0), self.bind(1), self.bind(1));
        let to = b.local_addr().expect("it is there");
        let mut bytes = [0; 64];
        self.note("send, not connected", a.send(b"x"));
        self.note("peer_addr, not connected", a.peer_addr());
        self.note("connect", a.connect(to));
        self.note("peer_addr", a.peer_addr().map(|peer| peer == to));
        self.note("send", a.send(b"hello"));
        let (len, from) = b.recv_from(&mut bytes).expect("a datagram");
        self.note("recv_from", Ok((len, from == a.local_addr().expect("it is there"))));
        self.note("send_to, a stranger", c.send_to(b"from a stranger", from));
        self.note("send_to, the peer", b.send_to(b"peer", from));
        self.note("recv, the peer's", a.recv(&mut bytes));
        a.set_nonblocking(true).expect("set");
        self.note_kind("recv, a stranger's", a.recv(&mut bytes));
        let any = (self.world.bind)(0, "0.0.0.0:0".parse().expect("valid")).expect("a port");
        self.note("any address", any.local_addr().map(|address| address.ip()));
        self.note("connect", any.connect(to));
        let ip = self.at(0, 0).ip();
        self.note("own address", any.local_addr().map(|address| address.ip() == ip));
    }

    fn refusals(&mut self) {
        let a = self.bind(0);
        let b = self.bind(1);
        let closed = b.local_addr().expect("it is there");
        drop(b);
        let mut bytes = [0; 64];
        self.note("connect", a.connect(closed));
        self.note("send, to nobody", a.send(b"anybody?"));
        self.note("recv, refused", a.recv(&mut bytes));
        self.note("send, to nobody", a.send(b"anybody?"));
        let refused = engines::wait_for("the refusal", || a.take_error().expect("a socket"));
        self.note::<()>("take_error, refused", Err(refused));
        let b = self.bind(0);
        self.note("port 0", b.send_to(b"x", self.at(1, 0)));
        self.note("too long", b.send_to(&[0; 65_508], self.at(1, 9)));
        let six = "[2001:db8::1]:9".parse().expect("valid");
        self.note("another version", b.send_to(b"x", six));
        self.note("connect to another version", b.connect(six));
        let taken = b.local_addr().expect("it is there");
        self.note_kind("port taken", (self.world.bind)(0, taken).map(drop));
        let foreign = "192.0.2.1:0".parse().expect("valid");
        self.note_kind("address of nobody", (self.world.bind)(0, foreign).map(drop));
    }

    fn options(&mut self) {
        let a = self.bind(0);
        self.note("ttl", a.ttl());
        self.note("set_ttl", a.set_ttl(9));
        self.note("ttl", a.ttl());
        self.note("set_ttl, zero", a.set_ttl(0));
        self.note("set_ttl, large", a.set_ttl(256));
        let everybody = format!("{}:9", self.world.broadcast).parse().expect("valid");
        self.note("broadcast", a.broadcast());
        self.note("to everybody, not allowed", a.send_to(b"hear!", everybody));
        self.note("set_broadcast", a.set_broadcast(true));
        self.note("broadcast", a.broadcast());
        self.note("to everybody", a.send_to(b"hear!", everybody));
    }

    fn clones(&mut self) {
        let (a, b) = (self.bind(0), self.bind(1));
        let to = b.local_addr().expect("it is there");
        let other = b.try_clone().expect("a clone");
        self.note("timeout of a clone", other.read_timeout());
        drop(b);
        self.note("send_to", a.send_to(b"still there?", to));
        let mut bytes = [0; 64];
        self.note("recv of a clone", other.recv(&mut bytes));
        let third = other.try_clone().expect("a clone");
        third.set_nonblocking(true).expect("set");
        self.note_kind("nonblocking is shared", other.recv(&mut bytes));
    }
}

#[test]
fn s9_a_socket_is_an_address_and_a_port_and_says_what_std_says() {
    let mut theirs = Log { world: kernel(), lines: Vec::new() };
    theirs.everything();
    assert!(theirs.lines.iter().any(|line| line.starts_with("recv, refused: ConnectionRefused")));
    let adaptive = Idle::default();
    for (turner, idle) in [(Turner::Dedicated, adaptive), (Turner::CallerDriven, adaptive)] {
        let (a, b) = pair(turner, idle);
        let mut log = Log { world: ours([a, b]), lines: Vec::new() };
        log.everything();
        for (place, (theirs, ours)) in theirs.lines.iter().zip(&log.lines).enumerate() {
            assert_eq!(theirs, ours, "line {place}, {turner:?}");
        }
        assert_eq!(theirs.lines.len(), log.lines.len());
    }
}

#[test]
fn four_threads_share_one_socket() {
    for turner in [Turner::Dedicated, Turner::CallerDriven] {
        let (a, b) = pair(turner, Idle::default());
        let (client, server) = (a.udp("10.0.0.1:0"), b.udp("10.0.0.2:7"));
        let (client, server) = (client.expect("a port"), server.expect("a port"));
        client.set_read_timeout(Some(PATIENCE)).expect("set");
        server.set_read_timeout(Some(PATIENCE)).expect("set");
        client.connect("10.0.0.2:7").expect("a way");
        // The neighbours are found first: only three datagrams wait for that.
        client.send(b"hello").expect("sent");
        server.recv(&mut [0; 64]).expect("a datagram");
        // Each thread asks and waits for some answer; each server thread answers what it gets.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut bytes = [0; 64];
                    for _ in 0..100 {
                        let (len, peer) = server.recv_from(&mut bytes).expect("a question");
                        server.send_to(&bytes[..len], peer).expect("sent");
                    }
                });
                scope.spawn(|| {
                    let mut bytes = [0; 64];
                    for number in 0..100u32 {
                        client.send(&number.to_be_bytes()).expect("sent");
                        assert_eq!(client.recv(&mut bytes).expect("an answer"), 4);
                    }
                });
            }
        });
    }
}

#[test]
fn without_an_engine_the_error_names_the_two_ways_to_mend_it() {
    let error = corewire::net::UdpSocket::bind("10.0.0.1:7").expect_err("no engine");
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    let text = error.to_string();
    assert!(text.contains("install()") && text.contains("engine.udp(address)"), "{text}");
    let (a, _b) = pair(Turner::Dedicated, Idle::default());
    a.install();
    let socket = corewire::net::UdpSocket::bind("10.0.0.1:7").expect("the installed engine's");
    assert_eq!(socket.local_addr().expect("it is there").port(), 7);
    assert!(Engine::uninstall().is_some() && Engine::uninstall().is_none());
}

#[test]
fn no_route_and_the_own_address_are_said_at_once() {
    let (a, _b) = pair(Turner::Dedicated, Idle::default());
    let socket = a.udp("10.0.0.1:0").expect("a port");
    let far = socket.send_to(b"x", "192.0.2.1:9").expect_err("no route");
    assert_eq!(far.kind(), io::ErrorKind::NetworkUnreachable);
    let far = socket.connect("192.0.2.1:9").expect_err("no route");
    assert_eq!(far.kind(), io::ErrorKind::NetworkUnreachable);
    let own = socket.send_to(b"x", "10.0.0.1:9").expect_err("not yet");
    assert_eq!(own.kind(), io::ErrorKind::Unsupported);
    let long = socket.send_to(&[0; 1473], "10.0.0.2:9").expect_err("no fragments yet");
    assert_eq!(long.raw_os_error(), Some(90), "EMSGSIZE");
}
