//! smoltcp: two interfaces back to back in one thread, joined by rings of preallocated buffers.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use corewire_drivers::env::Clock;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::udp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint};

use crate::generator::ledger::{self, Ledger, Pace};
use crate::measure::{Cue, Outcome};

/// Asks and answers in the calling thread, until the cue says stop.
pub(crate) fn echo_in_memory(size: usize, window: u32, cue: &Cue<'_>) -> io::Result<Outcome> {
    let there = Ring::new();
    let back = Ring::new();
    let mut client = Host::new(CLIENT, Wire { tx: there.clone(), rx: back.clone() });
    let mut server = Host::new(SERVER, Wire { tx: back, rx: there });
    let clock = Clock::system();
    let mut ledger = Ledger::new(Pace::Window(window))?;
    let to = IpEndpoint::new(SERVER.address(), PORT);
    let mut payload = vec![0; size];
    cue.ready();
    while !cue.stopped() {
        // One reading a turn for both hosts: the clock is not what is measured.
        let now = clock.now();
        let at = Instant::from_micros((now.as_nanos() / 1_000) as i64);
        let socket = client.socket();
        for _ in 0..ledger.may_send(now, window as usize) {
            ledger::write(ledger.send(now), &mut payload);
            if socket.send_slice(&payload, to).is_err() {
                ledger.unsend(1);
                break;
            }
        }
        client.poll(at);
        server.poll(at);
        server.echo();
        server.poll(at);
        client.poll(at);
        let mut right = 0;
        let socket = client.socket();
        while let Ok((answer, _)) = socket.recv() {
            right += u64::from(ledger.answered(now, answer, false));
        }
        cue.gauge.packets(right);
    }
    let (_, fate) = ledger.close();
    let mut outcome = Outcome::default();
    fate.enter(&mut outcome.drops);
    Ok(outcome)
}

/// One interface with one socket.
struct Host {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

/// Who a host is: the last byte of its hardware and IP address.
#[derive(Copy, Clone)]
struct Name(u8);

impl Name {
    fn address(self) -> IpAddress {
        IpAddress::v4(198, 18, 0, self.0)
    }
}

impl Host {
    fn new(name: Name, mut wire: Wire) -> Self {
        let mac = EthernetAddress([2, 0, 0, 0, 0, name.0]);
        let config = Config::new(HardwareAddress::Ethernet(mac));
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // The list is empty and has room for several.
            let _ = addresses.push(IpCidr::new(name.address(), 24));
        });
        let buffer = || {
            udp::PacketBuffer::new(
                vec![udp::PacketMetadata::EMPTY; SLOTS],
                vec![0; SLOTS * SLOT_BYTES],
            )
        };
        let mut socket = udp::Socket::new(buffer(), buffer());
        // A fresh socket takes any port but 0.
        let _ = socket.bind(PORT);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Self { wire, interface, sockets, handle }
    }

    fn socket(&mut self) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn poll(&mut self, now: Instant) {
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }

    /// Sends back what was received. Both buffers of the socket are its own, so the payload is
    /// copied from one to the other.
    fn echo(&mut self) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.handle);
        let mut copy = [0; SLOT_BYTES];
        while socket.can_send() {
            let Ok((payload, from)) = socket.recv() else { break };
            let copy = &mut copy[..payload.len()];
            copy.copy_from_slice(payload);
            if socket.send_slice(copy, from.endpoint).is_err() {
                break;
            }
        }
    }
}

/// One direction: frames in preallocated slots.
struct Ring {
    slots: Vec<(usize, [u8; SLOT_BYTES])>,
    head: usize,
    tail: usize,
}

impl Ring {
    fn new() -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { slots: vec![(0, [0; SLOT_BYTES]); SLOTS], head: 0, tail: 0 }))
    }

    fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    fn is_full(&self) -> bool {
        self.tail - self.head == SLOTS
    }
}

/// A host's end of two rings.
#[derive(Clone)]
struct Wire {
    tx: Rc<RefCell<Ring>>,
    rx: Rc<RefCell<Ring>>,
}

impl Device for Wire {
    type RxToken<'a> = FromRing<'a>;
    type TxToken<'a> = IntoRing<'a>;

    fn receive(&mut self, _: Instant) -> Option<(FromRing<'_>, IntoRing<'_>)> {
        if self.rx.borrow().is_empty() || self.tx.borrow().is_full() {
            return None;
        }
        Some((FromRing(&self.rx), IntoRing(&self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<IntoRing<'_>> {
        (!self.tx.borrow().is_full()).then_some(IntoRing(&self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        // Both made and verified, as on a wire.
        capabilities.checksum = ChecksumCapabilities::default();
        capabilities
    }
}

struct FromRing<'a>(&'a RefCell<Ring>);

impl RxToken for FromRing<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let mut ring = self.0.borrow_mut();
        let head = ring.head;
        ring.head += 1;
        let (length, bytes) = &ring.slots[head % SLOTS];
        f(&bytes[..*length])
    }
}

struct IntoRing<'a>(&'a RefCell<Ring>);

impl TxToken for IntoRing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut ring = self.0.borrow_mut();
        let tail = ring.tail;
        ring.tail += 1;
        let slot = &mut ring.slots[tail % SLOTS];
        slot.0 = length;
        f(&mut slot.1[..length])
    }
}

const CLIENT: Name = Name(1);
const SERVER: Name = Name(2);
const PORT: u16 = 7;
/// As in the figures that we compare with: 512 × 2 KiB a direction.
const SLOTS: usize = 512;
const SLOT_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::measure::{Plan, Role, Side, perform};

    #[test]
    fn every_question_is_answered() {
        let plan = Plan {
            warmup: Duration::from_millis(5),
            window: Duration::from_millis(50),
            generator_core: 0,
            system_core: 0,
        };
        let body = Box::new(|cue: &Cue<'_>| echo_in_memory(18, 32, cue));
        let role = Role { side: Side::System, host: None, body };
        let never = AtomicBool::new(false);
        let seen = perform(&plan, vec![role], &[], &mut |_| {}, &never).expect("a run");
        assert_eq!(seen.outcomes[0].drops["wrong_answers"], 0);
    }
}
