//! Zerynth's contract, by a client of our own with the wire habits of its library, which is to be had no more: QoS 0, a
//! filter that matches nothing, no topic of rejections, and waits without end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program::Running;
use crate::server::Server;

const PRODUCT: &str = "meter";
const DEVICE: &str = "meter-1";
const VERSION: &str = "1.1.0";
/// What the client is given until it counts as waiting without end, in seconds.
const TIME: &str = "60";

/// The client, an example of the agent's crate, which `cargo test --workspace` builds. `None` where it is not built.
fn client() -> Option<PathBuf> {
    let examples = Path::new(env!("CARGO_BIN_EXE_updraft")).parent().unwrap().join("examples");
    let client = examples.join("zerynth");
    if client.is_file() {
        return Some(client);
    }
    let told = "needs the client: cargo build -p updraft-agent --example zerynth";
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{told}");
    eprintln!("skipped: {told}");
    None
}

/// A device of its product's credential takes a release that `--meta bc_idx=1` alone made one for it. Its last line, and how
/// the server booked it.
fn take_an_update(words: &[&str]) -> Option<(String, String)> {
    let client = client()?;
    let server = Server::start(None);
    let image: Vec<u8> = (0..40_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    fs::write(server.path("image.bin"), image).unwrap();
    let release = ["release", "add", "--product", PRODUCT, "--version", VERSION, "--file", "image.bin"];
    server.verb(&[&release[..], &["--meta", "bc_idx=1"]].concat());
    let started = server.verb(&["rollout", "start", "--product", PRODUCT, "--version", VERSION]);
    let token = server.verb(&["token", "create", "--product", PRODUCT]);
    let mut command = Command::new(client);
    let port = server.port("mqtts://").to_string();
    command.args(["--host", "localhost", "--port", &port, "--ca", "updraft-data/ca.pem", "--id", DEVICE]);
    command
        .args(["--token", token["token"].as_str().unwrap(), "--slots", "slots", "--time", TIME])
        .args(words);
    command.current_dir(server.folder()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let wrote = Running::start(command).must_hold();
    let last = wrote.lines().last().unwrap_or_default().to_owned();
    let status = server.verb(&["rollout", "status", started["id"].as_str().unwrap()]);
    let (state, _) = status["counts"].as_object().unwrap().iter().find(|(_, count)| **count == 1).unwrap();
    let state = state.clone();
    server.end();
    Some((last, state))
}

#[test]
fn a_zerynth_device_takes_an_update_and_reports_it_from_the_new_firmware() {
    let Some((last, state)) = take_an_update(&[]) else { return };
    assert_eq!((last.as_str(), state.as_str()), ("ended SUCCEEDED", "succeeded"));
}

#[test]
fn a_zerynth_device_whose_new_firmware_is_sick_falls_back_and_reports_that_from_the_old() {
    let Some((last, state)) = take_an_update(&["--sick"]) else { return };
    assert_eq!((last.as_str(), state.as_str()), ("ended FAILED", "failed"));
}
