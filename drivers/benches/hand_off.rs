//! What a frame pays to reach another core and come back: the index ring, the lending on top of
//! it, `rtrb`, and lists that are linked through the frames themselves.
//!
//! Two pinned threads. Every way carries the same entries between the same frames; all ways of
//! one case take turns, round by round, and the median counts: a neighbour on the machine hits
//! all of them alike.
//!
//! ```text
//! cargo bench -p corewire-drivers --bench hand_off [ROUNDS] [WAY…]
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::thread;
use std::time::Instant;

use corewire_drivers::mem::{Loan, Pages, Pool, Region, RegionConfig};
use corewire_drivers::ring::lending::{self, LendingConfig};
use corewire_drivers::ring::{Borrower, Consumer, Entry, Handed, Lender, Producer, Sent, spsc};
use crossbeam_utils::CachePadded;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Frames of 2 KiB: 2 MiB, which fits in L2.
const FRAMES: usize = 1024;
/// Places of the bare rings.
const CAPACITY: u32 = 1024;
/// Entries of a burst.
const BURST: usize = 32;

/// What is done with each item.
#[derive(Copy, Clone)]
struct Case {
    name: &'static str,
    /// Items a send.
    burst: usize,
    /// Items that may be away at one time.
    away: usize,
    /// Whether one cache line of the frame is written before, and read after, the hand-off.
    touched: bool,
    /// Items a lap. A lap is shorter than a scheduler's time slice, so that a neighbour spoils
    /// some laps and not all.
    items: usize,
}

/// Laps a round, beside the one that warms up.
const LAPS: usize = 15;

const CASES: [Case; 4] = [
    Case { name: "bursts of 32", burst: BURST, away: 256, touched: false, items: 1 << 14 },
    Case { name: "bursts of 32, touched", burst: BURST, away: 256, touched: true, items: 1 << 14 },
    Case { name: "one at a time", burst: 1, away: 1, touched: false, items: 1 << 11 },
    Case { name: "one at a time, touched", burst: 1, away: 1, touched: true, items: 1 << 11 },
];

/// One end of a way.
trait End: Send {
    fn send(&mut self, entries: &[Entry]);
    fn receive(&mut self, entries: &mut [Entry]) -> usize;
    fn write(&mut self, entry: &Entry, value: u64);
    fn read(&mut self, entry: &Entry) -> u64;
}

/// The frames of the bare ways: one line of each is used.
struct Frames(Box<[Frame]>);

#[repr(align(2048))]
#[derive(Default)]
struct Frame {
    payload: CachePadded<[AtomicU64; 8]>,
    /// Only for lists: link and entry stand in the frame.
    link: AtomicU32,
    words: [AtomicU64; 2],
}

impl Frames {
    fn new() -> Arc<Self> {
        Arc::new(Self((0..FRAMES).map(|_| Frame::default()).collect()))
    }

    fn write(&self, frame: u32, value: u64) {
        self.0[frame as usize].payload.iter().for_each(|word| word.store(value, Relaxed));
    }

    fn read(&self, frame: u32) -> u64 {
        self.0[frame as usize].payload.iter().map(|word| word.load(Relaxed)).sum()
    }
}

struct IndexRing(Producer, Consumer, Arc<Frames>);

impl End for IndexRing {
    fn send(&mut self, entries: &[Entry]) {
        let sent = self.0.push_burst(entries);
        assert_eq!(sent, entries.len(), "there is room for all frames");
    }

    fn receive(&mut self, entries: &mut [Entry]) -> usize {
        self.1.pop_burst(entries)
    }

    fn write(&mut self, entry: &Entry, value: u64) {
        self.2.write(entry.frame, value);
    }

    fn read(&mut self, entry: &Entry) -> u64 {
        self.2.read(entry.frame)
    }
}

struct Rtrb(rtrb::Producer<Entry>, rtrb::Consumer<Entry>, Arc<Frames>);

impl End for Rtrb {
    fn send(&mut self, entries: &[Entry]) {
        self.0.push_entire_slice(entries).expect("there is room for all frames");
    }

    fn receive(&mut self, entries: &mut [Entry]) -> usize {
        self.1.pop_partial_slice(entries).0.len()
    }

    fn write(&mut self, entry: &Entry, value: u64) {
        self.2.write(entry.frame, value);
    }

    fn read(&mut self, entry: &Entry) -> u64 {
        self.2.read(entry.frame)
    }
}

/// Lists: a batch is linked frame by frame and put on a shared head; the other end takes all.
struct List {
    outward: Arc<CachePadded<AtomicU32>>,
    inward: Arc<CachePadded<AtomicU32>>,
    /// What was taken and not yet received; index + 1, 0 for none.
    taken: u32,
    frames: Arc<Frames>,
}

