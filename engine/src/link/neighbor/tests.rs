use super::*;
use crate::packet::MacAddr;
use corewire_drivers::mem::{Pages, Pool, Region, RegionConfig};

const ETH: InterfaceId = InterfaceId(0);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 66]);

struct Bed {
    neighbors: Neighbors,
    pool: Pool,
    rng: Rng,
    now: Instant,
}

impl Bed {
    fn new() -> Self {
        let config = RegionConfig { frames: 64, pages: Pages::Plain, ..RegionConfig::default() };
        let pool = Pool::new(Region::new(&config).expect("memory")).expect("the first pool");
        let mut rng = Rng::from_seed(1);
        let neighbors = Neighbors::new(HashKey::new(&mut rng));
        Self { neighbors, pool, rng, now: Instant::from_nanos(1) }
    }

    fn packet(&mut self) -> Packet {
        self.pool.take().expect("a frame").into()
    }

    fn learn(&mut self, host: u32, mac: MacAddr, evidence: Evidence) -> usize {
        let key = (ETH, address(host));
        let waiting = self.neighbors.learn(self.now, key, mac, evidence, &mut self.rng);
        waiting.into_iter().flatten().map(|packet| self.pool.free(packet)).count()
    }

    /// Questions asked and packets given up, up to now.
    fn due(&mut self) -> (usize, usize) {
        let (mut asked, mut failed) = (0, 0);
        while let Some(due) = self.neighbors.due(self.now) {
            match due {
                Due::Solicit { .. } => asked += 1,
                Due::Failed(packet) => {
                    self.pool.free(packet);
                    failed += 1;
                }
            }
        }
        (asked, failed)
    }
}

fn address(host: u32) -> IpAddr {
    IpAddr::V4((0x0a00_0000 + host).into())
}

#[test]
fn the_newest_packets_wait_and_go_when_the_answer_comes() {
    let mut bed = Bed::new();
    let neighbor = bed.neighbors.find(bed.now, ETH, address(1)).expect("room");
    let indices: Vec<_> = (0..5)
        .map(|_| {
            let packet = bed.packet();
            let index = packet.first().index();
            if let Err(oldest) = bed.neighbors.wait(neighbor, packet) {
                bed.pool.free(oldest);
            }
            index
        })
        .collect();
    assert_eq!(bed.neighbors.resolve(bed.now, neighbor), Resolution::Pending);
    let key = (ETH, address(1));
    let out = bed.neighbors.learn(bed.now, key, MAC, Evidence::Answer, &mut bed.rng);
    let out: Vec<_> = out.iter().flatten().map(|packet| packet.first().index()).collect();
    assert_eq!(out, indices[2..]);
    assert_eq!(bed.neighbors.resolve(bed.now, neighbor), Resolution::Known(MAC));
}

#[test]
fn silence_is_three_questions_an_error_and_then_a_new_start() {
    let mut bed = Bed::new();
    let neighbor = bed.neighbors.find(bed.now, ETH, address(1)).expect("room");
    let packet = bed.packet();
    bed.neighbors.wait(neighbor, packet).expect("room");
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(bed.due());
        bed.now += RETRY;
    }
    assert_eq!(seen, [(1, 0), (1, 0), (1, 0), (0, 1)]);
    assert_eq!(bed.neighbors.resolve(bed.now, neighbor), Resolution::Unreachable);
    bed.now += NEGATIVE;
    bed.due();
    assert_eq!(bed.neighbors.resolve(bed.now, neighbor), Resolution::Forgotten);
    assert_eq!(bed.neighbors.next_event(), Instant::FAR_FUTURE);
    assert!(bed.pool.is_conserved() && bed.pool.free_count() == 64);
}

#[test]
fn a_stale_neighbour_is_used_while_it_is_probed() {
    let mut bed = Bed::new();
    let neighbor = bed.neighbors.find(bed.now, ETH, address(1)).expect("room");
    bed.learn(1, MAC, Evidence::Answer);
    bed.now += REACHABLE * 2;
    assert_eq!(bed.due(), (0, 0), "nobody has used it");
    assert_eq!(bed.neighbors.resolve(bed.now, neighbor), Resolution::Known(MAC));
    bed.now += DELAY;
    let due = bed.neighbors.due(bed.now);
    let question = Due::Solicit { interface: ETH, address: address(1), known: Some(MAC) };
    assert_eq!(due, Some(question));
    bed.learn(1, MAC, Evidence::Answer);
    bed.now += RETRY * 5;
    assert_eq!(bed.due(), (0, 0));
    assert_eq!(bed.neighbors.resolve(bed.now, neighbor), Resolution::Known(MAC));
}

