//! Where the engine meets threads: who turns a worker, who sleeps, who wakes whom.
//!
//! ```text
//!  Engine ── owns ──▶ threads ── turn ──▶ Driver { Worker, clock, bells, books }
//!    │                                      ▲ commands, once a turn
//!    └─ shares ─▶ Handle { mailbox, state } ┘◀── contexts of applications
//! ```

/// Whose thread turns a worker: one lock word, and nobody's posted work is lost.
pub mod caller;
/// What an engine is to be: a builder, checked before anything is opened.
pub mod config;
/// How one side wakes the other, without a system call while that one is awake.
pub mod doorbell;
/// A worker and what joins it to the world.
mod driver;
/// Started workers.
mod engine;
/// What everybody but its own thread knows of a worker.
mod handle;
/// What a worker does while there is nothing to do.
mod idle;
/// The engine that std's kind of sockets use.
mod installed;
/// Commands on their way to a worker.
mod mailbox;
/// What is to be started.
mod setup;
/// From a configuration to a started engine.
mod start;
/// What the workers counted.
mod stats;
/// The thread that keeps the kernel's view of the network up to date.
mod slow_thread;
/// Threads that turn workers.
mod threads;

pub(crate) use driver::Driver;
pub use driver::WantNeighbor;
pub(crate) use engine::Shared;
pub use engine::{Engine, Report};
pub(crate) use handle::{WorkerRef, network_down};
pub use setup::{Builder, WorkerSetup};
pub use start::StartError;
pub use stats::Stats;
