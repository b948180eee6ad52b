//! Every interleaving of threads that post, turn, park and leave.

use std::cell::Cell;
use std::sync::Arc;

use corewire_drivers::env::Clock;
use corewire_drivers::ring::sync::with_mutant;
use loom::thread;

use super::*;

fn turned(news: bool) -> Turned {
    Turned { at: Instant::ZERO, news }
}

/// No spinning and no deadline: loom has no time.
fn forever(clock: &Clock) -> Patience<'_> {
    Patience { clock, spin: Duration::ZERO, deadline: None }
}

/// Two threads post and run; whatever was posted, a turn has seen, when both are gone.
fn no_work_is_lost() {
    loom::model(|| {
        let turner = Arc::new(Turner::new([0; 2]));
        let posts = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let run = |which: usize| {
            let (turner, posts) = (turner.clone(), posts.clone());
            move || {
                // Relaxed: the lock word alone must order the post before the turn.
                posts[which].store(1, Relaxed);
                let seen = |seen: &mut [u32; 2]| {
                    *seen = [0, 1].map(|which| posts[which].load(Relaxed));
                    turned(false)
                };
                turner.run(seen).expect("no panic");
            }
        };
        let other = thread::spawn(run(0));
        run(1)();
        other.join().expect("no panic");
        assert_eq!(turner.word.load(Relaxed), 0);
        let seen = *lock(&turner.value);
        assert_eq!(seen, [1, 1], "a post was lost");
    });
}

/// A thread posts and runs, as one does that only sends; another waits for what a turn makes of
/// the post. It may park while the first one turns.
fn no_waiter_is_lost() {
    loom::model(|| {
        let turner = Arc::new(Turner::new(()));
        let (post, answer) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let turn = {
            let (post, answer) = (post.clone(), answer.clone());
            move |(): &mut ()| {
                let seen = post.load(Relaxed);
                answer.store(seen, Relaxed);
                turned(seen != 0)
            }
        };
        let poster = {
            let (turner, turn) = (turner.clone(), turn.clone());
            thread::spawn(move || {
                post.store(1, Relaxed);
                turner.run(turn).expect("no panic");
            })
        };
        let ready = || answer.load(Relaxed) == 1;
        let turn = |value: &mut ()| {
            // A holder that finds nothing lets the others run: loom's scheduler is not fair.
            thread::yield_now();
            turn(value)
        };
        assert_eq!(turner.wait(forever(&Clock::monotonic()), ready, turn), Ok(true));
        poster.join().expect("no panic");
        assert_eq!(turner.word.load(Relaxed), 0);
    });
}

/// A holder that stays, because its own answer is not there; its turn brings another thread's.
fn news_are_told() {
    loom::model(|| {
        let turner = Arc::new(Turner::new(false));
        let (answer, thanks) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let turn = {
            let answer = answer.clone();
            move |answered: &mut bool| {
                thread::yield_now();
                let news = !std::mem::replace(answered, true);
                answer.store(1, Relaxed);
                turned(news)
            }
        };
        let other = {
            let (turner, thanks, turn) = (turner.clone(), thanks.clone(), turn.clone());
            thread::spawn(move || {
                let ready = || answer.load(Relaxed) == 1;
                assert_eq!(turner.wait(forever(&Clock::monotonic()), ready, turn), Ok(true));
                thanks.store(1, Relaxed);
            })
        };
        let ready = || thanks.load(Relaxed) == 1;
        assert_eq!(turner.wait(forever(&Clock::monotonic()), ready, turn), Ok(true));
        other.join().expect("no panic");
        assert_eq!(turner.word.load(Relaxed), 0);
    });
}

/// One turn, and two who wait: for what only a turn of their own brings, or for what the first
/// turn brings. Whoever is woken to take the role and does not need it must hand it on.
fn the_role_is_passed_on() {
    loom::model(|| {
        let turner = Arc::new(Turner::new(()));
        let first = Arc::new(AtomicU32::new(0));
        let waiters = [true, false].map(|own| {
            let (turner, first) = (turner.clone(), first.clone());
            thread::spawn(move || {
                let turned_here = Cell::new(false);
                let ready = || turned_here.get() || (!own && first.load(Relaxed) == 1);
                let turn = |(): &mut ()| {
                    turned_here.set(true);
                    turned(false)
                };
                assert_eq!(turner.wait(forever(&Clock::monotonic()), ready, turn), Ok(true));
            })
        });
        // No news: so only one of them is woken, by the unlock.
        let turn = |(): &mut ()| {
            first.store(1, Relaxed);
            turned(false)
        };
        turner.run(turn).expect("no panic");
        waiters.into_iter().for_each(|waiter| waiter.join().expect("no panic"));
        assert_eq!(turner.word.load(Relaxed), 0);
    });
}

#[test]
fn model_caller_work() {
    no_work_is_lost();
}

#[test]
fn model_caller_waiters() {
    no_waiter_is_lost();
}

#[test]
fn model_caller_news() {
    news_are_told();
}

#[test]
fn model_caller_role() {
    the_role_is_passed_on();
}

#[test]
#[should_panic(expected = "a post was lost")]
fn model_caller_fails_when_posting_orders_nothing() {
    with_mutant(Site::PostWork, no_work_is_lost);
}

#[test]
#[should_panic(expected = "a post was lost")]
fn model_caller_fails_when_taking_work_orders_nothing() {
    with_mutant(Site::TakeWork, no_work_is_lost);
}

#[test]
#[should_panic]
fn model_caller_fails_when_unlocking_does_not_look() {
    with_mutant(Site::SeeWork, no_work_is_lost);
}

#[test]
#[should_panic]
fn model_caller_fails_when_the_parked_are_not_told() {
    with_mutant(Site::WakeWaiters, news_are_told);
}

#[test]
#[should_panic]
fn model_caller_fails_when_the_turn_shows_nothing() {
    with_mutant(Site::TakeWork, news_are_told);
}

#[test]
#[should_panic]
fn model_caller_fails_when_registering_orders_nothing() {
    with_mutant(Site::Park, news_are_told);
}

#[test]
#[should_panic(expected = "deadlock")]
fn model_caller_fails_when_the_role_is_not_handed_over() {
    with_mutant(Site::HandOver, the_role_is_passed_on);
}

#[test]
#[should_panic(expected = "deadlock")]
fn model_caller_fails_when_the_role_is_not_passed_on() {
    with_mutant(Site::PassOn, the_role_is_passed_on);
}
