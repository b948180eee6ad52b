//! Where a benchmark takes place.

/// A device that brings the same datagram again and again.
pub(crate) mod mill;
/// The rtnetlink requests that make it.
mod netlink;
/// A host's only queue.
pub(crate) mod queue;
/// Two hosts joined by a veth pair.
pub(crate) mod veth;
