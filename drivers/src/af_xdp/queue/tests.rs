//! A queue against a kernel that the test plays: honest, and then not.

use super::super::rings::{Entry, Ring};
use super::*;
use crate::mem::{Pages, RegionConfig};

const FRAMES: u32 = 256;
const SIZE: u32 = 64;
/// What the kernel leaves before a packet (XDP_PACKET_HEADROOM).
const HEADROOM: u64 = 256;

/// The other ends of the four rings.
struct Kernel {
    fill: Consumer,
    rx: Producer,
    tx: Consumer,
    completion: Producer,
}

struct World {
    kernel: Kernel,
    queue: Queue,
    pool: Pool,
    burst: Burst,
}

impl World {
    fn new(start: u32) -> Self {
        let ring = |entry| Ring::anonymous(SIZE, entry, start);
        let (fill, completion) = (ring(Entry::Address), ring(Entry::Address));
        let (rx, tx) = (ring(Entry::Descriptor), ring(Entry::Descriptor));
        let rings = Rings {
            fill: Producer::new(fill.clone()),
            rx: Consumer::new(rx.clone()),
            tx: Producer::new(tx.clone()),
            completion: Consumer::new(completion.clone()),
        };
        let kernel = Kernel {
            fill: Consumer::new(fill),
            rx: Producer::new(rx),
            tx: Consumer::new(tx),
            completion: Producer::new(completion),
        };
        let config =
            RegionConfig { frames: FRAMES, pages: Pages::Plain, ..RegionConfig::default() };
        let pool = Pool::new(Region::new(&config).expect("memory")).expect("the first pool");
        let limits = Limits { fill_target: SIZE, tx_bytes_max: 9018, tx_frames_max: 18 };
        let queue = Queue::new(rings, pool.region(), limits);
        Self { kernel, queue, pool, burst: Burst::new() }
    }

    /// An address that the kernel takes from the fill ring.
    fn filled(&mut self) -> u64 {
        assert!(self.kernel.fill.available() > 0, "the fill ring has frames");
        let (entries, first) = self.kernel.fill.slots();
        let address = entries.address(first);
        self.kernel.fill.release(1);
        address
    }

    fn produce(&mut self, address: u64, length: u32, more: bool) {
        let (entries, first) = self.kernel.rx.slots();
        entries.set_descriptor(first, Descriptor { address, length, more });
        self.kernel.rx.publish(1);
    }

    fn complete(&mut self, address: u64) {
        let (entries, first) = self.kernel.completion.slots();
        entries.set_address(first, address);
        self.kernel.completion.publish(1);
    }

    /// A packet that the kernel would take from the TX ring, buffer by buffer.
    fn transmitted(&mut self) -> Vec<Descriptor> {
        let available = self.kernel.tx.available();
        let (entries, first) = self.kernel.tx.slots();
        let taken = (0..available).map(|entry| entries.descriptor(first.wrapping_add(entry)));
        let taken = taken.collect();
        self.kernel.tx.release(available);
        taken
    }

    fn receive(&mut self) -> usize {
        self.queue.receive(&mut self.pool, &mut self.burst)
    }

    fn send(&mut self, lengths: &[u16]) -> usize {
        let mut packet: Option<Packet> = None;
        for length in lengths {
            let mut frame = self.pool.take().expect("a frame");
            frame.set_range(frame.head(), *length);
            match &mut packet {
                None => packet = Some(frame.into()),
                Some(packet) => self.pool.append(packet, frame).expect("room in the packet"),
            }
        }
        self.burst.push(packet.expect("a packet")).expect("room in the burst");
        self.queue.transmit(&mut self.pool, &mut self.burst)
    }

    /// Every frame is in the pool or with the kernel, and the two books agree.
    fn is_conserved(&self) -> bool {
        let census = self.pool.census();
        let out = census.count(FrameState::Fill) + census.count(FrameState::Transmitting);
        self.pool.is_conserved() && out == self.queue.books.lent.count()
    }
}

