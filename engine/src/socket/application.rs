//! The application that runs in the worker's turn.

use std::net::SocketAddr;

use corewire_drivers::env::limits::RESERVE;
use corewire_drivers::env::{DropReason, Instant};
use corewire_drivers::mem::Packet;

use super::SocketId;
use crate::ip::{self, Ip};
use crate::udp::{self, BindError, Owner};

/// An application that runs in the worker's turn: no ring, no copy, no atomic between it and the
/// packet.
///
/// A callback must not block: the worker does nothing else meanwhile. One that panics closes the
/// socket that it was called for; others go on.
pub trait Application {
    /// A datagram has come.
    fn on_datagram(&mut self, turn: &mut Turn<'_>, datagram: Datagram<'_>);

    /// A datagram that the socket sent did not reach its peer.
    fn on_error(&mut self, _turn: &mut Turn<'_>, _socket: SocketId, _error: SocketError) {}

    /// The packets of this turn have been dealt with: the time to send something unasked.
    fn on_turn(&mut self, _turn: &mut Turn<'_>) {}
}

/// No application in the turn: all sockets belong to contexts.
#[derive(Copy, Clone, Debug, Default)]
pub struct NoApplication;

impl Application for NoApplication {
    fn on_datagram(&mut self, _turn: &mut Turn<'_>, _datagram: Datagram<'_>) {}
}

/// What the network says about a datagram that a socket sent.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
#[repr(u8)]
pub enum SocketError {
    /// Nobody has the peer's port (ECONNREFUSED).
    Refused = 1,
    /// The peer's host can't be reached (EHOSTUNREACH).
    HostUnreachable,
    /// The peer's network can't be reached (ENETUNREACH).
    NetworkUnreachable,
    /// The interface went away, or the worker died (ENETDOWN).
    NetworkDown,
}

impl SocketError {
    /// From the number that a ring entry carries; `None` for one that does not exist.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Refused,
            2 => Self::HostUnreachable,
            3 => Self::NetworkUnreachable,
            4 => Self::NetworkDown,
            _ => return None,
        })
    }

    /// From the number that a system call would say.
    pub(crate) const fn from_errno(number: i32) -> Option<Self> {
        Some(match number {
            ECONNREFUSED => Self::Refused,
            EHOSTUNREACH => Self::HostUnreachable,
            ENETUNREACH => Self::NetworkUnreachable,
            ENETDOWN => Self::NetworkDown,
            _ => return None,
        })
    }
}

/// As a system call would say it.
impl From<SocketError> for std::io::Error {
    fn from(error: SocketError) -> Self {
        Self::from_raw_os_error(match error {
            SocketError::Refused => ECONNREFUSED,
            SocketError::HostUnreachable => EHOSTUNREACH,
            SocketError::NetworkUnreachable => ENETUNREACH,
            SocketError::NetworkDown => ENETDOWN,
        })
    }
}

// Of include/uapi/asm-generic/errno.h: here nothing speaks with the system, so not from `libc`.
const ENETDOWN: i32 = 100;
const ENETUNREACH: i32 = 101;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;

/// What an application may do in its turn.
#[derive(Debug)]
pub struct Turn<'a> {
    pub(crate) ip: &'a mut Ip,
    pub(crate) udp: &'a mut udp::Sockets,
    pub(crate) now: Instant,
}

