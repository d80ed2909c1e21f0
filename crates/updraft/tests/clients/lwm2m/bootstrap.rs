//! Our agent as it leaves a factory: bootstrapped by our server, and by Leshan's.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::program::{Kind, Running};
use crate::server::Server;

use super::agent::{DEVICE, agent};
use super::stage::{Device, until};

/// Where the agent keeps its account, in its folder.
const ACCOUNT: &str = "state/lwm2m-account.rec";
/// What the server notes on a key that it made for a bootstrap.
const NOTE: &str = "LwM2M bootstrap";

/// A server, and a device with a key for nothing but its bootstrap.
struct Factory {
    server: Server,
    identity: String,
}

impl Factory {
    fn new() -> Self {
        let server = Server::also_with("");
        let (identity, key) = server.give_key(DEVICE);
        fs::write(server.path("factory.key"), key).unwrap();
        Self { server, identity }
    }

    /// Switches the device on; `None` where the agent is not built.
    fn switch_on(&self) -> Option<Running> {
        let coaps = self.server.coaps();
        let words = ["--bootstrap-server", &coaps, "--psk-identity", &self.identity];
        agent(self.server.folder(), &[&words[..], &["--psk-key-file", "factory.key"]].concat())
    }

    /// The keys that bootstraps have made and nobody has revoked.
    fn made_keys(&self) -> Vec<Value> {
        let tokens = self.server.verb(&["token", "ls"]);
        let tokens = tokens.as_array().unwrap().iter();
        tokens.filter(|token| token["note"] == NOTE && token["revoked"].is_null()).cloned().collect()
    }

    fn revoke(&self, token: &Value) {
        self.server.verb(&["token", "revoke", token["id"].as_str().unwrap()]);
    }

    fn account(&self) -> String {
        fs::read_to_string(self.server.path(ACCOUNT)).unwrap()
    }

    /// Whether the device goes by a key.
    fn goes_by(&self, token: &Value) -> bool {
        self.account().contains(&identity(token))
    }

    /// Waits until the device has registered after the registration that stood like this.
    fn await_another(&self, before: &Value) -> Value {
        until("another registration", || {
            let standing = self.server.verb_if(&["lwm2m", "show", DEVICE])?;
            (standing["registered"] != before["registered"]).then_some(standing)
        })
    }
}

