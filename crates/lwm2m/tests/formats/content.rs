//! Bodies as the standard's examples and devices have them, in each format.

use super::notation::{hex, path};
use updraft_lwm2m::content::{self, ContentFormat, FormatError};
use updraft_lwm2m::{Entry, Path, Value};

/// Core §7.4.4's example of an answer to a read of `/3/0`.
const DEVICE_TLV: &str = "C800144F70656E204D6F62696C6520416C6C69616E6365C801164C69676874776569676874204D324D20436C69656E74\
     C80209333435303030313233C303312E30860641000141010588070842000ED842011388870841007D42010384C10964C10A0F830B410000\
     C40D5182428FC60E2B30323A3030C11055";

/// Core §7.4.5's example, the same values.
const DEVICE_SENML: &str = r#"[{"bn":"/3/0/","n":"0","vs":"Open Mobile Alliance"},
    {"n":"1","vs":"Lightweight M2M Client"},{"n":"2","vs":"345000123"},{"n":"3","vs":"1.0"},
    {"n":"6/0","v":1},{"n":"6/1","v":5},{"n":"7/0","v":3800},{"n":"7/1","v":5000},{"n":"8/0","v":125},
    {"n":"8/1","v":900},{"n":"9","v":100},{"n":"10","v":15},{"n":"11/0","v":0},{"n":"13","v":1367491215},
    {"n":"14","vs":"+02:00"},{"n":"16","vs":"U"}]"#;

fn entry(at: &str, value: impl Into<Value>) -> Entry {
    Entry::new(path(at), value)
}

fn device() -> Vec<Entry> {
    let mut entries = vec![
        entry("/3/0/0", "Open Mobile Alliance"),
        entry("/3/0/1", "Lightweight M2M Client"),
        entry("/3/0/2", "345000123"),
        entry("/3/0/3", "1.0"),
        entry("/3/0/13", Value::Time(1_367_491_215)),
        entry("/3/0/14", "+02:00"),
        entry("/3/0/16", "U"),
    ];
    let numbers = [
        ("6/0", 1),
        ("6/1", 5),
        ("7/0", 3800),
        ("7/1", 5000),
        ("8/0", 125),
        ("8/1", 900),
        ("9", 100),
        ("10", 15),
        ("11/0", 0),
    ];
    entries.extend(numbers.map(|(rest, number)| entry(&format!("/3/0/{rest}"), number)));
    entries.sort_by_key(|entry| entry.path);
    entries
}

/// Reads the body, and expects these entries, in any order.
#[track_caller]
fn check(format: ContentFormat, base: &str, body: &[u8], mut expected: Vec<Entry>) {
    expected.sort_by_key(|entry| entry.path);
    assert_eq!(content::decode(format, &path(base), body), Ok(expected));
}

#[track_caller]
fn check_json(format: ContentFormat, base: &str, body: &str, expected: Vec<Entry>) {
    check(format, base, body.as_bytes(), expected);
}

#[test]
fn the_standards_tlv_of_a_device_is_read_and_written_to_the_byte() {
    let body = hex(DEVICE_TLV);
    check(ContentFormat::TLV, "/3/0", &body, device());
    assert_eq!(content::encode(ContentFormat::TLV, &path("/3/0"), &device()), Ok(body.clone()));
    // With the instance around it, which the standard allows for a read of the object.
    let whole = [hex("080079"), body.clone()].concat();
    check(ContentFormat::TLV, "/3", &whole, device());
    assert_eq!(content::encode(ContentFormat::TLV, &path("/3"), &device()), Ok(whole.clone()));
    // Devices mix the two up.
    check(ContentFormat::TLV, "/3/0", &whole, device());
    check(ContentFormat::TLV, "/3", &body, device());
}

