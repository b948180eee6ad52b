//! What does not fit together, and how to mend it.

use std::fmt;
use std::ops::RangeInclusive;

use corewire_drivers::env::limits::BURST;
use corewire_drivers::mem::FRAME_INDEX_BITS;

use super::Memory;
use crate::control::snapshot::{MAX_INTERFACES, SnapshotError};

/// What does not fit together. The message names the remedy.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// No interface at all.
    NoInterface,
    /// More interfaces than an engine can name.
    TooManyInterfaces(usize),
    /// The same interface twice.
    RepeatedInterface(String),
    /// An interface without a queue.
    NoQueue(String),
    /// The same queue twice.
    RepeatedQueue {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// Port 0, or an address, in mode `ports`.
    PortZero(String),
    /// Pinned workers that application threads turn.
    CallerOnCores,
    /// Not as many cores as workers.
    CoreCount {
        /// Cores given.
        cores: usize,
        /// Workers, of which the interface with most queues decides.
        workers: usize,
    },
    /// The same core twice.
    RepeatedCore(usize),
    /// No port for sockets that ask for none.
    Ephemeral(RangeInclusive<u16>),
    /// No application could use the engine.
    NoContexts,
    /// More free frames than the ring holds, or less than a burst.
    Fill {
        /// Frames asked for.
        frames: u32,
        /// Entries of the ring.
        ring: u32,
    },
    /// More frames than an index can name.
    TooManyFrames {
        /// How they come about.
        memory: Memory,
        /// The sum.
        frames: u64,
    },
    /// Not enough frames to work with.
    TooFewFrames {
        /// What they are for.
        memory: Memory,
        /// The frames asked for.
        frames: u64,
        /// The least that works.
        least: u64,
    },
    /// Addresses, routes or neighbours that do not fit together.
    Snapshot(SnapshotError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterface => {
                f.write_str("no interface is configured: add one with Config::interface")
            }
            Self::TooManyInterfaces(count) => {
                write!(f, "{count} interfaces: one engine takes {MAX_INTERFACES}; start another")
            }
            Self::RepeatedInterface(name) => {
                write!(f, "{name} is configured twice: give it several queues instead")
            }
            Self::NoQueue(name) => {
                write!(f, "{name} has no queue: name at least one, or leave out `queues`")
            }
            Self::RepeatedQueue { interface, queue } => {
                write!(f, "queue {queue} of {interface} is named twice: one worker has it")
            }
            Self::PortZero(name) => write!(
                f,
                "{name} takes ports of the kernel's addresses: name ports from 1 to 65535, or \
                 use Interface::address for an address of the engine's own"
            ),
            Self::CallerOnCores => f.write_str(
                "caller-driven workers run on the application's threads: pin those, and leave \
                 out `cores`",
            ),
            Self::CoreCount { cores, workers } => write!(
                f,
                "{cores} cores for {workers} workers: name a core for each, or none at all \
                 (there are as many workers as the interface with most queues has queues)"
            ),
            Self::RepeatedCore(core) => {
                write!(f, "core {core} is named twice: two workers would share it")
            }
            Self::Ephemeral(range) => write!(
                f,
                "{} to {} is no range of ports: sockets that ask for no port need one, as 61000 \
                 to 65535",
                range.start(),
                range.end()
            ),
            Self::NoContexts => {
                f.write_str("no contexts: no application could use the engine; allow at least 1")
            }
            Self::Fill { frames, ring } => write!(
                f,
                "{frames} frames for a fill ring of {ring} entries: use {BURST} to {ring}"
            ),
            Self::TooManyFrames { memory, frames } => write!(
                f,
                "{frames} frames a worker, of which there can be {}: use smaller rings, fewer \
                 contexts or loans ({memory})",
                1 << FRAME_INDEX_BITS
            ),
            Self::TooFewFrames { memory: Memory { queues, fill, reserve, .. }, frames, least } => {
                write!(
                    f,
                    "{frames} frames a worker are too few: {queues} × ({fill} fill + {BURST} in \
                     hand) + {reserve} reserve = {least}; use more, or a smaller fill"
                )
            }
            Self::Snapshot(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConfigError {}
