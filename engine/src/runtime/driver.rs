//! A worker and what joins it to the world: its commands, bells, clock and books.
//!
//! Whose thread calls [`Driver::turn`] is decided elsewhere; it does not matter here.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use corewire_drivers::device::{DeviceCounts, WaitFd};
use corewire_drivers::env::{Clock, Counter, Counters, Instant};
use corewire_drivers::mem::FrameState;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::doorbell::{Ringer, Waiter};
use super::handle::Handle;
use super::idle::POLLED_DEVICE;
use crate::control::snapshot::InterfaceId;
use crate::control::{Answer, Command};
use crate::link::output::LinkEvent;
use crate::socket::application::SocketError;
use crate::socket::{Application, Turn};
use crate::worker::{Progress, Worker};

/// How often a worker's numbers that it does not count itself are brought up to date, and its
/// devices are looked after. Rarer, and a device that is gone is noticed later; more often, and a
/// system call a device costs more than it tells.
const BOOKS_EVERY: Duration = Duration::from_millis(100);

/// What has the kernel find a neighbour, of an engine that leaves that to it.
pub type WantNeighbor = Arc<dyn Fn(InterfaceId, IpAddr) + Send + Sync>;

/// A worker and what joins it to the world.
pub(crate) struct Driver {
    pub(super) worker: Worker,
    pub(super) handle: Arc<Handle>,
    pub(super) waiter: Waiter,
    pub(super) clock: Clock,
    /// The engine's other workers.
    pub(super) others: Vec<Arc<Handle>>,
    want_neighbor: Option<WantNeighbor>,
    /// What wakes each context's application, by the context's number.
    bells: Vec<Option<Ringer>>,
    next_books: Instant,
    /// Whether something was counted that is not in the books yet.
    books_due: bool,
    /// What each device had counted when last asked.
    counted: Vec<DeviceCounts>,
}

impl Driver {
    pub(super) fn new(
        worker: Worker,
        handle: Arc<Handle>,
        waiter: Waiter,
        clock: Clock,
        want_neighbor: Option<WantNeighbor>,
    ) -> Self {
        let counted = vec![DeviceCounts::default(); worker.devices().count()];
        Self {
            worker,
            handle,
            waiter,
            clock,
            others: Vec::new(),
            want_neighbor,
            bells: Vec::new(),
            next_books: Instant::ZERO,
            books_due: true,
            counted,
        }
    }

    /// One turn, and what comes between two. Says when it was.
    #[inline]
    pub(crate) fn turn<A: Application>(&mut self, application: &mut A) -> (Instant, Progress) {
        let now = self.clock.now();
        let mut progress = self.worker.turn(now, application);
        if !self.handle.mail.is_empty() {
            progress.collected += self.commands(now);
        }
        self.books_due |= !progress.is_idle();
        self.publish();
        if self.worker.has_events() {
            self.events();
        }
        if now >= self.next_books {
            self.keep_books(now);
        }
        (now, progress)
    }

    /// Lets applications see what the turn brought, and wakes those that sleep.
    #[inline]
    fn publish(&mut self) {
        let (mut published, mut rung) = (0, 0);
        let bells = &self.bells;
        self.worker.publish(|id| {
            published += 1;
            if let Some(Some(bell)) = bells.get(usize::from(id.0)) {
                rung += u64::from(bell.ring());
            }
        });
        if published > 0 {
            let counters = self.worker.counters();
            counters.add(Counter::Publishes, published);
            counters.add(Counter::DoorbellsRung, rung);
        }
    }

    /// Sleeps until something may be to do, or `until`.
    ///
    /// # Errors
    /// When the host can't poll: it has no memory.
    pub(crate) fn sleep(&mut self, until: Instant) -> io::Result<()> {
        if self.worker.is_cut_off() && !self.handle.is_cut_off() {
            // Nothing would wake us to tell the sockets; whoever turns us may wait for one.
            self.keep_books(self.clock.now());
            return Ok(());
        }
        let Self { worker, handle, waiter, .. } = self;
        let armed =
            waiter.arm(|| !handle.mail.is_empty() || handle.is_stopping() || worker.has_entries());
        if !armed {
            return Ok(());
        }
        let slept = self.poll(until);
        self.waiter.disarm();
        self.worker.counters().add(Counter::Sleeps, 1);
        slept
    }

    fn poll(&self, until: Instant) -> io::Result<()> {
        let now = self.clock.now();
        let mut until = until.min(self.worker.next_event());
        if self.books_due {
            // Once: what was counted since is read from outside, however long we sleep.
            until = until.min(self.next_books);
        }
        let mut fds = [const { None }; MAX_FDS];
        fds[0] = Some(self.waiter.fd());
        let mut count = 1;
        for fd in self.worker.wait_fds() {
            if fd.is_none() || count == MAX_FDS {
                until = until.min(now + POLLED_DEVICE);
            } else {
                fds[count] = fd;
                count += 1;
            }
        }
        if until <= now {
            return Ok(());
        }
        poll_readable(&fds, until.saturating_since(now))
    }

