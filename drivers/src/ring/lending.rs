//! Both ends of a hand-off, tied to the frames of one region.
//!
//! The worker's end turns a `Loan` into an entry and takes back numbers, which
//! [`Pool::unloan`](crate::mem::Pool::unloan) checks before it believes them. The application's
//! end turns each entry that it pops into a token, once, and each token that it pushes into an
//! entry: one push, one pop, one token, so a frame has one owner on its whole way.
//!
//! **A frame never finds its ring full**: each ring has room for all frames that can be lent at
//! one time, for the signals asked for, and for what the other end has taken without telling yet.
//!
//! The [`Borrower`] and every [`Returner`] hold the region. When the worker dies it closes the
//! ring and the stack; the last of them to go frees the region.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use super::Entry;
use super::memory::Words;
use super::return_stack::{self, Chain};
use super::spsc::{self, Consumer, Full, Producer};
use crate::mem::{Loan, Region, Returned};

/// What a hand-off must have room for, in each direction.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct LendingConfig {
    /// Frames that may be on loan to the context at one time: its credits and its quota of
    /// received ones. More than the region has are never needed.
    pub frames: u32,
    /// Entries without a frame that may be under way at one time. What comes beyond waits for
    /// room: coalesce it in the socket.
    pub signals: u32,
}

/// What came out of a ring, on the application's side.
#[derive(Debug, Eq, PartialEq)]
pub struct Handed {
    /// The frame, which is the application's now; `None` for a signal.
    pub loan: Option<Loan>,
    /// The socket's slot.
    pub socket: u32,
    /// The socket's generation and flags.
    pub tag: u32,
}

/// One direction, with its share of the room for signals.
struct Outward {
    ring: Producer,
    /// Where the signals under way stand in the ring, oldest first; at most as many as asked for,
    /// so that they never take a frame's place.
    signals: VecDeque<u32>,
    max_signals: usize,
}

/// What came out of a ring, on the worker's side: numbers that an application wrote.
#[derive(Debug, Eq, PartialEq)]
pub struct Sent {
    /// The frame that it gives back; `None` for a signal.
    pub frame: Option<Returned>,
    /// The socket's slot.
    pub socket: u32,
    /// The socket's generation and flags.
    pub tag: u32,
}

/// The worker's end: lends frames and takes them back. `Send`, not `Sync`.
pub struct Lender {
    outward: Outward,
    inward: Consumer,
    region: Arc<Region>,
    /// What was on the return stack when it was last taken.
    dropped: Chain,
    not_sync: PhantomData<Cell<()>>,
}

/// The application's end: receives frames, reads and writes them, sends them back. `Send`, not
/// `Sync`.
pub struct Borrower {
    outward: Outward,
    inward: Consumer,
    returner: Returner,
    not_sync: PhantomData<Cell<()>>,
}

/// Gives frames back from any thread. `Send` and `Sync`; a clone costs one count.
#[derive(Clone)]
pub struct Returner(Arc<ReturnPath>);

struct ReturnPath {
    /// The ring in whose memory the stack's head stands.
    words: Words,
    region: Arc<Region>,
}

/// Both ends of a new hand-off for frames of `region`.
///
/// # Errors
/// When the host has no memory for the rings, or `config` asks for more than 2^22 entries.
pub fn pair(region: &Arc<Region>, config: LendingConfig) -> io::Result<(Lender, Borrower)> {
    let frames = config.frames.min(region.frame_count());
    let capacity = spsc::capacity_for(frames.saturating_add(config.signals));
    let (lender_out, borrower_in) = spsc::pair(capacity)?;
    let (borrower_out, lender_in) = spsc::pair(capacity)?;
    let path = ReturnPath { words: lender_in.words.clone(), region: region.clone() };
    let to_borrower = Outward::new(lender_out, config.signals);
    let to_lender = Outward::new(borrower_out, config.signals);
    let not_sync = PhantomData;
    let dropped = Chain::default();
    let region = region.clone();
    let returner = Returner(Arc::new(path));
    Ok((
        Lender { outward: to_borrower, inward: lender_in, region, dropped, not_sync },
        Borrower { outward: to_lender, inward: borrower_in, returner, not_sync },
    ))
}

