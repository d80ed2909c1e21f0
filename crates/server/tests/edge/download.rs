//! Claims about downloads over a socket: who gets bytes, and which.

use std::io::{Read, Write};
use std::sync::Arc;

use crate::served::{Answer, Depot, Gate, content, now, request};
use object_store::memory::InMemory;
use updraft_server::artifacts::{Artifacts, LinkClaims};
use updraft_server::listen::ListenLimits;

const BYTES: usize = 3_000_000;

#[test]
fn a_link_brings_the_whole_with_length_and_strong_tag() {
    let depot = Depot::new(BYTES);
    let answer = depot.get(&depot.target(&depot.claims()), "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Content-Length"), Some("3000000"));
    assert_eq!(answer.header("Etag").unwrap(), format!("\"{}\"", depot.artifact.sha256));
    assert_eq!(answer.header("Accept-Ranges"), Some("bytes"));
    assert_eq!(answer.header("Content-Type"), Some("application/octet-stream"));
    assert_eq!(answer.header("Connection"), None);
    assert!(answer.body == depot.content);
    let requests = depot.gate.requests.lock().unwrap();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].0, depot.claims());
    assert!(requests[0].1.is_start && requests[0].1.bytes == BYTES as u64);
}

#[test]
fn ranges_bring_exactly_their_bytes() {
    let depot = Depot::new(BYTES);
    let target = depot.target(&depot.claims());
    let last = BYTES - 1;
    let table = [
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, last),
        ("bytes=5-9", 5, 9),
        ("Bytes=5-9", 5, 9),
        ("bytes= 5-9 ,", 5, 9),
        ("bytes=2999999-", last, last),
        ("bytes=2999990-99999999999999999999999", BYTES - 10, last),
        ("bytes=-1", last, last),
        ("bytes=-70000", BYTES - 70_000, last),
        ("bytes=-99999999", 0, last),
        ("bytes=1000000-2100000", 1_000_000, 2_100_000),
        ("bytes=0-99,50-149,149-199", 0, 199),
        ("bytes=9999999-,0-4", 0, 4),
    ];
    for (range, first, last) in table {
        let answer = depot.get(&target, &format!("Range: {range}\r\n"));
        assert_eq!(answer.status, 206, "{range}");
        let expected = format!("bytes {first}-{last}/{BYTES}");
        assert_eq!(answer.header("Content-Range"), Some(expected.as_str()), "{range}");
        assert!(answer.body == depot.content[first..=last], "{range}");
    }
    let requests = depot.gate.requests.lock().unwrap();
    let starts = requests.iter().filter(|(_, request)| request.is_start).count();
    assert_eq!((requests.len(), starts), (table.len(), 5));
}

#[test]
fn ranges_that_touch_nothing_are_416_with_the_size() {
    let depot = Depot::new(BYTES);
    let target = depot.target(&depot.claims());
    for range in ["bytes=3000000-", "bytes=3000000-3000005", "bytes=-0", "bytes=99999999999999999999-"] {
        let answer = depot.get(&target, &format!("Range: {range}\r\n"));
        assert_eq!((answer.status, answer.body.len()), (416, 0), "{range}");
        assert_eq!(answer.header("Content-Range"), Some("bytes */3000000"), "{range}");
    }
}

#[test]
fn a_range_header_that_makes_no_sense_is_ignored() {
    let depot = Depot::new(1000);
    let target = depot.target(&depot.claims());
    let many = format!("bytes={}", vec!["0-0"; 257].join(","));
    let twice = "bytes=0-1\r\nRange: bytes=2-3";
    for range in [
        "bytes=",
        "bytes=-",
        "bytes=5-4",
        "bytes=a-b",
        "items=0-1",
        "bytes=0-1;",
        "bytes=+1-2",
        "0-1",
        &many,
        twice,
    ] {
        let answer = depot.get(&target, &format!("Range: {range}\r\n"));
        assert!(answer.status == 200 && answer.body == depot.content, "{range}");
    }
}

