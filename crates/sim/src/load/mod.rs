//! Load over real sockets: simulated devices that check in at a real server, download for real, and report.
//!
//! An open loop: a check-in is due when it is due, and its latency counts from then, so a server that falls behind shows.
//! Bounded in devices, connections and time; it speaks to the one URL it is given and ends by itself.

mod client;
mod device;
mod keys;
mod line;
mod lwm2m;
mod mqtt;
mod subscriber;
mod worker;

pub use device::{Contract, Device, Fetch, Next};
pub use keys::{key_line, read_keys};
pub use updraft_dtls::PreSharedKey;

use client::{Carrier, Target};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use worker::{Common, Worker};

/// Most simulated devices.
pub const DEVICES_MAX: u32 = 1_000_000;
/// Most connections kept open for check-ins.
pub const CONNECTIONS_MAX: u32 = 10_000;
/// Longest run.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Downloads at once: each has a connection of its own.
const DOWNLOADS: usize = 16;
/// Over how long the first check-ins are spread where no rate is asked for.
const START_SPREAD: Duration = Duration::from_secs(1);

/// What is to be simulated.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// The server's URL for devices: `https`, `mqtts` for the state replica over MQTT, `coap` for LwM2M
    /// without security, or `coaps` with it.
    pub url: String,
    /// Whom to trust, as PEM; needed for `https` and `mqtts`.
    pub ca: Option<PathBuf>,
    /// A token of the devices' product.
    pub token: String,
    /// The devices' pre-shared keys, by their IDs; needed for `coaps`.
    pub keys: BTreeMap<String, PreSharedKey>,
    /// Which contract the devices speak.
    pub contract: Contract,
    /// How many devices, up to [`DEVICES_MAX`].
    pub devices: u32,
    /// What the devices' IDs begin with.
    pub prefix: String,
    /// Their product.
    pub product: String,
    /// What they run at first.
    pub version: String,
    /// On how many percent of them new versions do not become healthy.
    pub failing_percent: u8,
    /// Check-ins per second over all devices; `None`: as the server asks for.
    pub rate: Option<f64>,
    /// Longest time between two check-ins of a device, whatever the server asks for.
    pub interval_max: Duration,
    /// Connections kept open over HTTP, up to [`CONNECTIONS_MAX`]. Over MQTT each device has its own.
    pub connections: u32,
    /// When to end, up to [`DURATION_MAX`].
    pub duration: Duration,
}

/// Why a load could not be run, or a request failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A setting is outside its limits.
    #[error("{0}")]
    Setting(String),
    /// The URL is none.
    #[error(
        "{0} is not a URL of a server: write https://host:port, mqtts://host:port, coap://host:port or coaps://host:port"
    )]
    Url(String),
    /// There is nobody to trust.
    #[error("a URL with TLS needs the server's certificate authority: --ca DATA/ca.pem")]
    NoCa,
    /// A device has no key.
    #[error("device {0} has no pre-shared key")]
    NoKey(String),
    /// The certificate authority cannot be used.
    #[error("{path} holds no certificate authority in PEM")]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No connection.
    #[error("cannot connect")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A request or its answer broke off.
    #[error("a request failed")]
    Exchange(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server refused.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// An answer was not of the contract.
    #[error("{0}")]
    Answer(String),
    /// A download had another length or digest than announced.
    #[error("a download was not what was announced")]
    Unsound,
}

/// What one connection has counted.
#[derive(Debug, Default)]
struct Tally {
    check_ins: u64,
    registrations: u64,
    updates: u64,
    offers: u64,
    bytes: u64,
    errors: u64,
    error_texts: Vec<String>,
    latencies: Vec<Duration>,
    versions: BTreeMap<String, u64>,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// How many devices there were.
    pub devices: u32,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Check-ins sent.
    pub check_ins: u64,
    /// Check-ins per second.
    pub check_ins_per_second: f64,
    /// Of those over LwM2M: registrations.
    pub registrations: u64,
    /// Of those over LwM2M: updates of registrations.
    pub registration_updates: u64,
    /// Updates offered.
    pub offers: u64,
    /// Bytes downloaded and found to be what was announced.
    pub bytes: u64,
    /// Requests that failed.
    pub errors: u64,
    /// What some of them were.
    pub error_texts: Vec<String>,
    /// From when a check-in was due to its answer, in milliseconds: median, 99th percentile, longest.
    pub latency_ms: [f64; 3],
    /// How many devices ended on which version.
    pub versions: BTreeMap<String, u64>,
}

