//! Several threads at one socket of `corewire::net`: some wait, others change it.

#[path = "support/engines.rs"]
mod engines;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;

use corewire::runtime::config::{Idle, Turner};
use engines::{PATIENCE, at, pair};

const ADAPTIVE: Idle = Idle::Adaptive { spin: Duration::from_micros(50) };

const EVERY: [(Turner, Idle); 6] = [
    (Turner::Dedicated, Idle::Spin),
    (Turner::Dedicated, ADAPTIVE),
    (Turner::Dedicated, Idle::Interrupt),
    (Turner::CallerDriven, Idle::Spin),
    (Turner::CallerDriven, ADAPTIVE),
    (Turner::CallerDriven, Idle::Interrupt),
];

/// Readers wait in the kernel or turn the worker, while another thread changes options, sends and
/// receives. The threads are not scoped: where they block each other the test fails, not hangs.
#[test]
fn options_change_under_a_blocked_reader() {
    for (turner, idle) in EVERY {
        let (a, b) = pair(turner, idle);
        let socket = a.udp("10.0.0.1:0").expect("a port");
        let local = socket.local_addr().expect("it is there");
        let peer = b.udp("10.0.0.2:7").expect("a port");
        let (done, finished) = mpsc::channel();
        for _ in 0..2 {
            let (reader, done) = (socket.try_clone().expect("a clone"), done.clone());
            std::thread::spawn(move || {
                let said = reader.recv_from(&mut [0; 64]);
                done.send(said.map_err(|error| error.kind())).expect("the test waits");
            });
        }
        let changer = socket.try_clone().expect("a clone");
        std::thread::spawn(move || {
            for round in 0..50u32 {
                changer.set_ttl(1 + round).expect("set");
                assert_eq!(changer.ttl().expect("it is there"), 1 + round);
                changer.set_broadcast(round.is_multiple_of(2)).expect("set");
                changer.connect(at(2, 7)).expect("a way");
                // Nobody listens there: no answer but a refusal, which nobody is told of.
                changer.send_to(b"x", at(2, 9)).expect("sent");
            }
            done.send(Ok((0, at(2, 0)))).expect("the test waits");
        });
        let first = finished.recv_timeout(PATIENCE);
        assert_eq!(first, Ok(Ok((0, at(2, 0)))), "the changer, {turner:?} {idle:?}");
        for _ in 0..2 {
            peer.send_to(b"hello", local).expect("sent");
            let read = finished.recv_timeout(PATIENCE);
            assert_eq!(read, Ok(Ok((5, at(2, 7)))), "a reader, {turner:?} {idle:?}");
        }
    }
}

/// Whoever sends holds the socket and may have to wake those who wait; whoever parks holds the
/// place of those who wait, and looks into the socket.
#[test]
fn senders_and_waiting_readers_do_not_block_each_other() {
    for (turner, idle) in EVERY {
        let (a, b) = pair(turner, idle);
        let socket = a.udp("10.0.0.1:0").expect("a port");
        let peer = b.udp("10.0.0.2:7").expect("a port");
        socket.connect(at(2, 7)).expect("a way");
        let (done, finished) = mpsc::channel();
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        for _ in 0..3 {
            let (reader, stop) = (socket.try_clone().expect("a clone"), stop.clone());
            let done = done.clone();
            reader.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
            std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    let _ = reader.recv(&mut [0; 64]);
                }
                done.send(()).expect("the test waits");
            });
        }
        let (sender, stopped) = (socket.try_clone().expect("a clone"), stop.clone());
        std::thread::spawn(move || {
            for round in 0..500u32 {
                sender.send(&round.to_be_bytes()).expect("sent");
            }
            stopped.store(true, Relaxed);
            done.send(()).expect("the test waits");
        });
        for _ in 0..4 {
            finished.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                panic!("a thread is stuck: {turner:?} {idle:?}, {}", engines::counted(&a))
            });
        }
        drop(peer);
    }
}

/// An error that comes after a datagram is said by the next call, and not lost.
#[test]
fn a_burst_ends_before_an_error_and_the_error_follows() {
    let (a, b) = pair(Turner::Dedicated, ADAPTIVE);
    let context = a.context().expect("a context");
    let socket = context.udp_bind(at(1, 9)).expect("a port");
    socket.connect(at(2, 7)).expect("a way");
    let peer = b.udp("10.0.0.2:7").expect("a port");
    peer.send_to(b"one", at(1, 9)).expect("sent");
    drop(peer);
    let mut buffer = engines::wait_for("a buffer", || {
        let buffer = socket.buffer().ok();
        context.flush();
        buffer
    });
    buffer.fill_from(b"two");
    socket.send(buffer).expect("sent");
    context.flush();
    // Both are there before anybody reads: the datagram first, then what the closed port says.
    std::thread::sleep(Duration::from_millis(100));
    let mut burst = Vec::new();
    let mut error = None;
    engines::wait_for("a datagram and an error", || {
        if let Err(other) = socket.recv_burst(&mut burst, 8) {
            error = Some(other.kind());
        }
        (burst.len() == 1 && error.is_some()).then_some(())
    });
    assert_eq!(error, Some(std::io::ErrorKind::ConnectionRefused));
}
