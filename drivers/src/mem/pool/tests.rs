use super::*;
use crate::mem::{Pages, RegionConfig};
use proptest::prelude::*;

fn pool(frames: u32) -> Pool {
    let config = RegionConfig { frames, pages: Pages::Plain, ..RegionConfig::default() };
    Pool::new(Region::new(&config).expect("a small region")).expect("its first pool")
}

/// A packet of the given pieces, each in a frame of its own.
fn packet(pool: &mut Pool, pieces: &[&[u8]]) -> Packet {
    let mut whole: Option<Packet> = None;
    for piece in pieces {
        let mut frame = pool.take().expect("a frame");
        frame.set_range(HEADROOM, piece.len() as u16);
        pool.region.bytes_mut(&mut frame).copy_from_slice(piece);
        match &mut whole {
            None => whole = Some(frame.into()),
            Some(packet) => pool.append(packet, frame).expect("not too many frames"),
        }
    }
    whole.expect("at least one piece")
}

fn contents(pool: &Pool, packet: &Packet) -> Vec<u8> {
    pool.segments(packet).flatten().copied().collect()
}

#[test]
fn a_region_has_one_pool() {
    let pool = pool(1);
    let error = Pool::new(pool.region().clone()).expect_err("a second pool");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn the_frame_freed_last_is_taken_first() {
    let mut pool = pool(4);
    let (a, b) = (pool.take().expect("a"), pool.take().expect("b"));
    let last = a.index();
    pool.give(b);
    pool.give(a);
    let next = pool.take().expect("again");
    assert_eq!(next.index(), last);
    pool.give(next);
}

#[test]
fn a_device_can_name_a_frame_once() {
    let mut pool = pool(2);
    let index = pool.take_to_fill().expect("a frame");
    let frame = pool.received(index, 256, 60).expect("filled");
    let again = pool.received(index, 256, 60).expect_err("a duplicate");
    assert_eq!(again.found, Some(FrameState::Received));
    assert_eq!(pool.received(99, 0, 0).expect_err("no such frame").found, None);
    let index = pool.transmit(frame, false);
    pool.completed(index).expect("sent");
    pool.completed(index).expect_err("a duplicate completion");
    assert!(pool.is_conserved());
    assert_eq!(pool.free_count(), 2);
}

#[test]
fn a_kept_frame_comes_back_and_is_not_free() {
    let mut pool = pool(1);
    let frame = pool.take().expect("a frame");
    let index = pool.transmit(frame, true);
    assert_eq!(pool.next_kept(), None);
    pool.completed(index).expect("sent");
    assert_eq!(pool.free_count(), 0);
    let frame = pool.next_kept().expect("kept");
    assert_eq!(pool.state(index), Some(FrameState::Held));
    pool.give(frame);
    assert!(pool.is_conserved());
}

#[test]
fn every_lie_about_a_loan_is_refused() {
    let mut pool = pool(3);
    let frame = pool.take().expect("a frame");
    let held = pool.take().expect("another");
    let loan = pool.loan(frame, 7);
    let (key, other) = (loan.key(), held.key());
    let refused = |pool: &mut Pool, key, offset, length, context| {
        pool.unloan(Returned::new(key, offset, length), context).expect_err("refused")
    };
    assert!(matches!(refused(&mut pool, key, 0, 1, 8), LoanError::OtherContext { .. }));
    assert!(matches!(refused(&mut pool, key, 2000, 49, 7), LoanError::OutOfFrame { .. }));
    assert!(matches!(refused(&mut pool, key, u16::MAX, u16::MAX, 7), LoanError::OutOfFrame { .. }));
    assert!(matches!(refused(&mut pool, other, 0, 1, 7), LoanError::NotLoaned(_)));
    assert!(matches!(refused(&mut pool, key + 900, 0, 1, 7), LoanError::NotLoaned(_)));
    assert!(matches!(refused(&mut pool, !key, 0, 1, 7), LoanError::OtherRegion { .. }));
    let frame = pool.unloan(Returned::new(key, 256, 10), 7).expect("the truth");
    assert!(matches!(refused(&mut pool, key, 256, 10, 7), LoanError::NotLoaned(_)));
    pool.give(frame);
    pool.give(held);
    assert!(pool.is_conserved());
}

#[test]
fn a_packet_has_at_most_18_frames() {
    let mut pool = pool(19);
    let pieces = [&b"x"[..]; MAX_PACKET_FRAMES];
    let mut whole = packet(&mut pool, &pieces);
    let extra = pool.take().expect("the last frame");
    let extra = pool.append(&mut whole, extra).expect_err("one too many");
    pool.give(extra);
    assert_eq!((whole.len(), whole.frame_count()), (18, 18));
    pool.free(whole);
    assert_eq!(pool.free_count(), 19);
}

#[test]
fn linear_copy_refuses_what_does_not_fit() {
    let mut pool = pool(3);
    let whole = packet(&mut pool, &[&[1; 1000], &[2; 1000]]);
    assert_eq!(pool.linear_copy(&whole), Err(DropReason::NoFrame));
    pool.free(whole);
    assert!(pool.is_conserved());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        ..ProptestConfig::default()
    })]

    #[test]
    fn bytes_survive_every_way_of_cutting_them(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..64), 1..19),
        linear in 0..400usize,
        cut in 0..1300usize,
    ) {
        let mut pool = pool(20);
        let views: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let mut whole: Vec<u8> = pieces.concat();
        let mut packet = packet(&mut pool, &views);
        prop_assert_eq!(contents(&pool, &packet), whole.clone());
        let copy = pool.linear_copy(&packet).expect("fits in one frame");
        prop_assert_eq!(pool.bytes(&copy), &whole[..]);
        pool.free(copy);

        let pulled = pool.pull_up(&mut packet, linear);
        prop_assert_eq!(pulled.is_ok(), linear <= whole.len());
        if pulled.is_ok() {
            prop_assert!(pool.bytes(&packet).len() >= linear);
        }
        prop_assert_eq!(contents(&pool, &packet), whole.clone());

        pool.truncate(&mut packet, cut);
        whole.truncate(cut);
        prop_assert_eq!(packet.len(), whole.len());
        prop_assert_eq!(contents(&pool, &packet), whole.clone());

        let mut rest = Some(packet);
        let mut collected = Vec::new();
        while let Some(packet) = rest {
            let (frame, others) = pool.detach(packet);
            collected.extend_from_slice(pool.region().bytes(&frame));
            pool.give(frame);
            rest = others;
        }
        prop_assert_eq!(collected, whole);
        prop_assert!(pool.is_conserved());
        prop_assert_eq!(pool.free_count(), 20);
    }
}
