//! Sends numbered UDP datagrams from one queue, without a stack, and checks every answer: the
//! other end of `reflect`, or of any UDP echo server.
//!
//! ```text
//! udp_load INTERFACE FROM TO TO_MAC [zc|copy|skb [COUNT [WINDOW]]]
//! udp_load cw0 10.77.0.2:9 10.77.0.1:7 02:00:00:77:00:01 copy 100000 64
//! ```
//!
//! At most WINDOW datagrams are under way at a time. One without an answer is sent again after a
//! second, and counted. Exit status 0 when each was answered with its own bytes and every frame
//! came home.

use std::net::SocketAddrV4;
use std::process::ExitCode;
use std::time::Duration;

use corewire_drivers::af_xdp::{AfXdp, Mode, PortSet, Steering};
use corewire_drivers::device::{Burst, Device};
use corewire_drivers::env::{Clock, Instant};
use corewire_drivers::mem::{Packet, Pool, Region, RegionConfig};

const HEADERS: usize = 14 + 20 + 8;
/// A number and eight bytes made from it.
const PAYLOAD: usize = 16;
const PATIENCE: Duration = Duration::from_secs(1);
/// Silences in a row after which the server is given up.
const SILENCES: u32 = 10;
/// Empty rounds before a nap that leaves the core to others: see `reflect`.
const SPIN_ROUNDS: u32 = 20;
const NAP: Duration = Duration::from_micros(50);

/// What is asked for on the command line.
struct Load {
    interface: String,
    from: SocketAddrV4,
    to: SocketAddrV4,
    to_mac: [u8; 6],
    mode: Mode,
    count: usize,
    window: usize,
}

