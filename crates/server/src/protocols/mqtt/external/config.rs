//! The `[protocols.mqtt.external]` section of the configuration: which broker, as whom, and what to share.

use crate::interval::Interval;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use updraft_wire::broker::Address;

/// Shortest keep-alive: below, a busy broker is taken for a dead one.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);
/// Longest keep-alive: for so long a dead broker may be taken for a silent one. AWS IoT Core takes no more.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(1_200);
/// Longest a device may count as connected after it was heard.
const PRESENCE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Longest client ID, in bytes. AWS IoT Core takes 128, and the probe adds to it.
const CLIENT_ID_BYTES_MAX: usize = 100;
/// Most connections: with AWS IoT Core's 100 publishes a second on each, some thousands of answers.
const CONNECTIONS_MAX: usize = 64;
/// Highest limit of publishes: a connection does no more anyhow.
const PUBLISHES_PER_SECOND_MAX: u32 = 100_000;
/// Longest name of a share group, in bytes.
const SHARE_GROUP_BYTES_MAX: usize = 64;

/// Whether several servers share the devices' messages, by shared subscriptions (`$share/…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Where the broker delivers to shared subscriptions. Where it does not, this must be the only server.
    Preferred,
    /// In any case: with a broker that does not deliver to shared subscriptions, the server does not start.
    Required,
    /// Never: this is the only server.
    Never,
}

/// What is spoken over the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contract {
    /// The device state replica, below `state/`.
    Replica,
    /// Jobs, below `$aws/things/+/jobs/`.
    Jobs,
    /// Shadows, below `$aws/things/+/shadow/`.
    Shadow,
}

impl Contract {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Replica, Self::Jobs, Self::Shadow];
}

/// Who is taken for an application. The broker says what was published and not by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applications {
    /// Nobody: what comes on a device's topic is the device's word.
    None,
    /// Whoever publishes desired state alone on `state/{device}/update`. A device that may publish there, and each may on
    /// its own, can then ask for any release for itself.
    WhoeverSetsDesiredState,
}

/// The `[protocols.mqtt.external]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExternalConfig {
    /// Where the broker is: `mqtts://host[:port]`, or `mqtt://` without TLS.
    pub url: Option<String>,
    /// The user's name, where the broker wants one.
    pub username: Option<String>,
    /// A file with the user's password, and nothing else; with `username`.
    pub password_file: Option<PathBuf>,
    /// The authorities that the broker's certificate may come from, as a PEM file; without it, those of the public web.
    pub ca: Option<PathBuf>,
    /// A certificate chain to show to the broker, as a PEM file; with `key`.
    pub certificate: Option<PathBuf>,
    /// The key to `certificate`, as a PEM file.
    pub key: Option<PathBuf>,
    /// The client ID, different for each server; drawn at random unless given. Connections after the first add a number.
    pub client_id: Option<String>,
    /// How many connections, over which devices are spread.
    pub connections: usize,
    /// Most messages that one connection publishes in a second; as many as can be unless given.
    pub publishes_per_second: Option<u32>,
    /// Whether several servers share the work.
    pub shared: Sharing,
    /// The name under which servers share: the same for all that share a fleet.
    pub share_group: String,
    /// How long the connection may be silent.
    pub keep_alive: Interval,
    /// What is spoken.
    pub contracts: Vec<Contract>,
    /// Who is taken for an application.
    pub applications: Applications,
    /// How long a device counts as connected after it was last heard.
    pub presence: Interval,
}

impl Default for ExternalConfig {
    fn default() -> Self {
        Self {
            url: None,
            username: None,
            password_file: None,
            ca: None,
            certificate: None,
            key: None,
            client_id: None,
            connections: 1,
            publishes_per_second: None,
            shared: Sharing::Preferred,
            share_group: "updraft".to_owned(),
            keep_alive: Interval(Duration::from_secs(30)),
            contracts: vec![Contract::Replica, Contract::Jobs, Contract::Shadow],
            applications: Applications::None,
            presence: Interval(Duration::from_secs(3_600)),
        }
    }
}

