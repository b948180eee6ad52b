//! Corewire's drivers alone, in a loop of one's own: what the stack is built on.

use std::io;

use corewire::packet::{ethernet, ipv4, udp};
use corewire_drivers::device::{Burst, Device};
use corewire_drivers::env::limits::HEADROOM;
use corewire_drivers::env::{Clock, DropReason};
use corewire_drivers::mem::{Packet, Pool};

use crate::measure::{Cue, Outcome};

/// Receives, parses to the UDP payload with both checksums verified, counts, and recycles.
pub(crate) fn receive(
    device: &mut dyn Device,
    pool: &mut Pool,
    cue: &Cue<'_>,
) -> io::Result<Outcome> {
    let clock = Clock::system();
    let mut burst = Burst::new();
    let mut calls = Calls::default();
    let mut refused: Refused = [0; DropReason::ALL.len()];
    cue.ready();
    while !cue.stopped() {
        // A device has no use for the time; one reading for many bursts keeps the clock out.
        let now = clock.now();
        for _ in 0..BURSTS_A_LOOK {
            if device.rx_burst(now, pool, &mut burst) > 0 {
                cue.gauge.packets(parse_all(pool, &mut burst, &mut refused));
            }
        }
        calls.note(device, cue);
    }
    device.release(pool);
    let mut outcome = outcome(device);
    add_refused(&mut outcome, &refused);
    Ok(outcome)
}

/// Sends `template` as fast as it goes. Every frame is written anew, as a stack would.
pub(crate) fn transmit(
    template: &[u8],
    device: &mut dyn Device,
    pool: &mut Pool,
    cue: &Cue<'_>,
) -> io::Result<Outcome> {
    let clock = Clock::system();
    let mut burst = Burst::new();
    let mut calls = Calls::default();
    cue.ready();
    while !cue.stopped() {
        let now = clock.now();
        device.reclaim(now, pool);
        fill(template, pool, &mut burst);
        let sent = device.tx_burst(now, pool, &mut burst);
        cue.gauge.packets(sent as u64);
        calls.note(device, cue);
    }
    burst.free(pool);
    device.release(pool);
    Ok(outcome(device))
}

/// Swaps the hardware addresses of what arrives and sends it back.
pub(crate) fn reflect(
    device: &mut dyn Device,
    pool: &mut Pool,
    cue: &Cue<'_>,
) -> io::Result<Outcome> {
    let clock = Clock::system();
    let (mut burst, mut answers) = (Burst::new(), Burst::new());
    let mut calls = Calls::default();
    cue.ready();
    while !cue.stopped() {
        let now = clock.now();
        device.reclaim(now, pool);
        // What the device did not take last time goes first; meanwhile the rest waits in its
        // ring, and what that can't hold is lost before it has cost anything.
        if answers.is_empty() {
            device.rx_burst(now, pool, &mut burst);
            swap_all(pool, &mut burst, &mut answers);
        }
        if !answers.is_empty() {
            let sent = device.tx_burst(now, pool, &mut answers);
            cue.gauge.packets(sent as u64);
        }
        calls.note(device, cue);
    }
    answers.free(pool);
    device.release(pool);
    Ok(outcome(device))
}

/// Parses a burst and lets it go; how many were right. The others are counted by reason.
#[inline]
pub(crate) fn parse_all(pool: &mut Pool, burst: &mut Burst, refused: &mut Refused) -> u64 {
    let mut right = 0;
    for packet in burst.drain() {
        match parse(pool.bytes(&packet)) {
            Ok(_) => right += 1,
            Err(reason) => refused[reason as usize] += 1,
        }
        pool.free(packet);
    }
    right
}

/// Fills a burst with copies of `template`.
#[inline]
pub(crate) fn fill(template: &[u8], pool: &mut Pool, burst: &mut Burst) {
    while burst.room() > 0 {
        let Some(mut frame) = pool.take() else { break };
        frame.set_range(HEADROOM, template.len() as u16);
        let mut packet = Packet::from(frame);
        pool.bytes_mut(&mut packet).copy_from_slice(template);
        if let Err(packet) = burst.push(packet) {
            pool.free(packet);
        }
    }
}

/// Moves a burst to another with the hardware addresses swapped.
#[inline]
pub(crate) fn swap_all(pool: &mut Pool, burst: &mut Burst, answers: &mut Burst) {
    for mut packet in burst.drain() {
        if !swap(pool.bytes_mut(&mut packet)) {
            pool.free(packet);
        } else if let Err(packet) = answers.push(packet) {
            pool.free(packet);
        }
    }
}

/// The UDP header of a frame, everything before it being right.
#[inline]
fn parse(frame: &[u8]) -> Result<udp::Header, DropReason> {
    let link = ethernet::Header::parse(frame)?;
    let packet = &frame[link.header_len()..];
    let ip = ipv4::Header::parse(packet, packet.len())?;
    let datagram = &packet[usize::from(ip.header_len)..usize::from(ip.total_len)];
    let header = udp::Header::parse(datagram, datagram.len())?;
    header.verify(&ip.addresses(), [&datagram[..usize::from(header.length)]])?;
    Ok(header)
}

/// Swaps the two hardware addresses; false when the frame is too short to have them.
#[inline]
fn swap(frame: &mut [u8]) -> bool {
    let Some((destination, rest)) = frame.split_first_chunk_mut::<6>() else { return false };
    let Some((source, _)) = rest.split_first_chunk_mut::<6>() else { return false };
    core::mem::swap(destination, source);
    true
}

/// The device's system calls, as a gauge wants them.
#[derive(Default)]
struct Calls(u64);

impl Calls {
    fn note(&mut self, device: &dyn Device, cue: &Cue<'_>) {
        let calls = device.counts().syscalls;
        cue.gauge.calls(calls - self.0);
        self.0 = calls;
    }
}

/// How many frames were refused, by reason.
pub(crate) type Refused = [u64; DropReason::ALL.len()];

/// Enters what was refused.
pub(crate) fn add_refused(outcome: &mut Outcome, refused: &Refused) {
    let counted = DropReason::ALL.iter().zip(refused).map(|(reason, count)| (*reason, *count));
    add_drops(outcome, counted);
}

fn add_drops(outcome: &mut Outcome, drops: impl IntoIterator<Item = (DropReason, u64)>) {
    for (reason, count) in drops.into_iter().filter(|(_, count)| *count > 0) {
        *outcome.drops.entry(reason.name().into()).or_default() += count;
    }
}

fn outcome(device: &dyn Device) -> Outcome {
    let mut outcome = Outcome::default();
    add_drops(&mut outcome, device.counts().drops());
    outcome
}

/// Bursts between two looks at the clock and the cue: some 4,000 packets, half a millisecond.
const BURSTS_A_LOOK: usize = 64;
