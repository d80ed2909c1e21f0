//! The links in answers: where they point, whom they let in, when they end.

use serde_json::json;
use updraft_core::execution::DOWNLOADS_MAX;
use updraft_server::artifacts::{LINK_KEYS_FILE, LinkSigner, ShortClaims};

use crate::stage::{PRODUCT, Stage, image};
use crate::wire::{Wire, get};

fn offer_with_host(stage: &Stage, id: &str, host: &str) -> Option<String> {
    let token = stage.token("product", PRODUCT).1;
    let body = json!({ "id": id, "product": PRODUCT, "version": "1.0.0" }).to_string();
    let request = format!(
        "POST /tok/provision/update HTTP/1.1\r\n{host}Authorization: {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = stage.plain().say(request.as_bytes());
    if answer.status != 200 {
        return None;
    }
    assert!(!answer.text().contains(['\\', ' ', '<']), "{}", answer.text());
    Some(answer.json()["url"].as_str().expect("an offer").to_owned())
}

#[test]
fn a_link_begins_with_the_configured_url_or_the_host_that_the_device_asked_for() {
    let stage = Stage::with(|config| config.device.public_url = Some("https://ota.example:8443".into()));
    stage.publish("1.1.0", &image(10));
    let url = offer_with_host(&stage, "d", "Host: elsewhere.example\r\n").unwrap();
    assert!(url.starts_with("https://ota.example:8443/v1/artifacts/"), "{url}");
    let stage = Stage::new();
    stage.publish("1.1.0", &image(10));
    for (n, host) in ["ota.lan", "ota.lan:8443", "192.168.1.2:8080", "[::1]:8443"].into_iter().enumerate() {
        let url = offer_with_host(&stage, &format!("d{n}"), &format!("Host: {host}\r\n")).unwrap();
        assert!(url.starts_with(&format!("http://{host}/v1/artifacts/")), "{url}");
    }
}

#[test]
fn a_host_that_is_none_never_reaches_the_answer() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(10));
    let long = "x".repeat(300);
    let hosts =
        ["a\"b", "a\\b", "a b", "a/b", "a?b", "a<b", "\u{fc}mlaut", "", "a\tb", &long, "user@host", "a#b"];
    for (n, host) in hosts.into_iter().enumerate() {
        if let Some(url) = offer_with_host(&stage, &format!("d{n}"), &format!("Host: {host}\r\n")) {
            assert!(url.starts_with("http://localhost/v1/artifacts/"), "{host:?}: {url}");
        }
    }
    let split = offer_with_host(&stage, "split", "Host: a\r\nX-Injected: b\r\n").unwrap();
    assert!(split.starts_with("http://a/v1/artifacts/"), "{split}");
    let url = offer_with_host(&stage, "none", "").unwrap_or_else(|| "http://localhost/v1/artifacts/".into());
    assert!(url.starts_with("http://localhost/v1/artifacts/"), "no host at all: {url}");
    for (n, odd) in [":", "[", "]", "..", "--", "a:b:c"].into_iter().enumerate() {
        // Plain characters in a senseless order harm only the device that sent them, and never the server.
        let url = offer_with_host(&stage, &format!("odd{n}"), &format!("Host: {odd}\r\n"));
        assert!(url.is_some(), "{odd:?}");
    }
}

