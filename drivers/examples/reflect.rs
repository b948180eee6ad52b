//! Sends every UDP datagram for an address and port back to whoever sent it, without a stack:
//! swaps MAC addresses, IP addresses and ports where they lie, in the frame that was received.
//!
//! ```text
//! reflect INTERFACE ADDRESS:PORT [zc|copy|skb [COUNT]]
//! ```
//!
//! The address is one that the kernel has on that interface: ARP stays with the kernel, the port
//! comes here. After COUNT datagrams and two seconds of silence it gives the queue back and says
//! whether every frame came home; without COUNT it runs until it is killed, and the queue is free
//! then too. `udp_load` is the other end.

use std::net::{SocketAddr, SocketAddrV4};
use std::process::ExitCode;
use std::time::Duration;

use corewire_drivers::af_xdp::{AfXdp, Mode, PortSet, Steering};
use corewire_drivers::device::{Burst, Device, DeviceState};
use corewire_drivers::env::Clock;
use corewire_drivers::mem::{Pool, Region, RegionConfig};

/// Ethernet, IPv4 without options, UDP: what is swapped lies below this.
const HEADERS: usize = 14 + 20 + 8;

/// Empty rounds before a nap: some microseconds, more than the pause between two bursts of a client
/// that is at work.
const SPIN_ROUNDS: u32 = 20;
/// No more can be under way by then: a client that misses an answer asks again within it.
const SILENCE: Duration = Duration::from_secs(2);
/// Long enough to leave the core to others, short against the queue's 2,048 places.
const NAP: Duration = Duration::from_micros(50);

/// Turns a datagram round; `false` when it is not one that we can.
fn turn_round(frame: &mut [u8]) -> bool {
    let Some(headers) = frame.first_chunk_mut::<HEADERS>() else { return false };
    let is_plain_ipv4_udp = headers[12..15] == [0x08, 0x00, 0x45] && headers[23] == 17;
    if !is_plain_ipv4_udp {
        return false;
    }
    // Every swap keeps the sum of its bytes, so both checksums stay right.
    for (one, other, length) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
        let (front, back) = headers.split_at_mut(other);
        front[one..one + length].swap_with_slice(&mut back[..length]);
    }
    true
}

fn reflect(device: &mut AfXdp, pool: &mut Pool, clock: &Clock, count: u64) -> (u64, u64) {
    let (mut received, mut ready) = (Burst::new(), Burst::new());
    let (mut reflected, mut refused) = (0, 0);
    let (mut idle_rounds, mut last_seen) = (0, clock.now());
    while device.state() != DeviceState::Gone {
        let now = clock.now();
        device.reclaim(now, pool);
        if device.rx_burst(now, pool, &mut received) > 0 {
            (idle_rounds, last_seen) = (0, now);
        } else if reflected >= count && now.saturating_since(last_seen) > SILENCE {
            break;
        } else if idle_rounds < SPIN_ROUNDS {
            idle_rounds += 1;
        } else {
            std::thread::sleep(NAP);
        }
        for mut packet in received.drain() {
            if !turn_round(pool.bytes_mut(&mut packet)) {
                refused += 1;
                pool.free(packet);
            } else if let Err(packet) = ready.push(packet) {
                // The wire takes less than it gives.
                refused += 1;
                pool.free(packet);
            }
        }
        reflected += device.tx_burst(now, pool, &mut ready) as u64;
    }
    ready.free(pool);
    (reflected, refused)
}

fn run(interface: &str, server: SocketAddrV4, mode: Mode, count: u64) -> Result<bool, String> {
    let region = Region::new(&RegionConfig::default()).map_err(|error| error.to_string())?;
    let mut pool = Pool::new(region).map_err(|error| error.to_string())?;
    let udp = PortSet::of(&[server.port()]);
    let steering = Steering::ports(&[(*server.ip()).into()], PortSet::none(), udp);
    let builder = AfXdp::builder(interface).mode(mode).steering(steering);
    let mut device = builder.open(&mut pool).map_err(|error| error.to_string())?;
    // What the kernel granted, not what was asked for.
    println!("{}: reflecting {server}", device.capabilities().name);

    let clock = Clock::system();
    let (reflected, refused) = reflect(&mut device, &mut pool, &clock, count);
    let counts = device.counts();
    device.release(&mut pool);
    let home = pool.free_count();
    let all = pool.region().frame_count() as usize;
    println!(
        "{reflected} reflected, {refused} refused, {} lost for want of a frame or of room, \
         {home} of {all} frames home",
        counts.rx_no_frame + counts.rx_ring_full,
    );
    Ok(pool.is_conserved() && home == all && reflected >= count)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = match arguments.get(2).map_or("copy", String::as_str) {
        "zc" => Some(Mode::ZeroCopy),
        "copy" => Some(Mode::Copy),
        "skb" => Some(Mode::Generic),
        _ => None,
    };
    let server = arguments.get(1).and_then(|word| word.parse::<SocketAddr>().ok());
    let count = arguments.get(3).map_or(Some(u64::MAX), |word| word.parse().ok());
    let (Some(interface), Some(SocketAddr::V4(server)), Some(mode), Some(count)) =
        (arguments.first(), server, mode, count)
    else {
        eprintln!("usage: reflect INTERFACE ADDRESS:PORT [zc|copy|skb [COUNT]], over IPv4");
        return ExitCode::from(2);
    };
    match run(interface, server, mode, count) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("reflect: {error}");
            ExitCode::FAILURE
        }
    }
}
