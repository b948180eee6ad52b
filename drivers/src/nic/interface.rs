//! Interfaces: name, address, MTU, queues, what they are part of.

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp};

use super::netlink;

/// An XDP program on an interface.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct AttachedProgram {
    /// The kernel's number of it.
    pub id: u32,
    /// Whether it runs in generic mode, before it in the driver.
    pub generic: bool,
}

/// A network interface, as it was when it was looked up.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Interface {
    /// The kernel's number of it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address; zeros where there is none.
    pub mac: [u8; 6],
    /// The largest packet above Ethernet, in bytes.
    pub mtu: u32,
    /// Whether it was set up (`ip link set … up`).
    pub is_up: bool,
    /// Whether the link has a carrier.
    pub has_carrier: bool,
    /// Receive queues that exist; not all need be in use.
    pub rx_queues: u32,
    /// Transmit queues that exist.
    pub tx_queues: u32,
    /// What kind of virtual interface it is (`veth`, `vlan`, `bond`, `bridge`), empty for NICs.
    pub kind: String,
    /// The bond, bridge or team that it is a member of, by index.
    pub controller: Option<u32>,
    /// The kind of that (`bond`, `bridge`).
    pub controller_kind: String,
    /// The interface that it is built on, or a veth's other end, by index.
    pub lower: Option<u32>,
    /// The XDP program that is attached.
    pub xdp: Option<AttachedProgram>,
}

impl Interface {
    /// The interface of this name.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none; else what the kernel says.
    pub fn find(name: &str) -> io::Result<Self> {
        // IFNAMSIZ, with the zero at the end. The kernel would refuse a longer one as malformed.
        if name.is_empty() || name.len() > 15 {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        Self::get(message)
    }

    /// The interface of this index.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn by_index(index: u32) -> io::Result<Self> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        Self::get(message)
    }

    /// Every interface of this network namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn all() -> io::Result<Vec<Self>> {
        let answers = netlink::dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(answers.into_iter().filter_map(Self::parse).collect())
    }

    fn get(message: LinkMessage) -> io::Result<Self> {
        let answer =
            netlink::request(RouteNetlinkMessage::GetLink(message)).map_err(|error| match error
                .raw_os_error()
            {
                Some(libc::ENODEV) => io::ErrorKind::NotFound.into(),
                _ => error,
            })?;
        Self::parse(answer).ok_or_else(|| io::Error::other("not an answer about an interface"))
    }

    fn parse(message: RouteNetlinkMessage) -> Option<Self> {
        let RouteNetlinkMessage::NewLink(link) = message else { return None };
        let mut interface = Self {
            index: link.header.index,
            is_up: link.header.flags.contains(LinkFlags::Up),
            has_carrier: link.header.flags.contains(LinkFlags::LowerUp),
            ..Self::default()
        };
        for attribute in link.attributes {
            interface.take(attribute);
        }
        Some(interface)
    }

    fn take(&mut self, attribute: LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name = name,
            LinkAttribute::Address(address) => {
                if let Ok(mac) = address.try_into() {
                    self.mac = mac;
                }
            }
            LinkAttribute::Mtu(mtu) => self.mtu = mtu,
            LinkAttribute::NumRxQueues(queues) => self.rx_queues = queues,
            LinkAttribute::NumTxQueues(queues) => self.tx_queues = queues,
            LinkAttribute::Controller(index) => self.controller = Some(index),
            LinkAttribute::Link(index) if index != 0 => self.lower = Some(index),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => self.kind = kind.to_string(),
                        LinkInfo::PortKind(kind) => self.controller_kind = kind.to_string(),
                        _ => {}
                    }
                }
            }
            LinkAttribute::Xdp(facts) => self.xdp = attached(&facts),
            _ => {}
        }
    }
}

fn attached(facts: &[LinkXdp]) -> Option<AttachedProgram> {
    let generic = facts.iter().any(|fact| matches!(fact, LinkXdp::SkbProgId(_)));
    facts.iter().find_map(|fact| match fact {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) if *id != 0 => {
            Some(AttachedProgram { id: *id, generic })
        }
        _ => None,
    })
}

/// Names among `names` that someone who typed `wanted` may have meant, the best first.
#[must_use]
pub fn similar_names(wanted: &str, names: &[String]) -> Vec<String> {
    // More than half of the letters wrong is another name.
    let limit = wanted.chars().count().div_ceil(2);
    let mut close: Vec<_> = names
        .iter()
        .map(|name| (distance(wanted, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    close.sort();
    close.into_iter().take(3).map(|(_, name)| name.clone()).collect()
}

/// Letters to add, take away or change to make one word of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_found_by_name_and_index() {
        let lo = Interface::find("lo").expect("every namespace has one");
        assert_eq!(Interface::by_index(lo.index).expect("the same").name, "lo");
        assert!(Interface::all().expect("a list").iter().any(|one| one.name == "lo"));
        for missing in ["corewire-nope", "", "a-name-longer-than-any-interface-has"] {
            let error = Interface::find(missing).expect_err("no such interface");
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{missing}");
        }
    }

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        let names: Vec<String> = ["lo", "eth0", "eth1", "wlan0"].map(String::from).into();
        assert_eq!(similar_names("eht0", &names)[0], "eth0");
        assert_eq!(similar_names("eth", &names), ["eth0", "eth1"]);
        assert!(similar_names("enp3s0f1", &names).is_empty());
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
