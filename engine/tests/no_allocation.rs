//! No allocation per packet: an allocator counts, and thousands of datagrams cost none.

#[path = "support/counting.rs"]
mod counting;
#[path = "support/engines.rs"]
mod engines;

use std::sync::Mutex;
use std::time::Duration;

use counting::Counting;

use corewire::inline::{Application, Datagram, InlineWorker, Turn};
use corewire::runtime::config::{Idle, Turner};
use corewire_drivers::cable::CableEnd;
use engines::{PATIENCE, at, builder, pair, wait_for};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

/// The allocator counts for the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `work` twice, and says how often it allocated in the second run: the first one fills
/// what is kept.
fn allocations(mut work: impl FnMut()) -> usize {
    work();
    let before = ALLOCATOR.count();
    work();
    ALLOCATOR.count() - before
}

struct Echo;

impl Application for Echo {
    fn on_datagram(&mut self, turn: &mut Turn<'_>, datagram: Datagram<'_>) {
        datagram.answer(turn).expect("sent");
    }
}

#[derive(Default)]
struct Count(usize);

impl Application for Count {
    fn on_datagram(&mut self, _turn: &mut Turn<'_>, _datagram: Datagram<'_>) {
        self.0 += 1;
    }
}

#[test]
fn inline() {
    let _alone = ALONE.lock();
    let (a, b) = CableEnd::pair(1500, 1024);
    let mut a = InlineWorker::new(builder(1, a), Count::default()).expect("a worker");
    let mut b = InlineWorker::new(builder(2, b), Echo).expect("a worker");
    b.with_turn(|turn, _| turn.udp_bind(at(2, 7))).expect("a port");
    let (socket, _) = a.with_turn(|turn, _| turn.udp_bind(at(1, 0))).expect("a port");
    let count = allocations(|| {
        for _ in 0..1000 {
            let before = a.application().0;
            a.with_turn(|turn, _| turn.udp_send(socket, at(2, 7), 64, |to| to.fill(1)))
                .expect("sent");
            while a.application().0 == before {
                a.turn();
                b.turn();
            }
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn zero_copy() {
    let _alone = ALONE.lock();
    let (a, b) = pair(Turner::CallerDriven, Idle::default());
    let (client, server) = (a.context().expect("one"), b.context().expect("one"));
    let from = client.udp_bind(at(1, 0)).expect("a port");
    let to = server.udp_bind(at(2, 7)).expect("a port");
    let count = allocations(|| {
        for _ in 0..1000 {
            let mut buffer = wait_for("a buffer", || from.buffer().ok());
            buffer.fill_from(&[1; 64]);
            from.send_to(buffer, at(2, 7)).expect("sent");
            client.flush();
            let datagram = wait_for("a question", || to.recv().expect("no error"));
            to.answer(datagram).expect("sent");
            server.flush();
            // Dropped, not given back: that costs none either.
            drop(wait_for("an answer", || from.recv().expect("no error")));
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn net() {
    let _alone = ALONE.lock();
    let (a, b) = pair(Turner::Dedicated, Idle::Interrupt);
    let (client, server) = (a.udp("10.0.0.1:0").expect("one"), b.udp("10.0.0.2:7").expect("one"));
    client.set_read_timeout(Some(PATIENCE)).expect("set");
    server.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut bytes = [0; 64];
    let count = allocations(|| {
        for _ in 0..200 {
            // Asleep and woken by turns: neither allocates.
            client.send_to(&[1; 64], at(2, 7)).expect("sent");
            let (len, peer) = server.recv_from(&mut bytes).expect("a question");
            server.send_to(&bytes[..len], peer).expect("sent");
            client.recv(&mut bytes).expect("an answer");
        }
        std::thread::sleep(Duration::from_millis(1));
    });
    assert_eq!(count, 0);
}
