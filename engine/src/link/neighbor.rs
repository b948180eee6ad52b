//! Neighbours' addresses: learned, probed, forgotten.
//!
//! ```text
//!              use                answer              use after 30 s
//!   (nothing) ─────▶ incomplete ─────────▶ reachable ────────────────▶ probing
//!                     │ 3 × 1 s              ▲                          │   │
//!                     ▼                      └───────── answer ─────────┘   │
//!                   failed ── 3 s ─▶ (nothing)                              │
//!                     ▲──────────────────── 5 s, 3 × 1 s ───────────────────┘
//! ```
//!
//! The names are those of neighbor unreachability detection (RFC 4861 §7.3), which ARP caches
//! follow too (RFC 1122 §2.3.2.1). The table is bounded: when it is full, only entries that never
//! had an answer are thrown out, so that nobody who sweeps a network can push a neighbour out
//! with whom we speak (RFC 6583 §6.2).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use corewire_drivers::env::{DropReason, Instant, Rng};
use corewire_drivers::mem::Packet;

use crate::control::snapshot::InterfaceId;
use crate::flow::HashKey;
use crate::packet::MacAddr;

/// Neighbours a worker knows. Linux keeps up to 1,024 (gc_thresh3); more and an attacker can make
/// us hold as much memory, fewer and a /22 of clients does not fit.
pub const CAPACITY: usize = 1024;

/// Packets that wait for one neighbour. RFC 1122 §2.3.2.2 asks for at least one, the latest;
/// three carry the first burst of a resolver or of a client that starts.
pub const QUEUE: usize = 3;

/// How long an answer holds: RFC 4861's BASE_REACHABLE_TIME, of which each entry takes a random
/// half to one and a half times, so that neighbours are not all probed at once.
pub const REACHABLE: Duration = Duration::from_secs(30);

/// Between two questions (RETRANS_TIMER), and how many there are (MAX_MULTICAST_SOLICIT,
/// MAX_UNICAST_SOLICIT).
pub const RETRY: Duration = Duration::from_secs(1);
/// Questions before a neighbour counts as unreachable.
pub const ATTEMPTS: u8 = 3;

/// How long a stale entry is used before the neighbour is asked (DELAY_FIRST_PROBE_TIME): it may
/// well speak by itself meanwhile.
pub const DELAY: Duration = Duration::from_secs(5);

/// How long a neighbour that did not answer is not asked again: senders get an error at once
/// instead of a question a packet.
pub const NEGATIVE: Duration = Duration::from_secs(3);

/// An answer that nobody asked for can't replace a fresher one than this (Linux's locktime):
/// two stations that fight over an address flip once a second, not once a packet.
pub const LOCK: Duration = Duration::from_secs(1);

/// Names one entry; it stops working when the entry is used for somebody else.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct NeighborRef {
    slot: u16,
    generation: u32,
}

/// What is known of a neighbour.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Resolution {
    /// Its address.
    Known(MacAddr),
    /// It has been asked.
    Pending,
    /// It did not answer.
    Unreachable,
    /// The reference is old: ask again with [`Neighbors::find`].
    Forgotten,
}

/// How an address came to us.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Evidence {
    /// The answer to a question, sent to us.
    Answer,
    /// The neighbour asked us, or told everybody.
    Unsolicited,
    /// The control plane says so, for ever.
    Permanent,
}

/// What the timers want.
#[derive(Debug, Eq, PartialEq)]
pub enum Due {
    /// Ask for the neighbour's address: of itself when it is known, else of everybody.
    Solicit {
        /// On which interface.
        interface: InterfaceId,
        /// Who.
        address: IpAddr,
        /// The address that it had.
        known: Option<MacAddr>,
    },
    /// It did not answer: the packet can't be sent.
    Failed(Packet),
}

/// The worker's neighbours.
#[derive(Debug)]
pub struct Neighbors {
    index: HashMap<(InterfaceId, IpAddr), u16, HashKey>,
    entries: Vec<Entry>,
    free: Vec<u16>,
    /// No timer is due before this.
    next_event: Instant,
    /// Where the pass over the timers stands.
    cursor: usize,
    /// Where the search for an entry to throw out goes on.
    hand: usize,
    /// Packets that waited for neighbours which had to make room.
    given_up: Vec<Packet>,
    /// Answers that contradicted a fresh one: an address conflict, or somebody who lies.
    conflicts: u64,
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    state: State,
    mac: MacAddr,
    interface: InterfaceId,
    address: IpAddr,
    changed: Instant,
    /// When the state ends by itself.
    until: Instant,
    attempts: u8,
    waiting: [Option<Packet>; QUEUE],
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum State {
    Vacant,
    Incomplete,
    Reachable,
    Probing,
    Failed,
    Permanent,
}

impl Neighbors {
    /// No neighbours.
    #[must_use]
    pub fn new(key: HashKey) -> Self {
        Self {
            index: HashMap::with_capacity_and_hasher(CAPACITY, key),
            entries: Vec::with_capacity(CAPACITY),
            free: Vec::with_capacity(CAPACITY),
            next_event: Instant::FAR_FUTURE,
            cursor: 0,
            hand: 0,
            given_up: Vec::with_capacity(QUEUE),
            conflicts: 0,
        }
    }

