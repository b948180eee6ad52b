//! Two devices joined in memory.
//!
//! What one end sends, the other receives, in order. Each end may serve another worker on another
//! core: no frame is shared between workers, so a cable copies the bytes from the sender's frame
//! into the receiver's, once, and sends the frame back. That copy is what the wire would do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::device::{Burst, Capabilities, Device, DeviceCounts, LinkKind};
use crate::env::Instant;
use crate::mem::{Frame, Packet, Pool, Region};

/// One end of a cable.
#[derive(Debug)]
pub struct CableEnd {
    capabilities: Capabilities,
    counts: DeviceCounts,
    outward: Arc<Mutex<Wire>>,
    inward: Arc<Mutex<Wire>>,
    /// Frames taken off the wire. The bytes of the first so many have been copied.
    arrived: Vec<Carried>,
    copied: usize,
    /// Whose frames they are.
    region: Option<Arc<Region>>,
    /// Frames of ours that came home.
    home: Vec<Carried>,
}

/// One direction of a cable.
#[derive(Debug)]
struct Wire {
    /// Sent and not yet received.
    queue: Vec<Carried>,
    /// Received: these go back to the sender's pool.
    done: Vec<Carried>,
    /// The sender's frames.
    region: Option<Arc<Region>>,
    /// Frames that may be in flight.
    capacity: usize,
}

/// One frame in flight: the sender's token, which lets the receiver read it.
#[derive(Debug)]
struct Carried {
    frame: Frame,
    /// Whether the packet goes on in the next frame.
    more: bool,
    kept: bool,
}

impl CableEnd {
    /// A cable's two ends, with room for `capacity` frames a direction; what is sent beyond that
    /// stays with the sender. `mtu` is the largest IP packet. The ends have the locally
    /// administered MAC addresses 02:00:00:00:00:01 and :02.
    #[must_use]
    pub fn pair(mtu: usize, capacity: usize) -> (Self, Self) {
        let (a, b) = (Wire::shared(capacity), Wire::shared(capacity));
        (Self::new(1, mtu, a.clone(), b.clone()), Self::new(2, mtu, b, a))
    }

    fn new(end: u8, mtu: usize, outward: Arc<Mutex<Wire>>, inward: Arc<Mutex<Wire>>) -> Self {
        let capacity = lock(&outward).capacity;
        Self {
            capabilities: Capabilities {
                link: LinkKind::Ethernet,
                mac: [2, 0, 0, 0, 0, end],
                mtu,
                max_tx_frames: crate::env::limits::MAX_PACKET_FRAMES,
                checksums_trusted: false,
                name: format!("cable end {end}"),
            },
            counts: DeviceCounts::default(),
            outward,
            inward,
            arrived: Vec::with_capacity(capacity),
            copied: 0,
            region: None,
            home: Vec::with_capacity(capacity),
        }
    }

    /// Copies the next packet of those that arrived into frames of `pool`.
    #[inline]
    fn receive(&mut self, pool: &mut Pool, region: &Region) -> Option<Packet> {
        let mut packet: Option<Packet> = None;
        while let Some(carried) = self.arrived.get(self.copied) {
            self.copied += 1;
            match (copy(pool, region, &carried.frame), &mut packet) {
                (Some(frame), None) => packet = Some(frame.into()),
                (Some(frame), Some(packet)) => {
                    if let Err(frame) = pool.append(packet, frame) {
                        pool.give(frame);
                    }
                }
                (None, _) => self.counts.rx_no_frame += 1,
            }
            if !carried.more {
                break;
            }
        }
        packet
    }
}

impl Device for CableEnd {
    fn rx_burst(&mut self, _now: Instant, pool: &mut Pool, burst: &mut Burst) -> usize {
        if self.copied == self.arrived.len() {
            let mut wire = lock(&self.inward);
            // What has been copied goes home, and what was sent meanwhile is taken off the wire.
            wire.done.append(&mut self.arrived);
            self.copied = 0;
            std::mem::swap(&mut self.arrived, &mut wire.queue);
            if self.arrived.is_empty() {
                return 0;
            }
            self.region.clone_from(&wire.region);
        }
        let Some(region) = self.region.take() else { return 0 };
        let before = burst.len();
        while burst.room() > 0 && self.copied < self.arrived.len() {
            let Some(packet) = self.receive(pool, &region) else { continue };
            self.counts.rx_packets += 1;
            self.counts.rx_bytes += packet.len() as u64;
            if let Err(packet) = burst.push(packet) {
                pool.free(packet);
            }
        }
        self.region = Some(region);
        burst.len() - before
    }

    fn tx_burst(&mut self, _now: Instant, pool: &mut Pool, burst: &mut Burst) -> usize {
        if burst.is_empty() {
            return 0;
        }
        let mut wire = lock(&self.outward);
        if wire.region.is_none() {
            wire.region = Some(pool.region().clone());
        }
        let room = wire.capacity.saturating_sub(wire.queue.len());
        let frames: usize = burst.as_slice().iter().map(Packet::frame_count).sum();
        let count = if frames <= room { burst.len() } else { that_fit(burst.as_slice(), room) };
        for packet in burst.take_front(count) {
            self.counts.tx_packets += 1;
            self.counts.tx_bytes += packet.len() as u64;
            let kept = packet.is_kept();
            let mut rest = match packet.into_frame() {
                Ok(frame) => {
                    wire.queue.push(Carried { frame, more: false, kept });
                    continue;
                }
                Err(packet) => Some(packet),
            };
            while let Some(packet) = rest {
                let (frame, others) = pool.detach(packet);
                wire.queue.push(Carried { frame, more: others.is_some(), kept });
                rest = others;
            }
        }
        count
    }

