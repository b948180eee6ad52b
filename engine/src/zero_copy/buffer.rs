//! Buffers that applications hold.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use corewire_drivers::env::limits::HEADROOM;
use corewire_drivers::mem::Loan;
use corewire_drivers::ring::Returner;

use crate::packet::udp;
use crate::runtime::WorkerRef;
use crate::socket::SocketId;
use crate::socket::entry::Destination;

/// How a buffer gets home from any thread.
#[derive(Debug)]
pub(crate) struct Home {
    pub(super) returner: Returner,
    pub(super) worker: WorkerRef,
}

/// A received datagram, in the frame in which it came. `Send`: another thread may read it, and
/// drop it.
///
/// Dropping it gives the frame back, from whichever thread. Cheaper is
/// [`UdpSocket::give_back`](super::UdpSocket::give_back), on the context's own thread.
pub struct RxBuf {
    /// What is taken out when the buffer goes another way than by dropping it.
    frame: Option<Held>,
    /// The frames after the first, of a datagram that needs several.
    rest: Rest,
    slot: u32,
    generation: u16,
    /// Bytes of IP and UDP header before the payload.
    headers: u8,
}

/// Frames after the first: none, but for a datagram that is larger than a frame. Boxed, so that a
/// buffer is half a cache line: it is moved several times on its way to the application and back.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "8 bytes instead of 24 where there are none")]
struct Rest(Option<Box<Vec<Loan>>>);

impl Rest {
    fn iter(&self) -> std::slice::Iter<'_, Loan> {
        self.0.as_ref().map_or(&[][..], |loans| loans).iter()
    }

    const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl IntoIterator for Rest {
    type Item = Loan;
    type IntoIter = std::vec::IntoIter<Loan>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map_or_else(Vec::new, |loans| *loans).into_iter()
    }
}

const _: () = assert!(size_of::<RxBuf>() == 32, "half a cache line");

/// An empty frame to write into, or a written one to be sent.
///
/// Dropping it gives the frame back.
pub struct TxBuf {
    frame: Option<Held>,
}

/// A frame and the way home.
pub(crate) struct Held {
    pub(super) loan: Loan,
    pub(super) home: Arc<Home>,
}

impl Held {
    /// Gives the frame back from wherever this is.
    fn give(self, rest: impl IntoIterator<Item = Loan>) {
        // A forked child has the buffer, and neither the frame nor the worker.
        if !self.home.returner.is_here() {
            return;
        }
        self.home.returner.give(self.loan);
        rest.into_iter().for_each(|loan| self.home.returner.give(loan));
        // The socket's next datagram may wait for this frame, and the worker be asleep.
        self.home.worker.handle.ring();
    }
}

impl RxBuf {
    /// `loan` describes the payload, behind `ip_header_words` × 4 bytes of IP header and a UDP
    /// header.
    #[inline]
    pub(super) fn new(
        mut loan: Loan,
        ip_header_words: u8,
        socket: SocketId,
        home: Arc<Home>,
    ) -> Self {
        let headers = u16::from(ip_header_words) * 4 + udp::HEADER_LEN as u16;
        let headers = if headers <= loan.head() { headers } else { 0 };
        loan.set_range(loan.head() - headers, loan.len() + headers);
        // 15 words are the most that an IPv4 header has: 68 bytes.
        let SocketId { slot, generation } = socket;
        let headers = headers as u8;
        Self { frame: Some(Held { loan, home }), rest: Rest(None), slot, generation, headers }
    }

    /// The whole payload, piece by piece: one, unless the datagram is larger than a frame.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let region = self.frame.as_ref().map(|frame| frame.home.returner.region());
        let rest = self.rest.iter();
        std::iter::once(&**self).chain(
            rest.filter_map(move |loan| region.as_ref().map(|region| region.loan_bytes(loan))),
        )
    }

    /// Whether the payload is in one piece, which is what the buffer dereferences to.
    #[must_use]
    pub const fn is_contiguous(&self) -> bool {
        self.rest.is_empty()
    }

    /// The payload, if it is in one piece.
    #[must_use]
    pub fn contiguous(&self) -> Option<&[u8]> {
        self.is_contiguous().then_some(self)
    }

    /// Bytes of payload, all pieces together.
    #[must_use]
    pub fn total_len(&self) -> usize {
        self.len() + self.rest.iter().map(|loan| usize::from(loan.len())).sum::<usize>()
    }

    /// Who sent it.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.endpoint(End::Source)
    }

    /// What it was sent to.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.endpoint(End::Destination)
    }

    /// The frame, to be written and sent: it holds the payload received. Frames after the first,
    /// of a datagram that needed several, go back.
    #[must_use]
    pub fn into_tx(mut self) -> TxBuf {
        let frame = self.frame.take();
        let rest = std::mem::take(&mut self.rest);
        TxBuf {
            frame: frame.map(|mut held| {
                let headers = u16::from(self.headers);
                let (head, len) = (held.loan.head() + headers, held.loan.len() - headers);
                held.loan.set_range(head, len);
                rest.into_iter().for_each(|loan| held.home.returner.give(loan));
                held
            }),
        }
    }

    #[inline]
    pub(super) fn home(&self) -> Option<&Arc<Home>> {
        self.frame.as_ref().map(|held| &held.home)
    }

    /// The datagram goes on in this frame.
    pub(super) fn append(&mut self, loan: Loan) {
        self.rest.0.get_or_insert_default().push(loan);
    }

    /// Takes the frames out, so that dropping the buffer gives nothing back.
    #[inline]
    pub(super) fn take(mut self) -> (Option<Held>, impl IntoIterator<Item = Loan>) {
        (self.frame.take(), std::mem::take(&mut self.rest))
    }

    /// The socket that it came for.
    #[inline]
    pub(super) const fn socket(&self) -> SocketId {
        SocketId { slot: self.slot, generation: self.generation }
    }

    /// From the headers that stand before the payload in the frame.
    #[inline]
    fn endpoint(&self, end: End) -> SocketAddr {
        const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let Some(held) = &self.frame else { return NOWHERE };
        let bytes = held.home.returner.region().loan_bytes(&held.loan);
        let headers = &bytes[..usize::from(self.headers)];
        parse_endpoint(headers, end).unwrap_or(NOWHERE)
    }
}

