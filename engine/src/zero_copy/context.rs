//! One application's end of the engine.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use corewire_drivers::ring::{Handed, LendingConfig};

use super::buffer::{RxBuf, TxBuf};
use super::lane::Lane;
use super::udp::UdpSocket;
use crate::runtime::doorbell::{Patience, Waiter, doorbell};
use crate::runtime::{Engine, Shared, network_down};
use crate::socket::application::SocketError;
use crate::socket::context::DEFAULT_RECEIVE_BUFFER;
use crate::socket::entry::{Kind, Tag};
use crate::socket::{ContextId, SocketId};

/// Names a socket of one context, for as long as it lives.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub struct SocketKey {
    pub(super) place: u32,
    generation: u32,
}

/// One application's end of the engine: its sockets, and the rings between them and the workers.
///
/// It may be sent to another thread, and is used by one at a time (`Send`, not `Sync`): that is
/// what lets it do without locks. Make one for each thread that has sockets.
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<corewire::zero_copy::Context>();
/// ```
pub struct Context {
    pub(super) inner: RefCell<Inner>,
    waiter: RefCell<Waiter>,
    /// A second descriptor of what the waiter sleeps on: it can be lent while that is in use.
    wait_fd: OwnedFd,
    shared: Arc<Shared>,
    id: ContextId,
    spin: std::cell::Cell<Duration>,
}

/// Its state.
pub(super) struct Inner {
    pub(super) lanes: Vec<Lane>,
    sockets: Vec<Place>,
    /// Sockets for which something came since they were last named.
    ready: VecDeque<SocketKey>,
    /// Datagrams and errors that wait in sockets.
    waiting: usize,
}

/// Where a socket is, or was.
struct Place {
    generation: u32,
    socket: Option<Local>,
}

/// A socket, the application's side.
pub(super) struct Local {
    /// Its name at each worker.
    pub(super) ids: Vec<SocketId>,
    pub(super) local: SocketAddr,
    pub(super) peer: Option<SocketAddr>,
    pub(super) receive_buffer: usize,
    pub(super) broadcast: bool,
    pub(super) ttl: u8,
    /// The worker from which something came last.
    pub(super) lane: usize,
    queue: VecDeque<RxBuf>,
    /// A datagram of which more frames come.
    partial: Option<RxBuf>,
    error: Option<SocketError>,
    listed: bool,
}

impl Engine {
    /// One application's end of the engine: sockets without copies and locks, for one thread at
    /// a time.
    ///
    /// # Errors
    /// No memory or descriptors; [`io::ErrorKind::NetworkDown`] when a worker is gone.
    pub fn context(&self) -> io::Result<Context> {
        // Every frame of a worker may be with one application, and every socket may have an
        // error on its way.
        Context::new(self.shared().clone(), LendingConfig { frames: u32::MAX, signals: 1024 })
    }
}

impl Context {
    pub(crate) fn new(shared: Arc<Shared>, config: LendingConfig) -> io::Result<Self> {
        let (waiter, bell) = doorbell()?;
        let wait_fd = waiter.fd().try_clone_to_owned()?;
        let (id, borrowers) = shared.connect(&bell, config)?;
        let lanes = shared.workers.iter().cloned().zip(borrowers);
        let inner = Inner {
            lanes: lanes.map(|(worker, borrower)| Lane::new(worker, borrower)).collect(),
            sockets: Vec::new(),
            ready: VecDeque::new(),
            waiting: 0,
        };
        let spin = std::cell::Cell::new(shared.idle.look_for());
        let (inner, waiter) = (RefCell::new(inner), RefCell::new(waiter));
        Ok(Self { inner, waiter, wait_fd, shared, id, spin })
    }

