//! The device state replica, with the MQTT clients that devices without our agent have.

use std::fs;

use crate::case::{Case, DEVICE, PRODUCT, Proof, VERSION};
use crate::program::{Kind, must_hold};

/// Takes the pattern's nine steps with Debian's clients.
fn take_nine_steps(acknowledge_on: &str) {
    if !Kind::Shell.is_present() {
        return;
    }
    let case = Case::new(Proof::Token).with_release();
    let text = |name: &str| case.fact(name).to_string();
    let of = |role: &str, name: &str| case.fact(role)[name].to_string();
    // JSON's quotes are the shell's: none of these has a `$` or a backslash.
    let facts = [
        ("host", text("host")),
        ("mqtt_port", text("mqtt_port")),
        ("ca", text("ca")),
        ("device_id", text("device")),
        ("device_token", text("token")),
        ("application_name", of("application", "name")),
        ("application_token", of("application", "token")),
        ("product", text("product")),
        ("software_url", software_url()),
        ("image_sha256", text("image_sha256")),
        ("acknowledge_on", acknowledge_on.to_owned()),
    ];
    let lines: String = facts.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    fs::write(case.server.path("case.sh"), lines).unwrap();
    let mut command = Kind::Shell.command("nine_steps.sh", case.server.folder());
    command.arg(case.server.folder());
    must_hold(command);
    assert_eq!(case.counts()["succeeded"], 1);
    case.server.end();
}

/// How an application names a release of the server as desired software.
fn software_url() -> String {
    format!("https://s3.amazonaws.com/{PRODUCT}/{VERSION}")
}

/// Lets a program take an update by a rollout that it starts itself, and looks at the books.
fn take_an_update(kind: Kind, program: &str, words: &[&str]) {
    if !kind.is_present() {
        return;
    }
    let case = Case::new(Proof::Token).with_release();
    case.run(kind, program, words);
    case.is_updated();
    assert_eq!(case.server.verb(&["device", "show", DEVICE])["product"], PRODUCT);
    case.server.end();
}

#[test]
fn mosquitto_takes_the_nine_steps_of_the_pattern() {
    take_nine_steps("update");
}

#[test]
fn mosquitto_may_acknowledge_where_the_pattern_once_said() {
    take_nine_steps("update/accepted");
}

#[test]
fn paho_takes_an_update_over_mqtt_3_with_tls() {
    take_an_update(Kind::Python, "paho_replica.py", &["3", "tls"]);
}

#[test]
fn paho_takes_an_update_over_mqtt_5_with_tls() {
    take_an_update(Kind::Python, "paho_replica.py", &["5", "tls"]);
}

#[test]
fn paho_takes_an_update_over_mqtt_3_without_tls() {
    take_an_update(Kind::Python, "paho_replica.py", &["3", "plain"]);
}

#[test]
fn mqtt_js_takes_an_update_over_mqtt_3_with_tls() {
    take_an_update(Kind::Node, "mqtt_replica.mjs", &["4", "tls"]);
}

#[test]
fn mqtt_js_takes_an_update_over_mqtt_5_without_tls() {
    take_an_update(Kind::Node, "mqtt_replica.mjs", &["5", "tcp"]);
}

#[test]
fn mqtt_js_takes_an_update_over_a_web_socket() {
    take_an_update(Kind::Node, "mqtt_replica.mjs", &["5", "wss"]);
}
