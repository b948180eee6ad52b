//! UDP.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::buffer::{RxBuf, TxBuf};
use super::context::Context;
use super::hub::{Hub, Local, SocketKey};
use crate::control::command::UdpOption;
use crate::control::{Answer, Command};
use crate::runtime::{WorkerRef, network_down};
use crate::socket::SocketId;
use crate::socket::entry::Kind;
use crate::udp::BindError;

/// A UDP socket of a [`Context`].
///
/// Datagrams larger than a frame holds, or than the way's MTU, are not sent: there is no
/// fragmentation yet.
#[derive(Debug)]
pub struct UdpSocket<'c> {
    pub(super) context: &'c Context,
    pub(super) key: SocketKey,
}

/// Times that a port which is free at one worker and taken at another is tried again.
const PORT_TRIES: usize = 16;

impl UdpSocket<'_> {
    /// Its name, as [`Context::ready`] gives it.
    #[must_use]
    pub const fn key(&self) -> SocketKey {
        self.key
    }

    /// The next datagram; `None` when there is none now.
    ///
    /// # Errors
    /// What the network says about datagrams that were sent, if the socket is connected:
    /// [`io::ErrorKind::ConnectionRefused`], [`io::ErrorKind::HostUnreachable`],
    /// [`io::ErrorKind::NetworkUnreachable`], each once. [`io::ErrorKind::NetworkDown`] from when
    /// the engine or its device is gone.
    #[inline]
    pub fn recv(&self) -> io::Result<Option<RxBuf>> {
        self.context.inner().receive(self.key)
    }

    /// Adds up to `max` datagrams to `burst`, and says how many.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), when there is no datagram before the error; else the next call
    /// says it.
    #[inline]
    pub fn recv_burst(&self, burst: &mut Vec<RxBuf>, max: usize) -> io::Result<usize> {
        let inner = &mut *self.context.inner();
        for count in 0..max {
            match inner.receive(self.key) {
                Ok(Some(datagram)) => burst.push(datagram),
                Err(error) if count == 0 => return Err(error),
                Ok(None) => return Ok(count),
                Err(error) => {
                    // Said once only, so it must be said: by the next call.
                    inner.keep_error(self.key, &error);
                    return Ok(count);
                }
            }
        }
        Ok(max)
    }

    /// Looks at the next datagram, which stays there; `None` when there is none now.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn peek<R>(&self, look: impl FnOnce(&RxBuf) -> R) -> io::Result<Option<R>> {
        Ok(self.context.inner().peek(self.key)?.map(look))
    }

    /// Gives a datagram's frame back: cheaper than dropping it.
    #[inline]
    pub fn give_back(&self, datagram: RxBuf) {
        self.context.inner().give_back(datagram);
    }

    /// An empty frame to write a datagram into.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the worker has to lend some first, which it has been
    /// asked for: [`Context::wait`]. [`io::ErrorKind::NetworkDown`] when it is gone.
    #[inline]
    pub fn buffer(&self) -> io::Result<TxBuf> {
        self.context.inner().buffer(self.key)
    }

    /// Sends a datagram to the peer.
    ///
    /// That it was not sent shows in the engine's counters: there is no way back for each.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`] without [`connect`](Self::connect);
    /// [`io::ErrorKind::InvalidInput`] when the buffer is one of another context.
    #[inline]
    pub fn send(&self, buffer: TxBuf) -> io::Result<()> {
        let inner = &mut *self.context.inner();
        if inner.socket(self.key).is_none_or(|socket| socket.peer.is_none()) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        inner.send(self.key, buffer, Kind::Send)
    }

    /// Sends a datagram to `peer`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn send_to(&self, mut buffer: TxBuf, peer: SocketAddr) -> io::Result<()> {
        buffer.address_to(peer);
        self.context.inner().send(self.key, buffer, Kind::SendTo)
    }

    /// Sends a datagram back to its sender, in its own frame.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn answer(&self, datagram: RxBuf) -> io::Result<()> {
        let peer = datagram.peer();
        self.send_to(datagram.into_tx(), peer)
    }

    /// Speaks only with `peer` from now on.
    ///
    /// # Errors
    /// [`io::ErrorKind::NetworkUnreachable`] when no route leads there.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        self.context.inner().connect(self.key, peer)
    }

    /// Where it is. Connected, the address that it sends from.
    ///
    /// # Errors
    /// None, at present.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.context.inner().socket(self.key).map(|s| s.local).ok_or_else(network_down)
    }

    /// Its peer.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let peer = self.context.inner().socket(self.key).and_then(|socket| socket.peer);
        peer.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Whether it may send to broadcast addresses.
    ///
    /// # Errors
    /// [`io::ErrorKind::NetworkDown`] when a worker is gone.
    pub fn set_broadcast(&self, allowed: bool) -> io::Result<()> {
        self.context.inner().set(self.key, UdpOption::Broadcast(allowed)).map(drop)
    }

    /// Whether it may send to broadcast addresses.
    #[must_use]
    pub fn broadcast(&self) -> bool {
        self.context.inner().socket(self.key).is_some_and(|socket| socket.broadcast)
    }

    /// Hops that its packets may take.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for 0; [`io::ErrorKind::NetworkDown`].
    pub fn set_ttl(&self, hops: u8) -> io::Result<()> {
        self.context.inner().set(self.key, checked_ttl(hops.into())?).map(drop)
    }

    /// Hops that its packets may take.
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.context.inner().socket(self.key).map_or(0, |socket| socket.ttl)
    }

    /// Asks for a receive buffer of `bytes`, and says what was granted at each worker: as many
    /// whole frames.
    ///
    /// # Errors
    /// [`io::ErrorKind::NetworkDown`] when a worker is gone.
    pub fn set_receive_buffer(&self, bytes: usize) -> io::Result<usize> {
        self.context.inner().set(self.key, UdpOption::ReceiveBuffer(bytes))
    }

    /// Bytes of receive buffer granted at each worker.
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        self.context.inner().socket(self.key).map_or(0, |socket| socket.receive_buffer)
    }

    /// What the network last said about datagrams that were sent, and forgets it.
    #[must_use]
    pub fn take_error(&self) -> Option<io::Error> {
        self.context.inner().take_error(self.key)
    }
}

