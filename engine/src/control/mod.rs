//! What changes rarely: addresses, routes, neighbours, configuration.
//!
//! Nothing here is on the packet path. A packet's way is decided by a `Snapshot`, which the
//! control plane builds and the worker swaps in whole between two bursts.

/// What the world asks of a worker, between two turns.
pub mod command;
/// The kernel's links, addresses, routes and neighbours, kept up to date over netlink.
pub mod slow_path;
/// What the packet path reads: interfaces, addresses, routes, neighbours.
pub mod snapshot;

pub use command::{Answer, Command};
pub use slow_path::{SlowPath, SlowPathConfig};
pub use snapshot::{Snapshot, SnapshotBuilder, SnapshotError};
