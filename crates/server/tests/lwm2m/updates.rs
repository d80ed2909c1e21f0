//! A rollout over LwM2M: pulled, pushed, failed, withdrawn, over a restart.

use crate::device::{Device, Ends, both, plain, psk, secured, stage};
use crate::stage::{PRODUCT, image};
use serde_json::Value;
use updraft_lwm2m::client::Config;
use updraft_lwm2m::firmware::{DeliveryMethod, UpdateResult};
use updraft_server::protocols::lwm2m::config::Preference;

#[test]
fn a_device_that_registers_is_described_by_its_tree() {
    let stage = stage(|_| ());
    let mut device = Device::plain(plain(&stage), "urn:imei:1").registered();
    let is_known = || stage.operate("GET", "/devices/urn:imei:1", b"").status == 200;
    device.while_looking("to be known", is_known);
    let known = stage.device("urn:imei:1");
    assert_eq!((known.product.as_str(), known.version.as_str()), (PRODUCT, "1.0.0"));
    let answer = stage.operate("GET", "/devices/urn:imei:1", b"");
    let known: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(known["attributes"]["radio_signal_strength"], -97.0, "{known}");
    assert_eq!(known["attributes"]["manufacturer"], "Acme");
}

/// Brings a device to 1.1.0.
#[track_caller]
fn update(stage: &crate::stage::Stage, device: &mut Device, id: &str, bytes: usize) -> Vec<u8> {
    let image = image(bytes);
    stage.publish("1.1.0", &image);
    device.while_looking("the update to succeed", || {
        stage.operate("GET", &format!("/devices/{id}"), b"").status == 200
            && stage.device(id).executions.first().is_some_and(|execution| execution.state == "succeeded")
    });
    image
}

#[test]
fn an_image_is_pulled_over_coap_by_a_link_made_for_the_device() {
    let stage = stage(|_| ());
    let mut device = Device::plain(plain(&stage), "d").registered();
    let image = update(&stage, &mut device, "d", 100_000);
    assert!(device.image == image, "{} bytes came", device.image.len());
    let uri = device.fetched_from.clone().unwrap();
    assert!(uri.starts_with("coap://") && uri.len() <= 255, "{uri}");
    assert_eq!(device.installed, 1);
    assert_eq!(stage.device("d").version, "1.1.0");
}

#[test]
fn an_image_is_pulled_over_the_session_that_has_a_key() {
    let stage = stage(|_| ());
    let key = psk(&stage, "d");
    let mut device = Device::with_key(secured(&stage), "d", &key).registered();
    let image = update(&stage, &mut device, "d", 50_001);
    assert!(device.image == image);
    assert!(device.fetched_from.unwrap().starts_with("coaps://"));
}

#[test]
fn an_image_is_pushed_block_by_block_where_the_operator_prefers_that() {
    let stage = stage(|config| config.protocols.lwm2m.delivery.prefer = Preference::Push);
    let key = psk(&stage, "d");
    let mut device = Device::with_key(secured(&stage), "d", &key).registered();
    let image = update(&stage, &mut device, "d", 150_000);
    assert!(device.image == image);
    assert_eq!((device.fetched_from, device.installed), (None, 1));
}

#[test]
fn a_device_that_takes_only_pushes_is_pushed() {
    let stage = stage(|_| ());
    let mut abilities = both();
    abilities.delivery = DeliveryMethod::Push;
    let mut device = Device::new(plain(&stage), Config::new("d"), None, abilities).registered();
    let image = update(&stage, &mut device, "d", 3_000);
    assert!(device.image == image && device.fetched_from.is_none());
}

