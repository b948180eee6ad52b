//! One core's turn: rx burst → input → timers → applications → output → tx burst.
//!
//! A worker is a value. Whoever turns it, a thread of its own or the application inside its
//! calls, says what time it is; it never asks, never waits and never calls the world. What it
//! has for the world stands in `Worker::take_events` and in what `Worker::publish` reports.

use std::net::SocketAddr;
use std::sync::Arc;

use corewire_drivers::device::{Burst, Device, DeviceCounts, DeviceState, WaitFd};
use corewire_drivers::env::{Counter, Counters, DropReason, Instant, Rng};
use corewire_drivers::mem::{FrameState, Packet, Pool};
use corewire_drivers::ring::Lender;

use crate::control::snapshot::{InterfaceId, Snapshot};
use crate::ip::{self, Ip, icmp};
use crate::link::input::Inbound;
use crate::link::neighbor::Evidence;
use crate::link::output::{Hop, LinkEvent};
use crate::link::{self, Link};
use crate::packet::{Addresses, EtherType, MacAddr, Protocol};
use crate::socket::application::SocketError;
use crate::socket::{Application, ContextId, Contexts, Datagram, SocketId, Turn};
use crate::udp::{self, BindError, Owner, Sockets};

/// One core's share of the engine: its devices, frames, neighbours, sockets.
#[derive(Debug)]
pub struct Worker {
    ip: Ip,
    udp: Sockets,
    contexts: Contexts,
    burst: Burst,
}

const UDP_HEADER: u16 = crate::packet::udp::HEADER_LEN as u16;

/// What a turn did, for whoever decides whether to turn again at once.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// Packets received.
    pub received: usize,
    /// Frames that devices gave back.
    pub reclaimed: usize,
    /// Entries that applications sent.
    pub collected: usize,
    /// Packets that no device has taken yet.
    pub backlog: usize,
}

impl Progress {
    /// Whether there was nothing to do.
    #[inline]
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.received == 0 && self.reclaimed == 0 && self.collected == 0 && self.backlog == 0
    }
}

impl Worker {
    /// A worker without devices.
    #[must_use]
    pub fn new(
        pool: Pool,
        snapshot: Arc<Snapshot>,
        counters: Arc<Counters>,
        rng: Rng,
        ephemeral: std::ops::RangeInclusive<u16>,
    ) -> Self {
        let frames = pool.region().frame_count() as usize;
        Self {
            ip: Ip::new(Link::new(pool, snapshot, counters, rng)),
            udp: Sockets::new(ephemeral),
            contexts: Contexts::new(frames),
            burst: Burst::new(),
        }
    }

    /// Adds a queue of `interface`.
    pub fn attach(&mut self, interface: InterfaceId, device: Box<dyn Device>) {
        self.ip.link.attach(interface, device);
    }

    /// One turn. `application` has the sockets that it made in its turns; all others belong to
    /// contexts.
    #[inline]
    pub fn turn<A: Application>(&mut self, now: Instant, application: &mut A) -> Progress {
        let mut progress = Progress::default();
        for place in 0..self.ip.link.egress.len() {
            let Link { pool, egress, .. } = &mut self.ip.link;
            let egress = &mut egress[place];
            progress.reclaimed += egress.device.reclaim(now, pool);
            progress.received += egress.device.rx_burst(now, pool, &mut self.burst);
            let interface = egress.interface;
            self.input(now, interface, application);
        }
        if now >= self.ip.link.neighbors.next_event() {
            self.ip.link.timers(now);
        }
        progress.collected = self.contexts.collect(&mut self.ip, &mut self.udp, now);
        let Self { ip, udp, .. } = self;
        let mut turn = Turn { ip, udp, now };
        // As in deliver_inline().
        let call = std::panic::AssertUnwindSafe(|| application.on_turn(&mut turn));
        if std::panic::catch_unwind(call).is_err() {
            self.ip.link.counters.add(Counter::PanicsCaught, 1);
        }
        self.ip.link.flush(now);
        progress.backlog = self.ip.link.backlog();
        self.count(progress);
        progress
    }

