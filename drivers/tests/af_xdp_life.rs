//! The life of a queue: opened, closed, lost, killed. Needs root; see `support`.

mod support;

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use corewire_drivers::af_xdp::{AfXdp, Attachment, Mode, Steering};
use corewire_drivers::device::{Burst, Device, DeviceState};
use corewire_drivers::env::{Clock, Instant};
use corewire_drivers::nic::Interface;
use support::{Cable, End, Host, NIC, frame, is_root, packet, pool, taking_all, wait_for};

/// Opened and closed fifty times, each time with packets under way: no queue stays taken, no
/// frame, ring or program is left behind.
#[test]
fn teardown_and_bind_fifty_times() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let mut peer = End::open(&cable.b, Mode::Copy);
    let mut frames = pool(2048);
    for round in 0..50 {
        let mut end = End::build(&cable.a, taking_all(), frames);
        peer.send(&[frame(1, 60), frame(1, 61)]);
        end.send(&[frame(2, 100 + round)]);
        // In half of the rounds, packets that nobody has read.
        if round % 2 == 0 {
            assert_eq!(end.receive(2).len(), 2);
        }
        peer.receive(1);
        frames = end.release();
    }
    assert!(program_on(&cable.a).is_none());
    peer.release();
}

/// Dropped without release: the queue and the program are gone all the same; only the frames are
/// lost to the pool.
#[test]
fn a_dropped_queue_is_free_again() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    for _ in 0..10 {
        let End { device, pool } = End::open(&cable.a, Mode::Copy);
        assert!(program_on(&cable.a).is_some());
        drop(device);
        assert!(program_on(&cable.a).is_none());
        assert!(pool.is_conserved() && pool.free_count() < 4096);
    }
}

/// A process that was started while the queue was open does not keep it: neither descriptors nor
/// mappings are inherited.
#[test]
fn a_child_process_does_not_keep_the_queue() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let end = End::open(&cable.a, Mode::Copy);
    let mut child = Command::new("sleep").arg("60").spawn().expect("a child");
    end.release();
    assert!(program_on(&cable.a).is_none());
    let end = End::open(&cable.a, Mode::Copy);
    child.kill().expect("it was still there");
    child.wait().expect("dead");
    end.release();
}

fn program_on(host: &Host) -> Option<u32> {
    host.enter(|| Interface::find(NIC)).expect("it exists").xdp.map(|program| program.id)
}

/// One of two queues goes: the other keeps the program and its packets.
#[test]
fn the_last_queue_takes_the_program_along() {
    if !is_root() {
        return;
    }
    let cable = Cable::with(2, 1500);
    // What the peer's kernel sends on its only queue comes in on our queue 0.
    cable.b.run(&format!("ethtool -L {NIC} tx 1"));
    let attach = || Attachment::new(NIC, Mode::Copy, &Steering::exclusive());
    let attachment = cable.a.enter(attach).expect("attached");
    let queue = |number| AfXdp::builder(NIC).queue(number).attachment(&attachment);
    let zero = End::build(&cable.a, queue(0), pool(1024));
    let one = End::build(&cable.a, queue(1), pool(1024));
    drop(attachment);
    let program = program_on(&cable.a);
    assert!(program.is_some());
    zero.release();
    assert_eq!(program_on(&cable.a), program);
    // What comes in on queue 0 is the kernel's now.
    assert!(cable.b.pings("10.77.0.1"));
    one.release();
    assert_eq!(program_on(&cable.a), None);
}

/// Down and up: said, survived.
#[test]
fn link_down_and_up() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let (mut a, mut b) = (End::open(&cable.a, Mode::Copy), End::open(&cable.b, Mode::Copy));
    for round in 0..3 {
        a.send(&[frame(2, 60 + round)]);
        assert_eq!(b.receive(1), [frame(2, 60 + round)]);
        cable.a.ip(&format!("link set {NIC} down"));
        wait_for_state(&mut a, DeviceState::Down);
        assert_eq!(a.offer(&[frame(2, 60)]), 0, "nothing is taken that can't be sent");
        cable.a.ip(&format!("link set {NIC} up"));
        wait_for_state(&mut a, DeviceState::Up);
        let neighbour = "neigh replace 10.77.0.2 lladdr 02:00:00:77:00:02 dev cw0";
        cable.a.ip(neighbour);
    }
    a.send(&[frame(2, 99)]);
    assert_eq!(b.receive(1), [frame(2, 99)]);
    a.release();
    b.release();
}

fn wait_for_state(end: &mut End, state: DeviceState) {
    wait_for("the link's state", |now| {
        end.poll(now);
        (end.device.state() == state).then_some(())
    });
}

