//! The worker's end of contexts: what is lent, queued, returned.
//!
//! The application's end is another thread or process, and may be broken or hostile. The worker
//! believes none of its numbers: what it says is checked against the worker's own books, and a
//! context that lies is cut off, alone.

use std::collections::VecDeque;

use corewire_drivers::env::limits::{PUBLISH_MAX, RESERVE, TRANSMIT_CREDITS};
use corewire_drivers::env::{Counter, DropReason, Instant};
use corewire_drivers::mem::{Frame, Packet, Pool, Returned};
use corewire_drivers::ring::{Lender, Sent};

use super::SocketId;
use super::application::SocketError;
use super::entry::{Destination, Kind, Tag};
use crate::ip::Ip;
use crate::udp::{self, Owner, Sockets};

/// Names a context of one engine.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct ContextId(pub u16);

/// All contexts of a worker.
#[derive(Debug)]
pub struct Contexts {
    contexts: Vec<Option<Context>>,
    /// For each frame on loan: as what it was lent.
    holders: Box<[Holder]>,
    /// For each socket's slot: what waits for its application.
    buffers: Vec<ReceiveBuffer>,
}

/// One context, the worker's end.
#[derive(Debug)]
struct Context {
    lender: Lender,
    /// Frames on loan and frames that wait to be.
    held: usize,
    /// Of these the empty ones, to write into.
    credits: usize,
    /// Whether something was put in the ring that its application may be asleep for.
    ring: bool,
    /// How many empty frames it wants to have: none before it asks, and none after it gave some
    /// back.
    wants: usize,
    /// Whether it is gone or was cut off, and is only waited for until its frames are back.
    draining: bool,
}

/// As what a frame was lent.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Holder {
    Nobody,
    Credit,
    Data(SocketId),
}

/// What waits for one socket's application.
#[derive(Debug, Default)]
struct ReceiveBuffer {
    /// Whose it is: a slot is used again, and frames of its last socket may still be out.
    socket: Option<SocketId>,
    queue: VecDeque<Waiting>,
    /// Frames in the queue.
    queued: usize,
    /// Frames that the application has.
    published: usize,
    /// Frames that may be in both together.
    limit: usize,
}

#[derive(Debug)]
struct Waiting {
    packet: Packet,
    ip_header_words: u8,
}

/// The receive buffer of a socket that asked for none, in bytes: Linux's net.core.rmem_default.
pub const DEFAULT_RECEIVE_BUFFER: usize = 212_992;

/// The largest receive buffer that a socket gets, in bytes: more than Linux's rmem_max, since the
/// dynamic limit of the pool is what protects the others.
pub const MAX_RECEIVE_BUFFER: usize = 4 << 20;

/// Entries of one context that one turn deals with. An application that floods its ring must not
/// keep the worker from its device.
const BUDGET: usize = 4 * corewire_drivers::env::limits::BURST;

impl Contexts {
    /// No contexts, for a pool of `frames` frames.
    #[must_use]
    pub fn new(frames: usize) -> Self {
        Self {
            contexts: Vec::new(),
            holders: vec![Holder::Nobody; frames].into(),
            buffers: Vec::new(),
        }
    }

    /// Adds a context's end, and says whether it did: not when there is a context of that name, or
    /// one of which frames are still out. The application finds its end closed then.
    #[must_use]
    pub fn add(&mut self, id: ContextId, lender: Lender) -> bool {
        let place = usize::from(id.0);
        if self.contexts.len() <= place {
            self.contexts.resize_with(place + 1, || None);
        }
        if self.contexts[place].is_some() {
            return false;
        }
        self.contexts[place] =
            Some(Context { lender, held: 0, credits: 0, ring: false, wants: 0, draining: false });
        true
    }

