//! UDP.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use corewire_drivers::env::Instant;
use corewire_drivers::env::limits::{PUBLISH_MAX, TRANSMIT_CREDITS};
use corewire_drivers::ring::LendingConfig;

use super::destination::Destination;
use super::sleepers::Sleepers;
use crate::Engine;
use crate::control::command::UdpOption;
use crate::runtime::doorbell::Patience;
use crate::runtime::{Shared, network_down};
use crate::socket::context::DEFAULT_RECEIVE_BUFFER;
use crate::socket::entry::Kind;
use crate::zero_copy::{Everyone, Hub, Local, RxBuf, SocketKey, checked_ttl};

/// A UDP socket of an engine, with the signatures and the errors of [`std::net::UdpSocket`].
///
/// Not as there: a datagram that the way's MTU does not hold is not cut into fragments, but
/// refused (EMSGSIZE); multicast is [`io::ErrorKind::Unsupported`]; so is an address of the
/// engine's own as a destination.
///
/// ```no_run
/// use corewire::net::UdpSocket;
///
/// fn echo() -> std::io::Result<()> {
///     let socket = UdpSocket::bind("10.77.0.1:7")?;
///     let mut bytes = [0; 2048];
///     loop {
///         let (len, peer) = socket.recv_from(&mut bytes)?;
///         socket.send_to(&bytes[..len], peer)?;
///     }
/// }
/// ```
pub struct UdpSocket(Arc<Open>);

/// What all handles of one socket share.
struct Open {
    state: Mutex<State>,
    /// Held by whoever asks the workers for something, so that they and `state` agree on which
    /// of two came last. Never `state` for that: an answer takes a turn, and the thread that has
    /// the role to make it may be a reader of this socket that looks into `state`.
    control: Mutex<()>,
    sleepers: Sleepers,
    engine: Arc<Shared>,
    nonblocking: AtomicBool,
    /// Nanoseconds; 0 for none.
    read_timeout: AtomicU64,
    write_timeout: AtomicU64,
}

struct State {
    hub: Hub,
    key: SocketKey,
    /// The last destination that was found good.
    good: Option<Destination>,
}

/// Frames that may be with the socket: those to write, and those that it may hold unread, twice:
/// one that is given back may be lent again before it has left the ring.
const FRAMES: u32 = (TRANSMIT_CREDITS + 2 * PUBLISH_MAX) as u32;
/// Errors and requests that may be on their way at one time; more coalesce.
const SIGNALS: u32 = 16;

impl Engine {
    /// A UDP socket of this engine, as [`UdpSocket::bind`] makes one of the installed engine.
    ///
    /// # Errors
    /// As [`UdpSocket::bind`].
    pub fn udp(&self, address: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        each(address, |address| UdpSocket::open(self, address))
    }
}

