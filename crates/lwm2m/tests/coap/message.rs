//! The strict reading of messages (RFC 7252 §3), against its own writing and against another implementation's.

use updraft_lwm2m::coap::message::Flaw;
use updraft_lwm2m::coap::option::{OPTIONS_MAX, number};
use updraft_lwm2m::coap::{Block, BlockSize, Code, Malformed, Message, MessageType, Options, Request, Token};

/// What is wrong with these bytes, in hexadecimal, and whether they ask for a Reset.
fn flaw(hex: &str) -> (Flaw, Option<u16>) {
    let Malformed { flaw, reset } = Message::parse(&bytes(hex)).expect_err(hex);
    (flaw, reset)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    let byte =
        |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal");
    digits.chunks(2).map(byte).collect()
}

/// SplitMix64.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[test]
fn the_standards_own_example_is_read_and_written() {
    // RFC 7252 appendix A, figure 20: a piggybacked response with the token 0x20.
    let datagram = bytes("61 45 7d 35 20 ff 32 32 2e 33 20 43");
    let message = Message::parse(&datagram).expect("a message");
    assert_eq!(message.kind, MessageType::Acknowledgement);
    assert_eq!((message.code, message.id), (Code::CONTENT, 0x7D35));
    assert_eq!((message.token.as_bytes(), message.payload), ([0x20].as_slice(), b"22.3 C".as_slice()));
    assert_eq!(message.encode(), datagram);
}

#[test]
fn a_datagram_shorter_than_a_header_or_of_another_version_is_ignored() {
    for short in ["", "40", "4001", "400100"] {
        assert_eq!(flaw(short), (Flaw::Short, None));
    }
    for version in ["00 01 0001", "80 01 0001", "c0 01 0001"] {
        assert_eq!(flaw(version), (Flaw::Version, None));
    }
}

#[test]
fn a_token_of_nine_to_fifteen_bytes_is_malformed() {
    for length in 9..=15 {
        let hex = format!("4{length:x} 01 0102 000000000000000000000000000000");
        assert_eq!(flaw(&hex), (Flaw::TokenLength, Some(0x0102)));
    }
    assert_eq!(flaw("48 01 0102 00000000000000"), (Flaw::Truncated, Some(0x0102)));
}

#[test]
fn reserved_classes_are_malformed() {
    for class in [1, 3, 6, 7] {
        let hex = format!("50 {:02x} 0102", class << 5 | 1);
        assert_eq!(flaw(&hex), (Flaw::Class, None));
    }
}

#[test]
fn an_empty_message_is_exactly_a_header() {
    assert!(Message::parse(&bytes("40 00 0001")).is_ok());
    for more in ["41 00 0001 00", "40 00 0001 ff 01", "40 00 0001 b1 61", "41 00 0001"] {
        assert_eq!(flaw(more), (Flaw::Empty, Some(1)));
    }
}

#[test]
fn a_payload_marker_without_payload_is_malformed() {
    assert_eq!(flaw("40 01 0001 ff"), (Flaw::MarkerWithoutPayload, Some(1)));
    assert_eq!(flaw("60 45 0001 ff"), (Flaw::MarkerWithoutPayload, None));
}

#[test]
fn an_option_nibble_of_fifteen_is_malformed() {
    assert_eq!(flaw("40 01 0001 f0"), (Flaw::OptionNibble, Some(1)));
    assert_eq!(flaw("40 01 0001 0f"), (Flaw::OptionNibble, Some(1)));
}

#[test]
fn a_truncated_option_is_malformed_wherever_it_ends() {
    for hex in ["d0", "e0", "e001", "0d", "0e", "0e01", "b5 61", "bd 00 61", "0e ffff 00"] {
        assert_eq!(flaw(&format!("40 01 0001 {hex}")), (Flaw::Truncated, Some(1)), "{hex}");
    }
}

#[test]
fn an_option_number_that_wraps_is_malformed() {
    // CVE-2020-12887, microcoap: 16-bit sums of deltas.
    assert_eq!(flaw("40 01 0001 e0 ffff"), (Flaw::OptionNumber, Some(1)));
    assert_eq!(flaw("40 01 0001 e0 fe00 e0 0100"), (Flaw::OptionNumber, Some(1)));
}

#[test]
fn a_message_has_at_most_sixty_four_options() {
    let most = [bytes("40 01 0001 b0"), vec![0; OPTIONS_MAX - 1]].concat();
    assert_eq!(Message::parse(&most).expect("a message").options.iter().count(), OPTIONS_MAX);
    let more = [most, vec![0]].concat();
    assert_eq!(Message::parse(&more).expect_err("too many").flaw, Flaw::OptionCount);
}

