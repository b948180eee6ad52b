//! What XDP a driver has: the "netdev" family of generic netlink (Linux 6.3).

use std::io;

use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};

/// Which XDP features a driver has (enum netdev_xdp_act, include/uapi/linux/netdev.h).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct XdpFeatures {
    bits: u64,
    /// Buffers that one zero-copy packet may have; 1 where there is no multi-buffer.
    pub zero_copy_segments: u32,
}

impl XdpFeatures {
    /// The features with these bits.
    #[cfg(test)]
    pub(crate) const fn of(bits: u64) -> Self {
        Self { bits, zero_copy_segments: 1 }
    }

    /// Drop, pass and transmit: native XDP.
    #[must_use]
    pub const fn has_native(self) -> bool {
        self.bits & 1 != 0
    }

    /// Redirect to a socket: without it nothing reaches AF_XDP.
    #[must_use]
    pub const fn has_redirect(self) -> bool {
        self.bits & 2 != 0
    }

    /// AF_XDP zero-copy.
    #[must_use]
    pub const fn has_zero_copy(self) -> bool {
        self.bits & 8 != 0
    }

    /// Received packets of several buffers.
    #[must_use]
    pub const fn has_multi_buffer(self) -> bool {
        self.bits & 32 != 0
    }
}

/// The XDP features of the interface of this index.
///
/// # Errors
/// A kernel older than 6.3; no such interface.
pub fn xdp_features(index: u32) -> io::Result<XdpFeatures> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let family = ask(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 2, b"netdev\0")?;
    let id = attribute(&family, CTRL_ATTR_FAMILY_ID)
        .and_then(|value| value.first_chunk())
        .ok_or_else(malformed)?;
    let id = u16::from_ne_bytes(*id);
    let device = ask(&socket, id, NETDEV_CMD_DEV_GET, NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes())?;
    let word = |kind| attribute(&device, kind).and_then(|value| value.first_chunk::<8>());
    let bits = word(NETDEV_A_DEV_XDP_FEATURES).ok_or_else(malformed)?;
    let segments = attribute(&device, NETDEV_A_DEV_XDP_ZC_MAX_SEGS);
    let segments = segments.and_then(|value| value.first_chunk());
    Ok(XdpFeatures {
        bits: u64::from_ne_bytes(*bits),
        zero_copy_segments: segments.map_or(1, |value| u32::from_ne_bytes(*value)),
    })
}

/// include/uapi/linux/{netlink,genetlink,netdev}.h
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_A_DEV_XDP_ZC_MAX_SEGS: u16 = 4;
/// struct nlmsghdr, struct genlmsghdr, struct nlattr.
const NETLINK_HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;

/// Sends a command with one attribute; the attributes of the answer.
fn ask(socket: &Socket, family: u16, command: u8, kind: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    let attribute = ATTRIBUTE_HEADER + value.len();
    let length = NETLINK_HEADER + GENERIC_HEADER + attribute.next_multiple_of(4);
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend((attribute as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(length, 0);
    socket.send(&message, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    parse(&answer).map(<[u8]>::to_vec)
}

/// The attributes of an answer, or the error that it is.
fn parse(answer: &[u8]) -> io::Result<&[u8]> {
    let kind = answer.get(4..6).and_then(|kind| kind.first_chunk()).ok_or_else(malformed)?;
    if u16::from_ne_bytes(*kind) == NLMSG_ERROR {
        let code = answer.get(16..20).and_then(|code| code.first_chunk()).ok_or_else(malformed)?;
        return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(*code)));
    }
    answer.get(NETLINK_HEADER + GENERIC_HEADER..).ok_or_else(malformed)
}

/// The value of the first attribute of this kind.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let [a, b, c, d] = *attributes.first_chunk()?;
        let (length, kind) = (u16::from_ne_bytes([a, b]) as usize, u16::from_ne_bytes([c, d]));
        let value = attributes.get(ATTRIBUTE_HEADER..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn malformed() -> io::Error {
    io::Error::other("the kernel's answer makes no sense")
}

#[cfg(test)]
mod tests {
    use super::super::Interface;
    use super::*;

    #[test]
    fn the_loopback_has_no_native_xdp() {
        let lo = Interface::find("lo").expect("every namespace has one");
        match xdp_features(lo.index) {
            Ok(features) => assert!(!features.has_native() && !features.has_zero_copy()),
            // Linux before 6.3.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOENT)),
        }
    }

    #[test]
    fn attributes_are_found_and_broken_ones_are_not() {
        let mut bytes = vec![5, 0, 7, 0, 42, 0, 0, 0, 6, 0, 9, 0, 1, 2, 0, 0];
        assert_eq!(attribute(&bytes, 7), Some(&[42][..]));
        assert_eq!(attribute(&bytes, 9), Some(&[1, 2][..]));
        assert_eq!(attribute(&bytes, 8), None);
        for length in [0, 3, 200] {
            bytes[0] = length;
            assert_eq!(attribute(&bytes, 9), None, "a length of {length}");
        }
        assert!(parse(&[]).is_err() && parse(&[0; 18]).is_err());
    }
}
