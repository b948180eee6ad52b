//! Which connection a packet belongs to.

/// Hashes that a stranger can't predict.
mod keyed;
/// Local ports: who has which, and which are free.
pub mod ports;
/// Both ends of a connection in one key.
pub mod tuple;

pub use keyed::HashKey;
pub use ports::PortTable;
pub use tuple::Tuple;