impl Drop for UdpSocket<'_> {
    /// Closes it. What was sent goes out; what was not read is lost.
    fn drop(&mut self) {
        self.context.inner().remove(self.key);
    }
}

impl Hub {
    /// Makes a socket at every worker, at one address.
    pub(crate) fn udp_bind(
        &mut self,
        local: SocketAddr,
        receive_buffer: usize,
    ) -> io::Result<SocketKey> {
        let mut tries = 0;
        loop {
            match self.try_bind(local, receive_buffer) {
                Ok(socket) => return Ok(self.add(socket)),
                // The first worker chose a port that another one does not have.
                Err(Refused::Bind(BindError::InUse)) if local.port() == 0 && tries < PORT_TRIES => {
                    tries += 1;
                }
                Err(Refused::Bind(error)) => return Err(error.into()),
                Err(Refused::Gone(error)) => return Err(error),
            }
        }
    }

    fn try_bind(&self, mut local: SocketAddr, receive_buffer: usize) -> Result<Local, Refused> {
        let mut ids: Vec<SocketId> = Vec::with_capacity(self.lanes.len());
        let mut granted = receive_buffer;
        for lane in &self.lanes {
            let command = Command::UdpBind { context: self.id, local, receive_buffer };
            let refused = match lane.worker.ask(command, None) {
                Ok(Answer::Bound { socket, local: bound, receive_buffer }) => {
                    ids.push(socket);
                    (local, granted) = (bound, receive_buffer);
                    continue;
                }
                Ok(Answer::NotBound(error)) => Refused::Bind(error),
                Ok(_) => Refused::Gone(network_down()),
                Err(error) => Refused::Gone(error),
            };
            self.lanes.iter().zip(ids).for_each(|(lane, id)| lane.worker.close_socket(id));
            return Err(refused);
        }
        Ok(Local::new(ids, local, granted))
    }

    /// Lets a socket speak only with `peer` from now on.
    fn connect(&mut self, key: SocketKey, peer: SocketAddr) -> io::Result<()> {
        self.check_version(key, peer.ip())?;
        let source = self.everyone(key)?.connect(peer)?;
        self.connected(key, peer, source);
        Ok(())
    }

