//! How many frames, and why so many.

use std::fmt;

use corewire_drivers::env::limits::{BURST, RESERVE, TRANSMIT_CREDITS};
use corewire_drivers::mem::{FRAME_INDEX_BITS, FrameSize};

use super::{Config, ConfigError, DEFAULT_LOANS};

/// The frames of one worker.
///
/// frames = queues × (fill + RX + TX + completion) + contexts × credit + loans + reserve:
/// wherever frames can be at once, there are enough for all places at once. So no ring runs dry
/// because another is full.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Memory {
    /// Queues of the worker.
    pub queues: u32,
    /// Free frames with the kernel, a queue.
    pub fill: u32,
    /// Received and not yet read, a queue.
    pub rx: u32,
    /// To be sent, a queue.
    pub tx: u32,
    /// Sent and not yet reclaimed, a queue.
    pub completion: u32,
    /// Applications' contexts.
    pub contexts: u32,
    /// Empty frames that a context holds to write into.
    pub credit: u32,
    /// Received frames that applications hold.
    pub loans: u32,
    /// Frames with which the stack still speaks when all others are taken.
    pub reserve: u32,
    /// Bytes of a frame.
    pub frame_size: FrameSize,
    /// Frames in all, if the configuration says so.
    pub chosen: Option<u32>,
}

impl Memory {
    pub(super) fn new(config: &Config, queues: u32) -> Result<Self, ConfigError> {
        let (rings, fill) = config.queue_sizes();
        let memory = Self {
            queues,
            fill,
            rx: rings.rx,
            tx: rings.tx,
            completion: rings.completion,
            contexts: config.contexts,
            credit: TRANSMIT_CREDITS as u32,
            loans: config.loans.unwrap_or(DEFAULT_LOANS),
            reserve: RESERVE as u32,
            frame_size: config.frame_size,
            chosen: config.frames,
        };
        if fill < BURST as u32 || fill > rings.fill {
            return Err(ConfigError::Fill { frames: fill, ring: rings.fill });
        }
        let (frames, least) = (memory.frames_wide(), memory.least());
        if frames > 1 << FRAME_INDEX_BITS {
            return Err(ConfigError::TooManyFrames { memory, frames });
        }
        if frames < least {
            return Err(ConfigError::TooFewFrames { memory, frames, least });
        }
        Ok(memory)
    }

    /// Frames in all.
    #[must_use]
    pub fn frames(&self) -> u32 {
        u32::try_from(self.frames_wide()).unwrap_or(u32::MAX)
    }

    /// Bytes of the frames: what is locked, and counts against RLIMIT_MEMLOCK.
    #[must_use]
    pub fn locked_bytes(&self) -> u64 {
        self.frames_wide() * self.frame_size.bytes() as u64
    }

    /// In 64 bits, in which nothing that is configured can overflow.
    fn frames_wide(&self) -> u64 {
        let of_a_queue = [self.fill, self.rx, self.tx, self.completion].map(u64::from);
        let formula = u64::from(self.queues) * of_a_queue.iter().sum::<u64>()
            + u64::from(self.contexts) * u64::from(self.credit)
            + u64::from(self.loans)
            + u64::from(self.reserve);
        self.chosen.map_or(formula, u64::from)
    }

    /// With fewer nothing works: every fill ring full, the reserve, and a burst in hand.
    fn least(&self) -> u64 {
        u64::from(self.queues) * (u64::from(self.fill) + BURST as u64) + u64::from(self.reserve)
    }
}

/// The formula with its numbers, and what it costs.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queues, fill, rx, tx, completion, contexts, credit, loans, reserve, .. } = self;
        let (frames, size) = (self.frames_wide(), self.frame_size.bytes());
        let mib = self.locked_bytes() as f64 / f64::from(1 << 20);
        write!(f, "{frames} frames of {size} B, {mib:.1} MiB locked ")?;
        if self.chosen.is_some() {
            return f.write_str("(as configured)");
        }
        write!(
            f,
            "= {queues} × ({fill} fill + {rx} RX + {tx} TX + {completion} completion) \
             + {contexts} contexts × {credit} credit + {loans} loans + {reserve} reserve"
        )
    }
}
