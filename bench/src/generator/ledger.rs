//! Which requests are under way, and how long each took. The same book for every client, so that
//! all servers are asked the same questions.
//!
//! A request's payload is made of pairs of words whose ones' complement sum is constant:
//!
//! ```text
//!  0       8       16      24      32
//! ┌───────┬───────┬───────┬───────┬──
//! │ number│~number│ mix(1)│~mix(1)│ …     a pair that is cut off is constant
//! └───────┴───────┴───────┴───────┴──
//! ```
//!
//! so the UDP checksum of all requests of one size is the same, and a client that writes frames
//! itself computes it once. An answer is right when every byte of it is that of its number.

use std::io;
use std::time::Duration;

use corewire_drivers::env::Instant;
use hdrhistogram::Histogram;

use crate::run::latency_histogram;

/// How requests are let out.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(crate) enum Pace {
    /// As many under way as this: the next goes out when an answer comes in.
    Window(u32),
    /// This many a second, at moments that do not depend on the answers. A request that goes out
    /// late has its time counted from the moment at which it was due, so a server that stalls
    /// is charged for all that had to wait (no coordinated omission).
    Rate(u64),
}

/// The book of one client.
pub(crate) struct Ledger {
    pace: Pace,
    /// Under way, by the low bits of the number.
    slots: Box<[Slot]>,
    next: u64,
    under_way: u32,
    /// When the first request of an open loop was due.
    start: Option<Instant>,
    latency: Histogram<u64>,
    last_answer: Instant,
    fate: Fate,
}

/// What became of requests that were not answered in time.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Given up.
    pub(crate) lost: u64,
    /// Answers that came after that, or twice.
    pub(crate) late: u64,
    /// Answers with a wrong byte in them.
    pub(crate) wrong: u64,
}

impl Fate {
    /// Enters all three among the drops.
    pub(crate) fn enter(self, drops: &mut std::collections::BTreeMap<String, u64>) {
        drops.insert("lost_requests".into(), self.lost);
        drops.insert("late_answers".into(), self.late);
        drops.insert("wrong_answers".into(), self.wrong);
    }
}

#[derive(Copy, Clone, Default)]
struct Slot {
    number: u64,
    due: Instant,
    open: bool,
}

impl Ledger {
    /// An empty book.
    pub(crate) fn new(pace: Pace) -> io::Result<Self> {
        let slots = match pace {
            Pace::Window(window) => (window as usize).next_power_of_two(),
            Pace::Rate(_) => OPEN_LOOP_SLOTS,
        };
        Ok(Self {
            pace,
            slots: vec![Slot::default(); slots].into(),
            next: 0,
            under_way: 0,
            start: None,
            latency: latency_histogram()?,
            last_answer: Instant::ZERO,
            fate: Fate::default(),
        })
    }

    /// How many requests may go out now, at most `room`.
    pub(crate) fn may_send(&mut self, now: Instant, room: usize) -> usize {
        let may = match self.pace {
            Pace::Window(window) => {
                self.give_up(now);
                (window - self.under_way) as usize
            }
            Pace::Rate(rate) => {
                let start = *self.start.get_or_insert(now);
                let since = now.saturating_since(start).as_nanos();
                let due = (since * u128::from(rate) / 1_000_000_000) as u64 + 1;
                due.saturating_sub(self.next) as usize
            }
        };
        may.min(room)
    }

    /// Enters a request and returns its number.
    pub(crate) fn send(&mut self, now: Instant) -> u64 {
        let number = self.next;
        let due = match (self.pace, self.start) {
            (Pace::Rate(rate), Some(start)) => {
                let nanos = u128::from(number) * 1_000_000_000 / u128::from(rate);
                start + Duration::from_nanos(nanos as u64)
            }
            _ => now,
        };
        if self.under_way == 0 {
            self.last_answer = now;
        }
        self.next += 1;
        let mask = self.slots.len() - 1;
        let slot = &mut self.slots[number as usize & mask];
        if slot.open {
            // Its answer is a whole round of the table late.
            self.fate.lost += 1;
            self.under_way -= 1;
        }
        *slot = Slot { number, due, open: true };
        self.under_way += 1;
        number
    }

    /// Takes back the last `count` requests entered: they did not get out.
    pub(crate) fn unsend(&mut self, count: usize) {
        for _ in 0..count {
            self.next -= 1;
            let mask = self.slots.len() - 1;
            self.slots[self.next as usize & mask].open = false;
            self.under_way -= 1;
        }
    }

    /// Enters an answer. True when it is one, byte for byte, to a request under way.
    pub(crate) fn answered(&mut self, now: Instant, payload: &[u8], record: bool) -> bool {
        let Some(number) = read(payload) else {
            self.fate.wrong += 1;
            return false;
        };
        let mask = self.slots.len() - 1;
        let slot = &mut self.slots[number as usize & mask];
        if !slot.open || slot.number != number {
            self.fate.late += 1;
            return false;
        }
        slot.open = false;
        self.under_way -= 1;
        self.last_answer = now;
        if record {
            self.latency.saturating_record(now.saturating_since(slot.due).as_nanos() as u64);
        }
        true
    }

    /// The round trips of the window, and what became of the other requests.
    pub(crate) fn close(self) -> (Histogram<u64>, Fate) {
        (self.latency, self.fate)
    }

    /// A closed loop whose answers were all dropped would wait for ever.
    fn give_up(&mut self, now: Instant) {
        if self.under_way > 0 && now.saturating_since(self.last_answer) > PATIENCE {
            self.fate.lost += u64::from(self.under_way);
            self.under_way = 0;
            self.slots.iter_mut().for_each(|slot| slot.open = false);
        }
    }
}