#[test]
fn options_are_sorted_however_they_are_added_and_integers_are_short() {
    let mut options = Options::new();
    options.push(number::REQUEST_TAG, b"tag");
    options.push(number::URI_PATH, b"5");
    options.push_uint(number::OBSERVE, 0);
    options.push(number::URI_PATH, &[b'x'; 255]);
    options.push_uint(number::MAX_AGE, 0x0001_0000);
    options.push(number::URI_PATH, &[b'y'; 14]);
    let found: Vec<_> = options.view().iter().map(|(number, value)| (number, value.len())).collect();
    assert_eq!(found, [(6, 0), (11, 1), (11, 255), (11, 14), (14, 3), (292, 3)]);
    options.remove(number::URI_PATH);
    options.set_uint(number::OBSERVE, 300);
    assert_eq!(options.view().uint(number::OBSERVE), Some(300));
    assert_eq!(options.view().iter().count(), 3);
}

#[test]
fn a_blocks_value_is_what_the_standard_says_and_the_reserved_size_is_none() {
    let block = Block { number: 4, more: true, size: BlockSize::at_most(128) };
    assert_eq!(block.value(), 4 << 4 | 8 | 3);
    assert_eq!(Block::from_value(block.value()), Some(block));
    assert_eq!(Block::from_value(7), None);
    assert_eq!(Block::from_value(1 << 24), None);
    assert_eq!(Block::from_value(0xFF_FFFE).map(Block::offset), Some(((1 << 20) - 1) * 1024));
    assert_eq!(BlockSize::MIN.body_bytes_max(), 16 << 20);
    assert_eq!(BlockSize::MAX.body_bytes_max(), 1 << 30);
}

#[test]
fn what_is_no_utf8_in_a_path_reads_as_a_sign_of_it() {
    let mut request = Request::new(updraft_lwm2m::coap::Method::Get, "/rd");
    request.options.push(number::URI_PATH, &[0xFF]);
    assert_eq!(request.path(), "/rd/\u{FFFD}");
}

#[test]
fn any_bytes_are_a_message_that_writes_itself_again_or_malformed() {
    let (mut state, mut messages) = (11, 0);
    for _ in 0..200_000 {
        let length = (draw(&mut state) % 40) as usize;
        let mut datagram: Vec<u8> = (0..length).map(|_| draw(&mut state) as u8).collect();
        if let [first, code, ..] = datagram.as_mut_slice() {
            // Most random headers end the reading at once.
            *first = 0x40 | *first & 0x33;
            *code = [0x01, 0x02, 0x44, 0x45][usize::from(*code) % 4];
        }
        let Ok(message) = Message::parse(&datagram) else { continue };
        messages += 1;
        let written = message.encode();
        let again = Message::parse(&written).expect("what is written is read");
        assert_eq!(again.payload, message.payload);
        assert!(again.options.iter().eq(message.options.iter()));
        assert_eq!(
            (again.kind, again.code, again.id, again.token),
            (message.kind, message.code, message.id, message.token)
        );
    }
    assert!(messages > 5_000, "{messages}");
}

/// What we read is what `coap-lite` reads. The other way does not hold: it takes other versions, markers without payload,
/// empty messages that are not empty, and reserved classes, which RFC 7252 §3 and §4.2 reject.
#[test]
fn another_implementation_reads_every_message_that_we_read_the_same() {
    let (mut state, mut compared) = (5, 0);
    for _ in 0..100_000 {
        let length = 4 + (draw(&mut state) % 36) as usize;
        let mut datagram: Vec<u8> = (0..length).map(|_| draw(&mut state) as u8).collect();
        datagram[0] = 0x40 | datagram[0] & 0x33;
        datagram[1] = [0x01, 0x02, 0x44, 0x45][usize::from(datagram[1]) % 4];
        let theirs = coap_lite::Packet::from_bytes(&datagram);
        let Ok(ours) = Message::parse(&datagram) else { continue };
        let theirs = theirs.expect("what we read, they read");
        compared += 1;
        assert_eq!(theirs.header.message_id, ours.id);
        assert_eq!(u8::from(theirs.header.code), ours.code.0);
        assert_eq!(theirs.get_token(), ours.token.as_bytes());
        assert_eq!(theirs.payload, ours.payload);
        let options = theirs
            .options()
            .flat_map(|(number, values)| values.iter().map(move |value| (*number, value.as_slice())));
        assert!(options.eq(ours.options.iter()));
    }
    assert!(compared > 5_000, "{compared}");
}

#[test]
fn a_token_has_at_most_eight_bytes() {
    assert_eq!(Token::new(&[1; 8]).map(|token| token.as_bytes().len()), Some(8));
    assert_eq!(Token::new(&[1; 9]), None);
}
