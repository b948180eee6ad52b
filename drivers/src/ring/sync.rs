//! Atomics as the machine has them, or as the model checker wants them.
//!
//! With `--cfg loom` the same code runs under loom, which tries every interleaving that the memory
//! model allows. A model proves something only if it can fail: so every ordering that matters has
//! a `Site`, and a test can weaken one site at a time and must see its model fail.

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A place whose ordering the models depend on.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Site {
    /// The producer's index is stored: pairs with [`Observe`](Self::Observe).
    Publish,
    /// The consumer reads the producer's index.
    Observe,
    /// The consumer's index is stored: pairs with [`Reuse`](Self::Reuse).
    Release,
    /// The producer reads the consumer's index.
    Reuse,
    /// An end says that it is gone: pairs with [`SeeClosed`](Self::SeeClosed).
    Close,
    /// An end looks whether the other is gone.
    SeeClosed,
    /// A frame is pushed on the return stack: pairs with [`TakeAll`](Self::TakeAll).
    PushReturn,
    /// The return stack is taken whole.
    TakeAll,
    /// The waiter's fence between "I sleep" and its last look.
    SleepFence,
    /// The ringer's fence between publishing and "does anybody sleep?".
    RingFence,
    /// The waiter's last look before it sleeps.
    Recheck,
    /// Work is posted: pairs with [`TakeWork`](Self::TakeWork).
    PostWork,
    /// The holder takes the posted work on itself, and shows what the last turn brought.
    TakeWork,
    /// The unlocker looks for work that was posted meanwhile.
    SeeWork,
    /// A waiter registers, before its last look: pairs with [`TakeWork`](Self::TakeWork).
    Park,
    /// The unlocker hands the role to a waiter.
    HandOver,
    /// The holder wakes those for whom a turn brought something.
    WakeWaiters,
    /// A waiter that does not need the role any more passes it on.
    PassOn,
}

/// `normal`, unless this site is the one that a test weakens.
#[cfg(not(loom))]
#[inline]
#[must_use]
pub const fn order(_site: Site, normal: Ordering) -> Ordering {
    normal
}

/// Whether a test has taken this site out. Never, outside of a model.
#[cfg(not(loom))]
#[inline]
#[must_use]
pub const fn removed(_site: Site) -> bool {
    false
}

/// A full fence, unless this site is the one that a test takes out.
#[inline]
pub fn fence_seq_cst(site: Site) {
    if !removed(site) {
        #[cfg(not(loom))]
        core::sync::atomic::fence(Ordering::SeqCst);
        #[cfg(loom)]
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

#[cfg(loom)]
pub use mutants::{order, removed, with_mutant};

#[cfg(loom)]
mod mutants {
    use super::{Ordering, Site};
    use std::cell::Cell;

    std::thread_local! {
        // Loom runs all threads of a model on the thread that started it.
        static MUTANT: Cell<Option<Site>> = const { Cell::new(None) };
    }

    /// Relaxed where `site` is the mutant, else `normal`.
    #[must_use]
    pub fn order(site: Site, normal: Ordering) -> Ordering {
        if removed(site) { Ordering::Relaxed } else { normal }
    }

    /// Whether `site` is the mutant.
    #[must_use]
    pub fn removed(site: Site) -> bool {
        MUTANT.get() == Some(site)
    }

    /// Runs `model` with `site` weakened.
    pub fn with_mutant(site: Site, model: impl FnOnce()) {
        MUTANT.set(Some(site));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(model));
        MUTANT.set(None);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    }
}
