//! Over mosquitto: shared subscriptions work, and its access rules keep devices apart.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::broker::{Broker, Kind};
use crate::client::{Client, PATIENCE};
use crate::stage::{PRODUCT, Stage, VERSION, external};

use updraft_server::protocols::mqtt::external::config::{Applications, Contract, ExternalConfig, Sharing};

/// Devices of the flow in which the broker is killed.
const FLEET: usize = 12;
/// How long nothing must come.
const SILENCE: Duration = Duration::from_millis(1_500);

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("sensor-{number}")).collect()
}

fn described(version: &str) -> serde_json::Value {
    json!({ "state": { "reported": { "product": PRODUCT, "version": version, "boot": 1 } } })
}

#[test]
fn the_nine_steps_of_the_pattern_hold_over_mosquitto() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Mosquitto, &names(1));
    let mut config = external(&broker);
    config.shared = Sharing::Required;
    config.contracts = vec![Contract::Replica];
    let stage = Stage::new(config);
    let digest = stage.add_release();
    // Before the pattern begins: the device reports what it is.
    let device = Client::connect(broker.port, "sensor-1", &["state/sensor-1/#"]);
    device.must("state/sensor-1/update", &described("1.0.0"));
    // 1, 2. Both have subscribed.
    let application = Client::connect(broker.port, "shop", &["state/+/update/accepted"]);
    // 3. The application publishes the software that it desires.
    let url = format!("https://s3.amazonaws.com/{PRODUCT}/{VERSION}");
    application
        .say("state/sensor-1/update", &json!({ "state": { "desired": { "softwareURL": url } } }).to_string());
    // 4, 5. The replica has stored it and publishes the difference.
    application.hear("state/sensor-1/update/accepted");
    let delta = device.hear("state/sensor-1/update/delta");
    let (link, job) =
        (delta["state"]["softwareURL"].as_str().unwrap(), delta["state"]["jobID"].as_str().unwrap());
    // 6. The device downloads by the link that was made for it.
    assert_eq!(stage.download(link), digest);
    // 7, 8. It acknowledges; 9. the replica says so to whoever listens.
    device.say("state/sensor-1/update", &format!("jobID:{job} SUCCESS"));
    let accepted = application.hear("state/sensor-1/update/accepted");
    assert_eq!(accepted["state"]["reported"]["status"], "SUCCESS");
    let state = device.must("state/sensor-1/get", &json!({}));
    assert_eq!(state["state"]["delta"]["softwareURL"], serde_json::Value::Null, "{state}");
    stage.stop();
}

#[test]
fn what_must_be_shared_is_tried_on_topics_of_things_as_well_and_refused_where_they_are_not() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Mosquitto, &names(1));
    // It shares `state/…`, and delivers nothing of `$aws/…` to the same kind of subscription.
    let refused = Stage::open(ExternalConfig { shared: Sharing::Required, ..external(&broker) });
    let Err(error) = refused else { panic!("it started") };
    assert!(error.to_string().contains("delivers nothing"), "{error}");
}

#[test]
fn a_device_cannot_ask_for_software_where_nobody_is_taken_for_an_application() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Mosquitto, &names(1));
    let stage = Stage::new(ExternalConfig { applications: Applications::None, ..external(&broker) });
    let device = Client::connect(broker.port, "sensor-1", &["state/sensor-1/#"]);
    let wish = json!({ "state": { "desired": { "softwareURL": "https://a/b" } } });
    let (topic, answer) = device.ask("state/sensor-1/update", &wish);
    assert_eq!((topic.as_str(), &answer["code"]), ("state/sensor-1/update/rejected", &json!(403)));
    stage.stop();
}

#[test]
fn a_device_cannot_reach_another_by_the_access_rules_of_the_guide() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Mosquitto, &names(2));
    let stage = Stage::new(external(&broker));
    let other = Client::connect(broker.port, "sensor-2", &["state/sensor-2/#"]);
    let thief = Client::connect(broker.port, "sensor-1", &["state/#", "$aws/things/#", "updraft/#"]);
    thief.say("state/sensor-2/update", &described("6.6.6").to_string());
    thief.say("$aws/things/sensor-2/shadow/update", &described("6.6.6").to_string());
    other.must("state/sensor-2/update", &described("1.0.0"));
    assert_eq!(stage.read("/devices/sensor-2")["version"], "1.0.0");
    let stolen = thief.hear_within(SILENCE, |topic, _| topic.contains("sensor-2"));
    assert_eq!(stolen, None);
    stage.stop();
}

#[test]
fn jobs_and_shadows_are_answered_to_whoever_subscribed() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let broker = Broker::start(Kind::Mosquitto, &names(1));
    let stage = Stage::new(external(&broker));
    stage.add_release();
    let device = Client::connect(broker.port, "sensor-1", &["$aws/things/sensor-1/#", "state/sensor-1/#"]);
    device.must("$aws/things/sensor-1/shadow/update", &described("1.0.0"));
    let shadow = device.must(
        "$aws/things/sensor-1/shadow/name/lamp/update",
        &json!({ "state": { "desired": { "on": 1 } } }),
    );
    assert_eq!(shadow["version"], 1);
    stage.start_rollout();
    // Told by itself, on both contracts' topics.
    let notified = device.hear_within(PATIENCE, |topic, _| topic == "$aws/things/sensor-1/jobs/notify-next");
    assert!(notified.is_some());
    let next = device.must("$aws/things/sensor-1/jobs/$next/get", &json!({}));
    assert_eq!(next["execution"]["status"], "QUEUED", "{next}");
    stage.stop();
}

#[test]
fn nothing_is_lost_when_the_broker_is_killed_in_the_middle_of_a_rollout() {
    if !Kind::Mosquitto.is_present() {
        return;
    }
    let names = names(FLEET);
    let mut broker = Broker::start(Kind::Mosquitto, &names);
    let stage = Stage::new(external(&broker));
    stage.add_release();
    let port = broker.port;
    let connect = |name: &String| Client::connect(port, name, &[&format!("state/{name}/#")]);
    let devices: Vec<_> = names.iter().map(|name| (name.clone(), connect(name))).collect();
    for (name, device) in &devices {
        device.must(&format!("state/{name}/update"), &described("1.0.0"));
    }
    let rollout = stage.start_rollout();
    thread::scope(|scope| {
        for (name, device) in devices {
            scope.spawn(move || take_the_update(&name, &device));
        }
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(300));
            broker.kill();
            thread::sleep(Duration::from_millis(300));
            broker.restart();
        }
    });
    let status = stage.read(&format!("/rollouts/{rollout}/status"));
    assert_eq!(status["counts"]["succeeded"], FLEET, "{status}");
    stage.stop();
}

/// Asks for the state until there is an update in it, then says that it runs.
fn take_the_update(name: &str, device: &Client) {
    let (get, update) = (format!("state/{name}/get"), format!("state/{name}/update"));
    let job = loop {
        let state = device.must(&get, &json!({}));
        if let Some(job) = state["state"]["delta"]["jobID"].as_str() {
            break job.to_owned();
        }
    };
    for status in ["downloading", "installing", "rebooting"] {
        let reported = json!({ "update": { "job": job, "state": status } });
        device.must(&update, &json!({ "state": { "reported": reported } }));
    }
    let reported = json!({ "version": VERSION, "boot": 2, "update": null });
    device.must(&update, &json!({ "state": { "reported": reported } }));
}
