//! Requests to the kernel over rtnetlink: one message, the answers until the last.

use std::io;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Sends one request and gives the one answer.
///
/// # Errors
/// What the kernel says; an answer that can't be read.
pub fn request(message: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
    let mut answers = exchange(message, 0)?;
    answers.pop().ok_or_else(|| io::Error::other("the kernel did not answer"))
}

/// Asks for all objects of a kind.
///
/// # Errors
/// What the kernel says. Objects that can't be read, because this kernel is newer, are left out.
pub fn dump(message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    exchange(message, NLM_F_DUMP)
}

fn exchange(message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = 1;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while let Some((message, after)) = split_message(rest) {
            rest = after;
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) else {
                continue;
            };
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                _ => {}
            }
        }
        if flags & NLM_F_DUMP == 0 {
            return Ok(answers);
        }
    }
}

/// The first message of a datagram, and the rest; `None` when there is no whole one.
fn split_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    // struct nlmsghdr starts with the length, header included (include/uapi/linux/netlink.h).
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    if length < 16 || length > bytes.len() {
        return None;
    }
    let next = length.next_multiple_of(4).min(bytes.len());
    Some((&bytes[..length], &bytes[next..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_split_by_their_lengths() {
        let mut bytes = vec![0; 17 + 3 + 16];
        bytes[..4].copy_from_slice(&17u32.to_ne_bytes());
        bytes[20..24].copy_from_slice(&16u32.to_ne_bytes());
        let (first, rest) = split_message(&bytes).expect("a message");
        assert_eq!((first.len(), rest.len()), (17, 16));
        let (second, rest) = split_message(rest).expect("a message");
        assert_eq!((second.len(), rest.len()), (16, 0));
        assert!(split_message(rest).is_none());
        for broken in [0u32, 15, 37, u32::MAX] {
            bytes[..4].copy_from_slice(&broken.to_ne_bytes());
            assert!(split_message(&bytes).is_none(), "{broken}");
        }
    }
}
