//! AF_XDP queues over veth: packets in and out. Needs root; see `support`.
//!
//! Names are those of the kernel's xskxceiver where a test does what one of its does.

mod support;

use std::net::UdpSocket;
use std::time::Duration;

use corewire_drivers::af_xdp::{AfXdp, Attachment, Mode, PortSet, RingSizes, Steering, Verdict};
use corewire_drivers::device::{Burst, Device, DeviceCounts};
use corewire_drivers::env::{Clock, Instant};
use corewire_drivers::mem::{FrameSize, Packet, Pool};
use support::{
    Cable, End, Host, IP_A, IP_B, NIC, NIC1, frame, is_root, join, mac, packet, pool, pool_of,
    taking_all, wait_for,
};

fn every_length(mode: Mode, frame_size: FrameSize) {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let open = |host| End::build(host, taking_all().mode(mode), pool_of(4096, frame_size));
    let (mut sender, mut receiver) = (open(&cable.a), open(&cable.b));
    for lengths in (14..=1514).collect::<Vec<_>>().chunks(64) {
        let frames: Vec<_> = lengths.iter().map(|length| frame(2, *length)).collect();
        sender.send(&frames);
        assert_eq!(receiver.receive(frames.len()), frames);
    }
    let (sent, got) = (sender.device.counts(), receiver.device.counts());
    assert_eq!((sent.tx_packets, sent.tx_dropped, sent.bad_descriptors), (1501, 0, 0));
    assert_eq!((got.rx_packets, got.rx_no_frame, got.bad_descriptors), (1501, 0, 0));
    assert_eq!(sent.tx_bytes, got.rx_bytes);
    sender.release();
    receiver.release();
}

#[test]
fn run_to_completion_2k() {
    every_length(Mode::Copy, FrameSize::Bytes2048);
}

#[test]
fn run_to_completion() {
    every_length(Mode::Copy, FrameSize::Bytes4096);
}

#[test]
fn run_to_completion_generic() {
    every_length(Mode::Generic, FrameSize::Bytes2048);
}

/// One packet costs one system call where it is sent, and none where it is received.
#[test]
fn run_to_completion_single_packet() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let (mut a, mut b) = (End::open(&cable.a, Mode::Copy), End::open(&cable.b, Mode::Copy));
    let clock = Clock::monotonic();
    let start = clock.now();
    for round in 1..=100 {
        let sent = [frame(2, 64)];
        assert_eq!(a.offer(&sent), 1);
        // It is there at once: nothing is delayed, and no turn has to pass.
        assert_eq!(b.receive(1), sent);
        a.turn();
        b.turn();
        assert_eq!(a.device.counts().syscalls, round);
    }
    // Only the looks whether the interface is still there, at most every 50 ms.
    let looks = clock.now().saturating_since(start).as_millis() as u64 / 50 + 1;
    let calls = b.device.counts().syscalls;
    assert!(calls <= looks, "{calls} system calls to receive 100 packets, {looks} to look");
    a.release();
    b.release();
}

/// A full burst waits for the next one, never longer than a turn in which nothing was sent.
#[test]
fn full_bursts_share_a_system_call() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let (mut a, mut b) = (End::open(&cable.a, Mode::Copy), End::open(&cable.b, Mode::Copy));
    let burst: Vec<_> = (0..64).map(|n| frame(2, 60 + n)).collect();
    a.poll(Instant::from_nanos(1));
    let looked = a.device.counts().syscalls;
    assert_eq!(a.offer(&burst), 64);
    assert_eq!(a.device.next_event(), Instant::ZERO, "the worker must not sleep now");
    assert!(b.poll(Instant::ZERO).is_empty());
    a.turn();
    assert_eq!(a.device.counts().syscalls, looked);
    a.turn();
    assert_eq!(b.receive(64), burst);
    assert_ne!(a.device.next_event(), Instant::ZERO);
    let before = a.device.counts().syscalls;
    for _ in 0..20 {
        assert_eq!(a.offer(&burst), 64);
        a.turn();
        b.receive(0);
    }
    a.turn();
    let calls = a.device.counts().syscalls - before;
    if a.device.tx_budget() > 128 {
        assert_eq!(calls, 10, "20 bursts of 64");
    } else {
        assert_eq!(calls, 40, "at most 32 a call");
    }
    a.release();
    b.release();
}

