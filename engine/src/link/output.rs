//! Frames out: the header, and the devices' bursts.

use std::net::IpAddr;
use std::sync::Arc;

use corewire_drivers::device::{Burst, Device, DeviceState, LinkKind};
use corewire_drivers::env::limits::RESERVE;
use corewire_drivers::env::{Counter, Counters, DropReason, Instant, Rng};
use corewire_drivers::mem::{Packet, Pool};

use super::neighbor::{Due, Evidence, Resolution};
use super::{NeighborRef, Neighbors, arp};
use crate::control::snapshot::{self, InterfaceId, Snapshot};
use crate::flow::HashKey;
use crate::packet::ethernet::{self, EtherType, MacAddr};
use crate::packet::vlan::Tags;

/// The link layer of one worker: its frames, its devices, its neighbours, and the snapshot by
/// which it goes.
pub struct Link {
    /// The worker's frames.
    pub pool: Pool,
    /// What rarely changes.
    pub snapshot: Arc<Snapshot>,
    /// Neighbours' addresses.
    pub neighbors: Neighbors,
    /// The worker's counters.
    pub counters: Arc<Counters>,
    /// The worker's chance.
    pub rng: Rng,
    /// The devices, each a queue of an interface.
    pub egress: Vec<Egress>,
    events: Vec<LinkEvent>,
}

/// One queue of one interface, and the packets that wait to be sent on it.
pub struct Egress {
    /// The queue.
    pub device: Box<dyn Device>,
    /// Whose it is.
    pub interface: InterfaceId,
    kind: LinkKind,
    burst: Burst,
}

/// How a packet reaches the next station.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Hop {
    /// By a neighbour's address, as far as that is known.
    Neighbor(NeighborRef),
    /// By this address: a group's, or a station's that has just spoken.
    Station(MacAddr),
}

/// What the link layer wants the world to know.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum LinkEvent {
    /// The kernel is to find this neighbour (steering mode `ports`).
    WantNeighbor(InterfaceId, IpAddr),
    /// A neighbour answered: other workers may wait for it.
    Learned(InterfaceId, IpAddr, MacAddr),
}

/// Events that wait for the world. More can't be new in one turn: the neighbours' questions are
/// limited to one a second each, and what is lost is asked for again.
const MAX_EVENTS: usize = 64;

impl Link {
    /// A link layer without devices.
    #[must_use]
    pub fn new(pool: Pool, snapshot: Arc<Snapshot>, counters: Arc<Counters>, mut rng: Rng) -> Self {
        Self {
            neighbors: Neighbors::new(HashKey::new(&mut rng)),
            events: Vec::with_capacity(MAX_EVENTS),
            egress: Vec::new(),
            pool,
            snapshot,
            counters,
            rng,
        }
    }

    /// Adds a queue of `interface`.
    pub fn attach(&mut self, interface: InterfaceId, device: Box<dyn Device>) {
        let kind = device.capabilities().link;
        self.egress.push(Egress { device, interface, kind, burst: Burst::new() });
    }

    /// The interface's MAC address.
    #[inline]
    #[must_use]
    pub fn mac(&self, interface: InterfaceId) -> MacAddr {
        self.snapshot.interface(interface).map_or(MacAddr::UNSPECIFIED, |i| i.mac)
    }

    /// Counts a drop, and frees the packet.
    #[cold]
    pub fn discard(&mut self, packet: Packet, reason: DropReason) {
        self.counters.add_drop(reason);
        self.pool.free(packet);
    }

    /// Sends a packet, which starts at its network header, to the next station.
    ///
    /// It goes with the rest of the turn's packets. One whose neighbour is not yet known waits.
    ///
    /// # Errors
    /// Why it was dropped; it has been counted and freed.
    #[inline]
    pub fn output(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        hop: Hop,
        ether_type: EtherType,
        packet: Packet,
    ) -> Result<(), DropReason> {
        let mac = match hop {
            Hop::Station(mac) => mac,
            Hop::Neighbor(neighbor) => match self.neighbors.resolve(now, neighbor) {
                Resolution::Known(mac) => mac,
                Resolution::Pending => return self.hold(neighbor, packet),
                Resolution::Unreachable | Resolution::Forgotten => {
                    self.discard(packet, DropReason::NeighborUnreachable);
                    return Err(DropReason::NeighborUnreachable);
                }
            },
        };
        self.frame(interface, mac, ether_type, packet)
    }

    /// Puts the Ethernet header before the packet and queues it.
    #[inline]
    fn frame(
        &mut self,
        interface: InterfaceId,
        destination: MacAddr,
        ether_type: EtherType,
        mut packet: Packet,
    ) -> Result<(), DropReason> {
        let Some(place) = self.egress.iter().position(|e| e.interface == interface) else {
            self.discard(packet, DropReason::DeviceDown);
            return Err(DropReason::DeviceDown);
        };
        if self.egress[place].kind == LinkKind::Ethernet {
            if !packet.push(ethernet::HEADER_LEN as u16) {
                self.discard(packet, DropReason::NoFrame);
                return Err(DropReason::NoFrame);
            }
            let source = self.mac(interface);
            let header = ethernet::Header { destination, source, ether_type, tags: Tags::NONE };
            header.emit(self.pool.bytes_mut(&mut packet));
        }
        self.output_framed(place, packet)
    }