#[test]
fn frames_go_round_across_the_wrap_of_every_index() {
    let mut world = World::new(u32::MAX - 100);
    for _ in 0..100 {
        world.queue.refill(&mut world.pool);
        for length in [60, 1500] {
            let address = world.filled();
            world.produce(address + HEADROOM, length, false);
        }
        assert_eq!(world.receive(), 2);
        // Sent back without a copy: the same address.
        let sent: Vec<_> = world.burst.as_slice().iter().map(|p| p.first().index()).collect();
        assert_eq!(world.queue.transmit(&mut world.pool, &mut world.burst), 2);
        let descriptors = world.transmitted();
        for (descriptor, index) in descriptors.iter().zip(sent) {
            assert_eq!(descriptor.address, u64::from(index) * 2048 + HEADROOM);
            world.complete(descriptor.address);
        }
        assert_eq!(world.queue.complete(&mut world.pool), 2);
        assert!(world.is_conserved());
    }
    let counts = world.queue.books.counts;
    assert_eq!((counts.rx_packets, counts.tx_packets, counts.bad_descriptors), (200, 200, 0));
    assert_eq!((counts.rx_bytes, counts.tx_bytes), (156_000, 156_000));
}

/// Every lie that an RX descriptor can tell is refused, counted, and costs no frame.
#[test]
fn a_kernel_that_lies_about_received_frames() {
    let mut world = World::new(0);
    world.queue.refill(&mut world.pool);
    let honest = world.filled();
    let held = world.pool.take().expect("a frame");
    let not_lent = u64::from(held.index()) * 2048;
    let lies =
        [(not_lent + HEADROOM, 60), (u64::from(FRAMES) * 2048, 60), (u64::MAX, 60), (1 << 40, 60)];
    for (address, length) in lies {
        world.produce(address, length, false);
    }
    world.produce(honest + HEADROOM, 60, false);
    // The same frame twice: the second is refused.
    world.produce(honest + HEADROOM, 60, false);
    assert_eq!(world.receive(), 1);
    assert_eq!(world.queue.books.counts.bad_descriptors, lies.len() as u64 + 1);
    world.burst.free(&mut world.pool);
    // Bytes past the end of the frame: the frame itself is ours again.
    let free = world.pool.free_count();
    for length in [2048 - 256 + 1, u32::MAX] {
        let address = world.filled();
        world.produce(address + HEADROOM, length, false);
    }
    assert_eq!(world.receive(), 0);
    assert_eq!(world.pool.free_count(), free + 2);
    assert_eq!(world.queue.books.counts.bad_descriptors, lies.len() as u64 + 3);
    world.pool.give(held);
    assert!(world.is_conserved());
}

/// A completion that is not ours, a duplicate, one of a frame to be filled: refused, counted.
#[test]
fn a_kernel_that_lies_about_sent_frames() {
    let mut world = World::new(0);
    world.queue.refill(&mut world.pool);
    let filling = world.filled();
    assert_eq!(world.send(&[100]), 1);
    let sent = world.transmitted()[0].address;
    for address in [filling, u64::MAX, u64::from(FRAMES) * 2048, sent, sent] {
        world.complete(address);
    }
    assert_eq!(world.queue.complete(&mut world.pool), 1);
    assert_eq!(world.queue.books.counts.bad_descriptors, 4);
    // The frame to be filled is still the kernel's, and can still be received.
    world.produce(filling + HEADROOM, 60, false);
    assert_eq!(world.receive(), 1);
    world.burst.free(&mut world.pool);
    assert!(world.is_conserved());

    // And a received frame that is in truth to be sent.
    assert_eq!(world.send(&[100]), 1);
    let sending = world.transmitted()[0].address;
    world.produce(sending, 60, false);
    assert_eq!(world.receive(), 0);
    world.complete(sending);
    assert_eq!(world.queue.complete(&mut world.pool), 1);
    assert!(world.is_conserved());
}

#[test]
fn packets_of_several_buffers_arrive_whole_or_not_at_all() {
    let mut world = World::new(0);
    world.queue.refill(&mut world.pool);
    let buffers = |world: &mut World, count: u32| {
        for buffer in 0..count {
            let address = world.filled();
            world.produce(address + HEADROOM, 1792, buffer + 1 < count);
        }
    };
    buffers(&mut world, 18);
    assert_eq!(world.receive(), 1);
    assert_eq!(world.burst.as_slice()[0].len(), 18 * 1792);
    world.burst.free(&mut world.pool);

    // One too many: the whole packet goes, and the next one is received.
    buffers(&mut world, 19);
    buffers(&mut world, 1);
    assert_eq!(world.receive(), 1);
    assert_eq!(world.burst.as_slice()[0].len(), 1792);
    world.burst.free(&mut world.pool);
    world.queue.refill(&mut world.pool);

    // A bad buffer in the middle: the same.
    for (bad, more) in [(false, true), (true, true), (false, false)] {
        let address = world.filled();
        let address = if bad { u64::MAX } else { address + HEADROOM };
        world.produce(address, 1792, more);
    }
    buffers(&mut world, 2);
    assert_eq!(world.receive(), 1);
    assert_eq!(world.burst.as_slice()[0].frame_count(), 2);
    world.burst.free(&mut world.pool);

    // In two readings.
    let (first, second) = (world.filled(), world.filled());
    world.produce(first + HEADROOM, 1792, true);
    assert_eq!(world.receive(), 0);
    world.produce(second + HEADROOM, 8, false);
    assert_eq!(world.receive(), 1);
    assert_eq!(world.burst.as_slice()[0].len(), 1800);
    world.burst.free(&mut world.pool);
    // The frame that was never received is still out.
    assert!(world.is_conserved());
}

