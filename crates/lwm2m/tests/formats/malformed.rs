//! Bodies that nobody should send: refused, each for its reason, without a panic and without much memory.

use super::notation::{hex, path};
use updraft_lwm2m::content::{self, BODY_BYTES_MAX, ContentFormat, ENTRIES_MAX, FormatError};
use updraft_lwm2m::{Entry, Path, Value};

#[track_caller]
fn refused(format: ContentFormat, base: &str, body: &[u8]) -> FormatError {
    content::decode(format, &path(base), body).expect_err("it is refused")
}

#[track_caller]
fn malformed(format: ContentFormat, base: &str, body: &[u8]) {
    let error = refused(format, base, body);
    assert!(matches!(error, FormatError::Malformed(_)), "{error:?}");
    assert_eq!(error.code(), 0x80);
}

#[test]
fn a_body_that_ends_early_is_refused_at_every_byte() {
    let tlv = hex(
        "080079C800144F70656E204D6F62696C6520416C6C69616E6365C801164C69676874776569676874204D324D20436C69656E74\
         C80209333435303030313233C303312E30860641000141010588070842000ED842011388870841007D42010384C10964C10A0F830B410000\
         C40D5182428FC60E2B30323A3030C11055",
    );
    for end in 1..tlv.len() {
        malformed(ContentFormat::TLV, "/3", &tlv[..end]);
    }
    for (format, body) in [
        (ContentFormat::SENML_CBOR, hex("82 A3 21 64 2F352F30 00 62 2F31 03 60 A2 00 62 2F33 02 02")),
        (ContentFormat::LWM2M_CBOR, hex("BF 82 0500 BF 03 02 08 BF 00 00 01 01 FF FF FF")),
        (ContentFormat::SENML_JSON, br#"[{"bn":"/5/0/","n":"1","vs":""},{"n":"3","v":2}]"#.to_vec()),
        (ContentFormat::OMA_JSON, br#"{"bn":"/5/0/","e":[{"n":"1","sv":""}]}"#.to_vec()),
    ] {
        for end in 1..body.len() {
            malformed(format, "/5/0", &body[..end]);
        }
        let longer = [body, vec![0]].concat();
        malformed(format, "/5/0", &longer);
    }
}

#[test]
fn a_value_of_a_wrong_type_is_refused() {
    for (format, at, body) in [
        (ContentFormat::TLV, "/5/0/3", hex("C303000001")),
        (ContentFormat::TLV, "/5/0/3", hex("C003")),
        (ContentFormat::TLV, "/1/0/6", hex("C10602")),
        (ContentFormat::TLV, "/3/0/22/0", hex("420000 0A")),
        (ContentFormat::TEXT, "/5/0/3", b"+2".to_vec()),
        (ContentFormat::TEXT, "/5/0/3", b" 2".to_vec()),
        (ContentFormat::TEXT, "/5/0/3", b"".to_vec()),
        (ContentFormat::TEXT, "/5/0/3", b"2.0".to_vec()),
        (ContentFormat::TEXT, "/1/0/1", b"-1".to_vec()),
        (ContentFormat::TEXT, "/1/0/6", b"true".to_vec()),
        (ContentFormat::TEXT, "/5/0/0", b"!,-INVALID$_'".to_vec()),
        (ContentFormat::TEXT, "/3/0/22/0", b"1:2:3".to_vec()),
        (ContentFormat::TEXT, "/3/0/22/0", b"70000:1".to_vec()),
        (ContentFormat::CBOR, "/5/0/3", hex("61 32")),
        (ContentFormat::CBOR, "/3/0/3", hex("02")),
        (ContentFormat::CBOR, "/1/0/6", hex("01")),
        (ContentFormat::SENML_JSON, "/3/0/3", br#"[{"n":"/3/0/3","vd":""}]"#.to_vec()),
        (ContentFormat::SENML_JSON, "/5/0/3", br#"[{"n":"/5/0/3","vb":true}]"#.to_vec()),
        (ContentFormat::OPAQUE, "/3/0/3", b"1.0".to_vec()),
    ] {
        let error = refused(format, at, &body);
        assert!(matches!(error, FormatError::Type(_)), "{format} {at} {error:?}");
    }
}

#[test]
fn a_number_out_of_range_is_refused() {
    for (format, at, body) in [
        (ContentFormat::TEXT, "/5/0/3", b"9223372036854775808".to_vec()),
        (ContentFormat::TEXT, "/1/0/1", b"18446744073709551616".to_vec()),
        (ContentFormat::CBOR, "/5/0/3", hex("1B FFFFFFFFFFFFFFFF")),
        (ContentFormat::CBOR, "/5/0/3", hex("F9 3800")),
        (ContentFormat::CBOR, "/1/0/1", hex("20")),
        (ContentFormat::SENML_JSON, "/5/0/3", br#"[{"n":"/5/0/3","v":1e300}]"#.to_vec()),
        (ContentFormat::SENML_JSON, "/5/0/3", br#"[{"n":"/5/0/3","v":0.5}]"#.to_vec()),
        (ContentFormat::SENML_CBOR, "/5/0/3", hex("81 A2 00 66 2F352F302F33 02 FB 7FF0000000000000")),
    ] {
        let error = refused(format, at, &body);
        assert!(matches!(error, FormatError::Range(_)), "{format} {at} {error:?}");
    }
    // Below what 64 bits hold, and what JSON has no number for.
    malformed(ContentFormat::CBOR, "/5/0/3", &hex("3B FFFFFFFFFFFFFFFF"));
    malformed(ContentFormat::SENML_JSON, "/5/0/3", br#"[{"n":"/5/0/3","v":1e400}]"#);
}

#[test]
fn a_float_that_is_not_finite_is_refused_wherever_it_is() {
    for body in ["F97C00", "F97E00", "FA7FC00000", "FA FF800000", "FB7FF8000000000000", "FB FFF0000000000000"]
    {
        assert_eq!(
            refused(ContentFormat::CBOR, "/99/0/0", &hex(body)),
            FormatError::Range(Path::resource(99, 0, 0))
        );
        let time = format!("81 A3 00 67 2F39392F302F30 02 01 06 {body}");
        assert!(matches!(refused(ContentFormat::SENML_CBOR, "/99", &hex(&time)), FormatError::Range(_)));
    }
    // Two times that are finite, and their sum is not.
    let body = br#"[{"bt":1.7e308,"n":"/4/0/2","t":1.7e308,"v":1}]"#;
    assert!(matches!(refused(ContentFormat::SENML_JSON, "/4", body), FormatError::Range(_)));
    for format in [ContentFormat::TLV, ContentFormat::SENML_JSON, ContentFormat::CBOR, ContentFormat::TEXT] {
        let at = path("/99/0/0");
        let entry = Entry::new(at, Value::Float(f64::NAN));
        assert_eq!(content::encode(format, &at, &[entry]), Err(FormatError::Range(at)));
    }
}

#[test]
fn a_leaf_twice_or_in_another_is_refused() {
    let state = Path::resource(5, 0, 3);
    for (format, body) in [
        (ContentFormat::TLV, hex("C10302 C10303")),
        (ContentFormat::SENML_JSON, br#"[{"n":"/5/0/3","v":2},{"n":"/5/0/3","v":2}]"#.to_vec()),
        (ContentFormat::SENML_JSON, br#"[{"n":"/5/0/3","t":-1,"v":2},{"n":"/5/0/3","t":-1,"v":2}]"#.to_vec()),
        (ContentFormat::LWM2M_CBOR, hex("A2 83 050003 02 83 050003 02")),
        (ContentFormat::LWM2M_CBOR, hex("A2 05 A1 00 A1 03 02 05 A1 00 A1 03 02")),
    ] {
        assert_eq!(refused(format, "/5/0", &body), FormatError::Twice(state), "{format}");
    }
    let inner = Path::resource_instance(5, 0, 8, 0);
    assert_eq!(refused(ContentFormat::TLV, "/5/0", &hex("C10801 8308 410001")), FormatError::Twice(inner));
    let entries = [Entry::new(state, 1), Entry::new(state, 2)];
    assert_eq!(content::encode(ContentFormat::TLV, &path("/5/0"), &entries), Err(FormatError::Twice(state)));
    malformed(ContentFormat::SENML_JSON, "/5/0", br#"[{"n":"/5/0/3","v":2,"v":3}]"#);
    malformed(ContentFormat::SENML_JSON, "/5/0", br#"[{"n":"/5/0/3","v":2,"vs":"2"}]"#);
    malformed(ContentFormat::SENML_CBOR, "/5/0", &hex("81 A3 00 66 2F352F302F33 02 02 02 02"));
    malformed(ContentFormat::OMA_JSON, "/5/0", br#"{"bn":"/5/0/","e":[{"n":"3","v":2,"sv":"x"}]}"#);
}

#[test]
fn what_the_body_is_not_about_is_refused() {
    for (format, body) in [
        (ContentFormat::TLV, hex("0301 C10302")),
        (ContentFormat::TLV, hex("410302")),
        (ContentFormat::SENML_JSON, br#"[{"n":"/3/0/3","vs":"1.0"}]"#.to_vec()),
        (ContentFormat::SENML_JSON, br#"[{"n":"/5/0","v":1}]"#.to_vec()),
        (ContentFormat::SENML_CBOR, hex("81 A2 00 66 2F332F302F33 03 61 31")),
        (ContentFormat::LWM2M_CBOR, hex("A1 83 030003 61 31")),
        (ContentFormat::LWM2M_CBOR, hex("A1 82 0500 02")),
    ] {
        let error = refused(format, "/5/0", &body);
        assert!(matches!(error, FormatError::Outside(_)), "{format} {error:?}");
    }
    assert_eq!(
        content::encode(ContentFormat::TLV, &path("/5/0"), &[Entry::new(path("/3/0/3"), "1")]),
        Err(FormatError::Outside(path("/3/0/3")))
    );
    assert_eq!(refused(ContentFormat::TLV, "/", &hex("C10302")), FormatError::Outside(Path::ROOT));
}

#[test]
fn a_name_that_is_no_path_is_refused() {
    for name in
        ["5/0/3", "/5/0/x", "/5/0/65535", "/5//3", "/5/0/3/1/2", "urn:dev:ow:10e2073a01080063", "/5/0/03"]
    {
        let body = format!(r#"[{{"n":"{name}","v":1}}]"#);
        assert!(
            matches!(refused(ContentFormat::SENML_JSON, "/", body.as_bytes()), FormatError::Name(_)),
            "{name}"
        );
    }
    malformed(ContentFormat::TLV, "/5/0", &hex("E1 FFFF 01"));
    malformed(ContentFormat::LWM2M_CBOR, "/5/0", &hex("A1 05 A1 00 A1 19 FFFF 01"));
    malformed(ContentFormat::LWM2M_CBOR, "/5/0", &hex("A1 64 64657631 01"));
}

#[test]
fn a_long_base_name_is_not_copied_for_each_record() {
    let body = format!(r#"[{{"bn":"{}"}}{}]"#, "/5".repeat(8_000), r#",{"n":"1","v":1}"#.repeat(2_000));
    assert!(matches!(refused(ContentFormat::SENML_JSON, "/", body.as_bytes()), FormatError::Name(_)));
}

#[test]
fn nesting_deeper_than_a_path_is_refused() {
    malformed(ContentFormat::LWM2M_CBOR, "/5", &hex("A1 05 A1 00 A1 08 A1 01 A1 00 01"));
    malformed(ContentFormat::LWM2M_CBOR, "/5", &[0xa1, 0x05].repeat(30_000));
    malformed(ContentFormat::LWM2M_CBOR, "/5", &hex("A1 80 A1 80 A1 80 01"));
    malformed(ContentFormat::SENML_CBOR, "/5", &[0x81].repeat(BODY_BYTES_MAX));
    malformed(ContentFormat::SENML_CBOR, "/5", &[vec![0x81, 0xa1, 0x01], vec![0x9f; 60_000]].concat());
    malformed(ContentFormat::SENML_JSON, "/5", &[b'['].repeat(BODY_BYTES_MAX));
    let unknown = [br#"[{"x":"#.to_vec(), vec![b'['; 60_000]].concat();
    malformed(ContentFormat::SENML_JSON, "/5", &unknown);
    malformed(ContentFormat::OMA_JSON, "/5", &br#"{"e":[{"x":"#.repeat(5_000));
    // An instance in an instance, a resource in a multiple resource.
    malformed(ContentFormat::TLV, "/5", &hex("0500 0300 C10302"));
    malformed(ContentFormat::TLV, "/5/0", &hex("8308 C10001"));
    malformed(ContentFormat::TLV, "/5/0", &hex("0300 410001"));
}

#[test]
fn more_than_the_body_has_is_refused_before_anything_is_reserved() {
    for body in
        ["9B FFFFFFFFFFFFFFFF", "9A FFFFFFFF A0", "81 BB FFFFFFFFFFFFFFFF", "81 A1 21 7B FFFFFFFFFFFFFFFF"]
    {
        malformed(ContentFormat::SENML_CBOR, "/5", &hex(body));
    }
    malformed(ContentFormat::LWM2M_CBOR, "/5", &hex("BB FFFFFFFFFFFFFFFF"));
    malformed(ContentFormat::LWM2M_CBOR, "/5", &hex("A1 9B FFFFFFFFFFFFFFFF 05"));
    malformed(ContentFormat::CBOR, "/5/0/0", &hex("5B FFFFFFFFFFFFFFFF 00"));
    malformed(ContentFormat::TLV, "/5/0", &hex("D8 00 FFFFFF"));
}

#[test]
fn too_many_values_are_refused() {
    let count = ENTRIES_MAX + 1;
    let records = [vec![0x9f], [0xa1, 0x21, 0x60].repeat(count), vec![0xff]].concat();
    assert_eq!(refused(ContentFormat::SENML_CBOR, "/5", &records), FormatError::TooMany);
    let records = format!("[{}]", vec![r#"{"bn":""}"#; count].join(","));
    assert_eq!(refused(ContentFormat::SENML_JSON, "/5", records.as_bytes()), FormatError::TooMany);
    let records = format!(r#"{{"e":[{}]}}"#, vec![r#"{"v":1}"#; count].join(","));
    assert_eq!(refused(ContentFormat::OMA_JSON, "/5", records.as_bytes()), FormatError::TooMany);
    assert_eq!(refused(ContentFormat::TLV, "/99/0", &[0xc0, 0x01].repeat(count)), FormatError::TooMany);
    assert_eq!(FormatError::TooMany.code(), 0x8d);
    let values = [vec![0xbf, 0x18, 99, 0xbf, 0x00, 0xbf], [0x00, 0x01].repeat(count), vec![0xff; 3]].concat();
    assert_eq!(refused(ContentFormat::LWM2M_CBOR, "/99", &values), FormatError::TooMany);
}

#[test]
fn a_body_that_is_too_big_is_refused_in_each_format() {
    let body = vec![0; BODY_BYTES_MAX + 1];
    for format in (0..=65_535).map(ContentFormat).filter(|format| {
        [0, 42, 60, 110, 112, 1541, 1542, 1543, 1544, 11542, 11543, 11544].contains(&format.0)
    }) {
        assert_eq!(refused(format, "/5/0/0", &body), FormatError::TooBig);
    }
    let at = path("/5/0/0");
    assert_eq!(content::encode(ContentFormat::TLV, &at, &[Entry::new(at, body)]), Err(FormatError::TooBig));
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    malformed(ContentFormat::TEXT, "/3/0/3", &[0xff]);
    malformed(ContentFormat::TLV, "/3/0/3", &hex("C203 C328"));
    malformed(ContentFormat::CBOR, "/3/0/3", &hex("62 C328"));
    malformed(ContentFormat::SENML_CBOR, "/3/0", &hex("81 A2 00 66 2F332F302F33 03 62 C328"));
    malformed(ContentFormat::SENML_JSON, "/3/0", b"[{\"n\":\"/3/0/3\",\"vs\":\"\xc3\x28\"}]");
    malformed(ContentFormat::SENML_JSON, "/3/0", br#"[{"n":"/3/0/3","vs":"\ud800"}]"#);
}

#[test]
fn what_would_change_the_meaning_of_values_is_refused() {
    for body in [
        r#"[{"n":"/5/0/3","v":1,"bv":1}]"#,
        r#"[{"bs":1},{"n":"/5/0/3","v":1}]"#,
        r#"[{"n":"/5/0/3","v":1,"bver":11}]"#,
        r#"[{"n":"/5/0/3","v":1,"must_":1}]"#,
        r#"[{"n":"/5/0/3","s":1}]"#,
        r#"[{"n":"/5/0/3","v":null}]"#,
        r#"{"n":"/5/0/3","v":1}"#,
    ] {
        malformed(ContentFormat::SENML_JSON, "/5/0", body.as_bytes());
    }
    for body in [
        "81 A3 00 66 2F352F302F33 02 01 24 01",
        "81 A3 00 66 2F352F302F33 02 01 20 0B",
        "81 A3 00 66 2F352F302F33 02 01 62 785F 01",
        "81 A2 00 66 2F352F302F33 02 F6",
        "81 A2 00 66 2F352F302F33 02 61 31",
        "81 A2 00 66 2F352F302F33 02 C2 41 01",
        "A1 00 01",
    ] {
        malformed(ContentFormat::SENML_CBOR, "/5/0", &hex(body));
    }
}

#[test]
fn a_format_of_one_value_carries_no_tree() {
    for format in [ContentFormat::TEXT, ContentFormat::OPAQUE, ContentFormat::CBOR] {
        assert_eq!(refused(format, "/5/0", b"\x01"), FormatError::Single);
        let entries = [Entry::new(path("/5/0/3"), 1)];
        assert_eq!(content::encode(format, &path("/5/0"), &entries), Err(FormatError::Single));
    }
    for format in [40, 1, 50, 65_535] {
        let error = refused(ContentFormat(format), "/5/0", b"");
        assert_eq!((error, error.code()), (FormatError::Unsupported(ContentFormat(format)), 0x8f));
    }
}
