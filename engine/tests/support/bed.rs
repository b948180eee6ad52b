//! One engine, and a wire on which the test writes frames by hand and reads what comes back.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "each test file uses its part"
)]

use corewire::env::DropReason;
use corewire::worker::Worker;
use corewire_drivers::cable::CableEnd;
use corewire_drivers::device::{Burst, Device};
use corewire_drivers::env::Instant;
use corewire_drivers::env::limits::HEADROOM;
use corewire_drivers::mem::{Packet, Pages, Pool, Region, RegionConfig};
use etherparse::PacketBuilder;

use crate::support::{self, Echo, ip};

pub const OURS: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const HOST: [u8; 4] = [10, 0, 0, 2];
pub const PEER: [u8; 4] = [10, 0, 0, 1];

/// The engine is 10.0.0.2 with an echo service on port 7; the wire's end is 10.0.0.1.
pub struct Bed {
    pub engine: Worker,
    pub end: CableEnd,
    pub pool: Pool,
    pub now: Instant,
    pub echo: Echo,
}

impl Bed {
    pub fn new() -> Self {
        let (end, device) = CableEnd::pair(1500, 256);
        let mut engine = support::worker(2, device, 512);
        let now = Instant::from_nanos(1_000_000_000);
        engine.with_turn(now, |turn| turn.udp_bind((ip(2), 7).into())).expect("a free port");
        engine.with_turn(now, |turn| turn.udp_bind(([0, 0, 0, 0], 9).into())).expect("a port");
        let config = RegionConfig { frames: 512, pages: Pages::Plain, ..RegionConfig::default() };
        let pool = Pool::new(Region::new(&config).expect("memory")).expect("the first pool");
        Self { engine, end, pool, now, echo: Echo::default() }
    }

    /// As [`new`](Self::new), and the engine has learned where the peer is.
    pub fn acquainted() -> Self {
        let mut bed = Self::new();
        let answers = bed.exchange(&arp(1, THEIRS, PEER, [0; 6], HOST, [0xff; 6]));
        assert_eq!(answers.len(), 1);
        bed
    }

    /// Sends a frame and returns what the engine answers to it.
    pub fn exchange(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut burst = Burst::new();
        let mut frame = self.pool.take().expect("a frame");
        frame.set_range(HEADROOM, bytes.len() as u16);
        self.pool.region().bytes_mut(&mut frame).copy_from_slice(bytes);
        burst.push(Packet::from(frame)).expect("room");
        self.end.tx_burst(self.now, &mut self.pool, &mut burst);
        self.turn()
    }

    pub fn turn(&mut self) -> Vec<Vec<u8>> {
        let (mut burst, mut answers) = (Burst::new(), Vec::new());
        for _ in 0..4 {
            self.engine.turn(self.now, &mut self.echo);
            self.end.reclaim(self.now, &mut self.pool);
            self.end.rx_burst(self.now, &mut self.pool, &mut burst);
            for packet in burst.drain() {
                answers.push(self.pool.bytes(&packet).to_vec());
                self.pool.free(packet);
            }
        }
        answers
    }

    /// Sends a frame that the engine must drop for `reason` without an answer.
    pub fn dropped(&mut self, bytes: &[u8], reason: DropReason) {
        let before = self.engine.counters().dropped(reason);
        let answers = self.exchange(bytes);
        assert!(answers.is_empty(), "{reason:?} was answered");
        assert_eq!(self.engine.counters().dropped(reason), before + 1, "{reason:?}");
        assert!(self.engine.pool().is_conserved());
    }
}

pub fn arp(
    op: u16,
    sha: [u8; 6],
    spa: [u8; 4],
    tha: [u8; 6],
    tpa: [u8; 4],
    to: [u8; 6],
) -> Vec<u8> {
    let mut frame = [&to[..], &sha, &[8, 6, 0, 1, 8, 0, 6, 4], &op.to_be_bytes()].concat();
    frame.extend([&sha[..], &spa, &tha, &tpa].concat());
    frame.resize(60, 0);
    frame
}

pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(THEIRS, OURS).ipv4(PEER, HOST, 64).udp(from, to);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("written to memory");
    frame
}

pub fn ping(destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(THEIRS, OURS).ipv4(PEER, destination, 64);
    let mut frame = Vec::new();
    builder.icmpv4_echo_request(7, 3).write(&mut frame, payload).expect("written to memory");
    frame
}