    /// What [`Everyone::connect`] brought.
    pub(crate) fn connected(&mut self, key: SocketKey, peer: SocketAddr, source: Option<IpAddr>) {
        if let Some(socket) = self.socket(key) {
            socket.peer = Some(peer);
            source.into_iter().for_each(|source| socket.local.set_ip(source));
        }
    }

    /// Sets an option at every worker; returns what the last one granted.
    fn set(&mut self, key: SocketKey, option: UdpOption) -> io::Result<usize> {
        let granted = self.everyone(key)?.set(option)?;
        self.was_set(key, option, granted);
        Ok(granted)
    }

    /// What [`Everyone::set`] brought.
    pub(crate) fn was_set(&mut self, key: SocketKey, option: UdpOption, granted: usize) {
        let Some(socket) = self.socket(key) else { return };
        match option {
            UdpOption::Broadcast(allowed) => socket.broadcast = allowed,
            UdpOption::Ttl(hops) => socket.ttl = hops,
            UdpOption::ReceiveBuffer(_) => socket.receive_buffer = granted,
        }
    }

    /// Every worker that has the socket, to be asked for something about it.
    pub(crate) fn everyone(&mut self, key: SocketKey) -> io::Result<Everyone> {
        // What was sent before goes by the rules of before.
        self.flush();
        let ids = self.socket(key).map(|socket| socket.ids.clone()).ok_or_else(network_down)?;
        Ok(Everyone(self.lanes.iter().map(|lane| lane.worker.clone()).zip(ids).collect()))
    }

    /// An IPv4 socket speaks only IPv4.
    pub(crate) fn check_version(&mut self, key: SocketKey, peer: IpAddr) -> io::Result<()> {
        match self.socket(key) {
            Some(socket) if socket.local.is_ipv4() != peer.is_ipv4() => {
                Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
            }
            Some(_) => Ok(()),
            None => Err(network_down()),
        }
    }
}

/// Every worker that has a socket, and its name there. It borrows nothing of the context: an
/// answer takes a turn, and whoever makes that turn may want the context meanwhile.
pub(crate) struct Everyone(Vec<(WorkerRef, SocketId)>);

impl Everyone {
    /// Lets the socket speak only with `peer`. Says from which address; none without workers.
    pub(crate) fn connect(&self, peer: SocketAddr) -> io::Result<Option<IpAddr>> {
        let mut source = None;
        for answer in self.ask(|id| Command::UdpConnect(id, peer)) {
            match answer? {
                Answer::Connected(address) => source = Some(address),
                Answer::NoRoute => return Err(io::Error::from_raw_os_error(libc::ENETUNREACH)),
                _ => return Err(network_down()),
            }
        }
        Ok(source)
    }

    /// Sets an option; returns what the last worker granted.
    pub(crate) fn set(&self, option: UdpOption) -> io::Result<usize> {
        let mut granted = 0;
        for answer in self.ask(|id| Command::UdpSet(id, option)) {
            match answer? {
                Answer::Done => {}
                Answer::Granted(bytes) => granted = bytes,
                _ => return Err(network_down()),
            }
        }
        Ok(granted)
    }

    fn ask(
        &self,
        command: impl Fn(SocketId) -> Command,
    ) -> impl Iterator<Item = io::Result<Answer>> {
        self.0.iter().map(move |(worker, id)| worker.ask(command(*id), None))
    }
}

/// The hops that a packet may take: at least one.
pub(crate) fn checked_ttl(hops: u32) -> io::Result<UdpOption> {
    let hops = u8::try_from(hops).ok().filter(|hops| *hops > 0);
    hops.map(UdpOption::Ttl).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Why there is no socket.
enum Refused {
    Bind(BindError),
    Gone(io::Error),
}

/// As bind(2) says it.
impl From<BindError> for io::Error {
    fn from(error: BindError) -> Self {
        let kind = match error {
            BindError::InUse | BindError::NoPort => io::ErrorKind::AddrInUse,
            BindError::NotAvailable => io::ErrorKind::AddrNotAvailable,
            BindError::TooMany => io::ErrorKind::QuotaExceeded,
        };
        Self::new(kind, error)
    }
}
