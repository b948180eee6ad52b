//! Two engines, each with threads, contexts and sockets, over a cable in memory: whoever turner
//! the workers and whatever they do while they are idle.

#[path = "support/engines.rs"]
mod engines;

use std::sync::Barrier;
use std::time::Duration;

use corewire::Engine;
use corewire::runtime::config::{Idle, Turner};
use engines::{PATIENCE, at, pair};

const ADAPTIVE: Idle = Idle::Adaptive { spin: Duration::from_micros(50) };

const EVERY: [(Turner, Idle); 6] = [
    (Turner::Dedicated, Idle::Spin),
    (Turner::Dedicated, ADAPTIVE),
    (Turner::Dedicated, Idle::Interrupt),
    (Turner::CallerDriven, Idle::Spin),
    (Turner::CallerDriven, ADAPTIVE),
    (Turner::CallerDriven, Idle::Interrupt),
];

/// Answers `count` datagrams.
fn echo(engine: &Engine, count: usize, bound: &Barrier) {
    let context = engine.context().expect("a context");
    let socket = context.udp_bind(at(2, 7)).expect("a port");
    bound.wait();
    let mut answered = 0;
    while answered < count {
        while let Some(datagram) = socket.recv().expect("no error") {
            assert_eq!(datagram.local(), at(2, 7));
            socket.answer(datagram).expect("sent");
            answered += 1;
        }
        assert!(
            answered == count || context.wait(Some(PATIENCE)).expect("poll works"),
            "{answered} answered: {}",
            engines::counted(engine)
        );
    }
}

/// Sends `count` datagrams, `window` at a time, and checks every answer.
fn ask(engine: &Engine, count: u32, window: u32) {
    let context = engine.context().expect("a context");
    let socket = context.udp_bind(at(1, 0)).expect("a port");
    assert!(socket.local_addr().expect("it is there").port() >= 49_152);
    let (mut sent, mut received) = (0, 0);
    while received < count {
        while sent < count && sent < received + window {
            let Ok(mut buffer) = socket.buffer() else { break };
            buffer.fill_from(&sent.to_be_bytes());
            socket.send_to(buffer, at(2, 7)).expect("sent");
            sent += 1;
        }
        while let Some(datagram) = socket.recv().expect("no error") {
            assert_eq!(datagram.peer(), at(2, 7));
            assert_eq!(*datagram, received.to_be_bytes());
            socket.give_back(datagram);
            received += 1;
        }
        if sent == 0 || received < sent {
            assert!(
                context.wait(Some(PATIENCE)).expect("poll works"),
                "{received} received, {sent} sent: {}",
                engines::counted(engine),
            );
        }
    }
}

#[test]
fn every_turner_and_idle_policy_carries_an_echo() {
    for (turner, idle) in EVERY {
        let (a, b) = pair(turner, idle);
        // A first packet waits for ARP; three more would find the neighbour's queue full.
        // Four threads that spin on two cores take turner of milliseconds.
        let (count, window) = (if idle == Idle::Spin { 60 } else { 1_000 }, 3);
        let bound = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| echo(&b, count as usize, &bound));
            bound.wait();
            ask(&a, count, window);
        });
        let (a, b) = (a.shut_down(), b.shut_down());
        assert!(a.is_conserved() && b.is_conserved(), "{turner:?} {idle:?}: {a:?} {b:?}");
    }
}

#[test]
fn a_wait_ends_when_its_time_is_over() {
    for (turner, idle) in EVERY {
        let (a, _b) = pair(turner, idle);
        let context = a.context().expect("a context");
        let waited = context.wait(Some(Duration::from_millis(3))).expect("poll works");
        assert!(!waited, "{turner:?} {idle:?}");
    }
}
