//! What the doors take, what they refuse and how: both contracts, every trap of their clients.

use std::io::{Read, Write};

use serde_json::{Value, json};
use updraft_wire::check_in::CHECK_IN_BYTES_MAX;

use crate::client::agent::assert_keeps_credentials;
use crate::stage::{PRODUCT, Stage, image};
use crate::wire::{Answer, post};

const NATIVE: &str = "/v1/check-in";
const IOTO: &str = "/tok/provision/update";
const REPORT: &str = "/tok/provision/updateReport";
const DOORS: [&str; 3] = [NATIVE, IOTO, REPORT];

fn native(id: &str, version: &str) -> Value {
    json!({ "id": id, "product": PRODUCT, "version": version, "boot": 1 })
}

fn ioto(id: &str) -> String {
    json!({ "id": id, "product": PRODUCT, "version": "1.0.0" }).to_string()
}

/// A body that the door would take from device `d`.
fn good(door: &str) -> String {
    match door {
        NATIVE => native("d", "1.0.0").to_string(),
        REPORT => json!({ "success": true, "id": "d", "update": "r1-1" }).to_string(),
        _ => ioto("d"),
    }
}

fn refused(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {}", answer.text());
    assert_keeps_credentials(answer);
}

#[test]
fn headers_are_in_title_case_and_every_answer_has_a_length() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(10));
    let token = stage.device_token("d");
    for answer in [
        stage.say(IOTO, &token, ioto("d")),
        stage.say(NATIVE, &token, good(NATIVE)),
        stage.say(IOTO, &token, "nonsense"),
        stage.say(REPORT, &token, "{}"),
        stage.say("/nowhere", &token, "{}"),
    ] {
        assert!(answer.header("Content-Length").is_some(), "{}", answer.head);
        assert!(!answer.head.contains("Transfer-Encoding"), "{}", answer.head);
        for name in answer.head.split("\r\n").skip(1).filter_map(|line| Some(line.split_once(':')?.0)) {
            assert!(name.split('-').all(|word| word.starts_with(char::is_uppercase)), "{name}");
        }
    }
}

#[test]
fn an_offer_is_compact_needs_no_escapes_and_fits_the_first_read() {
    let stage = Stage::new();
    stage.publish("1.1.0-rc.1+build.5", &image(10));
    let id = format!("{}:_.@-", "x".repeat(120));
    let answer = stage.say(IOTO, &stage.device_token(&id), ioto(&id));
    let text = answer.text();
    assert!(text.starts_with(r#"{"url":"http://localhost/"#), "{text}");
    assert!(!text.contains(['\\', ' ', '\n']), "{text}");
    let offer = answer.json();
    assert_eq!(offer.as_object().unwrap().len(), 4);
    assert_eq!(offer["version"], "1.1.0-rc.1+build.5");
    let checksum = offer["checksum"].as_str().unwrap();
    assert!(checksum.len() == 64 && checksum.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    assert!(answer.head.len() + answer.body.len() < 4095);
}

#[test]
fn nothing_to_do_is_an_empty_object_of_two_bytes() {
    let stage = Stage::new();
    let answer = stage.say(IOTO, &stage.device_token("d"), ioto("d"));
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"{}".as_slice()));
}

#[test]
fn check_ins_keep_the_connection_and_an_image_for_an_updater_closes_it() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(100_000));
    let token = stage.device_token("d");
    let request = post(IOTO, &format!("Authorization: {token}\r\n"), ioto("d"));
    let mut wire = stage.tls();
    let offer = wire.say(&request);
    let again = wire.say(&request);
    assert_eq!(offer.json()["update"], again.json()["update"], "the same connection, the same job");
    let url = again.json()["url"].as_str().unwrap().to_owned();
    let download = wire.say(&crate::wire::get(&url, ""));
    assert_eq!((download.status, download.header("Connection")), (200, Some("close")));
    assert_eq!(download.body, image(100_000));
    let mut rest = Vec::new();
    // With or without a farewell of TLS: what counts is that nothing follows.
    let _ = wire.read_to_end(&mut rest);
    assert!(rest.is_empty());
}

