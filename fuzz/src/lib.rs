//! What must hold of any bytes, for libFuzzer: the same functions that the engine's tests run over
//! the corpora.

#[path = "../../engine/tests/targets/mod.rs"]
mod targets;

pub use targets::*;
