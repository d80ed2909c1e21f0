//! `updraft sim` over LwM2M at a real server, with a few devices.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::server::Server;

/// How many devices there are, and for how long: each is heard several times.
const DEVICES: u64 = 20;
const LIFE: [&str; 4] = ["--duration", "20s", "--interval", "2s"];
const PUSH: &str = "[protocols.lwm2m.delivery]\nprefer = \"push\"\n";

/// Runs a load that must go without an error; its summary.
fn load(server: &Server, url: &str, words: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_updraft"))
        .args(["sim", "--url", url, "--devices", &DEVICES.to_string(), "--json"])
        .args(LIFE)
        .args(["--operator", &server.operator_url(), "--data", "updraft-data"])
        .args(words)
        .current_dir(server.folder())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", String::from_utf8_lossy(&output.stdout));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(summary["registrations"].as_u64() >= Some(DEVICES), "{summary}");
    assert!(summary["registration_updates"].as_u64() >= Some(2 * DEVICES), "{summary}");
    summary
}

#[test]
fn a_load_without_security_takes_what_is_pushed_and_some_of_it_fails() {
    let server = Server::also_with(PUSH);
    let rollout = server.roll_out_image("simulated", "1.1.0", &[7; 20_000]);
    let summary = load(&server, &server.coap(), &["--failing", "30"]);
    let counts = &server.verb(&["rollout", "status", &rollout])["counts"];
    let (pushed, stayed) = (&summary["versions"]["pushed"], &summary["versions"]["1.0.0"]);
    assert_eq!((&counts["succeeded"], &counts["failed"]), (pushed, stayed), "{counts} {summary}");
    assert!(stayed.as_u64() >= Some(1), "{summary}");
    assert_eq!(summary["bytes"], json!(20_000 * DEVICES));
    server.end();
}

#[test]
fn a_load_by_dtls_has_a_key_for_each_device_and_keeps_it() {
    let server = Server::also_with(PUSH);
    let rollout = server.roll_out_image("simulated", "1.1.0", &[7; 20_000]);
    let summary = load(&server, &server.coaps(), &["--keys", "load.keys"]);
    assert_eq!(summary["versions"], json!({ "pushed": DEVICES }), "{summary}");
    let counts = &server.verb(&["rollout", "status", &rollout])["counts"];
    assert_eq!(counts["succeeded"], json!(DEVICES), "{counts}");
    let path = server.path("load.keys");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let keys = fs::read_to_string(&path).unwrap();
    assert_eq!(keys.lines().count() as u64, DEVICES);
    load(&server, &server.coaps(), &["--keys", "load.keys"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), keys, "no other keys are made");
    server.end();
}
