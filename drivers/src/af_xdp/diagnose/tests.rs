//! Facts in, causes out: what this machine has no hardware to provoke.

use super::*;
use crate::af_xdp::RingSizes;

fn facts() -> Facts {
    Facts {
        interface: Interface {
            index: 2,
            name: "eth0".into(),
            mtu: 1500,
            is_up: true,
            rx_queues: 8,
            tx_queues: 8,
            ..Interface::default()
        },
        driver: "ena".into(),
        channels: Channels { rx: 4, tx: 4, combined_max: 8 },
        ..Facts::default()
    }
}

fn os(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

#[test]
fn members_and_layers_are_no_devices() {
    assert!(facts().check_device().is_ok());
    let mut member = facts();
    member.interface.controller = Some(7);
    member.interface.controller_kind = "bond".into();
    member.controller = "bond0".into();
    let text = member.check_device().expect_err("a member").to_string();
    let device = "use a device of its own, or `ip link set eth0 nomaster`";
    assert_eq!(text, format!("eth0 is a member of bond bond0: {device}"));
    for (kind, text) in [
        ("vlan", "eth0 is a VLAN on eth9: use eth9 and steering with VLAN tags"),
        ("bond", "eth0 is a bond: use a device that is not a member of one"),
        ("bridge", "eth0 is a bridge: use a device that is not a member of one"),
    ] {
        let mut layer = facts();
        layer.interface.kind = kind.into();
        layer.lower = "eth9".into();
        assert_eq!(layer.check_device().expect_err("a layer").to_string(), text);
    }
}

#[test]
fn lro_that_is_on_is_said_in_one_line_with_the_command() {
    let mut facts = facts();
    facts.features_on = vec!["rx-lro".into()];
    assert_eq!(
        facts.check_device().expect_err("refused").to_string(),
        "lro is on, which joins packets before the program sees them: `ethtool -K eth0 lro off`",
    );
    facts.features_on = vec!["rx-checksum".into()];
    assert!(facts.check_device().is_ok());
}

#[test]
fn features_that_change_packets_are_refused() {
    for (feature, word) in [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")] {
        let mut facts = facts();
        facts.features_on = vec!["rx-checksum".into(), feature.into()];
        let text = facts.check_device().expect_err("refused").to_string();
        assert!(text.ends_with(&format!("`ethtool -K eth0 {word} off`")), "{text}");
    }
    let mut facts = facts();
    facts.features_on = vec!["rx-vlan-hw-parse".into()];
    assert!(facts.check_device().is_ok(), "tags matter only to those who look for them");
    let ports = Steering::ports(
        &[[192, 0, 2, 1].into()],
        super::super::PortSet::of(&[7]),
        super::super::PortSet::none(),
    );
    assert!(facts.check_steering(&ports).is_ok());
    let text = facts.check_steering(&ports.with_vlan()).expect_err("refused").to_string();
    assert!(text.ends_with("`ethtool -K eth0 rxvlan off`"), "{text}");
}

#[test]
fn queues_are_those_in_use() {
    assert!(facts().check_queue(3).is_ok());
    assert!(matches!(facts().check_queue(4), Err(Error::NoQueue { rx_queues: 4, .. })));
    let mut lopsided = facts();
    lopsided.channels.tx = 2;
    assert!(lopsided.check_queue(1).is_ok());
    let text = lopsided.check_queue(2).expect_err("no TX").to_string();
    assert!(text.contains("can only receive"), "{text}");
}

#[test]
fn the_mtu_must_fit_a_frame_unless_there_are_several() {
    let mut request =
        Request { mode: Mode::Copy, sizes: RingSizes::default(), multi_buffer: false };
    let mut facts = facts();
    for (mtu, frame, fits) in [(1778, 2048, true), (1779, 2048, false), (3826, 4096, true)] {
        facts.interface.mtu = mtu;
        assert_eq!(facts.check_mtu(&request, frame).is_ok(), fits, "{mtu} in {frame}");
    }
    facts.interface.mtu = 9000;
    request.multi_buffer = true;
    assert!(facts.check_mtu(&request, 2048).is_ok());
}

#[test]
fn what_attaching_can_answer() {
    let explain = |facts: &Facts, number| facts.explain_attach(Mode::Copy, os(number)).to_string();
    // ena and virtio_net: no queues left for XDP.
    let mut full = facts();
    full.channels.rx = 8;
    let too_few = "eth0 (ena) has too few queues for XDP: `ethtool -L eth0 combined 4`";
    assert_eq!(explain(&full, libc::EINVAL), too_few);
    assert_eq!(explain(&full, libc::ENOMEM), too_few);
    assert!(explain(&facts(), libc::ENOSPC).contains("ethtool -L eth0 rx N"));
    assert!(explain(&facts(), libc::EOPNOTSUPP).contains("no native XDP"));
    assert!(explain(&facts(), libc::EINVAL).contains("no native XDP"));
    let mut jumbo = facts();
    jumbo.interface.mtu = 9000;
    for number in [libc::ERANGE, libc::EINVAL] {
        assert!(explain(&jumbo, number).contains("mtu 3498`"), "{}", explain(&jumbo, number));
    }
    assert!(explain(&facts(), libc::EPERM).contains("setcap cap_net_raw,cap_net_admin,cap_bpf"));
}

#[test]
fn what_binding_can_answer() {
    let mut facts = facts();
    let mut request =
        Request { mode: Mode::Copy, sizes: RingSizes::default(), multi_buffer: false };
    let explain = |facts: &Facts, request: &Request, number| {
        facts.explain_bind(0, request, os(number)).to_string()
    };
    assert!(explain(&facts, &request, libc::ENETDOWN).contains("`ip link set eth0 up`"));
    assert!(explain(&facts, &request, libc::EBUSY).contains("is taken"));
    assert!(explain(&facts, &request, libc::EPERM).contains("setcap cap_net_raw"));
    request.mode = Mode::ZeroCopy;
    assert!(explain(&facts, &request, libc::EOPNOTSUPP).contains("has no zero-copy"));
    assert!(explain(&facts, &request, libc::EINVAL).contains("mtu 1394`"));
    facts.interface.mtu = 1394;
    assert!(explain(&facts, &request, libc::EINVAL).contains("could not bind"));
    // A driver that has zero-copy, and not for packets of several buffers.
    request.multi_buffer = true;
    assert!(explain(&facts, &request, libc::EOPNOTSUPP).contains("has no zero-copy"));
    facts.features = XdpFeatures::of(1 | 2 | 8);
    assert!(explain(&facts, &request, libc::EOPNOTSUPP).contains("several buffers"));
}
