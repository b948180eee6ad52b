//! The socket API on another thread, beside the same application in the worker's turn: what lies
//! between the two is the hand-off.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use corewire::Engine;
use corewire::runtime::config::{Idle, Turner};
use corewire::runtime::{Builder, WorkerSetup};
use corewire::zero_copy::{Context, RxBuf, UdpSocket};
use crossbeam_utils::CachePadded;

use super::engine::{INTERFACE, snapshot};
use crate::generator::frame::Party;
use crate::measure::{Cue, Outcome};
use crate::world::mill::{Mill, Shared};

/// What is carried.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Load {
    /// Datagrams under way.
    pub(crate) window: usize,
    /// Of them, those that arrive at once, for one socket.
    pub(crate) burst: usize,
    /// Sockets, which take turns. The engine publishes 32 datagrams of one socket at a time, so
    /// with a single one each burst would wait for the one before it.
    pub(crate) sockets: u16,
    /// The application reads and writes the payload.
    pub(crate) touched: bool,
    /// It gives the datagrams back instead of answering them.
    pub(crate) one_way: bool,
}

/// An engine whose worker grinds on a core of its own, and one application's end of it.
pub(crate) struct Grinding {
    engine: Engine,
    context: Context,
    mill: Arc<CachePadded<Shared>>,
    load: Load,
}

/// Starts it. The calling thread must be allowed on the worker's core.
pub(crate) fn grind(load: Load, worker_core: usize) -> io::Result<Grinding> {
    let device = device(load);
    let mill = device.shared();
    let engine = builder(device, worker_core)?.turner(Turner::Dedicated).start()?;
    let context = engine.context()?;
    Ok(Grinding { engine, context, mill, load })
}

/// Echoes through a socket of `zero_copy` in the calling thread. Both spin; the worker looks
/// whether the application sleeps, each burst.
pub(crate) fn through_a_socket(grinding: Grinding, cue: &Cue<'_>) -> io::Result<Outcome> {
    let Grinding { engine, context, mill, load } = grinding;
    let sockets: Vec<UdpSocket<'_>> =
        ports(load).map(|at| context.udp_bind(at)).collect::<io::Result<_>>()?;
    let mut burst: Vec<RxBuf> = Vec::with_capacity(load.burst);
    let mut seen = 0;
    mill.start();
    cue.ready();
    for socket in sockets.iter().cycle() {
        if cue.stopped() {
            break;
        }
        socket.recv_burst(&mut burst, load.burst)?;
        if burst.is_empty() {
            continue;
        }
        if load.one_way {
            cue.gauge.packets(burst.len() as u64);
            burst.drain(..).for_each(|datagram| socket.give_back(datagram));
            context.flush();
            continue;
        }
        for datagram in burst.drain(..) {
            let peer = datagram.peer();
            let mut answer = datagram.into_tx();
            if load.touched
                && let Some(byte) = answer.first_mut()
            {
                *byte = byte.wrapping_add(1);
            }
            socket.send_to(answer, peer)?;
        }
        context.flush();
        let now = mill.answered();
        cue.gauge.packets(now - seen);
        seen = now;
    }
    drop(sockets);
    drop(context);
    end(engine)
}

/// The same through a socket of `net`: std's calls, a copy each way, and a lock.
pub(crate) fn through_net(grinding: Grinding, cue: &Cue<'_>) -> io::Result<Outcome> {
    let Grinding { engine, context, mill, load } = grinding;
    drop(context);
    let sockets: Vec<_> = ports(load).map(|at| engine.udp(at)).collect::<io::Result<_>>()?;
    for socket in &sockets {
        socket.set_nonblocking(true)?;
    }
    let mut bytes = [0; 2048];
    let mut seen = 0;
    mill.start();
    cue.ready();
    for socket in sockets.iter().cycle() {
        for _ in 0..load.burst {
            let Some((length, peer)) = now_or_never(socket.recv_from(&mut bytes))? else { break };
            if load.touched {
                bytes[0] = bytes[0].wrapping_add(1);
            }
            // No frame to write into yet: the worker is about to lend some.
            while now_or_never(socket.send_to(&bytes[..length], peer))?.is_none() {
                if cue.stopped() {
                    break;
                }
            }
        }
        if cue.stopped() {
            break;
        }
        let now = mill.answered();
        cue.gauge.packets(now - seen);
        seen = now;
    }
    drop(sockets);
    end(engine)
}

/// Echoes by an application in the worker's turn, in the calling thread: the same work without a
/// hand-off.
pub(crate) fn in_the_turn(load: Load, core: usize, cue: &Cue<'_>) -> io::Result<Outcome> {
    use corewire::inline::{Application, Datagram, InlineWorker, Turn};

    struct Echo {
        load: Load,
        dropped: u64,
    }

    impl Application for Echo {
        #[inline]
        fn on_datagram(&mut self, turn: &mut Turn<'_>, mut datagram: Datagram<'_>) {
            if self.load.one_way {
                self.dropped += 1;
                return;
            }
            if self.load.touched
                && let Some(byte) = datagram.payload_mut(turn).first_mut()
            {
                *byte = byte.wrapping_add(1);
            }
            // What could not be sent has been counted by the engine, and is missed by the mill.
            let _ = datagram.answer(turn);
        }
    }

    let device = device(load);
    let mill = device.shared();
    let mut worker = InlineWorker::new(builder(device, core)?, Echo { load, dropped: 0 })?;
    for at in ports(load) {
        worker.with_turn(|turn, _| turn.udp_bind(at)).map_err(io::Error::other)?;
    }
    let mut seen = 0;
    mill.start();
    cue.ready();
    while !cue.stopped() {
        worker.turn();
        let now = mill.answered() + worker.application().dropped;
        cue.gauge.packets(now - seen);
        seen = now;
    }
    let mut outcome = Outcome::default();
    if !worker.shut_down() {
        outcome.warnings.push("frames were not conserved".into());
    }
    Ok(outcome)
}

fn builder(device: Mill, core: usize) -> io::Result<Builder> {
    let snapshot = Arc::new(snapshot(SERVER, CLIENT, 1500)?);
    let worker = WorkerSetup::new().core(core).device(INTERFACE, device);
    Ok(Engine::builder(snapshot).worker(worker).idle(Idle::Spin))
}

fn end(engine: Engine) -> io::Result<Outcome> {
    let mut outcome = Outcome::default();
    if !engine.shut_down().is_conserved() {
        outcome.warnings.push("frames were not conserved".into());
    }
    Ok(outcome)
}

fn device(load: Load) -> Mill {
    Mill::new((CLIENT, SERVER), PAYLOAD, load.window, load.burst, load.sockets, load.one_way)
}

/// Where the sockets are.
fn ports(load: Load) -> impl Iterator<Item = SocketAddr> {
    (0..load.sockets).map(|port| SocketAddr::new(SERVER.address.into(), SERVER.port + port))
}

/// `None` for what would block.
fn now_or_never<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

const CLIENT: Party =
    Party { mac: [2, 0, 0, 0, 0, 1], address: Ipv4Addr::new(198, 18, 0, 1), port: 40_000 };
const SERVER: Party =
    Party { mac: [2, 0, 0, 0, 0, 2], address: Ipv4Addr::new(198, 18, 0, 2), port: 7 };
/// A cache line holds it with its headers.
const PAYLOAD: usize = 18;
