//! Every message, word for word: cause and remedy in one line.

use super::*;

fn texts() -> Vec<(Error, u8, &'static str)> {
    let eth0 = || "eth0".to_owned();
    let driver = || "ena".to_owned();
    vec![
        (
            Error::MissingCapability {
                action: "open an AF_XDP socket",
                capabilities: "cap_net_raw",
            },
            77,
            "not permitted to open an AF_XDP socket: run as root, or `setcap cap_net_raw+ep` the \
             program",
        ),
        (
            Error::NoInterface { name: "eht0".into(), similar: vec![eth0(), "eth1".into()] },
            2,
            "no interface eht0; did you mean eth0 or eth1?",
        ),
        (
            Error::NoInterface { name: "x".into(), similar: vec![] },
            2,
            "no interface x; `ip link` lists those of this network namespace",
        ),
        (
            Error::NoQueue { interface: eth0(), queue: 4, rx_queues: 4, tx_queues: 4 },
            2,
            "eth0 has no queue 4: its queues are 0 to 3; add channels with `ethtool -L eth0` or \
             use one of those",
        ),
        (
            Error::NoQueue { interface: eth0(), queue: 2, rx_queues: 4, tx_queues: 2 },
            2,
            "queue 2 of eth0 can only receive: it has 4 receive and 2 transmit queues; use a queue \
             below 2 or add channels with `ethtool -L eth0`",
        ),
        (
            Error::QueueTaken {
                interface: eth0(),
                queue: 1,
                holders: vec![(7, "echo".into()), (9, "dpdk-testpmd".into())],
            },
            1,
            "queue 1 of eth0 is taken by another AF_XDP socket, held by process 7 (echo) or \
             process 9 (dpdk-testpmd): end it, or use another queue",
        ),
        (
            Error::QueueTaken { interface: eth0(), queue: 0, holders: vec![] },
            1,
            "queue 0 of eth0 is taken by another AF_XDP socket: end it, or use another queue",
        ),
        (
            Error::NoXdp { interface: eth0(), driver: "r8169".into(), mode: "native" },
            77,
            "eth0 (r8169) has no native XDP: ask for generic mode, which is slower, or use a NIC \
             whose driver has it",
        ),
        (
            Error::NoXdp { interface: eth0(), driver: "r8169".into(), mode: "generic" },
            77,
            "eth0 (r8169) has no generic XDP: use another interface",
        ),
        (
            Error::NoZeroCopy { interface: eth0(), driver: "veth".into() },
            77,
            "eth0 (veth) has no zero-copy: ask for copy mode, or use a NIC whose driver has it \
             (ice, i40e, mlx5, igb, virtio_net from Linux 6.18)",
        ),
        (
            Error::NoMultiBuffer { interface: eth0(), driver: "virtio_net".into() },
            77,
            "eth0 (virtio_net) has no packets of several buffers in zero-copy mode: ask for copy \
             mode, or do without and set an MTU that one frame holds",
        ),
        (
            Error::KernelTooOld { feature: "packets of several buffers", needed: "6.6" },
            77,
            "packets of several buffers need Linux 6.6: do without, or use a newer kernel",
        ),
        (
            Error::TooFewChannels {
                interface: eth0(),
                driver: driver(),
                remedy: "combined 4".into(),
            },
            1,
            "eth0 (ena) has too few queues for XDP: `ethtool -L eth0 combined 4`",
        ),
    ]
}

fn more_texts() -> Vec<(Error, u8, &'static str)> {
    let eth0 = || "eth0".to_owned();
    vec![
        (
            Error::MtuTooLarge {
                interface: eth0(),
                mtu: 9000,
                largest: 1778,
                multi_buffer_helps: true,
            },
            1,
            "the MTU of eth0 is 9000, and one frame takes 1778: `ip link set eth0 mtu 1778`, or \
             packets of several buffers",
        ),
        (
            Error::MtuTooLarge {
                interface: eth0(),
                mtu: 9000,
                largest: 3498,
                multi_buffer_helps: false,
            },
            1,
            "the MTU of eth0 is 9000, and one frame takes 3498: `ip link set eth0 mtu 3498`",
        ),
        (
            Error::FeatureOn { interface: eth0(), feature: "lro", effect: "joins packets" },
            1,
            "lro is on, which joins packets: `ethtool -K eth0 lro off`",
        ),
        (
            Error::NotADevice {
                interface: "eth0.7".into(),
                what: "a VLAN on eth0".into(),
                instead: "eth0 and steering with VLAN tags".into(),
            },
            1,
            "eth0.7 is a VLAN on eth0: use eth0 and steering with VLAN tags",
        ),
        (
            Error::Memlock { needed: 8_388_609, limit: 65_536 },
            1,
            "the frames need 8388609 bytes of locked memory and 65536 are allowed: `ulimit -l \
             8193`, LimitMEMLOCK= in systemd, or cap_ipc_lock",
        ),
        (
            Error::ForeignProgram { interface: eth0(), id: 42, name: "xdp_pass".into() },
            1,
            "XDP program 42 (xdp_pass) is on eth0: stop the process that put it there, or `ip link \
             set eth0 xdp off` if that has ended",
        ),
        (
            Error::WouldCutOff { interface: eth0(), what: "the default route".into() },
            2,
            "the default route goes over eth0, which the exclusive mode would cut off: steer by \
             ports or address, or allow it (Steering::allow_cut_off)",
        ),
        (
            Error::AddressTaken { address: [10, 0, 0, 1].into() },
            2,
            "the kernel has the address 10.0.0.1: `ip addr del` it there, or steer by ports",
        ),
        (Error::LinkDown { interface: eth0() }, 1, "eth0 is down: `ip link set eth0 up`"),
        (
            Error::CoreNotAllowed { core: 9, allowed: "0-3".into() },
            2,
            "core 9 is not among the cores that this process may use (0-3): choose one of them, or \
             widen the cpuset or CPUAffinity=",
        ),
        (Error::Settings("no port".into()), 2, "no port"),
        (
            Error::Verifier("R1 is wrong".into()),
            1,
            "the kernel refused the steering program: R1 is wrong",
        ),
        (
            Error::System { action: "bind", source: io::Error::from_raw_os_error(libc::ENODEV) },
            1,
            "could not bind: No such device (os error 19)",
        ),
    ]
}

#[test]
fn every_message_names_cause_and_remedy() {
    for (error, exit_code, text) in texts().into_iter().chain(more_texts()) {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.exit_code(), exit_code, "{text}");
        assert!(!text.contains('\n'));
        let io = io::Error::from(error);
        assert_eq!(io.to_string(), text);
    }
}

#[test]
fn a_refused_permission_names_the_capability() {
    for refusal in [libc::EPERM, libc::EACCES] {
        let error = Error::system("do it", "cap_x", io::Error::from_raw_os_error(refusal));
        assert!(matches!(error, Error::MissingCapability { capabilities: "cap_x", .. }));
    }
    let other = Error::system("do it", "cap_x", io::Error::from_raw_os_error(libc::ENOMEM));
    assert!(matches!(other, Error::System { .. }));
}