#[test]
fn packets_of_several_buffers_are_sent_whole_or_wait() {
    let mut world = World::new(u32::MAX - 5);
    assert_eq!(world.send(&[1000, 1000, 1]), 1);
    let sent = world.transmitted();
    let shape: Vec<_> = sent.iter().map(|buffer| (buffer.length, buffer.more)).collect();
    assert_eq!(shape, [(1000, true), (1000, true), (1, false)]);
    sent.iter().for_each(|buffer| world.complete(buffer.address));
    assert_eq!(world.queue.complete(&mut world.pool), 3);

    // 64 slots hold 3 × 18 and not a fourth; it waits for room.
    for _ in 0..3 {
        assert_eq!(world.send(&[100; 18]), 1);
    }
    assert_eq!(world.send(&[100; 18]), 0);
    assert_eq!(world.burst.len(), 1);
    assert_eq!(world.transmitted().len(), 54);
    assert_eq!(world.queue.transmit(&mut world.pool, &mut world.burst), 1);
    assert!(world.is_conserved());
}

/// What the kernel would refuse never reaches the TX ring.
#[test]
fn packets_that_the_kernel_refuses_are_dropped_and_counted() {
    let mut world = World::new(0);
    let bad: [&[u16]; 6] = [&[0], &[13], &[1793], &[100, 0], &[0, 100], &[1792; 6]];
    for lengths in bad {
        assert_eq!(world.send(lengths), 1, "{lengths:?}");
    }
    assert_eq!(world.queue.books.counts.tx_dropped, bad.len() as u64);
    assert!(world.transmitted().is_empty());
    assert_eq!(world.pool.free_count() as u32, FRAMES);
}

/// A frame whose data are still needed comes back kept, not free.
#[test]
fn kept_frames_come_back_kept() {
    let mut world = World::new(0);
    let mut frame = world.pool.take().expect("a frame");
    frame.set_range(256, 60);
    let index = frame.index();
    let mut packet = Packet::from(frame);
    packet.keep();
    world.burst.push(packet).expect("room");
    world.queue.transmit(&mut world.pool, &mut world.burst);
    let address = world.transmitted()[0].address;
    world.complete(address);
    world.queue.complete(&mut world.pool);
    let kept = world.pool.next_kept().expect("the frame");
    assert_eq!(kept.index(), index);
    world.pool.give(kept);
}

#[test]
fn the_last_frames_are_never_given_to_the_kernel() {
    let mut world = World::new(0);
    let held: Vec<_> = std::iter::from_fn(|| {
        (world.pool.free_count() > RESERVE + 10).then(|| world.pool.take()).flatten()
    })
    .collect();
    world.queue.prime(&mut world.pool);
    assert_eq!(world.pool.free_count(), RESERVE);
    assert_eq!(world.kernel.fill.available(), 10);
    held.into_iter().for_each(|frame| world.pool.give(frame));
}

/// A closed queue gives back what it had, whatever it was for.
#[test]
fn a_closed_queue_gives_back_every_frame() {
    let mut world = World::new(0);
    world.queue.prime(&mut world.pool);
    world.send(&[100; 18]);
    let address = world.filled();
    world.produce(address + HEADROOM, 60, true);
    assert_eq!(world.receive(), 0);
    let World { queue, mut pool, .. } = world;
    let (lent, _) = queue.close(Some(&mut pool));
    lent.give_back(&mut pool);
    assert_eq!(pool.free_count() as u32, FRAMES);
    assert!(pool.is_conserved());
}