#[test]
fn who_lies_about_a_fresh_neighbour_is_not_believed_at_once() {
    let mut bed = Bed::new();
    let neighbor = bed.neighbors.find(bed.now, ETH, address(1)).expect("room");
    bed.learn(1, MAC, Evidence::Answer);
    for _ in 0..10_000 {
        bed.learn(1, OTHER, Evidence::Unsolicited);
    }
    assert_eq!(bed.neighbors.resolve(bed.now, neighbor), Resolution::Known(MAC));
    assert_eq!(bed.neighbors.conflicts(), 10_000);
    bed.now += LOCK;
    bed.learn(1, OTHER, Evidence::Unsolicited);
    assert_eq!(bed.neighbors.resolve(bed.now, neighbor), Resolution::Forgotten);
    assert!(!bed.neighbors.is_ready(bed.now, neighbor), "headers for the old address are void");
    let neighbor = bed.neighbors.find(bed.now, ETH, address(1)).expect("it is there");
    assert_eq!(bed.neighbors.resolve(bed.now, neighbor), Resolution::Known(OTHER));
}

#[test]
fn an_answer_out_of_the_blue_makes_no_entry() {
    let mut bed = Bed::new();
    bed.learn(1, MAC, Evidence::Answer);
    assert!(bed.neighbors.is_empty());
}

#[test]
fn a_sweep_of_the_network_pushes_nobody_out() {
    let mut bed = Bed::new();
    let friend = bed.neighbors.find(bed.now, ETH, address(1)).expect("room");
    bed.learn(1, MAC, Evidence::Answer);
    for host in 2..100_000 {
        bed.now += Duration::from_nanos(1);
        assert!(bed.neighbors.find(bed.now, ETH, address(host)).is_ok());
    }
    assert_eq!(bed.neighbors.len(), CAPACITY);
    assert_eq!(bed.neighbors.resolve(bed.now, friend), Resolution::Known(MAC));
    assert!(bed.neighbors.entries.len() <= CAPACITY);
}

#[test]
fn a_table_full_of_neighbours_that_answer_refuses_a_stranger() {
    let mut bed = Bed::new();
    for host in 0..CAPACITY as u32 {
        bed.neighbors.find(bed.now, ETH, address(host)).expect("room");
        bed.learn(host, MAC, Evidence::Answer);
    }
    let stranger = bed.neighbors.find(bed.now, ETH, address(70_000));
    assert_eq!(stranger, Err(DropReason::NeighborQueueFull));
    bed.learn(70_001, MAC, Evidence::Unsolicited);
    assert_eq!(bed.neighbors.len(), CAPACITY);
}

#[test]
fn a_permanent_neighbour_is_not_argued_with() {
    let mut bed = Bed::new();
    let neighbor = bed.neighbors.find(bed.now, ETH, address(1)).expect("room");
    bed.learn(1, MAC, Evidence::Permanent);
    bed.now += REACHABLE * 10;
    bed.learn(1, OTHER, Evidence::Answer);
    bed.learn(1, OTHER, Evidence::Unsolicited);
    assert_eq!(bed.neighbors.resolve(bed.now, neighbor), Resolution::Known(MAC));
    assert_eq!(bed.due(), (0, 0));
}

#[test]
fn strangers_who_once_asked_make_room_for_whom_we_want() {
    let mut bed = Bed::new();
    for host in 0..CAPACITY as u32 {
        bed.learn(host, MAC, Evidence::Unsolicited);
    }
    bed.learn(50_000, MAC, Evidence::Unsolicited);
    assert!(!bed.neighbors.knows(ETH, address(50_000)), "nobody is thrown out for a stranger");
    for host in 70_000..71_000 {
        bed.neighbors.find(bed.now, ETH, address(host)).expect("a stranger makes room");
    }
}

#[test]
fn a_neighbour_that_does_not_answer_makes_room_and_its_packets_come_out() {
    let mut bed = Bed::new();
    for host in 0..CAPACITY as u32 {
        let neighbor = bed.neighbors.find(bed.now, ETH, address(host)).expect("room");
        if host % 17 == 0 && bed.pool.free_count() > 0 {
            let packet = bed.packet();
            bed.neighbors.wait(neighbor, packet).expect("room");
        } else {
            bed.learn(host, MAC, Evidence::Answer);
        }
    }
    let waiting = 64 - bed.pool.free_count();
    for host in 0..waiting as u32 {
        bed.neighbors.find(bed.now, ETH, address(70_000 + host)).expect("one makes room");
    }
    let out = std::iter::from_fn(|| bed.neighbors.next_given_up()).collect::<Vec<_>>();
    assert_eq!(out.len(), 1, "the newcomers keep no packet and go first");
    out.into_iter().for_each(|packet| bed.pool.free(packet));
}