    /// Which device leads to `hop`, and from which station to which; `None` while a neighbour's
    /// address is not known.
    pub fn station(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        hop: Hop,
    ) -> Option<(usize, (LinkKind, MacAddr, MacAddr))> {
        let place = self.egress.iter().position(|e| e.interface == interface)?;
        let to = match hop {
            Hop::Station(mac) => mac,
            Hop::Neighbor(neighbor) => match self.neighbors.resolve(now, neighbor) {
                Resolution::Known(mac) => mac,
                _ => return None,
            },
        };
        Some((place, (self.egress[place].kind, self.mac(interface), to)))
    }

    /// Queues a packet that has its link header, for the device at `place`.
    ///
    /// # Errors
    /// Why it was dropped; it has been counted and freed.
    #[inline]
    pub fn output_framed(&mut self, place: usize, mut packet: Packet) -> Result<(), DropReason> {
        if packet.len() < ethernet::MIN_FRAME_LEN && !self.pad(place, &mut packet) {
            self.discard(packet, DropReason::NoFrame);
            return Err(DropReason::NoFrame);
        }
        self.enqueue(place, packet)
    }

    /// Fills a short frame up to the 60 bytes of the standard with zeros, so that nothing that the
    /// frame held before leaves the host (CVE-2003-0001, "EtherLeak"). False when they do not fit:
    /// an application may have put its bytes at the very end of a frame.
    #[inline]
    fn pad(&self, place: usize, packet: &mut Packet) -> bool {
        let (len, min) = (packet.len(), ethernet::MIN_FRAME_LEN);
        if self.egress[place].kind != LinkKind::Ethernet {
            return true;
        }
        if !packet.is_linear() || packet.headroom() + min > self.pool.region().frame_size() {
            return false;
        }
        packet.grow((min - len) as u16);
        self.pool.bytes_mut(packet)[len..].fill(0);
        true
    }

    #[inline]
    fn enqueue(&mut self, place: usize, packet: Packet) -> Result<(), DropReason> {
        let egress = &mut self.egress[place];
        if egress.burst.room() == 0 {
            // Time only matters to devices in a simulation, which take whole bursts anyway.
            let now = Instant::ZERO;
            let sent = egress.device.tx_burst(now, &mut self.pool, &mut egress.burst);
            self.counters.add(Counter::TxPackets, sent as u64);
        }
        match egress.burst.push(packet) {
            Ok(()) => Ok(()),
            Err(packet) => {
                let down = egress.device.state() != DeviceState::Up;
                let reason = if down { DropReason::DeviceDown } else { DropReason::TxQueueFull };
                self.discard(packet, reason);
                Err(reason)
            }
        }
    }

    /// Hands the turn's packets to the devices. What a device does not take stays for the next
    /// turn; a device that is down gets nothing later, as with Linux.
    #[inline]
    pub fn flush(&mut self, now: Instant) {
        for egress in &mut self.egress {
            if !egress.burst.is_empty() {
                let sent = egress.device.tx_burst(now, &mut self.pool, &mut egress.burst);
                self.counters.add(Counter::TxPackets, sent as u64);
                if sent == 0 && egress.device.state() != DeviceState::Up {
                    let lost = egress.burst.len() as u64;
                    self.counters.add_drops(DropReason::DeviceDown, lost);
                    egress.burst.free(&mut self.pool);
                }
            }
        }
    }