#[test]
fn several_ranges_come_as_parts_in_the_order_asked_for() {
    let depot = Depot::new(BYTES);
    let answer = depot.get(&depot.target(&depot.claims()), "Range: bytes=2000000-2999999,5-9,-1\r\n");
    // The last two overlap with the first at its end, so they are merged and sorted; the next three do not.
    assert_eq!(answer.status, 206);
    let apart = depot.get(&depot.target(&depot.claims()), "Range: bytes=2000000-2500000,5-9,-1\r\n");
    for (answer, parts) in [
        (answer, vec![(5, 9), (2_000_000, 2_999_999)]),
        (apart, vec![(2_000_000, 2_500_000), (5, 9), (2_999_999, 2_999_999)]),
    ] {
        let digest = depot.artifact.sha256;
        let expected_type = format!("multipart/byteranges; boundary={digest}");
        assert_eq!(answer.header("Content-Type"), Some(expected_type.as_str()));
        let mut expected = Vec::new();
        for (index, (first, last)) in parts.into_iter().enumerate() {
            let lead = if index == 0 { "" } else { "\r\n" };
            let head = format!(
                "{lead}--{digest}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {first}-{last}/{BYTES}\r\n\r\n"
            );
            expected.extend_from_slice(head.as_bytes());
            expected.extend_from_slice(&depot.content[first..=last]);
        }
        expected.extend_from_slice(format!("\r\n--{digest}--\r\n").as_bytes());
        assert!(answer.body == expected);
    }
}

#[test]
fn conditions_are_judged_in_the_order_of_the_standard() {
    let depot = Depot::new(1000);
    let target = depot.target(&depot.claims());
    let tag = format!("\"{}\"", depot.artifact.sha256);
    let table = [
        (format!("If-Range: {tag}\r\nRange: bytes=1-2\r\n"), 206),
        (format!("If-Range: W/{tag}\r\nRange: bytes=1-2\r\n"), 200),
        ("If-Range: \"other\"\r\nRange: bytes=1-2\r\n".into(), 200),
        ("If-Range: Sat, 29 Oct 1994 19:43:31 GMT\r\nRange: bytes=1-2\r\n".into(), 200),
        (format!("If-None-Match: {tag}\r\n"), 304),
        (format!("If-None-Match: \"a\", W/{tag}\r\n"), 304),
        ("If-None-Match: *\r\n".into(), 304),
        ("If-None-Match: \"other\"\r\n".into(), 200),
        (format!("If-Match: {tag}\r\nRange: bytes=1-2\r\n"), 206),
        (format!("If-Match: W/{tag}\r\n"), 412),
        ("If-Match: \"other\"\r\n".into(), 412),
        ("If-Match: *\r\n".into(), 200),
        (format!("If-None-Match: {tag}\r\nRange: bytes=1-2\r\n"), 304),
    ];
    for (headers, status) in table {
        let answer = depot.get(&target, &headers);
        assert_eq!(answer.status, status, "{headers}");
        assert_eq!(answer.header("Etag"), Some(tag.as_str()));
    }
}

#[test]
fn head_says_what_get_would_and_counts_as_no_start() {
    let depot = Depot::new(BYTES);
    let target = depot.target(&depot.claims());
    let answer = depot.served.say(request("HEAD", &target, "Range: bytes=1-2\r\n").as_bytes());
    assert_eq!((answer.status, answer.header("Content-Length")), (200, Some("3000000")));
    let requests = depot.gate.requests.lock().unwrap();
    assert!(!requests[0].1.is_start && requests[0].1.bytes == 0);
}