impl Turn<'_> {
    /// The moment at which the turn began.
    #[inline]
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Makes a UDP socket at `local`; with port 0 at an ephemeral port. Returns its name and where
    /// it is.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn udp_bind(&mut self, local: SocketAddr) -> Result<(SocketId, SocketAddr), BindError> {
        if !local.ip().is_unspecified() && self.ip.link.snapshot.is_local(local.ip()).is_none() {
            return Err(BindError::NotAvailable);
        }
        self.udp.bind(local, Owner::Inline, &mut self.ip.link.rng)
    }

    /// Closes a socket.
    pub fn close(&mut self, socket: SocketId) {
        self.udp.close(socket);
    }

    /// Sends a datagram of `len` bytes, which `write` writes, from `socket` to `peer`.
    ///
    /// # Errors
    /// Why it was not sent: [`DropReason::SocketClosed`], [`DropReason::NoFrame`],
    /// [`DropReason::TooBig`] when it fits no frame or not the way's MTU, or what the layers below
    /// say. All but the first have been counted.
    #[inline]
    pub fn udp_send(
        &mut self,
        socket: SocketId,
        peer: SocketAddr,
        len: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), DropReason> {
        self.udp.get_mut(socket).ok_or(DropReason::SocketClosed)?;
        let pool = &mut self.ip.link.pool;
        if pool.free_count() <= RESERVE {
            // The stack must still be able to speak for itself.
            return Err(DropReason::NoFrame);
        }
        let mut frame = pool.take().ok_or(DropReason::NoFrame)?;
        if len > pool.region().frame_size() - usize::from(frame.head()) {
            pool.give(frame);
            return Err(DropReason::TooBig);
        }
        frame.set_range(frame.head(), len as u16);
        let mut packet = Packet::from(frame);
        write(pool.bytes_mut(&mut packet));
        udp::output::output(self.ip, self.udp, self.now, socket, peer, packet)
    }
}

/// A datagram, in the frame in which it came.
///
/// When the application does nothing with it, it is gone after the callback.
#[derive(Debug)]
pub struct Datagram<'a> {
    pub(crate) packet: &'a mut Option<Packet>,
    pub(crate) from: &'a ip::Received,
    pub(crate) received: &'a udp::Received,
    pub(crate) socket: SocketId,
}

impl Datagram<'_> {
    /// The socket that it is for.
    #[inline]
    #[must_use]
    pub const fn socket(&self) -> SocketId {
        self.socket
    }

    /// Who sent it.
    #[inline]
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.from.addresses.source(), self.received.ports.0)
    }

    /// What it was sent to.
    #[inline]
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        SocketAddr::new(self.from.addresses.destination(), self.received.ports.1)
    }

    /// Bytes of payload.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.packet.as_ref().map_or(0, Packet::len)
    }

    /// Whether there is no payload.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload, as far as the first frame holds it: all of it, unless the interface carries
    /// packets larger than a frame.
    #[inline]
    #[must_use]
    pub fn payload<'t>(&'t self, turn: &'t Turn<'_>) -> &'t [u8] {
        self.packet.as_ref().map_or(&[], |packet| turn.ip.link.pool.bytes(packet))
    }

    /// As [`payload`](Self::payload), to write.
    #[inline]
    #[must_use]
    pub fn payload_mut<'t>(&'t mut self, turn: &'t mut Turn<'_>) -> &'t mut [u8] {
        self.packet.as_mut().map_or(&mut [], |packet| turn.ip.link.pool.bytes_mut(packet))
    }

    /// The whole payload, frame by frame.
    pub fn segments<'t>(&'t self, turn: &'t Turn<'_>) -> impl Iterator<Item = &'t [u8]> {
        self.packet.iter().flat_map(|packet| turn.ip.link.pool.segments(packet))
    }

    /// Sends the datagram back to its sender, in its own frame: what the payload holds now, and as
    /// long as it is.
    ///
    /// # Errors
    /// As [`Turn::udp_send`].
    #[inline]
    pub fn answer(self, turn: &mut Turn<'_>) -> Result<(), DropReason> {
        let packet = self.packet.take().ok_or(DropReason::SocketClosed)?;
        let peer = SocketAddr::new(self.from.addresses.source(), self.received.ports.0);
        udp::output::output(turn.ip, turn.udp, turn.now, self.socket, peer, packet)
    }

    /// Cuts the payload to its first `len` bytes.
    pub fn truncate(&mut self, turn: &mut Turn<'_>, len: usize) {
        if let Some(packet) = self.packet {
            turn.ip.link.pool.truncate(packet, len);
        }
    }
}
