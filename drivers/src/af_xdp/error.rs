//! What can go wrong before the first packet, each with its cause and its remedy in one line.

use std::fmt;
use std::io;
use std::net::IpAddr;

/// Why a queue could not be opened. The message names the remedy.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The process may not do this.
    MissingCapability {
        /// What was refused.
        action: &'static str,
        /// The capabilities that allow it, comma separated, as `setcap` takes them.
        capabilities: &'static str,
    },
    /// There is no interface of that name in this network namespace.
    NoInterface {
        /// The name asked for.
        name: String,
        /// Names that are alike, the best first.
        similar: Vec<String>,
    },
    /// The interface has no such queue.
    NoQueue {
        /// The interface.
        interface: String,
        /// The queue asked for.
        queue: u32,
        /// How many queues can be received from.
        rx_queues: u32,
        /// How many can be sent to.
        tx_queues: u32,
    },
    /// Another socket has the queue.
    QueueTaken {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// Processes with AF_XDP sockets: `(pid, command)`. The queue is one of theirs.
        holders: Vec<(u32, String)>,
    },
    /// The device can't run an XDP program in this mode.
    NoXdp {
        /// The interface.
        interface: String,
        /// Its driver, where known.
        driver: String,
        /// The mode asked for, `native` or `generic`.
        mode: &'static str,
    },
    /// The driver has no zero-copy, or not for this configuration.
    NoZeroCopy {
        /// The interface.
        interface: String,
        /// Its driver, where known.
        driver: String,
    },
    /// The driver has zero-copy, but not for packets of several buffers.
    NoMultiBuffer {
        /// The interface.
        interface: String,
        /// Its driver.
        driver: String,
    },
    /// The kernel is too old for what was asked for.
    KernelTooOld {
        /// What was asked for.
        feature: &'static str,
        /// The first version that has it.
        needed: &'static str,
    },
    /// The driver needs spare queues for XDP and has none.
    TooFewChannels {
        /// The interface.
        interface: String,
        /// Its driver.
        driver: String,
        /// What to set: the arguments of `ethtool -L`.
        remedy: String,
    },
    /// Packets of this MTU do not fit what the frames or the driver take.
    MtuTooLarge {
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// The largest that would do.
        largest: u32,
        /// Whether packets of several buffers would lift the limit.
        multi_buffer_helps: bool,
    },
    /// A feature of the NIC hands over what is not a packet from the wire.
    FeatureOn {
        /// The interface.
        interface: String,
        /// The feature, as `ethtool -K` calls it.
        feature: &'static str,
        /// What it does to packets.
        effect: &'static str,
    },
    /// The interface is a part of another, or built on one.
    NotADevice {
        /// The interface.
        interface: String,
        /// What it is: `a member of bond bond0`, `a VLAN on eth0`, `a bridge`.
        what: String,
        /// What to use instead.
        instead: String,
    },
    /// The process may not lock as much memory as the frames need.
    Memlock {
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Another XDP program is on the interface.
    ForeignProgram {
        /// The interface.
        interface: String,
        /// The program's id.
        id: u32,
        /// Its name, where it can be read.
        name: String,
    },
    /// Taking the whole interface would cut off this host.
    WouldCutOff {
        /// The interface.
        interface: String,
        /// What goes over it.
        what: String,
    },
    /// The kernel has the address that the engine is to own.
    AddressTaken {
        /// The address.
        address: IpAddr,
    },
    /// The interface is down.
    LinkDown {
        /// The interface.
        interface: String,
    },
    /// A core that this process may not run on.
    CoreNotAllowed {
        /// The core asked for.
        core: usize,
        /// The cores allowed, as in `taskset`.
        allowed: String,
    },
    /// The settings contradict each other or the kernel's limits.
    Settings(String),
    /// The kernel refused the steering program: a fault of ours, with the verifier's last words.
    Verifier(String),
    /// A system call failed for another reason.
    System {
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Error {
    /// The exit code that a program should end with: 2 for wrong settings, 77 for what is not
    /// possible here, else 1.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_)
            | Self::NoInterface { .. }
            | Self::NoQueue { .. }
            | Self::CoreNotAllowed { .. }
            | Self::AddressTaken { .. }
            | Self::WouldCutOff { .. } => 2,
            Self::NoXdp { .. }
            | Self::NoZeroCopy { .. }
            | Self::NoMultiBuffer { .. }
            | Self::KernelTooOld { .. }
            | Self::MissingCapability { .. } => 77,
            _ => 1,
        }
    }

    /// `source` while doing `action`; a refused permission names the capability.
    pub(super) fn system(
        action: &'static str,
        capabilities: &'static str,
        source: io::Error,
    ) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::MissingCapability { action, capabilities },
            _ => Self::System { action, source },
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::System { source, .. } => source.kind(),
            Error::MissingCapability { .. } => io::ErrorKind::PermissionDenied,
            Error::NoInterface { .. } | Error::NoQueue { .. } => io::ErrorKind::NotFound,
            Error::QueueTaken { .. } | Error::ForeignProgram { .. } => io::ErrorKind::ResourceBusy,
            Error::NoXdp { .. } | Error::NoZeroCopy { .. } => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingCapability { action, capabilities } => write!(
                f,
                "not permitted to {action}: run as root, or `setcap {capabilities}+ep` the program"
            ),
            Self::NoInterface { name, similar } => fmt_no_interface(f, name, similar),
            Self::NoQueue { interface, queue, rx_queues, tx_queues } => {
                fmt_no_queue(f, interface, *queue, *rx_queues, *tx_queues)
            }
            Self::QueueTaken { interface, queue, holders } => {
                fmt_queue_taken(f, interface, *queue, holders)
            }
            Self::NoXdp { interface, driver, mode } => fmt_no_xdp(f, interface, driver, mode),
            Self::NoZeroCopy { interface, driver } => fmt_no_zero_copy(f, interface, driver),
            Self::NoMultiBuffer { interface, driver } => fmt_no_multi_buffer(f, interface, driver),
            Self::KernelTooOld { feature, needed } => {
                write!(f, "{feature} need Linux {needed}: do without, or use a newer kernel")
            }
            Self::TooFewChannels { interface, driver, remedy } => write!(
                f,
                "{interface} ({driver}) has too few queues for XDP: `ethtool -L {interface} \
                 {remedy}`"
            ),
            Self::MtuTooLarge { interface, mtu, largest, multi_buffer_helps } => {
                fmt_mtu(f, interface, *mtu, *largest, *multi_buffer_helps)
            }
            Self::FeatureOn { interface, feature, effect } => {
                write!(f, "{feature} is on, which {effect}: `ethtool -K {interface} {feature} off`")
            }
            Self::NotADevice { interface, what, instead } => {
                write!(f, "{interface} is {what}: use {instead}")
            }
            Self::Memlock { needed, limit } => write!(
                f,
                "the frames need {needed} bytes of locked memory and {limit} are allowed: \
                 `ulimit -l {}`, LimitMEMLOCK= in systemd, or cap_ipc_lock",
                needed.div_ceil(1024)
            ),
            Self::ForeignProgram { interface, id, name } => fmt_foreign(f, interface, *id, name),
            Self::WouldCutOff { interface, what } => write!(
                f,
                "{what} goes over {interface}, which the exclusive mode would cut off: steer by \
                 ports or address, or allow it (Steering::allow_cut_off)"
            ),
            Self::AddressTaken { address } => write!(
                f,
                "the kernel has the address {address}: `ip addr del` it there, or steer by ports"
            ),
            Self::LinkDown { interface } => {
                write!(f, "{interface} is down: `ip link set {interface} up`")
            }
            Self::CoreNotAllowed { core, allowed } => write!(
                f,
                "core {core} is not among the cores that this process may use ({allowed}): choose \
                 one of them, or widen the cpuset or CPUAffinity="
            ),
            Self::Settings(message) => f.write_str(message),
            Self::Verifier(log) => write!(f, "the kernel refused the steering program: {log}"),
            Self::System { action, source } => write!(f, "could not {action}: {source}"),
        }
    }
}

