//! Preferred busy polling (Linux 5.11): the worker's system calls run the NIC's softirq.
//!
//! It needs a NAPI that the queue belongs to. veth in copy mode has none: there it only costs,
//! up to half of the rate, so it is off unless asked for.

use std::os::fd::BorrowedFd;

use super::{Error, sys};

/// How the worker's system calls poll the NIC.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct BusyPoll {
    /// How long one call may poll, in microseconds.
    pub microseconds: u32,
    /// Packets that one call may take. Too low, and the ring overruns; too high, and the caller's
    /// own work waits.
    pub budget: u16,
}

impl Default for BusyPoll {
    /// 20 µs and 64 packets, as DPDK's af_xdp driver has them.
    fn default() -> Self {
        Self { microseconds: 20, budget: 64 }
    }
}

/// What the two privileged options need.
const CAPABILITIES: &str = "cap_net_admin";

impl BusyPoll {
    /// Sets the socket's three options.
    pub(super) fn apply(self, socket: BorrowedFd<'_>) -> Result<(), Error> {
        let budget = u32::from(self.budget);
        for (option, value) in [
            (libc::SO_PREFER_BUSY_POLL, 1),
            (libc::SO_BUSY_POLL, self.microseconds),
            (libc::SO_BUSY_POLL_BUDGET, budget),
        ] {
            sys::set_u32(socket, libc::SOL_SOCKET, option, value)
                .map_err(|error| Error::system("set up busy polling", CAPABILITIES, error))?;
        }
        Ok(())
    }
}

/// Whether the socket's queue has a NAPI that can be polled: without one, busy polling is a
/// claim, and a cost.
pub(super) fn is_effective(socket: BorrowedFd<'_>) -> bool {
    sys::get_u32(socket, libc::SOL_SOCKET, libc::SO_INCOMING_NAPI_ID).is_ok_and(|id| id != 0)
}
