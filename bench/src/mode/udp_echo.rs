//! udp-echo: datagrams answered, over veth and in memory.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::cli::{Bench, Peer, XdpMode};
use crate::generator::frame::{HEADERS, Party};
use crate::generator::ledger::Pace;
use crate::generator::{kernel_client, xdp_client};
use crate::measure::{Body, Cue, Measured, Outcome, Role, Side};
use crate::mode::flooded::MTU;
use crate::mode::kernel_ways;
use crate::report::document::OURS;
use crate::run::{Case, Contestant, Refusal, Sample, Session, per_second};
use crate::system::corewire::engine;
use crate::system::dpdk::{self, Forward};
use crate::system::kernel::{self, Waiting};
use crate::system::smoltcp;
use crate::world::queue;
use crate::world::veth::Veth;

/// Both ends in one thread, joined in memory: what the stack itself costs.
pub(crate) fn in_memory(bench: &Bench) -> Vec<Case<'static>> {
    let size = bench.size.unwrap_or(MEMORY_PAYLOAD) as usize;
    let windows = if bench.window.is_empty() { &[32][..] } else { &bench.window };
    let case = |window: &u32| {
        let window = *window;
        let questions = engine::Questions {
            from: party(1, 0),
            to: party(2, ECHO_PORT),
            size,
            pace: Pace::Window(window),
        };
        let mut contestants = vec![Contestant {
            system: OURS,
            run: Box::new(move |session| {
                in_one_thread(session, |cue| engine::echo_in_memory(&questions, cue))
            }),
        }];
        if bench.compares(Peer::Smoltcp) {
            contestants.push(Contestant {
                system: "smoltcp",
                run: Box::new(move |session| {
                    in_one_thread(session, |cue| smoltcp::echo_in_memory(size, window, cue))
                }),
            });
        }
        Case {
            name: format!("udp-echo/{size}B/window-{window}"),
            world: "memory",
            unit: "ns",
            metric: "time",
            contestants,
        }
    };
    windows.iter().map(case).collect()
}

/// One echo's time, both ends included.
pub(crate) fn in_one_thread(
    session: &Session<'_>,
    body: impl FnOnce(&Cue<'_>) -> io::Result<Outcome> + Send,
) -> Result<Sample, Refusal> {
    let role = Role { side: Side::System, host: None, body: Box::new(body) };
    let mut measured = session.perform("echoes", vec![role], &[])?;
    let echoes = measured.gauges[0].packets;
    if echoes == 0 {
        return Err(Refusal::Failed(io::Error::other("no echo came back")));
    }
    let mut sample = session.sample(&mut measured, echoes);
    sample.value = measured.window.as_nanos() as f64 / echoes as f64;
    sample.syscalls_per_packet = Some(0.0);
    Ok(sample)
}

/// Who answers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum System {
    Corewire,
    Kernel(Waiting),
    Dpdk,
}

/// What a run over veth is about.
#[derive(Copy, Clone, Debug)]
struct Work {
    size: usize,
    pace: Pace,
    ports: u16,
    mode: XdpMode,
}

impl Work {
    fn of(bench: &Bench, pace: Pace) -> Self {
        Self {
            size: bench.size.unwrap_or(VETH_PAYLOAD) as usize,
            pace,
            ports: bench.connections.unwrap_or(1),
            mode: bench.xdp_mode,
        }
    }

    fn name(&self, what: &str) -> String {
        let how = match self.pace {
            Pace::Window(window) => format!("window-{window}"),
            Pace::Rate(rate) => format!("rate-{rate}"),
        };
        let ports = if self.ports > 1 { format!("/{}-ports", self.ports) } else { String::new() };
        format!("{what}/{}B/{how}{ports}", self.size)
    }
}

/// The same client, on AF_XDP, against each server: windows, or a rate.
pub(crate) fn against_servers(bench: &Bench, windows: &[u32]) -> Vec<Case<'static>> {
    let paces: Vec<Pace> = match (bench.rate, &bench.window[..]) {
        (Some(rate), _) => vec![Pace::Rate(rate)],
        (None, []) => windows.iter().map(|window| Pace::Window(*window)).collect(),
        (None, given) => given.iter().map(|window| Pace::Window(*window)).collect(),
    };
    let case = |pace: Pace| {
        let work = Work::of(bench, pace);
        let mut contestants = Vec::new();
        let mut add = |name, system| {
            contestants.push(Contestant {
                system: name,
                run: Box::new(move |session| against_server(session, work, system)),
            });
        };
        add(OURS, System::Corewire);
        kernel_ways(bench).for_each(|way| add(way.system(), System::Kernel(way)));
        if bench.compares(Peer::Dpdk) {
            add("dpdk", System::Dpdk);
        }
        let name = work.name("udp-echo");
        Case { name, world: "veth", unit: "echoes/s", metric: "rate", contestants }
    };
    paces.into_iter().map(case).collect()
}