#[test]
fn a_push_waits_for_a_link_that_is_good_enough() {
    let stage = stage(|config| {
        config.protocols.lwm2m.delivery.prefer = Preference::Push;
        config.protocols.lwm2m.delivery.signal_dbm_min = Some(-90);
        config.protocols.lwm2m.delivery.look_again =
            updraft_server::interval::Interval(std::time::Duration::from_millis(300));
    });
    let mut device = Device::plain(plain(&stage), "d").registered();
    stage.publish("1.1.0", &image(2_000));
    device.while_looking("the update to be offered", || {
        stage.operate("GET", "/devices/d", b"").status == 200 && !stage.device("d").executions.is_empty()
    });
    let began = std::time::Instant::now();
    device.until("some looks at the link", |_| began.elapsed() > std::time::Duration::from_millis(900));
    assert!(device.image.is_empty(), "-97 dBm is below -90");
    let explained = stage.operate("GET", "/devices/d/explain", b"").text().to_owned();
    assert!(
        explained.contains("the push waits for a better link: the radio signal in dBm is -97"),
        "{explained}"
    );
    let now = device.now();
    device.client.set_connectivity(now, |connectivity| connectivity.signal_strength = -60);
    device.while_looking("the push", || stage.stands("d").0 == "succeeded");
}

#[test]
fn a_failed_installation_is_told_with_the_devices_own_reason() {
    let stage = stage(|_| ());
    let mut device = Device::plain(plain(&stage), "d").registered();
    device.ends = Ends::Badly(UpdateResult::UpdateFailed);
    stage.publish("1.1.0", &image(2_000));
    device.while_looking("the failure", || {
        stage.operate("GET", "/devices/d", b"").status == 200
            && stage.device("d").executions.first().is_some_and(|execution| execution.state == "failed")
    });
    assert_eq!(stage.stands("d").1.as_deref(), Some("install_failed"));
    assert_eq!(stage.device("d").version, "1.0.0");
}

#[test]
fn a_device_that_calls_its_version_otherwise_is_updated_once() {
    let stage = stage(|_| ());
    let mut device = Device::plain(plain(&stage), "d").registered();
    device.becomes = "fw-11".to_owned();
    update(&stage, &mut device, "d", 2_000);
    device.while_looking("its name to be understood", || stage.device("d").version == "1.1.0");
    assert_eq!(device.installed, 1);
}

#[test]
fn a_dtls_session_and_a_pull_go_on_over_a_restart() {
    let mut stage = stage(|config| {
        config.protocols.lwm2m.listen = free_port();
        config.device.public_url = None;
    });
    let key = psk(&stage, "d");
    let mut device = Device::with_key(secured(&stage), "d", &key).registered();
    device.while_looking("to be known", || stage.operate("GET", "/devices/d", b"").status == 200);
    let image = image(300_000);
    stage.publish("1.1.0", &image);
    device.until("some of the image", |device| device.image.len() > 20_000);
    stage.restart();
    device.while_looking("the update to succeed", || {
        stage.device("d").executions.first().is_some_and(|execution| execution.state == "succeeded")
    });
    assert!(device.image == image);
    assert_eq!((device.registrations, device.installed), (1, 1), "no handshake, no second registration");
}

/// A port that was free a moment ago: a server that restarts comes back to the one it had.
fn free_port() -> std::net::SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_version_on_trial_is_no_success_until_the_device_confirms_it() {
    let stage = stage(|_| ());
    let mut device = Device::plain(plain(&stage), "d").registered();
    device.ends = Ends::OnTrial;
    stage.publish("1.1.0", &image(2_000));
    device.until("the trial", |device| device.installed == 1);
    // It has restarted into the new version, registers anew, and is on trial.
    let now = device.now();
    device.client.start(now);
    device.until("to be registered again", |device| device.registrations == 2);
    device.while_looking("the version to be known", || stage.device("d").version == "1.1.0");
    let now = device.now();
    device.until("a moment", |device| device.now().0 > now.0 + 500);
    assert_eq!(stage.stands("d").0, "rebooting", "State is still 3");
    device.roll_back();
    let now = device.now();
    device.client.start(now);
    device.while_looking("the rollback", || stage.stands("d").0 == "failed");
    assert_eq!(stage.device("d").version, "1.0.0");
}
