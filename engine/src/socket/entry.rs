//! What ring entries say besides a frame: the tag's bits.
//!
//! ```text
//!  31      24 23      16 15             0
//!  | kind    | IP words | generation     |   worker → context
//!  | kind    | 0        | generation     |   context → worker
//! ```

use super::SocketId;

/// What an entry is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// Worker → context: the last or only frame of a datagram.
    Data = 1,
    /// Worker → context: a frame of a datagram that goes on in the next entry.
    DataMore = 2,
    /// Worker → context: an empty frame to write into. Context → worker, without a frame: it wants
    /// some, at most as many as stand instead of the IP words; 0 for the default.
    Credit = 3,
    /// Context → worker: the frame is no longer needed.
    Return = 4,
    /// Context → worker: send the frame's bytes to the socket's peer.
    Send = 5,
    /// Context → worker: send the frame's bytes to the address that stands before them
    /// ([`Destination`]).
    SendTo = 6,
    /// Worker → context, without a frame: an error of the socket, instead of the IP words.
    Error = 7,
}

/// The tag of an entry, taken apart.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Tag {
    /// What the entry is.
    pub kind: Kind,
    /// Words of 32 bits of the IP header before the UDP header before the data; 0 when there is
    /// none.
    pub ip_header_words: u8,
    /// The socket's generation.
    pub generation: u16,
}

impl Tag {
    /// The tag of an entry about `socket`.
    #[inline]
    #[must_use]
    pub const fn new(kind: Kind, socket: SocketId) -> Self {
        Self { kind, ip_header_words: 0, generation: socket.generation }
    }

    /// As one number.
    #[inline]
    #[must_use]
    pub const fn pack(self) -> u32 {
        (self.kind as u32) << 24 | (self.ip_header_words as u32) << 16 | self.generation as u32
    }

    /// From one number; `None` for a kind that does not exist.
    #[inline]
    #[must_use]
    pub const fn unpack(tag: u32) -> Option<Self> {
        let kind = match tag >> 24 {
            1 => Kind::Data,
            2 => Kind::DataMore,
            3 => Kind::Credit,
            4 => Kind::Return,
            5 => Kind::Send,
            6 => Kind::SendTo,
            7 => Kind::Error,
            _ => return None,
        };
        Some(Self { kind, ip_header_words: (tag >> 16) as u8, generation: tag as u16 })
    }
}

/// The address to send to, as it stands directly before the payload: where the headers will
/// stand, so it costs no cache line of its own.
///
/// ```text
///  0   version (4 or 6)   2   port, big endian   4   address, 16 or 4 bytes
/// ```
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Destination(pub std::net::SocketAddr);

impl Destination {
    /// Bytes before the payload.
    pub const LEN: usize = 20;

    /// Writes it.
    #[inline]
    pub fn write(self, to: &mut [u8; Self::LEN]) {
        to[2..4].copy_from_slice(&self.0.port().to_be_bytes());
        match self.0.ip() {
            std::net::IpAddr::V4(address) => {
                to[0] = 4;
                to[4..8].copy_from_slice(&address.octets());
            }
            std::net::IpAddr::V6(address) => {
                to[0] = 6;
                to[4..20].copy_from_slice(&address.octets());
            }
        }
    }

    /// Reads it; `None` when it is none: an application wrote it, and may have written anything.
    #[inline]
    #[must_use]
    pub fn read(from: &[u8; Self::LEN]) -> Option<Self> {
        let [version, _, p0, p1, address @ ..] = *from;
        let port = u16::from_be_bytes([p0, p1]);
        let address: std::net::IpAddr = match version {
            4 => {
                let [a, b, c, d, ..] = address;
                std::net::Ipv4Addr::new(a, b, c, d).into()
            }
            6 => std::net::Ipv6Addr::from(address).into(),
            _ => return None,
        };
        Some(Self(std::net::SocketAddr::new(address, port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_survive_and_unknown_kinds_are_refused() {
        let socket = SocketId { slot: 9, generation: 0xfedc };
        use Kind::{Credit, Data, DataMore, Error, Return, Send, SendTo};
        for kind in [Data, DataMore, Credit, Return, Send, SendTo, Error] {
            let tag = Tag { ip_header_words: 15, ..Tag::new(kind, socket) };
            assert_eq!(Tag::unpack(tag.pack()), Some(tag));
        }
        for kind in (0u32..=255).filter(|kind| !(1..=7).contains(kind)) {
            assert_eq!(Tag::unpack(kind << 24), None);
        }
    }

    #[test]
    fn destinations_survive() {
        for address in ["10.1.2.3:9", "[fd00::7]:65535"] {
            let destination = Destination(address.parse().expect("valid"));
            let mut bytes = [0xff; Destination::LEN];
            destination.write(&mut bytes);
            assert_eq!(Destination::read(&bytes), Some(destination));
        }
        assert_eq!(Destination::read(&[0; Destination::LEN]), None);
    }
}