    /// The burst's packets, one after the other, through all layers.
    #[inline]
    fn input<A: Application>(&mut self, now: Instant, interface: InterfaceId, app: &mut A) {
        if self.burst.is_empty() {
            return;
        }
        for packet in self.burst.as_slice() {
            self.ip.link.pool.region().prefetch(packet.first());
        }
        let mac = self.ip.link.mac(interface);
        let mut burst = std::mem::replace(&mut self.burst, Burst::stand_in());
        for packet in burst.drain() {
            self.receive(now, interface, mac, packet, app);
        }
        self.burst = burst;
    }

    /// One packet through all layers: its headers are read in one go from one slice, and then it
    /// is acted upon.
    #[inline]
    fn receive<A: Application>(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        mac: MacAddr,
        packet: Packet,
        app: &mut A,
    ) {
        let Link { pool, snapshot, .. } = &self.ip.link;
        let frame = pool.bytes(&packet);
        let (ether_type, at) = match link::input::input(frame, mac) {
            Ok(Inbound { ether_type, header_len }) => (ether_type, header_len),
            Err(reason) => return self.ip.link.discard(packet, reason),
        };
        if ether_type != EtherType::IPV4 {
            return self.not_ipv4(now, interface, ether_type, at, packet);
        }
        let bytes = frame.get(usize::from(at)..).unwrap_or_default();
        let available = packet.len() - usize::from(at);
        let from = match ip::input::ipv4(snapshot, interface, bytes, available) {
            Ok(from) => from,
            Err(reason) => return self.ip.link.discard(packet, reason),
        };
        let at = at + u16::from(from.header_len);
        match from.protocol {
            Protocol::UDP => {
                let bytes = frame.get(usize::from(at)..).unwrap_or_default();
                let whole = (pool, &packet, usize::from(at));
                match udp::input::input(&self.udp, &from, bytes, whole) {
                    Ok(received) => {
                        let datagram = (&from, &received);
                        self.udp(now, at + UDP_HEADER, datagram, packet, app);
                    }
                    Err(DropReason::UdpNoSocket) => self.no_socket(now, at, &from, packet),
                    Err(reason) => self.ip.link.discard(packet, reason),
                }
            }
            Protocol::ICMP => self.icmp(now, at, &from, packet, app),
            _ => self.ip.link.discard(packet, DropReason::ProtocolUnknown),
        }
    }

    #[cold]
    fn not_ipv4(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        ether_type: EtherType,
        at: u16,
        packet: Packet,
    ) {
        match ether_type {
            EtherType::ARP => self.arp(now, interface, at, packet),
            EtherType::IPV6 => self.ip.link.discard(packet, DropReason::Ipv6Disabled),
            _ => self.ip.link.discard(packet, DropReason::EtherTypeUnknown),
        }
    }

    /// Makes the packet start `at` bytes later and be `len` bytes long.
    #[inline]
    fn narrow(&mut self, packet: &mut Packet, at: u16, len: u16) {
        if !packet.narrow(at, len) {
            packet.pull(at);
            self.ip.link.pool.truncate(packet, usize::from(len));
        }
    }

    #[inline]
    fn udp<A: Application>(
        &mut self,
        now: Instant,
        at: u16,
        (from, received): (&ip::Received, &udp::Received),
        mut packet: Packet,
        app: &mut A,
    ) {
        self.ip.link.counters.add(Counter::UdpIn, 1);
        self.narrow(&mut packet, at, received.payload_len);
        match self.udp.owner(received.slot) {
            Some((socket, Owner::Inline)) => {
                self.deliver_inline(now, (from, received), socket, packet, app);
            }
            Some((socket, Owner::Context(context))) => {
                let (ip, header_len) = (&mut self.ip, from.header_len);
                self.contexts.deliver(ip, context, socket, header_len, packet);
            }
            None => self.ip.link.discard(packet, DropReason::UdpNoSocket),
        }
    }

