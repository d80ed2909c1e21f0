//! Bootstrap: how a factory device is given its servers (Core §6.1, Transport §6.4.2).
//!
//! The server's end is a sequence of requests, the device's a store that is written, checked and read. Both are without
//! messages: the caller sends what is asked, and hands answers back.
//!
//! Deliberately absent: bootstrap from a smart card, OSCORE, and access control, which a device of one server does not need.

mod device;
mod server;

use std::fmt;

use crate::content::{self, ContentFormat, FormatError};
use crate::path::Path;
use crate::registration::{Binding, Lifetime, Refusal, check_endpoint};
use crate::value::{Entry, Value};

pub use device::{AccountStore, Rejection};
pub use server::{Ask, BootstrapSequence, Failure};

/// Object 0, security: how a server is reached.
const SECURITY: u16 = 0;
/// Object 1, server: what is agreed with it.
const SERVER: u16 = 1;

/// The most bytes of a URI (registry, resource 0 of object 0).
pub const URI_BYTES_MAX: usize = 255;
/// The most bytes of a pre-shared key's identity that each device must take (Transport §5.2.8).
pub const PSK_IDENTITY_BYTES_MAX: usize = 128;
/// The most bytes of a pre-shared key that each device must take (Transport §5.2.8).
pub const PSK_BYTES_MAX: usize = 64;

/// How a connection is secured (registry, resource 2 of object 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityMode {
    /// 0: a pre-shared key.
    Psk,
    /// 1: raw public keys.
    RawPublicKey,
    /// 2: certificates.
    Certificate,
    /// 3: not at all.
    NoSec,
    /// 4: certificates that the device enrols for itself.
    Est,
}

impl SecurityMode {
    const ALL: [Self; 5] = [Self::Psk, Self::RawPublicKey, Self::Certificate, Self::NoSec, Self::Est];

    /// The mode with a number on the wire.
    #[must_use]
    pub fn of_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.number() == number)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Psk => 0,
            Self::RawPublicKey => 1,
            Self::Certificate => 2,
            Self::NoSec => 3,
            Self::Est => 4,
        }
    }
}

/// How a server is reached, and how each side knows the other: an instance of object 0.
#[derive(Clone, PartialEq, Eq)]
pub struct Security {
    /// `coap://` or `coaps://`, and `+tcp` of both.
    pub uri: String,
    /// How the connection is secured.
    pub mode: SecurityMode,
    /// The identity of the key, or the device's certificate or public key.
    pub identity: Vec<u8>,
    /// The server's certificate or public key.
    pub server_key: Vec<u8>,
    /// The pre-shared key, or the device's private key.
    pub secret: Vec<u8>,
}

/// Without the secret: what is printed ends in logs.
impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uri, mode, .. } = self;
        f.debug_struct("Security").field("uri", uri).field("mode", mode).finish_non_exhaustive()
    }
}

impl Security {
    /// The leaves of the instance; `ssid` is none for the bootstrap server's own.
    fn entries(&self, instance: u16, ssid: Option<u16>) -> Vec<Entry> {
        let at = |resource| Path::resource(SECURITY, instance, resource);
        let mut entries = vec![
            Entry::new(at(0), self.uri.as_str()),
            Entry::new(at(1), ssid.is_none()),
            Entry::new(at(2), self.mode.number()),
            Entry::new(at(3), self.identity.clone()),
            Entry::new(at(4), self.server_key.clone()),
            Entry::new(at(5), self.secret.clone()),
        ];
        entries.extend(ssid.map(|ssid| Entry::new(at(10), i64::from(ssid))));
        entries
    }

    /// Whether a device could use it: a scheme of CoAP, and keys as the mode has them.
    fn is_usable(&self) -> bool {
        let scheme = self.uri.split_once("://").map(|(scheme, _)| scheme);
        let secure = matches!(scheme, Some("coaps" | "coaps+tcp"));
        let plain = matches!(scheme, Some("coap" | "coap+tcp"));
        let keys = match self.mode {
            SecurityMode::NoSec => plain,
            SecurityMode::Psk => {
                secure
                    && (1..=PSK_IDENTITY_BYTES_MAX).contains(&self.identity.len())
                    && (1..=PSK_BYTES_MAX).contains(&self.secret.len())
            }
            SecurityMode::RawPublicKey | SecurityMode::Certificate => {
                secure && !self.identity.is_empty() && !self.secret.is_empty() && !self.server_key.is_empty()
            }
            SecurityMode::Est => secure && !self.server_key.is_empty(),
        };
        keys && self.uri.len() <= URI_BYTES_MAX
    }
}

