//! Where frames are lent: the token of a frame that an application holds.

use core::fmt;

use super::{Frame, StateViolation};

/// The token of a frame on loan: the application that holds it owns the bytes.
///
/// [`Pool::loan`](super::Pool::loan) makes it of a [`Frame`]; a ring carries it to the application
/// and back. The pool takes no token back, only numbers, and believes none of them before it has
/// checked them against its own books.
#[derive(Debug, Eq, PartialEq)]
#[must_use = "a loan that is dropped is a frame that its context can't use again"]
pub struct Loan(Frame);

impl Loan {
    pub(super) const fn new(frame: Frame) -> Self {
        Self(frame)
    }

    /// The token of a loan that came through a ring: one push, one pop, one token.
    pub(crate) const fn mint(key: u32, head: u16, len: u16) -> Self {
        Self(Frame::new(key, head, len))
    }

    /// Region and index in one number, as ring entries carry it.
    #[must_use]
    pub const fn key(&self) -> u32 {
        self.0.key()
    }

    /// The frame's place in its region.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.0.index()
    }

    /// Bytes before the data.
    #[must_use]
    pub const fn head(&self) -> u16 {
        self.0.head()
    }

    /// Bytes of data.
    #[must_use]
    pub const fn len(&self) -> u16 {
        self.0.len()
    }

    /// Whether there are no data.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Describes other bytes of the same frame.
    pub const fn set_range(&mut self, head: u16, len: u16) {
        self.0.set_range(head, len);
    }

    pub(super) const fn frame(&self) -> &Frame {
        &self.0
    }

    pub(super) const fn frame_mut(&mut self) -> &mut Frame {
        &mut self.0
    }
}

/// What an application says that it gives back, as its ring has it: to be checked by
/// [`Pool::unloan`](super::Pool::unloan).
///
/// A ring makes one where a [`Loan`] was put in, and the pool consumes it: so one loan makes one
/// frame again, whatever numbers stand in the ring.
#[derive(Debug, Eq, PartialEq)]
#[must_use = "a frame that is given back and not taken is lost until its region goes"]
pub struct Returned {
    pub(super) key: u32,
    pub(super) offset: u16,
    pub(super) length: u16,
}

impl Returned {
    /// The claim that a ring holds.
    #[inline]
    pub(crate) const fn new(key: u32, offset: u16, length: u16) -> Self {
        Self { key, offset, length }
    }

    /// Bytes of data, as the application says.
    #[inline]
    #[must_use]
    pub const fn length(&self) -> u16 {
        self.length
    }

    /// The same frame, of which no bytes are wanted.
    #[inline]
    pub const fn without_bytes(self) -> Self {
        Self::new(self.key, 0, 0)
    }
}

/// Why the pool did not take a buffer back from an application.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum LoanError {
    /// The frame was not on loan: a wrong index, or one replayed.
    NotLoaned(StateViolation),
    /// The frame was on loan to another context.
    OtherContext {
        /// The frame.
        index: u32,
        /// Who has it.
        lent_to: u16,
    },
    /// The bytes lie outside of the frame.
    OutOfFrame {
        /// The frame.
        index: u32,
        /// First byte.
        offset: u16,
        /// Bytes.
        length: u16,
    },
    /// The frame is one of another region.
    OtherRegion {
        /// Region and index.
        key: u32,
    },
}

impl fmt::Display for LoanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoaned(violation) => violation.fmt(f),
            Self::OtherContext { index, lent_to } => {
                write!(f, "frame {index} is on loan to context {lent_to}")
            }
            Self::OutOfFrame { index, offset, length } => {
                write!(f, "{length} bytes at {offset} lie outside of frame {index}")
            }
            Self::OtherRegion { key } => write!(f, "frame {key:#x} is of another region"),
        }
    }
}

impl std::error::Error for LoanError {}
