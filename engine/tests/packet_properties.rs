//! The parsers against etherparse and smoltcp: on random bytes, on packets that etherparse built,
//! and on those packets with a few bytes changed.

/// What every parser must do with every input.
pub mod targets;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corewire::packet::{Addresses, Protocol};
use etherparse::{PacketBuilder, TcpOptionElement, VlanId};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::FileFailurePersistence;
use targets::{ALL, Walked};

/// What etherparse is to build.
#[derive(Clone, Debug)]
struct Recipe {
    tags: Vec<u16>,
    v6: bool,
    source: u128,
    destination: u128,
    ports: (u16, u16),
    words: (u32, u32),
    protocol: Protocol,
    options: Vec<TcpOptionElement>,
    payload: Vec<u8>,
    padding: usize,
}

impl Recipe {
    fn addresses(&self) -> Addresses {
        let address = |bits: u128| {
            if self.v6 {
                IpAddr::V6(Ipv6Addr::from(bits))
            } else {
                IpAddr::V4(Ipv4Addr::from(bits as u32))
            }
        };
        Addresses::new(address(self.source), address(self.destination)).unwrap()
    }

    /// The frame, and where its IP header and its transport header begin.
    fn build(&self) -> (Vec<u8>, usize, usize) {
        let step = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let id = |tag: u16| VlanId::try_new(tag).unwrap();
        let addresses = self.addresses();
        let (source, destination) = (addresses.source(), addresses.destination());
        let ip = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => etherparse::IpHeaders::Ipv4(
                etherparse::Ipv4Header {
                    source: source.octets(),
                    destination: destination.octets(),
                    time_to_live: 64,
                    dont_fragment: true,
                    identification: self.words.0 as u16,
                    ..Default::default()
                },
                Default::default(),
            ),
            (IpAddr::V6(source), IpAddr::V6(destination)) => etherparse::IpHeaders::Ipv6(
                etherparse::Ipv6Header {
                    source: source.octets(),
                    destination: destination.octets(),
                    hop_limit: 255,
                    ..Default::default()
                },
                Default::default(),
            ),
            _ => unreachable!("of one version"),
        };
        let step = match self.tags[..] {
            [] => step.ip(ip),
            [tag] => step.single_vlan(id(tag)).ip(ip),
            [outer, inner, ..] => step.double_vlan(id(outer), id(inner)).ip(ip),
        };
        let mut bytes = Vec::new();
        let (payload, (source, destination)) = (&self.payload[..], self.ports);
        match (self.protocol, self.v6) {
            (Protocol::UDP, _) => step.udp(source, destination).write(&mut bytes, payload),
            (Protocol::TCP, _) => step
                .tcp(source, destination, self.words.0, self.words.1 as u16)
                .ack(self.words.1)
                .options(&self.options)
                .unwrap()
                .write(&mut bytes, payload),
            (_, false) => step.icmpv4_echo_request(source, destination).write(&mut bytes, payload),
            (_, true) => step.icmpv6_echo_request(source, destination).write(&mut bytes, payload),
        }
        .unwrap();
        let ip_at = 14 + 4 * self.tags.len().min(2);
        let transport_at = ip_at + if self.v6 { 40 } else { 20 };
        bytes.resize(bytes.len() + self.padding, 0x55);
        (bytes, ip_at, transport_at)
    }
}

fn option() -> impl Strategy<Value = TcpOptionElement> {
    prop_oneof![
        Just(TcpOptionElement::Noop),
        any::<u16>().prop_map(TcpOptionElement::MaximumSegmentSize),
        any::<u8>().prop_map(TcpOptionElement::WindowScale),
        Just(TcpOptionElement::SelectiveAcknowledgementPermitted),
        any::<(u32, u32)>().prop_map(|(value, echo)| TcpOptionElement::Timestamp(value, echo)),
        any::<(u32, u32)>().prop_map(|block| {
            TcpOptionElement::SelectiveAcknowledgement(block, [Some(block), None, None])
        }),
    ]
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let protocol = select(&[Protocol::UDP, Protocol::TCP, Protocol::ICMP][..]);
    let options = vec(option(), 0..4).prop_filter("no room", |options| {
        etherparse::TcpOptions::try_from_elements(options).is_ok()
    });
    let ends = (any::<bool>(), any::<u128>(), any::<u128>(), any::<(u16, u16)>());
    (
        vec(0..4096u16, 0..3),
        ends,
        any::<(u32, u32)>(),
        protocol,
        options,
        vec(any::<u8>(), 0..90),
        { 0..20usize },
    )
        .prop_map(
            |(
                tags,
                (v6, source, destination, ports),
                words,
                protocol,
                options,
                payload,
                padding,
            )| {
                Recipe {
                    tags,
                    v6,
                    source,
                    destination,
                    ports,
                    words,
                    protocol,
                    options,
                    payload,
                    padding,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_failure_persistence(
        FileFailurePersistence::WithSource("regressions"),
    ))]

    #[test]
    fn any_bytes_are_parsed_as_others_do(bytes in vec(any::<u8>(), 0..120)) {
        for (_, target) in ALL {
            target(&bytes);
        }
    }

    #[test]
    fn packets_of_another_builder_are_understood(recipe in recipe()) {
        let (bytes, ip_at, transport_at) = recipe.build();
        let walked = targets::packet(&bytes);
        let Ok(Walked::Payload(addresses, protocol, payload)) = walked else {
            return Err(TestCaseError::fail(format!("{walked:?}")));
        };
        prop_assert_eq!(addresses, recipe.addresses());
        prop_assert_eq!(payload, &recipe.payload[..]);
        let expected = match (recipe.protocol, recipe.v6) {
            (Protocol::ICMP, true) => Protocol::ICMPV6,
            (protocol, _) => protocol,
        };
        prop_assert_eq!(protocol, expected);
        targets::ethernet(&bytes);
        if recipe.v6 { targets::ipv6(&bytes[ip_at..]) } else { targets::ipv4(&bytes[ip_at..]) }
        let end = bytes.len() - recipe.padding;
        let transport = &bytes[transport_at..end];
        match protocol {
            Protocol::UDP => targets::udp(transport),
            Protocol::TCP => targets::tcp(transport),
            Protocol::ICMP => targets::icmp(transport),
            _ => targets::icmpv6(transport),
        }
    }

    #[test]
    fn changed_packets_are_parsed_as_others_do(
        recipe in recipe(),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
        len in any::<Index>(),
    ) {
        let (mut bytes, ip_at, transport_at) = recipe.build();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        for bytes in [&bytes[..], &bytes[..len.index(bytes.len())]] {
            let _ = targets::packet(bytes);
            targets::ethernet(bytes);
            for at in [ip_at, transport_at] {
                for (_, target) in ALL {
                    target(bytes.get(at..).unwrap_or_default());
                }
            }
        }
    }
}
