//! Corewire's engine: a worker with the application in its turn, as server and as client.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use corewire::control::snapshot::{Interface, Snapshot};
use corewire::ip::route::InterfaceId;
use corewire::packet::MacAddr;
use corewire::socket::{Application, Datagram, SocketId, Turn};
use corewire::worker::Worker;
use corewire_drivers::cable::CableEnd;
use corewire_drivers::device::Device;
use corewire_drivers::env::{Clock, Counters, DropReason, Rng};
use corewire_drivers::mem::{Pool, Region, RegionConfig};

use crate::cli::XdpMode;
use crate::generator::frame::Party;
use crate::generator::ledger::{self, Ledger, Pace};
use crate::measure::{Cue, Outcome};
use crate::world::queue;
use crate::world::veth::Host;

/// Sends every datagram back in the frame in which it came.
struct Echo {
    answered: u64,
}

impl Application for Echo {
    #[inline]
    fn on_datagram(&mut self, turn: &mut Turn<'_>, datagram: Datagram<'_>) {
        // What could not be sent has been counted by the engine.
        self.answered += u64::from(datagram.answer(turn).is_ok());
    }
}

/// Asks, and checks every byte of the answers.
struct Asker {
    ledger: Ledger,
    socket: SocketId,
    to: SocketAddr,
    size: usize,
    record: bool,
    asked: u64,
    right: u64,
}

impl Asker {
    fn new(worker: &mut Worker, questions: &Questions) -> io::Result<Self> {
        let any = SocketAddr::new(questions.from.address.into(), 0);
        let bind = |turn: &mut Turn<'_>| turn.udp_bind(any);
        let (socket, _) =
            worker.with_turn(Clock::monotonic().now(), bind).map_err(io::Error::other)?;
        Ok(Self {
            ledger: Ledger::new(questions.pace)?,
            socket,
            to: SocketAddr::new(questions.to.address.into(), questions.to.port),
            size: questions.size,
            record: false,
            asked: 0,
            right: 0,
        })
    }

    fn outcome(self, mut outcome: Outcome) -> Outcome {
        let (latency, fate) = self.ledger.close();
        outcome.latency = Some(latency).filter(|latency| !latency.is_empty());
        fate.enter(&mut outcome.drops);
        outcome
    }
}

impl Application for Asker {
    #[inline]
    fn on_datagram(&mut self, turn: &mut Turn<'_>, datagram: Datagram<'_>) {
        let now = turn.now();
        let payload = datagram.payload(turn);
        self.right += u64::from(self.ledger.answered(now, payload, self.record));
    }

    #[inline]
    fn on_turn(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now();
        for _ in 0..self.ledger.may_send(now, BURST) {
            let number = self.ledger.send(now);
            let write = |payload: &mut [u8]| ledger::write(number, payload);
            if turn.udp_send(self.socket, self.to, self.size, write).is_err() {
                self.ledger.unsend(1);
                break;
            }
            self.asked += 1;
        }
    }
}

/// What to ask, and whom.
#[derive(Clone, Debug)]
pub(crate) struct Questions {
    /// Who asks; its port is the engine's choice.
    pub(crate) from: Party,
    /// The server.
    pub(crate) to: Party,
    /// Bytes of payload.
    pub(crate) size: usize,
    /// How requests are let out.
    pub(crate) pace: Pace,
}

/// Client and server, two workers joined by a cable, turned in the calling thread.
pub(crate) fn echo_in_memory(questions: &Questions, cue: &Cue<'_>) -> io::Result<Outcome> {
    let (here, there) = CableEnd::pair(1500, CABLE_FRAMES);
    let config = RegionConfig { frames: 4 * CABLE_FRAMES as u32, ..RegionConfig::default() };
    let pool = || Pool::new(Region::new(&config)?);
    let (from, to) = (questions.from, questions.to);
    let mut client = worker(from, to, 1500, Box::new(here), pool()?)?;
    let mut server = worker(to, from, 1500, Box::new(there), pool()?)?;
    let mut echo = serve_port(&mut server, to)?;
    let mut asker = Asker::new(&mut client, questions)?;
    let clock = Clock::system();
    cue.ready();
    while !cue.stopped() {
        // One reading for both hosts: the clock is not what is measured.
        let now = clock.now();
        client.turn(now, &mut asker);
        server.turn(now, &mut echo);
        if asker.right > 0 {
            cue.gauge.packets(core::mem::take(&mut asker.right));
        }
    }
    let mut outcome = asker.outcome(Outcome::default());
    add_drops(&client, &mut outcome);
    add_drops(&server, &mut outcome);
    close(&mut client, &mut outcome);
    close(&mut server, &mut outcome);
    Ok(outcome)
}

/// A server on the queue of the host that the calling thread is in.
pub(crate) fn serve(
    host: &Host,
    at: Party,
    client: Party,
    mode: XdpMode,
    cue: &Cue<'_>,
) -> io::Result<Outcome> {
    let (device, pool) = queue::open(host, mode)?;
    let mut worker = worker(at, client, 1500, Box::new(device), pool)?;
    let mut echo = serve_port(&mut worker, at)?;
    let clock = Clock::system();
    let mut calls = 0;
    cue.ready();
    while !cue.stopped() {
        worker.turn(clock.now(), &mut echo);
        if echo.answered > 0 {
            cue.gauge.packets(core::mem::take(&mut echo.answered));
            note_calls(&worker, &mut calls, cue);
        }
    }
    let mut outcome = Outcome::default();
    add_drops(&worker, &mut outcome);
    worker.shut_down();
    Ok(outcome)
}