    /// Makes room for what a new socket of a context receives: `bytes` as true size, whole frames.
    /// Returns the size granted.
    pub fn open(&mut self, socket: SocketId, bytes: usize, frame_size: usize) -> usize {
        let place = socket.slot as usize;
        if self.buffers.len() <= place {
            self.buffers.resize_with(place + 1, ReceiveBuffer::default);
        }
        let limit = (bytes.min(MAX_RECEIVE_BUFFER) / frame_size).max(1);
        let buffer = &mut self.buffers[place];
        if buffer.socket != Some(socket) {
            *buffer = ReceiveBuffer { socket: Some(socket), ..ReceiveBuffer::default() };
        }
        buffer.limit = limit;
        limit * frame_size
    }

    /// Frees what waits for a socket that is closed.
    pub fn close(&mut self, pool: &mut Pool, owner: Owner, socket: SocketId) {
        let Some(buffer) = self.buffers.get_mut(socket.slot as usize) else { return };
        if buffer.socket != Some(socket) {
            return;
        }
        let ReceiveBuffer { queue, queued, .. } = std::mem::take(buffer);
        queue.into_iter().for_each(|waiting| pool.free(waiting.packet));
        if let Some(context) = self.of_owner(owner) {
            context.held -= queued;
        }
    }

    /// Gives a datagram to a socket's application, or lets it wait.
    #[inline]
    pub fn deliver(
        &mut self,
        ip: &mut Ip,
        id: ContextId,
        socket: SocketId,
        ip_header_len: u8,
        packet: Packet,
    ) {
        if let Err((packet, reason)) = self.accept(ip, id, socket, ip_header_len, packet) {
            ip.link.discard(packet, reason);
        }
    }

    #[inline]
    fn accept(
        &mut self,
        ip: &mut Ip,
        id: ContextId,
        socket: SocketId,
        ip_header_len: u8,
        packet: Packet,
    ) -> Result<(), (Packet, DropReason)> {
        let frames = packet.frame_count();
        let pool = &mut ip.link.pool;
        let Some(Some(context)) = self.contexts.get_mut(usize::from(id.0)) else {
            return Err((packet, DropReason::ContextClosed));
        };
        if context.draining {
            return Err((packet, DropReason::ContextClosed));
        }
        let Some(buffer) = self.buffers.get_mut(socket.slot as usize) else {
            return Err((packet, DropReason::SocketClosed));
        };
        let held = buffer.queued + buffer.published + frames;
        if held > buffer.limit || held > fair_share(pool) {
            return Err((packet, DropReason::UdpSocketFull));
        }
        // What a socket may publish it gets even where its context's other sockets hoard.
        if held > PUBLISH_MAX && context.held + frames > fair_share(pool) {
            return Err((packet, DropReason::ContextFull));
        }
        context.held += frames;
        let waiting = Waiting { packet, ip_header_words: ip_header_len / 4 };
        if buffer.queue.is_empty() && buffer.published + frames <= PUBLISH_MAX {
            lend(context, &mut self.holders, buffer, pool, id, socket, waiting);
        } else {
            buffer.queued += frames;
            buffer.queue.push_back(waiting);
        }
        Ok(())
    }

    /// Tells a socket's application of an error. Errors that find the ring full are coalesced with
    /// those that are in it.
    pub fn report(&mut self, id: ContextId, socket: SocketId, error: SocketError) {
        if let Some(Some(context)) = self.contexts.get_mut(usize::from(id.0)) {
            let tag = Tag { ip_header_words: error as u8, ..Tag::new(Kind::Error, socket) };
            if context.lender.signal(socket.slot, tag.pack()).is_ok() {
                context.ring = true;
            }
        }
    }

    /// Whether there is something to [`collect`](Self::collect).
    #[must_use]
    pub fn have_entries(&mut self) -> bool {
        self.contexts.iter_mut().flatten().any(|context| {
            !context.lender.is_empty() || (context.lender.is_closed() && !context.draining)
        })
    }

    /// Takes what the applications sent and gave back, sends the one and frees the other.
    pub fn collect(&mut self, ip: &mut Ip, udp: &mut Sockets, now: Instant) -> usize {
        let mut work = 0;
        for place in 0..self.contexts.len() {
            let id = ContextId(place as u16);
            work += self.collect_one(ip, udp, now, id);
        }
        work
    }

