//! The kernel's view of the network, kept up to date for the workers.
//!
//! Where the engine shares an IP address with the kernel (steering mode `ports`) addresses, routes
//! and neighbours are the kernel's, and the engine only looks at them. Where it has addresses of
//! its own, links and routes are still the kernel's. All of it is read over rtnetlink, at start
//! and whenever the kernel announces a change, and becomes a `Snapshot`. Nothing here is on the
//! packet path; a thread of the runtime, or whoever turns the worker, calls
//! [`run_once`](SlowPath::run_once).
//!
//! The kernel does not know that we talk to a neighbour, so it lets its entry grow stale, and asks
//! nobody. So the neighbours that workers want are *used* here (NTF_USE, as `ip neigh` can), which
//! makes the kernel resolve and confirm them as if it had sent something itself.
//!
//! Not seen: policy rules and tables other than `main`; all but the first of several equal hops
//! that are ours; IPv4 over IPv6 gateways.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use corewire_drivers::env::{Clock, Instant};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;

/// Why the world can't be read.
mod error;
/// rtnetlink.
mod netlink;
/// Questions to the kernel, and what its answers mean.
mod questions;
/// What the kernel knows, and the snapshot made of it.
mod world;

pub use error::SlowPathError;
use netlink::{Announced, Connection};
use questions::{read_links, read_neighbors, read_routes, use_neighbor};
use world::{KernelRoute, Link, LinkIndex, World};

use super::snapshot::{InterfaceAddress, InterfaceId, Resolution, Route, RouteTable, Snapshot};
use crate::packet::ethernet::MacAddr;

/// What of the network the engine has.
#[derive(Clone, Debug, Default)]
pub struct SlowPathConfig {
    /// The interfaces; the place is the id.
    pub interfaces: Vec<Attachment>,
    /// Routes that count before the kernel's of the same metric.
    pub routes: Vec<Route>,
    /// Neighbours whose station address nobody needs to ask for.
    pub neighbors: Vec<(InterfaceId, IpAddr, MacAddr)>,
}

/// One interface of the engine.
#[derive(Clone, Debug, Default)]
pub struct Attachment {
    /// The kernel's name for it.
    pub name: String,
    /// The addresses that the engine has for itself (steering modes `address` and `exclusive`);
    /// `None` when it shares the kernel's (`ports`).
    pub addresses: Option<Vec<InterfaceAddress>>,
    /// Multicast groups that the engine has joined.
    pub groups: Vec<IpAddr>,
}

impl Attachment {
    /// Who finds out station addresses: who has the addresses.
    #[must_use]
    pub const fn resolution(&self) -> Resolution {
        if self.addresses.is_some() { Resolution::Engine } else { Resolution::Kernel }
    }
}

impl SlowPathConfig {
    /// Who finds out station addresses on an interface.
    fn resolution(&self, id: InterfaceId) -> Resolution {
        self.interfaces.get(usize::from(id.0)).map_or(Resolution::Engine, Attachment::resolution)
    }
}

/// What has changed since the last call.
#[derive(Debug, Default)]
pub struct Changes {
    /// The world as it is now, if the packet path can see the difference.
    pub snapshot: Option<Snapshot>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What of the kernel's world the engine can't use, and what it may not do; each is said once.
    pub notes: Vec<String>,
}

impl Changes {
    /// Whether nothing has.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.snapshot.is_none() && self.events.is_empty() && self.notes.is_empty()
    }
}

/// What happened to an interface or a neighbour.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Frames flow again.
    LinkUp(InterfaceId),
    /// No carrier, or administratively down; it may come back.
    LinkDown(InterfaceId),
    /// The interface is gone from this network namespace. poll(2) does not tell that to an AF_XDP
    /// socket: close it.
    Removed(InterfaceId),
    /// There is an interface of that name again, with this kernel index: bind anew.
    Returned(InterfaceId, u32),
    /// The kernel has learned another station address for a neighbour that is ours to resolve, as
    /// from a gratuitous ARP that went to the kernel: ask it again.
    NeighborMoved(InterfaceId, IpAddr, MacAddr),
    /// The kernel has got an address that the engine has on this interface: both would answer.
    AddressTaken(InterfaceId, IpAddr),
}

/// The kernel's view of the network, kept up to date.
#[derive(Debug)]
pub struct SlowPath {
    config: SlowPathConfig,
    clock: Clock,
    requests: Connection,
    events: Connection,
    world: World,
    /// Each interface as it was when it was there last.
    last: Vec<(LinkIndex, Link)>,
    generation: u32,
    /// The routes of the last snapshot, if nothing but neighbours has changed since.
    routes: Option<Arc<RouteTable>>,
    dirty: Dirty,
    routes_not_before: Instant,
    wanted: BTreeMap<(InterfaceId, IpAddr), Instant>,
    to_ask: VecDeque<(InterfaceId, IpAddr)>,
    asked_in_this_interval: usize,
    interval_began: Instant,
    said: BTreeSet<String>,
}

