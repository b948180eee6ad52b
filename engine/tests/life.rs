//! What ends: buffers on other threads, contexts, threads, devices, workers, engines. Nothing
//! hangs, nothing is lost, and who waits is told.

#[path = "support/engines.rs"]
mod engines;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

use corewire::Engine;
use corewire::env::Counter;
use corewire::runtime::WorkerSetup;
use corewire::runtime::config::{Idle, Turner};
use corewire::zero_copy::{Context, RxBuf, UdpSocket};
use corewire_drivers::cable::CableEnd;
use corewire_drivers::device::{Burst, Capabilities, Device, DeviceCounts, DeviceState};
use corewire_drivers::mem::{Pages, Pool, RegionConfig};
use engines::{ETH, PATIENCE, at, builder, pair, wait_for};

const TURNERS: [Turner; 2] = [Turner::Dedicated, Turner::CallerDriven];

/// Sends `bytes` from a socket of `from` to 10.0.0.2:7.
fn send(context: &Context, socket: &UdpSocket<'_>, bytes: &[u8]) {
    let mut buffer = wait_for("a buffer", || {
        let buffer = socket.buffer().ok();
        if buffer.is_none() {
            context.wait(Some(Duration::from_millis(1))).expect("poll works");
        }
        buffer
    });
    buffer.fill_from(bytes);
    socket.send_to(buffer, at(2, 7)).expect("sent");
    context.flush();
}

fn receive(context: &Context, socket: &UdpSocket<'_>) -> RxBuf {
    wait_for("a datagram", || {
        let datagram = socket.recv().expect("no error");
        if datagram.is_none() {
            context.wait(Some(Duration::from_millis(1))).expect("poll works");
        }
        datagram
    })
}

#[test]
fn a_buffer_may_be_read_and_dropped_on_another_thread() {
    for turner in TURNERS {
        let (a, b) = pair(turner, Idle::default());
        let (client, server) = (a.context().expect("one"), b.context().expect("one"));
        let from = client.udp_bind(at(1, 0)).expect("a port");
        let to = server.udp_bind(at(2, 7)).expect("a port");
        // Many times what may be published at once: the socket goes on only if they come back.
        for number in 0..200u32 {
            send(&client, &from, &number.to_be_bytes());
            let datagram = receive(&server, &to);
            let read = std::thread::spawn(move || datagram.to_vec());
            assert_eq!(read.join().expect("no panic"), number.to_be_bytes());
        }
        drop((from, to));
        drop((client, server));
        assert!(a.shut_down().is_conserved() && b.shut_down().is_conserved(), "{turner:?}");
    }
}

#[test]
fn datagrams_that_wait_are_lent_when_others_come_home() {
    let (a, b) = pair(Turner::Dedicated, Idle::Interrupt);
    let (client, server) = (a.context().expect("one"), b.context().expect("one"));
    let from = client.udp_bind(at(1, 0)).expect("a port");
    let to = server.udp_bind(at(2, 7)).expect("a port");
    send(&client, &from, b"first");
    drop(receive(&server, &to));
    // As many as may be published, and as many more that wait for them at the worker.
    for _ in 0..64 {
        send(&client, &from, b"datagram");
    }
    let held: Vec<RxBuf> = (0..32).map(|_| receive(&server, &to)).collect();
    assert!(to.recv().expect("no error").is_none(), "no more are lent");
    let dropper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        drop(held);
    });
    for _ in 0..32 {
        drop(receive(&server, &to));
    }
    dropper.join().expect("no panic");
}

#[test]
fn a_context_may_go_to_another_thread_and_a_buffer_outlives_it() {
    for turner in TURNERS {
        let (a, b) = pair(turner, Idle::default());
        let client = a.context().expect("a context");
        let from = client.udp_bind(at(1, 0)).expect("a port");
        let server = b.context().expect("a context");
        let buffer = std::thread::scope(|scope| {
            let serve = scope.spawn(move || {
                let to = server.udp_bind(at(2, 7)).expect("a port");
                let datagram = receive(&server, &to);
                drop(to);
                datagram
            });
            // Until the server is there.
            wait_for("the server", || {
                send(&client, &from, b"outlives");
                std::thread::sleep(Duration::from_millis(1));
                serve.is_finished().then_some(())
            });
            serve.join().expect("no panic")
        });
        assert_eq!(*buffer, *b"outlives");
        assert_eq!(buffer.peer(), from.local_addr().expect("it is there"));
        let report = b.shut_down();
        assert!(!report.is_conserved(), "a frame is out");
        assert_eq!(*buffer, *b"outlives", "the region lives as long as the buffer");
    }
}