    fn collect_one(
        &mut self,
        ip: &mut Ip,
        udp: &mut Sockets,
        now: Instant,
        id: ContextId,
    ) -> usize {
        let mut work = 0;
        // Asked before the ring is emptied: what a context sent before it went still goes out.
        let closed = self.get(id).is_some_and(|context| context.lender.is_closed());
        while work < BUDGET {
            let Some(context) = self.get(id) else { return work };
            let draining = context.draining;
            let Some(entry) = context.lender.take_back() else { break };
            work += 1;
            let result = if draining {
                entry.frame.map_or(Ok(()), |frame| self.drained(&mut ip.link.pool, id, frame))
            } else {
                self.entry(ip, udp, now, id, entry)
            };
            self.judge(ip, udp, id, result);
        }
        while work < BUDGET
            && let Some(context) = self.get(id)
            && let Some(frame) = context.lender.take_dropped()
        {
            work += 1;
            let result = self.drained(&mut ip.link.pool, id, frame);
            self.judge(ip, udp, id, result);
        }
        self.settle(ip, udp, id, closed && work < BUDGET);
        work
    }

    /// A lie ends the context; anything else is only counted.
    #[inline]
    fn judge(
        &mut self,
        ip: &mut Ip,
        udp: &mut Sockets,
        id: ContextId,
        result: Result<(), DropReason>,
    ) {
        let Err(reason) = result else { return };
        ip.link.counters.add_drop(reason);
        if reason == DropReason::HostileEntry && self.get(id).is_some_and(|c| !c.draining) {
            ip.link.counters.add(Counter::ContextsCutOff, 1);
            let sockets: Vec<_> = udp.of_context(id).collect();
            for socket in sockets {
                self.report(id, socket, SocketError::NetworkDown);
            }
            self.remove(ip, udp, id);
        }
    }

    /// After its entries: is the context still there, and has it what it needs?
    fn settle(&mut self, ip: &mut Ip, udp: &mut Sockets, id: ContextId, closed: bool) {
        let Some(Some(context)) = self.contexts.get_mut(usize::from(id.0)) else { return };
        if context.draining {
            if context.held == 0 {
                self.contexts[usize::from(id.0)] = None;
            }
        } else if context.lender.misbehaved() {
            self.judge(ip, udp, id, Err(DropReason::HostileEntry));
        } else if closed {
            self.remove(ip, udp, id);
        } else if context.credits < context.wants.div_ceil(2) {
            grant(context, &mut self.holders, &mut ip.link.pool, id);
        }
    }

    /// A frame that is no longer needed.
    #[inline]
    fn drained(
        &mut self,
        pool: &mut Pool,
        id: ContextId,
        frame: Returned,
    ) -> Result<(), DropReason> {
        let (frame, _) = self.take(pool, id, frame.without_bytes())?;
        pool.give(frame);
        Ok(())
    }

    /// One entry from an application.
    #[inline]
    fn entry(
        &mut self,
        ip: &mut Ip,
        udp: &mut Sockets,
        now: Instant,
        id: ContextId,
        Sent { frame, socket, tag }: Sent,
    ) -> Result<(), DropReason> {
        let tag = Tag::unpack(tag).ok_or(DropReason::HostileEntry)?;
        let Some(frame) = frame else { return self.signal(&mut ip.link.pool, id, tag) };
        let (frame, holder) = self.take(&mut ip.link.pool, id, frame)?;
        match tag.kind {
            Kind::Return => {
                ip.link.pool.give(frame);
                if holder == Holder::Credit
                    && let Some(context) = self.get(id)
                {
                    // It has more than it needs: it asks when that changes.
                    context.wants = 0;
                }
                Ok(())
            }
            Kind::Send | Kind::SendTo => {
                let socket = SocketId { slot: socket, generation: tag.generation };
                send(ip, udp, now, (id, socket), tag.kind == Kind::SendTo, frame)
            }
            _ => {
                ip.link.pool.give(frame);
                Err(DropReason::HostileEntry)
            }
        }
    }