    fn reclaim(&mut self, _now: Instant, pool: &mut Pool) -> usize {
        std::mem::swap(&mut self.home, &mut lock(&self.outward).done);
        let count = self.home.len();
        self.home.drain(..).for_each(|carried| pool.sent(carried.frame, carried.kept));
        count
    }

    fn release(&mut self, pool: &mut Pool) {
        self.reclaim(Instant::ZERO, pool);
        let mut wire = lock(&self.outward);
        wire.queue.drain(..).for_each(|carried| pool.sent(carried.frame, carried.kept));
        drop(wire);
        let mut wire = lock(&self.inward);
        wire.done.append(&mut self.arrived);
        self.copied = 0;
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn counts(&self) -> DeviceCounts {
        self.counts
    }
}

impl Wire {
    fn shared(capacity: usize) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            queue: Vec::with_capacity(capacity),
            done: Vec::with_capacity(capacity),
            region: None,
            capacity,
        }))
    }
}

/// How many packets from the front have no more than `room` frames together.
fn that_fit(packets: &[Packet], mut room: usize) -> usize {
    let fits = packets.iter().take_while(|packet| {
        let fits = packet.frame_count() <= room;
        room = room.saturating_sub(packet.frame_count());
        fits
    });
    fits.count()
}

/// The frame's bytes in a frame of the receiver's.
#[inline]
fn copy(pool: &mut Pool, region: &Region, source: &Frame) -> Option<Frame> {
    let mut frame = pool.take()?;
    frame.set_range(frame.head(), source.len());
    if usize::from(frame.head()) + usize::from(source.len()) > pool.region().frame_size() {
        pool.give(frame);
        return None;
    }
    pool.region().bytes_mut(&mut frame).copy_from_slice(region.bytes(source));
    Some(frame)
}

/// A panic on the other end's thread leaves the queue whole: no operation on it is half done.
fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{Pages, RegionConfig};

    fn pool() -> Pool {
        let config = RegionConfig { frames: 64, pages: Pages::Plain, ..RegionConfig::default() };
        Pool::new(Region::new(&config).expect("a small region")).expect("its first pool")
    }

    fn frame(pool: &mut Pool, bytes: &[u8]) -> Frame {
        let mut frame = pool.take().expect("a frame");
        frame.set_range(frame.head(), bytes.len() as u16);
        pool.region().bytes_mut(&mut frame).copy_from_slice(bytes);
        frame
    }

    #[test]
    fn packets_cross_in_order_and_frames_come_home() {
        let ((mut a, mut b), mut here, mut there) = (CableEnd::pair(1500, 8), pool(), pool());
        let mut burst = Burst::new();
        for mark in 0..10 {
            burst.push(frame(&mut here, &[mark; 60]).into()).expect("room");
        }
        assert_eq!(a.tx_burst(Instant::ZERO, &mut here, &mut burst), 8);
        assert_eq!(burst.len(), 2, "what does not fit stays with the sender");
        let mut received = Burst::new();
        assert_eq!(b.rx_burst(Instant::ZERO, &mut there, &mut received), 8);
        for (mark, packet) in (0..).zip(received.as_slice()) {
            assert_eq!(there.bytes(packet), &[mark; 60]);
        }
        assert_eq!(a.reclaim(Instant::ZERO, &mut here), 0, "they are handed back next turn");
        b.rx_burst(Instant::ZERO, &mut there, &mut received);
        assert_eq!(a.reclaim(Instant::ZERO, &mut here), 8);
        received.free(&mut there);
        burst.free(&mut here);
        assert!(here.is_conserved() && there.is_conserved());
        assert_eq!((here.free_count(), there.free_count()), (64, 64));
    }

    #[test]
    fn a_packet_of_several_frames_arrives_whole_and_a_kept_one_is_kept() {
        let ((mut a, mut b), mut here, mut there) = (CableEnd::pair(9000, 8), pool(), pool());
        let mut packet = Packet::from(frame(&mut here, &[1; 100]));
        let second = frame(&mut here, &[2; 50]);
        here.append(&mut packet, second).expect("room");
        packet.keep();
        let (mut burst, mut received) = (Burst::new(), Burst::new());
        burst.push(packet).expect("room");
        a.tx_burst(Instant::ZERO, &mut here, &mut burst);
        b.rx_burst(Instant::ZERO, &mut there, &mut received);
        let whole: Vec<u8> = there.segments(&received.as_slice()[0]).flatten().copied().collect();
        assert_eq!(whole, [&[1; 100][..], &[2; 50]].concat());
        received.free(&mut there);
        b.release(&mut there);
        assert_eq!(a.reclaim(Instant::ZERO, &mut here), 2);
        assert_eq!(here.free_count(), 62);
        while let Some(frame) = here.next_kept() {
            here.give(frame);
        }
        assert_eq!(here.free_count(), 64);
    }
}
