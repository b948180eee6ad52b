//! What is measured.

use crate::cli::{Bench, Peer};
use crate::system::kernel::Waiting;

/// rx-drop and l2-reflect: a flood, or a rate, from live frames.
pub(crate) mod flooded;
/// hand-off: rings, lists, and the socket API.
pub(crate) mod hand_off;
/// What needs a wire, over a cable.
pub(crate) mod in_memory;
/// tx-only.
pub(crate) mod tx_only;
/// udp-echo, over veth and in memory.
pub(crate) mod udp_echo;

/// The ways of waiting of the kernel's systems that are compared with.
pub(crate) fn kernel_ways(bench: &Bench) -> impl Iterator<Item = Waiting> {
    let asked = |waiting: &Waiting| {
        bench.compares(match waiting {
            Waiting::Blocking => Peer::KernelBlocking,
            Waiting::BusyPoll => Peer::KernelBusyPoll,
            Waiting::Spin => Peer::KernelSpin,
        })
    };
    Waiting::ALL.into_iter().filter(asked).collect::<Vec<_>>().into_iter()
}
