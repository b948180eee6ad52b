//! The system calls that std does not have: namespaces, pinning, batches of datagrams.
#![allow(unsafe_code, reason = "system calls; on the allow-list of scripts/tidy")]

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// The kernel's answer as a result: -1 is `errno`.
fn check(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// The effective user is root.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Keeps the calling thread, and what it starts, on one core.
///
/// # Errors
/// EINVAL when the core does not exist or is outside of the process's cpuset.
pub(crate) fn pin_to(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: cpu_set_t is plain bits, for which all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    // SAFETY: `core` is below CPU_SETSIZE, so the bit is inside `set`.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` lives through the call and its size is given.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) }).map(drop)
}

/// The cores on which this thread may run, ascending.
pub(crate) fn allowed_cores() -> io::Result<Vec<usize>> {
    // SAFETY: cpu_set_t is plain bits, for which all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    // SAFETY: `set` lives through the call and its size is given.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) })?;
    // SAFETY: every core asked for is below CPU_SETSIZE.
    let is_set = |core: &usize| unsafe { libc::CPU_ISSET(*core, &set) };
    Ok((0..libc::CPU_SETSIZE as usize).filter(is_set).collect())
}

/// Moves the calling thread into a new, empty network namespace and returns a handle of it.
///
/// The namespace dies with the last thread and the last descriptor in it: nothing is left when
/// the process is killed.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub(crate) fn unshare_network() -> io::Result<OwnedFd> {
    // SAFETY: CLONE_NEWNET changes only which network namespace this thread is in.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Moves the calling thread into a network namespace.
pub(crate) fn enter_network(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Asks the kernel to send SIGKILL to the calling process when the thread that made it ends.
/// To be called between fork and exec.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).map(drop)
}

/// Makes `command`'s process end when the calling thread ends, whatever ends it.
pub(crate) fn bind_to_this_thread(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: `die_with_parent` is one system call: no allocation, no lock, async-signal-safe.
    unsafe { command.pre_exec(die_with_parent) };
}

/// The calling thread's id, as /proc knows it.
pub(crate) fn thread_id() -> u32 {
    // SAFETY: gettid takes nothing and cannot fail.
    unsafe { libc::gettid() }.unsigned_abs()
}

/// Sends a signal to a child of ours.
pub(crate) fn signal_child(child: &std::process::Child, signal: libc::c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: kill touches no memory; a `Child` not yet waited for keeps its pid from reuse.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Sets an integer socket option.
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` lives through the call and `length` is its size.
    check(unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length)
    })
    .map(drop)
}

/// Reads an integer socket option.
pub(crate) fn option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` and `length` live through the call and `length` is the size of `value`.
    check(unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length)
    })?;
    Ok(value)
}

/// A routing netlink socket of the calling thread's network namespace. read(2) and write(2) work
/// on it, so a `File` will do.
pub(crate) fn netlink_route() -> io::Result<File> {
    // SAFETY: socket takes numbers only.
    let fd = check(unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
    })?;
    // SAFETY: `fd` was made above and nobody else has it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// The index of an interface of the calling thread's network namespace.
pub(crate) fn interface_index(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: `name` ends in a zero byte and lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// SIOCETHTOOL with one number: the offload switches ETHTOOL_S….
///
/// # Errors
/// EOPNOTSUPP when the device does not know the switch, EPERM without CAP_NET_ADMIN.
pub(crate) fn ethtool_set(interface: &str, command: u32, data: u32) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut value = EthtoolValue { command, data };
    let mut request = interface_request(interface)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: `request` and the value that it points to live through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) })
        .map(drop)
}

/// Whether an interface is up and its peer as well: before that, what is sent is lost.
pub(crate) fn is_running(interface: &str) -> io::Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut request = interface_request(interface)?;
    // SAFETY: `request` lives through the call, which writes the flags into it.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) })?;
    // SAFETY: the call has just written this member of the union, and any bits are flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(i32::from(flags) & libc::IFF_RUNNING != 0)
}

