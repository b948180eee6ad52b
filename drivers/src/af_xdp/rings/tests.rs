//! Ring pairs: both ends on one anonymous mapping, one playing the kernel.

use super::*;

const SIZE: u32 = 8;

/// We produce, the "kernel" consumes.
fn outward(start: u32) -> (Producer, Consumer) {
    let ring = Ring::anonymous(SIZE, Entry::Address, start);
    (Producer::new(ring.clone()), Consumer::new(ring))
}

#[test]
fn entries_arrive_in_order_across_the_wrap_of_the_index() {
    for start in [0, 5, u32::MAX - 20] {
        let (mut ours, mut kernels) = outward(start);
        let (mut sent, mut seen) = (0u64, 0u64);
        for turn in 0..100u32 {
            let count = ours.room(SIZE).min(turn % SIZE + 1);
            for entry in 0..count {
                let (entries, first) = ours.slots();
                entries.set_address(first.wrapping_add(entry), sent);
                sent += 1;
            }
            ours.publish(count);
            let available = kernels.available();
            // The kernel takes its time: sometimes it leaves one for later.
            let taken = available - u32::from(available > 1 && turn % 3 == 0);
            for entry in 0..taken {
                let (entries, first) = kernels.slots();
                assert_eq!(entries.address(first.wrapping_add(entry)), seen);
                seen += 1;
            }
            kernels.release(taken);
        }
        assert!(seen > 300 && sent - seen <= u64::from(SIZE), "{seen} of {sent} from {start}");
    }
}

#[test]
fn a_full_ring_has_no_room_until_the_kernel_moves() {
    let (mut ours, mut kernels) = outward(u32::MAX - 3);
    assert_eq!(ours.room(1), SIZE);
    ours.publish(SIZE);
    assert_eq!((ours.room(1), ours.pending()), (0, SIZE));
    assert_eq!(kernels.available(), SIZE);
    kernels.release(3);
    assert_eq!((ours.room(1), ours.pending()), (3, SIZE - 3));
}

#[test]
fn descriptors_keep_all_their_fields() {
    let ring = Ring::anonymous(SIZE, Entry::Descriptor, u32::MAX);
    for more in [false, true] {
        let descriptor = Descriptor { address: 0x12_3456_7890, length: 1514, more };
        ring.entries().set_descriptor(u32::MAX, descriptor);
        assert_eq!(ring.entries().descriptor(u32::MAX), descriptor);
    }
    // As the kernel reads it: u64 address, u32 length, u32 options.
    let at = ring.entries + (SIZE - 1) as usize * 16;
    let words = ring.map.words32(at, 4);
    let words: Vec<_> = words.iter().map(|word| word.load(Relaxed)).collect();
    assert_eq!(words[2..], [1514, XDP_PKT_CONTD]);
}

#[test]
fn a_kernel_that_lies_about_its_index_gives_nothing() {
    let ring = Ring::anonymous(SIZE, Entry::Address, 100);
    let mut ours = Consumer::new(ring.clone());
    for lie in [99, 100 + SIZE + 1, 100u32.wrapping_sub(SIZE), 100 + (1 << 31)] {
        ring.word(ring.producer).store(lie, Release);
        assert_eq!(ours.available(), 0, "producer at {lie}");
    }
    ring.word(ring.producer).store(102, Release);
    assert_eq!(ours.available(), 2, "the truth again");

    let ring = Ring::anonymous(SIZE, Entry::Address, 100);
    let mut ours = Producer::new(ring.clone());
    for lie in [101, 100u32.wrapping_sub(SIZE + 1), 100 + (1 << 31)] {
        ring.word(ring.consumer).store(lie, Release);
        assert_eq!(ours.room(SIZE + 1), 0, "consumer at {lie}");
    }
    ring.word(ring.consumer).store(100, Release);
    assert_eq!(ours.room(SIZE + 1), SIZE);
}

#[test]
fn the_wakeup_flag_is_read_anew() {
    let (ours, _) = outward(0);
    assert!(!ours.needs_wakeup());
    ours.ring.word(ours.ring.flags).store(libc::XDP_RING_NEED_WAKEUP, Relaxed);
    assert!(ours.needs_wakeup());
}