    /// A UDP socket at `local`; with port 0 at a port that is free.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`]; [`io::ErrorKind::AddrNotAvailable`] when the address is none
    /// of the engine's; [`io::ErrorKind::NetworkDown`] when a worker is gone.
    pub fn udp_bind(&self, local: SocketAddr) -> io::Result<UdpSocket<'_>> {
        self.udp_bind_with(local, DEFAULT_RECEIVE_BUFFER)
    }

    /// As [`udp_bind`](Self::udp_bind), with a receive buffer of `bytes`: as many whole frames,
    /// at least one. [`UdpSocket::receive_buffer`] says what was granted.
    ///
    /// # Errors
    /// As [`udp_bind`](Self::udp_bind).
    pub fn udp_bind_with(&self, local: SocketAddr, bytes: usize) -> io::Result<UdpSocket<'_>> {
        let key = self.inner().udp_bind(self.id, local, bytes)?;
        Ok(UdpSocket { context: self, key })
    }

    /// A socket for which something came since it was last named here: read it until there is
    /// nothing more. However much came, a socket is named once.
    pub fn ready(&self) -> Option<SocketKey> {
        let mut inner = self.inner();
        if inner.ready.is_empty() {
            inner.look_again();
        }
        while let Some(key) = inner.ready.pop_front() {
            if let Some(socket) = inner.socket(key) {
                socket.listed = false;
                return Some(key);
            }
        }
        None
    }

    /// Waits until something may be to read or to write, `timeout` at most: spins, then sleeps.
    /// False when the time is over. Publishes what was sent and given back.
    ///
    /// # Errors
    /// When the host can't poll: it has no memory.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let clock = &self.shared.clock;
        let deadline = timeout.map(|timeout| clock.now() + timeout);
        let patience = Patience { clock, spin: self.spin.get(), deadline };
        let mut inner = self.inner();
        inner.flush();
        if inner.waiting > 0 {
            return Ok(true);
        }
        if let [lane] = &mut inner.lanes[..]
            && lane.worker.is_caller_driven()
        {
            let worker = lane.worker.clone();
            return Ok(worker.wait(patience, || !lane.is_empty() || lane.is_down()));
        }
        self.waiter.borrow_mut().wait(patience, || inner.has_news())
    }

    /// How long [`wait`](Self::wait) looks before it sleeps. From the start as long as the
    /// engine's idle policy says.
    pub fn set_spin(&self, spin: Duration) {
        self.spin.set(spin);
    }

    /// For an event loop of one's own: announces that this thread sleeps until
    /// [`wait_fd`](Self::wait_fd) is readable. False: something is there already; do not sleep.
    /// Publishes what was sent and given back.
    #[must_use]
    pub fn arm(&self) -> bool {
        let mut inner = self.inner();
        inner.flush();
        if inner.waiting > 0 {
            return false;
        }
        self.waiter.borrow_mut().arm(|| inner.has_news())
    }

    /// After the sleep that [`arm`](Self::arm) announced.
    pub fn disarm(&self) {
        self.waiter.borrow_mut().disarm();
    }

    /// What becomes readable when something comes while this thread sleeps.
    #[must_use]
    pub fn wait_fd(&self) -> BorrowedFd<'_> {
        self.wait_fd.as_fd()
    }

    /// Lets the workers see what was sent and given back, now.
    pub fn flush(&self) {
        self.inner().flush();
    }

    #[inline]
    pub(super) fn inner(&self) -> RefMut<'_, Inner> {
        self.inner.borrow_mut()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // The rings close first: then the name is free at the workers soon.
        self.inner.get_mut().sockets.clear();
        self.inner.get_mut().lanes.clear();
        self.shared.give_name(self.id);
    }
}

impl Inner {
    /// The next datagram of a socket. What it finds for others it sorts to them.
    ///
    /// # Errors
    /// What happened to the socket: once each, but for the loss of the network.
    #[inline]
    pub(super) fn receive(&mut self, key: SocketKey) -> io::Result<Option<RxBuf>> {
        let Some(socket) = self.socket(key) else { return Err(network_down()) };
        if let Some(error) = socket.error.take() {
            self.waiting -= 1;
            return Err(error.into());
        }
        if let Some(datagram) = socket.queue.pop_front() {
            self.waiting -= 1;
            return Ok(Some(datagram));
        }
        if let Some(datagram) = self.look(Some(key)) {
            return Ok(Some(datagram));
        }
        self.receive_at_last(key)
    }

    /// Nothing is there: a good time to publish, and where we turn the worker, to do that.
    fn receive_at_last(&mut self, key: SocketKey) -> io::Result<Option<RxBuf>> {
        self.look_again();
        let Some(socket) = self.socket(key) else { return Err(network_down()) };
        if let Some(error) = socket.error.take() {
            self.waiting -= 1;
            return Err(error.into());
        }
        let datagram = socket.queue.pop_front();
        if datagram.is_some() {
            self.waiting -= 1;
        } else if self.is_down() {
            return Err(network_down());
        }
        Ok(datagram)
    }