    /// The entry of a neighbour, made and put to the question if there is none.
    ///
    /// # Errors
    /// [`DropReason::NeighborQueueFull`] when the table is full of neighbours that answer. Those
    /// that had to make room leave packets behind: [`next_given_up`](Self::next_given_up).
    pub fn find(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
    ) -> Result<NeighborRef, DropReason> {
        if let Some(slot) = self.index.get(&(interface, address)).copied() {
            return Ok(self.reference(slot));
        }
        let slot = self.insert(now, interface, address).ok_or(DropReason::NeighborQueueFull)?;
        self.set(slot, State::Incomplete, now);
        Ok(self.reference(slot))
    }

    /// What is known of a neighbour. To use a stale entry is to have it probed.
    #[inline]
    pub fn resolve(&mut self, now: Instant, neighbor: NeighborRef) -> Resolution {
        let Some(entry) = self.entries.get(usize::from(neighbor.slot)) else {
            return Resolution::Forgotten;
        };
        if entry.generation != neighbor.generation {
            return Resolution::Forgotten;
        }
        match entry.state {
            State::Reachable if now < entry.until => Resolution::Known(entry.mac),
            State::Permanent | State::Probing => Resolution::Known(entry.mac),
            State::Reachable => {
                let mac = entry.mac;
                self.set(neighbor.slot, State::Probing, now + DELAY);
                Resolution::Known(mac)
            }
            State::Incomplete => Resolution::Pending,
            State::Failed => Resolution::Unreachable,
            State::Vacant => Resolution::Forgotten,
        }
    }

    /// Whether the neighbour's address is known, fresh, and the same as ever since the reference
    /// was made. If not, [`resolve`](Self::resolve) says what there is instead.
    #[inline]
    #[must_use]
    pub fn is_ready(&self, now: Instant, neighbor: NeighborRef) -> bool {
        self.entries.get(usize::from(neighbor.slot)).is_some_and(|entry| {
            entry.generation == neighbor.generation
                && (entry.state == State::Reachable && now < entry.until
                    || matches!(entry.state, State::Permanent | State::Probing))
        })
    }

    /// Lets a packet wait for the neighbour's answer.
    ///
    /// # Errors
    /// The packet that can't wait: of a full queue the oldest, for the newest is the one that its
    /// sender still wants.
    pub fn wait(&mut self, neighbor: NeighborRef, packet: Packet) -> Result<(), Packet> {
        let Some(entry) = self.entries.get_mut(usize::from(neighbor.slot)) else {
            return Err(packet);
        };
        if entry.generation != neighbor.generation || entry.state != State::Incomplete {
            return Err(packet);
        }
        if let Some(place) = entry.waiting.iter_mut().find(|place| place.is_none()) {
            *place = Some(packet);
            return Ok(());
        }
        let oldest = entry.waiting[0].take();
        entry.waiting.rotate_left(1);
        entry.waiting[QUEUE - 1] = Some(packet);
        oldest.map_or(Ok(()), Err)
    }

