//! One atomic byte a frame: where it is.
//!
//! ```text
//!             to_fill            received
//!   free ──────────────▶ fill ─────────────▶ received ──┐
//!    ▲ ▲                  │ (teardown)          │       │ loan        transmit
//!    │ └──────────────────┘                     ▼       ▼                │
//!    │         take      ┌──────────────────▶ held ──▶ loaned            │
//!    └───────────────────┤                    ▲  │◀────┘ unloan         │
//!      give              │                    │  └────▶ transmitting ◀───┘
//!      completed ◀───────┴────────────────────┘ completed, kept
//! ```
//!
//! The table is checked in release builds too. A duplicate RX address, a completion that is not
//! ours, a double free or a replayed buffer are a transition that the table refuses: counted, and
//! without effect. Only the worker that owns the region writes; so a load and a store do, and no
//! read-modify-write is needed. The bytes are atomic because a sweep or another process may read.

use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Where a frame is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum FrameState {
    /// In the pool.
    Free = 0,
    /// With a device, to be filled.
    Fill = 1,
    /// Received in this burst; the worker decides about it.
    Received = 2,
    /// With the engine: taken to be written, or in a private queue.
    Held = 3,
    /// With an application.
    Loaned = 4,
    /// With a device, to be sent.
    Transmitting = 5,
    /// With a device, to be sent; its data are still needed when that is done.
    TransmittingKept = 6,
}

impl FrameState {
    /// Every state, by its number.
    pub const ALL: [Self; 7] = [
        Self::Free,
        Self::Fill,
        Self::Received,
        Self::Held,
        Self::Loaned,
        Self::Transmitting,
        Self::TransmittingKept,
    ];

    /// The state that `byte` stands for; `None` for a byte that nobody writes.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        if (byte as usize) < Self::ALL.len() { Some(Self::ALL[byte as usize]) } else { None }
    }
}

/// Someone named a frame that was not where they said.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct StateViolation {
    /// The frame's index; it may lie outside the region.
    pub index: u32,
    /// Where it would have had to be.
    pub expected: FrameState,
    /// Where it was; `None` when there is no such frame.
    pub found: Option<FrameState>,
}

impl fmt::Display for StateViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            Some(found) => {
                write!(f, "frame {} is {found:?}, not {:?}", self.index, self.expected)
            }
            None => write!(f, "there is no frame {}", self.index),
        }
    }
}

impl std::error::Error for StateViolation {}

/// Moves frame `index` from `from` to `to`.
///
/// # Errors
/// When there is no such frame, or it is elsewhere; then nothing changes.
#[inline]
pub(super) fn advance(
    table: &[AtomicU8],
    index: u32,
    from: FrameState,
    to: FrameState,
) -> Result<(), StateViolation> {
    // Relaxed: the owning worker is the only writer. Frames reach another thread through a ring
    // whose release orders everything before it.
    match table.get(index as usize) {
        Some(byte) if byte.load(Relaxed) == from as u8 => {
            byte.store(to as u8, Relaxed);
            Ok(())
        }
        byte => Err(violation(index, from, byte.map(|byte| byte.load(Relaxed)))),
    }
}

#[cold]
fn violation(index: u32, expected: FrameState, found: Option<u8>) -> StateViolation {
    StateViolation { index, expected, found: found.and_then(FrameState::from_byte) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_transition_is_refused_and_changes_nothing() {
        for at in FrameState::ALL {
            for from in FrameState::ALL {
                let table = [AtomicU8::new(at as u8)];
                let result = advance(&table, 0, from, FrameState::Held);
                assert_eq!(result.is_ok(), at == from);
                let expected = if at == from { FrameState::Held } else { at };
                assert_eq!(table[0].load(Relaxed), expected as u8);
            }
        }
    }

    #[test]
    fn a_frame_that_does_not_exist_is_named() {
        let error = advance(&[], 9, FrameState::Fill, FrameState::Held).expect_err("no frame");
        assert_eq!(error.to_string(), "there is no frame 9");
    }
}
