//! What is measured: Corewire and its peers.

/// Corewire.
pub(crate) mod corewire;
/// DPDK's testpmd.
pub(crate) mod dpdk;
/// Kernel sockets, three ways.
pub(crate) mod kernel;
/// Ways to carry items to another core.
pub(crate) mod lanes;
/// smoltcp, in memory.
pub(crate) mod smoltcp;
