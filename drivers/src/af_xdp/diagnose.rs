//! From the kernel's error numbers to a cause and a remedy.

use std::fs;
use std::io;
use std::path::Path;

use super::error::Error;
use super::socket::{Mode, Request};
use super::sys;
use crate::env::limits::HEADROOM;
use crate::mem::Region;
use crate::nic::{Interface, similar_names};

const ETHERNET_HEADER: u32 = 14;

/// The interface of this name, or an error that names those that are alike.
pub(super) fn find(name: &str) -> Result<Interface, Error> {
    Interface::find(name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let all = Interface::all().unwrap_or_default();
            let names: Vec<String> = all.into_iter().map(|interface| interface.name).collect();
            Error::NoInterface { name: name.into(), similar: similar_names(name, &names) }
        }
        _ => Error::System { action: "look up the interface", source: error },
    })
}

/// What can be said before anything is asked of the kernel.
pub(super) fn check(
    interface: &Interface,
    request: &Request,
    region: &Region,
) -> Result<(), Error> {
    let room = region.frame_size() as u32 - u32::from(HEADROOM) - ETHERNET_HEADER;
    if interface.mtu > room && !request.multi_buffer {
        return Err(Error::MtuTooLarge {
            interface: interface.name.clone(),
            mtu: interface.mtu,
            largest: room,
            multi_buffer_helps: true,
        });
    }
    Ok(())
}

/// Why the program could not be attached.
pub(super) fn attach(
    interface: &Interface,
    mode: Mode,
    capabilities: &'static str,
    error: io::Error,
) -> Error {
    let name = interface.name.clone();
    match error.raw_os_error() {
        // A program of the same kind is there (EBUSY), or one of the other (EEXIST).
        Some(libc::EBUSY | libc::EEXIST) => {
            let id = Interface::by_index(interface.index).ok().and_then(|now| now.xdp);
            let id = id.map_or(0, |program| program.id);
            let program = sys::program_name(id).unwrap_or_else(|_| "name unknown".into());
            Error::ForeignProgram { interface: name, id, name: program }
        }
        Some(libc::EOPNOTSUPP | libc::EINVAL) => Error::NoXdp {
            interface: name,
            driver: driver(interface),
            mode: if mode == Mode::Generic { "generic" } else { "native" },
        },
        _ => Error::system("attach the XDP program", capabilities, error),
    }
}

/// Why the socket could not be bound.
pub(super) fn bind(interface: &Interface, queue: u32, mode: Mode, error: io::Error) -> Error {
    let name = interface.name.clone();
    match error.raw_os_error() {
        Some(libc::EBUSY) => Error::QueueTaken { interface: name, queue, holders: holders() },
        Some(libc::EINVAL) if queue >= interface.rx_queues.max(interface.tx_queues) => {
            Error::NoQueue {
                interface: name,
                queue,
                rx_queues: interface.rx_queues,
                tx_queues: interface.tx_queues,
            }
        }
        Some(libc::EOPNOTSUPP) if mode == Mode::ZeroCopy => {
            Error::NoZeroCopy { interface: name, driver: driver(interface) }
        }
        _ => Error::system("bind to the queue", "cap_net_raw", error),
    }
}

/// What drives the interface, in words.
pub(super) fn driver(interface: &Interface) -> String {
    if interface.kind.is_empty() { "unknown driver".into() } else { interface.kind.clone() }
}

/// Bytes that this process may lock.
pub(super) fn memlock_limit() -> u64 {
    // "Max locked memory       8388608              8388608              bytes"
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max locked memory"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(u64::MAX)
}

/// Processes of this network namespace that have AF_XDP sockets.
///
/// The kernel does not say who has a queue (sock_diag for AF_XDP is often not built in). But the
/// rings of such a socket are mapped, and the fill ring's offset is no other socket's
/// (XDP_UMEM_PGOFF_FILL_RING, include/uapi/linux/if_xdp.h).
fn holders() -> Vec<(u32, String)> {
    let ours = fs::read_link("/proc/thread-self/ns/net").ok();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut holders: Vec<(u32, String)> = processes
        .flatten()
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let path = process.path();
            let maps = fs::read_to_string(path.join("maps")).ok()?;
            let has_ring =
                maps.lines().any(|line| line.contains("socket:[") && line.contains(" 100000000 "));
            (has_ring
                && (pid == std::process::id() || fs::read_link(path.join("ns/net")).ok() == ours))
                .then(|| (pid, command(&path)))
        })
        .collect();
    holders.sort_unstable();
    holders
}

fn command(process: &Path) -> String {
    fs::read_to_string(process.join("comm")).map_or_else(|_| "?".into(), |name| name.trim().into())
}
