//! Kernel sockets, three ways: a thread that blocks, one that blocks with SO_BUSY_POLL, and one
//! that spins. Datagrams move in batches (recvmmsg, sendmmsg), as in a program that was tuned.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use crate::generator::ledger::{self, Pace};
use crate::measure::{Cue, Outcome};
use crate::sys::{self, Batch};

/// How a thread waits for datagrams.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// It sleeps in recvmmsg.
    Blocking,
    /// It sleeps in recvmmsg after the kernel polled the driver for a while.
    BusyPoll,
    /// It asks again and again.
    Spin,
}

impl Waiting {
    /// All ways.
    pub(crate) const ALL: [Self; 3] = [Self::Blocking, Self::BusyPoll, Self::Spin];

    /// As it is called in a report's `system`.
    pub(crate) const fn system(self) -> &'static str {
        match self {
            Self::Blocking => "kernel-blocking",
            Self::BusyPoll => "kernel-busy-poll",
            Self::Spin => "kernel-spin",
        }
    }

    /// The flags of recvmmsg. A thread that must send at moments of its own can't sleep.
    pub(crate) const fn flags(self, pace: Pace) -> i32 {
        match (self, pace) {
            (Self::Spin, _) | (_, Pace::Rate(_)) => libc::MSG_DONTWAIT,
            (Self::Blocking | Self::BusyPoll, Pace::Window(_)) => libc::MSG_WAITFORONE,
        }
    }

    /// Says so when busy polling was asked for and the kernel has nothing to poll.
    pub(crate) fn note(self, socket: &UdpSocket, outcome: &mut Outcome) -> io::Result<()> {
        if self == Self::BusyPoll && sys::ask_for_busy_poll(socket)? == 0 {
            let warning = "busy poll without effect: the socket has no NAPI id on this device";
            outcome.warnings.push(warning.into());
        }
        Ok(())
    }
}

/// A socket as all kernel roles use it.
pub(crate) fn open(at: SocketAddrV4, waiting: Waiting) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    // The forced form ignores net.core.rmem_max, and takes CAP_NET_ADMIN; without it the plain
    // one gives what the limit allows.
    for (forced, plain) in
        [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
    {
        let set = |name| sys::set_option(socket.as_fd(), libc::SOL_SOCKET, name, SOCKET_BUFFER);
        set(forced).or_else(|_| set(plain))?;
    }
    if waiting == Waiting::Spin {
        socket.set_nonblocking(true)?;
    } else {
        // To look at the cue now and then.
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    }
    Ok(socket)
}

/// Sends every datagram back to where it came from, until the cue says stop.
pub(crate) fn echo(at: SocketAddrV4, waiting: Waiting, cue: &Cue<'_>) -> io::Result<Outcome> {
    let socket = open(at, waiting)?;
    let mut batch = Batch::new(BATCH, MAX_DATAGRAM);
    let mut outcome = Outcome::default();
    waiting.note(&socket, &mut outcome)?;
    let mut unsent = 0;
    cue.ready();
    while !cue.stopped() {
        let came = batch.receive(&socket, waiting.flags(Pace::Window(0)))?;
        cue.gauge.calls(1);
        if came > 0 {
            let (sent, calls) = batch.send(&socket, came, None)?;
            cue.gauge.calls(calls as u64);
            cue.gauge.packets(sent as u64);
            unsent += came - sent;
        }
    }
    outcome.drops.insert("tx_queue_full".into(), unsent as u64);
    Ok(outcome)
}

/// Receives and counts, until the cue says stop.
pub(crate) fn sink(at: SocketAddrV4, waiting: Waiting, cue: &Cue<'_>) -> io::Result<Outcome> {
    let socket = open(at, waiting)?;
    let mut batch = Batch::new(BATCH, MAX_DATAGRAM);
    let mut outcome = Outcome::default();
    waiting.note(&socket, &mut outcome)?;
    cue.ready();
    while !cue.stopped() {
        let came = batch.receive(&socket, waiting.flags(Pace::Window(0)))?;
        cue.gauge.calls(1);
        cue.gauge.packets(came as u64);
    }
    Ok(outcome)
}

/// Sends as fast as it goes, until the cue says stop.
pub(crate) fn flood(to: SocketAddrV4, size: usize, cue: &Cue<'_>) -> io::Result<Outcome> {
    let socket = open(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), Waiting::Spin)?;
    let mut batch = Batch::new(BATCH, size);
    for index in 0..BATCH {
        batch.address(index, to);
        ledger::write(index as u64, batch.slot(index));
    }
    cue.ready();
    while !cue.stopped() {
        let (sent, calls) = batch.send(&socket, BATCH, Some(size))?;
        cue.gauge.calls(calls as u64);
        cue.gauge.packets(sent as u64);
    }
    Ok(Outcome::default())
}

/// Datagrams in one call: what Corewire has in a burst, so both pay a call for as many.
pub(crate) const BATCH: usize = 64;

/// The largest payload over an MTU of 1500.
const MAX_DATAGRAM: usize = 1472;

/// Enough for the largest window (4096) by true size (a 2 KiB buffer each).
const SOCKET_BUFFER: i32 = 8 << 20;
