//! The steering program, loaded; its maps; its verdicts.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::abi::{
    BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_XSKMAP, MapCreate,
    XDP_PASS, XDP_REDIRECT, object_name,
};
use super::diagnose::ATTACH_CAPABILITIES;
use super::error::Error;
use super::generate::{self, FRAGMENT_KEY, IMMEDIATES_MAX, TCP, UDP};
use super::steering::{PortSet, Selection, Steering};
use super::sys;

/// The name of programs and maps, as `bpftool` shows it.
const NAME: &str = "corewire";

/// Queues that the socket map has room for. Each is 8 bytes; no NIC has more.
const QUEUES_MAX: u32 = 1024;

/// Fragmented datagrams that are followed at one time; each is about 100 bytes of kernel memory.
/// Fewer, and a burst of fragmented datagrams pushes out those that still arrive; the least
/// recently used go first.
const FRAGMENTED_MAX: u32 = 4096;

/// The verifier writes a few lines for each instruction; this holds the end of it, and more.
const LOG_BYTES: usize = 1 << 20;

/// Maps that outlive a change of the rules.
#[derive(Debug)]
pub(super) struct SharedMaps {
    /// Receive queue → socket.
    sockets: OwnedFd,
    fragments: OwnedFd,
    /// Receive queue → packets for the engine that came in there without a socket.
    unserved: OwnedFd,
}

impl SharedMaps {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            sockets: map(BPF_MAP_TYPE_XSKMAP, 4, 4, QUEUES_MAX)?,
            fragments: map(BPF_MAP_TYPE_LRU_HASH, FRAGMENT_KEY, 4, FRAGMENTED_MAX)?,
            unserved: map(BPF_MAP_TYPE_ARRAY, 4, 8, QUEUES_MAX)?,
        })
    }

    /// Sends what the program takes on `queue` to `socket`.
    pub(super) fn insert(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Error> {
        sys::map_set(self.sockets.as_fd(), queue, socket.as_raw_fd().cast_unsigned())
            .map_err(|error| Error::system("put a socket in the map", ATTACH_CAPABILITIES, error))
    }

    /// Packets for the engine that came in on `queue` while it had no socket.
    pub(super) fn unserved(&self, queue: u32) -> io::Result<u64> {
        sys::map_get_u64(self.unserved.as_fd(), queue)
    }

    /// Leaves what comes in on `queue` to the kernel.
    pub(super) fn remove(&self, queue: u32) {
        // The kernel has removed the entry already when the socket is gone.
        let _ = sys::map_delete(self.sockets.as_fd(), queue);
    }
}

/// Where a packet goes.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// To the engine.
    Engine,
    /// To the kernel's own stack.
    Kernel,
}

/// A steering program in the kernel.
#[derive(Debug)]
pub(super) struct Program {
    fd: OwnedFd,
}

impl Program {
    /// Generates and loads the program for these rules. The lists live as long as the program.
    pub(super) fn load(steering: &Steering, shared: &SharedMaps) -> Result<Self, Error> {
        steering.check().map_err(|message| Error::Settings(message.into()))?;
        let lists = Lists::new(&steering.selection)?;
        let maps = generate::Maps {
            sockets: shared.sockets.as_fd(),
            fragments: shared.fragments.as_fd(),
            unserved: shared.unserved.as_fd(),
            ipv4: lists.ipv4.as_ref().map(AsFd::as_fd),
            ipv6: lists.ipv6.as_ref().map(AsFd::as_fd),
            ports: lists.ports.as_ref().map(AsFd::as_fd),
        };
        let insns = generate::generate(steering, &maps).map_err(Error::Verifier)?;
        // Without a log first: writing one costs more than verifying.
        let fd = sys::program_load(NAME, &insns, &mut []).or_else(|error| {
            if matches!(error.raw_os_error(), Some(libc::EPERM)) {
                return Err(Error::system("load an XDP program", ATTACH_CAPABILITIES, error));
            }
            let mut log = vec![0; LOG_BYTES];
            sys::program_load(NAME, &insns, &mut log)
                .map_err(|again| Error::Verifier(format!("{again}: {}", last_lines(&log))))
        })?;
        Ok(Self { fd })
    }

    /// Where the program sends `frame` when it comes in on queue 0.
    pub(super) fn verdict(&self, frame: &[u8]) -> io::Result<Verdict> {
        match sys::program_test(self.fd.as_fd(), frame)? {
            XDP_REDIRECT => Ok(Verdict::Engine),
            XDP_PASS => Ok(Verdict::Kernel),
            other => Err(io::Error::other(format!("the program's verdict is {other}"))),
        }
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Hash maps of the lists that are too long for immediates.
struct Lists {
    ipv4: Option<OwnedFd>,
    ipv6: Option<OwnedFd>,
    ports: Option<OwnedFd>,
}

impl Lists {
    fn new(selection: &Selection) -> Result<Self, Error> {
        let mut lists = Self { ipv4: None, ipv6: None, ports: None };
        let addresses = match selection {
            Selection::Exclusive => return Ok(lists),
            Selection::Address { addresses } => addresses,
            Selection::Ports { addresses, tcp, udp } => {
                lists.ports = port_list(tcp, udp)?;
                addresses
            }
        };
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(address) => ipv4.push(address.octets().to_vec()),
                IpAddr::V6(address) => ipv6.push(address.octets().to_vec()),
            }
        }
        lists.ipv4 = list(4, &ipv4)?;
        lists.ipv6 = list(16, &ipv6)?;
        Ok(lists)
    }
}

/// Both protocols' single ports, those of the sets that are too long.
fn port_list(tcp: &PortSet, udp: &PortSet) -> Result<Option<OwnedFd>, Error> {
    let mut keys = Vec::new();
    for (protocol, set) in [(TCP, tcp), (UDP, udp)] {
        if set.ports.len() > IMMEDIATES_MAX {
            let key = |port: &u16| generate::port_key(protocol, *port).to_ne_bytes().to_vec();
            keys.extend(set.ports.iter().map(key));
        }
    }
    list(4, &keys)
}

/// A map of these keys, when they are too many for immediates.
fn list(key_size: u32, keys: &[Vec<u8>]) -> Result<Option<OwnedFd>, Error> {
    if keys.len() <= IMMEDIATES_MAX {
        return Ok(None);
    }
    let map = map(BPF_MAP_TYPE_HASH, key_size, 4, keys.len() as u32)?;
    for key in keys {
        sys::map_insert(map.as_fd(), key, 1)
            .map_err(|error| Error::system("fill a steering list", ATTACH_CAPABILITIES, error))?;
    }
    Ok(Some(map))
}

fn map(map_type: u32, key_size: u32, value_size: u32, max_entries: u32) -> Result<OwnedFd, Error> {
    let mut attr = MapCreate {
        map_type,
        key_size,
        value_size,
        max_entries,
        map_name: object_name(NAME),
        ..Default::default()
    };
    sys::map_create(&mut attr)
        .map_err(|error| Error::system("make a BPF map", ATTACH_CAPABILITIES, error))
}

/// The last lines that the verifier wrote: the reason stands there.
fn last_lines(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log.split(|byte| *byte == 0).next().unwrap_or_default());
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("processed")).collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_the_verifiers_reason() {
        let log = b"0: r0 = 1\n1: r1 = r9\nR9 !read_ok\nprocessed 2 insns\n\0\0rest";
        assert_eq!(last_lines(log), "0: r0 = 1 | 1: r1 = r9 | R9 !read_ok");
    }
}
