//! The state of a context: its ways to the workers, its sockets, and what waits in them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use corewire_drivers::ring::{Handed, LendingConfig};

use super::buffer::{Home, RxBuf, TxBuf};
use super::lane::Lane;
use crate::runtime::doorbell::{Waiter, doorbell};
use crate::runtime::{Shared, WorkerRef, network_down};
use crate::socket::application::SocketError;
use crate::socket::entry::{Kind, Tag};
use crate::socket::{ContextId, SocketId};

/// Names a socket of one context, for as long as it lives.
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub struct SocketKey {
    pub(super) place: u32,
    generation: u32,
}

/// The state of a context: its ways to the workers, and its sockets.
pub(crate) struct Hub {
    pub(crate) engine: Arc<Shared>,
    pub(super) id: ContextId,
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
pub(crate) struct Local {
    /// Its name at each worker.
    pub(super) ids: Vec<SocketId>,
    pub(crate) local: SocketAddr,
    pub(crate) peer: Option<SocketAddr>,
    pub(super) receive_buffer: usize,
    pub(crate) broadcast: bool,
    pub(crate) ttl: u8,
    /// The worker from which something came last.
    pub(super) lane: usize,
    queue: VecDeque<RxBuf>,
    /// A datagram of which more frames come.
    partial: Option<RxBuf>,
    error: Option<SocketError>,
    listed: bool,
}

impl Hub {
    /// A new context of `engine`, and what it sleeps on.
    pub(crate) fn connect_to(
        engine: Arc<Shared>,
        config: LendingConfig,
    ) -> io::Result<(Self, Waiter)> {
        let (waiter, bell) = doorbell()?;
        let (id, borrowers) = engine.connect(&bell, config)?;
        let lanes = engine.workers.iter().cloned().zip(borrowers);
        let lanes = lanes.map(|(worker, borrower)| Lane::new(worker, borrower)).collect();
        let (sockets, ready) = (Vec::new(), VecDeque::new());
        Ok((Self { engine, id, lanes, sockets, ready, waiting: 0 }, waiter))
    }

    /// The worker, where applications turn it themselves: there is one then.
    pub(crate) fn caller_driven(&self) -> Option<WorkerRef> {
        let lane = self.lanes.first()?;
        lane.worker.is_caller_driven().then(|| lane.worker.clone())
    }

    /// The next socket for which something came.
    pub(super) fn next_ready(&mut self) -> Option<SocketKey> {
        if self.ready.is_empty() {
            self.look_again();
        }
        while let Some(key) = self.ready.pop_front() {
            if let Some(socket) = self.socket(key) {
                socket.listed = false;
                return Some(key);
            }
        }
        None
    }

    /// Whether something waits, or a look would find something.
    #[inline]
    pub(crate) fn has_something(&mut self) -> bool {
        self.waiting > 0 || self.has_news()
    }

    /// The next datagram of a socket. What it finds for others it sorts to them.
    ///
    /// # Errors
    /// What happened to the socket: once each, but for the loss of the network.
    #[inline]
    pub(crate) fn receive(&mut self, key: SocketKey) -> io::Result<Option<RxBuf>> {
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
    pub(crate) fn peek(&mut self, key: SocketKey) -> io::Result<Option<&RxBuf>> {
        if let Some(datagram) = self.receive(key)? {
            self.waiting += 1;
            if let Some(socket) = self.socket(key) {
                socket.queue.push_front(datagram);
            }
        }
        Ok(self.socket(key).and_then(|socket| socket.queue.front()))
    }

    /// An error that waits for a socket.
    pub(crate) fn take_error(&mut self, key: SocketKey) -> Option<io::Error> {
        self.look(None);
        let error = self.socket(key)?.error.take()?;
        self.waiting -= 1;
        Some(error.into())
    }

    /// Keeps an error that was taken and has not been said.
    #[cold]
    pub(super) fn keep_error(&mut self, key: SocketKey, error: &io::Error) {
        let number = error.raw_os_error().and_then(SocketError::from_errno);
        let (Some(socket), Some(error)) = (self.socket(key), number) else { return };
        // A later one is as good.
        if socket.error.is_none() {
            socket.error = Some(error);
            self.waiting += 1;
        }
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
    pub(crate) fn has_news(&mut self) -> bool {
        self.lanes.iter_mut().any(|lane| !lane.is_empty()) || self.is_down()
    }

    /// Whether no worker brings anything more.
    pub(crate) fn is_down(&self) -> bool {
        self.lanes.iter().all(Lane::is_down)
    }

    /// Lets the workers see what was sent and given back.
    #[inline]
    pub(crate) fn flush(&mut self) {
        self.lanes.iter_mut().for_each(Lane::flush);
    }

    /// Gives the workers what nobody needs while the context sleeps.
    pub(crate) fn rest(&mut self) {
        self.lanes.iter_mut().for_each(Lane::rest);
        self.flush();
    }

    /// Whether there is an empty frame for a socket.
    pub(crate) fn has_credit(&mut self, key: SocketKey) -> bool {
        let lane = self.socket(key).map_or(0, |socket| socket.lane);
        self.lanes[lane].has_credit()
    }

    /// An empty frame for a socket.
    #[inline]
    pub(crate) fn buffer(&mut self, key: SocketKey) -> io::Result<TxBuf> {
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
    pub(crate) fn give_back(&mut self, datagram: RxBuf) {
        let id = datagram.socket();
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
    pub(crate) fn send(&mut self, key: SocketKey, buffer: TxBuf, kind: Kind) -> io::Result<()> {
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
    fn lane_of(&self, home: &Arc<Home>) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.is_home(home))
    }

    /// A socket by its name.
    #[inline]
    pub(crate) fn socket(&mut self, key: SocketKey) -> Option<&mut Local> {
        let place = self.sockets.get_mut(key.place as usize)?;
        if place.generation == key.generation { place.socket.as_mut() } else { None }
    }

    /// Takes a new socket in.
    pub(crate) fn add(&mut self, socket: Local) -> SocketKey {
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
    pub(crate) fn remove(&mut self, key: SocketKey) {
        // A forked child has nothing to close: the socket is its parent's.
        if self.socket(key).is_none() || !self.lanes.iter().all(Lane::is_here) {
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
    pub(crate) fn new(ids: Vec<SocketId>, local: SocketAddr, receive_buffer: usize) -> Self {
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

impl Drop for Hub {
    fn drop(&mut self) {
        let is_here = self.lanes.iter().all(Lane::is_here);
        // The rings close first: then the name is soon free at the workers.
        self.sockets.clear();
        self.lanes.clear();
        // In a forked child the names may be locked for ever, and are nobody's.
        if is_here {
            self.engine.give_name(self.id);
        }
    }
}
