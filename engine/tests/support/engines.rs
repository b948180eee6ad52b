//! Two started engines joined in memory: 10.0.0.1 and 10.0.0.2, each with one worker.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use corewire::Engine;
use corewire::control::snapshot::{Interface, InterfaceId, Snapshot};
use corewire::packet::MacAddr;
use corewire::runtime::config::{Idle, Turner};
use corewire::runtime::{Builder, WorkerSetup};
use corewire_drivers::cable::CableEnd;
use corewire_drivers::device::Device;
use corewire_drivers::mem::{Pages, RegionConfig};

/// The only interface of a host.
pub const ETH: InterfaceId = InterfaceId(0);

/// Long enough for anything that will happen at all, on a host that does much else.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// 10.0.0.`host`:`port`.
pub fn at(host: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, host), port).into()
}

/// A host with one interface, 10.0.0.`host`/24.
pub fn snapshot(host: u8, device: &impl Device) -> Arc<Snapshot> {
    let (mac, mtu) = (device.capabilities().mac, device.capabilities().mtu as u32);
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
    let interface = Interface::ethernet(ETH, "test0", MacAddr(mac), mtu).with_address(address, 24);
    Arc::new(Snapshot::builder(1).interface(interface).build().expect("a valid snapshot"))
}

/// An engine on `device` that is 10.0.0.`host`, to be started.
pub fn builder(host: u8, device: impl Device + 'static) -> Builder {
    let region = RegionConfig { frames: 1024, pages: Pages::Plain, ..RegionConfig::default() };
    Engine::builder(snapshot(host, &device))
        .worker(WorkerSetup::new().region(region).device(ETH, device))
}

/// Two engines on one cable.
pub fn pair(turner: Turner, idle: Idle) -> (Engine, Engine) {
    let (a, b) = CableEnd::pair(1500, 1024);
    let start = |host, device| builder(host, device).turner(turner).idle(idle).start();
    (start(1, a).expect("an engine"), start(2, b).expect("an engine"))
}

/// Calls `step` until it gives something.
pub fn wait_for<T>(what: &str, mut step: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = step() {
            return result;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// What an engine counted, for messages.
pub fn counted(engine: &Engine) -> String {
    use corewire::env::{Counter, DropReason};
    let stats = engine.stats();
    let counters = Counter::ALL.iter().map(|c| (format!("{c:?}"), stats.get(*c)));
    let drops = DropReason::ALL.iter().map(|r| (format!("drop {r:?}"), stats.dropped(*r)));
    let all = counters.chain(drops).filter(|(_, count)| *count > 0);
    all.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
