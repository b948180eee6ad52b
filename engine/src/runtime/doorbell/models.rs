//! Every interleaving of a waiter that goes to sleep and ringers that publish.

use corewire_drivers::ring::sync::Ordering::{Acquire, Release};
use corewire_drivers::ring::sync::with_mutant;
use loom::thread;

use super::*;

/// Two entries published by two threads; a waiter that must see both, however late it looks.
fn no_wake_up_is_lost() {
    loom::model(|| {
        let (mut waiter, ringer) = doorbell().expect("no system call");
        let published = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let threads = [0, 1].map(|which| {
            let (ringer, published) = (ringer.clone(), published.clone());
            thread::spawn(move || {
                published[which].store(1, Release);
                ringer.ring();
            })
        });
        let clock = Clock::monotonic();
        let patience = Patience { clock: &clock, spin: Duration::ZERO, deadline: None };
        for which in published.iter() {
            // A lost wake-up is a deadlock here, which loom reports.
            assert!(waiter.wait(patience, || which.load(Acquire) == 1).expect("no system call"));
        }
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
}

#[test]
fn model_doorbell() {
    no_wake_up_is_lost();
}

#[test]
#[should_panic(expected = "deadlock")]
fn model_doorbell_fails_without_the_waiters_fence() {
    with_mutant(Site::SleepFence, no_wake_up_is_lost);
}

#[test]
#[should_panic(expected = "deadlock")]
fn model_doorbell_fails_without_the_ringers_fence() {
    with_mutant(Site::RingFence, no_wake_up_is_lost);
}

#[test]
#[should_panic(expected = "deadlock")]
fn model_doorbell_fails_without_the_last_look() {
    with_mutant(Site::Recheck, no_wake_up_is_lost);
}