impl End for List {
    fn send(&mut self, entries: &[Entry]) {
        let [first, .., last] = entries else {
            return entries.iter().for_each(|entry| self.send(&[*entry, *entry]));
        };
        let mut behind = first.frame;
        for entry in entries {
            let frame = &self.frames.0[entry.frame as usize];
            for (place, word) in frame.words.iter().zip(entry.to_words()) {
                place.store(word, Relaxed);
            }
            if entry.frame != behind {
                self.frames.0[behind as usize].link.store(entry.frame + 1, Relaxed);
            }
            behind = entry.frame;
        }
        let mut top = self.outward.load(Relaxed);
        loop {
            self.frames.0[last.frame as usize].link.store(top, Relaxed);
            match self.outward.compare_exchange_weak(top, first.frame + 1, Release, Relaxed) {
                Ok(_) => return,
                Err(other) => top = other,
            }
        }
    }

    fn receive(&mut self, entries: &mut [Entry]) -> usize {
        if self.taken == 0 && self.inward.load(Relaxed) != 0 {
            self.taken = self.inward.swap(0, Acquire);
        }
        let mut count = 0;
        while self.taken != 0 && count < entries.len() {
            let frame = &self.frames.0[self.taken as usize - 1];
            entries[count] = Entry::from_words([0, 1].map(|at| frame.words[at].load(Relaxed)));
            self.taken = frame.link.load(Relaxed);
            count += 1;
        }
        count
    }

    fn write(&mut self, entry: &Entry, value: u64) {
        self.frames.write(entry.frame, value);
    }

    fn read(&mut self, entry: &Entry) -> u64 {
        self.frames.read(entry.frame)
    }
}

/// The whole hand-off on the worker's side: frames from the pool, states, checks.
struct Worker {
    lender: Lender,
    pool: Pool,
    value: u64,
}

impl End for Worker {
    fn send(&mut self, entries: &[Entry]) {
        for entry in entries {
            let mut frame = self.pool.take().expect("a free frame");
            frame.set_range(256, 64);
            if self.value != 0 {
                self.pool.region().bytes_mut(&mut frame).fill(self.value as u8);
            }
            let loan = self.pool.loan(frame, 0);
            self.lender.lend(loan, entry.socket, entry.tag).expect("a place for every frame");
        }
        self.lender.publish();
        self.value = 0;
    }

    fn receive(&mut self, entries: &mut [Entry]) -> usize {
        let mut count = 0;
        while count < entries.len()
            && let Some(Sent { frame: Some(frame), socket, tag }) = self.lender.take_back()
        {
            let frame = self.pool.unloan(frame, 0);
            self.pool.give(frame.expect("an honest application"));
            entries[count] = Entry { socket, tag, ..Entry::default() };
            count += 1;
        }
        count
    }

    fn write(&mut self, _entry: &Entry, value: u64) {
        // The frame is known only in send().
        self.value = value | 1;
    }

    fn read(&mut self, _entry: &Entry) -> u64 {
        0
    }
}

/// The whole hand-off on the application's side.
struct Application {
    borrower: Borrower,
    loans: Vec<Loan>,
}

impl End for Application {
    fn send(&mut self, entries: &[Entry]) {
        for (loan, entry) in self.loans.drain(..).zip(entries) {
            self.borrower.send(loan, entry.socket, entry.tag).expect("a place for every frame");
        }
        self.borrower.publish();
    }

    fn receive(&mut self, entries: &mut [Entry]) -> usize {
        let mut count = 0;
        while count < entries.len()
            && let Some(Handed { loan: Some(loan), socket, tag }) = self.borrower.receive()
        {
            entries[count] = Entry { frame: count as u32, socket, tag, ..Entry::default() };
            self.loans.push(loan);
            count += 1;
        }
        count
    }

    fn write(&mut self, _entry: &Entry, _value: u64) {}

    fn read(&mut self, entry: &Entry) -> u64 {
        let bytes = self.borrower.region().loan_bytes(&self.loans[entry.frame as usize]);
        bytes.iter().map(|byte| u64::from(*byte)).sum()
    }
}

type Ends = (Box<dyn End>, Box<dyn End>);

fn ring_ends() -> Ends {
    let ring = || spsc::pair(CAPACITY).expect("memory for a ring");
    let ((to_far, far_in), (to_near, near_in), frames) = (ring(), ring(), Frames::new());
    let near = IndexRing(to_far, near_in, frames.clone());
    (Box::new(near), Box::new(IndexRing(to_near, far_in, frames)))
}

