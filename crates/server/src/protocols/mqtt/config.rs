//! The `[protocols.mqtt]` section of the configuration.

use super::external::config::ExternalConfig;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Most connections unless the section says otherwise: with TLS and a client certificate each costs some 12 KiB, so these
/// cost 1.2 GiB at worst. Beyond the limit of open files, what counts is that limit.
const CONNECTIONS_DEFAULT: usize = 100_000;
/// Most connections that may be asked for: what the endpoint's sessions are counted to.
const CONNECTIONS_LIMIT: usize = super::endpoint::limits::CONNECTIONS_MAX;

/// What carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Broker {
    /// The server's own endpoint.
    Embedded,
    /// An existing broker, of which the server is a client.
    External,
}

/// The `[protocols.mqtt]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MqttConfig {
    /// Whether devices can speak MQTT at all.
    pub enabled: bool,
    /// What carries the messages.
    pub broker: Broker,
    /// Where devices connect by TLS.
    pub listen: SocketAddr,
    /// Where devices connect without TLS; for a lab only.
    pub plain_listen: Option<SocketAddr>,
    /// Authorities whose certificates speak for the device in their common name, as a PEM file. The server's own does in
    /// any case.
    pub client_ca: Option<PathBuf>,
    /// Most connections at once, WebSockets among them.
    pub connections_max: usize,
    /// Let everyone in and route between clients, so that a general conformance suite can judge the endpoint. Refused
    /// unless bound to the loopback.
    pub open_router_for_conformance: bool,
    /// The existing broker, if that carries the messages.
    pub external: ExternalConfig,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            broker: Broker::Embedded,
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8883),
            plain_listen: None,
            client_ca: None,
            connections_max: CONNECTIONS_DEFAULT,
            open_router_for_conformance: false,
            external: ExternalConfig::default(),
        }
    }
}

impl MqttConfig {
    /// Whether the server listens for MQTT itself.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.enabled && self.broker == Broker::Embedded
    }

    /// Whether the server is a client of an existing broker.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.enabled && self.broker == Broker::External
    }

    /// Checks each value against its limits.
    ///
    /// # Errors
    /// A sentence naming the key and what it may be.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=CONNECTIONS_LIMIT).contains(&self.connections_max) {
            return Err(format!(
                "[protocols.mqtt] connections_max must be between 1 and {CONNECTIONS_LIMIT}"
            ));
        }
        let mut listeners = [Some(self.listen), self.plain_listen].into_iter().flatten();
        if self.open_router_for_conformance && !listeners.all(|address| address.ip().is_loopback()) {
            return Err("[protocols.mqtt] open_router_for_conformance lets everyone in, so every listener of the \
                        section must be on the loopback: set listen = \"127.0.0.1:8883\", and plain_listen alike"
                .to_owned());
        }
        if self.is_external() {
            return self.external.check();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<MqttConfig, String> {
        let config: MqttConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map(|()| config)
    }

    #[test]
    fn an_empty_section_listens_by_tls_alone() {
        let config = check("").unwrap();
        assert!(config.is_embedded());
        assert_eq!((config.listen.port(), config.plain_listen), (8883, None));
    }

    #[test]
    fn the_open_router_is_refused_unless_bound_to_the_loopback() {
        let on = "open_router_for_conformance = true\n";
        for text in [
            "",
            "listen = \"0.0.0.0:8883\"",
            "listen = \"[::]:8883\"",
            "listen = \"192.0.2.1:8883\"",
            "listen = \"127.0.0.1:8883\"\nplain_listen = \"0.0.0.0:1883\"",
        ] {
            let error = check(&format!("{on}{text}")).unwrap_err();
            assert!(error.contains("open_router_for_conformance"), "{error}");
        }
        for text in ["listen = \"127.0.0.1:0\"", "listen = \"[::1]:0\"\nplain_listen = \"127.0.0.1:0\""] {
            check(&format!("{on}{text}")).unwrap();
        }
    }

    #[test]
    fn values_outside_their_limits_are_named() {
        for (text, part) in [
            ("connections_max = 0", "connections_max"),
            ("connections_max = 1000000000", "connections_max"),
            ("broker = \"mosquitto\"", "embedded"),
            ("port = 8883", "port"),
            ("listen = \"8883\"", "socket address"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