    #[cold]
    fn no_socket(&mut self, now: Instant, at: u16, from: &ip::Received, mut packet: Packet) {
        self.narrow(&mut packet, at, from.payload_len);
        icmp::port_unreachable(&mut self.ip, now, from, &mut packet);
        self.ip.link.discard(packet, DropReason::UdpNoSocket);
    }

    #[cold]
    fn arp(&mut self, now: Instant, interface: InterfaceId, at: u16, mut packet: Packet) {
        packet.pull(at);
        match link::arp::input(&mut self.ip.link, now, interface, &mut packet) {
            Ok(Some(asker)) => {
                let (link, hop) = (&mut self.ip.link, Hop::Station(asker));
                // What can't be sent has been counted.
                let _ = link.output(now, interface, hop, EtherType::ARP, packet);
            }
            Ok(None) => self.ip.link.pool.free(packet),
            Err(reason) => self.ip.link.discard(packet, reason),
        }
    }

    #[inline]
    fn deliver_inline<A: Application>(
        &mut self,
        now: Instant,
        (from, received): (&ip::Received, &udp::Received),
        socket: SocketId,
        packet: Packet,
        app: &mut A,
    ) {
        let mut packet = Some(packet);
        let Self { ip, udp, .. } = self;
        let mut turn = Turn { ip, udp, now };
        let datagram = Datagram { packet: &mut packet, from, received, socket };
        // The packet stands outside of what unwinds, and the layers below are whole between two
        // calls of theirs: the callback can have broken nothing but itself.
        let call = std::panic::AssertUnwindSafe(|| app.on_datagram(&mut turn, datagram));
        if std::panic::catch_unwind(call).is_err() {
            self.ip.link.counters.add(Counter::PanicsCaught, 1);
            self.udp.close(socket);
        }
        if let Some(packet) = packet {
            self.ip.link.pool.free(packet);
        }
    }

    #[cold]
    fn icmp<A: Application>(
        &mut self,
        now: Instant,
        at: u16,
        received: &ip::Received,
        mut packet: Packet,
        app: &mut A,
    ) {
        self.narrow(&mut packet, at, received.payload_len);
        match icmp::input(&self.ip, received, &mut packet) {
            Ok(icmp::Inbound::Answer) => icmp::answer(&mut self.ip, now, received, packet),
            Ok(icmp::Inbound::Unreachable { tuple, reason }) => {
                self.ip.link.pool.free(packet);
                self.unreachable(now, tuple.local(), tuple.remote(), reason, app);
            }
            Err(reason) => self.ip.link.discard(packet, reason),
        }
    }

    /// A datagram from `local` to `remote` did not arrive: tell the socket, if it is connected
    /// (RFC 1122 §4.1.3.3; as Linux, others are not told).
    fn unreachable<A: Application>(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        reason: crate::packet::icmp::Unreachable,
        app: &mut A,
    ) {
        use crate::packet::icmp::Unreachable;
        let error = match reason {
            Unreachable::PORT | Unreachable::PROTOCOL => SocketError::Refused,
            Unreachable::NET => SocketError::NetworkUnreachable,
            _ => SocketError::HostUnreachable,
        };
        let Some(addresses) = Addresses::new(remote.ip(), local.ip()) else { return };
        let ports = (remote.port(), local.port());
        let Some(slot) = self.udp.lookup(&addresses, ports, false) else { return };
        let owner = self.udp.slot_mut(slot).filter(|s| s.peer() == Some(remote)).map(|s| s.owner);
        match (self.udp.id(slot), owner) {
            (Some(socket), Some(Owner::Context(context))) => {
                self.contexts.report(context, socket, error);
            }
            (Some(socket), Some(Owner::Inline)) => {
                let Self { ip, udp, .. } = self;
                let mut turn = Turn { ip, udp, now };
                let call = std::panic::AssertUnwindSafe(|| app.on_error(&mut turn, socket, error));
                if std::panic::catch_unwind(call).is_err() {
                    self.ip.link.counters.add(Counter::PanicsCaught, 1);
                    self.udp.close(socket);
                }
            }
            _ => {}
        }
    }

