//! Where the engine meets threads: who turns a worker, who sleeps, who wakes whom.

/// Whose thread turns a worker: one lock word, and nobody's posted work is lost.
pub mod caller;
/// What an engine is to be: a builder, checked before anything is opened.
pub mod config;
/// How one side wakes the other, without a system call while that one is awake.
pub mod doorbell;
