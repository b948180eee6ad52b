//! One core's turn: rx burst → input → timers → applications → output → tx burst.
//!
//! A worker is a value. Whoever turns it, a thread of its own or the application inside its
//! calls, says what time it is; it never asks, never waits and never calls the world. What it
//! has for the world stands in [`Worker::take_events`] and in what [`Worker::publish`] reports.

use std::net::SocketAddr;
use std::sync::Arc;

use corewire_drivers::device::{Burst, Device, DeviceCounts, DeviceState};
use corewire_drivers::env::{Counter, Counters, DropReason, Instant, Rng};
use corewire_drivers::mem::{Packet, Pool};
use corewire_drivers::ring::Lender;

use crate::control::snapshot::{InterfaceId, Snapshot};
use crate::ip::{self, Ip, icmp};
use crate::link::neighbor::Evidence;
use crate::link::output::{Hop, LinkEvent};
use crate::link::{self, Link};
use crate::packet::{MacAddr, Protocol};
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
        application.on_turn(&mut Turn { ip, udp, now });
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
        let mut burst = std::mem::take(&mut self.burst);
        for packet in burst.drain() {
            self.receive(now, interface, packet, app);
        }
        self.burst = burst;
    }

    #[inline]
    fn receive<A: Application>(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        mut packet: Packet,
        app: &mut A,
    ) {
        match link::input::input(&mut self.ip.link, now, interface, &mut packet) {
            Ok(link::input::Inbound::Ipv4) => self.ipv4(now, interface, packet, app),
            Ok(link::input::Inbound::Ipv6) => {
                self.ip.link.discard(packet, DropReason::Ipv6Disabled);
            }
            Ok(link::input::Inbound::Done) => self.ip.link.pool.free(packet),
            Ok(link::input::Inbound::Answer(mac, ether_type)) => {
                // What can't be sent has been counted.
                let hop = Hop::Station(mac);
                let _ = self.ip.link.output(now, interface, hop, ether_type, packet);
            }
            Err(reason) => self.ip.link.discard(packet, reason),
        }
    }

    #[inline]
    fn ipv4<A: Application>(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        mut packet: Packet,
        app: &mut A,
    ) {
        let received = match ip::input::ipv4(&self.ip, interface, &mut packet) {
            Ok(received) => received,
            Err(reason) => return self.ip.link.discard(packet, reason),
        };
        ip::input::strip(&mut self.ip, &mut packet, &received);
        match received.protocol {
            Protocol::UDP => self.udp(now, &received, packet, app),
            Protocol::ICMP => self.icmp(now, &received, packet, app),
            _ => self.ip.link.discard(packet, DropReason::ProtocolUnknown),
        }
    }

    #[inline]
    fn udp<A: Application>(
        &mut self,
        now: Instant,
        from: &ip::Received,
        mut packet: Packet,
        app: &mut A,
    ) {
        let received = match udp::input::input(&self.udp, &mut self.ip, from, &mut packet) {
            Ok(received) => received,
            Err(reason) => {
                if reason == DropReason::UdpNoSocket {
                    icmp::port_unreachable(&mut self.ip, now, from, &mut packet);
                }
                return self.ip.link.discard(packet, reason);
            }
        };
        let owner = self.udp.slot_mut(received.slot).map(|socket| socket.owner);
        match (self.udp.id(received.slot), owner) {
            (Some(socket), Some(Owner::Context(context))) => {
                let (ip, header_len) = (&mut self.ip, received.ip_header_len);
                self.contexts.deliver(ip, context, socket, header_len, packet);
            }
            (Some(socket), Some(Owner::Inline)) => {
                self.deliver_inline(now, &received, socket, packet, app);
            }
            _ => self.ip.link.discard(packet, DropReason::UdpNoSocket),
        }
    }

    #[inline]
    fn deliver_inline<A: Application>(
        &mut self,
        now: Instant,
        received: &udp::Received,
        socket: SocketId,
        packet: Packet,
        app: &mut A,
    ) {
        let mut packet = Some(packet);
        let Self { ip, udp, .. } = self;
        let mut turn = Turn { ip, udp, now };
        let datagram = Datagram { packet: &mut packet, received, socket };
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

    fn icmp<A: Application>(
        &mut self,
        now: Instant,
        received: &ip::Received,
        mut packet: Packet,
        app: &mut A,
    ) {
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
        let Some(slot) = self.udp.lookup(local, remote, false) else { return };
        let owner = self.udp.slot_mut(slot).filter(|s| s.peer == Some(remote)).map(|s| s.owner);
        match (self.udp.id(slot), owner) {
            (Some(socket), Some(Owner::Context(context))) => {
                self.contexts.report(context, socket, error);
            }
            (Some(socket), Some(Owner::Inline)) => {
                let Self { ip, udp, .. } = self;
                app.on_error(&mut Turn { ip, udp, now }, socket, error);
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

    /// When the worker has something to do by itself next, if nothing arrives before.
    #[must_use]
    pub fn next_event(&self) -> Instant {
        let devices = self.ip.link.egress.iter().map(|egress| egress.device.next_event());
        devices.fold(self.ip.link.neighbors.next_event(), Instant::min)
    }

    /// What to sleep on until frames arrive; `None` for a device that can only be polled.
    pub fn wait_fds(&self) -> impl Iterator<Item = Option<std::os::fd::RawFd>> + '_ {
        self.ip.link.egress.iter().map(|egress| egress.device.wait_fd())
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
        self.ip.link.learn(now, interface, address, mac, Evidence::Answer);
        // It was told: others know already.
        self.ip.link.take_events().for_each(drop);
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

    /// Closes a socket; datagrams that wait for its application are freed.
    pub fn udp_close(&mut self, id: SocketId) {
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
    /// applications still read, and those that a device's kernel side still holds, did not.
    pub fn shut_down(&mut self) -> bool {
        self.contexts.clear(&mut self.ip, &mut self.udp);
        self.burst.free(&mut self.ip.link.pool);
        self.ip.link.release();
        self.ip.link.pool.is_conserved()
    }
}