/// What must be read or built anew.
#[derive(Copy, Clone, Debug, Default)]
struct Dirty {
    links: bool,
    routes: bool,
    neighbors: bool,
    snapshot: bool,
}

impl SlowPath {
    /// Reads the world. The sockets stay in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When an interface is not there, an address is the kernel's too, or netlink can't be used.
    pub fn new(
        config: SlowPathConfig,
        clock: Clock,
    ) -> Result<(Self, Snapshot, Vec<String>), SlowPathError> {
        // Heard before read: what changes in between is announced.
        let events = Connection::for_events(&GROUPS)?;
        let mut requests = Connection::for_requests()?;
        let mut world = World::default();
        read_links(&mut requests, &mut world)?;
        read_routes(&mut requests, &mut world)?;
        read_neighbors(&mut requests, &mut world)?;
        let last = config.interfaces.iter().map(|attachment| locate(&world, attachment));
        let last = last.collect::<Result<Vec<_>, _>>()?;
        let mut slow_path = Self {
            config,
            requests,
            events,
            world,
            last,
            generation: 0,
            routes: None,
            dirty: Dirty::default(),
            routes_not_before: Instant::ZERO,
            wanted: BTreeMap::new(),
            to_ask: VecDeque::new(),
            asked_in_this_interval: 0,
            interval_began: clock.now(),
            said: BTreeSet::new(),
            clock,
        };
        if let Some((id, address, name)) = slow_path.taken().next() {
            let interface = slow_path.last[usize::from(id.0)].1.name.clone();
            return Err(SlowPathError::AddressTaken { address, interface, kernels: name });
        }
        let mut notes = Vec::new();
        let snapshot = slow_path.build(&mut notes)?;
        Ok((slow_path, snapshot, notes))
    }