#[test]
fn over_tls_a_link_is_https() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(10));
    let token = stage.device_token("d");
    let body = json!({ "id": "d", "product": PRODUCT, "version": "1.0.0" }).to_string();
    let headers = format!("Authorization: bearer {token}\r\n");
    let answer = stage.tls().say(&crate::wire::post("/tok/provision/update", &headers, body));
    assert!(answer.text().starts_with(r#"{"url":"https://localhost/v1/artifacts/"#), "{}", answer.text());
}

#[test]
fn a_link_bound_to_an_address_opens_from_there() {
    let stage = Stage::with(|config| config.artifacts.bind_links_to_address = true);
    stage.publish("1.1.0", &image(10));
    let url = offer_with_host(&stage, "d", "Host: localhost\r\n").unwrap();
    assert!(url.contains("&net=127.0.0.1"), "{url}");
    assert_eq!(stage.plain().say(&get(&url, "")).status, 200);
    let elsewhere = url.replace("&net=127.0.0.1", "&net=192.0.2.1");
    assert_eq!(stage.plain().say(&get(&elsewhere, "")).status, 403);
}

#[test]
fn a_link_of_an_aborted_rollout_is_gone() {
    let stage = Stage::new();
    let rollout = stage.publish("1.1.0", &image(10));
    let url = offer_with_host(&stage, "d", "Host: localhost\r\n").unwrap();
    stage.abort(&rollout);
    // What is open is ended by the server's next turns.
    let until = std::time::Instant::now() + crate::wire::PATIENCE;
    while stage.stands("d").0 != "canceled" {
        assert!(std::time::Instant::now() < until);
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    let answer = stage.plain().say(&get(&url, ""));
    assert_eq!((answer.status, answer.code().as_str()), (410, "link_withdrawn"));
}

#[test]
fn a_device_that_downloads_in_a_loop_is_stopped() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(10_000));
    let url = offer_with_host(&stage, "d", "Host: localhost\r\n").unwrap();
    let fetch = |headers: &str| stage.plain().say(&get(&url, headers)).status;
    for _ in 0..DOWNLOADS_MAX {
        assert_eq!(fetch(""), 200);
        assert_eq!(fetch("Range: bytes=5000-\r\n"), 206, "going on where it broke off is no new beginning");
    }
    assert_eq!(fetch(""), 410);
    assert_eq!(stage.stands("d"), ("failed".into(), Some("download_loop".into())));
}

#[test]
fn a_devices_token_does_not_open_the_link_of_another() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(10));
    let url = offer_with_host(&stage, "d", "Host: localhost\r\n").unwrap();
    let other = stage.device_token("e");
    let answer = stage.plain().say(&get(&url, &format!("Authorization: Bearer {other}\r\n")));
    assert_eq!((answer.status, answer.code().as_str()), (403, "link_wrong_device"));
    let operators = Wire::plain(stage.addresses.operator).say(&get(&url, ""));
    assert_eq!(operators.status, 404, "artifacts are not on the operators' door");
}

/// A short link to a job of the device.
fn short(stage: &Stage, device: &str, job: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let signer = LinkSigner::open(&stage.data().join(LINK_KEYS_FILE), now).unwrap();
    let claims =
        ShortClaims { device: device.parse().unwrap(), job: job.parse().unwrap(), expires: now + 600 };
    signer.sign_short("http://localhost", &claims, now).unwrap()
}

#[test]
fn a_short_link_serves_the_artifact_of_the_open_execution_on_both_listeners_and_is_booked() {
    let stage = Stage::new();
    let bytes = image(100_000);
    let rollout = stage.publish("1.1.0", &bytes);
    offer_with_host(&stage, "d", "Host: localhost\r\n").unwrap();
    let url = short(&stage, "d", &format!("{rollout}-1"));
    for mut wire in [stage.plain(), stage.tls()] {
        let answer = wire.say(&get(&url, ""));
        assert_eq!(answer.status, 200);
        assert!(answer.body == bytes);
    }
    let rest = stage.plain().say(&get(&url, "Range: bytes=60000-\r\n"));
    assert_eq!(rest.status, 206);
    assert!(rest.body == bytes[60_000..], "a download goes on where it broke off");
    for _ in 2..DOWNLOADS_MAX {
        assert_eq!(stage.plain().say(&get(&url, "")).status, 200);
    }
    assert_eq!(stage.plain().say(&get(&url, "")).status, 410, "a device in a loop is stopped");
    assert_eq!(stage.stands("d"), ("failed".into(), Some("download_loop".into())));
    let closed = stage.plain().say(&get(&url, "Range: bytes=60000-\r\n"));
    assert_eq!((closed.status, closed.code().as_str()), (410, "link_withdrawn"));
}

#[test]
fn a_short_link_of_another_attempt_rollout_or_device_is_gone() {
    let stage = Stage::new();
    let rollout = stage.publish("1.1.0", &image(10));
    offer_with_host(&stage, "d", "Host: localhost\r\n").unwrap();
    for (device, job) in [
        ("d", format!("{rollout}-2")),
        ("d", "relsewhere-1".to_owned()),
        ("never-heard", format!("{rollout}-1")),
    ] {
        let answer = stage.plain().say(&get(&short(&stage, device, &job), ""));
        assert_eq!((answer.status, answer.code().as_str()), (410, "link_withdrawn"), "{device} {job}");
    }
    let url = short(&stage, "d", &format!("{rollout}-1"));
    let operators = Wire::plain(stage.addresses.operator).say(&get(&url, ""));
    assert_eq!(operators.status, 404, "artifacts are not on the operators' door");
    assert_eq!(stage.plain().say(&get(&url, "")).status, 200);
}
