//! Over TLS, with certificates from an authority of the operator's own: the server shows one, and so does the broker.

use std::sync::Arc;

use serde_json::json;
use updraft_server::listen::shutdown;
use updraft_server::protocols::mqtt::external::External;
use updraft_server::protocols::mqtt::external::config::{Contract, ExternalConfig, Sharing};

use crate::authority::{Authority, Certified, Validity};
use crate::broker::{Broker, Kind, SERVER};
use crate::client::Client;
use crate::share::{Counting, await_up};
use crate::stage::{PRODUCT, Stage, on_runtime};

/// What the broker's certificate is for, and where it is.
const HOST: &str = "localhost";

/// How the server reaches a broker by TLS: who it is stands in its certificate, and no password is needed.
fn external(broker: &Broker, host: &str, ca: &Authority, own: Option<Certified>) -> ExternalConfig {
    let (certificate, key) = own.map(|own| (own.certificate, own.key)).unzip();
    ExternalConfig {
        url: Some(format!("mqtts://{host}:{}", broker.tls_port.unwrap())),
        ca: Some(ca.certificate()),
        certificate,
        key,
        // Sharing is then tried on one topic, which is quicker.
        contracts: vec![Contract::Replica],
        ..ExternalConfig::default()
    }
}

/// Why there is no connection.
fn trouble(config: &ExternalConfig) -> String {
    on_runtime(async { External::open(config).await.unwrap().trouble().unwrap() })
}

fn described() -> serde_json::Value {
    json!({ "state": { "reported": { "product": PRODUCT, "version": "1.0.0", "boot": 1 } } })
}

#[test]
fn the_server_connects_by_its_certificate_to_a_broker_of_the_same_authority() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let ca = Authority::new("ours");
    let broker = Broker::start_with_tls(Kind::Mosquitto, &["sensor-1".to_owned()], &ca, HOST);
    let own = ca.client(SERVER, Validity::Current);
    let stage = Stage::new(external(&broker, HOST, &ca, Some(own)));
    let device = Client::connect(broker.port, "sensor-1", &["state/sensor-1/#"]);
    device.must("state/sensor-1/update", &described());
    assert_eq!(stage.read("/devices/sensor-1")["version"], "1.0.0");
    stage.stop();
}

#[test]
fn a_broker_at_an_address_is_known_by_the_address_in_its_certificate() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let ca = Authority::new("ours");
    let broker = Broker::start_with_tls(Kind::Mosquitto, &[], &ca, "127.0.0.1");
    let own = ca.client(SERVER, Validity::Current);
    let config = external(&broker, "127.0.0.1", &ca, Some(own));
    on_runtime(async {
        let client = External::open(&config).await.unwrap();
        assert_eq!(client.trouble(), None);
        assert!(client.is_shared().is_some(), "sharing was tried, so it was let in");
    });
}

#[test]
fn a_broker_of_another_authority_is_refused_and_the_file_to_set_is_named() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let (ca, other) = (Authority::new("ours"), Authority::new("another"));
    let broker = Broker::start_with_tls(Kind::Mosquitto, &[], &ca, HOST);
    let own = || Some(ca.client(SERVER, Validity::Current));
    let config = external(&broker, HOST, &other, own());
    let said = trouble(&config);
    assert!(said.contains("no authority in") && said.contains("ca must be the file"), "{said}");
    let said = trouble(&ExternalConfig { ca: None, ..config });
    assert!(said.contains("public web") && said.contains("set ca"), "{said}");
}

#[test]
fn a_broker_whose_certificate_is_for_another_name_is_refused() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let ca = Authority::new("ours");
    let broker = Broker::start_with_tls(Kind::Mosquitto, &[], &ca, "broker.example");
    let own = ca.client(SERVER, Validity::Current);
    let said = trouble(&external(&broker, HOST, &ca, Some(own)));
    assert!(said.contains("not for localhost"), "{said}");
}

