//! From facts about an interface, and the kernel's error numbers, to a cause and a remedy.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use super::error::Error;
use super::socket::{Mode, Request};
use super::steering::{Selection, Steering};
use super::sys;
use crate::env::limits::HEADROOM;
use crate::nic::ethtool::Channels;
use crate::nic::netdev::XdpFeatures;
use crate::nic::{Interface, ethtool, netdev, routes, similar_names};

const ETHERNET_HEADER: u32 = 14;

/// The largest MTU of drivers that give a packet one page and know no packets of several buffers:
/// a page less XDP_PACKET_HEADROOM, struct skb_shared_info, Ethernet header and two tags.
const ONE_PAGE_MTU: u32 = 4096 - 256 - 320 - 14 - 8;

/// The largest MTU that zero-copy takes in frames of 2,048 bytes on kernels that leave room for
/// struct skb_shared_info ("xsk: respect tailroom for ZC setups", 2026): 1,408 less the header.
const ZERO_COPY_MTU: u32 = 1408 - ETHERNET_HEADER;

/// What is known about an interface before anything is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) interface: Interface,
    pub(super) driver: String,
    channels: Channels,
    features_on: Vec<String>,
    /// None where the kernel does not tell (before 6.3).
    features: XdpFeatures,
    /// The name of the bond or bridge that it is a member of, and of what it is built on.
    controller: String,
    lower: String,
}

impl Facts {
    /// The facts about the interface of this name, or an error that names those that are alike.
    pub(super) fn gather(name: &str) -> Result<Self, Error> {
        let interface = Interface::find(name).map_err(|error| not_found(name, error))?;
        let named = |index: Option<u32>| {
            let found = index.and_then(|index| Interface::by_index(index).ok());
            found.map_or_else(String::new, |interface| interface.name)
        };
        let all = Channels { rx: interface.rx_queues, tx: interface.tx_queues, combined_max: 0 };
        Ok(Self {
            driver: ethtool::driver(name).unwrap_or_else(|_| "unknown driver".into()),
            // Drivers without channels have the queues that they were made with.
            channels: ethtool::channels(name).unwrap_or(all),
            features_on: ethtool::features_on(name).unwrap_or_default(),
            features: netdev::xdp_features(interface.index).unwrap_or_default(),
            controller: named(interface.controller),
            lower: if interface.kind == "veth" { String::new() } else { named(interface.lower) },
            interface,
        })
    }

    /// Whether it is a device by itself that hands over packets as they were on the wire.
    pub(super) fn check_device(&self) -> Result<(), Error> {
        let refuse = |what: String, instead: String| {
            Err(Error::NotADevice { interface: self.interface.name.clone(), what, instead })
        };
        if self.interface.controller.is_some() {
            let kind = &self.interface.controller_kind;
            return refuse(
                format!("a member of {kind} {}", self.controller),
                format!("a device of its own, or `ip link set {} nomaster`", self.interface.name),
            );
        }
        match self.interface.kind.as_str() {
            "vlan" => refuse(
                format!("a VLAN on {}", self.lower),
                format!("{} and steering with VLAN tags", self.lower),
            ),
            kind @ ("bond" | "team" | "bridge") => {
                refuse(format!("a {kind}"), "a device that is not a member of one".into())
            }
            _ => self.check_features(),
        }
    }

    fn check_features(&self) -> Result<(), Error> {
        // Both glue packets of one flow together, into what no wire carried and no frame holds.
        for (feature, name) in [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")] {
            if self.features_on.iter().any(|on| on == feature) {
                return Err(Error::FeatureOn {
                    interface: self.interface.name.clone(),
                    feature: name,
                    effect: "joins packets before the program sees them",
                });
            }
        }
        Ok(())
    }

    /// Whether the rules can do what they say on this interface.
    pub(super) fn check_steering(&self, steering: &Steering) -> Result<(), Error> {
        let name = &self.interface.name;
        if steering.vlan && self.features_on.iter().any(|on| on == "rx-vlan-hw-parse") {
            return Err(Error::FeatureOn {
                interface: name.clone(),
                feature: "rxvlan",
                effect: "takes the VLAN tags away before the program sees them",
            });
        }
        let addresses = routes::addresses().unwrap_or_default();
        match &steering.selection {
            Selection::Exclusive if !steering.may_cut_off => {
                let lost = what_goes_over(&self.interface, &addresses);
                lost.map_or(Ok(()), |what| {
                    Err(Error::WouldCutOff { interface: name.clone(), what: what.into() })
                })
            }
            Selection::Address { addresses: wanted } => {
                let taken = wanted.iter().find(|one| addresses.iter().any(|(_, had)| had == *one));
                taken.map_or(Ok(()), |address| Err(Error::AddressTaken { address: *address }))
            }
            _ => Ok(()),
        }
    }

    /// Whether the queue exists and can send.
    pub(super) fn check_queue(&self, queue: u32) -> Result<(), Error> {
        if queue < self.channels.rx.min(self.channels.tx) {
            return Ok(());
        }
        Err(Error::NoQueue {
            interface: self.interface.name.clone(),
            queue,
            rx_queues: self.channels.rx,
            tx_queues: self.channels.tx,
        })
    }

