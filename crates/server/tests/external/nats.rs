//! Over NATS with JetStream: it grants shared subscriptions and delivers nothing to them.

use serde_json::json;
use updraft_server::protocols::mqtt::external::OpenError;
use updraft_server::protocols::mqtt::external::config::{ExternalConfig, Sharing};
use updraft_server::serve::ServeError;

use crate::broker::{Broker, Kind};
use crate::client::Client;
use crate::stage::{PRODUCT, Stage, external};

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