    /// An entry without a frame: the application wants to write, with so many frames at a time.
    fn signal(&mut self, pool: &mut Pool, id: ContextId, tag: Tag) -> Result<(), DropReason> {
        match self.contexts.get_mut(usize::from(id.0)) {
            Some(Some(context)) if tag.kind == Kind::Credit => {
                context.wants = match usize::from(tag.ip_header_words) {
                    0 => TRANSMIT_CREDITS,
                    wants => wants.min(TRANSMIT_CREDITS),
                };
                grant(context, &mut self.holders, pool, id);
                Ok(())
            }
            _ => Err(DropReason::HostileEntry),
        }
    }

    /// Takes a frame back from a context, and publishes what waited for it to come back.
    #[inline]
    fn take(
        &mut self,
        pool: &mut Pool,
        id: ContextId,
        frame: Returned,
    ) -> Result<(Frame, Holder), DropReason> {
        let frame = pool.unloan(frame, id.0).map_err(|_| DropReason::HostileEntry)?;
        let place = frame.index() as usize;
        let holder = std::mem::replace(&mut self.holders[place], Holder::Nobody);
        if let Some(Some(context)) = self.contexts.get_mut(usize::from(id.0)) {
            context.held = context.held.saturating_sub(1);
            match holder {
                Holder::Credit => context.credits = context.credits.saturating_sub(1),
                Holder::Data(socket) => self.returned(pool, id, socket),
                Holder::Nobody => {}
            }
        }
        Ok((frame, holder))
    }

    /// The application of `socket` has a frame less: the next that waits can go to it.
    #[inline]
    fn returned(&mut self, pool: &mut Pool, id: ContextId, socket: SocketId) {
        let buffer = self.buffers.get_mut(socket.slot as usize);
        let Some(buffer) = buffer.filter(|buffer| buffer.socket == Some(socket)) else { return };
        buffer.published = buffer.published.saturating_sub(1);
        let Some(Some(context)) = self.contexts.get_mut(usize::from(id.0)) else { return };
        while let Some(next) = buffer.queue.front()
            && buffer.published + next.packet.frame_count() <= PUBLISH_MAX
            && let Some(waiting) = buffer.queue.pop_front()
        {
            buffer.queued -= waiting.packet.frame_count();
            lend(context, &mut self.holders, buffer, pool, id, socket, waiting);
        }
    }

    /// Makes everything that was lent this turn visible, and says which applications may have to
    /// be woken for it.
    pub fn publish(&mut self, mut wake: impl FnMut(ContextId)) {
        for (place, context) in (0..).zip(&mut self.contexts) {
            if let Some(context) = context
                && std::mem::take(&mut context.ring)
            {
                context.lender.publish();
                wake(ContextId(place));
            }
        }
    }

    /// Closes the sockets of a context that is gone or lied, and takes back what it never took.
    /// It stays until the frames that it still reads are back; the name is free again then.
    pub fn remove(&mut self, ip: &mut Ip, udp: &mut Sockets, id: ContextId) {
        let sockets: Vec<_> = udp.of_context(id).collect();
        for socket in sockets {
            udp.close(socket);
            self.close(&mut ip.link.pool, Owner::Context(id), socket);
        }
        while let Some(context) = self.get(id) {
            context.draining = true;
            let Some(frame) = context.lender.recall() else { break };
            // It was lent a moment ago: the books have it.
            let _ = self.drained(&mut ip.link.pool, id, frame);
        }
    }

    /// Whether the context is there, or frames of it still are out.
    #[must_use]
    pub fn has(&self, id: ContextId) -> bool {
        self.contexts.get(usize::from(id.0)).is_some_and(Option::is_some)
    }

    /// Forgets every context.
    pub fn clear(&mut self, ip: &mut Ip, udp: &mut Sockets) {
        for place in 0..self.contexts.len() {
            self.remove(ip, udp, ContextId(place as u16));
        }
        self.collect(ip, udp, Instant::ZERO);
    }

    #[inline]
    fn get(&mut self, id: ContextId) -> Option<&mut Context> {
        self.contexts.get_mut(usize::from(id.0))?.as_mut()
    }

