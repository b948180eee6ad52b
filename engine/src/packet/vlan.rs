//! Up to two 802.1Q tags behind the MAC addresses.
//!
//! ```text
//!  destination  source | 88a8  priority DEI id | 8100  priority DEI id | type
//!                        outer: the service's    inner: the customer's
//! ```

use super::{DropReason, EtherType};

/// Bytes of one tag: its Ethernet type and its control information.
pub const TAG_LEN: usize = 4;

/// Tags that a frame may carry: IEEE 802.1ad stacks two. Fewer, and provider networks are lost;
/// more, and each costs every header of every frame's room.
pub const MAX_TAGS: usize = 2;

/// A frame's tags, the outer one first.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
pub struct Tags {
    outer: Option<Tag>,
    /// Only ever there beside an outer one.
    inner: Option<Tag>,
}

/// One tag.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Tag {
    /// Whose tag it is.
    pub kind: Kind,
    /// Priority code point, drop eligibility and VLAN identifier, as on the wire.
    control: u16,
}

/// Whose tag it is.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Kind {
    /// A customer's: Ethernet type 0x8100.
    Customer,
    /// A service provider's: Ethernet type 0x88a8.
    Service,
}

impl Tags {
    /// No tag.
    pub const NONE: Self = Self { outer: None, inner: None };

    /// One tag.
    #[must_use]
    pub const fn one(tag: Tag) -> Self {
        Self { outer: Some(tag), inner: None }
    }

    /// Two tags.
    #[must_use]
    pub const fn two(outer: Tag, inner: Tag) -> Self {
        Self { outer: Some(outer), inner: Some(inner) }
    }

    /// Reads the tags. `first` is the Ethernet type before `bytes`, and is one of a tag; what
    /// comes back is the type behind the last tag, and the tags.
    ///
    /// # Errors
    ///
    /// [`DropReason::EthernetTruncated`] if a tag ends early, [`DropReason::VlanUnknown`] for a
    /// third tag.
    #[cold]
    pub(super) fn parse(first: EtherType, bytes: &[u8]) -> Result<(EtherType, Self), DropReason> {
        let (outer, next, rest) = Tag::parse(first, bytes)?;
        if !next.is_tag() {
            return Ok((next, Self::one(outer)));
        }
        let (inner, next, _) = Tag::parse(next, rest)?;
        if next.is_tag() {
            return Err(DropReason::VlanUnknown);
        }
        Ok((next, Self::two(outer, inner)))
    }

    /// The outer tag, or the only one.
    #[inline]
    #[must_use]
    pub const fn outer(&self) -> Option<Tag> {
        self.outer
    }

    /// The inner of two tags.
    #[inline]
    #[must_use]
    pub const fn inner(&self) -> Option<Tag> {
        self.inner
    }

    /// Bytes of all tags.
    #[inline]
    #[must_use]
    pub const fn wire_len(&self) -> usize {
        match (self.outer, self.inner) {
            (None, _) => 0,
            (Some(_), None) => TAG_LEN,
            (Some(_), Some(_)) => 2 * TAG_LEN,
        }
    }

    /// Writes the tags, and `last` behind them, into `bytes`, which has just this room.
    #[inline]
    pub(super) fn emit(&self, bytes: &mut [u8], last: EtherType) {
        let mut at = 0;
        for tag in [self.outer, self.inner].into_iter().flatten() {
            bytes[at..at + 2].copy_from_slice(&tag.kind.ether_type().0.to_be_bytes());
            bytes[at + 2..at + 4].copy_from_slice(&tag.control.to_be_bytes());
            at += TAG_LEN;
        }
        bytes[at..at + 2].copy_from_slice(&last.0.to_be_bytes());
    }
}

impl Tag {
    /// A tag of the given VLAN with priority 0 (best effort). Of `id`, 12 bits count.
    #[must_use]
    pub const fn new(kind: Kind, id: u16) -> Self {
        Self { kind, control: id & 0x0fff }
    }

    /// The same tag with another priority code point, 0 to 7; of it, 3 bits count.
    #[must_use]
    pub const fn with_priority(self, priority: u8) -> Self {
        let control = (self.control & 0x1fff) | ((priority as u16 & 7) << 13);
        Self { kind: self.kind, control }
    }

