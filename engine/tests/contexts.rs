//! Contexts seen from the worker: applications that lie, hoard, forget and leave.

#[path = "support/bed.rs"]
mod bed;
mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bed::{Bed, HOST, PEER, THEIRS, arp, ping, udp};
use corewire::env::{Counter, DropReason};
use corewire::socket::ContextId;
use corewire::socket::entry::{Kind, Tag};
use corewire_drivers::mem::{FrameState, Loan, Mapping};
use corewire_drivers::ring::{Borrower, Entry, LendingConfig, Producer, lending};
use support::ip;

const LIAR: ContextId = ContextId(0);
const HONEST: ContextId = ContextId(1);

/// An application: its end of a hand-off, and raw access to the ring that it writes.
struct App {
    borrower: Borrower,
    raw: Producer,
}

impl App {
    fn new(bed: &mut Bed, id: ContextId) -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let before = rings();
        let config = LendingConfig { frames: u32::MAX, signals: 16 };
        let (lender, borrower) = lending::pair(bed.engine.pool().region(), config).expect("rings");
        // The ring towards the worker is the one that is made second.
        let mut new: Vec<_> = rings().into_iter().filter(|ring| !before.contains(ring)).collect();
        new.sort_by_key(|path| path.file_name().and_then(|n| n.to_str()?.parse::<u32>().ok()));
        let file = fs::OpenOptions::new().read(true).write(true).open(&new[1]).expect("our own");
        let raw = Producer::open(Mapping::open(file.into()).expect("mapped")).expect("a ring");
        drop(guard);
        assert!(bed.engine.add_context(id, lender));
        Self { borrower, raw }
    }

    /// Receives a datagram.
    fn receive(&mut self) -> Option<(Loan, u32, Tag)> {
        let handed = self.borrower.receive()?;
        Some((handed.loan?, handed.socket, Tag::unpack(handed.tag)?))
    }

    /// Writes what it likes to the ring.
    fn write(&mut self, entry: Entry) {
        self.raw.push(entry).expect("room");
        self.raw.publish();
    }
}

/// The memfds of all rings of this process.
fn rings() -> Vec<PathBuf> {
    let descriptors = fs::read_dir("/proc/self/fd").expect("our own descriptors");
    let paths = descriptors.filter_map(|entry| Some(entry.ok()?.path()));
    let is_ring = |path: &PathBuf| {
        fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("corewire-ring"))
    };
    paths.filter(is_ring).collect()
}

/// An engine with a liar's socket on port 1000 and an honest one on port 2000.
struct Court {
    bed: Bed,
    liar: App,
    honest: App,
}

impl Court {
    fn new() -> Self {
        let mut bed = Bed::acquainted();
        let (liar, honest) = (App::new(&mut bed, LIAR), App::new(&mut bed, HONEST));
        for (context, port) in [(LIAR, 1000), (HONEST, 2000)] {
            bed.engine.udp_bind(context, (ip(2), port).into(), 1 << 20).expect("a port");
        }
        Self { bed, liar, honest }
    }

    fn send(&mut self, port: u16) {
        self.bed.exchange(&udp(99, port, b"payload"));
        self.bed.engine.publish(|_| {});
    }

    /// Lets the worker see what the applications wrote.
    fn turn(&mut self) {
        self.bed.turn();
        self.bed.engine.publish(|_| {});
    }

    fn count(&self, reason: DropReason) -> u64 {
        self.bed.engine.counters().dropped(reason)
    }

    fn cut_off(&self) -> u64 {
        self.bed.engine.counters().get(Counter::ContextsCutOff)
    }

    /// The other application, the protocols below and the books are as they were.
    fn is_in_order(&mut self) {
        self.send(2000);
        let (loan, socket, tag) = self.honest.receive().expect("a datagram");
        self.honest
            .borrower
            .send(loan, socket, Tag { kind: Kind::Return, ..tag }.pack())
            .expect("room");
        self.honest.borrower.publish();
        assert_eq!(self.bed.exchange(&ping(HOST, b"still there?")).len(), 1);
        assert!(self.bed.engine.pool().is_conserved());
    }
}