#[test]
fn a_thread_that_panics_loses_no_frame() {
    for turner in TURNERS {
        let (a, b) = pair(turner, Idle::default());
        let client = a.context().expect("a context");
        let from = client.udp_bind(at(1, 0)).expect("a port");
        std::thread::scope(|scope| {
            let b = &b;
            let serve = scope.spawn(move || {
                let server = b.context().expect("a context");
                let to = server.udp_bind(at(2, 7)).expect("a port");
                let _held = receive(&server, &to);
                let _written = to.buffer();
                panic!("as applications do");
            });
            wait_for("the panic", || {
                send(&client, &from, b"datagram");
                std::thread::sleep(Duration::from_millis(1));
                serve.is_finished().then_some(())
            });
            assert!(serve.join().is_err());
        });
        // The same port can be had again, by a new context.
        let server = b.context().expect("a context");
        let to = server.udp_bind(at(2, 7)).expect("the port");
        send(&client, &from, b"again");
        // Datagrams for the one that panicked may still be under way.
        wait_for("the new one", || (*receive(&server, &to) == *b"again").then_some(()));
        drop(to);
        drop(server);
        assert!(b.shut_down().is_conserved(), "{turner:?}");
    }
}

#[test]
fn what_was_sent_before_the_end_goes_out() {
    for turner in TURNERS {
        let (a, b) = pair(turner, Idle::default());
        let server = b.context().expect("a context");
        let to = server.udp_bind(at(2, 7)).expect("a port");
        for number in 0..50u32 {
            let client = a.context().expect("a context");
            let from = client.udp_bind(at(1, 0)).expect("a port");
            let mut buffer = wait_for("a buffer", || from.buffer().ok());
            buffer.fill_from(&number.to_be_bytes());
            from.send_to(buffer, at(2, 7)).expect("sent");
            drop(from);
            drop(client);
            let datagram = receive(&server, &to);
            assert_eq!(*datagram, number.to_be_bytes(), "{turner:?}");
        }
    }
}

#[test]
fn whoever_waits_is_told_that_the_engine_ends() {
    for turner in TURNERS {
        for idle in [Idle::Spin, Idle::default(), Idle::Interrupt] {
            let (a, _b) = pair(turner, idle);
            let blocked = a.udp("10.0.0.1:1000").expect("a port");
            let context = a.context().expect("a context");
            let waiting = std::thread::spawn(move || blocked.recv(&mut [0; 16]));
            let in_context = std::thread::spawn(move || {
                // On a busy host the engine may be gone before the thread comes this far.
                let socket = match context.udp_bind(at(1, 1001)) {
                    Ok(socket) => socket,
                    Err(error) => return error.kind(),
                };
                loop {
                    match socket.recv() {
                        Ok(_) => context.wait(None).expect("poll works"),
                        Err(error) => return error.kind(),
                    };
                }
            });
            std::thread::sleep(Duration::from_millis(20));
            drop(a);
            let error = waiting.join().expect("no panic").expect_err("the engine is gone");
            assert_eq!(error.kind(), ErrorKind::NetworkDown, "{turner:?} {idle:?}");
            assert_eq!(in_context.join().expect("no panic"), ErrorKind::NetworkDown);
        }
    }
}

/// A device that does as it is told: works, is gone, or panics.
struct Moody {
    end: CableEnd,
    mood: Arc<AtomicU8>,
}

const WELL: u8 = 0;
const GONE: u8 = 1;
const PANICKY: u8 = 2;

impl Device for Moody {
    fn rx_burst(
        &mut self,
        now: corewire::env::Instant,
        pool: &mut Pool,
        burst: &mut Burst,
    ) -> usize {
        assert_ne!(self.mood.load(Relaxed), PANICKY, "as bugs do");
        self.end.rx_burst(now, pool, burst)
    }

    fn tx_burst(
        &mut self,
        now: corewire::env::Instant,
        pool: &mut Pool,
        burst: &mut Burst,
    ) -> usize {
        if self.mood.load(Relaxed) == GONE { 0 } else { self.end.tx_burst(now, pool, burst) }
    }

    fn reclaim(&mut self, now: corewire::env::Instant, pool: &mut Pool) -> usize {
        self.end.reclaim(now, pool)
    }

    fn release(&mut self, pool: &mut Pool) {
        self.end.release(pool);
    }

    fn state(&self) -> DeviceState {
        if self.mood.load(Relaxed) == GONE { DeviceState::Gone } else { DeviceState::Up }
    }

