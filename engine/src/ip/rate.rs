//! How many answers may go out that nobody asked for in particular (RFC 1812 §4.3.2.8).

use std::net::IpAddr;
use std::time::Duration;

use corewire_drivers::env::Instant;

use crate::flow::HashKey;

/// How many errors may go out: a bucket for all, and one for each of many groups of destinations
/// (RFC 1812 §4.3.2.8).
#[derive(Debug)]
pub struct ReplyLimit {
    key: HashKey,
    global: Bucket,
    destinations: Box<[Bucket]>,
}

/// Errors a second to everybody, and at once (Linux's icmp_msgs_per_sec and icmp_msgs_burst).
const GLOBAL_RATE: u32 = 1000;
const GLOBAL_BURST: u32 = 50;
/// Errors a second to one destination, and at once (Linux's icmp_ratelimit of one a second, with
/// the burst of six that its token bucket gives).
const DESTINATION_RATE: u32 = 1;
const DESTINATION_BURST: u32 = 6;
/// Destinations share buckets by their hash: 1,024 buckets are 16 KiB. Fewer, and one victim of a
/// spoofed flood silences others more often; more are colder.
const DESTINATION_BUCKETS: usize = 1024;

/// Buckets begin full: longer than the slowest takes to fill, added to every moment.
const FULL: Duration = Duration::from_secs(60);

#[derive(Copy, Clone, Debug)]
struct Bucket {
    /// Up to when tokens have been used.
    used_until: Instant,
}

impl ReplyLimit {
    pub(super) fn new(key: HashKey) -> Self {
        let empty = Bucket { used_until: Instant::ZERO };
        Self { key, global: empty, destinations: vec![empty; DESTINATION_BUCKETS].into() }
    }

    /// Whether one more may go to `destination` now.
    pub fn allow(&mut self, now: Instant, destination: IpAddr) -> bool {
        let now = now + FULL;
        let place = self.key.hash(&destination) as usize % DESTINATION_BUCKETS;
        let own = &mut self.destinations[place];
        // The own bucket first: a victim's flood must not use up what others may have.
        own.has(now, DESTINATION_RATE, DESTINATION_BURST)
            && self.global.has(now, GLOBAL_RATE, GLOBAL_BURST)
            && {
                self.global.take(now, GLOBAL_RATE, GLOBAL_BURST);
                self.destinations[place].take(now, DESTINATION_RATE, DESTINATION_BURST);
                true
            }
    }
}

impl Bucket {
    /// Whether a token is left, of `burst` at most and `rate` more each second.
    fn has(&self, now: Instant, rate: u32, burst: u32) -> bool {
        let token = Duration::from_secs(1) / rate;
        self.used_until.max(now - token * burst) + token <= now
    }

    fn take(&mut self, now: Instant, rate: u32, burst: u32) {
        let token = Duration::from_secs(1) / rate;
        self.used_until = self.used_until.max(now - token * burst) + token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corewire_drivers::env::Rng;

    fn allowed(
        limit: &mut ReplyLimit,
        now: Instant,
        destinations: impl Iterator<Item = u32>,
    ) -> usize {
        destinations.filter(|n| limit.allow(now, IpAddr::V4((*n).into()))).count()
    }

    #[test]
    fn one_destination_gets_its_burst_and_then_one_a_second() {
        let mut limit = ReplyLimit::new(HashKey::new(&mut Rng::from_seed(1)));
        let mut now = Instant::from_nanos(100_000_000_000);
        assert_eq!(allowed(&mut limit, now, std::iter::repeat_n(7, 100)), 6);
        now += Duration::from_secs(2);
        assert_eq!(allowed(&mut limit, now, std::iter::repeat_n(7, 100)), 2);
    }

    #[test]
    fn everybody_together_gets_the_global_rate() {
        let mut limit = ReplyLimit::new(HashKey::new(&mut Rng::from_seed(1)));
        let mut now = Instant::from_nanos(100_000_000_000);
        assert_eq!(allowed(&mut limit, now, 0..10_000), 50);
        now += Duration::from_millis(20);
        assert_eq!(allowed(&mut limit, now, 10_000..20_000), 20);
    }

    #[test]
    fn a_clock_at_its_beginning_has_a_full_bucket() {
        let mut limit = ReplyLimit::new(HashKey::new(&mut Rng::from_seed(1)));
        assert_eq!(allowed(&mut limit, Instant::ZERO, std::iter::repeat_n(7, 100)), 6);
    }
}