impl ExternalConfig {
    /// Checks each value against its limits.
    ///
    /// # Errors
    /// A sentence naming the key and what it may be.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |text: &str| Err(format!("[protocols.mqtt.external] {text}"));
        let Some(url) = &self.url else {
            return wrong("url is missing: broker = \"external\" needs url = \"mqtts://host[:port]\"");
        };
        let Some(address) = Address::parse(url) else {
            return wrong(
                "url must be mqtts://host[:port], or mqtt:// without TLS; credentials have keys of their own",
            );
        };
        if address.is_plain && (self.ca.is_some() || self.certificate.is_some() || self.key.is_some()) {
            return wrong("ca, certificate and key are for mqtts://, and the url is mqtt://");
        }
        if self.certificate.is_some() != self.key.is_some() {
            return wrong("certificate and key belong together: set both or neither");
        }
        if self.password_file.is_some() && self.username.is_none() {
            return wrong("password_file needs a username: MQTT 3.1.1 has no password without one");
        }
        let is_id =
            |text: &str, max: usize| (1..=max).contains(&text.len()) && text.bytes().all(is_plain_byte);
        if self.client_id.as_ref().is_some_and(|id| !is_id(id, CLIENT_ID_BYTES_MAX)) {
            return wrong("client_id must be 1 to 100 of A-Z a-z 0-9 . _ : -");
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return wrong("connections must be between 1 and 64");
        }
        if self.publishes_per_second.is_some_and(|most| !(1..=PUBLISHES_PER_SECOND_MAX).contains(&most)) {
            return wrong("publishes_per_second must be between 1 and 100000; without it there is no limit");
        }
        if !is_id(&self.share_group, SHARE_GROUP_BYTES_MAX) {
            return wrong("share_group must be 1 to 64 of A-Z a-z 0-9 . _ : -");
        }
        if !(KEEP_ALIVE_MIN..=KEEP_ALIVE_MAX).contains(&self.keep_alive.0) {
            return wrong("keep_alive must be between \"5s\" and \"20m\"");
        }
        if self.presence.0 < KEEP_ALIVE_MIN || self.presence.0 > PRESENCE_MAX {
            return wrong("presence must be between \"5s\" and \"7d\"");
        }
        if self.contracts.is_empty() {
            return wrong("contracts must name at least one of \"replica\", \"jobs\" and \"shadow\"");
        }
        Ok(())
    }

    /// Where the broker is; `None` if the section was not checked.
    pub(super) fn address(&self) -> Option<Address> {
        self.url.as_deref().and_then(Address::parse)
    }

    pub(super) fn speaks(&self, contract: Contract) -> bool {
        self.contracts.contains(&contract)
    }
}

fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<ExternalConfig, String> {
        let config: ExternalConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map(|()| config)
    }

    #[test]
    fn an_address_is_enough() {
        let config = check("url = \"mqtts://broker.example\"").unwrap();
        let address = Address { host: "broker.example".into(), port: 8883, is_plain: false };
        assert_eq!(config.address(), Some(address));
        assert_eq!((config.shared, config.applications), (Sharing::Preferred, Applications::None));
        assert!(config.speaks(Contract::Replica) && config.speaks(Contract::Jobs));
    }

    #[test]
    fn what_does_not_hold_is_named() {
        for (text, part) in [
            ("", "url is missing"),
            ("url = \"mqtts://user:secret@a\"", "keys of their own"),
            ("certificate = \"c.pem\"", "belong together"),
            ("key = \"k.pem\"", "belong together"),
            ("password_file = \"p\"", "needs a username"),
            ("client_id = \"\"", "client_id"),
            ("client_id = \"a/b\"", "client_id"),
            ("connections = 0", "connections"),
            ("connections = 65", "connections"),
            ("publishes_per_second = 0", "publishes_per_second"),
            ("publishes_per_second = 100001", "publishes_per_second"),
            ("share_group = \"+\"", "share_group"),
            ("share_group = \"\"", "share_group"),
            ("keep_alive = \"1s\"", "keep_alive"),
            ("keep_alive = \"1h\"", "keep_alive"),
            ("presence = \"8d\"", "presence"),
            ("presence = \"0s\"", "presence"),
            ("contracts = []", "contracts"),
            ("contracts = [\"coap\"]", "replica"),
            ("shared = true", "shared"),
            ("applications = \"all\"", "whoever_sets_desired_state"),
            ("password = \"secret\"", "password_file"),
        ] {
            let url = if text.contains("url") || text.is_empty() { "" } else { "url = \"mqtts://a\"\n" };
            let error = check(&format!("{url}{text}")).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let error = check("url = \"mqtt://a\"\nca = \"ca.pem\"").unwrap_err();
        assert!(error.contains("mqtts://"), "{error}");
    }
}
