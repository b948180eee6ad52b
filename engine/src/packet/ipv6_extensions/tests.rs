use super::*;
use core::net::Ipv6Addr;

fn walk(first: Protocol, bytes: &[u8]) -> Result<Chain, Refusal> {
    let (source, destination) = (Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    Chain::walk(&ipv6::Header::new(source, destination, first, bytes.len() as u16), bytes)
}

/// The reason, and the answer's code and pointer.
fn told(result: Result<Chain, Refusal>) -> (DropReason, Option<(ProblemCode, u32)>) {
    let refusal = result.unwrap_err();
    (refusal.into(), refusal.answer.map(|problem| (problem.code, problem.pointer)))
}

const UDP: Protocol = Protocol::UDP;
const PAD6: [u8; 6] = [1, 4, 0, 0, 0, 0];

/// An extension header of 8 bytes.
fn header(next: Protocol, rest: [u8; 6]) -> Vec<u8> {
    let mut bytes = vec![next.0, 0];
    bytes.extend(rest);
    bytes
}

fn fragment(next: Protocol, offset: u16, more: bool) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    Fragment { offset, more, identification: 0xdead_beef }.emit(&mut bytes, next);
    bytes
}

#[test]
fn most_packets_have_none() {
    let chain = Chain { protocol: UDP, protocol_at: 6, len: 0, fragment: None };
    assert_eq!(walk(UDP, &[0; 8]), Ok(chain));
    assert_eq!(walk(UDP, &[]), Ok(chain));
    assert_eq!(walk(Protocol::ESP, &[]).map(|c| c.protocol), Ok(Protocol::ESP));
}

