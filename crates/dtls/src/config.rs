//! What an end is told at its beginning: keys, certificates, limits.

use std::fmt;
use std::time::Duration;

/// Longest pre-shared key, in bytes: what LwM2M Transport 1.1.1 §5.2.8 has every end support, and what `.cargo/config.toml` has
/// Mbed TLS compiled for. Devices are given 16 to 32.
pub const KEY_BYTES_MAX: usize = 64;

/// What is known of the key behind an identity that a peer names.
#[derive(Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The key.
    Key(Vec<u8>),
    /// There is no such identity. The peer is told so (alert 115), and may take that for final.
    Unknown,
    /// It cannot be told now. The peer hears nothing, and tries again later.
    Unavailable,
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key",
            Self::Unknown => "Unknown",
            Self::Unavailable => "Unavailable",
        })
    }
}

/// Finds the key of an identity, of which only the name is known as yet: nothing may follow from being asked.
///
/// It is called within [`Server::handle_datagram`](crate::Sessions::handle_datagram), so it must not wait for anything. It
/// must not panic: there is no way back through the library that calls it, so the process would abort.
pub type LookupKey = Box<dyn Fn(&[u8]) -> Lookup + Send>;

/// The certificate of one's own, and its key.
#[derive(Clone)]
pub struct OwnCertificate {
    /// The certificate and what leads from it towards the root: PEM, or one certificate in DER.
    pub chain: Vec<u8>,
    /// The private key: PEM or DER, PKCS #8 or SEC 1, on P-256 or P-384.
    pub key: Vec<u8>,
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCertificate").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

/// What it takes for a server to speak with devices that have certificates. Both ends always prove who they are.
#[derive(Debug, Clone)]
pub struct Certified {
    /// The server's own.
    pub own: OwnCertificate,
    /// The authorities that devices' certificates come from: PEM with one or more, or one in DER.
    pub device_roots: Vec<u8>,
}

/// What a server is told at its beginning. [`ServerConfig::new`] sets the limits to what one process of this tree holds.
pub struct ServerConfig {
    /// Finds pre-shared keys. Without it, no suite with pre-shared keys is offered.
    pub lookup: Option<LookupKey>,
    /// Certificates. Without them, no suite with certificates is offered.
    pub certified: Option<Certified>,
    /// How long a handshake may take. Slow radios need most of a minute, with each flight sent again a few times.
    pub handshake_timeout: Duration,
    /// Most handshakes at a time. Each costs some 10 KB, after the peer has shown that it hears at its address.
    pub half_open_max: usize,
    /// Most handshakes at a time from one source: an IPv4 address, or a /64 of IPv6. Many devices stand behind the address
    /// of one carrier.
    pub half_open_per_source_max: usize,
    /// Most handshakes that one source may begin in a second, in the long run. What is more is dropped, and comes again. A
    /// handshake takes 0.1 ms with a key, and 6 ms with certificates.
    pub handshakes_per_second_and_source: u32,
    /// Most handshakes that one source may begin at once, after it was idle.
    pub handshakes_at_once_per_source: u32,
    /// Most sessions, awake and asleep. One more closes that which has been silent for longest.
    pub sessions_max: usize,
    /// Most sessions of one identity. A device has one, and others while it downloads; one more closes that of its own which
    /// has been silent for longest, so that one device cannot crowd out the rest.
    pub sessions_per_identity_max: usize,
    /// Most sessions awake. One more puts that to sleep which has been silent for longest.
    pub awake_max: usize,
    /// After how much silence a session is put to sleep: it goes on when either end has something to say.
    pub sleep_after: Duration,
    /// After how much silence a session is closed, and its peer needs a handshake.
    pub forget_after: Duration,
}

impl ServerConfig {
    /// A server that knows pre-shared keys.
    #[must_use]
    pub fn psk(lookup: LookupKey) -> Self {
        Self { lookup: Some(lookup), ..Self::new() }
    }

    /// A server that knows nobody yet, with the limits set.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lookup: None,
            certified: None,
            handshake_timeout: Duration::from_secs(60),
            half_open_max: 10_000,
            half_open_per_source_max: 2_000,
            handshakes_per_second_and_source: 500,
            handshakes_at_once_per_source: 5_000,
            sessions_max: 200_000,
            sessions_per_identity_max: 8,
            awake_max: 100_000,
            sleep_after: Duration::from_secs(10 * 60),
            forget_after: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("psk", &self.lookup.is_some())
            .field("certified", &self.certified.is_some())
            .field("sessions_max", &self.sessions_max)
            .finish_non_exhaustive()
    }
}

/// A pre-shared key and the name that it goes by.
#[derive(Clone)]
pub struct PreSharedKey {
    /// The name: up to 128 bytes of anything (LwM2M Transport 1.1.1 §5.2.8).
    pub identity: Vec<u8>,
    /// The key: up to [`KEY_BYTES_MAX`] bytes.
    pub key: Vec<u8>,
}

impl fmt::Debug for PreSharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreSharedKey")
            .field("identity", &self.identity.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

/// Whose certificate a device takes for its server's. Dates are checked in each case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// A certificate of one of these authorities that names the server so.
    Authority {
        /// PEM with one or more certificates, or one in DER.
        roots: Vec<u8>,
        /// The name, as in the URI: a host name or an IP address.
        name: String,
    },
    /// This very certificate, in DER (the "domain-issued certificate" of LwM2M Transport 1.1.1 §5.2.8.7).
    Pinned(Vec<u8>),
}

/// How a device proves who it is, and knows its server.
#[derive(Debug, Clone)]
pub enum ClientCredential {
    /// By a key that both have.
    Psk(PreSharedKey),
    /// By certificates on both ends.
    Certificate {
        /// The device's own.
        own: OwnCertificate,
        /// Whom it trusts.
        trust: Trust,
    },
}

/// What a client is told at its beginning.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// How it proves who it is, and knows its server.
    pub credential: ClientCredential,
    /// How long to wait before the first repetition of a flight; each further one waits twice as long (RFC 6347 §4.2.4).
    pub retransmit_after: Duration,
    /// Longest wait between repetitions: after a wait as long as this, the handshake has failed.
    pub retransmit_max: Duration,
}

impl ClientConfig {
    /// With the waits that RFC 6347 §4.2.4.1 recommends.
    #[must_use]
    pub fn new(credential: ClientCredential) -> Self {
        Self { credential, retransmit_after: Duration::from_secs(1), retransmit_max: Duration::from_secs(60) }
    }
}