    /// The same tag, which a switch in distress may drop first, or not.
    #[must_use]
    pub const fn with_drop_eligible(self, eligible: bool) -> Self {
        Self { kind: self.kind, control: (self.control & !0x1000) | ((eligible as u16) << 12) }
    }

    /// The VLAN's number. 0 means that the tag carries a priority only, 4095 is reserved
    /// (IEEE 802.1Q table 9-2).
    #[inline]
    #[must_use]
    pub const fn id(self) -> u16 {
        self.control & 0x0fff
    }

    /// The priority code point, 0 to 7.
    #[inline]
    #[must_use]
    pub const fn priority(self) -> u8 {
        (self.control >> 13) as u8
    }

    /// Whether a switch in distress may drop the frame first.
    #[inline]
    #[must_use]
    pub const fn drop_eligible(self) -> bool {
        self.control & 0x1000 != 0
    }

    /// Reads one tag; the type behind it and the bytes behind that come with it.
    fn parse(kind: EtherType, bytes: &[u8]) -> Result<(Self, EtherType, &[u8]), DropReason> {
        let Some((&[c0, c1, t0, t1], rest)) = bytes.split_first_chunk::<TAG_LEN>() else {
            return Err(DropReason::EthernetTruncated);
        };
        let kind = if kind == EtherType::QINQ { Kind::Service } else { Kind::Customer };
        let tag = Self { kind, control: u16::from_be_bytes([c0, c1]) };
        Ok((tag, EtherType(u16::from_be_bytes([t0, t1])), rest))
    }
}

impl Kind {
    /// The Ethernet type that announces such a tag.
    #[inline]
    #[must_use]
    pub const fn ether_type(self) -> EtherType {
        match self {
            Self::Customer => EtherType::VLAN,
            Self::Service => EtherType::QINQ,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ethernet::{Header, MAX_HEADER_LEN};
    use super::*;

    const TWO: [u8; 22] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, // addresses
        0x88, 0xa8, 0xb0, 0x64, // service: priority 5, drop eligible, 100
        0x81, 0x00, 0x0f, 0xff, // customer: 4095
        0x86, 0xdd, // IPv6
    ];

    #[test]
    fn two_tags_are_read_and_written() {
        let header = Header::parse(&TWO).unwrap();
        let outer = Tag::new(Kind::Service, 100).with_priority(5).with_drop_eligible(true);
        assert_eq!(header.tags, Tags::two(outer, Tag::new(Kind::Customer, 4095)));
        assert_eq!((outer.id(), outer.priority(), outer.drop_eligible()), (100, 5, true));
        assert_eq!(header.ether_type, EtherType::IPV6);
        assert_eq!(header.header_len(), MAX_HEADER_LEN);
        let mut bytes = [0; 22];
        header.emit(&mut bytes);
        assert_eq!(bytes, TWO);
    }

    #[test]
    fn one_tag_is_read_and_written() {
        let mut bytes = [0; 18];
        bytes[..12].copy_from_slice(&TWO[..12]);
        bytes[12..].copy_from_slice(&TWO[16..]);
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.tags.outer(), Some(Tag::new(Kind::Customer, 4095)));
        assert_eq!(header.tags.inner(), None);
        assert_eq!(header.header_len(), 18);
        let mut again = [0; 18];
        header.emit(&mut again);
        assert_eq!(again, bytes);
    }

    #[test]
    fn a_truncated_tag_and_a_third_one_are_refused() {
        for len in 14..TWO.len() {
            assert_eq!(Header::parse(&TWO[..len]), Err(DropReason::EthernetTruncated), "{len}");
        }
        let mut three = [0; 26];
        three[..20].copy_from_slice(&TWO[..20]);
        three[20..22].copy_from_slice(&[0x81, 0x00]);
        assert_eq!(Header::parse(&three), Err(DropReason::VlanUnknown));
    }

    #[test]
    fn fields_do_not_spill() {
        let tag = Tag::new(Kind::Customer, 0xffff).with_priority(0xff).with_drop_eligible(true);
        let tag = tag.with_drop_eligible(false).with_priority(8);
        assert_eq!((tag.id(), tag.priority(), tag.drop_eligible()), (4095, 0, false));
    }
}
