//! A context's way to one worker.

use std::sync::Arc;

use corewire_drivers::env::limits::BURST;
use corewire_drivers::mem::Loan;
use corewire_drivers::ring::{Borrower, Handed};

use super::buffer::{Held, Home, TxBuf};
use crate::runtime::WorkerRef;
use crate::socket::SocketId;
use crate::socket::entry::{Kind, Tag};

/// Messages sent or given back before the worker sees them, unless there is a reason before.
/// As many as the ring's consumer takes before it tells the producer; fewer, and the cache line of
/// the index goes back and forth more often.
const PUBLISH_EVERY: u32 = 32;

/// Counted references to the way home that are kept for buffers to come, so that a buffer that
/// lives and ends on the context's path costs no atomic operation.
const SPARE_HOMES: usize = 2 * BURST;

/// Empty frames that a context keeps while it sleeps: enough for an answer that can't wait. Each
/// is one that no other context can use.
const RESTING_CREDITS: usize = 2;

/// A context's way to one worker.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(super) worker: WorkerRef,
    borrower: Borrower,
    home: Arc<Home>,
    spare: Vec<Arc<Home>>,
    /// Empty frames to write into.
    credits: Vec<Loan>,
    /// Whether the worker knows that we write.
    writes: bool,
    unpublished: u32,
    /// For each of the worker's slots: the place of our socket, counted from 1.
    places: Vec<u32>,
}

impl Lane {
    pub(super) fn new(worker: WorkerRef, borrower: Borrower) -> Self {
        let home = Home { returner: borrower.returner().clone(), worker: worker.clone() };
        Self {
            home: Arc::new(home),
            worker,
            borrower,
            spare: Vec::with_capacity(SPARE_HOMES),
            credits: Vec::with_capacity(BURST),
            writes: false,
            unpublished: 0,
            places: Vec::new(),
        }
    }

    /// The next entry.
    #[inline]
    pub(super) fn receive(&mut self) -> Option<Handed> {
        self.borrower.receive()
    }

    /// Whether nothing is to be received right now.
    #[inline]
    pub(super) fn is_empty(&mut self) -> bool {
        self.borrower.is_empty()
    }

    /// Whether the worker brings nothing more.
    #[cold]
    pub(super) fn is_down(&self) -> bool {
        self.worker.handle.is_down() || self.borrower.is_closed()
    }

    /// A way home for a new buffer.
    #[inline]
    pub(super) fn home(&mut self) -> Arc<Home> {
        self.spare.pop().unwrap_or_else(|| self.home.clone())
    }

    /// Whether a buffer is of this worker and this context.
    #[inline]
    pub(super) fn is_home(&self, home: &Arc<Home>) -> bool {
        Arc::ptr_eq(&self.home, home)
    }

    /// Sends a buffer's frame to the worker.
    #[inline]
    pub(super) fn send(&mut self, held: Held, socket: SocketId, kind: Kind) {
        let Held { loan, home } = held;
        self.post(loan, socket, kind);
        if self.spare.len() < SPARE_HOMES {
            self.spare.push(home);
        }
    }

    /// Puts a frame in the ring to the worker.
    #[inline]
    pub(super) fn post(&mut self, loan: Loan, socket: SocketId, kind: Kind) {
        let tag = Tag::new(kind, socket).pack();
        if let Err(loan) = self.borrower.send(loan, socket.slot, tag) {
            // The ring has room for every frame of the hand-off; a frame must not be lost even so.
            self.home.returner.give(loan);
        }
        self.unpublished += 1;
        if self.unpublished >= PUBLISH_EVERY {
            self.flush();
        }
    }

    /// Lets the worker see what was sent and given back.
    #[inline]
    pub(super) fn flush(&mut self) {
        if self.unpublished > 0 {
            self.unpublished = 0;
            self.borrower.publish();
            self.worker.kick();
        }
    }

    /// Whether this process has the rings: a forked child does not.
    pub(super) fn is_here(&self) -> bool {
        self.home.returner.is_here()
    }

    /// An empty frame to write into; `None` when the worker has to lend some first: it is asked.
    #[inline]
    pub(super) fn credit(&mut self) -> Option<TxBuf> {
        match self.credits.pop() {
            Some(loan) => Some(TxBuf::new(loan, self.home())),
            None => {
                self.ask_for_credit();
                None
            }
        }
    }

    /// The worker lent an empty frame.
    #[inline]
    pub(super) fn add_credit(&mut self, loan: Loan) {
        self.credits.push(loan);
    }

    /// Whether there are empty frames.
    #[inline]
    pub(super) fn has_credit(&self) -> bool {
        !self.credits.is_empty()
    }

    /// Once is enough: from then on the worker lends when few are left.
    #[cold]
    fn ask_for_credit(&mut self) {
        if !self.writes {
            let tag = Tag::new(Kind::Credit, SocketId { slot: 0, generation: 0 });
            self.writes = self.borrower.signal(0, tag.pack()).is_ok();
            self.unpublished += 1;
        }
        self.flush();
    }

    /// Gives back the empty frames that nobody will write into for a while, but for a few, so that
    /// the first answer after a sleep need not ask.
    pub(super) fn rest(&mut self) {
        if self.credits.len() > RESTING_CREDITS {
            let nobody = SocketId { slot: 0, generation: 0 };
            while self.credits.len() > RESTING_CREDITS
                && let Some(loan) = self.credits.pop()
            {
                self.post(loan, nobody, Kind::Return);
            }
            // The worker lends no more until it is asked again.
            self.writes = false;
        }
    }

    /// Our socket in the worker's slot.
    #[inline]
    pub(super) fn place(&self, slot: u32) -> Option<usize> {
        let place = *self.places.get(slot as usize)?;
        (place as usize).checked_sub(1)
    }

    pub(super) fn set_place(&mut self, slot: u32, place: Option<usize>) {
        let slot = slot as usize;
        if self.places.len() <= slot {
            self.places.resize(slot + 1, 0);
        }
        self.places[slot] = place.map_or(0, |place| place as u32 + 1);
    }
}

impl Drop for Lane {
    /// Empty frames go back; so does what the worker published and nobody took.
    fn drop(&mut self) {
        if !self.is_here() {
            return;
        }
        let nobody = SocketId { slot: 0, generation: 0 };
        while let Some(loan) = self.credits.pop() {
            self.post(loan, nobody, Kind::Return);
        }
        while let Some(handed) = self.borrower.receive() {
            if let Some(loan) = handed.loan {
                self.post(loan, nobody, Kind::Return);
            }
        }
        self.flush();
    }
}
