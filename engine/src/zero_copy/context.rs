//! One application's end of the engine.

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use corewire_drivers::ring::LendingConfig;

use super::hub::{Hub, SocketKey};
use super::udp::UdpSocket;
use crate::runtime::Engine;
use crate::runtime::doorbell::{Patience, Waiter};
use crate::socket::context::DEFAULT_RECEIVE_BUFFER;

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
    pub(super) inner: RefCell<Hub>,
    waiter: RefCell<Waiter>,
    /// A second descriptor of what the waiter sleeps on: it can be lent while that is in use.
    wait_fd: OwnedFd,
    spin: Cell<Duration>,
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
        let config = LendingConfig { frames: u32::MAX, signals: 1024 };
        let (hub, waiter) = Hub::connect_to(self.shared().clone(), config)?;
        let wait_fd = waiter.fd().try_clone_to_owned()?;
        let spin = Cell::new(self.shared().idle.look_for());
        Ok(Context { inner: RefCell::new(hub), waiter: RefCell::new(waiter), wait_fd, spin })
    }
}

impl Context {
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
        let key = self.inner().udp_bind(local, bytes)?;
        Ok(UdpSocket { context: self, key })
    }

    /// A socket for which something came since it was last named here: read it until there is
    /// nothing more. However much came, a socket is named once.
    pub fn ready(&self) -> Option<SocketKey> {
        self.inner().next_ready()
    }

    /// Waits until something may be to read or to write, `timeout` at most: spins, then sleeps.
    /// False when the time is over. Publishes what was sent and given back.
    ///
    /// # Errors
    /// When the host can't poll: it has no memory.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let mut inner = self.inner();
        let engine = inner.engine.clone();
        let clock = &engine.clock;
        let deadline = timeout.map(|timeout| clock.now() + timeout);
        let spin = self.spin.get();
        inner.flush();
        if let Some(worker) = inner.caller_driven() {
            let patience = Patience { clock, spin, deadline };
            return Ok(worker.wait(patience, || inner.has_something()));
        }
        let mut waiter = self.waiter.borrow_mut();
        let awake = clock.now() + spin;
        if deadline.is_none_or(|deadline| awake < deadline) {
            let patience = Patience { clock, spin, deadline: Some(awake) };
            if waiter.wait(patience, || inner.has_something())? {
                return Ok(true);
            }
            inner.rest();
        }
        waiter.wait(Patience { clock, spin: Duration::ZERO, deadline }, || inner.has_something())
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
        self.waiter.borrow_mut().arm(|| inner.has_something())
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
    pub(super) fn inner(&self) -> RefMut<'_, Hub> {
        self.inner.borrow_mut()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}
