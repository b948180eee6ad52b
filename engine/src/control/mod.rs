//! What changes rarely: addresses, routes, neighbours, configuration.
//!
//! Nothing here is on the packet path. A packet's way is decided by a [`Snapshot`], which the
//! control plane builds and the worker swaps in whole between two bursts.

/// What the packet path reads: interfaces, addresses, routes, neighbours.
pub mod snapshot;

pub use snapshot::{Snapshot, SnapshotBuilder, SnapshotError};