    /// Somebody says that `address` is at `mac`. Returns the packets that waited for it.
    ///
    /// An answer is believed only for a neighbour that was asked; what comes unasked may refresh an
    /// entry, and makes one only if there is room without throwing another out.
    pub fn learn(
        &mut self,
        now: Instant,
        (interface, address): (InterfaceId, IpAddr),
        mac: MacAddr,
        evidence: Evidence,
        rng: &mut Rng,
    ) -> [Option<Packet>; QUEUE] {
        let slot = match self.index.get(&(interface, address)).copied() {
            Some(slot) if self.may_replace(slot, mac, evidence, now) => slot,
            Some(_) => return [const { None }; QUEUE],
            // Nobody asked: an answer out of the blue.
            None if evidence == Evidence::Answer => return [const { None }; QUEUE],
            // Nobody is thrown out for somebody whom we may never speak with.
            None if self.free.is_empty() && self.entries.len() == CAPACITY => {
                return [const { None }; QUEUE];
            }
            None => match self.insert(now, interface, address) {
                Some(slot) => slot,
                None => return [const { None }; QUEUE],
            },
        };
        let half = u32::try_from(REACHABLE.as_millis()).unwrap_or(u32::MAX) / 2;
        let holds = Duration::from_millis(u64::from(half + rng.below(2 * half)));
        let entry = &mut self.entries[usize::from(slot)];
        if entry.mac != mac && entry.mac != MacAddr::UNSPECIFIED {
            // Headers that were written for the old address must not be used any more.
            entry.generation = entry.generation.wrapping_add(1);
        }
        entry.mac = mac;
        entry.changed = now;
        entry.state =
            if evidence == Evidence::Permanent { State::Permanent } else { State::Reachable };
        // What comes unasked proves that the neighbour can send, not that it hears us.
        entry.until = if evidence == Evidence::Unsolicited { now } else { now + holds };
        entry.waiting.each_mut().map(Option::take)
    }

    /// When [`due`](Self::due) has something to say.
    #[must_use]
    pub const fn next_event(&self) -> Instant {
        self.next_event
    }

    /// The next thing to do at `now`; `None` when there is nothing more.
    pub fn due(&mut self, now: Instant) -> Option<Due> {
        if now < self.next_event {
            return None;
        }
        // Each call goes on where the last one stopped: a pass over the table is linear.
        while self.cursor < self.entries.len() {
            let due = self.entry_due(self.cursor as u16, now);
            if due.is_some() {
                return due;
            }
            self.cursor += 1;
        }
        self.cursor = 0;
        let timed = self.entries.iter().filter(|entry| entry.state.is_timed());
        self.next_event = timed.map(|entry| entry.until).min().unwrap_or(Instant::FAR_FUTURE);
        None
    }

    /// Forgets every neighbour on `interface`, which went down or away, and gives back the packets
    /// that waited.
    pub fn flush(&mut self, interface: InterfaceId) -> Vec<Packet> {
        let mut waiting = Vec::new();
        for slot in 0..self.entries.len() {
            let entry = &mut self.entries[slot];
            if entry.state != State::Vacant && entry.interface == interface {
                waiting.extend(entry.waiting.iter_mut().filter_map(Option::take));
                self.remove(slot as u16);
            }
        }
        waiting
    }

    /// Neighbours that are waited for, to ask the kernel about them.
    pub fn incomplete(&self) -> impl Iterator<Item = (InterfaceId, IpAddr)> + '_ {
        let waited = self.entries.iter().filter(|entry| entry.state == State::Incomplete);
        waited.map(|entry| (entry.interface, entry.address))
    }

    /// Whether there is an entry for this neighbour.
    #[must_use]
    pub fn knows(&self, interface: InterfaceId, address: IpAddr) -> bool {
        self.index.contains_key(&(interface, address))
    }

    /// Forgets one neighbour, and gives back the packets that waited.
    pub fn forget(&mut self, interface: InterfaceId, address: IpAddr) -> [Option<Packet>; QUEUE] {
        let Some(slot) = self.index.get(&(interface, address)).copied() else {
            return [const { None }; QUEUE];
        };
        let waiting = self.entries[usize::from(slot)].waiting.each_mut().map(Option::take);
        self.remove(slot);
        waiting
    }

