//! Our agent at our server by DTLS, through a network that loses, delays, reorders, goes dark and changes ports, in the middle
//! of an image.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use updraft_sim::proxy::{Proxy, Weather};

use crate::program::Running;
use crate::server::Server;

use super::agent::{DEVICE, PRODUCT, agent};
use super::stage::until;

/// A network of 50 ms and 2 percent loss, on which some are overtaken.
const WEATHER: Weather = Weather {
    lost_per_mille: 20,
    delay: Duration::from_millis(25),
    late_per_mille: 50,
    late_by: Duration::from_millis(80),
};
/// More than a hundred blocks: three times what goes through before the middle is seen.
const IMAGE_BYTES: usize = 150_000;
/// Datagrams carried since the beginning of the update by which it is in the middle.
const MIDDLE: u64 = 100;
/// Datagrams withheld after which it is dark no longer: each is asked for again later than the one before.
const WITHHELD: u64 = 3;

/// A server whose links by CoAP lead through the proxy, the proxy, and the agent behind it.
fn stage(prefer: &str) -> Option<(Server, Proxy, Running)> {
    let delivery = format!("[protocols.lwm2m.delivery]\nprefer = \"{prefer}\"\n");
    let mut server = Server::also_with(&delivery);
    let address = format!("127.0.0.1:{}", server.port("coaps://")).parse().unwrap();
    let proxy = Proxy::start(address, WEATHER, 11).unwrap();
    // No room in 255 bytes for a link by HTTPS, which would not go through the proxy.
    let long = "h".repeat(60);
    let public_url = format!("public_url = \"https://{long}.{long}.{long}.{long}\"");
    let authority = format!("public_authority = \"{}\"", proxy.address());
    let config = fs::read_to_string(server.path("updraft.toml")).unwrap();
    let config = config.replace("[device]", &format!("[device]\n{public_url}"));
    let config = config.replace("[protocols.lwm2m]", &format!("[protocols.lwm2m]\n{authority}"));
    fs::write(server.path("updraft.toml"), config).unwrap();
    server.restart(Signal::TERM);
    let (identity, key) = server.give_key(DEVICE);
    fs::write(server.path("psk.hex"), key).unwrap();
    let at = format!("coaps://{}", proxy.address());
    let security = ["--server", &at, "--psk-identity", &identity, "--psk-key-file", "psk.hex"];
    let others = ["--lifetime", "30s", "--health-cmd", "/bin/true"];
    let running = agent(server.folder(), &[&security[..], &others].concat())?;
    Some((server, proxy, running))
}

/// Rolls an image out, and waits for its middle; the rollout.
fn middle(server: &Server, proxy: &Proxy) -> String {
    server.await_standing(DEVICE);
    let mut image = vec![7; IMAGE_BYTES];
    image.extend(format!("\n{PRODUCT} 1.1.0\n").into_bytes());
    let before = proxy.counts().carried;
    let rollout = server.roll_out_image(PRODUCT, "1.1.0", &image);
    until("middle of the image", || (proxy.counts().carried >= before + MIDDLE).then_some(()));
    rollout
}

fn ends_well(server: Server, proxy: &Proxy, rollout: &str) {
    server.await_count(rollout, "succeeded");
    assert_eq!(server.device(DEVICE)["version"], "1.1.0");
    let counts = proxy.counts();
    assert!(counts.lost > 0 && counts.late > 0, "{counts:?}");
    server.end();
}

/// An image on a network that goes dark for a while.
fn goes_dark(prefer: &str) {
    let Some((server, proxy, _agent)) = stage(prefer) else { return };
    let rollout = middle(&server, &proxy);
    proxy.set_dark(true);
    until("some that are withheld", || (proxy.counts().withheld >= WITHHELD).then_some(()));
    proxy.set_dark(false);
    ends_well(server, &proxy, &rollout);
}

/// An image on a network that gives the device another port.
fn changes_ports(prefer: &str) {
    let Some((server, proxy, _agent)) = stage(prefer) else { return };
    let rollout = middle(&server, &proxy);
    let before = server.await_standing(DEVICE);
    proxy.change_ports();
    let after = until("word from the new port", || {
        let standing = server.await_standing(DEVICE);
        (standing["address"] != before["address"]).then_some(standing)
    });
    assert_eq!(after["registered"], before["registered"], "by its connection ID it goes on with what it had");
    ends_well(server, &proxy, &rollout);
}

#[test]
fn a_push_by_dtls_goes_on_after_the_network_was_dark() {
    goes_dark("push");
}

#[test]
fn a_pull_by_dtls_goes_on_after_the_network_was_dark() {
    goes_dark("pull");
}

#[test]
fn a_push_by_dtls_goes_on_at_another_port_on_the_same_session() {
    changes_ports("push");
}

#[test]
fn a_pull_by_dtls_goes_on_at_another_port_on_the_same_session() {
    changes_ports("pull");
}
