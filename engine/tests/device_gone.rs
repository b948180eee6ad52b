//! The device of an idle engine goes away: everyone who waits is told, soon and for good.

#[path = "support/engines.rs"]
mod engines;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use corewire::Engine;
use corewire::env::Counter;
use corewire::runtime::config::{Idle, Turner};
use corewire_drivers::cable::CableEnd;
use corewire_drivers::device::{Burst, Capabilities, Device, DeviceCounts, DeviceState, WaitFd};
use corewire_drivers::env::Instant;
use corewire_drivers::mem::Pool;
use engines::{PATIENCE, builder};

const ADAPTIVE: Idle = Idle::Adaptive { spin: Duration::from_micros(50) };

const EVERY: [(Turner, Idle); 6] = [
    (Turner::Dedicated, Idle::Spin),
    (Turner::Dedicated, ADAPTIVE),
    (Turner::Dedicated, Idle::Interrupt),
    (Turner::CallerDriven, Idle::Spin),
    (Turner::CallerDriven, ADAPTIVE),
    (Turner::CallerDriven, Idle::Interrupt),
];

/// A queue as AF_XDP's: it can be slept on, it looks after its interface once in a while, and
/// finds it gone the second time.
struct Dying {
    cable: CableEnd,
    /// Never readable, while the other end is open.
    quiet: (UnixStream, UnixStream),
    next_probe: Instant,
    probes: u32,
}

const PROBE_EVERY: Duration = Duration::from_millis(20);
const PROBES: u32 = 10;

impl Dying {
    fn new() -> Self {
        let (cable, _) = CableEnd::pair(1500, 64);
        let quiet = UnixStream::pair().expect("a descriptor");
        Self { cable, quiet, next_probe: Instant::ZERO, probes: 0 }
    }
}

impl Device for Dying {
    fn rx_burst(&mut self, now: Instant, pool: &mut Pool, burst: &mut Burst) -> usize {
        if now >= self.next_probe {
            self.next_probe = now + PROBE_EVERY;
            self.probes += 1;
        }
        self.cable.rx_burst(now, pool, burst)
    }

    fn tx_burst(&mut self, now: Instant, pool: &mut Pool, burst: &mut Burst) -> usize {
        self.cable.tx_burst(now, pool, burst)
    }

    fn reclaim(&mut self, now: Instant, pool: &mut Pool) -> usize {
        self.cable.reclaim(now, pool)
    }

    fn release(&mut self, pool: &mut Pool) {
        self.cable.release(pool);
    }

    fn next_event(&self) -> Instant {
        self.next_probe
    }

    fn wait_fd(&self) -> Option<WaitFd<'_>> {
        Some(self.quiet.0.as_fd())
    }

    fn state(&self) -> DeviceState {
        if self.probes >= PROBES { DeviceState::Gone } else { DeviceState::Up }
    }

    fn capabilities(&self) -> &Capabilities {
        self.cable.capabilities()
    }

    fn counts(&self) -> DeviceCounts {
        self.cable.counts()
    }
}

fn engine(turner: Turner, idle: Idle) -> Engine {
    builder(1, Dying::new()).turner(turner).idle(idle).start().expect("an engine")
}

#[test]
fn a_blocked_reader_is_told_that_the_device_is_gone() {
    for (turner, idle) in EVERY {
        let engine = engine(turner, idle);
        let (done, finished) = mpsc::channel();
        let (first, second) = (engine.udp("10.0.0.1:7"), engine.clone());
        let (first, done_too) = (first.expect("a port"), done.clone());
        std::thread::spawn(move || {
            let said = first.recv_from(&mut [0; 16]).map_err(|error| error.kind());
            done.send(said.map(drop)).expect("the test waits");
        });
        std::thread::spawn(move || {
            let context = second.context().expect("a context");
            let socket = context.udp_bind(engines::at(1, 9)).expect("a port");
            let said = loop {
                match socket.recv() {
                    Ok(None) => drop(context.wait(None).expect("poll works")),
                    said => break said.map(drop).map_err(|error| error.kind()),
                }
            };
            done_too.send(said).expect("the test waits");
        });
        for _ in 0..2 {
            let said = finished.recv_timeout(PATIENCE);
            assert_eq!(said, Ok(Err(io::ErrorKind::NetworkDown)), "{turner:?} {idle:?}");
        }
        let late = engine.udp("10.0.0.1:8").expect("the worker still answers");
        let said = late.recv_from(&mut [0; 16]).map_err(|error| error.kind()).map(drop);
        assert_eq!(said, Err(io::ErrorKind::NetworkDown), "{turner:?} {idle:?}");
    }
}

/// Also a worker that would spin: nothing will come.
#[test]
fn a_worker_without_a_device_rests() {
    for idle in [Idle::Spin, ADAPTIVE, Idle::Interrupt] {
        let engine = engine(Turner::Dedicated, idle);
        let socket = engine.udp("10.0.0.1:7").expect("a port");
        let _ = socket.recv_from(&mut [0; 16]).expect_err("the device goes away");
        // It turns a few times more, and then not any more: as many turns as it takes to say so.
        engines::wait_for("a rest", || {
            let before = engine.stats().get(Counter::Turns);
            std::thread::sleep(Duration::from_millis(300));
            (engine.stats().get(Counter::Turns) == before).then_some(())
        });
    }
}
