//! Corewire's drivers: from a NIC queue to owned frames.
//!
//! Useful alone, as a safe AF_XDP crate. The modules stand in the order in which a packet
//! meets them.

/// Time, chance, limits, drop reasons and counters: the world enters only here.
pub mod env;
/// Frames: one mapped region, a state a frame, a core's pool, packets of 1 to 18 frames.
pub mod mem;
/// Hand-off rings: 16-byte entries between a worker and an application.
pub mod ring;
/// The seam: what a source and sink of frames must provide.
pub mod device;
/// AF_XDP: NIC queues, and which packets come to them.
pub mod af_xdp;
/// Two devices joined in memory.
pub mod cable;
/// Network interfaces: what the kernel knows about them.
pub mod nic;
