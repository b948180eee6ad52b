//! Two hosts in network namespaces of their own, joined by a veth pair.
//!
//! ```text
//! namespace A, core 0                      namespace B, core 1
//! load generator ── cwgen0 ═══ cwsut0 ── system under test
//!   198.18.0.1                              198.18.0.2         (RFC 2544's range for benchmarks)
//! ```
//!
//! Both namespaces have no name: they are gone with the last thread and descriptor in them, and
//! the veth pair with them, whether the run ends well, panics, or is killed.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::netlink::{End, Netlink};
use crate::sys;

/// Two hosts and the cable between them.
pub(crate) struct Veth {
    /// Where the load comes from.
    pub(crate) generator: Host,
    /// Where the system under test runs.
    pub(crate) system: Host,
}

/// A network namespace with one interface.
#[derive(Clone)]
pub(crate) struct Host {
    namespace: Arc<OwnedFd>,
    /// The interface's name in this namespace.
    pub(crate) interface: &'static str,
    /// The interface's index.
    pub(crate) index: u32,
    /// The interface's hardware address.
    pub(crate) mac: [u8; 6],
    /// The interface's address; both are in one /24.
    pub(crate) address: Ipv4Addr,
}

impl Veth {
    /// Makes both hosts, each knowing the other's hardware address, offloads off.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN and CAP_NET_ADMIN; EOPNOTSUPP when the kernel has no veth.
    pub(crate) fn new(mtu: u32) -> io::Result<Self> {
        let system = new_namespace()?;
        let generator = new_namespace()?;
        in_namespace(&generator, || {
            quiet()?;
            Netlink::open()?.add_veth(
                &End { name: GENERATOR, mac: GENERATOR_MAC, mtu },
                &End { name: SYSTEM, mac: SYSTEM_MAC, mtu },
                system.as_fd(),
            )
        })?;
        in_namespace(&system, quiet)?;
        let make = |namespace: OwnedFd, interface, mac, address, peer_mac, peer| {
            let index = in_namespace(&namespace, || configure(interface, address, peer, peer_mac))?;
            Ok::<_, io::Error>(Host {
                namespace: Arc::new(namespace),
                interface,
                index,
                mac,
                address,
            })
        };
        let veth = Self {
            generator: make(
                generator,
                GENERATOR,
                GENERATOR_MAC,
                GENERATOR_ADDRESS,
                SYSTEM_MAC,
                SYSTEM_ADDRESS,
            )?,
            system: make(
                system,
                SYSTEM,
                SYSTEM_MAC,
                SYSTEM_ADDRESS,
                GENERATOR_MAC,
                GENERATOR_ADDRESS,
            )?,
        };
        veth.generator.wait_until_running()?;
        veth.system.wait_until_running()?;
        Ok(veth)
    }
}

impl Veth {
    /// What the two interfaces have dropped since they were made, by name.
    pub(crate) fn drops(&self) -> io::Result<Vec<(String, u64)>> {
        let mut drops = Vec::new();
        for (side, host) in [("generator", &self.generator), ("system", &self.system)] {
            let counters = host.counters()?;
            drops.push((format!("{side}_interface_rx_dropped"), counters.rx_dropped));
            drops.push((format!("{side}_interface_tx_dropped"), counters.tx_dropped));
        }
        drops.retain(|(_, count)| *count > 0);
        Ok(drops)
    }
}

impl Host {
    /// Moves the calling thread into this host. Sockets, and processes that it starts, are then
    /// this host's.
    pub(crate) fn enter(&self) -> io::Result<()> {
        sys::enter_network(self.namespace.as_fd())
    }

