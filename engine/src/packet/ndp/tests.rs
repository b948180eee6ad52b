use super::*;
use crate::packet::{Addresses, MacAddr, icmpv6};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const SOURCE_MAC: NdpOption<'_> = NdpOption::SourceLinkLayer(MAC);

fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// What comes of a message that went from `source` to `destination`.
fn sent(
    message: Message,
    options: &[NdpOption<'_>],
    source: &str,
    destination: &str,
) -> Result<Message, DropReason> {
    let (source, destination) = (address(source), address(destination));
    let mut bytes = vec![0; message.wire_len(options)];
    message.emit(&mut bytes, options, source, destination);
    let ends = Addresses::V6 { source, destination };
    assert_eq!(icmpv6::verify(&ends, bytes.len() as u16, [&bytes[..]]), Ok(()));
    assert_eq!(icmpv6::Message::parse(&bytes), Ok(icmpv6::Message::Ndp));
    let mut header = ipv6::Header::new(source, destination, Protocol::ICMPV6, bytes.len() as u16);
    let through_a_router = Message::parse(&bytes, &header);
    assert_eq!(through_a_router, Err(DropReason::IcmpMalformed), "hop limit 64");
    header.hop_limit = HOP_LIMIT;
    let parsed = Message::parse(&bytes, &header)?;
    let read: Vec<_> = parsed.options(&bytes).map(|option| option.unwrap()).collect();
    assert_eq!(read, options);
    for len in 0..parsed.fixed_len() {
        assert_eq!(Message::parse(&bytes[..len], &header), Err(DropReason::IcmpMalformed));
    }
    bytes[1] = 1;
    assert_eq!(Message::parse(&bytes, &header), Err(DropReason::IcmpMalformed), "code 1");
    Ok(parsed)
}

const ADVERTISEMENT: RouterAdvertisement = RouterAdvertisement {
    hop_limit: 64,
    managed: true,
    other: false,
    preference: Preference::Low,
    lifetime_s: 1800,
    reachable_ms: 30_000,
    retransmit_ms: 0x0102_0304,
};

#[test]
fn every_message_is_read_as_written() {
    let target = address("2001:db8::2");
    let advertised = |router, solicited, overriding| Message::NeighborAdvertisement {
        router,
        solicited,
        overriding,
        target,
    };
    let mtu = NdpOption::Mtu(1500);
    let target_mac = NdpOption::TargetLinkLayer(MAC);
    let quoted = NdpOption::RedirectedHeader(&[0x60; 48]);
    for (message, options, source, destination) in [
        (Message::RouterSolicitation, &[SOURCE_MAC][..], "fe80::1", "ff02::2"),
        (Message::RouterSolicitation, &[], "::", "ff02::2"),
        (Message::RouterAdvertisement(ADVERTISEMENT), &[SOURCE_MAC, mtu], "fe80::1", "ff02::1"),
        (Message::NeighborSolicitation { target }, &[SOURCE_MAC], "2001:db8::1", "2001:db8::2"),
        (Message::NeighborSolicitation { target }, &[], "::", "ff02::1:ff00:2"),
        (advertised(true, false, false), &[target_mac], "2001:db8::2", "ff02::1"),
        (advertised(false, true, false), &[], "2001:db8::2", "2001:db8::1"),
        (advertised(false, false, true), &[target_mac], "fe80::2", "2001:db8::1"),
        (Message::Redirect { target, destination: target }, &[quoted], "fe80::1", "2001:db8::1"),
        (
            Message::Redirect { target: address("fe80::9"), destination: target },
            &[],
            "fe80::1",
            "2001:db8::1",
        ),
    ] {
        assert_eq!(sent(message, options, source, destination), Ok(message));
    }
}

#[test]
fn the_bytes_are_those_of_the_rfc() {
    let (source, destination) = (address("fe80::1"), address("ff02::1"));
    let mut bytes = [0xaa; 16];
    Message::RouterAdvertisement(ADVERTISEMENT).emit(&mut bytes, &[], source, destination);
    let rest = [64, 0x98, 0x07, 0x08, 0, 0, 0x75, 0x30, 1, 2, 3, 4];
    assert_eq!((&bytes[..2], &bytes[4..]), (&[134, 0][..], &rest[..]));
    for (bits, preference) in [(0, Preference::Medium), (1, Preference::High), (3, Preference::Low)]
    {
        assert_eq!((Preference::from_bits(bits), preference.bits()), (preference, bits));
    }
    assert_eq!(Preference::from_bits(2), Preference::Medium, "reserved");
    let solicited = Message::NeighborAdvertisement {
        router: false,
        solicited: true,
        overriding: true,
        target: source,
    };
    let mut bytes = [0xaa; 24];
    solicited.emit(&mut bytes, &[], source, destination);
    assert_eq!(bytes[4..8], [0x60, 0, 0, 0]);
}

#[test]
fn what_must_not_be_believed_is_malformed() {
    let target = address("2001:db8::2");
    let solicited = Message::NeighborAdvertisement {
        router: false,
        solicited: true,
        overriding: false,
        target,
    };
    let group = address("ff02::5");
    for (message, options, source, destination) in [
        (Message::RouterSolicitation, &[SOURCE_MAC][..], "::", "ff02::2"),
        (Message::RouterAdvertisement(ADVERTISEMENT), &[], "2001:db8::1", "ff02::1"),
        (Message::NeighborSolicitation { target }, &[SOURCE_MAC], "::", "ff02::1:ff00:2"),
        (Message::NeighborSolicitation { target }, &[], "::", "2001:db8::2"),
        (Message::NeighborSolicitation { target: group }, &[], "fe80::1", "ff02::1:ff00:5"),
        (solicited, &[], "2001:db8::2", "ff02::1"),
        (Message::Redirect { target, destination: target }, &[], "2001:db8::1", "2001:db8::2"),
        (Message::Redirect { target, destination: group }, &[], "fe80::1", "2001:db8::2"),
        (
            Message::Redirect { target, destination: address("2001:db8::3") },
            &[],
            "fe80::1",
            "2001:db8::2",
        ),
    ] {
        let verdict = sent(message, options, source, destination);
        assert_eq!(verdict, Err(DropReason::IcmpMalformed), "{message:?}");
    }
}

#[test]
fn an_option_without_length_condemns_the_message() {
    let (source, destination) = (address("fe80::1"), address("ff02::2"));
    let mut header = ipv6::Header::new(source, destination, Protocol::ICMPV6, 16);
    header.hop_limit = HOP_LIMIT;
    let bytes = [133, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(Message::parse(&bytes, &header), Err(DropReason::IcmpMalformed));
    let echo = [128, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(Message::parse(&echo, &header), Err(DropReason::IcmpIgnored));
    assert_eq!(Message::RouterSolicitation.options(&[]).count(), 0);
}