    /// What to poll for reading, besides [`next_event`](Self::next_event).
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.events.fd()
    }

    /// When there is something to do even if nothing is announced.
    #[must_use]
    pub fn next_event(&self) -> Instant {
        if self.dirty.routes {
            self.routes_not_before
        } else if self.to_ask.is_empty() {
            Instant::FAR_FUTURE
        } else {
            self.interval_began + ASK_INTERVAL
        }
    }

    /// Sleeps until something is announced, `wake` can be read, it is time for the next event, or
    /// `timeout` is over.
    ///
    /// # Errors
    /// When poll(2) fails.
    pub fn wait(&self, timeout: Duration, wake: Option<BorrowedFd<'_>>) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, poll};
        let until_event = self.next_event().saturating_since(self.clock.now());
        let timeout = timeout.min(until_event).try_into().map_err(io::Error::other)?;
        let fd = PollFd::from_borrowed_fd(self.fd(), PollFlags::IN);
        let wake = wake.map(|wake| PollFd::from_borrowed_fd(wake, PollFlags::IN));
        let mut fds: Vec<_> = std::iter::once(fd).chain(wake).collect();
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A worker has something to send to a neighbour whose station address it does not know.
    ///
    /// For interfaces whose neighbours the kernel resolves; for others it does nothing.
    pub fn want(&mut self, interface: InterfaceId, address: IpAddr) {
        let known = usize::from(interface.0) < self.last.len();
        if !known || self.config.resolution(interface) != Resolution::Kernel {
            return;
        }
        self.ask_later((interface, address));
    }

    /// Carries on: hears what was announced, reads what changed, asks the kernel for what is
    /// wanted. Never waits for the network, only for the kernel's answers.
    ///
    /// # Errors
    /// When netlink can't be used any more. What has been read so far stays good.
    pub fn run_once(&mut self) -> Result<Changes, SlowPathError> {
        let mut changes = Changes::default();
        self.hear(&mut changes)?;
        self.ask(&mut changes)?;
        // What can't be read stays to be read.
        if self.dirty.links {
            read_links(&mut self.requests, &mut self.world)?;
            self.dirty.links = false;
            self.routes = None;
            self.compare_links(&mut changes);
            self.dirty.snapshot = true;
        }
        let now = self.clock.now();
        if self.dirty.routes && now >= self.routes_not_before {
            read_routes(&mut self.requests, &mut self.world)?;
            self.dirty.routes = false;
            self.routes = None;
            let after = self.clock.now();
            // A million routes take a second to read. Flapping ones must not take all the time.
            let rest = after.saturating_since(now) * 4;
            self.routes_not_before = after + rest.max(ROUTES_INTERVAL);
            self.dirty.snapshot = true;
        }
        if self.dirty.neighbors {
            read_neighbors(&mut self.requests, &mut self.world)?;
            self.dirty.neighbors = false;
            self.dirty.snapshot = true;
        }
        if self.dirty.snapshot {
            self.dirty.snapshot = false;
            changes.snapshot = Some(self.build(&mut changes.notes)?);
        }
        Ok(changes)
    }

    fn hear(&mut self, changes: &mut Changes) -> io::Result<()> {
        use RouteNetlinkMessage as M;
        let messages = match self.events.announced()? {
            Announced::Messages(messages) => messages,
            Announced::Overrun => {
                self.dirty = Dirty { links: true, routes: true, neighbors: true, snapshot: true };
                return Ok(());
            }
        };
        for message in messages {
            match message {
                // A link that goes down takes its routes with it, and IPv4 does not announce
                // those (fib_sync_down_dev, net/ipv4/fib_semantics.c).
                M::NewLink(_) | M::DelLink(_) | M::NewAddress(_) | M::DelAddress(_) => {
                    self.dirty.links = true;
                    self.dirty.routes = true;
                }
                M::NewRoute(message) | M::DelRoute(message) => {
                    self.dirty.routes |= KernelRoute::of(&message).is_some();
                }
                M::NewNeighbour(message) => self.hear_neighbor(&message, false, changes),
                M::DelNeighbour(message) => self.hear_neighbor(&message, true, changes),
                _ => {}
            }
        }
        Ok(())
    }

    fn hear_neighbor(&mut self, message: &NeighbourMessage, gone: bool, changes: &mut Changes) {
        let Some((key, neighbor)) = world::neighbor_of(message) else { return };
        let Some(place) = self.last.iter().position(|(index, _)| *index == key.0) else { return };
        let id = InterfaceId(place as u8);
        let neighbor = neighbor.filter(|_| !gone);
        let before = match neighbor {
            Some(neighbor) => self.world.neighbors.insert(key, neighbor),
            None => self.world.neighbors.remove(&key),
        };
        let moved = before.map(|before| before.mac) != neighbor.map(|neighbor| neighbor.mac);
        match (self.config.resolution(id), before, neighbor) {
            (Resolution::Engine, Some(_), Some(now)) if moved => {
                changes.events.push(Event::NeighborMoved(id, key.1, now.mac));
            }
            (Resolution::Engine, ..) => {}
            (Resolution::Kernel, _, Some(now)) if now.stale => {
                if self.wanted.contains_key(&(id, key.1)) {
                    self.ask_later((id, key.1));
                }
                self.dirty.snapshot |= moved;
            }
            (Resolution::Kernel, ..) => self.dirty.snapshot |= moved,
        }
    }

    /// Compares each interface with how it was.
    fn compare_links(&mut self, changes: &mut Changes) {
        for ((id, attachment), (index, last)) in
            (0..).map(InterfaceId).zip(&self.config.interfaces).zip(&mut self.last)
        {
            let Some(now) = self.world.links.get(index) else {
                if last.up || *index != GONE {
                    changes.events.push(Event::Removed(id));
                    (*index, last.up) = (GONE, false);
                }
                if let Some(new) = self.world.index(&attachment.name) {
                    *index = new;
                    last.clone_from(&self.world.links[&new]);
                    changes.events.push(Event::Returned(id, new));
                }
                continue;
            };
            if now.up != last.up {
                let event = if now.up { Event::LinkUp(id) } else { Event::LinkDown(id) };
                changes.events.push(event);
            }
            last.clone_from(now);
        }
        for (id, address, kernels) in self.taken() {
            let note = format!(
                "{address} is the engine's, and now the kernel's on {kernels} too: \
                 `ip address del {address} dev {kernels}`"
            );
            if !self.said.contains(&note) {
                changes.events.push(Event::AddressTaken(id, address));
                changes.notes.push(note);
            }
        }
        self.said.extend(changes.notes.iter().cloned());
    }

    /// The engine's own addresses that the kernel has too, and on which interface.
    fn taken(&self) -> impl Iterator<Item = (InterfaceId, IpAddr, String)> + '_ {
        let own = (0..)
            .map(InterfaceId)
            .zip(&self.config.interfaces)
            .flat_map(|(id, a)| a.addresses.iter().flatten().map(move |ours| (id, ours.address)));
        own.filter_map(|(id, address)| {
            let (index, _) = self.world.addresses.iter().find(|(_, has)| has.address == address)?;
            let name = self.world.links.get(index).map_or_else(String::new, |l| l.name.clone());
            Some((id, address, name))
        })
    }

    fn build(&mut self, notes: &mut Vec<String>) -> Result<Snapshot, SlowPathError> {
        self.generation = self.generation.wrapping_add(1);
        let routes = self.routes.take();
        let builder = self.world.builder(&self.config, &self.last, routes, self.generation);
        let (snapshot, refused) = builder.build_what_fits().map_err(SlowPathError::Snapshot)?;
        self.routes = Some(snapshot.routes.clone());
        for refused in refused {
            let note = refused.to_string();
            if self.said.len() < MAX_NOTES && self.said.insert(note.clone()) {
                notes.push(note);
            }
        }
        Ok(snapshot)
    }

    fn ask_later(&mut self, key: (InterfaceId, IpAddr)) {
        let now = self.clock.now();
        let recent = |asked: &Instant| now.saturating_since(*asked) < ASK_AGAIN;
        if self.wanted.get(&key).is_some_and(recent) || self.to_ask.len() >= MAX_TO_ASK {
            // The worker asks again when its own patience is over.
            return;
        }
        if self.wanted.len() >= MAX_WANTED && !self.wanted.contains_key(&key) {
            let oldest = self.wanted.iter().min_by_key(|(_, asked)| **asked);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.wanted.remove(&oldest);
            }
        }
        self.wanted.insert(key, now);
        self.to_ask.push_back(key);
    }

    /// Makes the kernel resolve what is wanted, so many in an interval and no more: somebody who
    /// makes us answer to every address of a large subnet must not fill the kernel's table faster
    /// than it can forget (RFC 6583 §4).
    fn ask(&mut self, changes: &mut Changes) -> io::Result<()> {
        let now = self.clock.now();
        if now.saturating_since(self.interval_began) >= ASK_INTERVAL {
            (self.interval_began, self.asked_in_this_interval) = (now, 0);
        }
        while self.asked_in_this_interval < ASK_BUDGET
            && let Some((id, address)) = self.to_ask.pop_front()
        {
            self.asked_in_this_interval += 1;
            let (index, link) = &self.last[usize::from(id.0)];
            let result = self.requests.request(use_neighbor(*index, address));
            let note = match result.map_err(|error| (error.raw_os_error(), error)) {
                Ok(()) => continue,
                Err((Some(libc::EPERM), _)) => {
                    "the kernel may not be asked to resolve neighbours: \
                     `setcap cap_net_admin,cap_net_raw,cap_bpf+ep PROGRAM`, or run as root"
                        .to_owned()
                }
                // Down or gone: that is announced by itself.
                Err((Some(libc::ENETDOWN | libc::ENODEV), _)) => continue,
                // The kernel's own limit (gc_thresh3); it says so itself in its log.
                Err((Some(libc::ENOBUFS), _)) => "the kernel's neighbour table is full: raise \
                     net.ipv4.neigh.default.gc_thresh3 and net.ipv6.neigh.default.gc_thresh3"
                    .to_owned(),
                Err((_, error)) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err((_, error)) => {
                    format!("the kernel does not resolve neighbours on {}: {error}", link.name)
                }
            };
            if self.said.len() < MAX_NOTES && self.said.insert(note.clone()) {
                changes.notes.push(note);
            }
        }
        Ok(())
    }
}