/// Both ways at once, each frame sent back in place.
#[test]
fn bidi() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let (mut a, mut b) = (End::open(&cable.a, Mode::Copy), End::open(&cable.b, Mode::Copy));
    for round in 0..50 {
        let out: Vec<_> = (0..40).map(|n| frame(2, 100 + n + round)).collect();
        a.send(&out);
        let mut burst = Burst::new();
        let mut returned = 0;
        wait_for("packets to send back", |now| {
            b.device.rx_burst(now, &mut b.pool, &mut burst);
            returned += b.device.tx_burst(now, &mut b.pool, &mut burst);
            (returned == 40).then_some(())
        });
        assert_eq!(a.receive(40), out);
        b.turn();
    }
    assert_eq!(b.device.counts().tx_packets, 2000);
    a.release();
    b.release();
}

/// Jumbo packets that take 1 to 18 buffers to send and to receive.
#[test]
fn multi_buffer_1_to_18() {
    if !is_root() {
        return;
    }
    let cable = Cable::with(1, 32_300);
    let Some(mut a) = End::jumbo(&cable.a, 4096) else { return };
    let Some(mut b) = End::jumbo(&cable.b, 4096) else { return };
    for buffers in 1..=18 {
        for length in [buffers * 1792 - 1, buffers * 1792, (buffers - 1) * 1792 + 60] {
            let sent = frame(2, length);
            let packet = jumbo(&mut a.pool, &sent, 1792);
            assert!(packet.frame_count() == buffers);
            let mut burst = Burst::new();
            burst.push(packet).expect("room");
            assert_eq!(a.device.tx_burst(Instant::ZERO, &mut a.pool, &mut burst), 1);
            assert_eq!(b.receive(1), [sent], "{length} bytes in {buffers} buffers");
            a.turn();
        }
    }
    let (sent, got) = (a.device.counts(), b.device.counts());
    assert_eq!((sent.tx_packets, sent.tx_dropped, sent.bad_descriptors), (54, 0, 0));
    assert_eq!((got.rx_packets, got.rx_too_big, got.bad_descriptors), (54, 0, 0));
    a.release();
    b.release();
}

/// A packet of several frames of `piece` bytes.
fn jumbo(pool: &mut Pool, bytes: &[u8], piece: usize) -> Packet {
    let mut pieces = bytes.chunks(piece);
    let mut whole = packet(pool, pieces.next().expect("bytes"));
    for piece in pieces {
        let frame = packet(pool, piece).into_frame().expect("one frame");
        pool.append(&mut whole, frame).expect("at most 18 frames");
    }
    whole
}

/// The kernel's UDP to us and back, checked by the kernel's own checksum verification.
#[test]
fn kernel_udp_and_back() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let mut end = End::open(&cable.a, Mode::Copy);
    let client = cable.b.enter(|| UdpSocket::bind((IP_B, 0))).expect("a socket");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    for length in [0, 1, 18, 700, 1472] {
        let payload: Vec<u8> = (0..length).map(|n: u32| n as u8).collect();
        client.send_to(&payload, (IP_A, 7)).expect("sent");
        let mut frame = end.receive(1).remove(0);
        turn_around(&mut frame);
        end.send(&[frame]);
        let mut answer = [0; 2000];
        let (count, from) = client.recv_from(&mut answer).expect("an answer");
        assert_eq!((&answer[..count], from), (&payload[..], (IP_A, 7).into()));
    }
    end.release();
}

/// Swaps MAC addresses, IP addresses and ports: no sum changes.
fn turn_around(frame: &mut [u8]) {
    for (one, other, length) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
        for at in 0..length {
            frame.swap(one + at, other + at);
        }
    }
}