#[test]
fn the_standards_tlv_of_access_control_and_server_is_read_and_written() {
    let acl = hex("08000EC10001C101008302417F07C1037F080212C10003C101008702417F0761013601C1037F");
    let expected: Vec<Entry> = [
        ("/2/0/0", 1),
        ("/2/0/1", 0),
        ("/2/0/2/127", 7),
        ("/2/0/3", 127),
        ("/2/2/0", 3),
        ("/2/2/1", 0),
        ("/2/2/2/127", 7),
        ("/2/2/2/310", 1),
        ("/2/2/3", 127),
    ]
    .map(|(at, number)| entry(at, number))
    .into();
    check(ContentFormat::TLV, "/2", &acl, expected.clone());
    assert_eq!(content::encode(ContentFormat::TLV, &path("/2"), &expected), Ok(acl));

    let server = hex("08000FC10001C40100015180C10601C10755");
    let expected = vec![
        entry("/1/0/0", 1),
        entry("/1/0/1", Value::Unsigned(86_400)),
        entry("/1/0/6", true),
        entry("/1/0/7", "U"),
    ];
    check(ContentFormat::TLV, "/1", &server, expected.clone());
    assert_eq!(content::encode(ContentFormat::TLV, &path("/1"), &expected), Ok(server));
}

#[test]
fn the_firmware_object_of_a_real_device_is_read() {
    // /5/0 as a device answered it: an empty URI, State 0, Result 1, six protocols, both methods.
    let body = hex("C001 C10300 C10501 8808 12 4100 00 4101 01 4102 02 4103 03 4104 04 4105 05 C10902");
    let mut expected = vec![entry("/5/0/1", ""), entry("/5/0/3", 0), entry("/5/0/5", 1), entry("/5/0/9", 2)];
    expected.extend((0..6).map(|number| entry(&format!("/5/0/8/{number}"), i64::from(number))));
    check(ContentFormat::TLV, "/5/0", &body, expected);
}

#[test]
fn what_an_unknown_object_has_in_tlv_is_bytes() {
    let body = hex("88000C440000420000440100420001C8010D38363133383030373535353030C40212345678");
    check(
        ContentFormat::TLV,
        "/65/0",
        &body,
        vec![
            entry("/65/0/0/0", hex("00420000")),
            entry("/65/0/0/1", hex("00420001")),
            entry("/65/0/1", b"8613800755500".to_vec()),
            entry("/65/0/2", hex("12345678")),
        ],
    );
}

#[test]
fn one_resource_in_tlv_is_read_in_each_form() {
    check(ContentFormat::TLV, "/5/0/3", &hex("C10302"), vec![entry("/5/0/3", 2)]);
    // The instance around it.
    check(ContentFormat::TLV, "/5/0/3", &hex("0300 C10302"), vec![entry("/5/0/3", 2)]);
    let protocols = || vec![entry("/5/0/8/0", 2), entry("/5/0/8/1", 3)];
    check(ContentFormat::TLV, "/5/0/8", &hex("8608 410002 410103"), protocols());
    check(ContentFormat::TLV, "/5/0/8", &hex("410002 410103"), protocols());
    check(ContentFormat::TLV, "/5/0/8/1", &hex("410103"), vec![entry("/5/0/8/1", 3)]);
    check(ContentFormat::TLV, "/5/0/8/1", &hex("8308 410103"), vec![entry("/5/0/8/1", 3)]);
}