#[derive(Copy, Clone)]
enum End {
    Source,
    Destination,
}

/// One end of a datagram, from its IP header (RFC 791 §3.1, RFC 8200 §3) and UDP header.
#[inline]
fn parse_endpoint(headers: &[u8], end: End) -> Option<SocketAddr> {
    let (ip, udp) = headers.split_at_checked(headers.len().checked_sub(udp::HEADER_LEN)?)?;
    let second = usize::from(matches!(end, End::Destination));
    let port = u16::from_be_bytes(*udp.get(second * 2..)?.first_chunk()?);
    let address: IpAddr = match ip.first()? >> 4 {
        4 => Ipv4Addr::from(*ip.get(12 + second * 4..)?.first_chunk::<4>()?).into(),
        _ => Ipv6Addr::from(*ip.get(8 + second * 16..)?.first_chunk::<16>()?).into(),
    };
    Some(SocketAddr::new(address, port))
}

/// The payload's first piece: all of it, when [`is_contiguous`](RxBuf::is_contiguous).
impl Deref for RxBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let Some(held) = &self.frame else { return &[] };
        let bytes = held.home.returner.region().loan_bytes(&held.loan);
        &bytes[usize::from(self.headers)..]
    }
}

impl Drop for RxBuf {
    #[inline]
    fn drop(&mut self) {
        if let Some(frame) = self.frame.take() {
            frame.give(std::mem::take(&mut self.rest));
        }
    }
}

impl TxBuf {
    /// An empty frame, behind the room for headers.
    #[inline]
    pub(super) const fn new(loan: Loan, home: Arc<Home>) -> Self {
        Self { frame: Some(Held { loan, home }) }
    }

    /// Bytes that it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.frame.as_ref().map_or(0, |held| {
            held.home.returner.region().frame_size() - usize::from(held.loan.head())
        })
    }

    /// Makes it `len` bytes long. Bytes that it did not have before are whatever the frame held:
    /// write them.
    ///
    /// # Panics
    /// When `len` is more than [`capacity`](Self::capacity).
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "{len} bytes in a frame for {}", self.capacity());
        if let Some(held) = &mut self.frame {
            held.loan.set_range(held.loan.head(), len as u16);
        }
    }

    /// Holds exactly `bytes`.
    ///
    /// # Panics
    /// As [`set_len`](Self::set_len).
    pub fn fill_from(&mut self, bytes: &[u8]) {
        self.set_len(bytes.len());
        self.copy_from_slice(bytes);
    }

    #[inline]
    pub(super) fn home(&self) -> Option<&Arc<Home>> {
        self.frame.as_ref().map(|held| &held.home)
    }

    /// Writes where to send it before the payload, where the headers will stand.
    #[inline]
    pub(crate) fn address_to(&mut self, peer: SocketAddr) {
        const LEN: u16 = Destination::LEN as u16;
        let Some(held) = &mut self.frame else { return };
        let (head, len) = (held.loan.head(), held.loan.len());
        // Every frame has headroom; it would need a frame of another layout to lack it.
        let Some(before) = head.checked_sub(LEN) else { return };
        held.loan.set_range(before, LEN);
        let bytes = held.home.returner.region().loan_bytes_mut(&mut held.loan);
        if let Some(place) = bytes.first_chunk_mut() {
            Destination(peer).write(place);
        }
        held.loan.set_range(head, len);
    }

    /// Takes the frame out, so that dropping the buffer gives nothing back.
    #[inline]
    pub(super) fn take(mut self) -> Option<Held> {
        self.frame.take()
    }
}

impl Deref for TxBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let Some(Held { loan, home }) = &self.frame else { return &[] };
        home.returner.region().loan_bytes(loan)
    }
}

impl DerefMut for TxBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.frame {
            Some(Held { loan, home }) => home.returner.region().loan_bytes_mut(loan),
            None => &mut [],
        }
    }
}

impl Drop for TxBuf {
    #[inline]
    fn drop(&mut self) {
        if let Some(frame) = self.frame.take() {
            frame.give([]);
        }
    }
}

impl fmt::Debug for RxBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RxBuf({} bytes from {})", self.total_len(), self.peer())
    }
}

impl fmt::Debug for TxBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxBuf({} of {} bytes)", self.len(), self.capacity())
    }
}

const _: () = assert!(HEADROOM as usize > Destination::LEN, "an address fits before the payload");