impl UdpSocket {
    /// A socket of the installed engine, at the first of the addresses that can be had.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`] when no engine is installed: the message names the two ways
    /// to mend it. [`io::ErrorKind::AddrInUse`], [`io::ErrorKind::AddrNotAvailable`] as std's.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Engine::installed()?.udp(address)
    }

    fn open(engine: &Engine, address: SocketAddr) -> io::Result<Self> {
        let engine = engine.shared().clone();
        let config = LendingConfig { frames: FRAMES, signals: SIGNALS };
        let (mut hub, waiter) = Hub::connect_to(engine.clone(), config)?;
        let key = hub.udp_bind(address, DEFAULT_RECEIVE_BUFFER)?;
        Ok(Self(Arc::new(Open {
            state: Mutex::new(State { hub, key, good: None }),
            control: Mutex::new(()),
            sleepers: Sleepers::new(waiter),
            engine,
            nonblocking: AtomicBool::new(false),
            read_timeout: AtomicU64::new(0),
            write_timeout: AtomicU64::new(0),
        })))
    }

    /// Receives a datagram: its length, and who sent it. What `bytes` does not hold is lost.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none and the socket does not block, or its time
    /// is over; [`io::ErrorKind::ConnectionRefused`] and the like, as std's;
    /// [`io::ErrorKind::NetworkDown`] when the engine or its device is gone.
    pub fn recv_from(&self, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.until(&self.0.read_timeout, State::may_read, |state| state.receive(bytes))
    }

    /// As [`recv_from`](Self::recv_from); the datagram stays.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    pub fn peek_from(&self, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.until(&self.0.read_timeout, State::may_read, |state| state.peek(bytes))
    }

    /// Sends a datagram to the first of the addresses.
    ///
    /// # Errors
    /// EMSGSIZE when the way does not hold it, [`io::ErrorKind::NetworkUnreachable`] when there is
    /// none, [`io::ErrorKind::PermissionDenied`] for a broadcast address without
    /// [`set_broadcast`](Self::set_broadcast), [`io::ErrorKind::InvalidInput`] for port 0 or no
    /// address; [`io::ErrorKind::WouldBlock`] when there is no room and the socket does not block.
    pub fn send_to(&self, bytes: &[u8], address: impl ToSocketAddrs) -> io::Result<usize> {
        let address = address.to_socket_addrs()?.next().ok_or_else(no_address)?;
        let send = |state: &mut State| state.send(bytes, Some(address));
        self.0.until(&self.0.write_timeout, State::may_write, send)
    }

    /// Speaks only with the first of the addresses to which there is a way, from now on.
    ///
    /// # Errors
    /// [`io::ErrorKind::NetworkUnreachable`].
    pub fn connect(&self, address: impl ToSocketAddrs) -> io::Result<()> {
        each(address, |address| {
            let control = self.0.control();
            self.0.state().may_speak_with(address)?;
            let source = self.0.everyone()?.connect(address)?;
            let state = &mut *self.0.state();
            state.hub.connected(state.key, address, source);
            drop(control);
            Ok(())
        })
    }

    /// Receives a datagram from the peer.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    pub fn recv(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.recv_from(bytes).map(|(len, _)| len)
    }

    /// As [`recv`](Self::recv); the datagram stays.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    pub fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.peek_from(bytes).map(|(len, _)| len)
    }

    /// Sends a datagram to the peer.
    ///
    /// # Errors
    /// EDESTADDRREQ without [`connect`](Self::connect); else as [`send_to`](Self::send_to).
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.until(&self.0.write_timeout, State::may_write, |state| state.send(bytes, None))
    }

    /// Where the socket is.
    ///
    /// # Errors
    /// None, at present.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.state().read(|socket| socket.local)
    }

    /// Its peer.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let peer = self.0.state().read(|socket| socket.peer)?;
        peer.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOTCONN))
    }

    /// Another handle of the same socket, with the same options, as of a duplicated descriptor.
    ///
    /// # Errors
    /// None, at present.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.clone()))
    }

    /// How long receiving waits; for ever with `None`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a duration of zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        set_timeout(&self.0.read_timeout, timeout)
    }

    /// How long sending waits; for ever with `None`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a duration of zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        set_timeout(&self.0.write_timeout, timeout)
    }

    /// How long receiving waits.
    ///
    /// # Errors
    /// None, at present.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(timeout(&self.0.read_timeout))
    }

    /// How long sending waits.
    ///
    /// # Errors
    /// None, at present.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(timeout(&self.0.write_timeout))
    }

    /// Whether calls return [`io::ErrorKind::WouldBlock`] instead of waiting.
    ///
    /// # Errors
    /// None, at present.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.0.nonblocking.store(nonblocking, Relaxed);
        Ok(())
    }

    /// Whether it may send to broadcast addresses.
    ///
    /// # Errors
    /// [`io::ErrorKind::NetworkDown`] when the engine is gone.
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.0.set(UdpOption::Broadcast(broadcast))
    }

    /// Whether it may send to broadcast addresses.
    ///
    /// # Errors
    /// None, at present.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.0.state().read(|socket| socket.broadcast)
    }

    /// Hops that its packets may take.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for 0 and more than 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.set(checked_ttl(ttl)?)
    }

    /// Hops that its packets may take.
    ///
    /// # Errors
    /// None, at present.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.state().read(|socket| u32::from(socket.ttl))
    }

    /// What the network last said about datagrams that were sent, and forgets it.
    ///
    /// # Errors
    /// None, at present.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        let state = &mut *self.0.state();
        Ok(state.hub.take_error(state.key))
    }

    /// Not yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`].
    pub fn join_multicast_v4(&self, _group: &Ipv4Addr, _interface: &Ipv4Addr) -> io::Result<()> {
        Err(no_multicast())
    }

    /// Not yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`].
    pub fn join_multicast_v6(&self, _group: &Ipv6Addr, _interface: u32) -> io::Result<()> {
        Err(no_multicast())
    }

    /// Not yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`].
    pub fn leave_multicast_v4(&self, _group: &Ipv4Addr, _interface: &Ipv4Addr) -> io::Result<()> {
        Err(no_multicast())
    }

    /// Not yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`].
    pub fn leave_multicast_v6(&self, _group: &Ipv6Addr, _interface: u32) -> io::Result<()> {
        Err(no_multicast())
    }
}

