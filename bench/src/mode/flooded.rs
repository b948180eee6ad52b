//! rx-drop and l2-reflect: live frames from the generator's core, as many as go or at a rate.

use std::io;
use std::net::SocketAddrV4;

use crate::cli::{Bench, Peer, XdpMode};
use crate::generator::live_frames::{self, DISCARD_PORT};
use crate::measure::{Body, Measured, Meter, Role, Side};
use crate::mode::kernel_ways;
use crate::report::document::OURS;
use crate::run::{Case, Contestant, Refusal, Sample, Session, per_second};
use crate::system::corewire::raw;
use crate::system::dpdk::{self, Forward, OWN_RATE};
use crate::system::kernel::{self, Waiting};
use crate::world::queue;
use crate::world::veth::{Host, Veth};

/// What is done with the frames.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Parsed, counted, and let go.
    Drop,
    /// Sent back with their hardware addresses swapped.
    Reflect,
}

/// Who does it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum System {
    Corewire(XdpMode),
    Kernel(Waiting),
    Dpdk,
}

/// The case of this work over veth.
pub(crate) fn over_veth(bench: &Bench, work: Work) -> Case<'static> {
    let size = bench.size.unwrap_or(DEFAULT_FRAME) as usize;
    let rate = bench.rate;
    let mut contestants = Vec::new();
    let mut add = |name, system| {
        contestants.push(Contestant {
            system: name,
            run: Box::new(move |session| one(session, work, size, rate, system)),
        });
    };
    add(OURS, System::Corewire(bench.xdp_mode));
    if work == Work::Drop {
        // The kernel has no socket that reflects frames.
        kernel_ways(bench).for_each(|way| add(way.system(), System::Kernel(way)));
    }
    if bench.compares(Peer::Dpdk) {
        add("dpdk", System::Dpdk);
    }
    let mode = match work {
        Work::Drop => "rx-drop",
        Work::Reflect => "l2-reflect",
    };
    let at = rate.map_or_else(String::new, |rate| format!("/rate-{rate}"));
    Case {
        name: format!("{mode}/{size}B{at}"),
        world: "veth",
        unit: "packets/s",
        metric: "rate",
        contestants,
    }
}

fn one(
    session: &Session<'_>,
    work: Work,
    size: usize,
    rate: Option<u64>,
    system: System,
) -> Result<Sample, Refusal> {
    let program = (system == System::Dpdk).then(dpdk::available).transpose()?;
    let veth = Veth::new(MTU)?;
    if matches!(system, System::Kernel(_)) {
        veth.system.receive_through_napi()?;
    }
    let traffic = live_frames::attach(&veth, size)?;
    let host = &veth.system;
    let body: Body<'_> = match (system, program) {
        (System::Corewire(mode), _) => corewire(host, mode, work),
        (System::Kernel(way), _) => {
            let at = SocketAddrV4::new(host.address, DISCARD_PORT);
            Box::new(move |cue| kernel::sink(at, way, cue))
        }
        (System::Dpdk, program) => {
            let forward = match work {
                Work::Drop => Forward::RxOnly,
                Work::Reflect => Forward::MacSwap,
            };
            let (plan, program) = (&session.plan, program.unwrap_or_default());
            Box::new(move |cue| dpdk::forward(&program, forward, size, host, plan, cue))
        }
    };
    let roles = vec![
        Role { side: Side::System, host: Some(host), body },
        Role {
            side: Side::Generator,
            host: Some(&veth.generator),
            body: Box::new(|cue| live_frames::flood(&traffic, rate, cue)),
        },
    ];
    let back: Meter<'_> = Box::new(|| traffic.received().unwrap_or(0));
    let sent: Meter<'_> = Box::new(|| traffic.sent().unwrap_or(0));
    // The per-second line shows the first.
    let (label, meters) = match work {
        Work::Drop => ("frames offered", [sent, back]),
        Work::Reflect => ("frames back", [back, sent]),
    };
    let measured = session.perform(label, roles, &meters)?;
    let mut sample = conclude(session, work, rate, system, measured)?;
    sample.drops.extend(veth.drops()?);
    Ok(sample)
}

fn corewire<'a>(host: &'a Host, mode: XdpMode, work: Work) -> Body<'a> {
    Box::new(move |cue| {
        let (mut device, mut pool) = queue::open(host, mode)?;
        match work {
            Work::Drop => raw::receive(&mut device, &mut pool, cue),
            Work::Reflect => raw::reflect(&mut device, &mut pool, cue),
        }
    })
}

fn conclude(
    session: &Session<'_>,
    work: Work,
    rate: Option<u64>,
    system: System,
    mut measured: Measured,
) -> Result<Sample, Refusal> {
    let own_rate = measured.outcomes[0].drops.remove(OWN_RATE);
    let (back, sent) = match work {
        Work::Drop => (measured.meters[1], measured.meters[0]),
        Work::Reflect => (measured.meters[0], measured.meters[1]),
    };
    let packets = match (work, own_rate) {
        (Work::Reflect, _) => back,
        (Work::Drop, Some(rate)) => (rate as f64 * measured.window.as_secs_f64()) as u64,
        (Work::Drop, None) => measured.gauges[0].packets,
    };
    if packets == 0 {
        return Err(Refusal::Failed(io::Error::other("no frame came through")));
    }
    let mut sample = session.sample(&mut measured, packets);
    sample.offered = Some(per_second(sent, measured.window));
    if system != System::Dpdk {
        let calls = measured.gauges[0].calls;
        sample.syscalls_per_packet = Some(calls as f64 / packets.max(1) as f64);
    }
    let lost = sent.saturating_sub(packets);
    sample.drops.insert("offered_and_not_delivered".into(), lost);
    match (rate, lost > sent / 1000) {
        (Some(_), true) => {
            sample.notes.push("more than 0.1 % of what was offered did not come through".into());
        }
        (None, false) => {
            let note = "bound by the generator's core: all that it offered came through";
            sample.notes.push(note.into());
        }
        _ => {}
    }
    Ok(sample)
}

/// 64 bytes: the shortest frame and its FCS, as all peers' figures have it.
pub(crate) const DEFAULT_FRAME: u32 = 64;
/// Of the veth pair.
pub(crate) const MTU: u32 = 1500;