    /// Whether packets of the interface's MTU fit the frames.
    pub(super) fn check_mtu(&self, request: &Request, frame_size: usize) -> Result<(), Error> {
        let largest = frame_size as u32 - u32::from(HEADROOM) - ETHERNET_HEADER;
        if self.interface.mtu <= largest || request.multi_buffer {
            return Ok(());
        }
        Err(self.mtu_too_large(largest, true))
    }

    fn mtu_too_large(&self, largest: u32, multi_buffer_helps: bool) -> Error {
        Error::MtuTooLarge {
            interface: self.interface.name.clone(),
            mtu: self.interface.mtu,
            largest,
            multi_buffer_helps,
        }
    }

    /// Why the program could not be attached.
    pub(super) fn explain_attach(&self, mode: Mode, error: io::Error) -> Error {
        let interface = self.interface.name.clone();
        let queues = self.channels;
        match error.raw_os_error() {
            // A program in the same mode is there (EBUSY), or in the other (EEXIST).
            Some(libc::EBUSY | libc::EEXIST) => self.foreign_program(),
            // veth: the other end may send on more queues than this one receives on.
            Some(libc::ENOSPC) => {
                self.too_few_channels("rx N` with N of the other end's tx queues")
            }
            // ena and virtio_net want a second set of transmit queues.
            Some(libc::EINVAL | libc::ENOMEM)
                if queues.combined_max > 1 && queues.rx * 2 > queues.combined_max =>
            {
                self.too_few_channels(&format!("combined {}", queues.combined_max / 2))
            }
            Some(libc::ERANGE | libc::EINVAL) if self.interface.mtu > ONE_PAGE_MTU => {
                self.mtu_too_large(ONE_PAGE_MTU, false)
            }
            Some(libc::EOPNOTSUPP | libc::EINVAL) => Error::NoXdp {
                interface,
                driver: self.driver.clone(),
                mode: if mode == Mode::Generic { "generic" } else { "native" },
            },
            _ => Error::system("attach the XDP program", ATTACH_CAPABILITIES, error),
        }
    }

    /// Why the socket could not be bound.
    pub(super) fn explain_bind(&self, queue: u32, request: &Request, error: io::Error) -> Error {
        let interface = self.interface.name.clone();
        let zero_copy = request.mode == Mode::ZeroCopy;
        match error.raw_os_error() {
            Some(libc::EBUSY) => Error::QueueTaken { interface, queue, holders: holders() },
            Some(libc::ENETDOWN) => Error::LinkDown { interface },
            // Zero-copy that the driver has, but not for packets of several buffers.
            Some(libc::EOPNOTSUPP)
                if zero_copy && request.multi_buffer && self.features.has_zero_copy() =>
            {
                Error::NoMultiBuffer { interface, driver: self.driver.clone() }
            }
            Some(libc::EOPNOTSUPP) if zero_copy => self.no_zero_copy(),
            // The usable part of a frame is smaller there than in copy mode.
            Some(libc::EINVAL) if zero_copy && self.interface.mtu > ZERO_COPY_MTU => {
                self.mtu_too_large(ZERO_COPY_MTU, false)
            }
            _ => Error::system("bind to the queue", "cap_net_raw", error),
        }
    }

    pub(super) fn no_zero_copy(&self) -> Error {
        Error::NoZeroCopy { interface: self.interface.name.clone(), driver: self.driver.clone() }
    }

    fn too_few_channels(&self, remedy: &str) -> Error {
        Error::TooFewChannels {
            interface: self.interface.name.clone(),
            driver: self.driver.clone(),
            remedy: remedy.into(),
        }
    }

    fn foreign_program(&self) -> Error {
        let now = Interface::by_index(self.interface.index).ok();
        let id = now.and_then(|interface| interface.xdp).map_or(0, |program| program.id);
        let name = sys::program_name(id).unwrap_or_else(|_| "name unknown".into());
        Error::ForeignProgram { interface: self.interface.name.clone(), id, name }
    }
}

/// What loading and attaching need.
pub(super) const ATTACH_CAPABILITIES: &str = "cap_net_raw,cap_net_admin,cap_bpf";

fn not_found(name: &str, error: io::Error) -> Error {
    if error.kind() != io::ErrorKind::NotFound {
        return Error::System { action: "look up the interface", source: error };
    }
    let all = Interface::all().unwrap_or_default();
    let names: Vec<String> = all.into_iter().map(|interface| interface.name).collect();
    Error::NoInterface { name: name.into(), similar: similar_names(name, &names) }
}

/// What this host would lose without the interface.
fn what_goes_over(interface: &Interface, addresses: &[(u32, IpAddr)]) -> Option<&'static str> {
    if routes::has_default_route(interface.index).unwrap_or(false) {
        return Some("the default route");
    }
    // sshd sets it: "client port server port".
    let ssh = std::env::var("SSH_CONNECTION").unwrap_or_default();
    let server: IpAddr = ssh.split(' ').nth(2)?.parse().ok()?;
    addresses.contains(&(interface.index, server)).then_some("this ssh connection")
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
            // Threads of ours may be in other namespaces than the process.
            let is_near =
                pid == std::process::id() || fs::read_link(path.join("ns/net")).ok() == ours;
            (has_ring && is_near).then(|| (pid, command(&path)))
        })
        .collect();
    holders.sort_unstable();
    holders
}

fn command(process: &Path) -> String {
    fs::read_to_string(process.join("comm")).map_or_else(|_| "?".into(), |name| name.trim().into())
}

#[cfg(test)]
mod tests;
