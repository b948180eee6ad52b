//! hand-off: what it costs to give a buffer to another core, and to get it back.

use std::io;
use std::sync::Arc;

use crate::measure::{Cue, Measured, Outcome, Role, Side};
use crate::report::document::OURS;
use crate::run::{Case, Contestant, Refusal, Sample, Session};
use crate::system::corewire::hand_off::{self, Load};
use crate::system::lanes::{self, FRAMES, Frames, Item, Receiver, Sender};

/// How items travel.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Trip {
    /// Bursts that are only counted at the other end.
    OneWay,
    /// Bursts that come back, [`WINDOW`] items under way.
    There,
    /// The same, each frame's payload read and written at the other end.
    Touched,
    /// One item at a time.
    Single,
}

/// All cases; the two that matter most for the quick suite.
pub(crate) fn cases(quick: bool) -> Vec<Case<'static>> {
    let all = [
        ("one-way/burst-32", Trip::OneWay),
        ("round-trip", Trip::Single),
        ("there-and-back/burst-32", Trip::There),
        ("there-and-back/burst-32/touched", Trip::Touched),
    ];
    let count = if quick { 2 } else { all.len() };
    all.into_iter()
        .take(count)
        .map(|(name, trip)| Case {
            name: format!("hand-off/{name}"),
            world: "memory",
            unit: "ns",
            metric: "time",
            contestants: contestants(trip, quick),
        })
        .collect()
}

fn contestants(trip: Trip, quick: bool) -> Vec<Contestant<'static>> {
    let load = trip.load();
    let mut all = vec![Contestant {
        system: OURS,
        run: Box::new(move |session| through_the_api(session, load, hand_off::through_a_socket)),
    }];
    // Its receive copies, and has nothing to give back.
    if !quick && trip != Trip::OneWay {
        all.push(Contestant {
            system: "corewire-net",
            run: Box::new(move |session| through_the_api(session, load, hand_off::through_net)),
        });
    }
    all.extend([
        Contestant {
            system: "index-ring",
            run: Box::new(move |session| {
                let (there, back) = (lanes::index_ring()?, lanes::index_ring()?);
                measure(session, trip, there, back)
            }),
        },
        Contestant {
            system: "rtrb",
            run: Box::new(move |session| {
                measure(session, trip, lanes::rtrb_ring(), lanes::rtrb_ring())
            }),
        },
    ]);
    // Frames that nobody gives back can't be linked again.
    if trip != Trip::OneWay && !quick {
        all.push(Contestant {
            system: "frame-list",
            run: Box::new(move |session| {
                let frames = Frames::new();
                measure(session, trip, lanes::frame_list(&frames), lanes::frame_list(&frames))
            }),
        });
    }
    if trip == Trip::Single {
        all.push(Contestant {
            system: "cache-line",
            run: Box::new(move |session| {
                measure(session, trip, lanes::cache_line(), lanes::cache_line())
            }),
        });
    }
    all
}

impl Trip {
    /// The same trip for datagrams of sockets. One way, their frames still come back.
    const fn load(self) -> Load {
        let (touched, one_way) = (matches!(self, Self::Touched), matches!(self, Self::OneWay));
        match self {
            Self::Single => Load { window: 1, burst: 1, sockets: 1, touched, one_way },
            _ => Load { window: WINDOW, burst: BURST, sockets: SOCKETS, touched, one_way },
        }
    }
}

/// What a datagram takes longer when its socket is on another thread than with the application
/// in the worker's turn.
fn through_the_api(
    session: &Session<'_>,
    load: Load,
    through: fn(hand_off::Grinding, &Cue<'_>) -> io::Result<Outcome>,
) -> Result<Sample, Refusal> {
    let worker_core = session.plan.generator_core;
    let inside = Role {
        side: Side::Generator,
        host: None,
        body: Box::new(move |cue| hand_off::in_the_turn(load, worker_core, cue)),
    };
    let inside = session.perform("datagrams in the turn", vec![inside], &[])?;
    let grinding = hand_off::grind(load, worker_core)?;
    let outside =
        Role { side: Side::System, host: None, body: Box::new(move |cue| through(grinding, cue)) };
    let mut outside = session.perform("datagrams", vec![outside], &[])?;
    let time = |measured: &Measured| {
        let packets = measured.gauges[0].packets;
        if packets == 0 {
            return Err(Refusal::Failed(io::Error::other("no datagram came back")));
        }
        Ok(measured.window.as_nanos() as f64 / packets as f64)
    };
    let (within, across) = (time(&inside)?, time(&outside)?);
    let packets = outside.gauges[0].packets;
    let mut sample = session.sample(&mut outside, packets);
    sample.doubts.extend(inside.outcomes.into_iter().flat_map(|outcome| outcome.warnings));
    sample.value = across - within;
    sample.notes.push(format!(
        "a datagram takes {within:.1} ns in the worker's turn, {across:.1} ns through a socket on \
         another thread"
    ));
    sample.syscalls_per_packet = Some(0.0);
    Ok(sample)
}

/// Time for an item over a pair of lanes.
fn measure<S: Sender, R: Receiver>(
    session: &Session<'_>,
    trip: Trip,
    (mut out, mut away): (S, R),
    (mut home, mut back): (S, R),
) -> Result<Sample, Refusal> {
    let frames = Frames::new();
    let touched = (trip == Trip::Touched).then(|| Arc::clone(&frames));
    let far: Role<'_> = Role {
        side: Side::System,
        host: None,
        body: match trip {
            Trip::OneWay => Box::new(move |cue| Ok(count(&mut away, cue))),
            _ => Box::new(move |cue| Ok(answer(&mut away, &mut home, touched.as_deref(), cue))),
        },
    };
    let near: Role<'_> = Role {
        side: Side::Generator,
        host: None,
        body: match trip {
            Trip::OneWay => Box::new(move |cue| Ok(pour(&mut out, cue))),
            Trip::Single => Box::new(move |cue| Ok(ask(&mut out, &mut back, 1, 1, cue))),
            Trip::There | Trip::Touched => {
                Box::new(move |cue| Ok(ask(&mut out, &mut back, WINDOW, BURST, cue)))
            }
        },
    };
    let mut measured = session.perform("items", vec![far, near], &[])?;
    let items = measured.gauges[if trip == Trip::OneWay { 0 } else { 1 }].packets;
    if items == 0 {
        return Err(Refusal::Failed(io::Error::other("no item came through")));
    }
    let mut sample = session.sample(&mut measured, items);
    sample.value = measured.window.as_nanos() as f64 / items as f64;
    sample.syscalls_per_packet = Some(0.0);
    Ok(sample)
}