    /// Runs `work` in this host on a thread of its own, and waits for it.
    pub(crate) fn run<T: Send>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        in_namespace(&self.namespace, work)
    }

    /// The kernel notices on a thread of its own that both ends are up.
    fn wait_until_running(&self) -> io::Result<()> {
        let end = Instant::now() + LINK_LIMIT;
        while !self.run(|| sys::is_running(self.interface))? {
            if Instant::now() > end {
                return Err(io::Error::other(format!("{} does not come up", self.interface)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Turns GRO on. It makes the interface receive through NAPI, without which a frame that
    /// XDP redirected to it is lost unless it has an XDP program of its own.
    pub(crate) fn receive_through_napi(&self) -> io::Result<()> {
        self.run(|| sys::ethtool_set(self.interface, ETHTOOL_SGRO, 1))
    }

    /// The interface's counters as the kernel shows them in /proc/net/dev.
    fn counters(&self) -> io::Result<Counters> {
        self.run(|| {
            let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
            Counters::find(&table, self.interface)
                .ok_or_else(|| io::Error::other(format!("{} is gone", self.interface)))
        })
    }
}

/// What an interface has counted.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
struct Counters {
    rx_packets: u64,
    rx_dropped: u64,
    tx_packets: u64,
    tx_dropped: u64,
}

impl Counters {
    /// A line of /proc/net/dev: name, then rx bytes packets errs drop fifo frame compressed
    /// multicast, then tx bytes packets errs drop ….
    fn find(table: &str, interface: &str) -> Option<Self> {
        let numbers = table.lines().find_map(|line| {
            let (name, numbers) = line.split_once(':')?;
            (name.trim() == interface).then_some(numbers)
        })?;
        let numbers: Vec<u64> =
            numbers.split_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
        Some(Self {
            rx_packets: *numbers.get(1)?,
            rx_dropped: *numbers.get(3)?,
            tx_packets: *numbers.get(9)?,
            tx_dropped: *numbers.get(11)?,
        })
    }
}

/// A namespace without a name, made on a thread that ends at once.
fn new_namespace() -> io::Result<OwnedFd> {
    std::thread::scope(|scope| join(scope.spawn(sys::unshare_network)))
}

/// Runs `work` on a thread of its own in `namespace`; the calling thread stays where it is.
fn in_namespace<T: Send>(
    namespace: &OwnedFd,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        join(scope.spawn(|| {
            sys::enter_network(namespace.as_fd())?;
            work()
        }))
    })
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// No IPv6 here: router solicitations and neighbour discovery would be measured with the load.
/// /proc/sys/net shows the namespace of the thread that opens it.
fn quiet() -> io::Result<()> {
    for name in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
        match std::fs::write(&path, "1") {
            // A kernel without IPv6 is quiet already.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

fn configure(
    interface: &str,
    address: Ipv4Addr,
    peer: Ipv4Addr,
    peer_mac: [u8; 6],
) -> io::Result<u32> {
    let index = sys::interface_index(interface)?;
    for command in [ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SSG, ETHTOOL_SGRO] {
        match sys::ethtool_set(interface, command, 0) {
            // The switch does not exist, so it is off.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            result => result?,
        }
    }
    let mut netlink = Netlink::open()?;
    netlink.set_up(LOOPBACK)?;
    netlink.add_address(index, address, 24)?;
    netlink.set_up(index)?;
    netlink.add_neighbor(index, peer, peer_mac)?;
    Ok(index)
}

/// Milliseconds on an idle machine.
const LINK_LIMIT: Duration = Duration::from_secs(10);

const GENERATOR: &str = "cwgen0";
const SYSTEM: &str = "cwsut0";
/// Locally administered: the second bit of the first byte.
const GENERATOR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const SYSTEM_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const GENERATOR_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const SYSTEM_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The loopback interface is the first of every namespace.
const LOOPBACK: u32 = 1;

// linux/ethtool.h. Partial checksums would be wrong on the wire, and segments larger than the MTU
// would be another benchmark.
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_SSG: u32 = 0x19;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_SGRO: u32 = 0x2c;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let table = "Inter-|\n face |\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
                     cwgen0: 11 12 13 14 15 16 17 18 19 110 111 112 113 114 115 116\n";
        let counters = Counters::find(table, "cwgen0");
        assert_eq!(
            counters,
            Some(Counters { rx_packets: 12, rx_dropped: 14, tx_packets: 110, tx_dropped: 112 })
        );
        assert_eq!(Counters::find(table, "cwgen1"), None);
    }

    #[test]
    fn two_hosts_reach_each_other() {
        if !sys::is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return;
        }
        let veth = Veth::new(1500).expect("a veth pair");
        let to = (veth.system.address, 4000);
        let receiver = veth.system.run(|| std::net::UdpSocket::bind(to)).expect("bind");
        receiver.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let sender = veth.generator.run(|| std::net::UdpSocket::bind("0.0.0.0:0")).expect("bind");
        let mut bytes = [0; 64];
        // The queueing discipline starts a moment after the link is said to run.
        crate::measure::eventually(|| {
            sender.send_to(b"over the veth", to).expect("send");
            let Ok((length, from)) = receiver.recv_from(&mut bytes) else { return false };
            &bytes[..length] == b"over the veth" && from.ip() == veth.generator.address
        });
        assert!(veth.system.counters().expect("counters").rx_packets >= 1);
    }
}
