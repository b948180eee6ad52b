//! Time and chance enter the engine only here; so do the words for what went wrong.

/// Moments, and the clocks that make them.
pub mod clock;
/// Why a frame died.
pub mod drop_reason;
/// Every bound of the engine, in one place.
pub mod limits;
/// The random number generator, seeded once.
pub mod rng;
/// What happened how often.
pub mod stats;
/// The processor's time-stamp counter.
mod tsc;

pub use clock::{Clock, Instant};
pub use drop_reason::DropReason;
pub use rng::Rng;
pub use stats::{Counter, Counters};
