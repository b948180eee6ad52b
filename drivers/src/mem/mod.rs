//! Frames: who owns which, and their bytes.
//!
//! ```text
//!  Region  one mapping: header | state bytes | return links | frame 0 | frame 1 | …
//!    ↑
//!  Pool    the owning core's LIFO of free frames, and the table that chains frames to packets
//!    ↑
//!  Packet  1 to 18 Frames; Frame = {index, head, len}, moved, never copied
//! ```
//!
//! A frame is in exactly one state, and a `Frame` is the only key to its bytes: whoever holds
//! it owns them. Tokens are made and taken in this module alone.

/// Which process this is, without a system call.
mod fork;
/// Where frames are lent: the two ends that turn a token into a ring entry and back.
mod loan;
/// Shared mappings: memfd or file, huge or plain pages.
mod map;
/// Packets: one to 18 frames, and the token for one frame.
mod packet;
/// A core's frames.
mod pool;
/// One mapped region cut into frames.
mod region;
/// One atomic byte a frame: where it is.
mod state;

pub use loan::{Loan, LoanError, Returned};
pub use map::{Mapping, Pages};
pub use packet::{Frame, Packet};
pub use pool::{Census, Pool};
pub use region::{FRAME_INDEX_BITS, FrameSize, Region, RegionConfig};
pub use state::{FrameState, StateViolation};