impl Lender {
    /// Puts a frame in the ring; the application sees it after [`publish`](Self::publish).
    ///
    /// # Errors
    /// The loan, when the ring is full: more frames are on loan than the ring was made for.
    #[inline]
    pub fn lend(&mut self, loan: Loan, socket: u32, tag: u32) -> Result<(), Loan> {
        self.outward.lend(loan, socket, tag)
    }

    /// Puts an entry without a frame in the ring.
    ///
    /// # Errors
    /// [`Full`]: keep it in the socket and try again in a later turn.
    #[inline]
    pub fn signal(&mut self, socket: u32, tag: u32) -> Result<(), Full> {
        self.outward.signal(socket, tag)
    }

    /// Lets the application see everything put in, at the end of a burst. Returns whether there
    /// was anything new: then ring the doorbell.
    #[inline]
    pub fn publish(&mut self) -> bool {
        self.outward.ring.publish()
    }

    /// The next entry that the application sent, as it stands there: check the frame by
    /// [`Pool::unloan`](crate::mem::Pool::unloan), the socket and the tag against the books.
    #[inline]
    pub fn take_back(&mut self) -> Option<Sent> {
        let Entry { frame, offset, length, socket, tag } = self.inward.pop()?;
        let frame = (frame != Entry::NO_FRAME).then_some(Returned::new(frame, offset, length));
        Some(Sent { frame, socket, tag })
    }

    /// The next frame that was given back through a [`Returner`]: check it like an entry's.
    #[inline]
    pub fn take_dropped(&mut self) -> Option<Returned> {
        let links = self.inward.words.links(&self.region);
        if let Some(key) = self.dropped.next(links) {
            return Some(Returned::new(key, 0, 0));
        }
        self.dropped = return_stack::take_all(self.inward.words.returns(), links);
        self.dropped.next(links).map(|key| Returned::new(key, 0, 0))
    }

    /// Whether there is nothing to take back right now, by either way.
    #[must_use]
    pub fn is_empty(&mut self) -> bool {
        self.inward.is_empty()
            && self.dropped.is_empty()
            && return_stack::is_empty(self.inward.words.returns())
    }

    /// A frame that was lent to an application which [is gone](Self::is_closed) and never took
    /// it. Frames that it did take come back through the ring or a [`Returner`].
    pub fn recall(&mut self) -> Option<Returned> {
        loop {
            let Entry { frame, .. } = self.outward.ring.recall()?;
            if frame != Entry::NO_FRAME {
                return Some(Returned::new(frame, 0, 0));
            }
        }
    }

    /// Whether the application's end is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.outward.ring.is_closed()
    }

    /// Whether the other end wrote an index that can't be: cut the context off.
    #[must_use]
    pub const fn misbehaved(&self) -> bool {
        self.outward.ring.misbehaved() || self.inward.misbehaved()
    }
}

impl Drop for Lender {
    /// Closes the return path. Frames that are still on loan stay readable: whoever holds them
    /// holds the region.
    fn drop(&mut self) {
        let words = &self.inward.words;
        // A forked child is not the end that goes.
        if !words.is_here() {
            return;
        }
        return_stack::close(words.returns(), words.links(&self.region));
    }
}

impl Borrower {
    /// Takes the oldest entry; `None` when there is none.
    #[inline]
    pub fn receive(&mut self) -> Option<Handed> {
        let Entry { frame, offset, length, socket, tag } = self.inward.pop()?;
        // Only the Lender at the other end of this ring writes it, it puts each loan in once, and
        // it is taken out once: so this token is the frame's only one.
        let loan = (frame != Entry::NO_FRAME).then(|| Loan::mint(frame, offset, length));
        Some(Handed { loan, socket, tag })
    }

