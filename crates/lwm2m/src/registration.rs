//! Registration: what a device says of itself when it registers and updates, and how it says it (Core §6.2,
//! Transport §6.4.3).
//!
//! Deliberately absent: messages, locations and clocks. Queries and a body go in, a registration comes out, and the other
//! way round; who asks, when it ends, and where it is kept is the caller's.

use thiserror::Error;

use crate::link::{LinkError, Objects};

/// The most bytes of an endpoint name; the standard has no limit, and one Uri-Query option holds 255 with `ep=`.
pub const ENDPOINT_BYTES_MAX: usize = 255;

/// The most queries of one request: the standard knows eight.
pub const QUERIES_MAX: usize = 32;

/// The lifetime where none is said (Core §6.2.1, 1.0 §5.3.1).
pub const LIFETIME_S_DEFAULT: u32 = 86_400;

/// The shortest lifetime that counts. A device that says less updates more often than that anyway; if it sleeps through
/// one update, it is not forgotten at once.
pub const LIFETIME_S_MIN: u32 = 20;

/// The longest lifetime that counts, ten years: beyond it a number is a mistake, and "for ever" is 0.
pub const LIFETIME_S_MAX: u32 = 315_360_000;

/// The most bytes of an MSISDN: E.164 has 15 digits; some devices send more than that.
const SMS_BYTES_MAX: usize = 32;

/// Why a registration is refused, as the CoAP code that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The endpoint name is too long, empty, or has control characters.
    #[error("the endpoint name is none")]
    Endpoint,
    /// Neither the request nor the security layer names the device.
    #[error("the device does not say its name")]
    NoEndpoint,
    /// This version of LwM2M is not spoken here.
    #[error("this version of LwM2M is not spoken here")]
    Version,
    /// A query is malformed, or is there twice.
    #[error("a query is malformed, or there twice")]
    Query,
    /// There are more than [`QUERIES_MAX`] queries.
    #[error("there are more than {QUERIES_MAX} queries")]
    TooMany,
    /// The list of objects is no such list.
    #[error("the list of objects is malformed")]
    Objects(#[from] LinkError),
}

impl Refusal {
    /// The CoAP code: 4.12 for the version, on which devices try the next lower one; else 4.00 (Transport §6.4.3).
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Version => 0x8c,
            Self::Endpoint | Self::NoEndpoint | Self::Query | Self::TooMany | Self::Objects(_) => 0x80,
        }
    }
}

/// A version of LwM2M.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.0
    V1_0,
    /// 1.1
    V1_1,
    /// 1.2
    V1_2,
}

impl Version {
    fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "1.0" => Ok(Self::V1_0),
            "1.1" => Ok(Self::V1_1),
            "1.2" => Ok(Self::V1_2),
            _ => Err(Refusal::Version),
        }
    }

    /// As it is on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }
}

/// How long a registration holds without an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Seconds.
    Seconds(u32),
    /// It does not end: 0 on the wire (registry, resource 1 of object 1).
    Infinite,
}

impl Lifetime {
    /// A number of seconds as the wire has it, within the limits.
    #[must_use]
    pub fn of_seconds(seconds: u64) -> Self {
        match u32::try_from(seconds) {
            Ok(0) => Self::Infinite,
            Ok(seconds) => Self::Seconds(seconds.clamp(LIFETIME_S_MIN, LIFETIME_S_MAX)),
            Err(_) => Self::Seconds(LIFETIME_S_MAX),
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Seconds(seconds) => seconds,
            Self::Infinite => 0,
        }
    }

    fn parse(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refusal::Query);
        }
        // All are digits: what does not fit is too large.
        Ok(Self::of_seconds(text.parse().unwrap_or(u64::MAX)))
    }
}

impl Default for Lifetime {
    fn default() -> Self {
        Self::Seconds(LIFETIME_S_DEFAULT)
    }
}

/// Whether a device sleeps, and is only asked after it was heard (Transport §6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueMode {
    /// It listens always.
    #[default]
    Off,
    /// It sleeps.
    On,
}

/// How a device can be reached: the letters of `b`, in the order they came in, without the Q of 1.0 (Core table 6.2.1-1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding(Box<str>);

impl Binding {
    /// UDP, which is meant where nothing is said.
    #[must_use]
    pub fn udp() -> Self {
        Self("U".into())
    }

