use super::*;
use crate::mem::{FrameState, LoanError, Pages, Pool, RegionConfig};

const CONTEXT: u16 = 3;

fn bench(frames: u32) -> (Pool, Lender, Borrower) {
    let config = RegionConfig { frames, pages: Pages::Plain, ..RegionConfig::default() };
    let region = Region::new(&config).expect("a small region");
    let pool = Pool::new(region.clone()).expect("its pool");
    let (lender, borrower) =
        pair(&region, LendingConfig { frames, signals: 4 }).expect("two small rings");
    (pool, lender, borrower)
}

fn lend(pool: &mut Pool, lender: &mut Lender, text: &[u8]) {
    let mut frame = pool.take().expect("a free frame");
    frame.set_range(256, text.len() as u16);
    pool.region().bytes_mut(&mut frame).copy_from_slice(text);
    let loan = pool.loan(frame, CONTEXT);
    lender.lend(loan, 1, 2).expect("a place for every frame");
    lender.publish();
}

fn unloan(pool: &mut Pool, returned: Returned) -> Result<(), LoanError> {
    let frame = pool.unloan(returned, CONTEXT)?;
    pool.give(frame);
    Ok(())
}

/// The next frame that the application sent; signals are passed over.
fn next_frame(lender: &mut Lender) -> Option<Returned> {
    std::iter::from_fn(|| lender.take_back()).find_map(|sent| sent.frame)
}

#[test]
fn a_frame_goes_there_and_back() {
    let (mut pool, mut lender, mut borrower) = bench(2);
    lend(&mut pool, &mut lender, b"there");
    let Handed { loan, socket, tag } = borrower.receive().expect("an entry");
    let mut loan = loan.expect("a frame");
    assert_eq!((borrower.region().loan_bytes(&loan), socket, tag), (&b"there"[..], 1, 2));
    loan.set_range(300, 4);
    borrower.region().loan_bytes_mut(&mut loan).copy_from_slice(b"back");
    borrower.send(loan, 5, 6).expect("a place");
    assert_eq!(lender.take_back(), None, "not published yet");
    assert!(borrower.publish());
    let Sent { frame, socket, tag } = lender.take_back().expect("an entry");
    assert_eq!((socket, tag), (5, 6));
    let frame = pool.unloan(frame.expect("a frame"), CONTEXT).expect("ours");
    assert_eq!(pool.region().bytes(&frame), b"back");
    pool.give(frame);
    assert!(pool.is_conserved() && pool.free_count() == 2);
}

#[test]
fn every_frame_of_the_region_finds_a_place_again_and_again() {
    let (mut pool, mut lender, mut borrower) = bench(40);
    for lap in 0..50 {
        for _ in 0..pool.free_count() {
            lend(&mut pool, &mut lender, b"x");
        }
        // An odd number, so that the laps do not fall on the ring's own.
        for _ in 0..(lap * 7) % 41 {
            let Some(Handed { loan: Some(loan), .. }) = borrower.receive() else { break };
            borrower.send(loan, 0, 0).expect("a place for every frame");
        }
        borrower.publish();
        while let Some(frame) = next_frame(&mut lender) {
            unloan(&mut pool, frame).expect("ours");
        }
    }
    assert!(pool.is_conserved() && !lender.misbehaved());
}

#[test]
fn signals_never_take_the_place_of_frames() {
    let (mut pool, mut lender, mut borrower) = bench(32);
    for lap in 0..20 {
        let sent = (0..9).take_while(|tag| lender.signal(lap, *tag).is_ok()).count();
        assert_eq!(sent, 4, "as many as asked for");
        for _ in 0..pool.free_count() {
            lend(&mut pool, &mut lender, b"x");
        }
        lender.publish();
        let handed: Vec<_> = std::iter::from_fn(|| borrower.receive()).collect();
        assert_eq!(handed.len(), 36);
        assert_eq!(handed[3], Handed { loan: None, socket: lap, tag: 3 });
        for loan in handed.into_iter().filter_map(|handed| handed.loan) {
            borrower.send(loan, 0, 0).expect("a place");
        }
        borrower.publish();
        while let Some(frame) = next_frame(&mut lender) {
            unloan(&mut pool, frame).expect("ours");
        }
    }
}