/// Steering by ports: ours come to us, and the kernel keeps its own.
#[test]
fn ports_are_shared_with_the_kernel() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let steering = Steering::ports(&[IP_A], PortSet::none(), PortSet::of(&[7]));
    let builder = AfXdp::builder(NIC).steering(steering);
    let mut end = End::build(&cable.a, builder, pool(4096));
    let kernels = cable.a.enter(|| UdpSocket::bind((IP_A, 9))).expect("the kernel's port");
    kernels.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let client = cable.b.enter(|| UdpSocket::bind((IP_B, 0))).expect("a socket");
    for _ in 0..10 {
        client.send_to(b"ours", (IP_A, 7)).expect("sent");
        client.send_to(b"the kernel's", (IP_A, 9)).expect("sent");
        let mut bytes = [0; 100];
        assert_eq!(kernels.recv(&mut bytes).expect("delivered"), 12);
        assert!(end.receive(1)[0].ends_with(b"ours"));
    }
    cable.b.run("ping -c 1 -W 5 10.77.0.1");
    assert!(end.poll(Instant::ZERO).is_empty());
    end.release();
}

/// New rules take the place of the old ones without a packet between them lost.
#[test]
fn rules_change_without_a_gap() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let rules = |port| {
        let frames = PortSet::of(&[7, port]);
        Steering::ports(&[IP_A], PortSet::none(), frames)
    };
    let attach = || Attachment::new(NIC, Mode::Copy, &rules(1));
    let attachment = cable.a.enter(attach).expect("attached");
    let builder = AfXdp::builder(NIC).attachment(&attachment);
    let mut end = End::build(&cable.a, builder, pool(4096));
    let mut sender = End::open(&cable.b, Mode::Copy);
    let ours = udp_frame(7);
    for round in 0..20u16 {
        sender.send(&vec![ours.clone(); 16]);
        attachment.update(&rules(100 + round)).expect("updated");
        sender.send(&vec![ours.clone(); 16]);
        assert_eq!(end.receive(32).len(), 32);
        assert_eq!(attachment.verdict(&udp_frame(100 + round)).expect("run"), Verdict::Engine);
        assert_eq!(attachment.verdict(&udp_frame(99 + round)).expect("run"), Verdict::Kernel);
    }
    assert!(attachment.update(&Steering::address(&[])).is_err(), "rules that match nothing");
    assert_eq!(attachment.verdict(&ours).expect("run"), Verdict::Engine, "the old ones stay");
    end.release();
    sender.release();
}

/// A UDP datagram to A's port `to`, without payload.
fn udp_frame(to: u16) -> Vec<u8> {
    let mut frame = mac(1).to_vec();
    frame.extend(mac(2));
    frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 2, 10, 77, 0, 1]);
    frame.extend([0, 9]);
    frame.extend(to.to_be_bytes());
    frame.extend([0, 8, 0, 0]);
    frame
}

/// Two queues of one device with one pool: what one received goes out on the other.
#[test]
fn shared_umem_two_queues() {
    if !is_root() {
        return;
    }
    let cable = Cable::with(2, 1500);
    let attach = || Attachment::new(NIC, Mode::Copy, &Steering::exclusive());
    let attachment = cable.a.enter(attach).expect("attached");
    let mut pool = pool(4096);
    let (mut one, mut two) = cable.a.enter(|| {
        let queue = |number| AfXdp::builder(NIC).queue(number).attachment(&attachment);
        let one = queue(0).open(&mut pool).expect("queue 0");
        let two = queue(1).open_sharing(&mut pool, &one).expect("queue 1");
        (one, two)
    });
    let mut peer = End::open(&cable.b, Mode::Copy);
    let sent: Vec<_> = (0..64).map(|n| frame(1, 60 + n)).collect();
    peer.send(&sent);
    let mut burst = Burst::new();
    let mut forwarded = 0;
    wait_for("packets on queue 0", |now| {
        one.rx_burst(now, &mut pool, &mut burst);
        forwarded += two.tx_burst(now, &mut pool, &mut burst);
        two.reclaim(now, &mut pool);
        (forwarded == 64).then_some(())
    });
    // Sent on its second queue, it arrives on the peer's second, which the kernel has.
    assert_eq!((two.counts().tx_packets, two.counts().tx_dropped), (64, 0));
    wait_for("completions on queue 1", |now| {
        two.reclaim(now, &mut pool);
        (pool.census().count(corewire_drivers::mem::FrameState::Transmitting) == 0).then_some(())
    });
    one.release(&mut pool);
    // The other queue goes on without the first.
    assert_eq!(two.mode(), Some(Mode::Copy));
    two.release(&mut pool);
    assert_eq!(pool.free_count(), 4096);
    peer.release();
}

