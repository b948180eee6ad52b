//! A flood from inside of the kernel: an XDP program over live frames. Nothing on a socket is as
//! fast, so what is measured is the receiver.

use std::io;
use std::time::Duration;

use corewire_drivers::af_xdp::Traffic;
use corewire_drivers::env::Clock;

use super::frame::{Party, udp_frame};
use crate::measure::{Cue, Outcome};
use crate::world::veth::Veth;

/// Attaches the program to the generator's device. Its frames go to the discard port of the
/// system; what arrives is counted and dropped.
pub(crate) fn attach(veth: &Veth, frame_size: usize) -> io::Result<Traffic> {
    let frame = udp_frame(
        Party::of(&veth.generator, SOURCE_PORT),
        Party::of(&veth.system, DISCARD_PORT),
        frame_size - super::frame::HEADERS,
    );
    veth.generator.run(|| Ok(Traffic::new(veth.generator.index, &frame)?))
}

/// Sends until the cue says stop: as much as goes, or `rate` frames a second.
pub(crate) fn flood(traffic: &Traffic, rate: Option<u64>, cue: &Cue<'_>) -> io::Result<Outcome> {
    let clock = Clock::system();
    let start = clock.now();
    let mut sent: u64 = 0;
    cue.ready();
    while !cue.stopped() {
        let count = match rate {
            None => FLOOD_CALL,
            Some(rate) => {
                let since = clock.now().saturating_since(start);
                let due = since.as_nanos() * u128::from(rate) / Duration::from_secs(1).as_nanos();
                // At a low rate a call for a few frames each costs more than the frames do.
                let behind = (due as u64).saturating_sub(sent).min(u64::from(PACED_CALL));
                if behind * 1_000_000 < rate * CALL_EVERY_US && behind < u64::from(PACED_CALL) {
                    std::hint::spin_loop();
                    continue;
                }
                behind as u32
            }
        };
        if count > 0 {
            traffic.send(count)?;
            sent += u64::from(count);
            cue.gauge.calls(1);
            cue.gauge.offered(u64::from(count));
        }
    }
    Ok(Outcome::default())
}

/// Frames in a call when nothing limits: 6 ms between looks at the cue, and the 7 µs that a call
/// costs are a thousandth.
const FLOOD_CALL: u32 = 1 << 16;
/// Frames in a call at a rate, at most: a quarter of veth's ring of 256, so that no burst of ours
/// overflows it.
const PACED_CALL: u32 = 64;
/// At a rate, a call is made this often at most.
const CALL_EVERY_US: u64 = 10;

/// RFC 863.
pub(crate) const DISCARD_PORT: u16 = 9;
/// From the dynamic range.
const SOURCE_PORT: u16 = 49_152;