#[test]
fn the_standards_senml_of_a_device_is_read_in_json() {
    check_json(ContentFormat::SENML_JSON, "/3/0", DEVICE_SENML, device());
    let written = content::encode(ContentFormat::SENML_JSON, &path("/3/0"), &device()).unwrap();
    assert!(written.starts_with(br#"[{"bn":"/3/0/","n":"0","vs":"Open Mobile Alliance"},{"n":"1","#));
    check(ContentFormat::SENML_JSON, "/3/0", &written, device());
}

#[test]
fn base_names_are_concatenated_however_they_are_cut() {
    for body in [
        r#"[{"bn":"/5/0","n":"/1","vs":""},{"n":"/3","v":2}]"#,
        r#"[{"bn":"/5/0/","n":"1","vs":""},{"n":"3","v":2}]"#,
        r#"[{"n":"/5/0/1","vs":""},{"n":"/5/0/3","v":2}]"#,
        r#"[{"bn":"/5/0/1","vs":""},{"bn":"/5/0/3","v":2.0}]"#,
        r#"[{"bn":"/5/","n":"0/1","vs":""},{"n":"0/3","v":2e0}]"#,
        r#"[{"bn":"/5/0/"},{"n":"1","vs":""},{"n":"3","v":2,"u":"x","other":[{}]}]"#,
        r#"[{"bn":"/5/0/1/","vs":""},{"bn":"/5/0/","n":"3/","v":2}]"#,
    ] {
        check_json(ContentFormat::SENML_JSON, "/5/0", body, vec![entry("/5/0/1", ""), entry("/5/0/3", 2)]);
    }
    // In the middle of a number.
    let body = r#"[{"bn":"/3/0/1","n":"1/0","v":0},{"n":"1/1","v":4}]"#;
    check_json(
        ContentFormat::SENML_JSON,
        "/3/0/11",
        body,
        vec![entry("/3/0/11/0", 0), entry("/3/0/11/1", 4)],
    );
}

#[test]
fn senml_cbor_of_a_real_device_is_read() {
    // [{-2: "/5/0", 0: "/1", 3: ""}, {0: "/3", 2: 2}], and the same without counts, as small encoders write it.
    for body in [
        "82 A3 21 64 2F352F30 00 62 2F31 03 60 A2 00 62 2F33 02 02",
        "9F BF 21 64 2F352F30 00 62 2F31 03 60 FF BF 00 62 2F33 02 02 FF FF",
        "9F BF 21 7F 62 2F35 62 2F30 FF 00 62 2F31 03 60 FF A2 00 62 2F33 02 F94000 FF",
    ] {
        check(ContentFormat::SENML_CBOR, "/5/0", &hex(body), vec![entry("/5/0/1", ""), entry("/5/0/3", 2)]);
    }
}

#[test]
fn of_values_with_times_the_newest_counts() {
    // The form of RFC 8428 §5.1.2's example: a base time, and times before it.
    let base = path("/4/0");
    let body = r#"[{"bn":"/4/0/","bt":1.276020076001e+09,"n":"2","v":-60},
        {"n":"2","t":-5,"v":-100},{"n":"2","t":-4,"v":-90},{"n":"3","t":-4,"v":7}]"#;
    let samples = content::decode_samples(ContentFormat::SENML_JSON, &base, body.as_bytes()).unwrap();
    let times: Vec<f64> = samples.iter().map(|sample| sample.time).collect();
    assert_eq!(times, [1_276_020_076.001, 1_276_020_071.001, 1_276_020_072.001, 1_276_020_072.001]);
    check_json(ContentFormat::SENML_JSON, "/4/0", body, vec![entry("/4/0/2", -60), entry("/4/0/3", 7)]);
    let stored =
        r#"[{"n":"/4/0/2","t":1276020076,"v":-60},{"n":"/4/0/2","v":-70},{"n":"/4/0/2","t":-9,"v":-80}]"#;
    check_json(ContentFormat::SENML_JSON, "/", stored, vec![entry("/4/0/2", -70)]);
}

#[test]
fn data_and_links_are_read_in_senml() {
    for data in ["-_-_AQ", "+/+/AQ", "-_-_AQ==", "+/+/AQ=="] {
        let body = format!(r#"[{{"bn":"/5/0/0","vd":"{data}"}}]"#);
        check_json(ContentFormat::SENML_JSON, "/5/0/0", &body, vec![entry("/5/0/0", hex("FBFFBF01"))]);
    }
    check_json(
        ContentFormat::SENML_JSON,
        "/3/0/22",
        r#"[{"bn":"/3/0/22/","n":"0","vlo":"10:3"},{"n":"1","vlo":"65535:65535"}]"#,
        vec![
            entry("/3/0/22/0", Value::ObjectLink(10, 3)),
            entry("/3/0/22/1", Value::ObjectLink(65_535, 65_535)),
        ],
    );
    // {-2: "/3/0/22/0", "vlo": "10:3"}
    let body = hex("81 A2 21 69 2F332F302F32322F30 63 766C6F 64 31303A33");
    check(ContentFormat::SENML_CBOR, "/3/0/22", &body, vec![entry("/3/0/22/0", Value::ObjectLink(10, 3))]);
}

#[test]
fn json_of_version_1_0_is_read() {
    let expected = || vec![entry("/3/0/0", "Acme"), entry("/3/0/9", 95), entry("/3/0/11/0", 0)];
    for body in [
        r#"{"bn":"/3/0/","e":[{"n":"0","sv":"Acme"},{"n":"9","v":95},{"n":"11/0","v":0}]}"#,
        r#"{"bn":"3/0/","e":[{"n":"0","sv":"Acme"},{"n":"9","v":95.0},{"n":"11/0","v":0}]}"#,
        r#"{"e":[{"n":"0","sv":"Acme"},{"n":"9","v":95},{"n":"11/0","v":0}]}"#,
    ] {
        check_json(ContentFormat::OMA_JSON, "/3/0", body, expected());
        check_json(ContentFormat(1_543), "/3/0", body, expected());
    }
    check_json(ContentFormat::OMA_JSON, "/3/0/0", r#"{"e":[{"sv":"Acme"}]}"#, vec![entry("/3/0/0", "Acme")]);
    check_json(
        ContentFormat::OMA_JSON,
        "/5/0/0",
        r#"{"e":[{"sv":"AQI="}]}"#,
        vec![entry("/5/0/0", vec![1, 2])],
    );
    check_json(
        ContentFormat::OMA_JSON,
        "/4",
        r#"{"bn":"/4/","e":[{"n":"0/2","v":-30,"t":-5},{"n":"0/2","v":-20,"t":-1}],"bt":25462634}"#,
        vec![entry("/4/0/2", -20)],
    );
    check_json(ContentFormat::OMA_JSON, "/2", r#"{"e":[]}"#, vec![]);
}

#[test]
fn lwm2m_cbor_is_read_in_each_nesting_and_written_in_one() {
    let base = "/5/0";
    let expected = || vec![entry("/5/0/3", 2), entry("/5/0/8/0", 0), entry("/5/0/8/1", 1)];
    for body in [
        // {[5, 0]: {3: 2, 8: {0: 0, 1: 1}}}, then without counts, then each leaf alone, then each id alone.
        "A1 82 0500 A2 03 02 08 A2 00 00 01 01",
        "BF 82 0500 BF 03 02 08 BF 00 00 01 01 FF FF FF",
        "A3 83 050003 02 84 05000800 00 84 05000801 01",
        "A1 05 A1 00 A2 03 02 08 A2 00 00 01 01",
        "BF 9F 05FF BF 9F 00 FF BF 9F 03 FF 02 9F 08 FF BF 81 00 00 81 01 01 FF FF FF FF",
    ] {
        check(ContentFormat::LWM2M_CBOR, base, &hex(body), expected());
    }
    let written = content::encode(ContentFormat::LWM2M_CBOR, &path(base), &expected());
    assert_eq!(written, Ok(hex("A1 82 0500 A2 03 02 08 A2 00 00 01 01")));
    let all = content::encode(ContentFormat::LWM2M_CBOR, &Path::ROOT, &expected());
    assert_eq!(all, Ok(hex("A1 05 A1 00 A2 03 02 08 A2 00 00 01 01")));
    assert_eq!(
        content::encode(ContentFormat::LWM2M_CBOR, &path("/5/0/3"), &[entry("/5/0/3", 2)]),
        Ok(hex("A1 83 050003 02"))
    );
}

#[test]
fn one_value_in_cbor_is_read_by_its_type() {
    for (at, body, value) in [
        ("/5/0/3", "02", Value::Integer(2)),
        ("/5/0/3", "F94000", Value::Integer(2)),
        ("/3/0/13", "C1 1A 5182428F", Value::Time(1_367_491_215)),
        ("/3/0/13", "1A 5182428F", Value::Time(1_367_491_215)),
        ("/3/0/3", "63 312E30", Value::from("1.0")),
        ("/3/0/3", "7F 61 31 62 2E30 FF", Value::from("1.0")),
        ("/5/0/0", "5F 41 01 41 02 FF", Value::from(vec![1, 2])),
        ("/1/0/6", "F5", Value::from(true)),
        ("/3/0/22/0", "64 31303A33", Value::ObjectLink(10, 3)),
        ("/99/0/0", "C4 82 20 18 2D", Value::Float(4.5)),
        ("/99/0/0", "FB 3FF3333333333333", Value::Float(1.2)),
        ("/99/0/0", "1B FFFFFFFFFFFFFFFF", Value::Unsigned(u64::MAX)),
        ("/99/0/0", "F9 0001", Value::Float(2f64.powi(-24))),
        ("/99/0/0", "F9 C400", Value::Float(-4.0)),
    ] {
        check(ContentFormat::CBOR, at, &hex(body), vec![entry(at, value)]);
    }
}

#[test]
fn one_value_as_text_is_read_by_its_type() {
    for (at, body, value) in [
        ("/5/0/3", "2", Value::Integer(2)),
        ("/4/0/2", "-97", Value::Integer(-97)),
        ("/3/0/13", "1367491215", Value::Time(1_367_491_215)),
        ("/3/0/3", "1.0", Value::from("1.0")),
        ("/5/0/1", "", Value::from("")),
        ("/1/0/1", "0", Value::Unsigned(0)),
        ("/1/0/6", "1", Value::from(true)),
        ("/5/0/0", "AQIDBAU=", Value::from(vec![1, 2, 3, 4, 5])),
        ("/5/0/0", "AQIDBAU", Value::from(vec![1, 2, 3, 4, 5])),
        ("/3/0/22/0", "10:3", Value::ObjectLink(10, 3)),
        ("/99/0/0", "anything", Value::from("anything")),
    ] {
        check(ContentFormat::TEXT, at, body.as_bytes(), vec![entry(at, value.clone())]);
        check(ContentFormat(1_541), at, body.as_bytes(), vec![entry(at, value)]);
    }
    assert_eq!(
        content::encode(ContentFormat::TEXT, &path("/5/0/0"), &[entry("/5/0/0", vec![1, 2])]),
        Ok(b"AQI=".to_vec())
    );
    assert_eq!(
        content::encode(ContentFormat::OPAQUE, &path("/5/0/0"), &[entry("/5/0/0", vec![0])]),
        Ok(vec![0])
    );
    check(ContentFormat(1_544), "/5/0/0", &[0], vec![entry("/5/0/0", vec![0])]);
}

#[test]
fn an_empty_node_has_no_values_in_each_format() {
    for format in
        [ContentFormat::TLV, ContentFormat::SENML_JSON, ContentFormat::SENML_CBOR, ContentFormat::LWM2M_CBOR]
    {
        check(format, "/1", b"", vec![]);
        let written = content::encode(format, &path("/1"), &[]).unwrap();
        check(format, "/1", &written, vec![]);
    }
    check(ContentFormat::TLV, "/1", &hex("00 00"), vec![]);
}

#[test]
fn a_composite_read_names_paths_without_values() {
    let paths = vec![path("/3/0/3"), path("/5/0"), path("/1"), Path::ROOT];
    for format in [ContentFormat::SENML_JSON, ContentFormat::SENML_CBOR] {
        let body = content::encode_paths(format, &paths).unwrap();
        assert_eq!(content::decode_paths(format, &body), Ok(paths.clone()));
    }
    let body = r#"[{"bn":"/3/0/","n":"3"},{"n":"9"}]"#;
    assert_eq!(
        content::decode_paths(ContentFormat::SENML_JSON, body.as_bytes()),
        Ok(vec![path("/3/0/3"), path("/3/0/9")])
    );
    assert_eq!(
        content::encode_paths(ContentFormat::TLV, &paths),
        Err(FormatError::Unsupported(ContentFormat::TLV))
    );
}

#[test]
fn a_number_in_tlv_reads_the_same_signed_and_unsigned() {
    // 200 in one byte would be -56 to a device of 1.0, whose lifetime is signed.
    let body = content::encode(ContentFormat::TLV, &path("/1/0/1"), &[entry("/1/0/1", Value::Unsigned(200))]);
    assert_eq!(body, Ok(hex("C2 01 00C8")));
    // What an unsigned writer sends is read by the type.
    check(
        ContentFormat::TLV,
        "/1/0/1",
        &hex("C4 01 FFFFFFFF"),
        vec![entry("/1/0/1", Value::Unsigned(u64::from(u32::MAX)))],
    );
}
