//! A child that is forked while an engine runs has every handle and neither memory nor threads:
//! it may drop what it has, and the parent goes on.
#![allow(unsafe_code, reason = "fork(2) and _exit(2); on the allow-list of scripts/tidy")]

#[path = "support/engines.rs"]
mod engines;

use corewire::Engine;
use corewire::runtime::config::{Idle, Turner};
use corewire::zero_copy::{Context, RxBuf, TxBuf, UdpSocket};
use engines::{PATIENCE, at, pair, wait_for};

/// Runs `act` in a forked child, and says how that ended: 0 is well.
fn in_a_child(act: impl FnOnce()) -> i32 {
    // SAFETY: the child has this thread alone; what it calls takes no lock that another thread of
    // the test may hold, but for the allocator's, which glibc makes whole again in the child.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        // SAFETY: ends the child, without the test harness's exit handlers.
        unsafe { libc::_exit(i32::from(ended.is_err())) };
    }
    assert!(child > 0, "no child");
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    status
}

/// A value a second time, in a child that ends before it drops the first.
fn second<T>(value: &T) -> T {
    // SAFETY: called once for each value, in a child alone, which leaves by _exit: so each is
    // dropped once in that process.
    unsafe { std::ptr::read(value) }
}

fn datagram(context: &Context, socket: &UdpSocket<'_>) -> RxBuf {
    wait_for("a datagram", || {
        let _ = context.wait(Some(PATIENCE)).expect("poll works");
        socket.recv().expect("no error")
    })
}

fn buffer(context: &Context, socket: &UdpSocket<'_>) -> TxBuf {
    wait_for("a buffer", || {
        let buffer = socket.buffer().ok();
        if buffer.is_none() {
            context.wait(Some(PATIENCE)).expect("poll works");
        }
        buffer
    })
}

/// Everything that an application can hold is dropped in the child, in an order in which buffers
/// and sockets outlive nothing that they need.
fn fork_among(a: Engine, b: Engine) {
    let peer = b.udp("10.0.0.2:7").expect("a port");
    let context = a.context().expect("a context");
    let socket = context.udp_bind(at(1, 9)).expect("a port");
    let other = a.udp("10.0.0.1:10").expect("a port");
    peer.send_to(b"one", at(1, 9)).expect("sent");
    let received = datagram(&context, &socket);
    let written = buffer(&context, &socket);
    // One waits in the socket, unread, and one was published and not looked at.
    peer.send_to(b"two", at(1, 9)).expect("sent");
    let _ = context.wait(Some(PATIENCE)).expect("poll works");

    let status = in_a_child(|| {
        // What the child drops are its own copies: the parent's values are used below.
        drop(second(&received));
        drop(second(&written));
        drop(second(&socket));
        drop(second(&context));
        drop(second(&other));
        drop(second(&peer));
        assert!(second(&a).shut_down().conserved.is_empty());
        drop(second(&b));
    });
    assert_eq!(status, 0, "the child did not end well");

    assert_eq!(&*received, b"one");
    drop(received);
    drop(written);
    socket.answer(datagram(&context, &socket)).expect("sent");
    context.flush();
    peer.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut bytes = [0; 16];
    let (len, from) = peer.recv_from(&mut bytes).expect("an answer");
    assert_eq!((&bytes[..len], from), (&b"two"[..], at(1, 9)));
    other.send_to(b"three", at(2, 7)).expect("sent");
    assert_eq!(peer.recv_from(&mut bytes).expect("a datagram").1, at(1, 10));
    drop(socket);
    drop((context, other, peer));
    let (a, b) = (a.shut_down(), b.shut_down());
    assert!(a.is_conserved() && b.is_conserved(), "{a:?} {b:?}");
}

#[test]
fn a_forked_child_may_drop_everything_and_the_parent_goes_on() {
    for turner in [Turner::Dedicated, Turner::CallerDriven] {
        let (a, b) = pair(turner, Idle::default());
        fork_among(a, b);
    }
}

/// Engines of the child's own are not taken for its parent's.
#[test]
fn a_forked_child_may_have_an_engine_of_its_own() {
    let (a, b) = pair(Turner::Dedicated, Idle::default());
    let status = in_a_child(|| {
        let (a, b) = pair(Turner::Dedicated, Idle::default());
        let (one, two) = (a.udp("10.0.0.1:9").expect("a port"), b.udp("10.0.0.2:7"));
        let two = two.expect("a port");
        two.set_read_timeout(Some(PATIENCE)).expect("set");
        one.send_to(b"hello", at(2, 7)).expect("sent");
        assert_eq!(two.recv_from(&mut [0; 16]).expect("a datagram"), (5, at(1, 9)));
        drop((one, two));
        assert!(a.shut_down().is_conserved() && b.shut_down().is_conserved());
    });
    assert_eq!(status, 0, "the child did not end well");
    assert!(a.shut_down().is_conserved() && b.shut_down().is_conserved());
}
