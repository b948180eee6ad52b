//! How a statistics file is laid out, and read.
//!
//! ```text
//!    0  magic  version  pid  worker  started  values  names  bytes of names      8 bytes each
//!  128  values: 8 bytes each, in the order of the names
//!   …   names: a line each: kind TAB metric TAB label TAB its value TAB help
//! ```
//!
//! Everything is little-endian. The names travel with the values, so that a reader of another
//! version prints what it has never heard of. A new version number means that this layout has
//! changed, not that a counter has come or gone.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::Ordering::{Relaxed, Release};

use super::{COUNT, Counter, DROPPED, DropReason, Kind};
use crate::mem::Mapping;

/// Where the values stand: behind a header with room to grow, on a cache line of their own.
pub(super) const VALUES: usize = 128;

/// "CWSTATS", and the byte order of whoever writes it.
const MAGIC: u64 = u64::from_le_bytes(*b"CWSTATS\0");
const VERSION: u64 = 1;

/// More than any version will ever write. A larger file is not one of ours.
const MAX_BYTES: u64 = 1 << 20;

/// What a worker counted, as its file says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statistics {
    /// The process.
    pub pid: u32,
    /// The number of the worker in it.
    pub worker: u32,
    /// When the worker started, in nanoseconds since 1970; 0 when nobody knows.
    pub started: u64,
    /// Whether the process still lives; of one that does not, these are the last words.
    pub alive: bool,
    /// What was counted.
    pub entries: Vec<Entry>,
}

/// One number of a statistics file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Whether it only ever grows.
    pub kind: Kind,
    /// What is counted.
    pub metric: String,
    /// What tells it from others of the same name: a label and its value.
    pub label: Option<(String, String)>,
    /// What it means, in a sentence.
    pub help: String,
    /// The number.
    pub value: u64,
}

impl Statistics {
    /// The value of a counter of this version; `None` when the file has no such counter.
    #[must_use]
    pub fn get(&self, counter: Counter) -> Option<u64> {
        self.find(counter.metric(), counter.label())
    }

    /// How many packets died of `reason`; `None` when the file does not know the reason.
    #[must_use]
    pub fn drops(&self, reason: DropReason) -> Option<u64> {
        self.find(DROPPED, Some(("reason", reason.name())))
    }

    fn find(&self, metric: &str, label: Option<(&str, &str)>) -> Option<u64> {
        let same = |entry: &&Entry| {
            let own = entry.label.as_ref().map(|(key, value)| (key.as_str(), value.as_str()));
            entry.metric == metric && own == label
        };
        self.entries.iter().find(same).map(|entry| entry.value)
    }
}

/// Reads a statistics file, of a living process or a dead one.
///
/// # Errors
/// When the file can't be read, or is none ([`io::ErrorKind::InvalidData`]; the message says what
/// is wrong with it).
pub fn read(path: &Path) -> io::Result<Statistics> {
    let file = File::open(path)?;
    // Its worker holds the lock as long as the process lives, kill -9 included.
    let alive = file.try_lock_shared().is_err();
    if !alive {
        file.unlock()?;
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    let parsed = parse(&bytes, alive);
    parsed.map_err(|wrong| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {wrong}", path.display()))
    })
}

/// The size of a file with this version's counters.
pub(super) fn bytes() -> usize {
    VALUES + COUNT * 8 + names().len()
}

/// Makes zeroed memory the file of `worker`, the magic last: who finds that finds the rest.
pub(super) fn write_header(map: &Mapping, worker: u32, started: u64) {
    let names = names();
    for (byte, name) in map.bytes(VALUES + COUNT * 8, names.len()).iter().zip(names.bytes()) {
        byte.store(name, Relaxed);
    }
    let pid = u64::from(std::process::id());
    let names_at = (VALUES + COUNT * 8) as u64;
    let words = [VERSION, pid, worker.into(), started, COUNT as u64, names_at, names.len() as u64];
    let header = map.words64(0, 1 + words.len());
    for (place, word) in words.into_iter().enumerate() {
        header[1 + place].store(word.to_le(), Relaxed);
    }
    header[0].store(MAGIC, Release);
}

/// The table of names of this version.
fn names() -> String {
    let line = |kind, metric: &str, label: Option<(&str, &str)>, help: &str| {
        let kind = if kind == Kind::Gauge { "gauge" } else { "counter" };
        let (label, value) = label.unwrap_or_default();
        format!("{kind}\t{metric}\t{label}\t{value}\t{help}\n")
    };
    let counters = Counter::ALL.iter().map(|c| line(c.kind(), c.metric(), c.label(), c.help()));
    let drops = DropReason::ALL.iter().map(|reason| {
        line(Kind::Counter, DROPPED, Some(("reason", reason.name())), reason.help().trim())
    });
    counters.chain(drops).collect()
}

