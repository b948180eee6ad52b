//! What goes wrong on a real kernel, and what is said about it. Needs root; see `support`.
//!
//! The words of every message are tested in the crate; here, that each cause is recognised.

mod support;

use std::process::Command;

use corewire_drivers::af_xdp::{
    AfXdp, Attachment, BusyPoll, Error, Mode, PortSet, RingSizes, Steering, check_core,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use support::{Cable, End, Host, IP_A, NIC, is_root, join, pool, taking_all};

/// The error of opening a queue on the host.
fn refusal(host: &Host, builder: corewire_drivers::af_xdp::Builder) -> Error {
    End::try_build(host, builder, pool(1024)).expect_err("it can't be opened")
}

#[test]
fn no_such_interface() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let error = refusal(&cable.a, AfXdp::builder("cw1"));
    assert_eq!(error.to_string(), "no interface cw1; did you mean cw0?");
}

#[test]
fn a_taken_queue_and_by_whom() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let end = End::build(&cable.a, AfXdp::builder(NIC), pool(1024));
    let error = refusal(&cable.a, AfXdp::builder(NIC));
    let Error::QueueTaken { queue: 0, holders, .. } = &error else { panic!("{error}") };
    assert!(holders.iter().any(|(pid, _)| *pid == std::process::id()), "{error}");
    end.release();
    // Free at once: nothing of the refused one is left.
    End::build(&cable.a, AfXdp::builder(NIC), pool(1024)).release();
}

#[test]
fn queues_that_do_not_exist_or_cannot_send() {
    if !is_root() {
        return;
    }
    let cable = Cable::with(2, 1500);
    let error = refusal(&cable.a, AfXdp::builder(NIC).queue(2));
    assert!(matches!(error, Error::NoQueue { queue: 2, rx_queues: 2, tx_queues: 2, .. }));
    // The kernel would bind this one and never send.
    cable.a.run(&format!("ethtool -L {NIC} rx 2 tx 1"));
    let error = refusal(&cable.a, AfXdp::builder(NIC).queue(1));
    assert!(error.to_string().contains("can only receive"), "{error}");
}

#[test]
fn too_few_channels() {
    if !is_root() {
        return;
    }
    let cable = Cable::with(2, 1500);
    cable.a.run(&format!("ethtool -L {NIC} rx 1 tx 1"));
    let error = refusal(&cable.a, taking_all());
    assert!(matches!(&error, Error::TooFewChannels { driver, .. } if driver == "veth"), "{error}");
    // Generic mode does not mind.
    End::open(&cable.a, Mode::Generic).release();
}

#[test]
fn no_zero_copy() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let error = refusal(&cable.a, taking_all().mode(Mode::ZeroCopy));
    assert!(matches!(&error, Error::NoZeroCopy { driver, .. } if driver == "veth"), "{error}");
}

#[test]
fn no_native_xdp() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    // Every kernel has it, and no XDP for it.
    host.ip("link set lo mtu 1500");
    let builder = AfXdp::builder("lo").steering(Steering::exclusive());
    let error = refusal(&host, builder);
    assert!(matches!(&error, Error::NoXdp { mode: "native", .. }), "{error}");
}

#[test]
fn an_mtu_that_no_frame_holds() {
    if !is_root() {
        return;
    }
    let cable = Cable::with(1, 1779);
    let error = refusal(&cable.a, taking_all());
    assert!(matches!(error, Error::MtuTooLarge { mtu: 1779, largest: 1778, .. }), "{error}");
    cable.a.ip(&format!("link set {NIC} mtu 1778"));
    End::open(&cable.a, Mode::Copy).release();
    cable.a.ip(&format!("link set {NIC} mtu 9000"));
    if let Some(end) = End::jumbo(&cable.a, 1024) {
        end.release();
    }
}

#[test]
fn members_vlans_and_bridges() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let host = &cable.a;
    // Not every kernel has VLANs; the message is tested with made-up facts too.
    if host.try_ip("link add link cw0 name cw0.7 type vlan id 7") {
        let error = refusal(host, AfXdp::builder("cw0.7"));
        let text = "cw0.7 is a VLAN on cw0: use cw0 and steering with VLAN tags";
        assert_eq!(error.to_string(), text);
        host.ip("link del cw0.7");
    } else {
        println!("skipped in part: this kernel has no VLANs");
    }
    if !host.try_ip("link add br0 type bridge") {
        return println!("skipped in part: this kernel has no bridges");
    }
    let error = refusal(host, AfXdp::builder("br0"));
    assert!(error.to_string().starts_with("br0 is a bridge"), "{error}");
    host.ip("link set cw0 master br0");
    let error = refusal(host, taking_all());
    assert!(error.to_string().starts_with("cw0 is a member of bridge br0"), "{error}");
    host.ip("link set cw0 nomaster");
    End::open(host, Mode::Copy).release();
}

#[test]
fn a_foreign_program_in_either_mode() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    for theirs in [Mode::Copy, Mode::Generic] {
        let attach = || Attachment::new(NIC, theirs, &Steering::exclusive());
        let foreign = cable.a.enter(attach).expect("attached");
        for ours in [Mode::Copy, Mode::Generic] {
            let error = refusal(&cable.a, taking_all().mode(ours));
            let Error::ForeignProgram { id, name, .. } = &error else { panic!("{error}") };
            assert_eq!(name, "corewire");
            assert!(*id > 0);
        }
        drop(foreign);
        End::open(&cable.a, Mode::Copy).release();
    }
}

