//! A simulated device on aiocoap, with the habits of clients that are not to be had here.

use crate::program::Kind;
use crate::server::Server;

use super::stage::Device;

const DEVICE: &str = "meter-7";
/// What it says in resource /3/0/1.
const PRODUCT: &str = "aiocoap-meter";
const PUSH: &str = "[protocols.lwm2m.delivery]\nprefer = \"push\"\n";

fn start(server: &Server, words: &[&str]) -> Device {
    let mut all = vec![format!("name={DEVICE}"), format!("server={}", server.coap())];
    all.extend(words.iter().map(|word| (*word).to_owned()));
    Device::start(server, Kind::Python, "lwm2m_device.py", &all)
}

/// Lets a device of these habits take an update, which must end in this state.
fn updates(more: &str, words: &[&str], state: &str, says: &str) {
    if !Kind::Python.is_present() {
        return;
    }
    let server = Server::also_with(more);
    let device = start(&server, words);
    server.await_standing(DEVICE);
    let rollout = server.roll_out(PRODUCT, "1.1.0", 30_000);
    server.await_count(&rollout, state);
    let version = if state == "succeeded" { "1.1.0" } else { "1.0.0" };
    assert_eq!(server.device(DEVICE)["version"], version);
    assert!(device.said().contains(says), "{}", device.said());
    device.leave();
    server.await_absence(DEVICE);
    server.end();
}

#[test]
fn a_device_on_aiocoap_fetches_an_update() {
    updates("", &["method=pull"], "succeeded", "pulled 30071");
}

#[test]
fn a_device_on_aiocoap_is_pushed_an_update_in_the_blocks_it_asks_for() {
    updates(PUSH, &["method=push", "block=128"], "succeeded", "pushed 30071 in blocks of 128");
}

#[test]
fn a_device_of_lwm2m_1_0_that_always_answers_in_tlv_is_updated() {
    updates("", &["lwm2m=1.0", "format=tlv", "method=pull"], "succeeded", "pulled");
}

#[test]
fn a_device_that_cannot_be_observed_is_asked_instead() {
    updates("", &["observes=no", "method=pull", "lifetime=10"], "succeeded", "pulled");
}

#[test]
fn a_result_lost_over_the_reboot_is_made_up_for_by_the_version() {
    updates(PUSH, &["keeps=nothing"], "succeeded", "pushed");
}

#[test]
fn a_device_that_is_back_on_the_old_version_has_failed_by_its_own_result() {
    updates(PUSH, &["boots=badly"], "failed", "reboot into 1.0.0");
}

#[test]
fn npms_coap_registers_in_blocks_renews_and_ends() {
    if !Kind::Node.is_present() {
        return;
    }
    let server = Server::also_with("");
    let case = serde_json::json!({
        "device": "node-1",
        "coap_port": server.port("coap://"),
        "clients": crate::program::node_clients(),
    });
    let path = server.path("case.json");
    std::fs::write(&path, case.to_string()).unwrap();
    let mut command = Kind::Node.command("lwm2m_register.mjs", server.folder());
    command.arg(path);
    crate::program::must_hold(command);
    assert_eq!(server.verb_if(&["lwm2m", "show", "node-1"]), None);
    server.end();
}