/// What a liar has seen: an entry that it may truly send.
fn truth(court: &mut Court) -> Entry {
    court.send(1000);
    let (loan, socket, tag) = court.liar.receive().expect("a datagram");
    Entry {
        frame: loan.key(),
        offset: loan.head(),
        length: loan.len(),
        socket,
        tag: Tag { kind: Kind::Return, ip_header_words: 0, ..tag }.pack(),
    }
}

/// Everything that an application can say about a frame and that is not so.
fn lies(court: &mut Court, truth: Entry) -> Vec<(&'static str, Entry)> {
    court.send(2000);
    let (foreign, ..) = court.honest.receive().expect("a datagram");
    let frames = court.bed.engine.pool().region().frame_count();
    let free = (0..frames).find(|i| court.bed.engine.pool().state(*i) == Some(FrameState::Free));
    let region = truth.frame & !0xf_ffff;
    let kind = |kind: u32| truth.tag & 0x00ff_ffff | kind << 24;
    vec![
        ("a frame behind the last", Entry { frame: region | frames, ..truth }),
        ("a frame of another region", Entry { frame: truth.frame ^ 1 << 31, ..truth }),
        ("a frame that is free", Entry { frame: region | free.expect("some"), ..truth }),
        ("a frame of another context", Entry { frame: foreign.key(), ..truth }),
        ("bytes behind the frame", Entry { offset: 2000, length: 100, ..truth }),
        ("an offset behind the frame", Entry { offset: u16::MAX, length: u16::MAX, ..truth }),
        ("another context's socket", Entry { socket: truth.socket + 1, tag: kind(5), ..truth }),
        ("no peer to send to", Entry { tag: kind(5), ..truth }),
        ("an address that is none", Entry { offset: 20, length: 0, tag: kind(6), ..truth }),
        ("no room for an address", Entry { offset: 0, length: 9, tag: kind(6), ..truth }),
        ("a kind that is the worker's", Entry { tag: kind(1), ..truth }),
        ("a kind that does not exist", Entry { tag: kind(99), ..truth }),
        ("no frame to send", Entry { frame: Entry::NO_FRAME, tag: kind(5), ..truth }),
    ]
}

#[test]
fn every_lie_is_refused_counted_and_ends_one_context() {
    let count = {
        let mut court = Court::new();
        let truth = truth(&mut court);
        lies(&mut court, truth).len()
    };
    for number in 0..count {
        let mut court = Court::new();
        let truth = truth(&mut court);
        let (what, lie) = lies(&mut court, truth).swap_remove(number);
        court.liar.write(lie);
        court.turn();
        assert_eq!((court.count(DropReason::HostileEntry), court.cut_off()), (1, 1), "{what}");
        court.is_in_order();
        court.send(1000);
        assert_eq!(court.count(DropReason::UdpNoSocket), 1, "{what}: its socket is closed");
        assert!(court.liar.receive().is_none(), "{what}");
    }
}

#[test]
fn a_frame_that_is_sent_twice_is_sent_once() {
    let mut court = Court::new();
    let truth = truth(&mut court);
    court.liar.write(truth);
    court.turn();
    assert_eq!(court.count(DropReason::HostileEntry), 0, "the first time it is true");
    court.liar.write(truth);
    court.turn();
    assert_eq!((court.count(DropReason::HostileEntry), court.cut_off()), (1, 1));
    court.is_in_order();
}

#[test]
fn a_socket_that_was_is_no_crime() {
    let mut court = Court::new();
    let truth = truth(&mut court);
    // A generation that is over: the socket was closed while the entry was under way.
    let tag = (truth.tag & 0x00ff_ffff | 5 << 24).wrapping_add(1);
    court.liar.write(Entry { tag, ..truth });
    court.turn();
    assert_eq!((court.count(DropReason::SocketClosed), court.cut_off()), (1, 0));
    court.is_in_order();
}

