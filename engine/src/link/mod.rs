//! The link layer: from frames of a device to packets of the network layer, and back.

/// ARP: who has which address.
pub mod arp;
/// Frames in: for us? of which kind?
pub mod input;
/// Neighbours' addresses: learned, probed, forgotten.
pub mod neighbor;
/// Frames out: the header, and the devices' bursts.
pub mod output;

pub use neighbor::{NeighborRef, Neighbors};
pub use output::{Egress, Link};