    /// Neighbours that the control plane named.
    pub fn permanent(&self) -> impl Iterator<Item = (InterfaceId, IpAddr, MacAddr)> + '_ {
        let named = self.entries.iter().filter(|entry| entry.state == State::Permanent);
        named.map(|entry| (entry.interface, entry.address, entry.mac))
    }

    /// Neighbours known, asked or failed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// How often somebody contradicted what was known of a neighbour.
    #[must_use]
    pub const fn conflicts(&self) -> u64 {
        self.conflicts
    }

    fn entry_due(&mut self, slot: u16, now: Instant) -> Option<Due> {
        if let Some(failed) = self.failed_packet(slot) {
            return Some(failed);
        }
        let entry = &mut self.entries[usize::from(slot)];
        if !entry.state.is_timed() || now < entry.until {
            return None;
        }
        match entry.state {
            State::Incomplete | State::Probing if entry.attempts < ATTEMPTS => {
                entry.attempts += 1;
                entry.until = now + RETRY;
                let known = (entry.state == State::Probing).then_some(entry.mac);
                let (interface, address) = (entry.interface, entry.address);
                Some(Due::Solicit { interface, address, known })
            }
            State::Incomplete | State::Probing => {
                entry.state = State::Failed;
                entry.until = now + NEGATIVE;
                self.failed_packet(slot)
            }
            _ => {
                self.remove(slot);
                None
            }
        }
    }

    /// Packets that waited in vain come out one a call.
    fn failed_packet(&mut self, slot: u16) -> Option<Due> {
        let entry = &mut self.entries[usize::from(slot)];
        if entry.state != State::Failed {
            return None;
        }
        entry.waiting.iter_mut().find_map(Option::take).map(Due::Failed)
    }

    fn may_replace(&mut self, slot: u16, mac: MacAddr, evidence: Evidence, now: Instant) -> bool {
        let entry = &self.entries[usize::from(slot)];
        if entry.state == State::Permanent {
            return evidence == Evidence::Permanent;
        }
        let known = matches!(entry.state, State::Reachable | State::Probing);
        if !known || entry.mac == mac || evidence == Evidence::Permanent {
            return true;
        }
        self.conflicts += 1;
        // Whoever is being asked may answer from elsewhere; nobody may flip what we know at will.
        let asked = entry.state == State::Probing && evidence == Evidence::Answer;
        asked || now.saturating_since(entry.changed) >= LOCK
    }

    fn insert(&mut self, now: Instant, interface: InterfaceId, address: IpAddr) -> Option<u16> {
        let slot = match self.vacant() {
            Some(slot) => slot,
            None => {
                let slot = self.least_wanted(now)?;
                let waiting = &mut self.entries[usize::from(slot)].waiting;
                self.given_up.extend(waiting.iter_mut().filter_map(Option::take));
                self.remove(slot);
                self.free.pop()?
            }
        };
        let entry = &mut self.entries[usize::from(slot)];
        (entry.interface, entry.address, entry.changed) = (interface, address, now);
        entry.mac = MacAddr::UNSPECIFIED;
        self.index.insert((interface, address), slot);
        Some(slot)
    }

    fn vacant(&mut self) -> Option<u16> {
        if self.free.is_empty() && self.entries.len() < CAPACITY {
            self.entries.push(Entry::vacant());
            self.free.push((self.entries.len() - 1) as u16);
        }
        self.free.pop()
    }

    /// The entry to throw out of a full table: one that has no answer and keeps no packet; else
    /// one that nobody has used since it got old; else one that has no answer. A hand that goes
    /// round (the clock algorithm) finds the first kind in a step or two during a sweep of the
    /// network, where a search for the oldest would look at all of them for each packet.
    fn least_wanted(&mut self, now: Instant) -> Option<u16> {
        let (mut stale, mut pending) = (None, None);
        for _ in 0..self.entries.len() {
            self.hand = (self.hand + 1) % self.entries.len();
            let (slot, entry) = (Some(self.hand as u16), &self.entries[self.hand]);
            match entry.state {
                State::Incomplete | State::Failed if entry.waiting.iter().all(Option::is_none) => {
                    return slot;
                }
                State::Incomplete | State::Failed => pending = pending.or(slot),
                State::Reachable if now >= entry.until => stale = stale.or(slot),
                _ => {}
            }
        }
        stale.or(pending)
    }

    /// A packet that waited for a neighbour which had to make room for another.
    pub fn next_given_up(&mut self) -> Option<Packet> {
        self.given_up.pop()
    }

    fn remove(&mut self, slot: u16) {
        let entry = &mut self.entries[usize::from(slot)];
        self.index.remove(&(entry.interface, entry.address));
        entry.generation = entry.generation.wrapping_add(1);
        entry.state = State::Vacant;
        self.free.push(slot);
    }

    /// Enters a state whose first timer is due at `first`.
    fn set(&mut self, slot: u16, state: State, first: Instant) {
        let entry = &mut self.entries[usize::from(slot)];
        (entry.state, entry.attempts, entry.until) = (state, 0, first);
        self.next_event = self.next_event.min(first);
    }

    fn reference(&self, slot: u16) -> NeighborRef {
        NeighborRef { slot, generation: self.entries[usize::from(slot)].generation }
    }
}

impl State {
    /// Whether the state ends by itself.
    const fn is_timed(self) -> bool {
        matches!(self, Self::Incomplete | Self::Probing | Self::Failed)
    }
}

impl Entry {
    const fn vacant() -> Self {
        Self {
            generation: 0,
            state: State::Vacant,
            mac: MacAddr::UNSPECIFIED,
            interface: InterfaceId(0),
            address: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            changed: Instant::ZERO,
            until: Instant::ZERO,
            attempts: 0,
            waiting: [const { None }; QUEUE],
        }
    }
}

#[cfg(test)]
mod tests;
