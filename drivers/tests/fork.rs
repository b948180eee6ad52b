//! A process that forks: the child has copies of everything, owns none of it, and may drop it.
#![allow(unsafe_code, reason = "fork, wait and exit; on the allow-list of scripts/tidy")]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use corewire_drivers::af_xdp::Mode;
use corewire_drivers::device::{Device as _, DeviceState};
use support::{Cable, End, frame, is_root, pool};

/// Runs `work` in a child that ends with it: its exit code is 0, or 1 after a panic.
fn in_child(work: impl FnOnce()) -> i32 {
    // SAFETY: the child goes on with this thread alone, and glibc keeps its allocator usable
    // there; it takes no lock that another thread may have held, and leaves by _exit below.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        let code = i32::from(catch_unwind(AssertUnwindSafe(work)).is_err());
        // SAFETY: ends this process at once; nothing of the parent's is cleaned up in it.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above and writes its status to one live integer.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    status
}

#[test]
fn a_child_may_drop_a_region() {
    let parents = pool(64);
    let mut inherited = Some(parents);
    assert_eq!(in_child(|| drop(inherited.take())), 0, "wait status");
    let mut parents = inherited.expect("only the child's copy is gone");
    let frame = parents.take().expect("a frame");
    parents.give(frame);
    assert!(parents.is_conserved());
}

#[test]
fn a_child_that_drops_a_device_leaves_the_parents_traffic_alone() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let (a, b) = (End::open(&cable.a, Mode::Copy), End::open(&cable.b, Mode::Copy));
    let mut ends = Some((a, b));
    assert_eq!(in_child(|| drop(ends.take())), 0, "wait status");
    let released = in_child(|| {
        let (mut a, _b) = ends.take().expect("both");
        a.device.release(&mut a.pool);
        assert_eq!(a.device.state(), DeviceState::Gone);
    });
    assert_eq!(released, 0, "wait status");
    let (mut a, mut b) = ends.expect("only the children's copies are gone");
    for length in 60..70 {
        a.send(&[frame(2, length)]);
        assert_eq!(b.receive(1), [frame(2, length)], "the program still redirects");
        b.send(&[frame(1, length)]);
        assert_eq!(a.receive(1), [frame(1, length)]);
    }
    a.release();
    b.release();
}
