//! Corewire.

/// The engine, with the application in the worker's turn.
pub(crate) mod engine;
/// The driver alone: no stack.
pub(crate) mod raw;
