//! tx-only: frames sent as fast as they go, counted and dropped by an XDP program at the peer.

use std::io;
use std::net::SocketAddrV4;

use crate::cli::{Bench, Peer, XdpMode};
use crate::generator::frame::{HEADERS, Party, udp_frame};
use crate::generator::live_frames::{self, DISCARD_PORT};
use crate::measure::{Body, Meter, Role, Side};
use crate::mode::flooded::{DEFAULT_FRAME, MTU};
use crate::report::document::OURS;
use crate::run::{Case, Contestant, Refusal, Sample, Session, per_second};
use crate::system::corewire::raw;
use crate::system::dpdk::{self, Forward};
use crate::system::kernel;
use crate::world::queue;
use crate::world::veth::Veth;

/// Who sends.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum System {
    Corewire(XdpMode),
    /// All ways of waiting are one here: nobody waits.
    Kernel,
    Dpdk,
}

/// The case over veth.
pub(crate) fn over_veth(bench: &Bench) -> Case<'static> {
    let size = bench.size.unwrap_or(DEFAULT_FRAME) as usize;
    let mut contestants = Vec::new();
    let mut add = |name, system| {
        contestants.push(Contestant {
            system: name,
            run: Box::new(move |session| one(session, size, system)),
        });
    };
    add(OURS, System::Corewire(bench.xdp_mode));
    if bench.compares(Peer::KernelSpin) {
        add("kernel-spin", System::Kernel);
    }
    if bench.compares(Peer::Dpdk) {
        add("dpdk", System::Dpdk);
    }
    Case {
        name: format!("tx-only/{size}B"),
        world: "veth",
        unit: "packets/s",
        metric: "rate",
        contestants,
    }
}

fn one(session: &Session<'_>, size: usize, system: System) -> Result<Sample, Refusal> {
    let dpdk = (system == System::Dpdk).then(dpdk::available).transpose()?;
    let veth = Veth::new(MTU)?;
    let traffic = live_frames::attach(&veth, size)?;
    let to = SocketAddrV4::new(veth.generator.address, DISCARD_PORT);
    let body: Body<'_> = match (system, &dpdk) {
        (System::Corewire(mode), _) => {
            let from = Party::of(&veth.system, DISCARD_PORT);
            let peer = Party::of(&veth.generator, DISCARD_PORT);
            let template = udp_frame(from, peer, size - HEADERS);
            let host = &veth.system;
            Box::new(move |cue| {
                let (mut device, mut pool) = queue::open(host, mode)?;
                raw::transmit(&template, &mut device, &mut pool, cue)
            })
        }
        (System::Kernel, _) => Box::new(move |cue| kernel::flood(to, size - HEADERS, cue)),
        (System::Dpdk, program) => {
            let (host, plan, program) = (&veth.system, &session.plan, program.clone());
            Box::new(move |cue| {
                let program = program.unwrap_or_default();
                dpdk::forward(&program, Forward::TxOnly, size, host, plan, cue)
            })
        }
    };
    let roles = vec![Role { side: Side::System, host: Some(&veth.system), body }];
    let meters: Vec<Meter<'_>> = vec![Box::new(|| traffic.received().unwrap_or(0))];
    let mut measured = session.perform("frames", roles, &meters)?;
    let packets = measured.meters[0];
    if packets == 0 {
        return Err(Refusal::Failed(io::Error::other("no frame came through")));
    }
    let mut sample = session.sample(&mut measured, packets);
    if system != System::Dpdk {
        sample.offered = Some(per_second(measured.gauges[0].packets, measured.window));
        sample.syscalls_per_packet = Some(measured.gauges[0].calls as f64 / packets.max(1) as f64);
    }
    sample.drops.extend(veth.drops()?);
    Ok(sample)
}