#[test]
fn addresses_and_routes_that_the_kernel_needs() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let error = refusal(&cable.a, AfXdp::builder(NIC).steering(Steering::address(&[IP_A])));
    assert!(matches!(error, Error::AddressTaken { address: IP_A }), "{error}");
    cable.a.ip("route add default via 10.77.0.2");
    let error = refusal(&cable.a, taking_all());
    assert!(matches!(&error, Error::WouldCutOff { what, .. } if what == "the default route"));
    let allowed = AfXdp::builder(NIC).steering(Steering::exclusive().allow_cut_off());
    End::build(&cable.a, allowed, pool(1024)).release();
    let ports = Steering::ports(&[IP_A], PortSet::of(&[80]), PortSet::none());
    End::build(&cable.a, AfXdp::builder(NIC).steering(ports), pool(1024)).release();
}

#[test]
fn settings_that_contradict_each_other() {
    if !is_root() {
        return;
    }
    let (a, b) = (Host::new(), Host::new());
    join((&a, NIC, 1), (&b, NIC, 2), 2, 1500);
    let sizes = |rx, tx, fill, completion| RingSizes { rx, tx, fill, completion };
    for wrong in [sizes(100, 64, 128, 64), sizes(64, 64, 32, 64), sizes(64, 128, 64, 64)] {
        let error = refusal(&a, AfXdp::builder(NIC).rings(wrong));
        assert!(matches!(error, Error::Settings(_)), "{error}");
    }
    let nothing = Steering::ports(&[IP_A], PortSet::none(), PortSet::none());
    assert!(matches!(refusal(&a, AfXdp::builder(NIC).steering(nothing)), Error::Settings(_)));
    // Frames are shared within one pool only, and in one mode.
    let one = End::build(&a, AfXdp::builder(NIC), pool(1024));
    let mut other = pool(1024);
    let second = || AfXdp::builder(NIC).queue(1);
    let error = a.enter(|| second().open_sharing(&mut other, &one.device)).expect_err("refused");
    assert!(matches!(error, Error::Settings(_)), "{error}");
    let End { device, mut pool } = one;
    let generic = second().mode(Mode::Generic);
    let error = a.enter(|| generic.open_sharing(&mut pool, &device)).expect_err("refused");
    assert!(matches!(error, Error::Settings(_)), "{error}");
    End { device, pool }.release();
}

/// veth has no NAPI to poll in copy mode: the options are taken, and it is not claimed to work.
#[test]
fn busy_polling_is_not_claimed_where_it_does_nothing() {
    if !is_root() {
        return;
    }
    let cable = Cable::new();
    let end = End::build(&cable.a, taking_all().busy_poll(BusyPoll::default()), pool(1024));
    assert!(!end.device.can_busy_poll());
    end.release();
}

/// What an ordinary user is told, and one whose locked memory is limited.
#[test]
fn missing_capabilities_and_locked_memory() {
    if let Ok(host) = std::env::var("CW_TEST_CHILD") {
        return println!("refused: {}", child_refusal(&host));
    }
    if !is_root() {
        return;
    }
    // util-linux's; the one of busybox can't take capabilities away.
    let version = Command::new("setpriv").arg("--version").output();
    if !version.is_ok_and(|output| output.stdout.starts_with(b"setpriv from util-linux")) {
        return println!("skipped: no setpriv to take capabilities away with");
    }
    let cable = Cable::new();
    let test = "missing_capabilities_and_locked_memory";
    let run = |limits: &[&str]| {
        let program = std::env::current_exe().expect("our own path");
        let output = Command::new("ip")
            .args(["netns", "exec", &cable.a.name])
            .args(limits)
            .arg(program)
            .args(["--exact", test, "--nocapture"])
            .env("CW_TEST_CHILD", "here")
            .output()
            .expect("ip");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.split_once("refused: "));
        line.unwrap_or_else(|| panic!("{text} {output:?}")).1.to_owned()
    };
    let text = run(&["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all"]);
    assert!(text.contains("setcap cap_net_raw+ep"), "{text}");
    let text = run(&["setpriv", "--bounding-set=-bpf,-sys_admin,-net_admin"]);
    assert!(text.contains("setcap cap_net_raw,cap_net_admin,cap_bpf+ep"), "{text}");
    let limited = ["prlimit", "--memlock=65536:65536", "setpriv", "--bounding-set=-ipc_lock"];
    let text = run(&limited);
    assert!(text.starts_with("the frames need 2097152 bytes of locked memory and 65536"), "{text}");
    assert!(text.contains("`ulimit -l 2048`"), "{text}");
}

/// A core that the process's affinity, and so its cpuset, leaves out. LRO has no such test: no
/// virtual device has it, so its line is tested with made-up facts in the crate.
#[test]
fn a_core_outside_of_the_cpuset() {
    let allowed = sched_getaffinity(None).expect("our own");
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let core = cores.next().expect("we run on it");
    let other = cores.next().unwrap_or(core + 1);
    let mut only = CpuSet::new();
    only.set(core);
    // Of this thread alone, which ends with the test.
    sched_setaffinity(None, &only).expect("a part of what it may");
    assert!(check_core(core).is_ok());
    assert_eq!(
        check_core(other).expect_err("left out").to_string(),
        format!(
            "core {other} is not among the cores that this process may use ({core}): choose one \
             of them, or widen the cpuset or CPUAffinity="
        )
    );
}

fn child_refusal(_host: &str) -> String {
    let mut pool = pool(1024);
    match taking_all().open(&mut pool) {
        Ok(_) => "not at all".into(),
        Err(error) => error.to_string(),
    }
}