    /// The letters, as `U` or `UT`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The letters of `b`, and whether Q was one of them. Letters of later versions are kept.
    pub(crate) fn parse(text: &str) -> Result<(Self, Option<QueueMode>), Refusal> {
        let without: String = text.chars().filter(|letter| *letter != 'Q').collect();
        // There are seven letters. A register that is refused costs the device minutes, so those of later versions pass.
        let letters = text.bytes().all(|byte| byte.is_ascii_uppercase());
        if text.is_empty() || !letters || without.len() > 8 {
            return Err(Refusal::Query);
        }
        let queue = (without.len() < text.len()).then_some(QueueMode::On);
        Ok((if without.is_empty() { Self::udp() } else { Self(without.into()) }, queue))
    }
}

impl Default for Binding {
    fn default() -> Self {
        Self::udp()
    }
}

/// A registration: what a server keeps of a device that has registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The endpoint name. A stranger chose it: it is text to show with care, never a path or a statement.
    pub endpoint: Box<str>,
    /// The version that both will speak.
    pub version: Version,
    /// How long it holds.
    pub lifetime: Lifetime,
    /// How the device is reached.
    pub binding: Binding,
    /// Whether it sleeps.
    pub queue_mode: QueueMode,
    /// The number for messages that wake it.
    pub sms: Option<Box<str>>,
    /// Queries that no version defines; vendors tell models by them.
    pub attributes: Box<[(Box<str>, Box<str>)]>,
    /// What it has.
    pub objects: Objects,
}

/// What an update changes; what it does not say stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// `lt`
    pub lifetime: Option<Lifetime>,
    /// `b`
    pub binding: Option<Binding>,
    /// `Q`, or the Q in `b`.
    pub queue_mode: Option<QueueMode>,
    /// `sms`
    pub sms: Option<Box<str>>,
    /// The complete list, where it has changed (Core §6.2.2).
    pub objects: Option<Objects>,
}

/// The queries of a request, each of those that are defined once.
#[derive(Debug, Default)]
struct Queries {
    endpoint: Option<Box<str>>,
    version: Option<Version>,
    update: Update,
    attributes: Vec<(Box<str>, Box<str>)>,
}

fn once<T>(field: &mut Option<T>, value: T) -> Result<(), Refusal> {
    if field.replace(value).is_some() { Err(Refusal::Query) } else { Ok(()) }
}

fn parse_queries(queries: &[&str]) -> Result<Queries, Refusal> {
    if queries.len() > QUERIES_MAX {
        return Err(Refusal::TooMany);
    }
    let mut parsed = Queries::default();
    let mut queue_flag = None;
    for query in queries {
        let (name, value) = query.split_once('=').unwrap_or((query, ""));
        match name {
            "ep" => once(&mut parsed.endpoint, check_endpoint(value)?.into())?,
            "lwm2m" => once(&mut parsed.version, Version::parse(value)?)?,
            "lt" => once(&mut parsed.update.lifetime, Lifetime::parse(value)?)?,
            "b" => {
                let (binding, queue_mode) = Binding::parse(value)?;
                once(&mut parsed.update.binding, binding)?;
                parsed.update.queue_mode = queue_mode.or(parsed.update.queue_mode);
            }
            // It has no value; some devices write one.
            "Q" => once(&mut queue_flag, QueueMode::On)?,
            "sms" if value.len() > SMS_BYTES_MAX => return Err(Refusal::Query),
            "sms" => once(&mut parsed.update.sms, value.into())?,
            _ => parsed.attributes.push((name.into(), value.into())),
        }
    }
    parsed.update.queue_mode = queue_flag.or(parsed.update.queue_mode);
    Ok(parsed)
}

