//! Who may speak for whom.

use crate::bare::{Bare, code};
use crate::device::{Device, plain, psk, secured, stage};
use crate::stage::image;
use updraft_lwm2m::client::Config;
use updraft_lwm2m::coap::{Code, Method, Request};

#[test]
fn a_name_that_is_not_the_credentials_is_refused() {
    let stage = stage(|_| ());
    let key = psk(&stage, "d-1");
    let mut device = Device::with_key(secured(&stage), "d-2", &key);
    device.until("a refusal", |device| device.refused.is_some());
    assert_eq!(device.refused, Some(Code::BAD_REQUEST));
    assert_eq!(stage.operate("GET", "/devices/d-2", b"").status, 404);
}

#[test]
fn a_device_with_a_credential_cannot_be_spoken_for_without() {
    let stage = stage(|_| ());
    psk(&stage, "d-1");
    let mut device = Device::plain(plain(&stage), "d-1");
    device.until("a refusal", |device| device.refused.is_some());
    assert_eq!(device.refused, Some(Code::FORBIDDEN));
}

#[test]
fn anothers_location_is_of_no_use() {
    let stage = stage(|_| ());
    let keys = [psk(&stage, "d-1"), psk(&stage, "d-2")];
    let mut first = Device::with_key(secured(&stage), "d-1", &keys[0]).registered();
    let mut second = Device::with_key(secured(&stage), "d-2", &keys[1]).registered();
    let location = first.location();
    for method in [Method::Post, Method::Delete] {
        let now = second.now();
        second.client.request(now, Request::new(method, &location)).unwrap();
    }
    let mut bare = Bare::new(plain(&stage));
    for method in [Method::Post, Method::Delete] {
        assert_eq!(code(&bare.ask(Request::new(method, &location))), Code::NOT_FOUND, "without security");
    }
    let now = first.now();
    first.client.update(now);
    first.until("a moment", |device| device.now().0 > now.0 + 500);
    second.until("a moment", |device| device.now().0 > 500);
    assert_eq!((first.registrations, first.location()), (1, location), "it goes on as it was");
}

#[test]
fn a_revoked_credential_ends_its_session_and_lets_nobody_in_again() {
    let stage = stage(|_| ());
    let key = psk(&stage, "d");
    let mut device = Device::with_key(secured(&stage), "d", &key).registered();
    stage.revoke(&key.id);
    let now = device.now();
    device.until("the goodbye", |device| device.now().0 > now.0 + 300);
    let mut again = Device::with_key(secured(&stage), "d", &key);
    again.until("a moment", |device| device.now().0 > 1_000);
    assert_eq!(again.registrations, 0);
}

#[test]
fn a_link_works_as_it_was_made_and_not_otherwise() {
    let stage = stage(|_| ());
    let mut device = Device::plain(plain(&stage), "d").registered();
    stage.publish("1.1.0", &image(400));
    device.until("the link", |device| device.fetched_from.is_some());
    let uri = device.fetched_from.clone().unwrap();
    let path = uri.splitn(4, '/').nth(3).unwrap().to_owned();
    let mut bare = Bare::new(plain(&stage));
    let get = |path: &str| Request::new(Method::Get, path);
    let spoilt = |at: usize| {
        let mut text: Vec<char> = path.chars().collect();
        text[at] = if text[at] == 'A' { 'B' } else { 'A' };
        text.into_iter().collect::<String>()
    };
    for at in [path.len() - 1, path.len() - 20] {
        assert_eq!(code(&bare.ask(get(&spoilt(at)))), Code::FORBIDDEN);
    }
    assert_eq!(code(&bare.ask(get(&path.replacen("/d/", "/e/", 1)))), Code::FORBIDDEN, "another device's");
    device.while_looking("the end", || stage.device("d").executions[0].state == "succeeded");
    assert_eq!(code(&bare.ask(get(&path))), Code::NOT_FOUND, "the update is over");
}

#[test]
fn a_peer_that_has_proven_nothing_gets_at_most_three_times_its_bytes() {
    let stage = stage(|_| ());
    let mut device = Device::plain(plain(&stage), "d").registered();
    device.while_looking("to be known", || stage.operate("GET", "/devices/d", b"").status == 200);
    let mut bare = Bare::new(plain(&stage));
    for request in [
        Request::new(Method::Get, "/.well-known/core"),
        Request::new(Method::Post, "/rd").with_query("ep=x").with_payload(40, b"</3/0>,</5/0>".to_vec()),
        Request::new(Method::Get, "/nothing"),
        Request::new(Method::Post, "/bs").with_query("ep=y"),
    ] {
        bare.say(request);
    }
    bare.listen(std::time::Duration::from_millis(1_500));
    assert!(bare.heard <= 3 * bare.said, "{} bytes for {}", bare.heard, bare.said);
}

#[test]
fn a_factory_device_is_given_its_server_and_a_key_of_its_own_and_registers() {
    let stage = stage(|_| ());
    let factory = psk(&stage, "d");
    let mut config = Config::new("d");
    config.bootstrap = Some(updraft_lwm2m::bootstrap::Security {
        uri: format!("coaps://{}", secured(&stage)),
        mode: updraft_lwm2m::bootstrap::SecurityMode::Psk,
        identity: factory.identity.clone().into_bytes(),
        server_key: Vec::new(),
        secret: factory.key.clone(),
    });
    let mut device = Device::new(secured(&stage), config, Some(&factory), crate::device::both());
    let now = device.now();
    device.client.start_bootstrap(now);
    device.until("an account", |device| device.account.is_some());
    let account = device.account.unwrap();
    assert_ne!(account.security.identity, factory.identity.as_bytes());
    let own = crate::device::Psk {
        id: String::new(),
        identity: String::from_utf8(account.security.identity).unwrap(),
        key: account.security.secret,
    };
    Device::with_key(secured(&stage), "d", &own).registered();
}

#[test]
fn an_update_from_another_port_is_heard_with_and_without_security() {
    let stage = stage(|_| ());
    let key = psk(&stage, "d-1");
    for mut device in [Device::with_key(secured(&stage), "d-1", &key), Device::plain(plain(&stage), "d-2")] {
        device.until("to be registered", |device| device.registrations > 0);
        device.rebind();
        let now = device.now();
        device.client.update(now);
        device.until("a moment", |device| device.now().0 > now.0 + 800);
        assert_eq!(device.registrations, 1, "no second handshake, no second registration");
    }
    // Both are asked where they are now.
    stage.publish("1.1.0", &image(2_000));
}

#[test]
fn a_device_proves_itself_by_its_certificate() {
    let stage = stage(|_| ());
    let mut device = Device::with_certificate(&stage, "d").registered();
    device.while_looking("to be known", || stage.operate("GET", "/devices/d", b"").status == 200);
    let answer = stage.operate("GET", "/devices/d/lwm2m", b"");
    assert!(answer.text().contains("x509"), "{}", answer.text());
    stage.publish("1.1.0", &image(5_000));
    device.while_looking("the update", || {
        stage.device("d").executions.first().is_some_and(|execution| execution.state == "succeeded")
    });
}