    fn capabilities(&self) -> &Capabilities {
        self.end.capabilities()
    }

    fn counts(&self) -> DeviceCounts {
        self.end.counts()
    }
}

/// An engine on a moody device, and the other end.
fn moody(turner: Turner, idle: Idle) -> (Engine, Arc<AtomicU8>, CableEnd) {
    let (end, other) = CableEnd::pair(1500, 256);
    let mood = Arc::new(AtomicU8::new(WELL));
    let device = Moody { end, mood: mood.clone() };
    let engine = builder(1, device).turner(turner).idle(idle).start().expect("an engine");
    (engine, mood, other)
}

#[test]
fn sockets_fail_when_their_device_or_their_worker_is_gone() {
    for turner in TURNERS {
        for mood in [GONE, PANICKY] {
            let (engine, moods, _other) = moody(turner, Idle::default());
            let blocked = engine.udp("10.0.0.1:1000").expect("a port");
            let nonblocking = engine.udp("10.0.0.1:1001").expect("a port");
            nonblocking.set_nonblocking(true).expect("set");
            let waiting = std::thread::spawn(move || blocked.recv(&mut [0; 16]));
            std::thread::sleep(Duration::from_millis(20));
            moods.store(mood, Relaxed);
            let error = waiting.join().expect("no panic").expect_err("nothing comes any more");
            assert_eq!(error.kind(), ErrorKind::NetworkDown, "{turner:?}, mood {mood}");
            let error = wait_for("the error", || match nonblocking.recv(&mut [0; 16]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                other => Some(other.expect_err("nothing comes any more")),
            });
            assert_eq!(error.kind(), ErrorKind::NetworkDown, "{turner:?}, mood {mood}");
            let again = nonblocking.recv(&mut [0; 16]).expect_err("it stays so");
            assert_eq!(again.kind(), ErrorKind::NetworkDown);
            let panics = engine.stats().get(Counter::PanicsCaught);
            assert_eq!(panics, u64::from(mood == PANICKY));
            drop(nonblocking);
            engine.shut_down();
        }
    }
}

#[test]
fn a_worker_without_a_device_left_does_not_spin() {
    let (engine, moods, _other) = moody(Turner::Dedicated, Idle::Spin);
    moods.store(GONE, Relaxed);
    let turns = || engine.stats().get(Counter::Turns);
    let mut before = turns();
    // Spinning, it makes thousands of turns in this time.
    wait_for("rest", || {
        std::thread::sleep(Duration::from_millis(20));
        let made = turns() - std::mem::replace(&mut before, turns());
        (made < 20).then_some(())
    });
}

#[test]
fn one_worker_that_panics_leaves_the_others_alone() {
    let (well, other_end) = CableEnd::pair(1500, 256);
    let (end, _unused) = CableEnd::pair(1500, 256);
    let mood = Arc::new(AtomicU8::new(WELL));
    let snapshot = engines::snapshot(1, &well);
    let region = RegionConfig { frames: 1024, pages: Pages::Plain, ..RegionConfig::default() };
    let a = Engine::builder(snapshot)
        .worker(WorkerSetup::new().region(region.clone()).device(ETH, well))
        .worker(WorkerSetup::new().region(region).device(ETH, Moody { end, mood: mood.clone() }))
        .start()
        .expect("an engine");
    let b = builder(2, other_end).start().expect("an engine");
    let (client, server) = (a.udp("10.0.0.1:0").expect("one"), b.udp("10.0.0.2:7").expect("one"));
    client.set_read_timeout(Some(PATIENCE)).expect("set");
    server.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut bytes = [0; 16];
    for round in 0..2 {
        client.send_to(b"well?", "10.0.0.2:7").expect("sent");
        let (len, peer) = server.recv_from(&mut bytes).expect("a question");
        server.send_to(&bytes[..len], peer).expect("sent");
        assert_eq!(client.recv(&mut bytes).expect("an answer"), 5, "round {round}");
        mood.store(PANICKY, Relaxed);
        wait_for("the panic", || (a.stats().get(Counter::PanicsCaught) == 1).then_some(()));
    }
}

#[test]
fn an_engine_ends_in_time() {
    for turner in TURNERS {
        let start = Instant::now();
        let (a, b) = pair(turner, Idle::Interrupt);
        let sockets: Vec<_> = (0..20).map(|_| a.udp("10.0.0.1:0").expect("a port")).collect();
        drop(sockets);
        assert!(a.shut_down().is_conserved() && b.shut_down().is_conserved());
        // A bound on a hang, not a measurement.
        assert!(start.elapsed() < PATIENCE);
    }
}
