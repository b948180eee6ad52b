//! What drivers say about their NICs: SIOCETHTOOL.
//!
//! Command numbers and structures are those of include/uapi/linux/ethtool.h. Every structure is
//! an array of 32-bit words, which is how it is passed here.
#![allow(unsafe_code, reason = "the ethtool ioctl; on the allow-list of scripts/tidy")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
/// The string set that names the features.
const ETH_SS_FEATURES: u32 = 4;
/// Bytes of one string (ETH_GSTRING_LEN).
const STRING: usize = 32;
/// More features than any kernel has had; a larger number is a kernel that makes no sense.
const FEATURES_MAX: usize = 1024;

/// How many queues are in use, and how many there can be.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Channels {
    /// Receive queues in use.
    pub rx: u32,
    /// Transmit queues in use.
    pub tx: u32,
    /// Pairs that the driver can have at most, where it counts in pairs; else 0.
    pub combined_max: u32,
}

/// The name of the driver.
///
/// # Errors
/// No such interface, or a driver that does not say.
pub fn driver(interface: &str) -> io::Result<String> {
    // cmd, then 6 strings: driver, version, firmware, bus (32 bytes each) and more.
    let mut words = [0; 49];
    words[0] = ETHTOOL_GDRVINFO;
    ask(interface, &mut words)?;
    Ok(string(&words[1..9]))
}

/// How many queues are in use.
///
/// # Errors
/// No such interface, or a driver that does not say.
pub fn channels(interface: &str) -> io::Result<Channels> {
    // cmd, max_rx, max_tx, max_other, max_combined, rx, tx, other, combined
    let mut words = [0; 9];
    words[0] = ETHTOOL_GCHANNELS;
    ask(interface, &mut words)?;
    let [_, _, _, _, combined_max, rx, tx, _, combined] = words;
    Ok(Channels { rx: rx + combined, tx: tx + combined, combined_max })
}

/// The features that are on, by the names that `ethtool -k` shows for single ones.
///
/// # Errors
/// No such interface.
pub fn features_on(interface: &str) -> io::Result<Vec<String>> {
    // cmd, reserved, mask (64 bits), one count
    let mut info = [ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0, 0];
    ask(interface, &mut info)?;
    // The kernel's counts bound what it will write; ours must not be smaller.
    let count = info[4] as usize;
    if count > FEATURES_MAX {
        return Err(io::Error::other("the kernel names more features than can be"));
    }
    // cmd, set, count, strings
    let mut names = vec![0; 3 + count * STRING / 4];
    names[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count as u32]);
    ask(interface, &mut names)?;
    // cmd, blocks, then for each 32 features: available, requested, active, never changed
    let blocks = count.div_ceil(32);
    let mut states = vec![0; 2 + blocks * 4];
    states[..2].copy_from_slice(&[ETHTOOL_GFEATURES, blocks as u32]);
    ask(interface, &mut states)?;
    let is_on = |feature: &usize| states[2 + feature / 32 * 4 + 2] >> (feature % 32) & 1 != 0;
    let name = |feature: usize| string(&names[3 + feature * STRING / 4..][..STRING / 4]);
    Ok((0..count).filter(is_on).map(name).collect())
}

/// Fills `words`, a whole structure of the command in its first word.
fn ask(interface: &str, words: &mut [u32]) -> io::Result<()> {
    // Any socket of this namespace will do.
    let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))
        .or_else(|_| UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)))?;
    let mut request = Request { name: [0; 16], data: words.as_mut_ptr(), rest: [0; 16] };
    if interface.len() >= request.name.len() {
        return Err(io::ErrorKind::NotFound.into());
    }
    request.name[..interface.len()].copy_from_slice(interface.as_bytes());
    // SAFETY: the request is a struct ifreq with a pointer to `words`, which is ours alone and as
    // long as its command makes it: a fixed structure, or one whose counts stand in its first
    // words and bound what the kernel writes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// struct ifreq (include/uapi/linux/if.h): 40 bytes, the data pointer first in its union.
#[repr(C)]
struct Request {
    name: [u8; 16],
    data: *mut u32,
    rest: [u8; 16],
}

const _: () = assert!(size_of::<Request>() == 40);

fn string(words: &[u32]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_features_and_no_channels() {
        let on = features_on("lo").expect("every interface has features");
        assert!(on.iter().any(|name| name == "loopback"), "{on:?}");
        assert!(channels("lo").is_err());
    }

    #[test]
    fn a_missing_interface_is_an_error() {
        for name in ["corewire-nope", "a-name-longer-than-any-interface-has"] {
            assert!(features_on(name).is_err() && driver(name).is_err(), "{name}");
        }
    }

    #[test]
    fn strings_end_at_the_zero() {
        let words = [u32::from_ne_bytes(*b"veth"), 0, u32::from_ne_bytes(*b"junk")];
        assert_eq!(string(&words), "veth");
    }
}
