//! The lock-free stack on which frames come back from any thread.
//!
//! ```text
//!  head ─▶ key 7 ─▶ key 3 ─▶ key 12 ─▶ 0        one head a context
//!          links[7] links[3] links[12]          one link a frame, in the region
//! ```
//!
//! Any thread pushes one frame by compare-and-swap; the worker takes the whole chain by one swap.
//! Nothing pops a single frame, so the ABA problem can't arise: when the head has gone away and
//! come back to the same key, that key is on the stack again and the link to it is right.

use super::sync::AtomicU32;
use super::sync::Ordering::{Acquire, Relaxed, Release};
use super::sync::{Site, order};
use crate::mem::FRAME_INDEX_BITS;

/// Nothing on the stack. No key: regions are numbered from 1.
const EMPTY: u32 = 0;
/// The worker is gone and takes nothing any more. No key either.
const CLOSED: u32 = 1;

/// Pushes the frame `key`; false when the stack is closed or there is no such frame.
pub(super) fn push(head: &AtomicU32, links: &[AtomicU32], key: u32) -> bool {
    let Some(link) = links.get(index(key)) else {
        return false;
    };
    let mut top = head.load(Relaxed);
    loop {
        if top == CLOSED {
            return false;
        }
        link.store(top, Relaxed);
        // Release: the link, and what was done with the frame's bytes, come before. Pairs with
        // the Acquire in take_all(), also through the pushes of others that follow on this one:
        // a compare-and-swap goes on the release sequence.
        let released = order(Site::PushReturn, Release);
        match head.compare_exchange_weak(top, key, released, Relaxed) {
            Ok(_) => return true,
            Err(other) => top = other,
        }
    }
}

/// Whether nothing is on the stack.
pub(super) fn is_empty(head: &AtomicU32) -> bool {
    matches!(head.load(Relaxed), EMPTY | CLOSED)
}

/// Takes everything that is on the stack.
pub(super) fn take_all(head: &AtomicU32, links: &[AtomicU32]) -> Chain {
    // A look first: a swap would take the cache line from the pushers in every turn.
    if is_empty(head) {
        return Chain::default();
    }
    // Acquire: pairs with the Release in push().
    Chain { next: head.swap(EMPTY, order(Site::TakeAll, Acquire)), left: links.len() }
}

/// Closes the stack for ever and takes everything that is on it.
pub(super) fn close(head: &AtomicU32, links: &[AtomicU32]) -> Chain {
    // Acquire: pairs with the Release in push().
    let next = head.swap(CLOSED, order(Site::TakeAll, Acquire));
    Chain { next, left: links.len() }
}

/// What was on the stack. A hostile chain may lead anywhere, or in a circle: the walk takes no
/// more steps than there are frames, and whoever takes a key checks it.
#[derive(Debug, Default)]
pub(super) struct Chain {
    next: u32,
    left: usize,
}

impl Chain {
    /// Whether no key is left.
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self.next, EMPTY | CLOSED) || self.left == 0
    }

    /// The next key. The link is read before the key is given out: once the frame is free it may
    /// come back on the stack and be linked elsewhere.
    pub(super) fn next(&mut self, links: &[AtomicU32]) -> Option<u32> {
        if matches!(self.next, EMPTY | CLOSED) {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        let key = self.next;
        self.next = links.get(index(key)).map_or(EMPTY, |link| link.load(Relaxed));
        Some(key)
    }
}

const fn index(key: u32) -> usize {
    (key & ((1 << FRAME_INDEX_BITS) - 1)) as usize
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn links<const N: usize>() -> [AtomicU32; N] {
        [const { AtomicU32::new(0) }; N]
    }

    fn drain(mut chain: Chain, links: &[AtomicU32]) -> Vec<u32> {
        std::iter::from_fn(|| chain.next(links)).collect()
    }

    const REGION: u32 = 5 << FRAME_INDEX_BITS;

    #[test]
    fn everything_comes_back_once() {
        let (head, links) = (AtomicU32::new(0), links::<4>());
        for _ in 0..3 {
            assert!((0..4).all(|frame| push(&head, &links, REGION | frame)));
            let taken = drain(take_all(&head, &links), &links);
            assert_eq!(taken, [3, 2, 1, 0].map(|frame| REGION | frame));
            assert_eq!(drain(take_all(&head, &links), &links), []);
        }
    }

    #[test]
    fn a_closed_stack_takes_nothing() {
        let (head, links) = (AtomicU32::new(0), links::<2>());
        assert!(push(&head, &links, REGION));
        assert_eq!(drain(close(&head, &links), &links), [REGION]);
        assert!(!push(&head, &links, REGION | 1));
        assert_eq!(drain(take_all(&head, &links), &links), []);
        assert_eq!(drain(close(&head, &links), &links), []);
    }

    #[test]
    fn a_frame_that_does_not_exist_is_not_pushed() {
        let (head, links) = (AtomicU32::new(0), links::<2>());
        assert!(!push(&head, &links, REGION | 2));
        assert_eq!(head.load(Relaxed), EMPTY);
    }

    #[test]
    fn a_hostile_chain_ends() {
        let (head, links) = (AtomicU32::new(REGION), links::<3>());
        // In a circle.
        links[0].store(REGION | 1, Relaxed);
        links[1].store(REGION, Relaxed);
        assert_eq!(drain(take_all(&head, &links), &links).len(), 3);
        // To a frame that does not exist: named once, and there it ends.
        head.store(REGION, Relaxed);
        links[0].store(u32::MAX, Relaxed);
        assert_eq!(drain(take_all(&head, &links), &links), [REGION, u32::MAX]);
    }
}
