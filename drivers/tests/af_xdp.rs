//! AF_XDP queues over veth: frames in and out. Needs root; see `support`.

mod support;

use corewire_drivers::af_xdp::{AfXdp, Mode, Steering};
use corewire_drivers::device::{Burst, Device};
use corewire_drivers::env::Instant;
use corewire_drivers::mem::Pool;
use support::{Cable, Host, NIC, bytes, is_root, packet, pool, wait_for};

/// A queue that takes everything, and its pool.
fn exclusive(host: &Host, mode: Mode) -> (AfXdp, Pool) {
    let mut pool = pool(4096);
    let builder = AfXdp::builder(NIC).mode(mode).steering(Steering::exclusive());
    let device = host.enter(|| builder.open(&mut pool)).expect("an open queue");
    (device, pool)
}

/// A frame to `to` of `length` bytes that differ.
fn frame(to: &Host, length: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = to.mac.to_vec();
    frame.extend([2, 0, 0, 0, 0, 99, 0x88, 0xb5]);
    frame.extend((0..length).map(|n| (n * 7 + length) as u8));
    frame.truncate(length);
    frame
}

fn send(device: &mut AfXdp, pool: &mut Pool, frames: &[Vec<u8>]) {
    let mut burst = Burst::new();
    for bytes in frames {
        burst.push(packet(pool, bytes)).expect("room in the burst");
    }
    let taken = device.tx_burst(Instant::ZERO, pool, &mut burst);
    assert_eq!(taken, frames.len(), "the TX ring has room");
}

/// Receives until `count` packets came, in order.
fn receive(device: &mut AfXdp, pool: &mut Pool, count: usize) -> Vec<Vec<u8>> {
    let mut received = Vec::new();
    let mut burst = Burst::new();
    wait_for("packets", |now| {
        device.rx_burst(now, pool, &mut burst);
        for packet in burst.drain() {
            received.push(bytes(pool, &packet));
            pool.free(packet);
        }
        (received.len() >= count).then_some(())
    });
    received
}

/// Everything comes home, or memory was lost.
fn release(mut device: AfXdp, mut pool: Pool) {
    device.release(&mut pool);
    assert!(pool.is_conserved());
    assert_eq!(pool.free_count() as u32, pool.region().frame_count(), "{:?}", pool.census());
}

fn every_length(mode: Mode) {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let (mut sender, mut from) = exclusive(&cable.a, mode);
    let (mut receiver, mut to) = exclusive(&cable.b, mode);
    for lengths in (14..=1514).collect::<Vec<_>>().chunks(64) {
        let frames: Vec<_> = lengths.iter().map(|length| frame(&cable.b, *length)).collect();
        send(&mut sender, &mut from, &frames);
        sender.reclaim(Instant::ZERO, &mut from);
        sender.reclaim(Instant::ZERO, &mut from);
        assert_eq!(receive(&mut receiver, &mut to, frames.len()), frames);
    }
    let (sent, got) = (sender.counts(), receiver.counts());
    assert_eq!((sent.tx_packets, sent.tx_dropped, sent.bad_descriptors), (1501, 0, 0));
    assert_eq!((got.rx_packets, got.rx_no_frame, got.bad_descriptors), (1501, 0, 0));
    assert_eq!(sent.tx_bytes, got.rx_bytes);
    release(sender, from);
    release(receiver, to);
}

#[test]
fn run_to_completion_every_length_copy() {
    every_length(Mode::Copy);
}

#[test]
fn run_to_completion_every_length_generic() {
    every_length(Mode::Generic);
}
