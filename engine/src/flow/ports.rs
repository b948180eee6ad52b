//! Local ports: who has which, and which are free.

use corewire_drivers::env::Rng;

/// For each of the 65,536 ports the first of the sockets that have it: 256 KiB, of which a port in
/// use touches one cache line. Sockets of one port are chained by their table.
#[derive(Debug)]
pub struct PortTable {
    first: Box<[u32]>,
    ephemeral: std::ops::RangeInclusive<u16>,
}

const NONE: u32 = u32::MAX;

/// The ports for sockets that did not ask for one (RFC 6335 §6: the dynamic ports).
pub const EPHEMERAL: std::ops::RangeInclusive<u16> = 49152..=65535;

impl PortTable {
    /// No port is taken. Sockets that don't ask for a port get one in `ephemeral`.
    #[must_use]
    pub fn new(ephemeral: std::ops::RangeInclusive<u16>) -> Self {
        Self { first: vec![NONE; 1 << 16].into(), ephemeral }
    }

    /// The first socket that has `port`.
    #[inline]
    #[must_use]
    pub fn first(&self, port: u16) -> Option<u32> {
        let slot = self.first[usize::from(port)];
        (slot != NONE).then_some(slot)
    }

    /// Makes `slot` the first socket of `port`, or says that nobody has the port.
    pub fn set(&mut self, port: u16, slot: Option<u32>) {
        self.first[usize::from(port)] = slot.unwrap_or(NONE);
    }

    /// A port that nobody has, none that a stranger could guess: a random place in the range, and
    /// from there the next free one (RFC 6056 §3.3.1). `None` when all are taken.
    pub fn unused(&self, rng: &mut Rng) -> Option<u16> {
        let (low, high) = (*self.ephemeral.start(), *self.ephemeral.end());
        let count = u32::from(high.checked_sub(low)?) + 1;
        let start = rng.below(count);
        (0..count)
            // Below 65,536: low + count - 1 is high.
            .map(|step| (u32::from(low) + (start + step) % count) as u16)
            .find(|port| self.first(*port).is_none() && *port != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_finds_the_last_free_port_and_then_none() {
        let mut ports = PortTable::new(1000..=1003);
        let mut rng = Rng::from_seed(3);
        for taken in 0..4 {
            let port = ports.unused(&mut rng).expect("one of four");
            assert!((1000..=1003).contains(&port));
            ports.set(port, Some(taken));
        }
        assert_eq!(ports.unused(&mut rng), None);
        ports.set(1002, None);
        assert_eq!(ports.unused(&mut rng), Some(1002));
        assert_eq!(ports.first(1002), None);
    }

    #[test]
    fn the_range_may_reach_the_last_port() {
        let ports = PortTable::new(65535..=65535);
        assert_eq!(ports.unused(&mut Rng::from_seed(1)), Some(65535));
    }
}
