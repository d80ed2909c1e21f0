//! What networks and servers do to devices: other source ports, loss, restarts in the middle of an update.

use std::time::Duration;

use rustix::process::Signal;
use updraft_sim::proxy::{Proxy, Weather};

use crate::program::Kind;
use crate::server::Server;

use super::stage::{Device, until};

const DEVICE: &str = "meter-7";
const PRODUCT: &str = "aiocoap-meter";
const LESHAN: &str = "leshan-1";
const PUSH: &str = "[protocols.lwm2m.delivery]\nprefer = \"push\"\n";

/// Image of a push, which goes through the slow network.
const PUSHED_BYTES: usize = 150_000;
/// Image of a pull, which does not: links name the server itself.
const PULLED_BYTES: usize = 1_500_000;

fn proxy(server: &Server, scheme: &str, weather: Weather) -> Proxy {
    let address = format!("127.0.0.1:{}", server.port(scheme)).parse().unwrap();
    Proxy::start(address, weather, 7).unwrap()
}

/// A simulated device that finds the server there.
fn meter(server: &Server, at: &str, words: &[&str]) -> Device {
    let mut all = vec![format!("name={DEVICE}"), format!("server={at}")];
    all.extend(words.iter().map(|word| (*word).to_owned()));
    Device::start(server, Kind::Python, "lwm2m_device.py", &all)
}

/// Where the server says that the device is.
fn address(server: &Server, device: &str) -> String {
    server.await_standing(device)["address"].as_str().unwrap().to_owned()
}

#[test]
fn a_device_without_security_is_followed_by_its_update_from_another_port() {
    if !Kind::Python.is_present() {
        return;
    }
    let server = Server::also_with("");
    let proxy = proxy(&server, "coap://", Weather::default());
    let device = meter(&server, &format!("coap://{}", proxy.address()), &["lifetime=4"]);
    let before = address(&server, DEVICE);
    proxy.change_ports();
    // Whatever the server thinks of the new port: in the end the device is known there, and can be read.
    until("word from the new port", || (address(&server, DEVICE) != before).then_some(()));
    let outcome = server.read(DEVICE, "/3/0/2");
    assert!(outcome.to_string().contains("SN-7"), "{outcome}");
    device.leave();
    server.end();
}

#[test]
fn leshans_client_with_a_connection_id_is_followed_to_another_port_without_another_registration() {
    if !Kind::Java.is_present() {
        return;
    }
    let server = Server::also_with("");
    let proxy = proxy(&server, "coaps://", Weather::default());
    let (identity, key) = server.give_key(LESHAN);
    let words = [
        format!("name={LESHAN}"),
        format!("server=coaps://{}", proxy.address()),
        format!("identity={identity}"),
        format!("key={key}"),
        "lifetime=20".to_owned(),
    ];
    let device = Device::start(&server, Kind::Java, "Device", &words);
    let before = server.await_standing(LESHAN);
    device.await_words("registered", 1);
    proxy.change_ports();
    let after = until("word from the new port", || {
        let standing = server.await_standing(LESHAN);
        (standing["address"] != before["address"]).then_some(standing)
    });
    assert_eq!(after["registered"], before["registered"], "it goes on with what it had");
    assert!(server.read(LESHAN, "/3/0/2").to_string().contains("SN-1"));
    assert_eq!(device.said().matches("registered").count(), 1);
    device.leave();
    server.end();
}

/// Lets a device take an update through a network that loses, while the server goes away and comes back.
fn survives(more: &str, method: &str, bytes: usize, signal: Option<Signal>) {
    if !Kind::Python.is_present() {
        return;
    }
    let mut server = Server::also_with(more);
    // Slow, so that the server is gone in the middle.
    let weather = Weather { lost_per_mille: 10, delay: Duration::from_millis(5), ..Weather::default() };
    let proxy = proxy(&server, "coap://", weather);
    let method = format!("method={method}");
    let device = meter(&server, &format!("coap://{}", proxy.address()), &[&method, "lifetime=20"]);
    server.await_standing(DEVICE);
    let rollout = server.roll_out(PRODUCT, "1.1.0", bytes);
    device.await_words("state 1", 1);
    if let Some(signal) = signal {
        server.restart(signal);
    }
    server.await_count(&rollout, "succeeded");
    assert_eq!(server.device(DEVICE)["version"], "1.1.0");
    drop(device);
    server.end();
}

#[test]
fn a_push_through_a_network_that_loses_arrives() {
    survives(PUSH, "push", PUSHED_BYTES, None);
}

#[test]
fn a_push_goes_on_after_the_server_was_restarted() {
    survives(PUSH, "push", PUSHED_BYTES, Some(Signal::TERM));
}

#[test]
fn a_push_goes_on_after_the_server_was_killed() {
    survives(PUSH, "push", PUSHED_BYTES, Some(Signal::KILL));
}

#[test]
fn a_pull_goes_on_after_the_server_was_restarted() {
    survives("", "pull", PULLED_BYTES, Some(Signal::TERM));
}

#[test]
fn a_pull_goes_on_after_the_server_was_killed() {
    survives("", "pull", PULLED_BYTES, Some(Signal::KILL));
}
