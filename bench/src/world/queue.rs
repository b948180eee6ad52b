//! A host's only queue, as a device with frames of its own.

use std::io;

use corewire_drivers::af_xdp::{AfXdp, Mode, Steering};
use corewire_drivers::mem::{Pool, Region, RegionConfig};

use crate::cli::XdpMode;
use crate::world::veth::Host;

/// Opens the queue of the host that the calling thread is in; everything that arrives comes to
/// it.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] where the driver has no zero-copy,
/// [`io::ErrorKind::PermissionDenied`] when a capability is missing; each with its remedy.
pub(crate) fn open(host: &Host, mode: XdpMode) -> io::Result<(AfXdp, Pool)> {
    let config = RegionConfig { frames: FRAMES, ..RegionConfig::default() };
    let mut pool = Pool::new(Region::new(&config)?)?;
    let device = AfXdp::builder(host.interface)
        .mode(match mode {
            XdpMode::Zc => Mode::ZeroCopy,
            XdpMode::Copy => Mode::Copy,
            XdpMode::Skb => Mode::Generic,
        })
        .steering(Steering::exclusive())
        .open(&mut pool)?;
    Ok((device, pool))
}

/// Of a raw loop: the usual region, 8 MiB.
const FRAMES: u32 = 4096;