#[test]
fn every_kind_is_walked_through() {
    let bytes = [
        header(Protocol::DESTINATION_OPTIONS, [5, 2, 0, 0, 1, 0]), // router alert, PadN
        header(Protocol::ROUTING, [0x1e, 2, 0, 0, 0, 0]),          // unknown but harmless
        header(Protocol::FRAGMENT, [4, 0, 0, 0, 0, 0]),            // no segments left
        fragment(Protocol::DESTINATION_OPTIONS, 0, false),         // atomic: RFC 6946
        vec![UDP.0, 1, 0, 0, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![0; 8],
    ]
    .concat();
    let chain = walk(Protocol::HOP_BY_HOP, &bytes).unwrap();
    assert_eq!(chain, Chain { protocol: UDP, protocol_at: 40 + 32, len: 48, fragment: None });
    for len in 0..48 {
        let reason = told(walk(Protocol::HOP_BY_HOP, &bytes[..len])).0;
        assert_eq!(reason, DropReason::IpMalformed, "{len}");
    }
}

#[test]
fn hop_by_hop_stands_first_only() {
    let bytes = [header(Protocol::HOP_BY_HOP, PAD6), header(UDP, PAD6)].concat();
    let code = ProblemCode::UnrecognizedNextHeader;
    for first in [Protocol::HOP_BY_HOP, Protocol::DESTINATION_OPTIONS] {
        assert_eq!(told(walk(first, &bytes)), (DropReason::IpMalformed, Some((code, 40))));
    }
    assert_eq!(
        told(Chain::walk_reassembled(Protocol::HOP_BY_HOP, &bytes)),
        (DropReason::IpMalformed, Some((code, 6)))
    );
}

#[test]
fn unknown_options_do_as_their_type_says() {
    let option = |kind| {
        walk(Protocol::DESTINATION_OPTIONS, &header(UDP, [0, kind, 2, 0, 0, 0])).map(|c| c.len)
    };
    assert_eq!(option(0x3e), Ok(8));
    assert_eq!(option(0x7e), Err(Refusal { reason: DropReason::IpOptions, answer: None }));
    for (kind, even_to_group) in [(0xbe, true), (0xfe, false)] {
        let code = ProblemCode::UnrecognizedOption;
        let answer = Some(Problem { code, pointer: 40 + 3, even_to_group });
        assert_eq!(option(kind), Err(Refusal { reason: DropReason::IpOptions, answer }));
    }
}

#[test]
fn options_that_overrun_are_malformed() {
    for rest in [[1, 5, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 3, 1], [3, 255, 0, 0, 0, 0]] {
        let result = walk(Protocol::HOP_BY_HOP, &header(UDP, rest));
        assert_eq!(result, Err(MALFORMED), "{rest:?}");
    }
}

#[test]
fn a_source_route_is_refused() {
    let bytes = header(UDP, [0, 1, 0, 0, 0, 0]);
    let answer = Some((ProblemCode::ErroneousField, 42));
    assert_eq!(told(walk(Protocol::ROUTING, &bytes)), (DropReason::IpOptions, answer));
}

#[test]
fn headers_are_counted() {
    let chain = |count: usize| {
        let mut bytes = header(Protocol::DESTINATION_OPTIONS, PAD6).repeat(count - 1);
        bytes.extend(header(UDP, PAD6));
        walk(Protocol::DESTINATION_OPTIONS, &bytes)
    };
    assert_eq!(chain(MAX_HEADERS).map(|c| (c.protocol, c.len)), Ok((UDP, 64)));
    assert_eq!(told(chain(MAX_HEADERS + 1)), (DropReason::IpOptions, None));
    let mut endless = fragment(Protocol::DESTINATION_OPTIONS, 0, true);
    endless.extend(header(Protocol::DESTINATION_OPTIONS, PAD6).repeat(12));
    assert_eq!(told(walk(Protocol::FRAGMENT, &endless)), (DropReason::IpOptions, None));
}

#[test]
fn a_fragment_ends_the_walk() {
    let bytes = [header(Protocol::FRAGMENT, PAD6), fragment(UDP, 1480, false), vec![0; 5]].concat();
    let chain = walk(Protocol::HOP_BY_HOP, &bytes).unwrap();
    let part = Fragment { offset: 1480, more: false, identification: 0xdead_beef };
    let expected = Chain { protocol: UDP, protocol_at: 48, len: 16, fragment: Some(part) };
    assert_eq!(chain, expected);
    let first = [fragment(UDP, 0, true), vec![0; 8]].concat();
    let part = walk(Protocol::FRAGMENT, &first).unwrap().fragment;
    assert_eq!(part.map(|f| (f.offset, f.more)), Some((0, true)));
}

#[test]
fn a_first_fragment_holds_all_headers() {
    let answer = Some((ProblemCode::IncompleteHeaderChain, 0));
    let incomplete = (DropReason::IpMalformed, answer);
    for (next, least) in [(Protocol::TCP, 24), (Protocol::UDP, 8), (Protocol::ICMPV6, 8)] {
        let bytes = [fragment(next, 0, true), vec![0; least - 8]].concat();
        if least > 8 {
            assert_eq!(told(walk(Protocol::FRAGMENT, &bytes)), incomplete, "{next:?}");
        }
        let bytes = [fragment(next, 0, true), vec![0; least]].concat();
        assert!(walk(Protocol::FRAGMENT, &bytes).is_ok(), "{next:?}");
    }
    // Options that go on in the next fragment, and a TCP header that does.
    let long = vec![UDP.0, 1, 1, 4, 0, 0, 0, 0];
    let bytes = [fragment(Protocol::DESTINATION_OPTIONS, 0, true), long].concat();
    assert_eq!(told(walk(Protocol::FRAGMENT, &bytes)), incomplete);
    let options = header(Protocol::TCP, PAD6);
    let bytes = [fragment(Protocol::DESTINATION_OPTIONS, 0, true), options, vec![0; 16]].concat();
    assert_eq!(told(walk(Protocol::FRAGMENT, &bytes)), incomplete);
}

#[test]
fn fragments_that_can_not_be_are_malformed() {
    let wrong = |pointer| (DropReason::IpMalformed, Some((ProblemCode::ErroneousField, pointer)));
    for len in [0, 9] {
        let uneven = [fragment(UDP, 8, true), vec![0; len]].concat();
        assert_eq!(told(walk(Protocol::FRAGMENT, &uneven)), wrong(4));
    }
    let longest = [fragment(UDP, 65_528, false), vec![0; 7]].concat();
    assert!(walk(Protocol::FRAGMENT, &longest).is_ok());
    let longer = [fragment(UDP, 65_528, false), vec![0; 8]].concat();
    assert_eq!(told(walk(Protocol::FRAGMENT, &longer)), wrong(42));
    let twice = [fragment(Protocol::FRAGMENT, 0, false), fragment(UDP, 0, false)].concat();
    assert_eq!(walk(Protocol::FRAGMENT, &twice), Err(MALFORMED));
    let nested = fragment(UDP, 0, false);
    assert_eq!(Chain::walk_reassembled(Protocol::FRAGMENT, &nested), Err(MALFORMED));
}

#[test]
fn a_reassembled_part_is_walked_on() {
    let bytes = [header(UDP, PAD6), vec![0; 8]].concat();
    let chain = Chain::walk_reassembled(Protocol::DESTINATION_OPTIONS, &bytes).unwrap();
    assert_eq!((chain.protocol, chain.len, chain.fragment), (UDP, 8, None));
}