    /// Carries out what waits. Returns how much.
    #[cold]
    fn commands(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while let Some(mail) = self.handle.mail.take() {
            count += 1;
            let context = match &mail.command {
                Command::AddContext(id, _) => Some(*id),
                _ => None,
            };
            let answer = mail.command.run(&mut self.worker, now);
            if let (Some(id), Answer::Done) = (context, answer) {
                let place = usize::from(id.0);
                if self.bells.len() <= place {
                    self.bells.resize_with(place + 1, || None);
                }
                self.bells[place] = mail.bell;
            }
            if let Some(reply) = mail.reply {
                // Who asked may have given up.
                let _ = reply.try_send(answer);
            }
        }
        count
    }

    #[cold]
    fn events(&mut self) {
        for event in self.worker.take_events() {
            match event {
                LinkEvent::Learned(interface, address, mac) => {
                    for other in &self.others {
                        // One that has no room asks for itself.
                        let _ = other.mail.tell(Command::Learn(interface, address, mac));
                    }
                }
                LinkEvent::WantNeighbor(interface, address) => {
                    if let Some(want) = &self.want_neighbor {
                        want(interface, address);
                    }
                }
            }
        }
    }

    /// What the worker does not count itself, and whether its devices are still there.
    #[cold]
    pub(super) fn keep_books(&mut self, now: Instant) {
        self.next_books = now + BOOKS_EVERY;
        self.books_due = false;
        let counters = self.worker.counters();
        let mut sum = DeviceCounts::default();
        for (before, (_, _, counts)) in self.counted.iter_mut().zip(self.worker.devices()) {
            for ((reason, new), (_, old)) in counts.drops().into_iter().zip(before.drops()) {
                counters.add_drops(reason, new.saturating_sub(old));
            }
            sum.rx_bytes += counts.rx_bytes;
            sum.tx_bytes += counts.tx_bytes;
            sum.syscalls += counts.syscalls;
            *before = counts;
        }
        counters.set(Counter::RxBytes, sum.rx_bytes);
        counters.set(Counter::TxBytes, sum.tx_bytes);
        counters.set(Counter::Syscalls, sum.syscalls + counters.get(Counter::Sleeps));
        counters.set(Counter::NeighborChanges, self.worker.neighbor_changes());
        let census = self.worker.pool().census();
        for (counter, state) in GAUGES {
            counters.set(counter, u64::from(census.count(state)));
        }
        if self.worker.is_cut_off() && self.handle.cut_off() {
            self.worker.report_all(SocketError::NetworkDown);
            self.publish();
            // Those too that have no room for the report: that we are cut off they see themselves.
            for bell in self.bells.iter().flatten() {
                bell.ring();
            }
        }
    }

    /// Lets the application in the turn act outside of one.
    pub(crate) fn with_turn<R>(&mut self, act: impl FnOnce(&mut Turn<'_>) -> R) -> R {
        let now = self.clock.now();
        self.worker.with_turn(now, act)
    }

    /// What the worker counts.
    pub(crate) fn counters(&self) -> &Counters {
        self.worker.counters()
    }

    /// Closes everything. Whether every frame came home.
    pub(crate) fn shut_down(&mut self) -> bool {
        self.handle.mail.close();
        // What applications gave back or sent until now.
        self.turn(&mut crate::socket::NoApplication);
        let conserved = self.worker.shut_down();
        self.keep_books(self.clock.now());
        conserved
    }

    /// Wakes everyone who waits for this worker: it will bring nothing more.
    pub(super) fn bells(&mut self) -> Vec<Ringer> {
        self.bells.drain(..).flatten().collect()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Driver({:?}, {:?})", self.handle, self.worker)
    }
}

/// Descriptors that a worker sleeps on at most, the bell among them. A worker with more queues is
/// woken for the rest by looking every [`POLLED_DEVICE`].
const MAX_FDS: usize = 16;

const GAUGES: [(Counter, FrameState); 7] = [
    (Counter::FramesFree, FrameState::Free),
    (Counter::FramesFill, FrameState::Fill),
    (Counter::FramesReceived, FrameState::Received),
    (Counter::FramesHeld, FrameState::Held),
    (Counter::FramesLoaned, FrameState::Loaned),
    (Counter::FramesTransmitting, FrameState::Transmitting),
    (Counter::FramesTransmittingKept, FrameState::TransmittingKept),
];

fn poll_readable(fds: &[Option<WaitFd<'_>>; MAX_FDS], timeout: Duration) -> io::Result<()> {
    // Holes are filled with the bell, which is asked twice then: no allocation, and no harm.
    let [bell, ..] = fds;
    let Some(bell) = bell else { return Ok(()) };
    let mut set =
        fds.each_ref().map(|fd| PollFd::from_borrowed_fd(fd.unwrap_or(*bell), PollFlags::IN));
    let count = fds.iter().take_while(|fd| fd.is_some()).count();
    // A time that no timespec holds is as good as none.
    let timeout = Timespec::try_from(timeout).ok();
    match poll(&mut set[..count], timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