fn fmt_no_interface(f: &mut fmt::Formatter<'_>, name: &str, similar: &[String]) -> fmt::Result {
    if similar.is_empty() {
        write!(f, "no interface {name}; `ip link` lists those of this network namespace")
    } else {
        write!(f, "no interface {name}; did you mean {}?", similar.join(" or "))
    }
}

fn fmt_no_queue(
    f: &mut fmt::Formatter<'_>,
    interface: &str,
    queue: u32,
    rx_queues: u32,
    tx_queues: u32,
) -> fmt::Result {
    if queue < rx_queues {
        // The kernel would take the socket and never send (net/core/dev.c counts RX queues too).
        return write!(
            f,
            "queue {queue} of {interface} can only receive: it has {rx_queues} receive and \
             {tx_queues} transmit queues; use a queue below {tx_queues} or add channels with \
             `ethtool -L {interface}`"
        );
    }
    let last = rx_queues.min(tx_queues).saturating_sub(1);
    write!(
        f,
        "{interface} has no queue {queue}: its queues are 0 to {last}; add channels with `ethtool \
         -L {interface}` or use one of those"
    )
}

fn fmt_queue_taken(
    f: &mut fmt::Formatter<'_>,
    interface: &str,
    queue: u32,
    holders: &[(u32, String)],
) -> fmt::Result {
    write!(f, "queue {queue} of {interface} is taken by another AF_XDP socket")?;
    for (place, (pid, command)) in holders.iter().enumerate() {
        let before = if place == 0 { ", held by" } else { " or" };
        write!(f, "{before} process {pid} ({command})")?;
    }
    f.write_str(": end it, or use another queue")
}

