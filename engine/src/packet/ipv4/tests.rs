use super::*;

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const DESTINATION: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// A packet of the given options and payload length, with what `change` does to its header before
/// the checksum.
fn packet(options: &[u8], payload_len: u16, change: impl Fn(&mut Header)) -> Vec<u8> {
    let mut header = Header::new(SOURCE, DESTINATION, Protocol::UDP, payload_len);
    header.header_len += options.len() as u8;
    header.total_len += options.len() as u16;
    change(&mut header);
    let mut bytes = vec![0; 20 + options.len() + usize::from(payload_len)];
    bytes[20..20 + options.len()].copy_from_slice(options);
    header.emit(&mut bytes);
    bytes
}

/// The same with its first bytes overwritten afterwards and the checksum mended.
fn forged(mut bytes: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    bytes[at] = value;
    bytes[10..12].fill(0);
    let len = (usize::from(bytes[0] & 15) * 4).min(bytes.len());
    let checksum = Sum::new().with(&bytes[..len]).checksum();
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn parse(bytes: &[u8]) -> Result<Header, DropReason> {
    Header::parse(bytes, bytes.len())
}

#[test]
fn a_header_is_read_as_written() {
    let class = TrafficClass(0xb9);
    let bytes = packet(&[], 16, |h| {
        (h.ttl, h.identification, h.traffic_class) = (7, 0xbeef, class);
    });
    let header = parse(&bytes).unwrap();
    assert_eq!((header.source, header.destination), (SOURCE, DESTINATION));
    assert_eq!((header.ttl, header.identification, header.traffic_class), (7, 0xbeef, class));
    assert_eq!((header.header_len, header.total_len, header.payload_len()), (20, 36, 16));
    assert_eq!(header.fragment, Fragment::DONT);
    assert!(!header.fragment.is_part());
    assert_eq!(header.addresses().source(), SOURCE);
    let sum = Sum::pseudo_v4(SOURCE, DESTINATION, Protocol::UDP, 16);
    assert_eq!(header.pseudo_header().value(), sum.value());
}

#[test]
fn the_checksum_is_that_of_a_known_packet() {
    // The worked example of en.wikipedia.org/wiki/Internet_checksum: 0xb861.
    let bytes = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00,
        0x01, 0xc0, 0xa8, 0x00, 0xc7,
    ];
    let header = Header::parse(&bytes, 0x73).unwrap();
    let mut again = [0xaa; 20];
    header.emit(&mut again);
    assert_eq!(again, bytes);
}

#[test]
fn every_bit_of_the_header_is_under_the_checksum() {
    let bytes = packet(&[7, 7, 4, 0, 0, 0, 0, 0], 8, |_| {});
    for bit in 0..28 * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(parse(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn every_prefix_is_malformed() {
    for options in [&[][..], &[148, 4, 0, 0]] {
        let bytes = packet(options, 8, |_| {});
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), Err(DropReason::IpMalformed), "{len}");
        }
        // The header in the first piece, the payload elsewhere, padding behind it.
        let header_len = 20 + options.len();
        assert!(Header::parse(&bytes[..header_len], bytes.len() + 18).is_ok());
    }
}

#[test]
fn versions_and_lengths_that_can_not_be_are_malformed() {
    let bytes = packet(&[], 8, |_| {});
    for (at, value) in [(0, 0x65), (0, 0x44), (0, 0x4f), (0, 0x55), (3, 19), (3, 29), (2, 1)] {
        let wrong = forged(bytes.clone(), at, value);
        assert_eq!(parse(&wrong), Err(DropReason::IpMalformed), "{at} {value}");
    }
    assert!(parse(&forged(bytes, 3, 20)).is_ok(), "no payload");
    let with_options = packet(&[1, 1, 1, 0], 8, |_| {});
    assert_eq!(parse(&forged(with_options, 3, 23)), Err(DropReason::IpMalformed));
}

#[test]
fn options_are_walked() {
    let parse = |options: &[u8]| parse(&packet(options, 0, |_| {})).map(|h| h.header_len);
    assert_eq!(parse(&[148, 4, 0, 0]), Ok(24));
    assert_eq!(parse(&[1, 1, 0, 131]), Ok(24), "nothing behind the end is read");
    assert_eq!(parse(&[250, 2, 251, 2]), Ok(24), "unknown ones are passed over");
    assert_eq!(parse(&[131, 7, 4, 10, 0, 0, 9, 0]), Err(DropReason::IpOptions));
    assert_eq!(parse(&[1, 137, 3, 4]), Err(DropReason::IpOptions));
    for wrong in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7], [7, 3, 0, 7]] {
        assert_eq!(parse(&wrong), Err(DropReason::IpMalformed), "{wrong:?}");
    }
    let option = options(&[1, 148, 4, 0, 9]).next();
    let alert = HeaderOption { kind: HeaderOption::ROUTER_ALERT, data: &[0, 9] };
    assert_eq!(option, Some(Ok(alert)));
}

#[test]
fn fragments_stay_within_the_longest_datagram() {
    let fragment = |offset, more, payload_len| {
        parse(&packet(&[], payload_len, |h| {
            h.fragment = Fragment { offset, more, dont: false };
        }))
        .map(|h| h.fragment)
    };
    assert_eq!(fragment(0, true, 8), Ok(Fragment { offset: 0, more: true, dont: false }));
    let last = Fragment { offset: 1480, more: false, dont: false };
    assert_eq!(fragment(1480, false, 5), Ok(last));
    assert!(last.is_part());
    assert_eq!(fragment(1480, true, 5), Err(DropReason::IpMalformed));
    assert_eq!(fragment(1480, true, 0), Err(DropReason::IpMalformed));
    // 20 + 65,512 + 3 = 65,535 is the longest.
    assert!(fragment(65_512, false, 3).is_ok());
    assert_eq!(fragment(65_512, false, 4), Err(DropReason::IpMalformed));
    assert_eq!(fragment(65_512, true, 1480), Err(DropReason::IpMalformed));
}

#[test]
fn a_quoted_header_may_lack_its_payload_and_its_checksum() {
    let mut bytes = packet(&[148, 4, 0, 0], 1400, |h| h.ttl = 1);
    bytes[8] = 0;
    let header = Header::parse_quoted(&bytes[..32]).unwrap();
    assert_eq!((header.header_len, header.total_len), (24, 1424));
    for len in 0..24 {
        assert_eq!(Header::parse_quoted(&bytes[..len]), Err(DropReason::IpMalformed));
    }
    bytes[0] = 0x64;
    assert_eq!(Header::parse_quoted(&bytes), Err(DropReason::IpMalformed));
    bytes[0] = 0x44;
    assert_eq!(Header::parse_quoted(&bytes), Err(DropReason::IpMalformed));
}

#[test]
fn a_ttl_is_taken_down_with_its_checksum() {
    for identification in [0, 0x1234, 0xffff, 0xbb2d] {
        let mut bytes = packet(&[], 8, |h| (h.ttl, h.identification) = (3, identification));
        assert!(Header::decrement_ttl(&mut bytes));
        assert_eq!(parse(&bytes).map(|h| h.ttl), Ok(2));
        assert!(Header::decrement_ttl(&mut bytes));
        assert!(!Header::decrement_ttl(&mut bytes), "the last hop");
        assert_eq!(parse(&bytes).map(|h| h.ttl), Ok(1));
    }
    assert!(!Header::decrement_ttl(&mut [0x45, 0, 0]));
}
