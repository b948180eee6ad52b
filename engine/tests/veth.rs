//! An engine on AF_XDP queues and a kernel at the other end of a veth pair. Needs root.

#[path = "../../drivers/tests/support/mod.rs"]
mod hosts;

use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use corewire::Engine;
use corewire::env::DropReason;
use corewire::runtime::config::{Config, Idle, Interface, Place, Turner};
use hosts::{Cable, Host, NIC, is_root, wait_for};

/// The engine's own address on host A, which is 10.77.0.1 itself; host B is 10.77.0.2.
const OWN: &str = "10.77.0.9";
const PATIENCE: Duration = Duration::from_secs(10);

fn start(host: &Host, interface: Interface, turner: Turner, idle: Idle) -> Engine {
    let config =
        Config::new().interface(interface).turner(turner).idle(idle).statistics(Place::Memory);
    host.enter(|| Engine::from_config(config)).expect("an engine")
}

fn with_own_address(host: &Host) -> Engine {
    let address = OWN.parse().expect("valid");
    start(host, Interface::address(NIC, address, 24), Turner::Dedicated, Idle::default())
}

/// A kernel's socket on a host.
fn socket(host: &Host) -> UdpSocket {
    let socket = host.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket
}

/// Answers everything on port 7 until the engine ends.
fn echo(engine: &Engine) -> std::thread::JoinHandle<std::io::Error> {
    let context = engine.context().expect("a context");
    let (bound, is_bound) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let socket = context.udp_bind(([0, 0, 0, 0], 7).into()).expect("port 7");
        bound.send(()).expect("somebody waits");
        loop {
            let ended = match socket.recv() {
                Ok(Some(datagram)) => socket.answer(datagram),
                Ok(None) => context.wait(None).map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                return error;
            }
        }
    });
    is_bound.recv().expect("the thread is there");
    thread
}

/// Sends datagrams of many lengths and checks that each comes back.
fn ask(client: &UdpSocket, server: &str) {
    client.connect(server).expect("a route");
    let mut answer = [0; 2048];
    for len in (0..=1472).step_by(31).chain([1, 17, 18, 19, 1472]) {
        let question: Vec<u8> = (0..len).map(|n| (n * 5 + len) as u8).collect();
        client.send(&question).expect("sent");
        assert_eq!(client.recv(&mut answer).expect("an answer"), len);
        assert_eq!(answer[..len], question);
    }
}

/// What goes over a host's interface, written to a file by dumpcap.
struct Capture {
    dumpcap: Child,
    file: PathBuf,
}

impl Capture {
    /// `None`, and says so, where tshark is not installed.
    fn start(host: &Host) -> Option<Self> {
        if Command::new("tshark").arg("--version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "CI installs tshark");
            println!("not judged: tshark is not installed");
            return None;
        }
        let file = std::env::temp_dir().join(format!("{}.pcapng", host.name));
        let mut dumpcap = Command::new("ip")
            .args(["netns", "exec", &host.name, "dumpcap", "-q", "-i", NIC, "-w"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("dumpcap comes with tshark");
        let said = BufReader::new(dumpcap.stderr.take().expect("piped"));
        // It names the file once it listens.
        let listens = said.lines().map_while(Result::ok).any(|line| line.starts_with("File:"));
        assert!(listens, "dumpcap ended");
        Some(Self { dumpcap, file })
    }

    /// Ends the capture and counts the packets that `filter` matches, with every checksum looked
    /// at.
    fn count(&self, filter: &str) -> usize {
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&self.file).args(["-Y", filter]);
        for protocol in ["ip", "udp"] {
            tshark.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
        }
        let output = tshark.stdin(Stdio::null()).output().expect("tshark runs");
        // A file that is still written to is cut short; a filter that is none must not pass.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || said.contains("cut short"), "{said}");
        String::from_utf8_lossy(&output.stdout).lines().count()
    }

    fn stop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = Pid::from_child(&self.dumpcap);
        kill_process(pid, Signal::INT).expect("our own child");
        self.dumpcap.wait().expect("it ends");
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.dumpcap.kill();
        let _ = self.dumpcap.wait();
        let _ = std::fs::remove_file(Path::new(&self.file));
    }
}

#[test]
fn s2_s4_a_kernel_pings_and_asks_and_tshark_finds_no_fault() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let mut capture = Capture::start(&cable.b);
    let engine = with_own_address(&cable.a);
    let echo = echo(&engine);
    for size in ["0", "1", "56", "1472"] {
        let ping = format!("ping -c 3 -i 0.05 -W 5 -s {size} {OWN}");
        assert!(cable.b.run(&ping).contains(" 0% packet loss"), "{size} bytes");
    }
    let client = socket(&cable.b);
    ask(&client, &format!("{OWN}:7"));
    // A port that nobody has: the kernel's client is told.
    client.connect(format!("{OWN}:8")).expect("a route");
    client.send(b"anybody?").expect("sent");
    let refused = client.recv(&mut [0; 16]).expect_err("nobody");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // And ours: the kernel has no such port either.
    let ours = engine.udp(format!("{OWN}:0")).expect("a port");
    ours.set_read_timeout(Some(PATIENCE)).expect("set");
    ours.connect("10.77.0.2:9").expect("a route");
    ours.send(b"anybody?").expect("sent");
    let refused = ours.recv(&mut [0; 16]).expect_err("nobody");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    drop(ours);
    engine.shut_down();
    assert_eq!(echo.join().expect("no panic").kind(), ErrorKind::NetworkDown);
    if let Some(capture) = &mut capture {
        let from_us = format!("ip.src == {OWN}");
        let good = format!("{from_us} && udp.checksum.status == 1 && ip.checksum.status == 1");
        // The kernel hands captured packets over in blocks.
        wait_for("the answers", |_| (capture.count(&good) >= 48).then_some(()));
        capture.stop();
        assert!(capture.count(&format!("{from_us} && icmp.type == 0")) >= 12, "so are pings");
        assert!(capture.count("arp.opcode == 2") >= 1, "and an ARP answer");
        let faults = "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || \
                      icmp.checksum.status == 0 || _ws.expert.severity == error";
        assert_eq!(capture.count(faults), 0, "{}", capture.file.display());
    }
}