#[test]
fn a_token_may_stand_alone_or_after_bearer_in_any_case() {
    let stage = Stage::new();
    let token = stage.device_token("d");
    for scheme in ["", "bearer ", "Bearer ", "BEARER ", "bEaReR   "] {
        let answer =
            stage.plain().say(&post(IOTO, &format!("Authorization: {scheme}{token}\r\n"), ioto("d")));
        assert_eq!(answer.status, 200, "{scheme:?}");
    }
    for header in [format!("Basic {token}"), format!("Bearer{token}"), format!("Bearer {token} x")] {
        let answer = stage.plain().say(&post(IOTO, &format!("Authorization: {header}\r\n"), ioto("d")));
        refused(&answer, 401, "credential_refused", &header);
    }
}

#[test]
fn without_a_live_token_there_is_401_at_each_door() {
    let stage = Stage::new();
    let (id, revoked) = stage.token("device", "d");
    assert_eq!(stage.say(NATIVE, &revoked, good(NATIVE)).status, 200);
    stage.revoke(&id);
    for door in DOORS {
        refused(&stage.plain().say(&post(door, "", good(door))), 401, "credential_refused", "absent");
        let tokens = ["", "updt_", "x", &"y".repeat(9_000), &format!("updt_{}", "0".repeat(64)), &revoked];
        for token in tokens {
            refused(&stage.say(door, token, good(door)), 401, "credential_refused", token);
        }
    }
}

#[test]
fn a_token_speaks_for_its_own_device_or_product_only() {
    let stage = Stage::new();
    let device = stage.device_token("d");
    let (_, product) = stage.token("product", PRODUCT);
    let (_, other) = stage.token("product", "boiler");
    assert_eq!(stage.say(NATIVE, &product, good(NATIVE)).status, 200);
    for (door, token, body) in [
        (NATIVE, &device, native("e", "1.0.0").to_string()),
        (IOTO, &device, ioto("e")),
        (REPORT, &device, json!({ "success": true, "id": "e", "update": "r1-1" }).to_string()),
        (NATIVE, &other, good(NATIVE)),
        (IOTO, &other, good(IOTO)),
        (REPORT, &other, good(REPORT)),
    ] {
        refused(&stage.say(door, token, &body), 403, "wrong_device", &body);
    }
    assert_eq!(stage.operate("GET", "/devices/e", b"").status, 404, "a refused word leaves no device behind");
}

#[test]
fn a_products_token_cannot_take_over_a_device_of_another_product_by_calling_it_its_own() {
    let stage = Stage::new();
    let device = stage.device_token("d");
    assert_eq!(stage.say(NATIVE, &device, good(NATIVE)).status, 200);
    let (_, other) = stage.token("product", "boiler");
    let words = json!({ "id": "d", "product": "boiler", "version": "9.9.9", "boot": 1 }).to_string();
    for door in [NATIVE, IOTO] {
        refused(&stage.say(door, &other, &words), 403, "wrong_device", door);
    }
    assert_eq!(
        (stage.device("d").product, stage.device("d").version),
        (PRODUCT.to_owned(), "1.0.0".to_owned())
    );
    let moved = json!({ "id": "d", "product": "boiler", "version": "1.0.0", "boot": 2 }).to_string();
    assert_eq!(stage.say(NATIVE, &device, moved).status, 200, "the device itself may say what it has become");
}

