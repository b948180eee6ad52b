//! The client that asks every server alike: frames written and read on a device directly, with no
//! stack between, so that it costs less than any server.

use std::io;

use corewire_drivers::device::{Burst, Device};
use corewire_drivers::env::Clock;
use corewire_drivers::env::limits::HEADROOM;
use corewire_drivers::mem::{Packet, Pool};

use super::frame::{HEADERS, Party, udp_frame, udp_payload};
use super::ledger::{self, Ledger, Pace};
use crate::measure::{Cue, Outcome};

/// What to ask, and whom.
#[derive(Clone, Debug)]
pub(crate) struct Questions {
    /// Who asks, with the lowest of its ports.
    pub(crate) from: Party,
    /// The server.
    pub(crate) to: Party,
    /// Bytes of payload.
    pub(crate) size: usize,
    /// How requests are let out.
    pub(crate) pace: Pace,
    /// Ports that are asked from, in turn.
    pub(crate) ports: u16,
}

/// Asks until the cue says stop.
pub(crate) fn ask(
    questions: &Questions,
    device: &mut dyn Device,
    pool: &mut Pool,
    cue: &Cue<'_>,
) -> io::Result<Outcome> {
    let clock = Clock::system();
    let mut ledger = Ledger::new(questions.pace)?;
    let templates: Vec<Vec<u8>> = (0..questions.ports)
        .map(|port| Party { port: questions.from.port + port, ..questions.from })
        .map(|from| udp_frame(from, questions.to, questions.size))
        .collect();
    let (mut out, mut back) = (Burst::new(), Burst::new());
    let mut calls = device.counts().syscalls;
    let mut strangers = 0;
    cue.ready();
    while !cue.stopped() {
        let now = clock.now();
        device.reclaim(now, pool);
        device.rx_burst(now, pool, &mut back);
        if !back.is_empty() {
            let (now, record, mut right) = (clock.now(), cue.measuring(), 0);
            for packet in back.drain() {
                match answer(questions, pool.bytes(&packet)) {
                    Some(payload) => right += u64::from(ledger.answered(now, payload, record)),
                    None => strangers += 1,
                }
                pool.free(packet);
            }
            cue.gauge.packets(right);
        }
        let may = ledger.may_send(now, out.room().min(pool.free_count()));
        for _ in 0..may {
            let Some(mut frame) = pool.take() else { break };
            let number = ledger.send(now);
            let template = &templates[number as usize % templates.len()];
            frame.set_range(HEADROOM, template.len() as u16);
            let mut packet = Packet::from(frame);
            let bytes = pool.bytes_mut(&mut packet);
            bytes.copy_from_slice(template);
            ledger::write(number, &mut bytes[HEADERS..]);
            if let Err(packet) = out.push(packet) {
                // `may` was no more than the burst has room for.
                pool.free(packet);
            }
        }
        if !out.is_empty() {
            let sent = device.tx_burst(now, pool, &mut out);
            cue.gauge.offered(sent as u64);
        }
        let now_calls = device.counts().syscalls;
        cue.gauge.calls(now_calls - calls);
        calls = now_calls;
    }
    out.free(pool);
    device.release(pool);
    let (latency, mut fate) = ledger.close();
    fate.wrong += strangers;
    let mut outcome = Outcome { latency: Some(latency), ..Outcome::default() };
    fate.enter(&mut outcome.drops);
    Ok(outcome)
}

/// The payload of a frame that is an answer to one of our ports.
#[inline]
fn answer<'a>(questions: &Questions, frame: &'a [u8]) -> Option<&'a [u8]> {
    let (port, start) = udp_payload(frame, &questions.to, &questions.from)?;
    let ours = port.wrapping_sub(questions.from.port) < questions.ports;
    // Short frames are padded; the payload is as long as it was.
    ours.then(|| frame.get(start..start + questions.size)).flatten()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use corewire_drivers::cable::CableEnd;
    use corewire_drivers::mem::{Region, RegionConfig};

    use super::*;
    use crate::measure::{Plan, Role, Side, eventually, perform};

    const A: Party =
        Party { mac: [2, 0, 0, 0, 0, 1], address: Ipv4Addr::new(198, 18, 0, 1), port: 5000 };
    const B: Party =
        Party { mac: [2, 0, 0, 0, 0, 2], address: Ipv4Addr::new(198, 18, 0, 2), port: 7 };

    fn pool() -> Pool {
        let config = RegionConfig { frames: 512, ..RegionConfig::default() };
        Pool::new(Region::new(&config).expect("a region")).expect("a pool")
    }

    /// Swaps everything that a server swaps, for as long as it is asked; spoils each `spoil`th.
    fn mirror(mut device: CableEnd, spoil: u64, cue: &Cue<'_>) -> Outcome {
        let (mut pool, mut burst, clock) = (pool(), Burst::new(), Clock::monotonic());
        let mut count = 0;
        cue.ready();
        while !cue.stopped() {
            device.reclaim(clock.now(), &mut pool);
            device.rx_burst(clock.now(), &mut pool, &mut burst);
            let mut answers = Burst::new();
            for mut packet in burst.drain() {
                let bytes = pool.bytes_mut(&mut packet);
                for (a, b, length) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
                    for index in 0..length {
                        bytes.swap(a + index, b + index);
                    }
                }
                count += 1;
                if count % spoil == 0 {
                    bytes[HEADERS + 3] ^= 1;
                }
                if let Err(packet) = answers.push(packet) {
                    pool.free(packet);
                }
            }
            device.tx_burst(clock.now(), &mut pool, &mut answers);
            answers.free(&mut pool);
            std::thread::yield_now();
        }
        device.release(&mut pool);
        Outcome::default()
    }

    fn run(spoil: u64) -> (u64, Outcome) {
        let (mut here, there) = CableEnd::pair(1500, 256);
        let plan = Plan {
            warmup: Duration::from_millis(10),
            window: Duration::from_millis(150),
            generator_core: 0,
            system_core: 0,
        };
        let questions = Questions { from: A, to: B, size: 64, pace: Pace::Window(8), ports: 3 };
        let roles = vec![
            Role {
                side: Side::System,
                host: None,
                body: Box::new(move |cue| Ok(mirror(there, spoil, cue))),
            },
            Role {
                side: Side::Generator,
                host: None,
                body: Box::new(move |cue| ask(&questions, &mut here, &mut pool(), cue)),
            },
        ];
        let never = AtomicBool::new(false);
        let mut seen = perform(&plan, roles, &[], &mut |_| {}, &never).expect("a run");
        (seen.gauges[1].packets, seen.outcomes.remove(1))
    }

    #[test]
    fn answers_are_counted_when_they_are_right() {
        eventually(|| {
            let (right, outcome) = run(u64::MAX);
            assert_eq!(outcome.drops["wrong_answers"], 0);
            right > 0 && outcome.latency.is_some_and(|latency| !latency.is_empty())
        });
    }

    #[test]
    fn a_wrong_byte_is_not_an_answer() {
        eventually(|| run(5).1.drops["wrong_answers"] > 0);
    }
}
