//! Commands on their way to a worker.
//!
//! A bounded queue that the worker looks at once a turn, with two loads; a bell for when it
//! sleeps. An answer comes back through a channel of its own: all of this is off the packet path.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crossbeam_queue::ArrayQueue;

use super::doorbell::Ringer;
use crate::control::{Answer, Command};

/// Commands that wait at one time. What is posted beyond waits with its poster. Small: a burst of
/// neighbours learned by other workers must fit (64 a turn each).
const CAPACITY: usize = 1024;

/// One command, and who is told what became of it.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) command: Command,
    /// What wakes the application, of a new context.
    pub(super) bell: Option<Ringer>,
    pub(super) reply: Option<SyncSender<Answer>>,
}

/// Where a worker gets its commands.
#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: ArrayQueue<Mail>,
    /// Nobody reads any more.
    closed: AtomicBool,
    bell: Ringer,
}

impl Mailbox {
    pub(super) fn new(bell: Ringer) -> Self {
        Self { queue: ArrayQueue::new(CAPACITY), closed: AtomicBool::new(false), bell }
    }

    /// Posts a command; false when it was not: nobody reads any more, or the box is full.
    pub(super) fn post(&self, mail: Mail) -> bool {
        let posted = self.queue.push(mail).is_ok();
        // Posted first, then looked: whoever closes empties the box after closing it.
        if self.closed.load(SeqCst) {
            self.empty();
            return false;
        }
        self.bell.ring();
        posted
    }

    /// Posts a command whose answer is wanted. The receiver finds the channel closed when the
    /// worker is gone.
    pub(super) fn ask(&self, command: Command, bell: Option<Ringer>) -> Receiver<Answer> {
        let (reply, answer) = sync_channel(1);
        self.post(Mail { command, bell, reply: Some(reply) });
        answer
    }

    /// Posts a command whose answer nobody wants. One that finds the box full is lost.
    pub(super) fn tell(&self, command: Command) -> bool {
        self.post(Mail { command, bell: None, reply: None })
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn take(&self) -> Option<Mail> {
        self.queue.pop()
    }

    /// Takes nothing any more, and lets everyone who waits know.
    pub(super) fn close(&self) {
        self.closed.store(true, SeqCst);
        self.empty();
        self.bell.ring();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// What wakes the worker.
    #[inline]
    pub(super) const fn bell(&self) -> &Ringer {
        &self.bell
    }

    fn empty(&self) {
        while self.queue.pop().is_some() {}
    }
}