    fn count(&self, progress: Progress) {
        let counters = &self.ip.link.counters;
        counters.add(Counter::Turns, 1);
        if progress.is_idle() {
            counters.add(Counter::IdleTurns, 1);
        } else {
            counters.add(Counter::RxPackets, progress.received as u64);
        }
        debug_assert!(self.ip.link.pool.is_conserved(), "a frame was lost or is in two places");
    }

    /// Makes what was lent in this turn visible to the contexts, and names those that may sleep.
    #[inline]
    pub fn publish(&mut self, wake: impl FnMut(ContextId)) {
        self.contexts.publish(wake);
    }

    /// When the worker has something to do by itself next, if nothing arrives before. Devices
    /// that are gone have nothing to do any more.
    #[must_use]
    pub fn next_event(&self) -> Instant {
        let alive = self.ip.link.egress.iter().filter(|e| e.device.state() != DeviceState::Gone);
        let devices = alive.map(|egress| egress.device.next_event());
        devices.fold(self.ip.link.neighbors.next_event(), Instant::min)
    }

    /// What to sleep on until frames arrive; `None` for a device that can only be polled. Devices
    /// that are down or gone are left out: nothing arrives there, and their descriptors may say
    /// at once that there is an error.
    pub fn wait_fds(&self) -> impl Iterator<Item = Option<WaitFd<'_>>> + '_ {
        let up = self.ip.link.egress.iter().filter(|e| e.device.state() == DeviceState::Up);
        up.map(|egress| egress.device.wait_fd())
    }

    /// Whether an application has sent or given back something, or is gone: a turn is due.
    #[must_use]
    pub fn has_entries(&mut self) -> bool {
        self.contexts.have_entries()
    }