    /// Packets that no device has taken yet.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.egress.iter().map(|egress| egress.burst.len()).sum()
    }

    /// Asks for neighbours, and gives up those that do not answer.
    pub fn timers(&mut self, now: Instant) {
        while let Some(due) = self.neighbors.due(now) {
            match due {
                Due::Solicit { interface, address, known } => {
                    self.solicit(interface, address, known);
                }
                Due::Failed(packet) => self.discard(packet, DropReason::NeighborUnreachable),
            }
        }
    }

    /// Somebody says where a neighbour is: what waited for it can go.
    pub fn learn(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
        mac: MacAddr,
        evidence: Evidence,
    ) {
        self.take_note(now, interface, address, mac, evidence);
        if evidence == Evidence::Answer {
            self.event(LinkEvent::Learned(interface, address, mac));
        }
    }

    /// Another worker says where a neighbour is: the others know already.
    pub fn learn_from_peer(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
        mac: MacAddr,
    ) {
        self.take_note(now, interface, address, mac, Evidence::Answer);
    }

    fn take_note(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
        mac: MacAddr,
        evidence: Evidence,
    ) {
        let key = (interface, address);
        let waiting = self.neighbors.learn(now, key, mac, evidence, &mut self.rng);
        for packet in waiting.into_iter().flatten() {
            let version = self.pool.bytes(&packet).first().map_or(0, |byte| byte >> 4);
            let ether_type = if version == 6 { EtherType::IPV6 } else { EtherType::IPV4 };
            // What can't be sent has been counted.
            let _ = self.frame(interface, mac, ether_type, packet);
        }
    }

    /// Goes by a new snapshot from now on.
    pub fn set_snapshot(&mut self, now: Instant, snapshot: Arc<Snapshot>) {
        self.snapshot = snapshot;
        let gone: Vec<_> = self.neighbors.permanent().collect();
        for (interface, address, mac) in gone {
            if self.snapshot.neighbor(interface, address) != Some(mac) {
                let waiting = self.neighbors.forget(interface, address);
                waiting.into_iter().flatten().for_each(|packet| self.pool.free(packet));
            }
        }
        let wanted: Vec<_> = self.neighbors.incomplete().collect();
        for (interface, address) in wanted {
            if let Some(mac) = self.snapshot.neighbor(interface, address) {
                self.learn(now, interface, address, mac, Evidence::Permanent);
            }
        }
    }

    /// The neighbour at `address`: found, or put to the question.
    ///
    /// # Errors
    /// [`DropReason::NeighborQueueFull`].
    pub fn find_neighbor(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
    ) -> Result<NeighborRef, DropReason> {
        let new = !self.neighbors.knows(interface, address);
        let found = self.neighbors.find(now, interface, address)?;
        while let Some(packet) = self.neighbors.next_given_up() {
            self.discard(packet, DropReason::NeighborQueueFull);
        }
        if new && let Some(mac) = self.snapshot.neighbor(interface, address) {
            self.learn(now, interface, address, mac, Evidence::Permanent);
        }
        Ok(found)
    }

    /// What the world is to know, since the last call.
    pub fn take_events(&mut self) -> impl Iterator<Item = LinkEvent> + '_ {
        self.events.drain(..)
    }

    /// Whether the world is to know something.
    #[inline]
    #[must_use]
    pub const fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    fn hold(&mut self, neighbor: NeighborRef, packet: Packet) -> Result<(), DropReason> {
        if self.pool.free_count() < RESERVE {
            // What waits in vain must not keep the stack from speaking.
            self.discard(packet, DropReason::NeighborQueueFull);
            return Err(DropReason::NeighborQueueFull);
        }
        if let Err(oldest) = self.neighbors.wait(neighbor, packet) {
            // The newest packet waits; an older one had to go.
            self.discard(oldest, DropReason::NeighborQueueFull);
        }
        Ok(())
    }

    fn solicit(&mut self, interface: InterfaceId, address: IpAddr, known: Option<MacAddr>) {
        let resolution = self.snapshot.interface(interface).map(|i| i.resolution);
        match (resolution, address) {
            (Some(snapshot::Resolution::Kernel), _) => {
                self.event(LinkEvent::WantNeighbor(interface, address));
            }
            (Some(snapshot::Resolution::Engine), IpAddr::V4(target)) => {
                self.ask(interface, target, known);
            }
            // Neighbor discovery comes with IPv6.
            _ => {}
        }
    }

    fn ask(&mut self, interface: InterfaceId, target: std::net::Ipv4Addr, known: Option<MacAddr>) {
        let Some(mut frame) = self.pool.take() else {
            self.counters.add_drop(DropReason::NoFrame);
            return;
        };
        frame.set_range(frame.head(), ethernet::MIN_FRAME_LEN as u16);
        let mut packet = Packet::from(frame);
        self.pool.bytes_mut(&mut packet).fill(0);
        let place = self.egress.iter().position(|e| e.interface == interface);
        match (arp::solicit(self, &mut packet, interface, target, known), place) {
            (Ok(()), Some(place)) => {
                // A question that can't be sent is counted, and asked again in a second.
                let _ = self.enqueue(place, packet);
            }
            (Err(reason), _) => self.discard(packet, reason),
            (_, None) => self.discard(packet, DropReason::DeviceDown),
        }
    }

    fn event(&mut self, event: LinkEvent) {
        if self.events.len() < MAX_EVENTS {
            self.events.push(event);
        }
    }

    /// Returns every frame to the pool, as far as the devices let go of them.
    pub fn release(&mut self) {
        for egress in &mut self.egress {
            egress.burst.free(&mut self.pool);
            egress.device.release(&mut self.pool);
        }
        let interfaces: Vec<_> = self.snapshot.interfaces.iter().map(|i| i.id).collect();
        for interface in interfaces {
            for packet in self.neighbors.flush(interface) {
                self.pool.free(packet);
            }
        }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let devices: Vec<_> =
            self.egress.iter().map(|egress| &egress.device.capabilities().name).collect();
        f.debug_struct("Link").field("devices", &devices).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Egress({} on {:?})", self.device.capabilities().name, self.interface)
    }
}