fn fmt_no_zero_copy(f: &mut fmt::Formatter<'_>, interface: &str, driver: &str) -> fmt::Result {
    write!(
        f,
        "{interface} ({driver}) has no zero-copy: ask for copy mode, or use a NIC whose driver has \
         it (ice, i40e, mlx5, igb, virtio_net from Linux 6.18)"
    )
}

fn fmt_no_multi_buffer(f: &mut fmt::Formatter<'_>, interface: &str, driver: &str) -> fmt::Result {
    write!(
        f,
        "{interface} ({driver}) has no packets of several buffers in zero-copy mode: ask for copy \
         mode, or do without and set an MTU that one frame holds"
    )
}

fn fmt_foreign(f: &mut fmt::Formatter<'_>, interface: &str, id: u32, name: &str) -> fmt::Result {
    write!(
        f,
        "XDP program {id} ({name}) is on {interface}: stop the process that put it there, or `ip \
         link set {interface} xdp off` if that has ended"
    )
}

fn fmt_no_xdp(
    f: &mut fmt::Formatter<'_>,
    interface: &str,
    driver: &str,
    mode: &str,
) -> fmt::Result {
    write!(f, "{interface} ({driver}) has no {mode} XDP: ")?;
    if mode == "native" {
        f.write_str("ask for generic mode, which is slower, or use a NIC whose driver has it")
    } else {
        f.write_str("use another interface")
    }
}

fn fmt_mtu(
    f: &mut fmt::Formatter<'_>,
    interface: &str,
    mtu: u32,
    largest: u32,
    multi_buffer_helps: bool,
) -> fmt::Result {
    write!(
        f,
        "the MTU of {interface} is {mtu}, and one frame takes {largest}: `ip link set {interface} \
         mtu {largest}`"
    )?;
    if multi_buffer_helps { f.write_str(", or packets of several buffers") } else { Ok(()) }
}

#[cfg(test)]
mod tests;
