//! How the agent reaches its server, and what proves there who it is.

use super::{ConfigError, MqttFlow, Options, TransportName};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shortest token that can be one, in characters, to notice an empty file.
const TOKEN_CHARS_MIN: usize = 8;
/// Longest silence on an MQTT connection before the agent sends a ping. Address translators of mobile networks forget a
/// connection after five minutes, some after less.
pub const KEEP_ALIVE: Duration = Duration::from_secs(4 * 60);
/// Shortest keep-alive: below it, pings are the traffic.
pub const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);
/// Longest keep-alive: what brokers in the field allow.
pub const KEEP_ALIVE_MAX: Duration = Duration::from_secs(1200);
/// How long an LwM2M registration lives without an update: an update every 2.5 minutes keeps most address translators'
/// way back open (LwM2M Transport §6.2 asks them for four).
pub const LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Shortest lifetime: below it, updates are the traffic.
pub const LIFETIME_MIN: Duration = Duration::from_secs(20);
/// Longest lifetime.
pub const LIFETIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Over which time the devices of a fleet register that are switched on at one moment: a hundred thousand handshakes in half
/// a minute are within one processor's power.
pub const START_DELAY: Duration = Duration::from_secs(30);
/// Longest such time: a version on trial waits for its registration.
pub const START_DELAY_MAX: Duration = Duration::from_secs(10 * 60);
/// Longest pre-shared key, in bytes: what DTLS is built for.
#[cfg(feature = "lwm2m")]
const PSK_BYTES_MAX: usize = updraft_dtls::KEY_BYTES_MAX;
/// An agent without LwM2M has no use for a key, and says so when it starts.
#[cfg(not(feature = "lwm2m"))]
const PSK_BYTES_MAX: usize = usize::MAX;

/// What proves to the server that this is the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A token.
    Token(String),
    /// A certificate.
    Certificate {
        /// The chain, the device's own certificate first.
        cert: PathBuf,
        /// The private key.
        key: PathBuf,
    },
}

/// How the agent reaches the server, and by which credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    /// By check-ins over HTTP.
    Http {
        /// The device's token.
        token: String,
    },
    /// By a connection that stays open.
    Mqtt {
        /// What is spoken.
        flow: MqttFlow,
        /// What proves who speaks.
        credential: Credential,
        /// Longest silence before a ping.
        keep_alive: Duration,
    },
    /// By a registration at an LwM2M server.
    Lwm2m(Lwm2m),
}

impl Carrier {
    /// Whether images come without a manifest.
    #[must_use]
    pub fn brings_packages(&self) -> bool {
        match self {
            Self::Lwm2m(_) => true,
            Self::Http { .. } | Self::Mqtt { .. } => false,
        }
    }
}

/// What the server is for that the options name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerRole {
    /// The device registers there.
    Server,
    /// It gives the device an account at another, or at itself.
    Bootstrap,
}

/// How the agent registers at an LwM2M server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lwm2m {
    /// What the server is for that the options name.
    pub role: ServerRole,
    /// What proves there who the device is.
    pub credential: Lwm2mCredential,
    /// How long a registration lives without an update, where no account says so.
    pub lifetime: Duration,
    /// Over which time a fleet's registrations are spread after a power-up.
    pub start_delay: Duration,
    /// Whether the device sleeps between its messages.
    pub is_queued: bool,
    /// How images may come.
    pub delivery: Delivery,
}

/// How images may come to an LwM2M device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// It fetches them, or is sent them, as the server likes
    #[default]
    Both,
    /// It fetches them
    Pull,
    /// It is sent them
    Push,
}

/// What proves to an LwM2M server that this is the device.
#[derive(Clone, PartialEq, Eq)]
pub enum Lwm2mCredential {
    /// Nothing: only in a lab.
    NoSec,
    /// A pre-shared key.
    Psk {
        /// The name it goes by.
        identity: String,
        /// The key.
        key: Vec<u8>,
    },
    /// A certificate.
    Certificate {
        /// The chain, the device's own certificate first.
        cert: PathBuf,
        /// The private key.
        key: PathBuf,
    },
}

/// Without the key: what is printed ends in logs.
impl std::fmt::Debug for Lwm2mCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSec => f.write_str("NoSec"),
            Self::Psk { identity, .. } => {
                f.debug_struct("Psk").field("identity", identity).finish_non_exhaustive()
            }
            Self::Certificate { cert, .. } => {
                f.debug_struct("Certificate").field("cert", cert).finish_non_exhaustive()
            }
        }
    }
}