/// A server as a device knows it: an instance of object 0 and the one of object 1 with the same short server id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAccount {
    /// How it is reached.
    pub security: Security,
    /// The short server id, 1 to 65534.
    pub ssid: u16,
    /// How long a registration holds.
    pub lifetime: Lifetime,
    /// How the device is reached.
    pub binding: Binding,
    /// Whether notifications wait for the server while it is away.
    pub stores_notifications: bool,
    /// pmin where no attribute says otherwise, in seconds.
    pub pmin_s: Option<u64>,
    /// pmax where no attribute says otherwise, in seconds.
    pub pmax_s: Option<u64>,
    /// For how long the server is left when it says so, in seconds.
    pub disable_s: Option<u64>,
}

impl ServerAccount {
    /// An account with the defaults of the registry: a day, UDP, notifications wait.
    #[must_use]
    pub fn new(security: Security, ssid: u16) -> Self {
        Self {
            security,
            ssid,
            lifetime: Lifetime::default(),
            binding: Binding::udp(),
            stores_notifications: true,
            pmin_s: None,
            pmax_s: None,
            disable_s: None,
        }
    }

    /// The leaves of the account's instance of object 1.
    fn server_entries(&self, instance: u16) -> Vec<Entry> {
        let at = |resource| Path::resource(SERVER, instance, resource);
        let seconds = [(2, self.pmin_s), (3, self.pmax_s), (5, self.disable_s)];
        let seconds = seconds.into_iter().filter_map(|(resource, seconds)| Some((resource, seconds?)));
        let mut entries = vec![
            Entry::new(at(0), i64::from(self.ssid)),
            Entry::new(at(1), Value::Unsigned(u64::from(self.lifetime.seconds()))),
            Entry::new(at(6), self.stores_notifications),
            Entry::new(at(7), self.binding.as_str()),
        ];
        entries.extend(seconds.map(|(resource, seconds)| Entry::new(at(resource), Value::Unsigned(seconds))));
        entries
    }
}

/// What a device asks its bootstrap server with: `POST /bs?ep=&pct=` (Core §6.1.7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapRequest {
    /// The endpoint name.
    pub endpoint: Box<str>,
    /// The format it prefers to be written in.
    pub format: Option<ContentFormat>,
}

impl BootstrapRequest {
    /// Reads the queries. `identity` is what the security layer calls the device, and is its name where it does not say
    /// one. Other queries are passed over.
    ///
    /// # Errors
    /// The code of the answer is [`Refusal::code`].
    pub fn parse(queries: &[&str], identity: Option<&str>) -> Result<Self, Refusal> {
        let value = |name: &str| {
            let mut values = queries.iter().filter_map(|query| query.strip_prefix(name)?.strip_prefix('='));
            match (values.next(), values.next()) {
                (_, Some(_)) => Err(Refusal::Query),
                (value, None) => Ok(value),
            }
        };
        let endpoint = value("ep")?.or(identity).ok_or(Refusal::NoEndpoint)?;
        let format = value("pct")?.map(|number| number.parse().map_err(|_| Refusal::Query)).transpose()?;
        Ok(Self { endpoint: check_endpoint(endpoint)?.into(), format: format.map(ContentFormat) })
    }

    /// Writes the queries: the device's end.
    #[must_use]
    pub fn queries(&self) -> Vec<String> {
        let mut queries = vec![format!("ep={}", self.endpoint)];
        queries.extend(self.format.map(|format| format!("pct={}", format.0)));
        queries
    }
}

/// The instance of object 0 that a bootstrap server's own account has on most devices; what is not known to be free is
/// written after it.
const USUAL_BOOTSTRAP_INSTANCE: u16 = 0;

/// All accounts in one body: the answer to `GET /bspack` (1.2), in one of SenML's formats or LwM2M CBOR.
///
/// # Errors
/// The format has no tree.
pub fn pack(accounts: &[ServerAccount], format: ContentFormat) -> Result<Vec<u8>, FormatError> {
    let mut entries = Vec::new();
    for (account, instance) in accounts.iter().zip(0..) {
        entries.extend(account.security.entries(USUAL_BOOTSTRAP_INSTANCE + 1 + instance, Some(account.ssid)));
        entries.extend(account.server_entries(instance));
    }
    content::encode(format, &Path::ROOT, &entries)
}