    fn of_owner(&mut self, owner: Owner) -> Option<&mut Context> {
        match owner {
            Owner::Context(id) => self.contexts.get_mut(usize::from(id.0))?.as_mut(),
            Owner::Inline => None,
        }
    }
}

/// The most frames that one socket, or one context, may hold now: as many as are free beyond the
/// reserve (a dynamic threshold: Choudhury and Hahne, "Dynamic Queue Length Thresholds for
/// Shared-Memory Packet Switches"). One that hoards gets half of the frames, n of them n / (n + 1)
/// together: an equal share is always left for the next, and nobody has to be configured.
#[inline]
fn fair_share(pool: &Pool) -> usize {
    pool.free_count().saturating_sub(RESERVE)
}

/// Puts a datagram in the context's ring, frame by frame.
#[inline]
fn lend(
    context: &mut Context,
    holders: &mut [Holder],
    buffer: &mut ReceiveBuffer,
    pool: &mut Pool,
    id: ContextId,
    socket: SocketId,
    waiting: Waiting,
) {
    let mut rest = Some(waiting.packet);
    while let Some(packet) = rest {
        let (frame, others) = pool.detach(packet);
        let kind = if others.is_some() { Kind::DataMore } else { Kind::Data };
        let tag = Tag { ip_header_words: waiting.ip_header_words, ..Tag::new(kind, socket) };
        holders[frame.index() as usize] = Holder::Data(socket);
        let loan = pool.loan(frame, id.0);
        // The ring holds every frame of the pool: it can't be full. If it were, the frame would
        // be on loan to a context that does not know; it comes back when the context goes.
        if context.lender.lend(loan, socket.slot, tag.pack()).is_ok() {
            buffer.published += 1;
        }
        rest = others;
    }
    context.ring = true;
}

/// Lends empty frames to write into, as many as the application wants.
fn grant(context: &mut Context, holders: &mut [Holder], pool: &mut Pool, id: ContextId) {
    while context.credits < context.wants && context.held < fair_share(pool) {
        let Some(frame) = pool.take() else { return };
        holders[frame.index() as usize] = Holder::Credit;
        let loan = pool.loan(frame, id.0);
        let tag = Tag::new(Kind::Credit, SocketId { slot: 0, generation: 0 });
        if context.lender.lend(loan, 0, tag.pack()).is_err() {
            return;
        }
        context.credits += 1;
        context.held += 1;
        context.ring = true;
    }
}

/// Sends what an application wrote. The frame is the worker's again.
#[inline]
fn send(
    ip: &mut Ip,
    udp: &mut Sockets,
    now: Instant,
    (context, id): (ContextId, SocketId),
    explicit: bool,
    mut frame: Frame,
) -> Result<(), DropReason> {
    let pool = &mut ip.link.pool;
    let destination = if explicit {
        match destination(pool, &mut frame) {
            Some(destination) => Some(destination),
            None => {
                pool.give(frame);
                return Err(DropReason::HostileEntry);
            }
        }
    } else {
        None
    };
    let Some(socket) = udp.get_mut(id) else {
        pool.give(frame);
        return Err(DropReason::SocketClosed);
    };
    if socket.owner != Owner::Context(context) {
        pool.give(frame);
        return Err(DropReason::HostileEntry);
    }
    let Some(peer) = destination.or_else(|| socket.peer()) else {
        pool.give(frame);
        return Err(DropReason::HostileEntry);
    };
    // What could not be sent has been counted; that is no reason to mistrust the application.
    let _ = udp::output::output(ip, udp, now, id, peer, frame.into());
    Ok(())
}

/// The address before the payload, copied once before it is looked at.
fn destination(pool: &Pool, frame: &mut Frame) -> Option<std::net::SocketAddr> {
    let len = Destination::LEN as u16;
    if !frame.push(len) {
        return None;
    }
    let bytes = pool.region().bytes(frame).first_chunk::<{ Destination::LEN }>().copied();
    frame.pull(len);
    Destination::read(&bytes?).map(|destination| destination.0)
}
