use super::*;
use crate::control::snapshot::{Prefix, Via};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn one() -> Config {
    Config::new().interface(Interface::ports("eth0", [7]))
}

#[test]
fn every_worker_gets_its_queue_of_every_interface_and_its_core() {
    let plan = Config::new()
        .interface(Interface::ports("eth0", [7]).queues([4, 5]))
        .interface(Interface::address("eth1", ip("10.0.0.5"), 24).queues([9]))
        .cores([2, 3])
        .plan()
        .unwrap();
    let workers: Vec<_> =
        plan.workers.iter().map(|w| (w.number, w.core, w.queues.clone())).collect();
    let (a, b) = (InterfaceId(0), InterfaceId(1));
    assert_eq!(workers, [(0, Some(2), vec![(a, 4), (b, 9)]), (1, Some(3), vec![(a, 5)])]);
    assert_eq!(plan.workers[0].memory.queues, 2);
    assert_eq!(
        plan.locked_bytes(),
        plan.workers.iter().map(|w| w.memory.locked_bytes()).sum::<u64>()
    );
    assert_eq!(plan.workers[1].region().frames, plan.workers[1].memory.frames());
}

#[test]
fn the_report_shows_the_formula_with_its_numbers() {
    let two = Config::new()
        .interface(Interface::ports("eth0", [7]).queues([0, 1]))
        .interface(Interface::exclusive("eth1", ip("10.0.0.5"), 24))
        .cores([2, 3]);
    assert_eq!(
        two.plan().unwrap().to_string(),
        "worker 0: core 2, eth0 queue 0, eth1 queue 0, 18496 frames of 2048 B, 36.1 MiB locked \
         = 2 × (2048 fill + 2048 RX + 2048 TX + 2048 completion) + 16 contexts × 64 credit \
         + 1024 loans + 64 reserve\n\
         worker 1: core 3, eth0 queue 1, 10304 frames of 2048 B, 20.1 MiB locked \
         = 1 × (2048 fill + 2048 RX + 2048 TX + 2048 completion) + 16 contexts × 64 credit \
         + 1024 loans + 64 reserve"
    );
    let small = one().profile(Profile::Latency).contexts(1).loans(64);
    assert_eq!(
        small.plan().unwrap().to_string(),
        "worker 0: no core of its own, eth0 queue 0, 1984 frames of 2048 B, 3.9 MiB locked \
         = 1 × (256 fill + 512 RX + 512 TX + 512 completion) + 1 contexts × 64 credit \
         + 64 loans + 64 reserve"
    );
    let chosen = one().frames(4096).frame_size(FrameSize::Bytes4096);
    assert_eq!(
        chosen.plan().unwrap().to_string(),
        "worker 0: no core of its own, eth0 queue 0, 4096 frames of 4096 B, 16.0 MiB locked \
         (as configured)"
    );
}

#[test]
fn profiles_give_sizes_and_settings_go_before_them() {
    let sizes = |config: Config| {
        let plan = config.plan().unwrap();
        (plan.rings.rx, plan.workers[0].memory.fill)
    };
    assert_eq!(sizes(one().profile(Profile::Latency)), (512, 256));
    assert_eq!(sizes(one()), (2048, 2048));
    assert_eq!(sizes(one().profile(Profile::Throughput)), (4096, 4096));
    let rings = RingSizes { rx: 128, tx: 128, fill: 128, completion: 128 };
    assert_eq!(sizes(one().rings(rings)), (128, 128));
    assert_eq!(sizes(one().fill(100).profile(Profile::Throughput)), (4096, 100));
}

#[test]
fn steering_follows_from_the_interface() {
    let kernels = [ip("10.0.0.1")];
    let ephemeral = 61000..=65535;
    let udp = PortSet::of(&[7, 53]).with_range(ephemeral.clone());
    assert_eq!(
        Interface::ports("eth0", [7, 53]).steering(&kernels, &ephemeral),
        Steering::ports(&kernels, PortSet::none(), udp)
    );
    let two = Interface::address("eth0", ip("10.0.0.5"), 24).and_address(ip("10.0.0.6"), 24);
    let all = Interface::exclusive("eth0", ip("10.0.0.5"), 24);
    assert_eq!(
        all.allow_cut_off().steering(&kernels, &ephemeral),
        Steering::exclusive().allow_cut_off()
    );
    assert_eq!(two.attachment().addresses.map(|ours| ours.len()), Some(2));
    assert_eq!(Interface::ports("eth0", [7]).attachment().addresses, None);
}

