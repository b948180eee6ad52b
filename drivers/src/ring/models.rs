//! Every interleaving of the ring's ends and of the return stack's users, within loom's bounds.
//!
//! Slots and payloads are loom's cells: an access that no Release and Acquire order fails the
//! model, not only one that reads the wrong value.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;

use super::memory::Words;
use super::return_stack;
use super::sync::Ordering::Relaxed;
use super::sync::{AtomicU32, Site, with_mutant};
use super::{Consumer, Entry, Producer};
use crate::mem::FRAME_INDEX_BITS;

fn entry(number: u32) -> Entry {
    Entry { frame: number, socket: !number, ..Entry::default() }
}

/// A ring of `capacity` whose indices wrap after one entry.
fn ring(capacity: u32) -> (Producer, Consumer) {
    let words = Words::starting_at(capacity, u32::MAX);
    (Producer::new(words.clone()), Consumer::new(words))
}

/// More entries than the ring holds, in bursts, over the wrap: all arrive, in order, once.
fn entries_arrive_in_order() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring(2);
        let thread = thread::spawn(move || {
            let entries = [entry(1), entry(2), entry(3)];
            let mut left = &entries[..];
            while !left.is_empty() {
                left = &left[producer.push_burst(left)..];
                thread::yield_now();
            }
            assert!(!producer.misbehaved());
        });
        let (mut taken, mut burst) = (Vec::new(), [Entry::default(); 2]);
        while taken.len() < 3 {
            let count = consumer.pop_burst(&mut burst);
            taken.extend_from_slice(&burst[..count]);
            thread::yield_now();
        }
        assert_eq!(taken, [entry(1), entry(2), entry(3)]);
        thread.join().expect("no panic");
        assert_eq!(consumer.pop(), None);
        assert!(!consumer.misbehaved());
    });
}

/// Whoever sees that the other end is gone sees everything that it left.
fn nothing_is_lost_when_an_end_goes() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring(2);
        let thread = thread::spawn(move || {
            producer.push(entry(1)).expect("room");
            producer.publish();
            producer.push(entry(2)).expect("room");
        });
        let mut taken = Vec::new();
        loop {
            let closed = consumer.is_closed();
            taken.extend(std::iter::from_fn(|| consumer.pop()));
            if closed {
                break;
            }
            thread::yield_now();
        }
        assert_eq!(taken, [entry(1), entry(2)], "lost at the end");
        thread.join().expect("no panic");
    });
}

/// What a consumer that goes did not take, the producer recalls: taken or recalled, never both.
fn recalled_or_taken() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring(2);
        producer.push_burst(&[entry(1), entry(2)]);
        let thread = thread::spawn(move || consumer.pop());
        let mut recalled = Vec::new();
        while !producer.is_closed() {
            thread::yield_now();
        }
        recalled.extend(std::iter::from_fn(|| producer.recall()));
        assert_eq!(thread.join().expect("no panic"), Some(entry(1)));
        assert_eq!(recalled, [entry(2)], "taken and recalled");
    });
}

const REGION: u32 = 7 << FRAME_INDEX_BITS;

/// A stack for frames, with their bytes: that they are read or written is all loom needs.
#[derive(Default)]
struct Stack {
    head: AtomicU32,
    links: [AtomicU32; 2],
    bytes: [UnsafeCell<()>; 2],
}

impl Stack {
    fn push(&self, frame: u32) -> bool {
        self.bytes[frame as usize].with_mut(|_written| ());
        return_stack::push(&self.head, &self.links, REGION | frame)
    }

    fn drain(&self, mut chain: return_stack::Chain, seen: &mut [u32; 2]) {
        while let Some(key) = chain.next(&self.links) {
            let frame = (key ^ REGION) as usize;
            self.bytes[frame].with(|_read| ());
            seen[frame] += 1;
        }
    }
}

/// Two threads push, one takes meanwhile and again at the end: each frame comes once, whole.
fn frames_come_back_once() {
    loom::model(|| {
        let stack = Arc::new(Stack::default());
        let threads = [0, 1].map(|frame| {
            let stack = stack.clone();
            thread::spawn(move || assert!(stack.push(frame)))
        });
        let mut seen = [0; 2];
        while seen.iter().sum::<u32>() < 2 {
            stack.drain(return_stack::take_all(&stack.head, &stack.links), &mut seen);
            thread::yield_now();
        }
        assert_eq!(seen, [1, 1]);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
}

/// The worker dies while a frame comes back: it has the frame, or the pusher knows.
fn a_closing_stack_takes_or_refuses() {
    loom::model(|| {
        let stack = Arc::new(Stack::default());
        let pusher = {
            let stack = stack.clone();
            thread::spawn(move || [stack.push(0), stack.push(1)])
        };
        let mut seen = [0; 2];
        stack.drain(return_stack::close(&stack.head, &stack.links), &mut seen);
        let taken = pusher.join().expect("no panic");
        assert_eq!(taken.map(u32::from), seen);
        assert!(!return_stack::push(&stack.head, &stack.links, REGION));
        assert_eq!(stack.head.load(Relaxed), 1, "closed for ever");
    });
}

#[test]
fn model_ring() {
    entries_arrive_in_order();
}

#[test]
fn model_ring_end() {
    nothing_is_lost_when_an_end_goes();
}

#[test]
fn model_ring_recall() {
    recalled_or_taken();
}

#[test]
fn model_return_stack() {
    frames_come_back_once();
}

#[test]
fn model_return_stack_closing() {
    a_closing_stack_takes_or_refuses();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn model_ring_fails_when_publishing_orders_nothing() {
    with_mutant(Site::Publish, entries_arrive_in_order);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn model_ring_fails_when_observing_orders_nothing() {
    with_mutant(Site::Observe, entries_arrive_in_order);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn model_ring_fails_when_releasing_orders_nothing() {
    with_mutant(Site::Release, entries_arrive_in_order);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn model_ring_fails_when_reuse_orders_nothing() {
    with_mutant(Site::Reuse, entries_arrive_in_order);
}

#[test]
#[should_panic(expected = "lost at the end")]
fn model_ring_fails_when_closing_orders_nothing() {
    with_mutant(Site::Close, nothing_is_lost_when_an_end_goes);
}

#[test]
#[should_panic(expected = "lost at the end")]
fn model_ring_fails_when_seeing_the_end_orders_nothing() {
    with_mutant(Site::SeeClosed, nothing_is_lost_when_an_end_goes);
}

#[test]
#[should_panic(expected = "taken and recalled")]
fn model_ring_fails_when_recalling_orders_nothing() {
    with_mutant(Site::SeeClosed, recalled_or_taken);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn model_return_stack_fails_when_pushing_orders_nothing() {
    with_mutant(Site::PushReturn, frames_come_back_once);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn model_return_stack_fails_when_taking_orders_nothing() {
    with_mutant(Site::TakeAll, frames_come_back_once);
}