#[test]
fn an_operators_token_opens_no_door_of_devices_and_a_devices_none_of_operators() {
    let stage = Stage::new();
    for door in DOORS {
        let answer = stage.say(door, stage.operator_token(), good(door));
        refused(&answer, 403, "wrong_device", door);
    }
    let token = stage.device_token("d");
    let request = format!("GET /api/v1/devices HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    let answer = crate::wire::Wire::plain(stage.addresses.operator).say(request.as_bytes());
    assert_eq!(answer.status, 403);
}

#[test]
fn further_fields_may_be_anything_and_texts_may_stand_for_numbers() {
    let stage = Stage::new();
    let token = stage.device_token("d");
    let mut body = json!({
        "id": "d", "product": PRODUCT, "version": "1.0.0", "ports": "16", "count": 16, "ratio": 0.5, "big": 1e300,
        "test": false, "pro": "true", "nothing": null, "tags": ["a", 1, [true]], "nested": { "deep": { "er": "x" } },
        "": "no name", "ключ": "значение", "emoji": "🦀"
    });
    body.as_object_mut().unwrap().remove("");
    assert_eq!(stage.say(IOTO, &token, body.to_string()).status, 200);
    let known = stage.device("d").attributes;
    assert_eq!((&known["ports"], &known["count"]), (&json!("16"), &json!(16)));
    assert_eq!((&known["nested.deep.er"], &known["ключ"]), (&json!("x"), &json!("значение")));
    let mut body = native("d", "1.0.0");
    body["attributes"] = json!({ "anything": [1, "two", null] });
    body["unknown"] = json!({ "from": "a newer device" });
    assert_eq!(stage.check_in(&token, &body).status, 200);
}

#[test]
fn a_body_that_is_no_check_in_is_400_and_says_what_is_wrong() {
    let stage = Stage::new();
    let token = stage.device_token("d");
    let deep = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
    let lists =
        format!(r#"{{"id":"d","product":"p","version":"1","l":{}{}}}"#, "[".repeat(300), "]".repeat(300));
    let long_version =
        json!({ "id": "d", "product": PRODUCT, "version": "1".repeat(200), "boot": 1 }).to_string();
    let bodies: [&[u8]; 22] = [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\"text\"",
        b"{\"id\":\"d\"}",
        br#"{"product":"p","version":"1.0.0","boot":1}"#,
        br#"{"id":"d","version":"1.0.0","boot":1}"#,
        br#"{"id":"d","product":"p","boot":1}"#,
        br#"{"id":1,"product":"p","version":"1.0.0","boot":1}"#,
        br#"{"id":"d","product":"p","version":"","boot":1}"#,
        br#"{"id":"","product":"p","version":"1.0.0","boot":1}"#,
        br#"{"id":"../d","product":"p","version":"1.0.0","boot":1}"#,
        br#"{"id":"d\u0000","product":"p","version":"1.0.0","boot":1}"#,
        br#"{"id":"d","product":"p\u0000","version":"1.0.0","boot":1}"#,
        b"{\"id\":\"d\",\"product\":\"p\",\"version\":\"1.0.0\",\"boot\":1,\"a\":\"\xff\xfe\"}",
        b"{\"id\":\"d\xc0\x80\",\"product\":\"p\",\"version\":\"1.0.0\",\"boot\":1}",
        br#"{"id":"d","product":"p","version":"1.0.0","boot":1"#,
        br#"{"id":"d","product":"p","version":"1.0.0","boot":1,"attributes":{"x":1e999}}"#,
        deep.as_bytes(),
        lists.as_bytes(),
        long_version.as_bytes(),
    ];
    for body in bodies {
        for door in DOORS {
            // What one contract has no word for, the other may well carry.
            let answer = stage.say(door, &token, body);
            let what = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
            if answer.status != 200 {
                let status = if answer.code() == "wrong_device" { 403 } else { 400 };
                let code = if status == 403 { "wrong_device" } else { "malformed" };
                refused(&answer, status, code, &what);
            }
            assert!(door != NATIVE || answer.status == 400, "{what}");
        }
    }
    assert_eq!(stage.say(IOTO, &token, ioto("d")).status, 200, "the server is none the worse for it");
}

#[test]
fn a_boot_count_is_a_whole_number_of_64_bits() {
    let stage = Stage::new();
    let token = stage.device_token("d");
    for (boot, status) in
        [("0", 200), ("18446744073709551615", 200), ("18446744073709551616", 400), ("-1", 400), ("1.5", 400)]
    {
        let body = format!(r#"{{"id":"d","product":"{PRODUCT}","version":"1.0.0","boot":{boot}}}"#);
        let answer = stage.say(NATIVE, &token, body);
        assert_eq!(answer.status, status, "{boot}: {}", answer.text());
    }
}

#[test]
fn of_a_name_that_comes_twice_one_counts_and_it_cannot_smuggle_another_device_in() {
    let stage = Stage::new();
    let token = stage.device_token("d");
    let twice = format!(r#"{{"id":"d","product":"{PRODUCT}","version":"1.0.0","boot":1,"id":"e"}}"#);
    assert!(matches!(stage.say(NATIVE, &token, &twice).status, 400 | 403));
    refused(&stage.say(IOTO, &token, &twice), 403, "wrong_device", "the last one counts");
    assert_eq!(stage.operate("GET", "/devices/e", b"").status, 404);
}

#[test]
fn a_body_may_have_64_kib_and_not_one_byte_more() {
    let stage = Stage::new();
    let token = stage.device_token("d");
    for (door, most) in [(NATIVE, 200), (IOTO, 200)] {
        let padded = |bytes: usize| {
            let body = good(door);
            format!("{body}{}", " ".repeat(bytes - body.len()))
        };
        let answer = stage.say(door, &token, padded(CHECK_IN_BYTES_MAX));
        assert_eq!(answer.status, most, "{}", answer.text());
        let answer = stage.say(door, &token, padded(CHECK_IN_BYTES_MAX + 1));
        refused(&answer, 413, "body_too_large", door);
    }
}

#[test]
fn a_body_of_unknown_length_is_read_as_far_as_the_limit() {
    let stage = Stage::new();
    let token = stage.device_token("d");
    let head = format!(
        "POST {IOTO} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let body = ioto("d");
    let (begin, end) = body.split_at(10);
    let chunks = format!("{head}{:x}\r\n{begin}\r\n{:x}\r\n{end}\r\n0\r\n\r\n", begin.len(), end.len());
    assert_eq!(stage.plain().say(chunks.as_bytes()).status, 200);
    let mut wire = stage.plain();
    wire.write_all(head.as_bytes()).unwrap();
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    for _ in 0..3 {
        // The server may have answered and closed before the last of it.
        let _ = wire.write_all(chunk.as_bytes());
    }
    refused(&Answer::read(&mut wire), 413, "body_too_large", "chunked");
}

#[test]
fn five_megabytes_of_header_are_refused_and_the_server_goes_on() {
    let stage = Stage::new();
    let token = stage.device_token("d");
    let mut wire = stage.plain();
    let head = format!("POST {IOTO} HTTP/1.1\r\nHost: localhost\r\nX-Filler: ");
    let sent = wire.write_all(head.as_bytes()).and_then(|()| wire.write_all(&vec![b'x'; 5 << 20]));
    let mut answer = Vec::new();
    let read = wire.read_to_end(&mut answer);
    // The answer may be lost to the reset that follows bytes nobody reads.
    assert!(answer.starts_with(b"HTTP/1.1 431") || sent.is_err() || read.is_err());
    assert_eq!(stage.say(IOTO, &token, ioto("d")).status, 200);
}

#[test]
fn requests_in_a_row_without_waiting_are_answered_in_their_order() {
    let stage = Stage::new();
    let (a, b) = (stage.device_token("a"), stage.device_token("b"));
    let of = |id: &str, token: &str| post(IOTO, &format!("Authorization: {token}\r\n"), ioto(id));
    let mut wire = stage.plain();
    let requests = [of("a", &a), of("b", &a), of("b", &b), of("a", "none")].concat();
    wire.write_all(&requests).unwrap();
    let statuses: Vec<_> = (0..4).map(|_| Answer::read(&mut wire).status).collect();
    assert_eq!(statuses, [200, 403, 200, 401]);
}

#[test]
fn other_methods_and_paths_are_refused_with_neither_of_the_deadly_texts() {
    let stage = Stage::new();
    let token = stage.device_token("d");
    for (method, path) in [
        ("GET", IOTO),
        ("PUT", NATIVE),
        ("DELETE", REPORT),
        ("POST", "/tok/provision/update/"),
        ("POST", "/tok/device/provision"),
        ("POST", "/"),
        ("GET", "/v1/artifacts/../../etc/passwd"),
    ] {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = stage.plain().say(request.as_bytes());
        assert!((400..500).contains(&answer.status), "{method} {path}: {}", answer.status);
        assert_keeps_credentials(&answer);
    }
}