/// A request about an interface, to be completed.
fn interface_request(interface: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is plain numbers and a union of them, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { core::mem::zeroed() };
    // The last byte stays zero and ends the name.
    let room = request.ifr_name.len() - 1;
    if interface.len() > room {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// Datagrams received and sent with one system call: recvmmsg and sendmmsg.
pub(crate) struct Batch {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    addresses: Box<[libc::sockaddr_in]>,
    bytes: Box<[u8]>,
    stride: usize,
}

impl Batch {
    /// Room for `count` datagrams of up to `stride` bytes.
    pub(crate) fn new(count: usize, stride: usize) -> Self {
        // SAFETY: all three are plain numbers and pointers, for which zeroes are valid.
        let (header, vector, address) =
            unsafe { core::mem::zeroed::<(libc::mmsghdr, libc::iovec, libc::sockaddr_in)>() };
        Self {
            headers: vec![header; count].into(),
            vectors: vec![vector; count].into(),
            addresses: vec![address; count].into(),
            bytes: vec![0; count * stride].into(),
            stride,
        }
    }

    /// The room of one datagram.
    pub(crate) fn slot(&mut self, index: usize) -> &mut [u8] {
        &mut self.bytes[index * self.stride..(index + 1) * self.stride]
    }

    /// The bytes of one datagram that [`Self::receive`] filled.
    pub(crate) fn received(&self, index: usize) -> &[u8] {
        let length = (self.headers[index].msg_len as usize).min(self.stride);
        &self.bytes[index * self.stride..index * self.stride + length]
    }

    /// Where datagram `index` goes.
    pub(crate) fn address(&mut self, index: usize, to: SocketAddrV4) {
        self.addresses[index] = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: to.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
            sin_zero: [0; 8],
        };
    }

    /// Points the headers of `range` at their buffers; `length` is that of each datagram.
    fn aim(&mut self, count: usize, length: impl Fn(&libc::mmsghdr) -> usize) {
        for index in 0..count {
            let header = &mut self.headers[index];
            self.vectors[index] = libc::iovec {
                iov_base: (&raw mut self.bytes[index * self.stride]).cast(),
                iov_len: length(header).min(self.stride),
            };
            header.msg_hdr.msg_iov = &raw mut self.vectors[index];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut self.addresses[index]).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
    }

    /// Receives up to the batch's size and returns how many came; 0 when none was there.
    ///
    /// `flags`: MSG_DONTWAIT to look, MSG_WAITFORONE to wait for the first.
    pub(crate) fn receive(&mut self, socket: &UdpSocket, flags: libc::c_int) -> io::Result<usize> {
        let stride = self.stride;
        self.aim(self.headers.len(), |_| stride);
        let count = self.headers.len() as libc::c_uint;
        let headers = self.headers.as_mut_ptr();
        // SAFETY: `aim` has just pointed each header at an address and a buffer of this batch,
        // which live and stay in place through the call.
        let answer = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), headers, count, flags, core::ptr::null_mut())
        };
        match check(answer) {
            Ok(count) => Ok(count.unsigned_abs() as usize),
            Err(error) if would_block(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Sends the first `count` datagrams as they were received, each to whom it came from, or,
    /// when `length` is given, that many bytes of each to its [`Self::address`]. Returns how many
    /// the kernel took, and how many calls that cost.
    pub(crate) fn send(
        &mut self,
        socket: &UdpSocket,
        count: usize,
        length: Option<usize>,
    ) -> io::Result<(usize, usize)> {
        self.aim(count, |header| length.unwrap_or(header.msg_len as usize));
        let (mut done, mut calls) = (0, 0);
        while done < count {
            let headers = self.headers[done..count].as_mut_ptr();
            calls += 1;
            // SAFETY: `aim` has just pointed each header at an address and a buffer of this
            // batch, which live and stay in place through the call.
            let answer = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers,
                    (count - done) as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            match check(answer) {
                Ok(sent) => done += sent.unsigned_abs() as usize,
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok((done, calls))
    }
}

/// Nothing there, or no room: not a failure. ENOBUFS is a full device queue.
fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
        || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Busy polling as DPDK asks for it (af-xdp PMD, `configure_preferred_busy_poll`), and the NAPI
/// id that says whether there is anything to poll: 0 means no effect.
pub(crate) fn ask_for_busy_poll(socket: impl AsFd) -> io::Result<i32> {
    let fd = socket.as_fd();
    // In µs: how long a receive polls the driver before it sleeps.
    set_option(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, 50)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL, 1)?;
    option(fd, libc::SOL_SOCKET, libc::SO_INCOMING_NAPI_ID)
}