    /// Whether there is nothing to receive right now.
    #[inline]
    #[must_use]
    pub fn is_empty(&mut self) -> bool {
        self.inward.is_empty()
    }

    /// Puts a frame in the ring to the worker; it sees it after [`publish`](Self::publish).
    ///
    /// # Errors
    /// The loan, when the ring is full: it is a frame of another hand-off.
    #[inline]
    pub fn send(&mut self, loan: Loan, socket: u32, tag: u32) -> Result<(), Loan> {
        self.outward.lend(loan, socket, tag)
    }

    /// Puts an entry without a frame in the ring to the worker.
    ///
    /// # Errors
    /// [`Full`]: publish, let the worker run, try again.
    #[inline]
    pub fn signal(&mut self, socket: u32, tag: u32) -> Result<(), Full> {
        self.outward.signal(socket, tag)
    }

    /// Lets the worker see everything put in, at the end of a burst. Returns whether there was
    /// anything new: then ring the doorbell.
    #[inline]
    pub fn publish(&mut self) -> bool {
        // First the places that were taken: a frame sent back may be lent again at once, and must
        // find room.
        self.inward.release();
        self.outward.ring.publish()
    }

    /// Whether the worker is gone. What it published before can still be received.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inward.is_closed()
    }

    /// The region of the frames, to read and write their bytes.
    #[inline]
    #[must_use]
    pub fn region(&self) -> &Arc<Region> {
        &self.returner.0.region
    }

    /// What gives frames back from any thread.
    #[must_use]
    pub const fn returner(&self) -> &Returner {
        &self.returner
    }
}

impl Returner {
    /// Gives a frame back; its bytes are of no interest any more. When the worker is gone the
    /// frame goes with its region.
    pub fn give(&self, loan: Loan) {
        let path = &*self.0;
        // A forked child has no frame: its parent has it still, and gives it back.
        if !path.words.is_here() {
            return;
        }
        let links = path.words.links(&path.region);
        let taken = return_stack::push(path.words.returns(), links, loan.key());
        // Not taken: the worker is gone, and nobody counts its frames any more.
        let _ = taken;
    }

    /// Whether this process has the rings and the frames. A forked child has the values and not
    /// the memory: it must send, give back and close nothing.
    #[inline]
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.0.words.is_here()
    }

    /// The region of the frames.
    #[must_use]
    pub fn region(&self) -> &Arc<Region> {
        &self.0.region
    }
}

impl Outward {
    fn new(ring: Producer, max_signals: u32) -> Self {
        let max_signals = max_signals as usize;
        Self { ring, signals: VecDeque::with_capacity(max_signals), max_signals }
    }

    #[inline]
    fn lend(&mut self, loan: Loan, socket: u32, tag: u32) -> Result<(), Loan> {
        let (frame, offset, length) = (loan.key(), loan.head(), loan.len());
        let pushed = self.ring.push(Entry { frame, offset, length, socket, tag });
        debug_assert!(pushed.is_ok(), "more frames on loan than the ring was made for");
        pushed.map_err(|Full| loan)
    }

    fn signal(&mut self, socket: u32, tag: u32) -> Result<(), Full> {
        if self.signals.len() == self.max_signals {
            self.ring.look_for_room();
            while self.signals.front().is_some_and(|&position| self.ring.is_taken(position)) {
                self.signals.pop_front();
            }
            if self.signals.len() == self.max_signals {
                return Err(Full);
            }
        }
        let position = self.ring.position();
        let entry = Entry { frame: Entry::NO_FRAME, socket, tag, ..Entry::default() };
        self.ring.push(entry)?;
        self.signals.push_back(position);
        Ok(())
    }
}

impl fmt::Debug for Lender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lender({:?}, {:?})", self.outward.ring, self.inward)
    }
}

impl fmt::Debug for Borrower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Borrower({:?}, {:?})", self.inward, self.outward.ring)
    }
}

impl fmt::Debug for Returner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Returner({:?})", self.0.region)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