#[test]
fn ports_of_the_kernels_address_come_to_us_and_the_rest_stays() {
    if !is_root() {
        return;
    }
    for turner in [Turner::Dedicated, Turner::CallerDriven] {
        let cable = Cable::new();
        let engine = start(&cable.a, Interface::ports(NIC, [7]), turner, Idle::default());
        let echo = echo(&engine);
        let kernels = cable.a.enter(|| UdpSocket::bind("10.77.0.1:9")).expect("the kernel's port");
        let taken = cable.a.enter(|| UdpSocket::bind("10.77.0.1:7")).expect_err("ours");
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        let client = socket(&cable.b);
        ask(&client, "10.77.0.1:7");
        assert!(cable.b.pings("10.77.0.1"), "the kernel answers");
        client.connect("10.77.0.1:9").expect("a route");
        client.send(b"to the kernel").expect("sent");
        kernels.set_read_timeout(Some(PATIENCE)).expect("set");
        assert_eq!(kernels.recv(&mut [0; 64]).expect("a datagram"), 13);
        // We speak first, to a neighbour that the kernel finds.
        cable.a.ip(&format!("neigh flush dev {NIC}"));
        let server = cable.b.enter(|| UdpSocket::bind("10.77.0.2:5000")).expect("a port");
        server.set_read_timeout(Some(PATIENCE)).expect("set");
        let ours = engine.udp("0.0.0.0:0").expect("an ephemeral port");
        ours.send_to(b"hello", "10.77.0.2:5000").expect("sent");
        let (len, from) = server.recv_from(&mut [0; 64]).expect("a datagram");
        assert_eq!((len, from.ip().to_string()), (5, "10.77.0.1".into()));
        server.send_to(b"hello yourself", from).expect("sent");
        ours.set_read_timeout(Some(PATIENCE)).expect("set");
        assert_eq!(ours.recv(&mut [0; 64]).expect("the answer"), 14);
        drop(ours);
        engine.shut_down();
        echo.join().expect("no panic");
        assert!(cable.b.pings("10.77.0.1"), "the kernel has everything again");
    }
}

#[test]
fn an_interface_that_goes_down_comes_back() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let engine = with_own_address(&cable.a);
    let echo = echo(&engine);
    let client = socket(&cable.b);
    ask(&client, &format!("{OWN}:7"));
    cable.a.ip(&format!("link set {NIC} down"));
    let ours = engine.udp(format!("{OWN}:0")).expect("a port");
    wait_for("packets that are dropped", |_| {
        // Refused at once where the routes are gone; dropped where they are not.
        let sent = ours.send_to(b"into the void", "10.77.0.2:9");
        let dropped = engine.stats().dropped(DropReason::DeviceDown);
        (sent.is_err() || dropped > 0).then_some(())
    });
    cable.a.ip(&format!("link set {NIC} up"));
    client.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
    client.connect(format!("{OWN}:7")).expect("a route");
    wait_for("an answer", |_| {
        client.send(b"there again?").ok()?;
        client.recv(&mut [0; 16]).ok()
    });
    drop(ours);
    engine.shut_down();
    echo.join().expect("no panic");
}

#[test]
fn an_interface_that_is_removed_under_load_fails_its_sockets() {
    if !is_root() {
        return;
    }
    for (turner, idle) in [
        (Turner::Dedicated, Idle::Spin),
        (Turner::Dedicated, Idle::default()),
        (Turner::CallerDriven, Idle::default()),
    ] {
        let cable = Cable::new();
        let interface = Interface::address(NIC, OWN.parse().expect("valid"), 24);
        let engine = start(&cable.a, interface, turner, idle);
        let echo = echo(&engine);
        let client = socket(&cable.b);
        ask(&client, &format!("{OWN}:7"));
        std::thread::scope(|scope| {
            let load = scope.spawn(|| while client.send(b"load").is_ok() {});
            std::thread::sleep(Duration::from_millis(50));
            cable.a.ip(&format!("link del {NIC}"));
            let error = echo.join().expect("no panic");
            assert_eq!(error.kind(), ErrorKind::NetworkDown, "{turner:?} {idle:?}");
            load.join().expect("no panic");
        });
        let late = engine.udp(format!("{OWN}:0")).and_then(|s| s.recv(&mut [0; 16]));
        assert_eq!(late.expect_err("no device").kind(), ErrorKind::NetworkDown);
        engine.shut_down();
    }
}
