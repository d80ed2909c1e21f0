//! boto3, unmodified but for its endpoint. It comes from the registry by `scripts/clients`, pinned; where it is missing a
//! test says so, and fails on a machine that checks everything (`CI=true`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::stage::{At, By, PRODUCT, Stage};

/// Longest time that a program may take.
const TIME_MAX: Duration = Duration::from_secs(120);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The interpreter with boto3, if it was installed.
fn python() -> Option<PathBuf> {
    let home = root().join("target/clients/py");
    if home.join(".pins").is_file() {
        return Some(home.join("bin/python"));
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "needs the Python clients; run scripts/clients");
    eprintln!("skipped: needs the Python clients; run scripts/clients");
    None
}

/// Runs a program of `tests/clients/python` against a server with two devices, and holds that all held in it.
fn holds(program: &str) {
    let Some(python) = python() else { return };
    let stage = Stage::new();
    let By::Token(token) = stage.device("sensor-7", json!({ "group": "kitchens" })) else {
        unreachable!("a token was made")
    };
    stage.device("sensor-8", json!({}));
    stage.release("1.1.0", b"an image");
    let (operator, device) = (stage.key("operator", "planner"), stage.key("device", "sensor-7"));
    let key = |key: &crate::sign::Key| json!({ "id": key.id, "secret": key.secret });
    let case = json!({
        "device": "sensor-7",
        "other": "sensor-8",
        "host": "127.0.0.1",
        "product": PRODUCT,
        "version": "1.1.0",
        "token": token,
        "access_key": key(&operator),
        "device_key": key(&device),
        "control_url": format!("http://{}", stage.address(At::Operators)),
        "data_url": format!("http://{}", stage.address(At::Devices)),
        "ca": false,
    });
    let path = stage.data().join("case.json");
    std::fs::write(&path, case.to_string()).unwrap();
    let mut command = Command::new(python);
    command.arg(root().join("tests/clients/python").join(program)).arg(&path);
    // What a person may have set must not lead the program elsewhere.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    let nowhere = stage.data().join("nowhere");
    command.env("AWS_CONFIG_FILE", &nowhere).env("AWS_SHARED_CREDENTIALS_FILE", &nowhere);
    command.env("AWS_EC2_METADATA_DISABLED", "true").stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > TIME_MAX {
            child.kill().unwrap();
            panic!("{program} takes more than {TIME_MAX:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{program} says what does not hold");
}

#[test]
fn boto3_operates_jobs() {
    holds("boto_control.py");
}

#[test]
fn boto3_uses_a_temporary_key_that_a_device_exchanged() {
    holds("boto_role.py");
}

#[test]
fn boto3_works_off_jobs_keeps_shadows_and_publishes() {
    holds("boto_data.py");
}

#[test]
fn boto3_finds_a_jobs_limits_kept() {
    holds("boto_limits.py");
}
