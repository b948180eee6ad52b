//! What the workers counted.

use std::sync::Arc;

use corewire_drivers::env::{Counter, Counters, DropReason};

/// What the workers counted, to be read at any time.
#[derive(Clone, Debug)]
pub struct Stats {
    pub(super) workers: Vec<Arc<Counters>>,
}

impl Stats {
    /// A counter, summed over all workers.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.workers.iter().map(|counters| counters.get(counter)).sum()
    }

    /// How many packets died of `reason`.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.workers.iter().map(|counters| counters.dropped(reason)).sum()
    }

    /// How many packets died.
    #[must_use]
    pub fn all_drops(&self) -> u64 {
        self.workers.iter().map(|counters| counters.all_drops()).sum()
    }

    /// Each worker's numbers.
    #[must_use]
    pub fn workers(&self) -> &[Arc<Counters>] {
        &self.workers
    }
}