/// The identity that a key goes by, as the agent's account has it.
fn identity(token: &Value) -> String {
    token["identity"].as_str().unwrap().bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn our_agent_is_bootstrapped_by_our_server_and_after_a_restart_goes_straight_to_it() {
    let factory = Factory::new();
    let Some(device) = factory.switch_on() else { return };
    let first = factory.server.await_standing(DEVICE);
    assert_eq!(first["security"], "psk", "{first}");
    let [key] = &factory.made_keys()[..] else { panic!("one key: {:?}", factory.made_keys()) };
    assert!(factory.goes_by(key));
    let mode = fs::metadata(factory.server.path(ACCOUNT)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "there is a key in it");
    assert!(factory.server.read(DEVICE, "/3/0/3").to_string().contains("1.0.0"));
    device.kill();

    // What it left the factory with is of no use any more, and it does not need it.
    let tokens = factory.server.verb(&["token", "ls"]);
    let from_factory = tokens.as_array().unwrap().iter().find(|token| token["identity"] == *factory.identity);
    factory.revoke(from_factory.unwrap());
    let device = factory.switch_on().unwrap();
    factory.await_another(&first);
    assert_eq!(factory.made_keys(), std::slice::from_ref(key), "nobody has asked for another");
    let log = device.kill();
    assert!(log.contains("registered as") && !log.contains("bootstrap"), "{log}");
    factory.server.end();
}

#[test]
fn our_agent_with_a_damaged_account_is_bootstrapped_anew() {
    let factory = Factory::new();
    let Some(device) = factory.switch_on() else { return };
    let first = factory.server.await_standing(DEVICE);
    device.kill();
    let whole = factory.account();
    fs::write(factory.server.path(ACCOUNT), &whole[..whole.len() / 2]).unwrap();
    let device = factory.switch_on().unwrap();
    factory.await_another(&first);
    assert_eq!(factory.made_keys().len(), 2);
    assert!(factory.made_keys().iter().any(|key| factory.goes_by(key) && !whole.contains(&identity(key))));
    let log = device.kill();
    assert!(log.contains("the account that was kept is not used: it is damaged"), "{log}");
    factory.server.end();
}

#[test]
fn our_agent_whose_key_was_revoked_is_bootstrapped_anew_after_a_few_refusals() {
    let factory = Factory::new();
    let Some(device) = factory.switch_on() else { return };
    let first = factory.server.await_standing(DEVICE);
    device.kill();
    let [key] = &factory.made_keys()[..] else { panic!("one key: {:?}", factory.made_keys()) };
    factory.revoke(key);
    let device = factory.switch_on().unwrap();
    factory.await_another(&first);
    let [another] = &factory.made_keys()[..] else { panic!("one key: {:?}", factory.made_keys()) };
    assert!(factory.goes_by(another) && !factory.goes_by(key));
    let log = device.kill();
    assert!(log.contains("bootstrapped: the server is coaps://"), "{log}");
    factory.server.end();
}

#[test]
fn our_agent_answers_the_bootstrap_trigger_and_comes_back_with_another_key() {
    let factory = Factory::new();
    let Some(_device) = factory.switch_on() else { return };
    let first = factory.server.await_standing(DEVICE);
    let outcome = factory.server.verb(&["lwm2m", "exec", DEVICE, "/1/0/9", "--wait", "60"]);
    assert_eq!(outcome["outcome"]["result"], "done", "{outcome}");
    factory.await_another(&first);
    assert_eq!(factory.made_keys().len(), 2);
    factory.server.end();
}

/// What the device has for its bootstrap at Leshan's.
const FACTORY_IDENTITY: &str = "factory-1";
const FACTORY_KEY: &str = "00112233445566778899aabbccddeeff";

/// Leshan's bootstrap server, which gives the agent an account of these words at a server.
fn leshan(server: &Server, words: &[(&str, &str)]) -> (Device, u16) {
    let coaps = server.coaps();
    let own = [("name", DEVICE), ("identity", FACTORY_IDENTITY), ("key", FACTORY_KEY), ("uri", &coaps)];
    let words: Vec<_> = own.iter().chain(words).map(|(name, value)| format!("{name}={value}")).collect();
    let leshan = Device::start(server, Kind::JavaServer, "BootstrapServer", &words);
    let port = until("port of Leshan's", || {
        let said = leshan.said();
        said.lines().find_map(|line| line.strip_prefix("listens on "))?.parse().ok()
    });
    (leshan, port)
}

/// Lets Leshan's bootstrap the agent, which must then register at our server.
pub(super) fn is_bootstrapped_by_leshan(server: &Server, words: &[(&str, &str)], security: &str) {
    let (leshan, port) = leshan(server, words);
    fs::write(server.path("factory.key"), FACTORY_KEY).unwrap();
    let url = format!("coaps://127.0.0.1:{port}");
    let words = ["--bootstrap-server", &url, "--psk-identity", FACTORY_IDENTITY];
    let Some(_agent) = agent(server.folder(), &[&words[..], &["--psk-key-file", "factory.key"]].concat())
    else {
        return;
    };
    let standing = server.await_standing(DEVICE);
    assert_eq!(standing["security"], security, "{standing}");
    leshan.await_words(&format!("bootstrapped {DEVICE}"), 1);
    let object1 = server.read(DEVICE, "/1/0");
    let value = |path: &str| {
        let entries = object1["tree"].as_array().unwrap();
        entries.iter().find(|entry| entry["path"] == path).map(|entry| entry["value"].clone())
    };
    let told = [0, 1, 2].map(|resource| value(&format!("/1/0/{resource}")));
    assert_eq!(told, [7, 600, 5].map(|number| Some(number.into())), "{object1}");
}

#[test]
fn our_agent_is_bootstrapped_by_leshans_server_with_a_key_for_ours() {
    if !Kind::JavaServer.is_present() {
        return;
    }
    let server = Server::also_with("");
    let (identity, key) = server.give_key(DEVICE);
    let identity: String = identity.bytes().map(|byte| format!("{byte:02x}")).collect();
    let account = [("mode", "PSK"), ("account_identity", &identity), ("account_secret", &key)];
    is_bootstrapped_by_leshan(&server, &account, "psk");
    server.end();
}