fn payload(number: u64) -> [u8; PAYLOAD] {
    let mut bytes = [0; PAYLOAD];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    // A bijection that moves every bit: a wrong number does not look right by chance.
    bytes[8..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes
}

/// Everything before the payload; the UDP checksum is left out, which IPv4 allows (RFC 768).
fn headers(load: &Load, from_mac: [u8; 6]) -> [u8; HEADERS] {
    let mut bytes = [0; HEADERS];
    bytes[..6].copy_from_slice(&load.to_mac);
    bytes[6..12].copy_from_slice(&from_mac);
    bytes[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0]);
    bytes[16..18].copy_from_slice(&((20 + 8 + PAYLOAD) as u16).to_be_bytes());
    bytes[20..24].copy_from_slice(&[0x40, 0, 64, 17]);
    bytes[26..30].copy_from_slice(&load.from.ip().octets());
    bytes[30..34].copy_from_slice(&load.to.ip().octets());
    let sum: u32 =
        bytes[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    bytes[24..26].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    bytes[34..36].copy_from_slice(&load.from.port().to_be_bytes());
    bytes[36..38].copy_from_slice(&load.to.port().to_be_bytes());
    bytes[38..40].copy_from_slice(&((8 + PAYLOAD) as u16).to_be_bytes());
    bytes
}

/// What has been sent and what has come back.
struct Progress {
    answered: Vec<bool>,
    answers: usize,
    next: usize,
    resent: usize,
    wrong: usize,
}

impl Progress {
    fn receive(&mut self, frame: &[u8]) {
        let bytes = frame.get(HEADERS..HEADERS + PAYLOAD);
        let number = bytes.and_then(<[u8]>::first_chunk).map(|word| u64::from_be_bytes(*word));
        let known = number.filter(|number| bytes == Some(&payload(*number)[..]));
        match known.and_then(|number| self.answered.get_mut(number as usize)) {
            Some(seen) => self.answers += usize::from(!std::mem::replace(seen, true)),
            None => self.wrong += 1,
        }
    }

    /// The numbers to send now, at most `room` of them.
    fn take(&mut self, room: usize, window: usize, silent: bool) -> Vec<usize> {
        if silent {
            let missing = (0..self.next).filter(|number| !self.answered[*number]);
            let again: Vec<_> = missing.take(room).collect();
            self.resent += again.len();
            return again;
        }
        let free = window.saturating_sub(self.next - self.answers).min(room);
        let end = self.answered.len().min(self.next + free);
        let numbers = (self.next..end).collect();
        self.next = end;
        numbers
    }
}

fn build(pool: &mut Pool, headers: &[u8; HEADERS], number: usize) -> Option<Packet> {
    let mut frame = pool.take()?;
    frame.set_range(frame.head(), (HEADERS + PAYLOAD) as u16);
    let mut packet = Packet::from(frame);
    let bytes = pool.bytes_mut(&mut packet);
    bytes[..HEADERS].copy_from_slice(headers);
    bytes[HEADERS..].copy_from_slice(&payload(number as u64));
    Some(packet)
}

fn drive(load: &Load, device: &mut AfXdp, pool: &mut Pool, clock: &Clock) -> Progress {
    let headers = headers(load, device.capabilities().mac);
    let answered = vec![false; load.count];
    let mut progress = Progress { answered, answers: 0, next: 0, resent: 0, wrong: 0 };
    let (mut received, mut sending) = (Burst::new(), Burst::new());
    let (mut deadline, mut silences, mut idle_rounds) = (Instant::ZERO, 0, 0);
    while progress.answers < load.count && silences < SILENCES {
        let now = clock.now();
        device.reclaim(now, pool);
        if device.rx_burst(now, pool, &mut received) > 0 || deadline == Instant::ZERO {
            (deadline, silences, idle_rounds) = (now + PATIENCE, 0, 0);
        } else if idle_rounds < SPIN_ROUNDS {
            idle_rounds += 1;
        } else {
            std::thread::sleep(NAP);
        }
        for packet in received.drain() {
            progress.receive(pool.bytes(&packet));
            pool.free(packet);
        }
        let silent = now >= deadline;
        if silent {
            (deadline, silences) = (now + PATIENCE, silences + 1);
        }
        for number in progress.take(sending.room(), load.window, silent) {
            match build(pool, &headers, number) {
                Some(packet) => drop(sending.push(packet).map_err(|packet| pool.free(packet))),
                // Sent when silence shows that it is missing.
                None => continue,
            }
        }
        device.tx_burst(now, pool, &mut sending);
    }
    sending.free(pool);
    progress
}

fn run(load: &Load) -> Result<bool, String> {
    let region = Region::new(&RegionConfig::default()).map_err(|error| error.to_string())?;
    let mut pool = Pool::new(region).map_err(|error| error.to_string())?;
    let udp = PortSet::of(&[load.from.port()]);
    let steering = Steering::ports(&[(*load.from.ip()).into()], PortSet::none(), udp);
    let builder = AfXdp::builder(&load.interface).mode(load.mode).steering(steering);
    let mut device = builder.open(&mut pool).map_err(|error| error.to_string())?;

    let progress = drive(load, &mut device, &mut pool, &Clock::system());
    let name = device.capabilities().name.clone();
    device.release(&mut pool);
    let (home, all) = (pool.free_count(), pool.region().frame_count() as usize);
    println!(
        "{name}: {} of {} answered by {}, {} sent again, {} wrong, {home} of {all} frames home",
        progress.answers, load.count, load.to, progress.resent, progress.wrong
    );
    let complete = progress.answers == load.count && progress.wrong == 0;
    Ok(complete && pool.is_conserved() && home == all)
}

fn parse(arguments: &[String]) -> Option<Load> {
    let word = |at: usize| arguments.get(at).map(String::as_str);
    let mut to_mac = [0; 6];
    let bytes: Vec<_> = word(3)?.split(':').collect();
    for (byte, text) in to_mac.iter_mut().zip(&bytes) {
        *byte = u8::from_str_radix(text, 16).ok()?;
    }
    let mode = match word(4).unwrap_or("copy") {
        "zc" => Mode::ZeroCopy,
        "copy" => Mode::Copy,
        "skb" => Mode::Generic,
        _ => return None,
    };
    (bytes.len() == 6).then_some(Load {
        interface: word(0)?.into(),
        from: word(1)?.parse().ok()?,
        to: word(2)?.parse().ok()?,
        to_mac,
        mode,
        count: word(5).unwrap_or("10000").parse().ok()?,
        window: word(6).unwrap_or("64").parse().ok()?,
    })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(load) = parse(&arguments) else {
        eprintln!(
            "usage: udp_load INTERFACE FROM:PORT TO:PORT TO_MAC [zc|copy|skb [COUNT [WINDOW]]]"
        );
        return ExitCode::from(2);
    };
    match run(&load) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("udp_load: {error}");
            ExitCode::FAILURE
        }
    }
}
