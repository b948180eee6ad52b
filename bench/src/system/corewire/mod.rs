//! Corewire.

/// The engine, with the application in the worker's turn.
pub(crate) mod engine;
/// The socket API on another thread.
pub(crate) mod hand_off;
/// The driver alone: no stack.
pub(crate) mod raw;