fn rtrb_ends() -> Ends {
    let ring = || rtrb::RingBuffer::new(CAPACITY as usize);
    let ((to_far, far_in), (to_near, near_in), frames) = (ring(), ring(), Frames::new());
    let near = Rtrb(to_far, near_in, frames.clone());
    (Box::new(near), Box::new(Rtrb(to_near, far_in, frames)))
}

fn list_ends() -> Ends {
    let (there, back, frames) = (Arc::default(), Arc::default(), Frames::new());
    let near = List {
        outward: Arc::clone(&there),
        inward: Arc::clone(&back),
        taken: 0,
        frames: frames.clone(),
    };
    (Box::new(near), Box::new(List { outward: back, inward: there, taken: 0, frames }))
}

fn lending_ends() -> Ends {
    let frames = FRAMES as u32;
    let config = RegionConfig { frames, pages: Pages::Plain, ..RegionConfig::default() };
    let region = Region::new(&config).expect("memory for a region");
    let pool = Pool::new(region.clone()).expect("its pool");
    let (lender, borrower) =
        lending::pair(&region, LendingConfig { frames, signals: 0 }).expect("memory for two rings");
    let loans = Vec::with_capacity(FRAMES);
    (Box::new(Worker { lender, pool, value: 0 }), Box::new(Application { borrower, loans }))
}

/// Nanoseconds an item, there and back, of each lap.
fn measure(case: Case, (mut near, mut far): Ends) -> [f64; LAPS] {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let echo = scope.spawn(|| {
            pin(1);
            let (mut entries, mut sum) = ([Entry::default(); BURST], 0);
            while !stop.load(Relaxed) {
                let count = far.receive(&mut entries[..case.burst]);
                if count == 0 {
                    std::hint::spin_loop();
                    continue;
                }
                if case.touched {
                    entries[..count].iter().for_each(|entry| sum += far.read(entry));
                }
                far.send(&entries[..count]);
            }
            sum
        });
        pin(0);
        // Caches, pages, and the echo's core.
        circulate(&mut *near, case);
        let laps = std::array::from_fn(|_| {
            let start = Instant::now();
            circulate(&mut *near, case);
            start.elapsed().as_nanos() as f64 / case.items as f64
        });
        stop.store(true, Relaxed);
        std::hint::black_box(echo.join().expect("the echo's thread"));
        laps
    })
}

fn circulate(near: &mut dyn End, case: Case) {
    let mut free: Vec<u32> = (0..FRAMES as u32).collect();
    let (mut sent, mut back) = (0, 0);
    let mut entries = [Entry::default(); BURST];
    while back < case.items {
        while sent < case.items && sent - back + case.burst <= case.away {
            for entry in &mut entries[..case.burst] {
                let frame = free.pop().expect("more frames than may be away");
                *entry = Entry { frame, offset: 256, length: 64, socket: 1, tag: sent as u32 };
                if case.touched {
                    near.write(entry, sent as u64);
                }
            }
            near.send(&entries[..case.burst]);
            sent += case.burst;
        }
        let count = near.receive(&mut entries);
        back += count;
        // The lending has its own frames, whose keys are not ours: only the count matters then.
        free.extend(entries[..count].iter().map(|entry| entry.frame % FRAMES as u32));
    }
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    if sched_setaffinity(None, &set).is_err() {
        eprintln!("core {core} is not ours: not pinned, so distrust what follows");
    }
}

fn main() {
    let words: Vec<_> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let rounds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(21);
    let wanted: Vec<_> = words.iter().filter(|word| word.parse::<usize>().is_err()).collect();
    type Way = (&'static str, fn() -> Ends);
    let ways: [Way; 4] = [
        ("index ring", ring_ends),
        ("rtrb", rtrb_ends),
        ("lists through frames", list_ends),
        ("pool, states, lending", lending_ends),
    ];
    let asked = |(name, _): &Way| wanted.is_empty() || wanted.iter().any(|w| name.contains(&**w));
    let ways: Vec<_> = ways.into_iter().filter(asked).collect();
    println!("ns an item, there and back, {rounds} rounds of {LAPS} laps");
    println!("  {:<22} {:>8} {:>8} {:>8}", "", "median", "quarter", "least");
    for case in CASES {
        println!("{}", case.name);
        let mut results = vec![Vec::with_capacity(rounds * LAPS); ways.len()];
        for _ in 0..rounds {
            for ((_, ends), results) in ways.iter().zip(&mut results) {
                results.extend(measure(case, ends()));
            }
        }
        for ((name, _), results) in ways.iter().zip(&mut results) {
            results.sort_by(f64::total_cmp);
            let [min, quarter, median] = [0, 1, 2].map(|part| results[part * results.len() / 4]);
            println!("  {name:<22} {median:8.1} {quarter:8.1} {min:8.1}");
        }
    }
}