#[test]
fn frames_dropped_on_other_threads_come_back() {
    let (mut pool, mut lender, mut borrower) = bench(16);
    for _ in 0..16 {
        lend(&mut pool, &mut lender, b"dropped elsewhere");
    }
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let loans: Vec<_> = (0..4)
                .map(|_| borrower.receive().and_then(|handed| handed.loan).expect("a frame"))
                .collect();
            let returner = borrower.returner().clone();
            std::thread::spawn(move || loans.into_iter().for_each(|loan| returner.give(loan)))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    while let Some(frame) = lender.take_dropped() {
        unloan(&mut pool, frame).expect("ours");
    }
    assert!(pool.is_conserved() && pool.free_count() == 16);
}

#[test]
fn what_the_application_did_not_take_is_recalled() {
    let (mut pool, mut lender, mut borrower) = bench(4);
    for _ in 0..4 {
        lend(&mut pool, &mut lender, b"x");
    }
    let kept = borrower.receive().and_then(|handed| handed.loan).expect("a frame");
    let sent = borrower.receive().and_then(|handed| handed.loan).expect("a frame");
    borrower.send(sent, 0, 0).expect("a place");
    let returner = borrower.returner().clone();
    drop(borrower);
    assert!(lender.is_closed());
    while let Some(frame) = lender.recall().or_else(|| next_frame(&mut lender)) {
        unloan(&mut pool, frame).expect("ours");
    }
    assert_eq!(pool.free_count(), 3);
    returner.give(kept);
    let frame = lender.take_dropped().expect("the last one");
    unloan(&mut pool, frame).expect("ours");
    assert!(pool.is_conserved() && pool.free_count() == 4);
}

#[test]
fn a_frame_outlives_its_worker() {
    let (mut pool, mut lender, mut borrower) = bench(2);
    lend(&mut pool, &mut lender, b"read");
    lend(&mut pool, &mut lender, b"not yet");
    let read = borrower.receive().and_then(|handed| handed.loan).expect("a frame");
    let region = Arc::downgrade(pool.region());
    drop((lender, pool));
    assert!(borrower.is_closed());
    assert_eq!(borrower.region().loan_bytes(&read), b"read");
    let late = borrower.receive().and_then(|handed| handed.loan).expect("was published");
    assert_eq!(borrower.region().loan_bytes(&late), b"not yet");
    let returner = borrower.returner().clone();
    drop(borrower);
    returner.give(read);
    returner.give(late);
    assert!(region.upgrade().is_some());
    drop(returner);
    assert!(region.upgrade().is_none(), "the last holder frees the region");
}

#[test]
fn hostile_entries_are_refused_and_change_nothing() {
    let (mut pool, mut lender, mut borrower) = bench(4);
    lend(&mut pool, &mut lender, b"x");
    lend(&mut pool, &mut lender, b"y");
    let [loan, other] =
        [0, 1].map(|_| borrower.receive().and_then(|handed| handed.loan).expect("a frame"));
    let (key, other_key) = (loan.key(), other.key());
    borrower.send(loan, 0, 0).expect("a place");
    let scribble = |frame, offset, length| Entry { frame, offset, length, socket: 0, tag: 0 };
    let hostile = [
        scribble(key, 256, 1),                           // replayed
        scribble(other_key ^ 2, 0, 0),                   // not on loan
        scribble(other_key | ((1 << 20) - 1), 0, 0),     // no such frame
        scribble(other_key.wrapping_add(1 << 20), 0, 0), // another region
        scribble(other_key, 2048, 1),                    // outside of the frame
        scribble(other_key, u16::MAX, u16::MAX),
    ];
    for entry in hostile {
        borrower.outward.ring.push(entry).expect("room");
    }
    borrower.publish();
    let results: Vec<_> = std::iter::from_fn(|| next_frame(&mut lender))
        .map(|frame| unloan(&mut pool, frame))
        .collect();
    assert_eq!(results.len(), 7);
    assert!(results[0].is_ok(), "the honest one");
    assert!(results[1..].iter().all(Result::is_err), "{results:?}");
    let index = other.index();
    assert_eq!(pool.state(index), Some(FrameState::Loaned), "what it holds, it still holds");
    assert!(pool.is_conserved());
    drop(other);
}

#[test]
fn a_hostile_index_is_told() {
    let (_pool, mut lender, borrower) = bench(4);
    let words = &borrower.outward.ring.words;
    words.producer().index.store(1000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(lender.take_back(), None);
    assert!(lender.misbehaved());
    assert_eq!(lender.outward.ring.words.capacity(), 64);
}