/// An endpoint name: 1 to [`ENDPOINT_BYTES_MAX`] bytes without control characters.
///
/// # Errors
/// It is none.
pub fn check_endpoint(name: &str) -> Result<&str, Refusal> {
    let fits = (1..=ENDPOINT_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    if fits { Ok(name) } else { Err(Refusal::Endpoint) }
}

impl Registration {
    /// Reads a Register: its queries and its body. `identity` is what the security layer calls the device, and is its name
    /// where it does not say one (Core §6.2.1, 1.1 and later). Whether a name that is said is the identity's, the caller
    /// decides (Transport §5.2.6).
    ///
    /// # Errors
    /// The code of the answer is [`Refusal::code`].
    pub fn parse(queries: &[&str], identity: Option<&str>, body: &[u8]) -> Result<Self, Refusal> {
        let queries = parse_queries(queries)?;
        let endpoint = match (queries.endpoint, identity) {
            (Some(endpoint), _) => endpoint,
            (None, Some(identity)) => check_endpoint(identity)?.into(),
            (None, None) => return Err(Refusal::NoEndpoint),
        };
        Ok(Self {
            endpoint,
            // The first servers did without it.
            version: queries.version.unwrap_or(Version::V1_0),
            lifetime: queries.update.lifetime.unwrap_or_default(),
            binding: queries.update.binding.unwrap_or_default(),
            queue_mode: queries.update.queue_mode.unwrap_or_default(),
            sms: queries.update.sms,
            attributes: queries.attributes.into(),
            objects: Objects::parse(body)?,
        })
    }

    /// Takes what an update says. A binding that is said anew says the queue mode anew, in 1.0, where Q is a part of it.
    pub fn apply(&mut self, update: Update) {
        let queue_mode = match (self.version, &update.binding) {
            (Version::V1_0, Some(_)) => Some(update.queue_mode.unwrap_or_default()),
            (Version::V1_0, None) | (Version::V1_1 | Version::V1_2, _) => update.queue_mode,
        };
        self.lifetime = update.lifetime.unwrap_or(self.lifetime);
        self.queue_mode = queue_mode.unwrap_or(self.queue_mode);
        if let Some(binding) = update.binding {
            self.binding = binding;
        }
        if update.sms.is_some() {
            self.sms = update.sms;
        }
        if let Some(objects) = update.objects {
            self.objects = objects;
        }
    }

    /// Writes the queries of a Register: the device's end. Its body is the list of [`Objects::write`].
    #[must_use]
    pub fn queries(&self) -> Vec<String> {
        let mut queries = vec![format!("ep={}", self.endpoint), format!("lwm2m={}", self.version.as_str())];
        queries.push(format!("lt={}", self.lifetime.seconds()));
        write_binding(&mut queries, self.version, Some(&self.binding), Some(self.queue_mode));
        queries.extend(self.sms.iter().map(|sms| format!("sms={sms}")));
        queries.extend(self.attributes.iter().map(|(name, value)| match &**value {
            "" => name.to_string(),
            value => format!("{name}={value}"),
        }));
        queries
    }
}

impl Update {
    /// Reads an Update: its queries, and its body, which is empty where the objects are as they were. Queries that only a
    /// Register has are passed over.
    ///
    /// # Errors
    /// The code of the answer is [`Refusal::code`].
    pub fn parse(queries: &[&str], body: &[u8]) -> Result<Self, Refusal> {
        let mut update = parse_queries(queries)?.update;
        if !body.is_empty() {
            update.objects = Some(Objects::parse(body)?);
        }
        Ok(update)
    }

    /// Writes the queries of an Update: the device's end. Its body is the list of its objects, if it has one.
    #[must_use]
    pub fn queries(&self, version: Version) -> Vec<String> {
        let mut queries = Vec::new();
        queries.extend(self.lifetime.map(|lifetime| format!("lt={}", lifetime.seconds())));
        write_binding(&mut queries, version, self.binding.as_ref(), self.queue_mode);
        queries.extend(self.sms.iter().map(|sms| format!("sms={sms}")));
        queries
    }
}

/// `b=UQ` in 1.0; `b=U` and `Q` since. What is the default is not said.
fn write_binding(
    queries: &mut Vec<String>,
    version: Version,
    binding: Option<&Binding>,
    queue_mode: Option<QueueMode>,
) {
    let letters = binding.map_or("U", Binding::as_str);
    match (version, queue_mode.unwrap_or_default()) {
        (Version::V1_0, QueueMode::On) => queries.push(format!("b={letters}Q")),
        (_, QueueMode::Off) if letters == "U" => {}
        (_, QueueMode::Off) => queries.push(format!("b={letters}")),
        (Version::V1_1 | Version::V1_2, QueueMode::On) => {
            if letters != "U" {
                queries.push(format!("b={letters}"));
            }
            queries.push("Q".to_owned());
        }
    }
}