/// Packets for us on a queue that nobody opened: the kernel has them, and it is said.
#[test]
fn a_queue_that_nobody_polls_is_named() {
    if !is_root() {
        return;
    }
    let cable = Cable::with(2, 1500);
    let end = End::open(&cable.a, Mode::Copy);
    let attachment = end.device.attachment().expect("it takes packets").clone();
    assert_eq!(attachment.unserved_queues().expect("counts"), []);
    // What leaves on queue 1 there comes in on queue 1 here.
    let mut peer = End::build(&cable.b, taking_all().queue(1), pool(1024));
    peer.send(&vec![frame(1, 60); 10]);
    let text = wait_for("the count", |_| {
        let queues = attachment.unserved_queues().expect("counts");
        queues.first().filter(|queue| queue.packets >= 10).map(ToString::to_string)
    });
    let cause = "packets for the engine came in on queue 1 of cw0, which nobody polls";
    assert!(text.contains(cause) && text.ends_with("`ethtool -X cw0 equal 1`"), "{text}");
    drop(attachment);
    end.release();
    peer.release();
}

/// A host between two: a frame received on one interface leaves on the other without a copy.
#[test]
fn shared_umem_two_devices_forwards_in_place() {
    if !is_root() {
        return;
    }
    let (a, middle, b) = (Host::new(), Host::new(), Host::new());
    join((&a, NIC, 1), (&middle, NIC, 2), 1, 1500);
    join((&middle, NIC1, 3), (&b, NIC, 4), 1, 1500);
    let mut pool = pool(4096);
    let (mut left, mut right) = middle.enter(|| {
        let left = taking_all().open(&mut pool).expect("the left device");
        let right = AfXdp::builder(NIC1).steering(Steering::exclusive());
        let right = right.open_sharing(&mut pool, &left).expect("the right device");
        (left, right)
    });
    let (mut source, mut sink) = (End::open(&a, Mode::Copy), End::open(&b, Mode::Copy));
    for round in 0..10 {
        let sent: Vec<_> = (0..32).map(|n| frame(2, 60 + n * 40 + round)).collect();
        source.send(&sent);
        let mut burst = Burst::new();
        let mut forwarded = 0;
        wait_for("packets to forward", |now| {
            left.rx_burst(now, &mut pool, &mut burst);
            let before: Vec<_> = burst.as_slice().iter().map(|p| p.first().index()).collect();
            let taken = right.tx_burst(now, &mut pool, &mut burst);
            assert_eq!(taken, before.len());
            // The very frames: they are the right device's now.
            for index in before {
                let state = pool.state(index);
                assert_ne!(state, Some(corewire_drivers::mem::FrameState::Held));
            }
            forwarded += taken;
            right.reclaim(now, &mut pool);
            left.reclaim(now, &mut pool);
            (forwarded == 32).then_some(())
        });
        assert_eq!(sink.receive(32), sent);
    }
    // Each completion came on the ring of the device that sent.
    assert_eq!((left.counts().bad_descriptors, right.counts().bad_descriptors), (0, 0));
    left.release(&mut pool);
    right.release(&mut pool);
    assert_eq!(pool.free_count(), 4096);
    source.release();
    sink.release();
}

/// The receiver's softirq may run a little later.
fn wait_for_counts(end: &End, is_reached: impl Fn(&DeviceCounts) -> bool) -> DeviceCounts {
    wait_for("the counts", |_| Some(end.device.counts()).filter(&is_reached))
}

