//! Where a benchmark takes place.

/// The rtnetlink requests that make it.
mod netlink;
/// A host's only queue.
pub(crate) mod queue;
/// Two hosts joined by a veth pair.
pub(crate) mod veth;