/// The interface goes while packets flow both ways: both ends know within a second.
#[test]
fn the_interface_is_deleted_under_load() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let ends = [&cable.a, &cable.b].map(|host| End::open(host, Mode::Copy));
    let clock = Clock::monotonic();
    let host = cable.a.name.clone();
    let workers = ends.map(|mut end| {
        std::thread::spawn(move || {
            let clock = Clock::monotonic();
            let mut burst = Burst::new();
            let mut sent = 0u64;
            let end_of_test = clock.now() + Duration::from_secs(20);
            while end.device.state() != DeviceState::Gone {
                let now = clock.now();
                assert!(now < end_of_test, "nobody said that the interface is gone");
                end.device.rx_burst(now, &mut end.pool, &mut burst);
                burst.free(&mut end.pool);
                while burst.room() > 0 && end.pool.free_count() > 64 {
                    let bytes = frame(2, 60);
                    burst.push(packet(&mut end.pool, &bytes)).expect("room");
                }
                sent += end.device.tx_burst(now, &mut end.pool, &mut burst) as u64;
                burst.free(&mut end.pool);
                end.device.reclaim(now, &mut end.pool);
            }
            // A dead device takes nothing and asks nothing of the kernel.
            let calls = end.device.counts().syscalls;
            for _ in 0..100 {
                let now = clock.now();
                end.device.rx_burst(now, &mut end.pool, &mut burst);
                burst.free(&mut end.pool);
                end.device.tx_burst(now, &mut end.pool, &mut burst);
                end.device.reclaim(now, &mut end.pool);
            }
            assert!(end.device.counts().syscalls <= calls + 1, "a dead device is left alone");
            end.release();
            (sent, clock.now())
        })
    });
    std::thread::sleep(Duration::from_millis(300));
    let status = Command::new("ip").args(["-n", &host, "link", "del", NIC]).status();
    assert!(status.expect("ip").success());
    let gone = clock.now();
    for worker in workers {
        let (sent, _) = worker.join().expect("the worker noticed");
        assert!(sent > 0);
    }
    // Bounded generously: the machine may be busy. The probe is every 50 ms.
    let took = clock.now().saturating_since(gone);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// `kill -9` while packets come in: the program is gone, the kernel has its path back, and the
/// next process binds.
#[test]
fn killed_while_receiving() {
    if let Ok(role) = std::env::var("CW_TEST_CHILD") {
        return receive_until_killed(&role);
    }
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let kernels = cable.a.enter(|| UdpSocket::bind("10.77.0.1:7")).expect("a kernel socket");
    kernels.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let client = cable.b.enter(|| UdpSocket::bind("10.77.0.2:0")).expect("a socket");
    for _ in 0..3 {
        let mut child = start_child(&cable.a, "killed_while_receiving");
        assert!(program_on(&cable.a).is_some());
        for _ in 0..100 {
            client.send_to(b"for the engine", "10.77.0.1:7").expect("sent");
        }
        child.kill().expect("SIGKILL");
        let status = child.wait().expect("dead");
        assert_eq!(status.signal(), Some(9));
        wait_for("the program to be gone", |_| program_on(&cable.a).is_none().then_some(()));
        client.send_to(b"for the kernel", "10.77.0.1:7").expect("sent");
        let mut bytes = [0; 100];
        let count = kernels.recv(&mut bytes).expect("the kernel has its path back");
        assert_eq!(&bytes[..count], b"for the kernel");
    }
    End::open(&cable.a, Mode::Copy).release();
}

/// Starts this test program again, as a process that takes the host's queue.
fn start_child(host: &Host, test: &str) -> Child {
    let program = std::env::current_exe().expect("our own path");
    let mut child = Command::new(program)
        .args(["--exact", test, "--nocapture"])
        .env("CW_TEST_CHILD", &host.name)
        .stdout(Stdio::piped())
        .spawn()
        .expect("ourselves");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let ready = output.lines().map_while(Result::ok).any(|line| line.contains("receiving"));
    assert!(ready, "the child has the queue");
    child
}

fn receive_until_killed(host: &str) {
    let host = std::mem::ManuallyDrop::new(Host { name: host.into() });
    let mut end = End::open(&host, Mode::Copy);
    println!("receiving");
    let clock = Clock::monotonic();
    let end_of_test = clock.now() + Duration::from_secs(20);
    while clock.now() < end_of_test {
        end.poll(clock.now());
    }
}

/// A worker in interrupt mode sleeps on the descriptor until a packet comes.
#[test]
fn poll_rxq() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let (mut a, mut b) = (End::open(&cable.a, Mode::Copy), End::open(&cable.b, Mode::Copy));
    assert!(!is_readable(&b, 20), "nothing has come");
    a.send(&[frame(2, 60)]);
    assert!(is_readable(&b, 10_000));
    assert_eq!(b.poll(Instant::ZERO), [frame(2, 60)]);
    assert!(!is_readable(&b, 20), "everything was read");
    a.release();
    b.release();
}

fn is_readable(end: &End, timeout_ms: i64) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let socket = end.device.wait_fd().expect("a descriptor");
    let timeout = Timespec { tv_sec: timeout_ms / 1000, tv_nsec: timeout_ms % 1000 * 1_000_000 };
    let mut fds = [PollFd::new(&socket, PollFlags::IN)];
    poll(&mut fds, Some(&timeout)).expect("poll") > 0
}