#[test]
fn modes_are_tried_from_the_best_down_unless_one_is_named() {
    let any = Interface::ports("eth0", [7]);
    assert_eq!(any.modes(), [Mode::ZeroCopy, Mode::Copy, Mode::Generic]);
    assert_eq!(any.mode(Mode::Copy).modes(), [Mode::Copy]);
}

#[test]
fn errors_name_the_fix() {
    let eth = |queues: &[u32]| {
        Config::new().interface(Interface::ports("eth0", [7]).queues(queues.iter().copied()))
    };
    let many = (0..257).fold(Config::new(), |config, i| {
        config.interface(Interface::ports(format!("eth{i}"), [7]))
    });
    let gateway = Via::gateway(InterfaceId(3), ip("10.0.0.254"));
    let cases = [
        (Config::new(), "no interface is configured: add one with Config::interface"),
        (many, "257 interfaces: one engine takes 256; start another"),
        (
            one().interface(Interface::ports("eth0", [9])),
            "eth0 is configured twice: give it several queues instead",
        ),
        (eth(&[]), "eth0 has no queue: name at least one, or leave out `queues`"),
        (eth(&[1, 2, 1]), "queue 1 of eth0 is named twice: one worker has it"),
        (
            Config::new().interface(Interface::ports("eth0", [0])),
            "eth0 takes ports of the kernel's addresses: name ports from 1 to 65535, or use \
             Interface::address for an address of the engine's own",
        ),
        (
            Config::new().interface(Interface::ports("eth0", [7]).and_address(ip("10.0.0.5"), 24)),
            "eth0 takes ports of the kernel's addresses: name ports from 1 to 65535, or use \
             Interface::address for an address of the engine's own",
        ),
        (
            one().cores([1]).turner(Turner::CallerDriven),
            "caller-driven workers run on the application's threads: pin those, and leave out \
             `cores`",
        ),
        (
            eth(&[0, 1]).cores([2]),
            "1 cores for 2 workers: name a core for each, or none at all (there are as many \
             workers as the interface with most queues has queues)",
        ),
        (
            eth(&[0]).cores([2, 3]),
            "2 cores for 1 workers: name a core for each, or none at all (there are as many \
             workers as the interface with most queues has queues)",
        ),
        (eth(&[0, 1]).cores([2, 2]), "core 2 is named twice: two workers would share it"),
        (
            one().ephemeral(RangeInclusive::new(5, 4)),
            "5 to 4 is no range of ports: sockets that ask for no port need one, as 61000 to 65535",
        ),
        (one().contexts(0), "no contexts: no application could use the engine; allow at least 1"),
        (one().fill(63), "63 frames for a fill ring of 2048 entries: use 64 to 2048"),
        (one().fill(2049), "2049 frames for a fill ring of 2048 entries: use 64 to 2048"),
        (
            one().loans(1 << 20),
            "1057856 frames a worker, of which there can be 1048576: use smaller rings, fewer \
             contexts or loans (1057856 frames of 2048 B, 2066.1 MiB locked = 1 × (2048 fill + \
             2048 RX + 2048 TX + 2048 completion) + 16 contexts × 64 credit + 1048576 loans + \
             64 reserve)",
        ),
        (
            one().frames(2000),
            "2000 frames a worker are too few: 1 × (2048 fill + 64 in hand) + 64 reserve = 2176; \
             use more, or a smaller fill",
        ),
        (
            one().route(Route::new(Prefix::ALL_V4, gateway)),
            "0.0.0.0/0 is over interface 3, which was not added",
        ),
        (
            Config::new().interface(Interface::address("eth0", ip("10.0.0.255"), 24)),
            "10.0.0.255/24 is the broadcast address of its subnet: choose another, or the right \
             prefix length",
        ),
    ];
    for (config, message) in cases {
        assert_eq!(config.plan().unwrap_err().to_string(), message);
    }
}

#[test]
fn nothing_that_is_configured_overflows() {
    let most = one().contexts(u32::MAX).loans(u32::MAX);
    assert!(matches!(most.plan(), Err(ConfigError::TooManyFrames { .. })));
}

#[test]
fn a_core_that_is_not_there_is_refused_by_the_host() {
    let plan = one().cores([100_000]).plan().unwrap();
    let error = plan.check_host().unwrap_err().to_string();
    assert!(error.starts_with("core 100000 is not among the cores"), "{error}");
}