#[test]
fn a_link_for_clients_that_read_to_the_end_closes_the_connection() {
    let depot = Depot::new(BYTES);
    let target = depot.target(&LinkClaims { close: true, ..depot.claims() });
    let mut stream = depot.served.connect();
    stream.write_all(request("GET", &target, "").as_bytes()).unwrap();
    let answer = Answer::read(&mut stream, false);
    assert_eq!(answer.header("Connection"), Some("close"));
    assert!(answer.body == depot.content);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_kept_connection_serves_one_download_after_another() {
    let depot = Depot::new(BYTES);
    let target = depot.target(&depot.claims());
    let mut stream = depot.served.connect();
    for headers in
        ["", "Range: bytes=7-1000007\r\n", "If-None-Match: *\r\n", "", "Range: bytes=0-1,9-10\r\n", ""]
    {
        stream.write_all(request("GET", &target, headers).as_bytes()).unwrap();
        let answer = Answer::read(&mut stream, false);
        assert!(answer.status != 200 || answer.body == depot.content, "{headers}");
        assert!(!headers.contains('7') || answer.body == depot.content[7..=1_000_007]);
    }
}

#[test]
fn refused_links_bring_a_code_and_no_byte() {
    let depot = Depot::new(1000);
    let good = depot.claims();
    let target = depot.target(&good);
    let altered = target.replace("device=dev-1", "device=dev-2");
    let elsewhere = depot.target(&LinkClaims { net: Some("192.0.2.0/24".parse().unwrap()), ..good.clone() });
    let here = depot.target(&LinkClaims { net: Some("127.0.0.0/8".parse().unwrap()), ..good.clone() });
    let expired = depot.target(&LinkClaims { expires: now() - 1, ..good.clone() });
    let unknown_key = target.replace("&key=", "&key=00");
    let path = target.split('?').next().unwrap();
    let other_device = "Authorization: Bearer token-of-dev-2\r\n";
    let own_device = "Authorization: Bearer token-of-dev-1\r\n";
    let table = [
        (target.as_str(), "", 200, ""),
        (&here, "", 200, ""),
        (&target, own_device, 200, ""),
        (&altered, "", 403, "link_altered"),
        (&elsewhere, "", 403, "link_wrong_address"),
        (&expired, "", 403, "link_expired"),
        (&unknown_key, "", 403, "link_unknown_key"),
        (&target[..target.len() - 1], "", 403, "link_altered"),
        (&format!("{path}?"), "", 403, "link_malformed"),
        (&format!("{path}?a=b&c"), "", 403, "link_malformed"),
        (&target, other_device, 403, "link_wrong_device"),
        (path, "", 401, "link_missing"),
        (path, own_device, 401, "link_missing"),
    ];
    for (target, headers, status, code) in table {
        let answer = depot.get(target, headers);
        assert_eq!(answer.status, status, "{target} {headers}");
        assert!(status == 200 || answer.code() == code, "{code}: {}", String::from_utf8_lossy(&answer.body));
    }
}

#[test]
fn a_withdrawn_link_is_gone() {
    let gate = Gate { withdrawn: true, ..Gate::default() };
    let depot = Depot::with(content(1000), ListenLimits::default(), 16, gate);
    for headers in ["", "Range: bytes=5-\r\n", "If-None-Match: *\r\n"] {
        let answer = depot.get(&depot.target(&depot.claims()), headers);
        assert_eq!((answer.status, answer.code().as_str()), (410, "link_withdrawn"), "{headers}");
    }
}

#[test]
fn a_device_exchanges_its_credential_for_one_that_opens_this_artifact_only() {
    let depot = Depot::new(1000);
    let path = format!("/v1/artifacts/{}", depot.artifact.sha256);
    let exchange = |device: &str| {
        let headers = format!("Authorization: Bearer token-of-{device}\r\nContent-Length: 0\r\n");
        depot.served.say(request("POST", &format!("{path}/credential"), &headers).as_bytes())
    };
    let answer = exchange("dev-1");
    assert_eq!((answer.status, answer.header("Cache-Control")), (200, Some("no-store")));
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(body["expires"].as_u64().unwrap() <= now() + 3600);
    let temporary = format!("Authorization: bearer {}\r\n", body["credential"].as_str().unwrap());
    let download = depot.get(&path, &temporary);
    assert!(download.status == 200 && download.body == depot.content);
    let other = format!("/v1/artifacts/{}", "0".repeat(64));
    assert_eq!(depot.get(&other, &temporary).code(), "credential_wrong_artifact");
    // The credential of one device does not help the holder of another's link.
    let link = depot.target(&LinkClaims { device: "dev-2".into(), ..depot.claims() });
    assert_eq!(depot.get(&link, &temporary).code(), "link_wrong_device");
    assert_eq!(exchange("dev-2").code(), "artifact_not_assigned");
    let anonymous =
        depot.served.say(request("POST", &format!("{path}/credential"), "Content-Length: 0\r\n").as_bytes());
    assert_eq!((anonymous.status, anonymous.code().as_str()), (401, "device_unknown"));
}

#[test]
fn tricks_in_the_path_reach_no_file() {
    let depot = Depot::new(1000);
    let (digest, query) = (depot.artifact.sha256.to_string(), depot.target(&depot.claims()));
    let query = query.split_once('?').unwrap().1;
    let upper = digest.to_uppercase();
    let encoded = format!("%{:02x}{}", digest.as_bytes()[0], &digest[1..]);
    for name in [
        "..%2f..%2flink.keys",
        "%00",
        "..",
        "%2e%2e",
        &upper,
        &encoded,
        &digest[..63],
        "a%00b",
        "%ff%fe",
        &"a".repeat(5000),
    ] {
        let answer = depot.get(&format!("/v1/artifacts/{name}?{query}"), "");
        assert!(matches!(answer.status, 404 | 400), "{name}: {}", answer.status);
        assert!(!answer.body.windows(6).any(|bytes| bytes == b"secret"));
    }
    for bytes in [&b"\x00"[..], b"\xff\xfe", b"\xc3\x28"] {
        let mut raw = format!("GET /v1/artifacts/{digest}?device=").into_bytes();
        raw.extend_from_slice(bytes);
        raw.extend_from_slice(b" HTTP/1.1\r\nHost: x\r\n\r\n");
        let status = depot.served.say(&raw).status;
        assert!(matches!(status, 400 | 403), "{bytes:?}: {status}");
    }
    assert_eq!(depot.get(&depot.target(&depot.claims()), "").status, 200);
}

#[test]
fn other_methods_and_deleted_artifacts_are_named() {
    let depot = Depot::new(1000);
    let target = depot.target(&depot.claims());
    let answer = depot.served.say(request("DELETE", &target, "").as_bytes());
    assert_eq!((answer.status, answer.header("Allow")), (405, Some("GET, HEAD")));
    let other = LinkClaims { sha256: "0".repeat(64).parse().unwrap(), ..depot.claims() };
    let answer = depot.get(&depot.target(&other), "");
    assert_eq!((answer.status, answer.code().as_str()), (404, "artifact_unknown"));
}

#[test]
fn downloads_beyond_the_limit_are_told_when_to_come_back() {
    let bytes = 32 << 20;
    let depot = Depot::with(content(bytes), ListenLimits::default(), 1, Gate::default());
    let target = depot.target(&depot.claims());
    let mut first = depot.served.connect();
    first.write_all(request("GET", &target, "").as_bytes()).unwrap();
    // The first byte proves that the first download has its slot; 32 MiB do not fit the sockets' buffers.
    first.read_exact(&mut [0]).unwrap();
    let answer = depot.get(&target, "");
    assert_eq!((answer.status, answer.code().as_str()), (503, "downloads_busy"));
    assert!(answer.header("Retry-After").unwrap().parse::<u32>().unwrap() > 0);
    let mut rest = vec![0; 64 << 10];
    while first.read(&mut rest).unwrap() == rest.len() {}
    drop(first);
    while depot.get(&target, "Range: bytes=0-0\r\n").status == 503 {}
}

#[test]
fn another_object_store_serves_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::new(Arc::new(InMemory::new()));
    let depot = Depot::over(artifacts, folder, content(BYTES), ListenLimits::default(), 16, Gate::default());
    let target = depot.target(&depot.claims());
    assert!(depot.get(&target, "").body == depot.content);
    assert!(depot.get(&target, "Range: bytes=10-2000000\r\n").body == depot.content[10..=2_000_000]);
    let answer = depot.get(&target, "Range: bytes=0-9,100-199\r\n");
    assert!(answer.body.windows(100).any(|bytes| bytes == &depot.content[100..200]));
}