impl LoadConfig {
    /// Whether the devices need [`Self::keys`].
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.url.starts_with("coaps://")
    }

    fn check(&self) -> Result<(), LoadError> {
        let setting = |text: String| Err(LoadError::Setting(text));
        if !(1..=DEVICES_MAX).contains(&self.devices) {
            return setting(format!("devices: 1 to {DEVICES_MAX}"));
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return setting(format!("connections: 1 to {CONNECTIONS_MAX}"));
        }
        if self.duration > DURATION_MAX {
            return setting("duration: at most 24 hours".to_owned());
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e6)) {
            return setting("rate: above 0, up to 1000000 check-ins per second".to_owned());
        }
        Ok(())
    }

    fn check_mqtt(&self) -> Result<(), LoadError> {
        if self.contract == Contract::Ioto {
            return Err(LoadError::Setting(
                "the Ioto agent's check-in goes over https, not mqtts".to_owned(),
            ));
        }
        if self.devices > CONNECTIONS_MAX {
            let text = format!("devices over MQTT: 1 to {CONNECTIONS_MAX}, as each has a connection");
            return Err(LoadError::Setting(text));
        }
        Ok(())
    }

    /// The ID of a device.
    #[must_use]
    pub fn id(&self, number: u32) -> String {
        format!("{}{number:06}", self.prefix)
    }

    fn device(&self, number: u32) -> Device {
        Device::new(self.contract, self.id(number), &self.product, &self.version, self.failing_percent)
    }
}

/// Runs the load to its end. Dropping the future ends it at once.
///
/// # Errors
/// [`LoadError`] for a setting that cannot be used; failed requests are counted, not returned.
pub async fn run(config: LoadConfig) -> Result<Summary, LoadError> {
    config.check()?;
    let target = Target::new(&config.url, config.ca.as_deref())?;
    if config.token.is_empty() && target.carrier() != Carrier::Lwm2m {
        return Err(LoadError::Setting("token: `updraft token create --product P` makes one".to_owned()));
    }
    let begun = Instant::now();
    let (devices, connections) = (config.devices, config.connections.min(config.devices));
    let interval = config.rate.map(|rate| Duration::from_secs_f64(f64::from(devices) / rate));
    let spread = interval.unwrap_or(START_SPREAD);
    let common = Arc::new(Common {
        target,
        downloads: Semaphore::new(DOWNLOADS),
        end: begun + config.duration,
        config,
    });
    let start = |number: u32| begun + spread.mul_f64(f64::from(number) / f64::from(devices));
    let mut workers = tokio::task::JoinSet::new();
    match common.target.carrier() {
        Carrier::Http => {
            for connection in 0..connections {
                let numbers = || (connection..devices).step_by(connections as usize);
                let members = numbers().map(|number| common.config.device(number)).collect();
                workers.spawn(Worker::new(common.clone(), members, numbers().map(start), interval).run());
            }
        }
        Carrier::Mqtt => {
            common.config.check_mqtt()?;
            for number in 0..devices {
                let device = common.config.device(number);
                workers.spawn(subscriber::run(common.clone(), device, start(number), interval));
            }
        }
        Carrier::Lwm2m => {
            for number in 0..devices {
                workers.spawn(lwm2m::run(common.clone(), number, start(number), interval));
            }
        }
    }
    let mut total = Tally::default();
    while let Some(tally) = workers.join_next().await {
        // A worker that panicked is a fault of ours, which its own message has told.
        total.add(tally.unwrap_or_default());
    }
    Ok(total.summary(devices, begun.elapsed()))
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.check_ins += other.check_ins;
        self.registrations += other.registrations;
        self.updates += other.updates;
        self.offers += other.offers;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.error_texts.extend(other.error_texts);
        self.error_texts.dedup();
        self.latencies.extend(other.latencies);
        for (version, count) in other.versions {
            *self.versions.entry(version).or_default() += count;
        }
    }

    fn summary(mut self, devices: u32, elapsed: Duration) -> Summary {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let index = (self.latencies.len().saturating_sub(1) as f64 * share) as usize;
            self.latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        let latency_ms = [at(0.5), at(0.99), at(1.0)];
        let seconds = elapsed.as_secs_f64();
        self.error_texts.truncate(10);
        Summary {
            devices,
            seconds,
            check_ins: self.check_ins,
            check_ins_per_second: self.check_ins as f64 / seconds,
            registrations: self.registrations,
            registration_updates: self.updates,
            offers: self.offers,
            bytes: self.bytes,
            errors: self.errors,
            error_texts: self.error_texts,
            latency_ms,
            versions: self.versions,
        }
    }
}