fn against_server(session: &Session<'_>, work: Work, system: System) -> Result<Sample, Refusal> {
    let program = (system == System::Dpdk).then(dpdk::available).transpose()?;
    let veth = Veth::new(MTU)?;
    let (client, server) =
        (Party::of(&veth.generator, CLIENT_PORT), Party::of(&veth.system, ECHO_PORT));
    let host = &veth.system;
    let body: Body<'_> = match (system, program) {
        (System::Corewire, _) => {
            Box::new(move |cue| engine::serve(host, server, client, work.mode, cue))
        }
        (System::Kernel(way), _) => {
            let at = SocketAddrV4::new(server.address, server.port);
            Box::new(move |cue| kernel::echo(at, way, cue))
        }
        (System::Dpdk, program) => {
            let (plan, program) = (&session.plan, program.unwrap_or_default());
            let (forward, size) = (Forward::FiveTupleSwap, HEADERS + work.size);
            Box::new(move |cue| dpdk::forward(&program, forward, size, host, plan, cue))
        }
    };
    let questions = xdp_client::Questions {
        from: client,
        to: server,
        size: work.size,
        pace: work.pace,
        ports: work.ports,
    };
    let asking = &veth.generator;
    let ask: Body<'_> = Box::new(move |cue| {
        let (mut device, mut pool) = queue::open(asking, work.mode)?;
        xdp_client::ask(&questions, &mut device, &mut pool, cue)
    });
    let roles = vec![
        Role { side: Side::System, host: Some(host), body },
        Role { side: Side::Generator, host: Some(asking), body: ask },
    ];
    let measured = session.perform("echoes", roles, &[])?;
    conclude(session, &veth, measured, system)
}

/// Client and server of the same kind, one request at a time: the round trip that a user of the
/// system has.
pub(crate) fn round_trip(bench: &Bench) -> Case<'static> {
    let work = Work::of(bench, Pace::Window(1));
    let mut contestants = Vec::new();
    let mut add = |name, system| {
        contestants.push(Contestant {
            system: name,
            run: Box::new(move |session| at_both_ends(session, work, system)),
        });
    };
    add(OURS, System::Corewire);
    kernel_ways(bench).for_each(|way| add(way.system(), System::Kernel(way)));
    Case {
        name: format!("udp-round-trip/{}B", work.size),
        world: "veth",
        unit: "echoes/s",
        metric: "rate",
        contestants,
    }
}

fn at_both_ends(session: &Session<'_>, work: Work, system: System) -> Result<Sample, Refusal> {
    let veth = Veth::new(MTU)?;
    let (here, there) = (&veth.generator, &veth.system);
    let (client, server) = (Party::of(here, CLIENT_PORT), Party::of(there, ECHO_PORT));
    let at = SocketAddrV4::new(server.address, server.port);
    let (serve, ask): (Body<'_>, Body<'_>) = match system {
        System::Corewire => {
            let questions =
                engine::Questions { from: client, to: server, size: work.size, pace: work.pace };
            (
                Box::new(move |cue| engine::serve(there, server, client, work.mode, cue)),
                Box::new(move |cue| engine::ask(here, &questions, work.mode, cue)),
            )
        }
        System::Kernel(way) => {
            let questions = kernel_client::Questions { to: at, size: work.size, pace: work.pace };
            (
                Box::new(move |cue| kernel::echo(at, way, cue)),
                Box::new(move |cue| kernel_client::ask(&questions, way, cue)),
            )
        }
        System::Dpdk => {
            return Err(Refusal::Impossible("testpmd has no client".into()));
        }
    };
    let roles = vec![
        Role { side: Side::System, host: Some(there), body: serve },
        Role { side: Side::Generator, host: Some(here), body: ask },
    ];
    let measured = session.perform("echoes", roles, &[])?;
    conclude(session, &veth, measured, system)
}

fn conclude(
    session: &Session<'_>,
    veth: &Veth,
    mut measured: Measured,
    system: System,
) -> Result<Sample, Refusal> {
    let echoes = measured.gauges[1].packets;
    if echoes == 0 {
        return Err(Refusal::Failed(io::Error::other("no echo came back")));
    }
    // Not a loss: testpmd's own rate has no place in an echo.
    measured.outcomes[0].drops.remove(dpdk::OWN_RATE);
    let mut sample = session.sample(&mut measured, echoes);
    sample.offered = Some(per_second(measured.gauges[1].offered, measured.window));
    if system != System::Dpdk {
        let calls = measured.gauges[0].calls;
        sample.syscalls_per_packet = Some(calls as f64 / echoes as f64);
    }
    sample.drops.extend(veth.drops()?);
    Ok(sample)
}

/// A host of the memory world.
const fn party(last: u8, port: u16) -> Party {
    Party { mac: [2, 0, 0, 0, 0, last], address: Ipv4Addr::new(198, 18, 0, last), port }
}

/// 64 bytes of payload over veth, as the peers' round trips have it.
const VETH_PAYLOAD: u32 = 64;
/// A 60-byte frame in memory, as smoltcp's figures have it.
const MEMORY_PAYLOAD: u32 = 18;
/// RFC 862.
const ECHO_PORT: u16 = 7;
/// The first of the client's ports.
const CLIENT_PORT: u16 = 40_000;