/// Writes the payload of request `number`.
#[inline]
pub(crate) fn write(number: u64, payload: &mut [u8]) {
    let (pairs, tail) = payload.as_chunks_mut::<PAIR>();
    for (index, pair) in pairs.iter_mut().enumerate() {
        *pair = words(number, index);
    }
    tail.iter_mut().zip(TAIL).for_each(|(to, from)| *to = from);
}

/// The number of an answer, if every byte is right.
#[inline]
fn read(payload: &[u8]) -> Option<u64> {
    let (pairs, tail) = payload.as_chunks::<PAIR>();
    let number = u64::from_le_bytes(*pairs.first()?.first_chunk()?);
    let right = pairs.iter().enumerate().all(|(index, pair)| *pair == words(number, index))
        && tail.iter().zip(TAIL).all(|(is, should)| *is == should);
    right.then_some(number)
}

/// A word and its complement, of which every pair but the first mixes the number.
#[inline]
fn words(number: u64, pair: usize) -> [u8; PAIR] {
    let mixed = || number.wrapping_add(pair as u64).wrapping_mul(MIX);
    let plain = if pair == 0 { number } else { mixed() };
    (u128::from(plain) | u128::from(!plain) << 64).to_le_bytes()
}

/// Bytes of a pair of words.
const PAIR: usize = 16;

/// What stands behind the last whole pair: constant, so that the sum of all is.
const TAIL: [u8; PAIR] = *b"packet-rate tail";

/// The golden ratio's fraction (Knuth, TAOCP 6.4): neighbouring numbers differ in every byte.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Requests of an open loop under way, at most; 65,536 at a million a second are 65 ms, after
/// which an answer does not matter.
const OPEN_LOOP_SLOTS: usize = 1 << 16;

/// Without any answer for that long, what was under way is lost. A thousand times the slowest
/// round trip here (73 µs), and short enough to be a small part of a run.
const PATIENCE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn payload(number: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        write(number, &mut bytes);
        bytes
    }

    #[test]
    fn a_window_lets_out_as_many_as_come_back() {
        let mut ledger = Ledger::new(Pace::Window(3)).expect("a histogram");
        assert_eq!(ledger.may_send(at(0), 64), 3);
        let first = ledger.send(at(0));
        ledger.send(at(0));
        assert_eq!(ledger.may_send(at(5), 64), 1);
        assert!(ledger.answered(at(700), &payload(first, 18), true));
        assert!(!ledger.answered(at(701), &payload(first, 18), true), "twice");
        assert_eq!(ledger.may_send(at(702), 64), 2);
        let (latency, fate) = ledger.close();
        assert_eq!((latency.len(), latency.max()), (1, 700));
        assert_eq!(fate, Fate { lost: 0, late: 1, wrong: 0 });
    }

    #[test]
    fn an_open_loop_counts_from_the_moment_that_was_due() {
        let mut ledger = Ledger::new(Pace::Rate(1_000_000)).expect("a histogram");
        assert_eq!(ledger.may_send(at(0), 64), 1);
        let first = ledger.send(at(0));
        // The client was held up for 10 µs: ten more are due, and each is late by its own time.
        assert_eq!(ledger.may_send(at(10_000), 64), 10);
        let second = ledger.send(at(10_000));
        assert!(ledger.answered(at(10_500), &payload(second, 64), true));
        assert!(ledger.answered(at(10_600), &payload(first, 64), true));
        let (latency, _) = ledger.close();
        assert_eq!(latency.min(), 9_496, "9,500 ns since it was due, in three digits");
        assert!(latency.max() >= 10_600);
    }

    #[test]
    fn lost_answers_do_not_stop_a_window() {
        let mut ledger = Ledger::new(Pace::Window(2)).expect("a histogram");
        ledger.send(at(0));
        ledger.send(at(0));
        assert_eq!(ledger.may_send(at(1_000), 64), 0);
        let late = PATIENCE.as_nanos() as u64 + 1;
        assert_eq!(ledger.may_send(at(late), 64), 2);
        assert!(!ledger.answered(at(late), &payload(0, 64), true), "given up already");
        assert_eq!(ledger.close().1, Fate { lost: 2, late: 1, wrong: 0 });
    }

    #[test]
    fn what_was_not_sent_is_asked_again() {
        let mut ledger = Ledger::new(Pace::Window(4)).expect("a histogram");
        let numbers: Vec<u64> = (0..4).map(|_| ledger.send(at(0))).collect();
        ledger.unsend(2);
        assert_eq!(ledger.may_send(at(0), 64), 2);
        assert_eq!(ledger.send(at(0)), numbers[2]);
    }

    #[test]
    fn every_changed_byte_is_seen() {
        for size in [16, 18, 22, 64, 1472] {
            let right = payload(77, size);
            assert_eq!(read(&right), Some(77));
            for index in 0..size {
                let mut wrong = right.clone();
                wrong[index] ^= 1;
                assert_eq!(read(&wrong), None, "byte {index} of {size}");
            }
        }
        assert_eq!(read(&payload(77, 15)), None);
    }

    #[test]
    fn all_numbers_have_one_checksum() {
        let sum = |bytes: &[u8]| {
            let words = bytes
                .chunks(2)
                .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
            let mut sum: u32 = words.sum();
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            sum
        };
        for size in [16, 18, 22, 63, 64, 1472] {
            let first = sum(&payload(0, size));
            for number in [1, 12_345, u64::MAX / 3] {
                assert_eq!(sum(&payload(number, size)), first, "{size} bytes");
            }
        }
    }
}