#[test]
fn a_frame_of_a_socket_that_was_gets_nothing_of_the_next_one() {
    let mut court = Court::new();
    let bind = |court: &mut Court, context, port| {
        let bound = court.bed.engine.udp_bind(context, (ip(2), port).into(), 1 << 20);
        bound.expect("a port").0
    };
    let old = bind(&mut court, LIAR, 3000);
    court.send(3000);
    let (kept, ..) = court.liar.receive().expect("a datagram");
    let now = court.bed.now;
    court.bed.engine.udp_close(now, old);
    // The honest application's socket is in the same slot now, with as much published as may be
    // and more behind it.
    bind(&mut court, HONEST, 3001);
    for _ in 0..40 {
        court.send(3001);
    }
    court.liar.borrower.returner().give(kept);
    court.turn();
    assert!(court.liar.receive().is_none(), "another application's datagram");
    let received = std::iter::from_fn(|| court.honest.receive()).count();
    assert_eq!(received, 32, "what may be published at once");
}

#[test]
fn what_a_context_that_was_cut_off_still_holds_comes_home_later() {
    let mut court = Court::new();
    court.send(1000);
    let (kept, socket, tag) = court.liar.receive().expect("a datagram");
    let lie = Entry { frame: 7, tag: Tag { kind: Kind::Return, ..tag }.pack(), ..Entry::default() };
    court.liar.write(lie);
    court.turn();
    assert_eq!(court.cut_off(), 1);
    assert!(court.bed.engine.has_context(LIAR), "a frame of it is out");
    court.liar.borrower.returner().give(kept);
    let _ = (socket, tag);
    court.turn();
    assert!(!court.bed.engine.has_context(LIAR), "the name is free");
    court.is_in_order();
}

#[test]
fn a_context_that_leaves_takes_nothing_with_it() {
    let mut court = Court::new();
    for _ in 0..50 {
        court.send(1000);
    }
    let (kept, ..) = court.liar.receive().expect("a datagram");
    let returner = court.liar.borrower.returner().clone();
    let Court { mut bed, liar, honest } = court;
    drop(liar);
    bed.turn();
    assert!(bed.engine.has_context(LIAR), "somebody still reads a frame");
    returner.give(kept);
    bed.turn();
    assert!(!bed.engine.has_context(LIAR));
    drop(honest);
    bed.turn();
    assert_eq!(bed.engine.pool().census().count(FrameState::Loaned), 0);
    assert!(bed.engine.shut_down());
}

#[test]
fn hoarders_leave_the_others_their_share_and_the_stack_its_voice() {
    let mut court = Court::new();
    let sockets: Vec<u16> = (3000..3064).collect();
    for port in &sockets {
        court.bed.engine.udp_bind(LIAR, (ip(2), *port).into(), 1 << 20).expect("a port");
    }
    let mut hoard = Vec::new();
    for _ in 0..32 {
        for port in &sockets {
            court.send(*port);
            hoard.extend(court.liar.receive());
        }
    }
    assert!(court.count(DropReason::UdpSocketFull) + court.count(DropReason::ContextFull) > 0);
    assert!(hoard.len() > 128, "it got much: {}", hoard.len());
    let mut received = 0;
    for _ in 0..1000 {
        court.send(2000);
        if let Some((loan, socket, tag)) = court.honest.receive() {
            received += 1;
            let tag = Tag { kind: Kind::Return, ..tag }.pack();
            court.honest.borrower.send(loan, socket, tag).expect("room");
            court.honest.borrower.publish();
        }
    }
    assert!(received >= 950, "{received} of 1000");
    assert_eq!(court.bed.exchange(&ping(HOST, b"anybody there?")).len(), 1);
    let question = arp(1, THEIRS, PEER, [0; 6], HOST, [0xff; 6]);
    assert_eq!(court.bed.exchange(&question).len(), 1);
    let returner = court.liar.borrower.returner();
    hoard.into_iter().for_each(|(loan, ..)| returner.give(loan));
    court.turn();
    court.is_in_order();
}
