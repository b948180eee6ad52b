//! Scenarios of the whole stack: two workers joined by a cable, turned in one thread.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use corewire::control::snapshot::{Interface, Snapshot};
use corewire::ip::route::InterfaceId;
use corewire::packet::ethernet::{self, EtherType};
use corewire::packet::vlan::Tags;
use corewire::packet::{MacAddr, arp};
use corewire::socket::{Application, Datagram, SocketId, Turn};
use corewire::worker::Worker;
use corewire_drivers::cable::CableEnd;
use corewire_drivers::device::{Burst, Device as _};
use corewire_drivers::env::limits::HEADROOM;
use corewire_drivers::env::{Counters, Instant, Rng};
use corewire_drivers::mem::{Packet, Pool, Region, RegionConfig};

/// Sends every datagram back.
struct Echo;

impl Application for Echo {
    fn on_datagram(&mut self, turn: &mut Turn<'_>, datagram: Datagram<'_>) {
        // What could not be sent is missed by the other end.
        let _ = datagram.answer(turn);
    }
}

/// Keeps [`WINDOW`] datagrams under way.
struct Asker {
    socket: SocketId,
    size: usize,
    under_way: u32,
    answered: u32,
}

impl Application for Asker {
    fn on_datagram(&mut self, turn: &mut Turn<'_>, datagram: Datagram<'_>) {
        self.answered += u32::from(datagram.payload(turn).len() == self.size);
        self.under_way -= 1;
    }

    fn on_turn(&mut self, turn: &mut Turn<'_>) {
        let to = SocketAddr::new(SERVER.into(), PORT);
        while self.under_way < WINDOW {
            if turn.udp_send(self.socket, to, self.size, |payload| payload.fill(0x5a)).is_err() {
                break;
            }
            self.under_way += 1;
        }
    }
}

/// Datagrams of `size` bytes to an echo server and back.
pub(crate) fn udp_echo(count: u32, size: usize) -> io::Result<()> {
    let (mut client, mut server) = pair()?;
    let at = SocketAddr::new(SERVER.into(), PORT);
    server.with_turn(NOW, |turn| turn.udp_bind(at)).map_err(io::Error::other)?;
    let mut asker = asker(&mut client, size)?;
    while asker.answered < count {
        client.turn(NOW, &mut asker);
        server.turn(NOW, &mut Echo);
    }
    Ok(())
}

/// ARP requests for an address of ours, in bursts of 32, and their answers.
pub(crate) fn arp_answer(count: u32) -> io::Result<()> {
    let (mut here, there) = CableEnd::pair(1500, 256);
    let mut server = worker(there, SERVER, CLIENT)?;
    let mut pool = pool()?;
    let mut request = vec![0; 60];
    ethernet::Header {
        destination: MacAddr::BROADCAST,
        source: mac(CLIENT),
        ether_type: EtherType::ARP,
        tags: Tags::NONE,
    }
    .emit(&mut request);
    arp::Packet::request(mac(CLIENT), CLIENT, SERVER).emit(&mut request[14..]);
    let (mut out, mut back) = (Burst::new(), Burst::new());
    for _ in 0..count.div_ceil(WINDOW) {
        for _ in 0..WINDOW {
            let Some(mut frame) = pool.take() else { break };
            frame.set_range(HEADROOM, 60);
            let mut packet = Packet::from(frame);
            pool.bytes_mut(&mut packet).copy_from_slice(&request);
            if let Err(packet) = out.push(packet) {
                pool.free(packet);
            }
        }
        here.tx_burst(NOW, &mut pool, &mut out);
        server.turn(NOW, &mut Echo);
        if here.rx_burst(NOW, &mut pool, &mut back) != WINDOW as usize {
            return Err(io::Error::other("a request was not answered"));
        }
        back.free(&mut pool);
        // The frames that were answered with go home, and ours come.
        here.rx_burst(NOW, &mut pool, &mut back);
        here.reclaim(NOW, &mut pool);
    }
    Ok(())
}

fn asker(client: &mut Worker, size: usize) -> io::Result<Asker> {
    let any = SocketAddr::new(CLIENT.into(), 0);
    let (socket, _) = client.with_turn(NOW, |turn| turn.udp_bind(any)).map_err(io::Error::other)?;
    Ok(Asker { socket, size, under_way: 0, answered: 0 })
}

/// Two workers joined by a cable, which know each other's hardware address.
fn pair() -> io::Result<(Worker, Worker)> {
    let (here, there) = CableEnd::pair(1500, 256);
    Ok((worker(here, CLIENT, SERVER)?, worker(there, SERVER, CLIENT)?))
}

fn worker(end: CableEnd, own: Ipv4Addr, peer: Ipv4Addr) -> io::Result<Worker> {
    let interface =
        Interface::ethernet(INTERFACE, "cable0", mac(own), 1500).with_address(IpAddr::V4(own), 24);
    let snapshot = Snapshot::builder(1)
        .interface(interface)
        .neighbor(INTERFACE, IpAddr::V4(peer), mac(peer))
        .build()
        .map_err(io::Error::other)?;
    let (snapshot, counters) = (Arc::new(snapshot), Arc::new(Counters::memfd(0)?));
    let ephemeral = 49_152..=65_535;
    let mut worker = Worker::new(pool()?, snapshot, counters, Rng::from_seed(1), ephemeral);
    worker.attach(INTERFACE, Box::new(end));
    Ok(worker)
}

fn pool() -> io::Result<Pool> {
    Pool::new(Region::new(&RegionConfig { frames: 512, ..RegionConfig::default() })?)
}

fn mac(address: Ipv4Addr) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, address.octets()[3]])
}

const INTERFACE: InterfaceId = InterfaceId(0);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const PORT: u16 = 7;
/// No timer is due: only packets are counted.
const NOW: Instant = Instant::from_nanos(1_000_000_000);
/// Half a burst, as in the comparison with smoltcp.
const WINDOW: u32 = 32;
