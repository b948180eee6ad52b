//! What the kernel knows about a network interface. Read only: nothing here changes a setting.
//!
//! Everything is asked of the calling thread's network namespace, over netlink and ioctl. The
//! files under /sys/class/net show the namespace in which /sys was mounted, which may be another.

/// What drivers say about their NICs.
pub mod ethtool;
/// Interfaces: name, address, MTU, queues, what they are part of.
mod interface;
/// What XDP a driver has.
pub mod netdev;
/// Requests to the kernel over rtnetlink.
pub mod netlink;
/// What goes over an interface that must not be cut off.
pub mod routes;

pub use interface::{AttachedProgram, Interface, similar_names};
