//! Load, from generators that must not be the bottleneck.

/// The frames that generators write.
pub(crate) mod frame;
/// A client on kernel sockets.
pub(crate) mod kernel_client;
/// Which requests are under way, and how long each took.
pub(crate) mod ledger;
/// A flood from inside of the kernel.
pub(crate) mod live_frames;
/// A client on a device.
pub(crate) mod xdp_client;
