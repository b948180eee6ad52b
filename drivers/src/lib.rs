//! Corewire's drivers: from a NIC queue to owned frames.
//!
//! Useful alone, as a safe AF_XDP crate. The modules stand in the order in which a packet
//! meets them.

/// Time, chance, limits, drop reasons and counters: the world enters only here.
pub mod env;