impl Options {
    pub(super) fn carrier(&self) -> Result<Carrier, ConfigError> {
        const HELP: &str = "give --token-file FILE, --token, or the environment variable UPDRAFT_TOKEN";
        let missing = |what| ConfigError::Missing(what, HELP);
        let keep_alive = self.keep_alive.map_or(KEEP_ALIVE, |span| span.0);
        let is_mqtt_set = self.mqtt_flow.is_some() || self.keep_alive.is_some();
        let is_psk_set = self.psk_identity.is_some() || self.psk_key_file.is_some();
        let is_lwm2m_set = is_psk_set
            || self.bootstrap_server.is_some()
            || self.lifetime.is_some()
            || self.start_delay.is_some()
            || self.queue_mode.is_some()
            || self.delivery.is_some();
        match self.transport.unwrap_or_default() {
            TransportName::Http | TransportName::Mqtt if is_lwm2m_set => Err(ConfigError::Conflict(
                "--bootstrap-server, --psk-identity, --psk-key-file, --lifetime, --start-delay, --queue-mode and --delivery \
                 are for --transport lwm2m",
            )),
            TransportName::Lwm2m if is_mqtt_set => {
                Err(ConfigError::Conflict("--mqtt-flow and --keep-alive are for --transport mqtt"))
            }
            TransportName::Lwm2m => Ok(Carrier::Lwm2m(self.lwm2m()?)),
            TransportName::Http if is_mqtt_set || self.cert.is_some() || self.key.is_some() => Err(
                ConfigError::Conflict("--mqtt-flow, --keep-alive, --cert and --key are for --transport mqtt"),
            ),
            TransportName::Http => Ok(Carrier::Http { token: self.token()?.ok_or(missing("the token"))? }),
            TransportName::Mqtt if !(KEEP_ALIVE_MIN..=KEEP_ALIVE_MAX).contains(&keep_alive) => {
                Err(ConfigError::Conflict("--keep-alive is 5s to 20m"))
            }
            TransportName::Mqtt => {
                let credential = match (self.cert.clone(), self.key.clone()) {
                    (Some(cert), Some(key)) => Credential::Certificate { cert, key },
                    (None, None) => {
                        Credential::Token(self.token()?.ok_or(missing("the token or the certificate"))?)
                    }
                    (Some(_), None) | (None, Some(_)) => {
                        return Err(ConfigError::Conflict("--cert and --key go together"));
                    }
                };
                Ok(Carrier::Mqtt { flow: self.mqtt_flow.unwrap_or_default(), credential, keep_alive })
            }
        }
    }

    fn lwm2m(&self) -> Result<Lwm2m, ConfigError> {
        let lifetime = self.lifetime.map_or(LIFETIME, |span| span.0);
        if !(LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime) {
            return Err(ConfigError::Conflict("--lifetime is 20s to 365 days"));
        }
        let start_delay = self.start_delay.map_or(START_DELAY, |span| span.0);
        if start_delay > START_DELAY_MAX {
            return Err(ConfigError::Conflict("--start-delay is at most 10m"));
        }
        let (role, url) = match (&self.server, &self.bootstrap_server) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::Conflict(
                    "--server and --bootstrap-server exclude each other: the one is named by the other",
                ));
            }
            (None, Some(_)) if self.lifetime.is_some() => {
                return Err(ConfigError::Conflict("--lifetime is for --server: a bootstrap server says it"));
            }
            (None, Some(url)) => (ServerRole::Bootstrap, Some(url)),
            (server, None) => (ServerRole::Server, server.as_ref()),
        };
        let credential = self.lwm2m_credential(url.is_some_and(|url| url.starts_with("coap://")))?;
        Ok(Lwm2m {
            role,
            credential,
            lifetime,
            start_delay,
            is_queued: self.queue_mode.unwrap_or(false),
            delivery: self.delivery.unwrap_or_default(),
        })
    }

    fn lwm2m_credential(&self, is_plain: bool) -> Result<Lwm2mCredential, ConfigError> {
        let psk = (self.psk_identity.clone(), self.psk_key_file.as_deref());
        match (psk, self.cert.clone(), self.key.clone()) {
            ((None, None), None, None) if is_plain => Ok(Lwm2mCredential::NoSec),
            _ if is_plain => {
                Err(ConfigError::Conflict("coap:// has no security: keys and certificates are for coaps://"))
            }
            ((Some(identity), Some(path)), None, None) => {
                Ok(Lwm2mCredential::Psk { identity, key: read_psk(path)? })
            }
            ((None, None), Some(cert), Some(key)) => Ok(Lwm2mCredential::Certificate { cert, key }),
            ((None, None), None, None) => Err(ConfigError::Missing(
                "the key or the certificate",
                "give --psk-identity and --psk-key-file, or --cert and --key",
            )),
            _ => Err(ConfigError::Conflict(
                "give --psk-identity and --psk-key-file, or --cert and --key, and not both",
            )),
        }
    }

    fn token(&self) -> Result<Option<String>, ConfigError> {
        const HELP: &str = "it has at least 8 characters, none of them blank";
        let token = match (&self.token_file, &self.token) {
            (Some(path), _) => std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { path: path.clone(), source })?,
            (None, Some(token)) => token.clone(),
            (None, None) => return Ok(None),
        };
        let token = token.trim().to_owned();
        let is_token = token.len() >= TOKEN_CHARS_MIN && token.bytes().all(|byte| byte.is_ascii_graphic());
        if is_token { Ok(Some(token)) } else { Err(ConfigError::Missing("a usable token", HELP)) }
    }
}

fn read_psk(path: &Path) -> Result<Vec<u8>, ConfigError> {
    const HELP: &str = "it is 1 to 64 bytes, in hex";
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let key = hex::decode(text.trim()).ok().filter(|key| (1..=PSK_BYTES_MAX).contains(&key.len()));
    key.ok_or(ConfigError::Missing("a usable pre-shared key", HELP))
}
