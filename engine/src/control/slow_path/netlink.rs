//! rtnetlink: questions with their answers, and what the kernel announces.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// One netlink socket, in the network namespace of the thread that made it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// What the kernel announced.
#[derive(Debug)]
pub(super) enum Announced {
    /// These messages, perhaps none.
    Messages(Vec<RouteNetlinkMessage>),
    /// More than the socket could hold: some are lost, so everything must be read anew.
    Overrun,
}

impl Connection {
    /// A socket for questions.
    pub(super) fn for_requests() -> io::Result<Self> {
        let connection = Self::open()?;
        // The answer comes from the kernel at once. Should one be lost, the caller must not wait
        // for ever: the control plane has links to watch.
        let patience = Some(Duration::from_secs(2));
        rustix::net::sockopt::set_socket_timeout(
            &connection.socket,
            rustix::net::sockopt::Timeout::Recv,
            patience,
        )?;
        // Filters in the question count (Linux 4.20); without, the kernel sends all tables.
        let _ = connection.socket.set_netlink_get_strict_chk(true);
        Ok(connection)
    }

    /// A socket that hears what is announced to these groups, and never blocks.
    pub(super) fn for_events(groups: &[u32]) -> io::Result<Self> {
        let connection = Self::open()?;
        connection.socket.set_non_blocking(true)?;
        // More is possible only with CAP_NET_ADMIN; the kernel grants what it may.
        let _ = connection.socket.set_rx_buf_sz(EVENT_BUFFER);
        for group in groups {
            connection.socket.add_membership(*group)?;
        }
        Ok(connection)
    }

    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BUFFER) })
    }

    /// What to poll.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Everything that the kernel answers to a question for a list.
    ///
    /// Messages that this program does not understand, as of a newer kernel, are left out.
    pub(super) fn dump(
        &mut self,
        question: &RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut answer = Vec::new();
        for _ in 0..DUMP_ATTEMPTS {
            answer = Vec::new();
            self.send(question.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            if self.collect(&mut answer)? {
                break;
            }
        }
        // After so many interruptions a list that mixes two moments must do; what changed while
        // it was read has been announced and is read again.
        Ok(answer)
    }

    /// Has the kernel do something, and waits until it has.
    pub(super) fn request(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE)?;
        self.collect(&mut Vec::new()).map(|_| ())
    }

    /// What has been announced since the last call.
    pub(super) fn announced(&mut self) -> io::Result<Announced> {
        let mut messages = Vec::new();
        // A flood of announcements must not keep the caller from its other work.
        for _ in 0..DATAGRAMS_A_CALL {
            match self.receive() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(Announced::Overrun);
                }
                Err(error) => return Err(error),
            }
            for (_, payload) in split(&self.buffer) {
                if let Some(NetlinkPayload::InnerMessage(message)) = payload {
                    messages.push(message);
                }
            }
        }
        Ok(Announced::Messages(messages))
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        // Port 0 is the kernel.
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map(|_| ())
    }

    /// Reads the answer to the last question to its end; `false` when the kernel's list changed
    /// while it was read.
    fn collect(&mut self, answer: &mut Vec<RouteNetlinkMessage>) -> io::Result<bool> {
        let mut whole = true;
        loop {
            self.receive()?;
            for (header, payload) in split(&self.buffer) {
                if header.sequence_number != self.sequence {
                    continue;
                }
                whole &= header.flags & NLM_F_DUMP_INTR == 0;
                match payload {
                    Some(NetlinkPayload::InnerMessage(message)) => answer.push(message),
                    Some(NetlinkPayload::Done(_)) => return Ok(whole),
                    Some(NetlinkPayload::Error(error)) => {
                        // Zero is the acknowledgement.
                        return error.code.map_or(Ok(whole), |code| {
                            Err(io::Error::from_raw_os_error(code.get().saturating_neg()))
                        });
                    }
                    _ => {}
                }
            }
        }
    }

    /// One datagram of the kernel into the buffer.
    fn receive(&mut self) -> io::Result<()> {
        loop {
            self.buffer.clear();
            match self.socket.recv_from(&mut self.buffer, 0) {
                // Only the kernel has port 0; others may write to us, and are not believed.
                Ok((_, from)) if from.port_number() == 0 => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The messages of a datagram; `None` for one that this program does not understand.
fn split(
    mut bytes: &[u8],
) -> impl Iterator<Item = (NetlinkHeader, Option<NetlinkPayload<RouteNetlinkMessage>>)> + '_ {
    std::iter::from_fn(move || {
        let length = NetlinkBuffer::new_checked(bytes).ok()?.length() as usize;
        let (message, rest) = bytes.split_at_checked(length.max(HEADER_LEN))?;
        // Messages are aligned to 4 bytes (NLMSG_ALIGN, include/uapi/linux/netlink.h).
        bytes = rest.get(length.next_multiple_of(4) - length..).unwrap_or_default();
        let buffer = NetlinkBuffer::new_checked(message).ok()?;
        let mut header = NetlinkHeader::default();
        header.length = buffer.length();
        header.message_type = buffer.message_type();
        header.flags = buffer.flags();
        header.sequence_number = buffer.sequence_number();
        header.port_number = buffer.port_number();
        let parsed = NetlinkMessage::deserialize(message).ok();
        Some((header, parsed.map(|message| message.payload)))
    })
}

/// Bytes of a netlink header (include/uapi/linux/netlink.h).
const HEADER_LEN: usize = 16;

/// The kernel fills at most 32 KiB a datagram of a list (net/netlink/af_netlink.c,
/// `netlink_dump`); a smaller buffer would cut some off.
const RECEIVE_BUFFER: usize = 64 << 10;

/// What announcements may pile up while the caller is busy. A thousand routes that come at once
/// are about 200 KiB; the default, 208 KiB, overruns.
const EVENT_BUFFER: u32 = 1 << 20;

/// Each attempt starts where the last was interrupted by a change. Three, as iproute2's users do.
const DUMP_ATTEMPTS: usize = 3;

/// At most about 8 MiB of announcements a call.
const DATAGRAMS_A_CALL: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::link::LinkMessage;

    fn link(index: u32) -> Vec<u8> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::NewLink(link));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    #[test]
    fn a_message_that_nobody_knows_does_not_hide_the_next() {
        let mut strange = link(1);
        strange[4..6].copy_from_slice(&999u16.to_ne_bytes());
        let bytes = [link(7), strange, link(8)].concat();
        let found: Vec<_> = split(&bytes).map(|(_, payload)| payload.is_some()).collect();
        assert_eq!(found, [true, false, true]);
    }

    #[test]
    fn no_bytes_make_it_panic_or_run_for_ever() {
        let good = [link(7), link(8)].concat();
        for len in 0..good.len() {
            assert!(split(&good[..len]).count() <= 2);
        }
        for place in 0..good.len() {
            for byte in [0, 1, 4, 15, 17, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[place] = byte;
                assert!(split(&bad).count() <= good.len() / HEADER_LEN, "{byte} at {place}");
            }
        }
    }
}