#[test]
fn an_expired_client_certificate_is_named_as_such() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let ca = Authority::new("ours");
    let broker = Broker::start_with_tls(Kind::Mosquitto, &[], &ca, HOST);
    let expired = ca.client(SERVER, Validity::Expired);
    let said = trouble(&external(&broker, HOST, &ca, Some(expired)));
    // Where the broker's word was lost on the way, it can only be guessed.
    assert!(said.contains("has expired") || said.contains("may refuse the client certificate"), "{said}");
}

#[test]
fn a_broker_that_wants_a_client_certificate_and_gets_none_is_named_as_such() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let ca = Authority::new("ours");
    let broker = Broker::start_with_tls(Kind::Mosquitto, &[], &ca, HOST);
    let said = trouble(&external(&broker, HOST, &ca, None));
    assert!(said.contains("client certificate"), "{said}");
}

#[test]
fn a_client_certificate_of_another_authority_does_not_let_the_server_in() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let (ca, other) = (Authority::new("ours"), Authority::new("another"));
    let broker = Broker::start_with_tls(Kind::Mosquitto, &[], &ca, HOST);
    let strange = other.client(SERVER, Validity::Current);
    let said = trouble(&external(&broker, HOST, &ca, Some(strange)));
    assert!(said.contains("client certificate"), "{said}");
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused_at_the_start() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let ca = Authority::new("ours");
    let broker = Broker::start_with_tls(Kind::Mosquitto, &[], &ca, HOST);
    let mut own = ca.client(SERVER, Validity::Current);
    own.key = ca.client("another", Validity::Current).key;
    let Err(error) = Stage::open(external(&broker, HOST, &ca, Some(own))) else { panic!("it started") };
    assert!(error.to_string().contains("[protocols.mqtt.external]"), "{error}");
}

#[test]
fn the_server_comes_back_by_tls_after_the_broker_was_killed_and_renewed_files_are_used() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let ca = Authority::new("ours");
    let mut broker = Broker::start_with_tls(Kind::Mosquitto, &["sensor-1".to_owned()], &ca, HOST);
    let own = ca.client(SERVER, Validity::Current);
    let config = external(&broker, HOST, &ca, Some(own));
    let (certificate, key) = (config.certificate.clone().unwrap(), config.key.clone().unwrap());
    let stage = Stage::new(config);
    let device = Client::connect(broker.port, "sensor-1", &["state/sensor-1/#"]);
    device.must("state/sensor-1/update", &described());
    broker.kill();
    // Another key by the same authority, as a renewal brings.
    let renewed = ca.client("renewed", Validity::Current);
    std::fs::copy(renewed.certificate, certificate).unwrap();
    std::fs::copy(renewed.key, key).unwrap();
    broker.rename_server("renewed");
    broker.restart();
    let reported = json!({ "state": { "reported": { "version": "1.0.1" } } });
    device.must("state/sensor-1/update", &reported);
    assert_eq!(stage.read("/devices/sensor-1")["version"], "1.0.1");
    stage.stop();
}

#[test]
fn nats_takes_the_server_by_its_certificate_and_nobody_without_one() {
    if !Kind::Nats.is_present() {
        return;
    }
    let ca = Authority::new("ours");
    let broker = Broker::start_with_tls(Kind::Nats, &[], &ca, HOST);
    let own = ca.client(SERVER, Validity::Current);
    let config = ExternalConfig { shared: Sharing::Preferred, ..external(&broker, HOST, &ca, Some(own)) };
    on_runtime(async {
        let client = External::open(&config).await.unwrap();
        assert_eq!((client.trouble(), client.is_shared()), (None, Some(false)), "it was tried by TLS");
        let (trigger, stop) = shutdown::shutdown();
        let running = tokio::spawn(client.clone().run(Arc::new(Counting::default()), stop));
        await_up(&client).await;
        trigger.ask();
        running.await.unwrap();
    });
    let said = trouble(&external(&broker, HOST, &ca, None));
    assert!(said.contains("client certificate"), "{said}");
}
