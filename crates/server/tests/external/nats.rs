//! Over NATS with JetStream: it grants shared subscriptions and delivers nothing to them.

use std::time::Duration;

use serde_json::json;
use updraft_server::protocols::mqtt::external::OpenError;
use updraft_server::protocols::mqtt::external::config::{ExternalConfig, Sharing};
use updraft_server::serve::ServeError;

use crate::broker::{Broker, Kind};
use crate::client::Client;
use crate::stage::{PRODUCT, Stage, external};

/// How long nothing must come.
const SILENCE: Duration = Duration::from_millis(1_500);

#[test]
fn nats_serves_one_server_by_plain_subscriptions() {
    if !Kind::Nats.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Nats, &[]);
    let stage = Stage::new(external(&broker));
    let device = Client::connect(broker.port, "sensor-1", &["state/sensor-1/#", "$aws/things/sensor-1/#"]);
    let reported = json!({ "product": PRODUCT, "version": "1.0.0", "boot": 1 });
    device.must("state/sensor-1/update", &json!({ "state": { "reported": reported } }));
    device.must("$aws/things/sensor-1/jobs/get", &json!({}));
    assert_eq!(stage.read("/devices/sensor-1")["version"], "1.0.0");
    stage.stop();
}

#[test]
fn a_server_that_must_share_does_not_start_with_nats() {
    if !Kind::Nats.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Nats, &[]);
    let refused = Stage::open(ExternalConfig { shared: Sharing::Required, ..external(&broker) });
    let Err(error) = refused else { panic!("it started") };
    assert!(matches!(error, ServeError::Broker(OpenError::NotShared(_))), "{error:?}");
    assert!(error.to_string().contains("delivers nothing"), "{error}");
}

#[test]
fn a_server_that_is_alone_need_not_try() {
    if !Kind::Nats.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Nats, &[]);
    let stage = Stage::new(ExternalConfig { shared: Sharing::Never, ..external(&broker) });
    let device = Client::connect(broker.port, "sensor-1", &["state/sensor-1/#"]);
    device.must("state/sensor-1/update", &json!({ "state": { "reported": { "on": true } } }));
    stage.stop();
}

#[test]
fn a_device_cannot_reach_another_by_the_permissions_of_the_guide() {
    if !Kind::Nats.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Nats, &["sensor-1".to_owned(), "sensor-2".to_owned()]);
    let stage = Stage::new(ExternalConfig { shared: Sharing::Never, ..external(&broker) });
    let described =
        |version| json!({ "state": { "reported": { "product": PRODUCT, "version": version, "boot": 1 } } });
    // What is its own is granted, by wildcards too.
    let own = ["state/sensor-2/#", "$aws/things/sensor-2/#"];
    let other = Client::connect(broker.port, "sensor-2", &own);
    let thief =
        Client::connect(broker.port, "sensor-1", &["state/#", "state/sensor-2/#", "$aws/things/#", "#"]);
    thief.say("state/sensor-2/update", &described("6.6.6").to_string());
    thief.say("$aws/things/sensor-2/shadow/update", &described("6.6.6").to_string());
    other.must("state/sensor-2/update", &described("1.0.0"));
    other.must("$aws/things/sensor-2/jobs/get", &json!({}));
    assert_eq!(stage.read("/devices/sensor-2")["version"], "1.0.0");
    assert_eq!(thief.hear_within(SILENCE, |_, _| true), None);
    stage.stop();
}
