//! The few rtnetlink requests that make a pair of veth hosts (man 7 rtnetlink), so that nothing
//! has to be installed for a benchmark.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::sys;

/// A routing socket of the network namespace in which it was opened.
pub(crate) struct Netlink {
    socket: File,
    sequence: u32,
}

/// One end of a veth pair, as it is asked for.
pub(crate) struct End<'a> {
    /// The interface's name in its namespace.
    pub(crate) name: &'a str,
    /// Its hardware address.
    pub(crate) mac: [u8; 6],
    /// Its MTU in bytes, without the Ethernet header.
    pub(crate) mtu: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: sys::netlink_route()?, sequence: 0 })
    }

    /// Makes a veth pair of one queue: `here` in this namespace, `there` in `namespace`.
    pub(crate) fn add_veth(
        &mut self,
        here: &End<'_>,
        there: &End<'_>,
        namespace: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut request = Request::new(libc::RTM_NEWLINK, CREATE);
        request.link_header(0, 0);
        request.end(here);
        let info = request.open(libc::IFLA_LINKINFO);
        request.attribute(libc::IFLA_INFO_KIND, b"veth");
        let data = request.open(libc::IFLA_INFO_DATA);
        let peer = request.open(VETH_INFO_PEER);
        request.link_header(0, 0);
        request.end(there);
        request.attribute(libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        request.close(peer);
        request.close(data);
        request.close(info);
        self.ask(request)
    }

    /// Brings an interface up.
    pub(crate) fn set_up(&mut self, interface: u32) -> io::Result<()> {
        let mut request = Request::new(libc::RTM_NEWLINK, 0);
        request.link_header(interface, libc::IFF_UP as u32);
        self.ask(request)
    }

    /// Gives an interface an address.
    pub(crate) fn add_address(
        &mut self,
        interface: u32,
        address: Ipv4Addr,
        prefix: u8,
    ) -> io::Result<()> {
        let mut request = Request::new(libc::RTM_NEWADDR, CREATE);
        // struct ifaddrmsg: family, prefix length, flags, scope (0 is the universe), index.
        request.bytes(&[libc::AF_INET as u8, prefix, 0, 0]);
        request.bytes(&interface.to_ne_bytes());
        request.attribute(libc::IFA_LOCAL, &address.octets());
        request.attribute(libc::IFA_ADDRESS, &address.octets());
        self.ask(request)
    }

    /// Tells the kernel a neighbour's hardware address for good, so that no ARP is measured.
    pub(crate) fn add_neighbor(
        &mut self,
        interface: u32,
        address: Ipv4Addr,
        mac: [u8; 6],
    ) -> io::Result<()> {
        let mut request = Request::new(libc::RTM_NEWNEIGH, CREATE);
        // struct ndmsg: family, padding, index, state, flags, type.
        request.bytes(&[libc::AF_INET as u8, 0, 0, 0]);
        request.bytes(&interface.to_ne_bytes());
        request.bytes(&libc::NUD_PERMANENT.to_ne_bytes());
        request.bytes(&[0, 0]);
        request.attribute(libc::NDA_DST, &address.octets());
        request.attribute(libc::NDA_LLADDR, &mac);
        self.ask(request)
    }

    /// Sends a request and waits for its acknowledgement.
    fn ask(&mut self, request: Request) -> io::Result<()> {
        self.sequence += 1;
        self.socket.write_all(&request.finish(self.sequence))?;
        // The kernel answers an NLM_F_ACK with one struct nlmsgerr: 16 bytes of header, then a
        // negated errno or 0.
        let mut answer = [0; 4096];
        let length = self.socket.read(&mut answer)?;
        let error =
            answer.get(16..20).filter(|_| length >= 20).and_then(|bytes| bytes.try_into().ok());
        match error.map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(-error)),
            None => Err(io::Error::other("a netlink answer without an error number")),
        }
    }
}

/// A request under construction.
struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: libc::c_int) -> Self {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        // struct nlmsghdr: length and sequence come last, in `finish`.
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Self { bytes }
    }

    /// struct ifinfomsg: family, padding, type, index, flags, mask of the flags that change.
    fn link_header(&mut self, index: u32, flags: u32) {
        self.bytes(&[0; 4]);
        self.bytes(&index.to_ne_bytes());
        self.bytes(&flags.to_ne_bytes());
        self.bytes(&flags.to_ne_bytes());
    }

    fn end(&mut self, end: &End<'_>) {
        let mut name = end.name.as_bytes().to_vec();
        name.push(0);
        self.attribute(libc::IFLA_IFNAME, &name);
        self.attribute(libc::IFLA_ADDRESS, &end.mac);
        self.attribute(libc::IFLA_MTU, &end.mtu.to_ne_bytes());
        self.attribute(libc::IFLA_NUM_TX_QUEUES, &1u32.to_ne_bytes());
        self.attribute(libc::IFLA_NUM_RX_QUEUES, &1u32.to_ne_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.bytes(value);
        self.close(start);
    }

    /// Begins an attribute, nested or not, and returns where.
    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes(&[0; 2]);
        self.bytes(&kind.to_ne_bytes());
        start
    }

    /// Ends the attribute that began at `start`: its length, then padding to four bytes.
    fn close(&mut self, start: usize) {
        // Requests here are a few hundred bytes.
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

const CREATE: libc::c_int = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
/// linux/veth.h; not in libc.
const VETH_INFO_PEER: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested() {
        let mut request = Request::new(libc::RTM_NEWLINK, 0);
        let outer = request.open(7);
        request.attribute(1, b"abc");
        request.close(outer);
        let bytes = request.finish(9);
        assert_eq!(bytes.len(), 16 + 4 + 8);
        assert_eq!(bytes[0..4], 28u32.to_ne_bytes());
        assert_eq!(bytes[8..12], 9u32.to_ne_bytes());
        assert_eq!(bytes[16..18], 12u16.to_ne_bytes(), "the outer one counts the padding inside");
        assert_eq!(bytes[20..22], 7u16.to_ne_bytes(), "the inner one does not count its own");
        assert_eq!(bytes[24..], *b"abc\0");
    }
}
