//! rx-drop, tx-only and l2-reflect in memory: the same work over a cable, both ends in one
//! thread, so the time is that of sender and receiver together. There is no peer to compare with.

use std::io;
use std::net::Ipv4Addr;

use corewire_drivers::cable::CableEnd;
use corewire_drivers::device::{Burst, Device as _};
use corewire_drivers::env::{Clock, DropReason};
use corewire_drivers::mem::{Pool, Region, RegionConfig};

use crate::cli::{Bench, Mode};
use crate::generator::frame::{HEADERS, Party, udp_frame};
use crate::measure::{Cue, Outcome};
use crate::mode::flooded::DEFAULT_FRAME;
use crate::mode::udp_echo::in_one_thread;
use crate::report::document::OURS;
use crate::run::{Case, Contestant};
use crate::system::corewire::raw;

/// The cases of these modes, or of the one that was asked for.
pub(crate) fn cases(bench: &Bench, mode: Option<Mode>) -> Vec<Case<'static>> {
    let size = bench.size.unwrap_or(DEFAULT_FRAME) as usize;
    let case = |work: Mode| Case {
        name: format!("{}/{size}B", work.name()),
        world: "memory",
        unit: "ns",
        metric: "time",
        contestants: vec![Contestant {
            system: OURS,
            run: Box::new(move |session| {
                in_one_thread(session, |cue| over_a_cable(work, size, cue))
            }),
        }],
    };
    [Mode::RxDrop, Mode::TxOnly, Mode::L2Reflect]
        .into_iter()
        .filter(|one| mode.is_none_or(|mode| mode == *one))
        .map(case)
        .collect()
}

fn over_a_cable(work: Mode, size: usize, cue: &Cue<'_>) -> io::Result<Outcome> {
    let (mut here, mut there) = CableEnd::pair(1500, FRAMES as usize);
    let config = RegionConfig { frames: FRAMES, ..RegionConfig::default() };
    let (mut near, mut far) =
        (Pool::new(Region::new(&config)?)?, Pool::new(Region::new(&config)?)?);
    let party = |last: u8| Party {
        mac: [2, 0, 0, 0, 0, last],
        address: Ipv4Addr::new(198, 18, 0, last),
        port: 9,
    };
    let template = udp_frame(party(1), party(2), size - HEADERS);
    let (mut burst, mut came, mut answers) = (Burst::new(), Burst::new(), Burst::new());
    let (clock, mut refused) = (Clock::system(), [0u64; DropReason::ALL.len()]);
    cue.ready();
    while !cue.stopped() {
        let now = clock.now();
        here.reclaim(now, &mut near);
        raw::fill(&template, &mut near, &mut burst);
        here.tx_burst(now, &mut near, &mut burst);
        there.rx_burst(now, &mut far, &mut came);
        let mut done = came.len();
        match work {
            Mode::RxDrop => {
                let right = raw::parse_all(&mut far, &mut came, &mut refused);
                done = right as usize;
            }
            Mode::L2Reflect => {
                raw::swap_all(&mut far, &mut came, &mut answers);
                there.tx_burst(now, &mut far, &mut answers);
                done = here.rx_burst(now, &mut near, &mut came);
                came.free(&mut near);
                // The frames that were answered with come home.
                here.rx_burst(now, &mut near, &mut came);
                there.reclaim(now, &mut far);
            }
            _ => came.free(&mut far),
        }
        cue.gauge.packets(done as u64);
    }
    burst.free(&mut near);
    here.release(&mut near);
    there.release(&mut far);
    let mut outcome = Outcome::default();
    raw::add_refused(&mut outcome, &refused);
    Ok(outcome)
}

/// A region's, and what the cable holds a direction. Small, so that they stay in the cache as
/// those of a real queue do with a LIFO pool.
const FRAMES: u32 = 512;