/// A client on the queue of the host that the calling thread is in.
pub(crate) fn ask(
    host: &Host,
    questions: &Questions,
    mode: XdpMode,
    cue: &Cue<'_>,
) -> io::Result<Outcome> {
    let (device, pool) = queue::open(host, mode)?;
    let mut worker = worker(questions.from, questions.to, 1500, Box::new(device), pool)?;
    let mut asker = Asker::new(&mut worker, questions)?;
    let clock = Clock::system();
    let mut calls = 0;
    cue.ready();
    while !cue.stopped() {
        asker.record = cue.measuring();
        worker.turn(clock.now(), &mut asker);
        if asker.right > 0 {
            cue.gauge.packets(core::mem::take(&mut asker.right));
            cue.gauge.offered(core::mem::take(&mut asker.asked));
            note_calls(&worker, &mut calls, cue);
        }
    }
    let mut outcome = asker.outcome(Outcome::default());
    add_drops(&worker, &mut outcome);
    worker.shut_down();
    Ok(outcome)
}

/// A worker with one interface, that knows its peer's hardware address.
fn worker(
    own: Party,
    peer: Party,
    mtu: u32,
    device: Box<dyn Device>,
    pool: Pool,
) -> io::Result<Worker> {
    let snapshot = snapshot(own, peer, mtu)?;
    let counters = Arc::new(Counters::memfd(0)?);
    let ephemeral = 49_152..=65_535;
    let mut worker = Worker::new(pool, Arc::new(snapshot), counters, Rng::from_os()?, ephemeral);
    worker.attach(INTERFACE, device);
    Ok(worker)
}

/// One interface, and a peer whose hardware address is known.
pub(crate) fn snapshot(own: Party, peer: Party, mtu: u32) -> io::Result<Snapshot> {
    let interface = Interface::ethernet(INTERFACE, "bench0", MacAddr(own.mac), mtu)
        .with_address(IpAddr::V4(own.address), 24);
    Snapshot::builder(1)
        .interface(interface)
        .neighbor(INTERFACE, IpAddr::V4(peer.address), MacAddr(peer.mac))
        .build()
        .map_err(io::Error::other)
}

fn serve_port(worker: &mut Worker, at: Party) -> io::Result<Echo> {
    let local = SocketAddr::new(at.address.into(), at.port);
    worker
        .with_turn(Clock::monotonic().now(), |turn| turn.udp_bind(local))
        .map_err(io::Error::other)?;
    Ok(Echo { answered: 0 })
}

/// The devices' system calls since the last time.
fn note_calls(worker: &Worker, last: &mut u64, cue: &Cue<'_>) {
    let calls: u64 = worker.devices().map(|(_, _, counts)| counts.syscalls).sum();
    cue.gauge.calls(calls - *last);
    *last = calls;
}

fn add_drops(worker: &Worker, outcome: &mut Outcome) {
    for reason in DropReason::ALL {
        let count = worker.counters().dropped(*reason);
        if count > 0 {
            *outcome.drops.entry(reason.name().into()).or_default() += count;
        }
    }
    for (_, _, counts) in worker.devices() {
        for (reason, count) in counts.drops() {
            if count > 0 {
                *outcome.drops.entry(format!("device_{}", reason.name())).or_default() += count;
            }
        }
    }
}

/// In memory every frame must come home.
fn close(worker: &mut Worker, outcome: &mut Outcome) {
    if !worker.shut_down() {
        outcome.warnings.push("frames were not conserved".into());
    }
}

/// The only one.
pub(crate) const INTERFACE: InterfaceId = InterfaceId(0);
/// Requests that a client sends in one turn, at most: a burst.
const BURST: usize = corewire_drivers::env::limits::BURST;
/// Frames under way a direction, as smoltcp has slots.
const CABLE_FRAMES: usize = 512;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::measure::{Plan, Role, Side, perform};

    #[test]
    fn every_question_is_answered() {
        let party = |last: u8, port| Party {
            mac: [2, 0, 0, 0, 0, last],
            address: Ipv4Addr::new(198, 18, 0, last),
            port,
        };
        let plan = Plan {
            warmup: Duration::from_millis(5),
            window: Duration::from_millis(50),
            generator_core: 0,
            system_core: 0,
        };
        let questions =
            Questions { from: party(1, 0), to: party(2, 7), size: 18, pace: Pace::Window(32) };
        let body = Box::new(|cue: &Cue<'_>| echo_in_memory(&questions, cue));
        let role = Role { side: Side::System, host: None, body };
        let never = AtomicBool::new(false);
        let seen = perform(&plan, vec![role], &[], &mut |_| {}, &never).expect("a run");
        assert_eq!(seen.outcomes[0].drops["wrong_answers"], 0);
        assert_eq!(seen.outcomes[0].warnings, Vec::<String>::new());
    }
}