/// Jumbo packets, forwarded between two devices buffer by buffer without a copy.
#[test]
fn shared_umem_two_devices_jumbo() {
    if !is_root() {
        return;
    }
    let (a, middle, b) = (Host::new(), Host::new(), Host::new());
    join((&a, NIC, 1), (&middle, NIC, 2), 1, 9000);
    join((&middle, NIC1, 3), (&b, NIC, 4), 1, 9000);
    let Some(End { device: mut left, mut pool }) = End::jumbo(&middle, 4096) else { return };
    let right = AfXdp::builder(NIC1).steering(Steering::exclusive());
    let right = middle.enter(|| right.open_sharing(&mut pool, &left));
    let mut right = right.expect("the right device");
    assert_eq!(right.capabilities().max_tx_frames, 18);
    let (mut source, mut sink) =
        (End::jumbo(&a, 1024).expect("as the left"), End::jumbo(&b, 1024).expect("as the left"));
    let sent = frame(2, 9014);
    let mut burst = Burst::new();
    burst.push(jumbo(&mut source.pool, &sent, 1792)).expect("room");
    source.device.tx_burst(Instant::ZERO, &mut source.pool, &mut burst);
    wait_for("a packet to forward", |now| {
        left.rx_burst(now, &mut pool, &mut burst);
        (right.tx_burst(now, &mut pool, &mut burst) == 1).then_some(())
    });
    assert_eq!(sink.receive(1), [sent]);
    source.turn();
    left.release(&mut pool);
    right.release(&mut pool);
    assert_eq!(pool.free_count(), 4096);
    source.release();
    sink.release();
}

const SMALL: RingSizes = RingSizes { rx: 64, tx: 64, fill: 128, completion: 64 };

#[test]
fn stats_rx_full() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let mut sender = End::open(&cable.a, Mode::Copy);
    let builder = taking_all().rings(SMALL).fill_target(128);
    let mut receiver = End::build(&cable.b, builder, pool(512));
    for _ in 0..4 {
        sender.send(&vec![frame(2, 60); 40]);
    }
    let counts = wait_for_counts(&receiver, |counts| counts.rx_ring_full >= 160 - 64);
    assert_eq!((counts.rx_ring_full, counts.rx_too_big), (160 - 64, 0), "{counts:?}");
    assert_eq!(receiver.receive(64).len(), 64);
    sender.release();
    receiver.release();
}

#[test]
fn stats_fill_empty() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let mut sender = End::open(&cable.a, Mode::Copy);
    let builder = taking_all().rings(SMALL).fill_target(16);
    let mut receiver = End::build(&cable.b, builder, pool(512));
    sender.send(&vec![frame(2, 60); 40]);
    let counts = wait_for_counts(&receiver, |counts| counts.rx_no_frame >= 40 - 16);
    assert_eq!(counts.rx_too_big, 0, "{counts:?}");
    assert_eq!(receiver.receive(16).len(), 16);
    // Refilled: it goes on.
    sender.send(&vec![frame(2, 61); 10]);
    assert_eq!(receiver.receive(10).len(), 10);
    sender.release();
    receiver.release();
}

/// Longer than a frame, on a queue of single buffers: lost, and counted as that.
#[test]
fn stats_rx_dropped() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let mut receiver = End::open(&cable.b, Mode::Copy);
    // It was opened with 1,500; it is raised behind its back.
    for host in [&cable.a, &cable.b] {
        host.ip(&format!("link set {NIC} mtu 3000"));
    }
    let mut sender = End::build(&cable.a, taking_all(), pool_of(1024, FrameSize::Bytes4096));
    sender.send(&[frame(2, 1792), frame(2, 1793), frame(2, 3000), frame(2, 60)]);
    assert_eq!(receiver.receive(2), [frame(2, 1792), frame(2, 60)]);
    wait_for_counts(&receiver, |counts| counts.rx_too_big == 2);
    sender.release();
    receiver.release();
}

/// What the device would refuse is refused before it: the ring can't be stopped by it.
#[test]
fn stats_tx_invalid_packets_never_reach_the_ring() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let (mut a, mut b) = (End::open(&cable.a, Mode::Copy), End::open(&cable.b, Mode::Copy));
    a.send(&[frame(2, 13), frame(2, 60), frame(2, 1519), frame(2, 1518), frame(2, 61)]);
    assert_eq!(b.receive(3), [frame(2, 60), frame(2, 1518), frame(2, 61)]);
    let counts = a.device.counts();
    assert_eq!((counts.tx_dropped, counts.bad_descriptors, counts.tx_packets), (2, 0, 3));
    a.release();
    b.release();
}