impl Open {
    /// Tries until it works, or the socket's patience is over.
    #[inline]
    fn until<R>(
        &self,
        patience: &AtomicU64,
        ready: fn(&mut State) -> bool,
        mut attempt: impl FnMut(&mut State) -> io::Result<Option<R>>,
    ) -> io::Result<R> {
        if let Some(result) = attempt(&mut self.state())? {
            return Ok(result);
        }
        if self.nonblocking.load(Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let deadline = timeout(patience).map(|timeout| self.engine.clock.now() + timeout);
        loop {
            let in_time = self.wait(deadline, ready)?;
            if let Some(result) = attempt(&mut self.state())? {
                return Ok(result);
            }
            if !in_time {
                // As Linux, which says EAGAIN for SO_RCVTIMEO too.
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    /// Waits until something came, without the lock.
    fn wait(&self, deadline: Option<Instant>, ready: fn(&mut State) -> bool) -> io::Result<bool> {
        let spin = self.engine.idle.look_for();
        let patience = Patience { clock: &self.engine.clock, spin, deadline };
        let worker = self.state().hub.caller_driven();
        match worker {
            // We may have the role, or a lock of the turner, and who has the state may wait for
            // either. So never wait for it here; who can't look says "look", and looks without.
            Some(worker) => Ok(worker
                .wait(patience, || self.try_state().is_none_or(|mut state| ready(&mut state)))),
            None => self.sleepers.wait(patience, || ready(&mut self.state())),
        }
    }

    /// Sets an option at every worker.
    fn set(&self, option: UdpOption) -> io::Result<()> {
        let control = self.control();
        let granted = self.everyone()?.set(option)?;
        let state = &mut *self.state();
        state.hub.was_set(state.key, option, granted);
        drop(control);
        Ok(())
    }

    /// The workers, to be asked without the lock.
    fn everyone(&self) -> io::Result<Everyone> {
        let state = &mut *self.state();
        state.hub.everyone(state.key)
    }

    fn control(&self) -> MutexGuard<'_, ()> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless another thread has it.
    fn try_state(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    #[inline]
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock would be one of ours; the state is whole between two calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_speak_with(&mut self, address: SocketAddr) -> io::Result<()> {
        self.hub.check_version(self.key, address.ip())
    }

    /// Whether a reader should look: something waits, or may be found.
    fn may_read(&mut self) -> bool {
        self.hub.has_something()
    }

    /// Whether a writer should look: another thread may have found the frames that it waits for,
    /// and what waits to be read is not its business.
    fn may_write(&mut self) -> bool {
        self.hub.has_news() || self.hub.has_credit(self.key)
    }

    #[inline]
    fn receive(&mut self, bytes: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        let Some(datagram) = self.hub.receive(self.key)? else { return Ok(None) };
        let received = copy(&datagram, bytes);
        self.hub.give_back(datagram);
        Ok(Some(received))
    }

    fn peek(&mut self, bytes: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        Ok(self.hub.peek(self.key)?.map(|datagram| copy(datagram, bytes)))
    }

    #[inline]
    fn send(&mut self, bytes: &[u8], to: Option<SocketAddr>) -> io::Result<Option<usize>> {
        if let Some(error) = self.hub.take_error(self.key) {
            return Err(error);
        }
        let (peer, allowed) = self.read(|socket| (socket.peer, socket.broadcast))?;
        let no_peer = || io::Error::from_raw_os_error(libc::EDESTADDRREQ);
        let way = self.way(to.or(peer).ok_or_else(no_peer)?)?;
        if way.is_broadcast && !allowed {
            return Err(io::Error::from_raw_os_error(libc::EACCES));
        }
        if bytes.len() > way.largest {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        let mut buffer = match self.hub.buffer(self.key) {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        if bytes.len() > buffer.capacity() {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        buffer.fill_from(bytes);
        let kind = match to {
            Some(address) => {
                buffer.address_to(address);
                Kind::SendTo
            }
            None => Kind::Send,
        };
        self.hub.send(self.key, buffer, kind)?;
        self.hub.flush();
        Ok(Some(bytes.len()))
    }

    /// The way to `address`, as of the present snapshot.
    #[inline]
    fn way(&mut self, address: SocketAddr) -> io::Result<Destination> {
        let snapshot = self.hub.engine.snapshot.load();
        if let Some(good) = self.good
            && good.address == address
            && good.generation == snapshot.generation
        {
            return Ok(good);
        }
        let found = Destination::find(&snapshot, address);
        drop(snapshot);
        self.hub.check_version(self.key, address.ip())?;
        self.good = found.as_ref().ok().copied();
        found
    }

    fn read<R>(&mut self, read: impl FnOnce(&Local) -> R) -> io::Result<R> {
        self.hub.socket(self.key).map(|socket| read(socket)).ok_or_else(network_down)
    }
}

impl Drop for State {
    /// Closes the socket, with the last handle of it.
    fn drop(&mut self) {
        self.hub.remove(self.key);
    }
}

/// As much of the datagram as `bytes` holds: how much, and whose.
#[inline]
fn copy(datagram: &RxBuf, bytes: &mut [u8]) -> (usize, SocketAddr) {
    let mut copied = 0;
    for chunk in datagram.chunks() {
        let len = chunk.len().min(bytes.len() - copied);
        bytes[copied..copied + len].copy_from_slice(&chunk[..len]);
        copied += len;
    }
    (copied, datagram.peer())
}

/// Tries every address, and says what is wrong with the last.
fn each<R>(
    address: impl ToSocketAddrs,
    attempt: impl Fn(SocketAddr) -> io::Result<R>,
) -> io::Result<R> {
    let mut last = no_address();
    for address in address.to_socket_addrs()? {
        match attempt(address) {
            Ok(result) => return Ok(result),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no addresses to send data to")
}

fn no_multicast() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the engine has no multicast yet")
}

fn set_timeout(place: &AtomicU64, timeout: Option<Duration>) -> io::Result<()> {
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        let message = "cannot set a 0 duration timeout";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let nanos = timeout.map_or(0, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    place.store(nanos, Relaxed);
    Ok(())
}

fn timeout(place: &AtomicU64) -> Option<Duration> {
    Some(place.load(Relaxed)).filter(|nanos| *nanos > 0).map(Duration::from_nanos)
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = self.0.state().read(|socket| (socket.local, socket.peer));
        let (local, peer) = ends.map_or((None, None), |(local, peer)| (Some(local), peer));
        f.debug_struct("UdpSocket").field("local", &local).field("peer", &peer).finish()
    }
}
