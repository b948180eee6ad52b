use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

use corewire_drivers::env::Clock;

use super::*;

const QUIET: Turned = Turned { at: Instant::ZERO, news: false };
const NEWS: Turned = Turned { at: Instant::ZERO, news: true };

fn patience(clock: &Clock, spin_us: u64, wait_us: Option<u64>) -> Patience<'_> {
    let deadline = wait_us.map(|wait| clock.now() + Duration::from_micros(wait));
    Patience { clock, spin: Duration::from_micros(spin_us), deadline }
}

#[test]
fn a_lone_caller_turns_once() {
    let turner = Turner::new(0);
    for before in 0..3 {
        let ran = turner.run(|value| {
            assert_eq!(*value, before);
            *value += 1;
            QUIET
        });
        assert_eq!(ran, Ok(Ran::Here));
        assert_eq!(turner.word.load(Relaxed), 0);
    }
    assert_eq!(turner.into_inner(), 3);
}

#[test]
fn a_post_during_a_turn_makes_another_turn() {
    let turner = Turner::new(0);
    let posted = AtomicUsize::new(0);
    let ran = turner.run(|value| {
        *value += 1;
        if *value < 4 {
            // As another thread would.
            assert_eq!(
                turner.run(|_: &mut u32| unreachable!("not the holder")),
                Ok(Ran::Elsewhere)
            );
            assert_eq!(turner.try_run(|_| unreachable!("not the holder")), Ok(false));
            posted.fetch_add(1, Relaxed);
        }
        QUIET
    });
    assert_eq!((ran, posted.into_inner()), (Ok(Ran::Here), 3));
    assert_eq!(turner.into_inner(), 4);
}

#[test]
fn a_holder_serves_others_only_so_long() {
    let turner = Turner::new(0);
    let post = |value: &mut u32| {
        *value += 1;
        assert_eq!(turner.run(|_| unreachable!("not the holder")), Ok(Ran::Elsewhere));
        QUIET
    };
    assert_eq!(turner.run(post), Ok(Ran::Here));
    assert_eq!(turner.word.load(Relaxed), WORK, "left for the next one");
    let helped = turner.try_run(|value| {
        assert_eq!(*value, MAX_RERUNS + 1);
        QUIET
    });
    assert_eq!((helped, turner.word.load(Relaxed)), (Ok(true), 0));
}

#[test]
fn the_helper_waits_until_nobody_turned_for_a_while() {
    let turner = Turner::new(());
    let at = Instant::from_nanos(1_000_000);
    assert!(turner.is_overdue(at), "never turned");
    let during = |(): &mut ()| {
        assert!(!turner.is_overdue(at + HELPER_AFTER * 2), "somebody is at it");
        Turned { at, news: false }
    };
    assert_eq!(turner.run(during), Ok(Ran::Here));
    assert_eq!(turner.last_turn(), at);
    assert!(!turner.is_overdue(at + HELPER_AFTER - Duration::from_nanos(1)));
    assert!(turner.is_overdue(at + HELPER_AFTER));
}

#[test]
fn waiting_turns_until_ready_or_late() {
    let clock = Clock::monotonic();
    let turner = Turner::new(0);
    let turns = AtomicU32::new(0);
    let turn = |value: &mut u32| {
        *value += 1;
        turns.store(*value, Relaxed);
        QUIET
    };
    let ready = || turns.load(Relaxed) == 5;
    assert_eq!(turner.wait(patience(&clock, 0, None), ready, turn), Ok(true));
    let limit = patience(&clock, 10, Some(200));
    assert_eq!(turner.wait(limit, || false, turn), Ok(false));
    assert!(clock.now() >= limit.deadline.expect("one"));
    assert_eq!(turner.wait(limit, || true, |_| unreachable!("ready at once")), Ok(true));
    assert_eq!(turner.word.load(Relaxed), 0);
}

#[test]
fn a_panic_fails_everybody_and_the_value_can_be_swept() {
    let turner = Arc::new(Turner::new(7));
    let entered = Arc::new(AtomicU32::new(0));
    let parked = {
        let (turner, entered) = (turner.clone(), entered.clone());
        thread::spawn(move || {
            while entered.load(Acquire) == 0 {
                thread::yield_now();
            }
            let clock = Clock::monotonic();
            turner.wait(patience(&clock, 0, None), || false, |_| QUIET)
        })
    };
    let caught = std::panic::catch_unwind(|| {
        turner.run(|_| {
            entered.store(1, Release);
            while turner.word.load(Relaxed) & WAITERS == 0 {
                thread::yield_now();
            }
            panic!("in a turn")
        })
    });
    assert!(caught.is_err() && turner.is_dead());
    assert_eq!(parked.join().expect("no panic"), Err(Panicked));
    assert_eq!(turner.run(|_| QUIET), Err(Panicked));
    assert_eq!(turner.try_run(|_| QUIET), Err(Panicked));
    assert!(!turner.is_overdue(Instant::FAR_FUTURE));
    assert_eq!(Arc::into_inner(turner).expect("the last").into_inner(), 7);
}

/// Threads that post numbered items and wait until a turn has answered them.
#[test]
fn four_threads_get_all_their_answers() {
    const THREADS: usize = 4;
    const ITEMS: u32 = 5_000;
    let posted: [AtomicU32; THREADS] = Default::default();
    let answered: [AtomicU32; THREADS] = Default::default();
    let turner = Turner::new(());
    let turn = |(): &mut ()| {
        let mut turned = QUIET;
        for (posted, answered) in posted.iter().zip(&answered) {
            let post = posted.load(Relaxed);
            if answered.swap(post, Relaxed) != post {
                turned = NEWS;
            }
        }
        turned
    };
    thread::scope(|scope| {
        for (posted, answered) in posted.iter().zip(&answered) {
            let (turner, turn) = (&turner, &turn);
            scope.spawn(move || {
                let clock = Clock::monotonic();
                for item in 1..=ITEMS {
                    posted.store(item, Relaxed);
                    let ready = || answered.load(Relaxed) == item;
                    let spin = u64::from(item % 3);
                    let answer = turner.wait(patience(&clock, spin, None), ready, turn);
                    assert_eq!(answer, Ok(true));
                }
            });
        }
    });
    assert_eq!(turner.word.load(Relaxed), 0);
}
