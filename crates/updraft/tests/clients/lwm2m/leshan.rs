//! Leshan's client, with an object 5 of ours on it: LwM2M 1.1, Californium's blocks, Scandium's DTLS with connection IDs.

use crate::program::Kind;
use crate::server::Server;

use super::stage::Device;

const DEVICE: &str = "leshan-1";
/// What it says in resource /3/0/1.
const PRODUCT: &str = "leshan-sensor";
const PUSH: &str = "[protocols.lwm2m.delivery]\nprefer = \"push\"\n";

fn start(server: &Server, words: &[(&str, &str)]) -> Device {
    let mut all = vec![format!("name={DEVICE}")];
    all.extend(words.iter().map(|(name, value)| format!("{name}={value}")));
    Device::start(server, Kind::Java, "Device", &all)
}

/// Starts it with a key that it was given.
fn start_with_key(server: &Server, words: &[(&str, &str)]) -> Device {
    let (identity, key) = server.give_key(DEVICE);
    let coaps = server.coaps();
    let mut all = vec![("server", coaps.as_str()), ("identity", &identity), ("key", &key)];
    all.extend(words);
    start(server, &all)
}

#[test]
fn leshans_client_registers_with_a_key_is_described_and_read_and_leaves() {
    if !Kind::Java.is_present() {
        return;
    }
    let server = Server::also_with("");
    let device = start_with_key(&server, &[]);
    let standing = server.await_standing(DEVICE);
    assert_eq!((&standing["security"], &standing["version"]), (&"psk".into(), &"1.1".into()), "{standing}");
    let outcome = server.read(DEVICE, "/3/0");
    assert!(outcome.to_string().contains("SN-1"), "{outcome}");
    let shown = super::stage::until("attributes", || {
        let shown = server.verb_if(&["device", "show", DEVICE])?;
        (shown["attributes"]["manufacturer"] == "Leshan Works").then_some(shown)
    });
    assert_eq!((&shown["product"], &shown["version"]), (&PRODUCT.into(), &"1.0.0".into()), "{shown}");
    device.leave();
    server.await_absence(DEVICE);
    server.end();
}

#[test]
fn leshans_client_with_a_wrong_key_does_not_get_in() {
    if !Kind::Java.is_present() {
        return;
    }
    let server = Server::also_with("");
    let (identity, key) = server.give_key(DEVICE);
    let wrong: String = key.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();
    let device = start(&server, &[("server", &server.coaps()), ("identity", &identity), ("key", &wrong)]);
    device.await_words("refused", 1);
    assert_eq!(server.verb_if(&["lwm2m", "show", DEVICE]), None);
    server.end();
}

/// Lets it take an update, and holds that the server has it on its books.
fn takes_an_update(more: &str, secure: bool, words: &[(&str, &str)], says: &str, bytes: usize) {
    if !Kind::Java.is_present() {
        return;
    }
    let server = Server::also_with(more);
    let coap = server.coap();
    let device = if secure {
        start_with_key(&server, words)
    } else {
        start(&server, &[&[("server", coap.as_str())], words].concat())
    };
    server.await_standing(DEVICE);
    let rollout = server.roll_out(PRODUCT, "1.1.0", bytes);
    server.await_count(&rollout, "succeeded");
    assert_eq!(server.device(DEVICE)["version"], "1.1.0");
    assert!(device.said().contains(says), "{}", device.said());
    device.leave();
    server.end();
}

#[test]
fn leshans_client_fetches_an_update_by_coap() {
    takes_an_update("", false, &[("method", "pull")], "pulled 200071", 200_000);
}

#[test]
fn leshans_client_fetches_an_update_by_coaps() {
    takes_an_update("", true, &[("method", "pull"), ("schemes", "1")], "pulled 200071", 200_000);
}

#[test]
fn leshans_client_is_pushed_an_update() {
    takes_an_update(PUSH, false, &[], "pushed 200071", 200_000);
}

#[test]
fn leshans_client_is_pushed_an_update_over_dtls() {
    takes_an_update(PUSH, true, &[("method", "push")], "pushed 200071", 200_000);
}

/// Lets an update fail on it, and holds that the server knows why.
fn fails_an_update(more: &str, words: &[(&str, &str)], unreadable: bool, reason: &str) {
    if !Kind::Java.is_present() {
        return;
    }
    let server = Server::also_with(more);
    let coap = server.coap();
    let _device = start(&server, &[&[("server", coap.as_str())], words].concat());
    server.await_standing(DEVICE);
    let rollout = if unreadable {
        server.roll_out_unreadable(PRODUCT, "1.1.0")
    } else {
        server.roll_out(PRODUCT, "1.1.0", 20_000)
    };
    server.await_count(&rollout, "failed");
    let shown = server.device(DEVICE);
    assert_eq!(shown["version"], "1.0.0");
    let executions = shown["executions"].to_string();
    assert!(executions.contains(reason), "{executions}");
    server.end();
}

#[test]
fn an_image_that_leshans_client_cannot_read_fails_the_update() {
    fails_an_update("", &[("method", "pull")], true, "unsupported_package");
}

#[test]
fn a_version_that_does_not_come_up_on_leshans_client_fails_the_update() {
    fails_an_update(PUSH, &[("boots", "badly")], false, "rolled_back");
}

#[test]
fn a_client_of_leshan_with_room_for_8192_bytes_fails_a_push_of_more() {
    fails_an_update(PUSH, &[("method", "push"), ("body_max", "8192")], false, "");
}
