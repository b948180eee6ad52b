use std::sync::atomic::Ordering;
use std::thread;

use super::*;

fn patience(clock: &Clock, spin_us: u64, wait_us: Option<u64>) -> Patience<'_> {
    let deadline = wait_us.map(|wait| clock.now() + Duration::from_micros(wait));
    Patience { clock, spin: Duration::from_micros(spin_us), deadline }
}

#[test]
fn an_awake_waiter_costs_no_system_call() {
    let (mut waiter, ringer) = doorbell().expect("a descriptor");
    let clock = Clock::monotonic();
    assert!(!ringer.ring());
    assert!(waiter.wait(patience(&clock, 0, None), || true).expect("no sleep"));
    assert!(!ringer.ring(), "it has not slept");
    assert!(!waiter.arm(|| true), "ready: do not sleep");
    assert!(!ringer.ring(), "it is awake again");
}

#[test]
fn a_sleeper_costs_one_system_call_whoever_rings() {
    let (mut waiter, ringer) = doorbell().expect("a descriptor");
    assert!(waiter.arm(|| false));
    let others: Vec<_> = (0..3).map(|_| ringer.clone()).collect();
    assert_eq!(others.iter().filter(|ringer| ringer.ring()).count(), 1);
    waiter.disarm();
    assert!(waiter.arm(|| false));
    assert!(ringer.ring(), "it sleeps anew");
}

#[test]
fn the_descriptor_is_readable_from_ring_to_disarm() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let readable = |waiter: &Waiter| {
        let fd = waiter.fd();
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&Timespec::default())).expect("poll") == 1
    };
    let (mut waiter, ringer) = doorbell().expect("a descriptor");
    assert!(waiter.arm(|| false));
    assert!(!readable(&waiter));
    ringer.ring();
    assert!(readable(&waiter));
    waiter.disarm();
    assert!(!readable(&waiter));
}

#[test]
fn the_deadline_ends_spinning_and_sleep() {
    let (mut waiter, ringer) = doorbell().expect("a descriptor");
    let clock = Clock::monotonic();
    for (spin, wait) in [(0, 300), (100, 300), (1_000_000, 300), (0, 0)] {
        let patience = patience(&clock, spin, Some(wait));
        assert!(!waiter.wait(patience, || false).expect("poll"));
        assert!(clock.now() >= patience.deadline.expect("one"), "not before");
        assert!(!ringer.ring(), "it is awake after it gave up");
    }
}

#[test]
fn no_wake_up_is_lost_between_two_threads() {
    let rounds = 20_000;
    let (mut here, there_ringer) = doorbell().expect("a descriptor");
    let (mut there, here_ringer) = doorbell().expect("a descriptor");
    let ball = Arc::new(AtomicU32::new(0));
    let other = ball.clone();
    let thread = thread::spawn(move || {
        let clock = Clock::monotonic();
        for round in 0..rounds {
            let seen = || other.load(Ordering::Acquire) == 2 * round + 1;
            assert!(there.wait(patience(&clock, u64::from(round % 3), None), seen).expect("poll"));
            other.store(2 * round + 2, Ordering::Release);
            there_ringer.ring();
        }
    });
    let clock = Clock::monotonic();
    for round in 0..rounds {
        ball.store(2 * round + 1, Ordering::Release);
        here_ringer.ring();
        let seen = || ball.load(Ordering::Acquire) == 2 * round + 2;
        assert!(here.wait(patience(&clock, u64::from(round % 2), None), seen).expect("poll"));
    }
    thread.join().expect("no panic");
}