fn locate(world: &World, attachment: &Attachment) -> Result<(LinkIndex, Link), SlowPathError> {
    let found = world
        .index(&attachment.name)
        .and_then(|index| world.links.get(&index).map(|link| (index, link.clone())));
    found.ok_or_else(|| SlowPathError::NoSuchInterface {
        name: attachment.name.clone(),
        there: world.links.values().map(|link| link.name.clone()).collect(),
    })
}

/// RTNLGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
/// (include/uapi/linux/rtnetlink.h).
const GROUPS: [u32; 6] = [1, 3, 5, 7, 9, 11];

/// The kernel's indices begin at 1.
const GONE: LinkIndex = 0;

/// Routes are read this often at most. A daemon that installs a thousand takes about as long; a
/// change is seen after a time in which nobody re-sends yet.
const ROUTES_INTERVAL: Duration = Duration::from_millis(20);

/// Neighbours that the kernel is asked for in an [`ASK_INTERVAL`]: 640 a second, so that a rack
/// of servers is resolved in a tenth of a second, and a sweep over a subnet fills the kernel's
/// table (1,024 by default, which it begins to clear after 5 s) no faster than it clears it.
const ASK_BUDGET: usize = 64;
const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// The kernel itself repeats an unanswered question every second (retrans_time_ms).
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Questions that wait. More would be answered after the packets that wait for them are gone.
const MAX_TO_ASK: usize = 1024;

/// Neighbours that are kept fresh: four times the kernel's default table.
const MAX_WANTED: usize = 4096;

/// Different notes that are said. A world that is strange in more ways is not worth describing.
const MAX_NOTES: usize = 256;