/// Sends bursts as fast as they go.
fn pour(out: &mut impl Sender, cue: &Cue<'_>) -> Outcome {
    let items: Vec<Item> = (0..BURST as u32).map(item).collect();
    cue.ready();
    while !cue.stopped() {
        let mut rest = &items[..];
        while !rest.is_empty() && !cue.stopped() {
            rest = &rest[out.send(rest)..];
        }
    }
    Outcome::default()
}

/// Counts what arrives.
fn count(away: &mut impl Receiver, cue: &Cue<'_>) -> Outcome {
    let mut items = [Item::default(); BURST];
    cue.ready();
    while !cue.stopped() {
        let came = away.receive(&mut items);
        if came > 0 {
            cue.gauge.packets(came as u64);
        }
    }
    Outcome::default()
}

/// Sends back what arrives.
fn answer(
    away: &mut impl Receiver,
    home: &mut impl Sender,
    touched: Option<&Frames>,
    cue: &Cue<'_>,
) -> Outcome {
    let mut items = [Item::default(); BURST];
    cue.ready();
    while !cue.stopped() {
        let came = away.receive(&mut items);
        if let Some(frames) = touched {
            items[..came].iter().for_each(|item| frames.touch(item));
        }
        let mut rest = &items[..came];
        while !rest.is_empty() && !cue.stopped() {
            rest = &rest[home.send(rest)..];
        }
    }
    Outcome::default()
}

/// Keeps `window` items under way, in bursts, and counts those that come back.
fn ask(
    out: &mut impl Sender,
    back: &mut impl Receiver,
    window: usize,
    burst: usize,
    cue: &Cue<'_>,
) -> Outcome {
    let mut idle: Vec<Item> = (0..window as u32).map(item).collect();
    let mut items = [Item::default(); BURST];
    cue.ready();
    while !cue.stopped() {
        let ready = idle.len().min(burst);
        if ready > 0 {
            let start = idle.len() - ready;
            let sent = out.send(&idle[start..]);
            idle.drain(start..start + sent);
        }
        let came = back.receive(&mut items);
        if came > 0 {
            idle.extend_from_slice(&items[..came]);
            cue.gauge.packets(came as u64);
        }
    }
    Outcome::default()
}

fn item(frame: u32) -> Item {
    Item { frame, offset: 256, length: 64, socket: 1, tag: 1 }
}

/// Items in a burst.
const BURST: usize = 32;
/// Items under way: eight bursts, so that neither end waits for the other.
const WINDOW: usize = 256;
/// A burst under way for each: within a socket's receive buffer (104 frames), and what the engine
/// publishes of one socket at a time.
const SOCKETS: u16 = 8;
const _: () = assert!(WINDOW <= FRAMES, "an item is about a frame of its own");

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::measure::Plan;
    use crate::run::Findings;

    #[test]
    fn every_lane_moves_in_every_case() {
        let never = AtomicBool::new(false);
        let session = Session {
            plan: Plan {
                warmup: Duration::from_millis(5),
                window: Duration::from_millis(30),
                generator_core: 0,
                system_core: *crate::sys::allowed_cores().expect("cores").last().expect("one"),
            },
            runs: 1,
            cycles_per_second: None,
            interrupt: &never,
        };
        let count = |cases: Vec<Case<'_>>| -> usize {
            cases.iter().map(|case| case.contestants.len()).sum()
        };
        let mut moved = std::collections::BTreeSet::new();
        crate::measure::eventually(|| {
            let mut findings = Findings::default();
            cases(false).into_iter().for_each(|case| findings.add(&session, case));
            moved.extend(findings.figures.into_iter().map(|one| (one.name, one.system)));
            moved.len() == count(cases(false))
        });
    }
}
