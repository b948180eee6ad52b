//! A device that brings the same datagram again and again and takes the answers: an endless wire
//! that costs next to nothing, for measuring what lies behind the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use corewire_drivers::device::{Burst, Capabilities, Device, DeviceCounts, LinkKind};
use corewire_drivers::env::Instant;
use corewire_drivers::env::limits::HEADROOM;
use corewire_drivers::mem::{Packet, Pool};
use crossbeam_utils::CachePadded;

use crate::generator::frame::{Party, udp_frame};

/// Brings a datagram as long as fewer than so many of its kind are unanswered.
pub(crate) struct Mill {
    capabilities: Capabilities,
    /// One for each port, and whose turn it is.
    frames: Vec<Vec<u8>>,
    port: usize,
    window: usize,
    burst: usize,
    under_way: usize,
    /// Nobody answers: under way is what the pool lacks.
    one_way: bool,
    shared: Arc<CachePadded<Shared>>,
}

/// What another thread sees of a mill.
#[derive(Default)]
pub(crate) struct Shared {
    answered: AtomicU64,
    turning: AtomicBool,
}

impl Shared {
    /// How many answers it has taken.
    pub(crate) fn answered(&self) -> u64 {
        // Relaxed: a number to be read now and then.
        self.answered.load(Ordering::Relaxed)
    }

    /// Lets it bring datagrams, now that somebody is there to answer.
    pub(crate) fn start(&self) {
        self.turning.store(true, Ordering::Relaxed);
    }
}

impl Mill {
    /// Datagrams of `payload` bytes from `from` to `to`, `window` unanswered at a time, at most
    /// `burst` of them at once, each burst to the next of `ports` ports. `one_way`: they are not
    /// answered; then what counts is how many frames are away from the pool.
    pub(crate) fn new(
        (from, to): (Party, Party),
        payload: usize,
        window: usize,
        burst: usize,
        ports: u16,
        one_way: bool,
    ) -> Self {
        Self {
            capabilities: Capabilities {
                link: LinkKind::Ethernet,
                mac: to.mac,
                mtu: 1500,
                max_tx_frames: 1,
                checksums_trusted: false,
                name: "mill".into(),
            },
            frames: (0..ports)
                .map(|port| udp_frame(from, Party { port: to.port + port, ..to }, payload))
                .collect(),
            port: 0,
            window,
            burst,
            under_way: 0,
            one_way,
            shared: Arc::default(),
        }
    }

    /// Its other end. It stands still until that starts it.
    pub(crate) fn shared(&self) -> Arc<CachePadded<Shared>> {
        Arc::clone(&self.shared)
    }
}

impl Device for Mill {
    #[inline]
    fn rx_burst(&mut self, _now: Instant, pool: &mut Pool, burst: &mut Burst) -> usize {
        if !self.shared.turning.load(Ordering::Relaxed) {
            return 0;
        }
        if self.one_way {
            let frames = pool.region().frame_count() as usize;
            self.under_way = (frames - pool.free_count()).min(self.window);
        }
        let count = (self.window - self.under_way).min(self.burst).min(burst.room());
        // Whole bursts only: what a driver brings is what an interrupt has gathered.
        if count < self.burst {
            return 0;
        }
        let bytes = &self.frames[self.port];
        self.port = (self.port + 1) % self.frames.len();
        for done in 0..count {
            let Some(mut frame) = pool.take() else { return done };
            frame.set_range(HEADROOM, bytes.len() as u16);
            let mut packet = Packet::from(frame);
            pool.bytes_mut(&mut packet).copy_from_slice(bytes);
            if let Err(packet) = burst.push(packet) {
                pool.free(packet);
            }
            self.under_way += 1;
        }
        count
    }

    #[inline]
    fn tx_burst(&mut self, _now: Instant, pool: &mut Pool, burst: &mut Burst) -> usize {
        let count = burst.len();
        burst.free(pool);
        self.under_way -= count.min(self.under_way);
        // Nobody else writes it.
        let before = self.shared.answered.load(Ordering::Relaxed);
        self.shared.answered.store(before + count as u64, Ordering::Relaxed);
        count
    }

    fn reclaim(&mut self, _now: Instant, _pool: &mut Pool) -> usize {
        0
    }

    fn release(&mut self, _pool: &mut Pool) {}

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn counts(&self) -> DeviceCounts {
        DeviceCounts { tx_packets: self.shared.answered(), ..DeviceCounts::default() }
    }
}