    /// The oldest datagram of a socket, which stays there.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub(super) fn peek(&mut self, key: SocketKey) -> io::Result<Option<&RxBuf>> {
        if let Some(datagram) = self.receive(key)? {
            self.waiting += 1;
            if let Some(socket) = self.socket(key) {
                socket.queue.push_front(datagram);
            }
        }
        Ok(self.socket(key).and_then(|socket| socket.queue.front()))
    }

    /// An error that waits for a socket.
    pub(super) fn take_error(&mut self, key: SocketKey) -> Option<io::Error> {
        self.look(None);
        let error = self.socket(key)?.error.take()?;
        self.waiting -= 1;
        Some(error.into())
    }

    /// Takes what the workers published to its sockets; a datagram for `wanted`, when none waits
    /// there, at once.
    #[inline]
    fn look(&mut self, wanted: Option<SocketKey>) -> Option<RxBuf> {
        for lane in 0..self.lanes.len() {
            while let Some(handed) = self.lanes[lane].receive() {
                if let Some(datagram) = self.sort(lane, handed, wanted) {
                    return Some(datagram);
                }
            }
        }
        None
    }

    /// Publishes, lets the workers run where we turn them, and takes what came.
    fn look_again(&mut self) {
        for lane in &mut self.lanes {
            lane.flush();
            lane.worker.poll();
        }
        self.look(None);
    }

    /// One entry to where it belongs.
    #[inline]
    fn sort(&mut self, lane: usize, handed: Handed, wanted: Option<SocketKey>) -> Option<RxBuf> {
        let Handed { loan, socket: slot, tag } = handed;
        let from = &mut self.lanes[lane];
        let tag = Tag::unpack(tag);
        let id = SocketId { slot, generation: tag.map_or(0, |tag| tag.generation) };
        let (Some(tag), Some(loan)) = (tag, loan) else {
            self.signal(lane, id, tag);
            return None;
        };
        if tag.kind == Kind::Credit {
            from.add_credit(loan);
            return None;
        }
        let place = from.place(slot);
        let Some((key, socket)) = place.and_then(|place| find(&mut self.sockets, place, lane, id))
        else {
            // The socket has been closed meanwhile.
            from.post(loan, id, Kind::Return);
            return None;
        };
        let datagram = match &mut socket.partial {
            Some(partial) => {
                partial.append(loan);
                if tag.kind == Kind::DataMore {
                    return None;
                }
                socket.partial.take()?
            }
            None => RxBuf::new(loan, tag.ip_header_words, id, from.home()),
        };
        if tag.kind == Kind::DataMore {
            socket.partial = Some(datagram);
            return None;
        }
        socket.lane = lane;
        if wanted == Some(key) {
            return Some(datagram);
        }
        socket.queue.push_back(datagram);
        self.waiting += 1;
        if !std::mem::replace(&mut socket.listed, true) {
            self.ready.push_back(key);
        }
        None
    }

    /// An entry without a frame.
    #[cold]
    fn signal(&mut self, lane: usize, id: SocketId, tag: Option<Tag>) {
        let Some(tag) = tag.filter(|tag| tag.kind == Kind::Error) else { return };
        let place = self.lanes[lane].place(id.slot);
        if let Some((key, socket)) = place.and_then(|p| find(&mut self.sockets, p, lane, id))
            && let Some(error) = SocketError::from_number(tag.ip_header_words)
        {
            self.waiting += usize::from(socket.error.is_none());
            socket.error = Some(error);
            if !std::mem::replace(&mut socket.listed, true) {
                self.ready.push_back(key);
            }
        }
    }

    /// Whether a look would find something, or that nothing comes any more.
    #[inline]
    fn has_news(&mut self) -> bool {
        self.lanes.iter_mut().any(|lane| !lane.is_empty()) || self.is_down()
    }

    /// Whether no worker brings anything more.
    pub(super) fn is_down(&self) -> bool {
        self.lanes.iter().all(Lane::is_down)
    }

    /// Lets the workers see what was sent and given back.
    #[inline]
    pub(super) fn flush(&mut self) {
        self.lanes.iter_mut().for_each(Lane::flush);
    }

    /// An empty frame for a socket.
    #[inline]
    pub(super) fn buffer(&mut self, key: SocketKey) -> io::Result<TxBuf> {
        let lane = self.socket(key).map_or(0, |socket| socket.lane);
        if !self.lanes[lane].has_credit() {
            self.look_for_credit(lane)?;
        }
        self.lanes[lane].credit().ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    #[cold]
    fn look_for_credit(&mut self, lane: usize) -> io::Result<()> {
        self.look(None);
        if self.lanes[lane].has_credit() {
            return Ok(());
        }
        // Asks; what was sent is published with it, and its frames come back sooner.
        if let Some(buffer) = self.lanes[lane].credit() {
            drop(buffer);
        }
        self.look_again();
        if self.is_down() { Err(network_down()) } else { Ok(()) }
    }

    /// Gives a datagram's frames back.
    #[inline]
    pub(super) fn give_back(&mut self, datagram: RxBuf) {
        let id = datagram.socket;
        let Some(lane) = datagram.home().and_then(|home| self.lane_of(home)) else { return };
        let lane = &mut self.lanes[lane];
        let (held, rest) = datagram.take();
        if let Some(held) = held {
            lane.send(held, id, Kind::Return);
        }
        rest.into_iter().for_each(|loan| lane.post(loan, id, Kind::Return));
    }

    /// Sends a written frame: to the socket's peer, or to where the frame says.
    ///
    /// # Errors
    /// When the buffer is one of another context.
    #[inline]
    pub(super) fn send(&mut self, key: SocketKey, buffer: TxBuf, kind: Kind) -> io::Result<()> {
        let lane = buffer.home().and_then(|home| self.lane_of(home));
        let id = self.socket(key).and_then(|socket| socket.ids.get(lane?).copied());
        let (Some(lane), Some(id)) = (lane, id) else {
            let message = "the buffer is one of another context: take it from this socket's";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        };
        if let Some(held) = buffer.take() {
            self.lanes[lane].send(held, id, kind);
        }
        Ok(())
    }

    #[inline]
    fn lane_of(&self, home: &Arc<super::buffer::Home>) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.is_home(home))
    }

    /// A socket by its name.
    #[inline]
    pub(super) fn socket(&mut self, key: SocketKey) -> Option<&mut Local> {
        let place = self.sockets.get_mut(key.place as usize)?;
        if place.generation == key.generation { place.socket.as_mut() } else { None }
    }

    /// Takes a new socket in.
    pub(super) fn add(&mut self, socket: Local) -> SocketKey {
        let vacant = self.sockets.iter().position(|place| place.socket.is_none());
        let place = vacant.unwrap_or_else(|| {
            self.sockets.push(Place { generation: 0, socket: None });
            self.sockets.len() - 1
        });
        for (lane, id) in self.lanes.iter_mut().zip(&socket.ids) {
            lane.set_place(id.slot, Some(place));
        }
        let generation = self.sockets[place].generation;
        self.sockets[place].socket = Some(socket);
        SocketKey { place: place as u32, generation }
    }

    /// Forgets a socket and what waits for it.
    pub(super) fn remove(&mut self, key: SocketKey) {
        if self.socket(key).is_none() {
            return;
        }
        let place = &mut self.sockets[key.place as usize];
        place.generation = place.generation.wrapping_add(1);
        let Some(socket) = place.socket.take() else { return };
        self.waiting -= socket.queue.len() + usize::from(socket.error.is_some());
        for (lane, id) in self.lanes.iter_mut().zip(&socket.ids) {
            lane.set_place(id.slot, None);
            lane.flush();
            lane.worker.close_socket(*id);
        }
        socket.queue.into_iter().chain(socket.partial).for_each(|datagram| {
            self.give_back(datagram);
        });
        self.flush();
    }
}

/// The socket in that place, if it is the one of that name at the worker of that number.
#[inline]
fn find(
    sockets: &mut [Place],
    place: usize,
    lane: usize,
    id: SocketId,
) -> Option<(SocketKey, &mut Local)> {
    let Place { generation, socket } = sockets.get_mut(place)?;
    let socket = socket.as_mut().filter(|socket| socket.ids.get(lane) == Some(&id))?;
    Some((SocketKey { place: place as u32, generation: *generation }, socket))
}

impl Local {
    pub(super) fn new(ids: Vec<SocketId>, local: SocketAddr, receive_buffer: usize) -> Self {
        Self {
            ids,
            local,
            peer: None,
            receive_buffer,
            broadcast: false,
            ttl: crate::ip::output::DEFAULT_TTL,
            lane: 0,
            queue: VecDeque::new(),
            partial: None,
            error: None,
            listed: false,
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({}, {:?})", self.id.0, self.shared)
    }
}