    /// Whether the worker had devices and all are gone: nothing will ever arrive.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        let egress = &self.ip.link.egress;
        !egress.is_empty() && egress.iter().all(|e| e.device.state() == DeviceState::Gone)
    }

    /// Tells every socket of a context of an error.
    pub fn report_all(&mut self, error: SocketError) {
        let Self { udp, contexts, .. } = self;
        for (socket, owner) in udp.iter() {
            if let Owner::Context(context) = owner {
                contexts.report(context, socket, error);
            }
        }
    }

    /// Whether the link layer has something for the world.
    #[inline]
    #[must_use]
    pub const fn has_events(&self) -> bool {
        self.ip.link.has_events()
    }

    /// What the link layer has for the world, since the last call.
    pub fn take_events(&mut self) -> impl Iterator<Item = LinkEvent> + '_ {
        self.ip.link.take_events()
    }

    /// Goes by a new snapshot from now on.
    pub fn set_snapshot(&mut self, now: Instant, snapshot: Arc<Snapshot>) {
        self.ip.link.set_snapshot(now, snapshot);
    }

    /// Another worker has learned where a neighbour is.
    pub fn learn(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: std::net::IpAddr,
        mac: MacAddr,
    ) {
        self.ip.link.learn_from_peer(now, interface, address, mac);
    }

    /// Claims so far that a known neighbour has another station address.
    #[must_use]
    pub const fn neighbor_changes(&self) -> u64 {
        self.ip.link.neighbors.conflicts()
    }

    /// A neighbour is said to be elsewhere now. Believed as a gratuitous ARP that came to us:
    /// only of a neighbour that we know, and to be confirmed.
    pub fn moved(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: std::net::IpAddr,
        mac: MacAddr,
    ) {
        if self.ip.link.neighbors.knows(interface, address) {
            self.ip.link.learn(now, interface, address, mac, Evidence::Unsolicited);
        }
    }

    /// Adds a context's end, and says whether it did: not when there is a context of that name, or
    /// one of which frames are still out.
    #[must_use]
    pub fn add_context(&mut self, id: ContextId, lender: Lender) -> bool {
        self.contexts.add(id, lender)
    }

    /// Whether there is a context of that name, or one of which frames are still out.
    #[must_use]
    pub fn has_context(&self, id: ContextId) -> bool {
        self.contexts.has(id)
    }

    /// Makes a UDP socket for a context, with a receive buffer of `receive_buffer` bytes. Returns
    /// its name, where it is, and the buffer granted.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn udp_bind(
        &mut self,
        context: ContextId,
        local: SocketAddr,
        receive_buffer: usize,
    ) -> Result<(SocketId, SocketAddr, usize), BindError> {
        let link = &mut self.ip.link;
        if !local.ip().is_unspecified() && link.snapshot.is_local(local.ip()).is_none() {
            return Err(BindError::NotAvailable);
        }
        let (id, local) = self.udp.bind(local, Owner::Context(context), &mut link.rng)?;
        let granted = self.contexts.open(id, receive_buffer, link.pool.region().frame_size());
        Ok((id, local, granted))
    }

    /// A socket, to look at or to change.
    pub fn udp_socket(&mut self, id: SocketId) -> Option<&mut udp::Socket> {
        self.udp.get_mut(id)
    }

    /// Lets a socket speak with `peer` alone from now on, or with everybody again. Returns whether
    /// there is such a socket.
    pub fn udp_connect(&mut self, id: SocketId, peer: Option<SocketAddr>) -> bool {
        self.udp.connect(id, peer)
    }

    /// Changes the receive buffer of a context's socket; returns the bytes granted.
    pub fn udp_set_receive_buffer(&mut self, id: SocketId, bytes: usize) -> Option<usize> {
        self.udp.get_mut(id)?;
        let frame_size = self.ip.link.pool.region().frame_size();
        Some(self.contexts.open(id, bytes, frame_size))
    }

    /// The address from which a datagram to `peer` would go.
    #[must_use]
    pub fn source_towards(&self, peer: std::net::IpAddr) -> Option<std::net::IpAddr> {
        self.ip.link.snapshot.route(peer).map(|next| next.source)
    }

    /// Closes a socket; datagrams that wait for its application are freed. What the application
    /// sent before goes out.
    pub fn udp_close(&mut self, now: Instant, id: SocketId) {
        self.contexts.collect(&mut self.ip, &mut self.udp, now);
        if let Some(socket) = self.udp.close(id) {
            self.contexts.close(&mut self.ip.link.pool, socket.owner, id);
        }
    }

    /// Lets an inline application act outside of a turn: to make its first sockets.
    pub fn with_turn<R>(&mut self, now: Instant, act: impl FnOnce(&mut Turn<'_>) -> R) -> R {
        let Self { ip, udp, .. } = self;
        act(&mut Turn { ip, udp, now })
    }

    /// The worker's counters.
    #[must_use]
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.ip.link.counters
    }

    /// The frames, to look at.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.ip.link.pool
    }

    /// Each device's name, state and counts.
    pub fn devices(&self) -> impl Iterator<Item = (&str, DeviceState, DeviceCounts)> + '_ {
        self.ip.link.egress.iter().map(|egress| {
            let device = &egress.device;
            (device.capabilities().name.as_str(), device.state(), device.counts())
        })
    }

    /// Closes everything and returns every frame to the pool. Whether all came home: those that
    /// applications still read did not. What a cable's other end still reads is no loss: that
    /// gives it back.
    pub fn shut_down(&mut self) -> bool {
        self.contexts.clear(&mut self.ip, &mut self.udp);
        self.burst.free(&mut self.ip.link.pool);
        self.ip.link.release();
        let pool = &self.ip.link.pool;
        let census = pool.census();
        let out = census.count(FrameState::Loaned) + census.count(FrameState::Received);
        pool.is_conserved() && out == 0
    }
}
