//! Hand-off: frames move between a worker and an application without a lock or a copy.
//!
//! ```text
//!            lend ▶ ─────── ring of 16-byte entries ─────── ▶ receive
//!  Lender                                                              Borrower
//!  (worker)  take_back ◀ ── ring of 16-byte entries ── ◀ send     (application)
//!            take_dropped ◀ ─ stack of frames ─ ◀ give ── Returner (any thread)
//! ```
//!
//! `spsc` is the ring itself, numbers only: what the other end writes can be wrong and is never
//! undefined behaviour. `lending` ties two of them and a stack to the frames of one region.

/// What a ring carries: 16 bytes, four to a cache line.
pub mod entry;
/// Both ends of a hand-off, tied to the frames of one region.
pub mod lending;
/// The words of a ring in shared memory.
mod memory;
/// The lock-free stack on which frames come back from any thread.
mod return_stack;
/// The ring: one producer, one consumer, indices in shared memory.
pub mod spsc;
/// Atomics as the machine has them, or as the model checker wants them.
#[doc(hidden)]
pub mod sync;

pub use entry::Entry;
pub use lending::{Borrower, Handed, Lender, LendingConfig, Returner, Sent};
pub use spsc::{Consumer, Full, Producer};

#[cfg(all(test, loom))]
mod models;