/// Believes nothing: the file may be anybody's, cut off, or half written.
fn parse(bytes: &[u8], alive: bool) -> Result<Statistics, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err("larger than a statistics file ever is".into());
    }
    let word = |offset: usize| -> Option<u64> {
        let word = bytes.get(offset..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*word))
    };
    if word(0) != Some(MAGIC) {
        return Err("not a statistics file, or not yet written".into());
    }
    match word(8) {
        Some(VERSION) => {}
        version => {
            let version = version.unwrap_or(0);
            return Err(format!("layout {version}, this program reads {VERSION}: use one as new"));
        }
    }
    let cut_off = || "cut off".to_owned();
    let narrow = |offset| word(offset).and_then(|w| u32::try_from(w).ok()).ok_or_else(cut_off);
    let place = |offset| word(offset).and_then(|w| usize::try_from(w).ok()).ok_or_else(cut_off);
    let (pid, worker, started) = (narrow(16)?, narrow(24)?, word(32).ok_or_else(cut_off)?);
    let (count, names_at, names_len) = (place(40)?, place(48)?, place(56)?);
    let names_end = names_at.checked_add(names_len).ok_or_else(cut_off)?;
    let names = bytes.get(names_at..names_end).ok_or_else(cut_off)?;
    let names = std::str::from_utf8(names).map_err(|_| "names that are not text".to_owned())?;
    // Each value has a line, so the count is bounded by the file's size.
    let values = names.lines().take(count).enumerate();
    let entries = values.map(|(place, line)| {
        let value = word(VALUES + place * 8).ok_or_else(cut_off)?;
        entry(line, value).ok_or_else(|| format!("a name that is none: `{line}`"))
    });
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    if entries.len() != count {
        return Err("values without names".into());
    }
    Ok(Statistics { pid, worker, started, alive, entries })
}

fn entry(line: &str, value: u64) -> Option<Entry> {
    let mut fields = line.splitn(5, '\t');
    let mut field = || fields.next();
    let kind = match field()? {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        _ => return None,
    };
    let (metric, label, label_value, help) = (field()?, field()?, field()?, field()?);
    let named = |name: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        !name.is_empty() && name.bytes().all(plain)
    };
    if !named(metric) || !(label.is_empty() || named(label)) {
        return None;
    }
    let label = (!label.is_empty()).then(|| (label.to_owned(), label_value.to_owned()));
    Some(Entry { kind, metric: metric.to_owned(), label, help: help.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::super::Counters;
    use super::*;

    fn bytes_of(counters: &Counters) -> Vec<u8> {
        counters.map.bytes(0, bytes()).iter().map(|byte| byte.load(Relaxed)).collect()
    }

    fn written() -> Vec<u8> {
        let counters = Counters::memfd(3).unwrap();
        counters.add(Counter::UdpOut, 5);
        counters.add_drops(DropReason::UdpNoSocket, 2);
        bytes_of(&counters)
    }

    #[test]
    fn what_is_written_is_read() {
        let read = parse(&written(), true).unwrap();
        assert_eq!((read.pid, read.worker, read.alive), (std::process::id(), 3, true));
        assert_eq!(read.entries.len(), COUNT);
        assert_eq!(read.get(Counter::UdpOut), Some(5));
        assert_eq!(read.get(Counter::UdpIn), Some(0));
        assert_eq!(read.drops(DropReason::UdpNoSocket), Some(2));
        let gauge = Entry {
            kind: Kind::Gauge,
            metric: "frames".into(),
            label: Some(("state".into(), "free".into())),
            help: "Frames in each state.".into(),
            value: 0,
        };
        assert!(read.entries.contains(&gauge));
    }

    #[test]
    fn counters_of_another_version_are_read_by_their_names() {
        let names = "gauge\tmoons\tof\tjupiter\tMoons.\ncounter\told\t\t\tOld.\n";
        let mut bytes = vec![0; VALUES];
        let words = [MAGIC, VERSION, 7, 1, 9, 2, VALUES as u64 + 16, names.len() as u64];
        for (place, word) in words.into_iter().enumerate() {
            bytes[place * 8..place * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        bytes.extend(95u64.to_le_bytes());
        bytes.extend(4u64.to_le_bytes());
        bytes.extend(names.as_bytes());
        let read = parse(&bytes, false).unwrap();
        assert_eq!((read.pid, read.worker, read.started), (7, 1, 9));
        let numbers: Vec<_> = read.entries.iter().map(|e| (e.metric.as_str(), e.value)).collect();
        assert_eq!(numbers, [("moons", 95), ("old", 4)]);
        assert_eq!(read.get(Counter::RxPackets), None);
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let good = written();
        // Miri takes a second for each.
        let step = if cfg!(miri) { 997 } else { 1 };
        for len in (0..good.len()).step_by(step) {
            assert!(parse(&good[..len], false).is_err(), "cut to {len} bytes");
        }
        for place in (0..VALUES).step_by(step.min(24)) {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[place] = byte;
                let _ = parse(&bad, false);
            }
        }
        let mut newer = good.clone();
        newer[8] = 2;
        assert_eq!(
            parse(&newer, false).unwrap_err(),
            "layout 2, this program reads 1: use one as new"
        );
    }
}
