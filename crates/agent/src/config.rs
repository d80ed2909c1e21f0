//! The agent's configuration: command line, TOML file and the Ioto agent's own files, each overriding the next.

mod carrier;

use crate::hook::Argv;
use crate::ioto::{DeviceFile, IotoError, IotoFile};
use serde_json::{Map, Value};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use carrier::{
    Carrier, Credential, Delivery, KEEP_ALIVE, KEEP_ALIVE_MAX, KEEP_ALIVE_MIN, LIFETIME, LIFETIME_MAX,
    LIFETIME_MIN, Lwm2m, Lwm2mCredential, START_DELAY, START_DELAY_MAX, ServerRole,
};

/// Version reported where neither a slot nor a file nor an option knows one: below every release.
pub const VERSION_UNKNOWN: &str = "0.0.0";
/// How often an unconfirmed version may start. Three: one crash and one impatient power cycle are survived.
pub const TRIAL_BOOTS: u32 = 3;
/// How long a version may take to become healthy.
pub const TRIAL_TIME: Duration = Duration::from_secs(5 * 60);
/// How long one run of the health command may take.
pub const HEALTH_TIME: Duration = Duration::from_secs(30);
/// Pause between two runs of the health command.
pub const HEALTH_EVERY: Duration = Duration::from_secs(2);
/// How long the update script may take: it may write a whole system to slow flash.
pub const SCRIPT_TIME: Duration = Duration::from_secs(30 * 60);
/// Longest silence of the server. Mobile networks pause for seconds, rarely for more.
pub const SILENCE_TIME: Duration = Duration::from_secs(30);
/// Bytes between two checkpoints of a download, in KiB: 4 MiB, some seconds of a slow link.
pub const CHECKPOINT_KIB: u64 = 4096;

/// A duration as people write it: `90s`, `15m`, `2h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
        Duration::try_from(span).map(Self).map_err(|_| "a duration must not be negative".to_owned())
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Who says that a version on trial is healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Confirm {
    /// The health command; without one, a check-in that the server answers while the application runs.
    #[default]
    Health,
    /// `updraft-agent confirm`, and nothing else.
    Manual,
}

/// What counts as a start of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BootCounter {
    /// A start of the agent, or of the application under it: where a slot holds an application.
    #[default]
    Agent,
    /// A start of the kernel: where a slot holds the system. Needs a reboot command.
    Kernel,
}

/// How the agent reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TransportName {
    /// The native check-in over HTTP.
    #[default]
    Http,
    /// A connection that stays open, over MQTT 3.1.1.
    Mqtt,
    /// A registration at an LwM2M server, over CoAP and DTLS.
    Lwm2m,
}

/// Which of the server's contracts the agent speaks over MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum MqttFlow {
    /// The device state replica.
    #[default]
    Replica,
    /// AWS IoT Jobs; the device's description still goes to the replica.
    Jobs,
}

macro_rules! options {
    ($($(#[$attribute:meta])* $name:ident: $type:ty,)*) => {
        /// What may be set. Every option is also a key of the TOML file, with the same name.
        #[derive(Debug, Clone, Default, clap::Args, serde::Deserialize)]
        #[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
        pub struct Options {
            $($(#[$attribute])* pub $name: Option<$type>,)*
        }

        impl Options {
            /// These options, and where one is absent the other's.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)* }
            }
        }
    };
}

options! {
    /// The server's device address, https://host:port; with --transport mqtt, mqtts://host:port; with --transport lwm2m,
    /// coaps://host:port (http://, mqtt:// and coap:// only in a lab)
    #[arg(long, value_name = "URL")]
    server: String,
    /// Over LwM2M, in the place of --server: the bootstrap server, coaps://host:port, which gives the device its server and
    /// a key for it. --psk-identity and --psk-key-file, or --cert and --key, are then for the bootstrap server
    #[arg(long, value_name = "URL")]
    bootstrap_server: String,
    /// How to reach the server [default: http]
    #[arg(long, value_name = "HOW")]
    transport: TransportName,
    /// Over MQTT: what to speak [default: replica]
    #[arg(long, value_name = "FLOW")]
    mqtt_flow: MqttFlow,
    /// Over MQTT: longest silence before a ping, 5s to 20m [default: 4m]
    #[arg(long, value_name = "SPAN")]
    keep_alive: Span,
    /// Over MQTT and LwM2M: this device's certificate, as PEM, instead of a token or a key
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// The certificate's private key, as PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Over LwM2M: the name that the pre-shared key goes by
    #[arg(long, value_name = "TEXT")]
    psk_identity: String,
    /// Over LwM2M: a file with the pre-shared key, in hex
    #[arg(long, value_name = "FILE")]
    psk_key_file: PathBuf,
    /// Over LwM2M: how long a registration lives without an update [default: 5m]
    #[arg(long, value_name = "SPAN")]
    lifetime: Span,
    /// Over LwM2M: over which time the devices of a fleet register that are switched on at one moment, up to 10m [default:
    /// 30s]
    #[arg(long, value_name = "SPAN")]
    start_delay: Span,
    /// Over LwM2M: the device sleeps between its messages (queue mode) [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    queue_mode: bool,
    /// Over LwM2M: how images may come [default: both]
    #[arg(long, value_enum, value_name = "WAY")]
    delivery: Delivery,
    /// Certificates to trust, as PEM; without it those of the public web
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// This device's ID
    #[arg(long, value_name = "ID")]
    id: String,
    /// The product this device is
    #[arg(long, value_name = "NAME")]
    product: String,
    /// This device's token; better in UPDRAFT_TOKEN or a file, where other users cannot see it
    #[arg(long, env = "UPDRAFT_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: String,
    /// A file with this device's token
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Folder for what the agent remembers
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Folder for the slots a/ and b/ and the link `current`
    #[arg(long, value_name = "DIR")]
    slots: PathBuf,
    /// Instead of slots: the program that installs an image, called with the image's path
    #[arg(long, value_name = "ARGV")]
    script: Argv,
    /// How long the script may take [default: 30m]
    #[arg(long, value_name = "SPAN")]
    script_time: Span,
    /// The application to run from the slot; {slot} is the slot's folder, {image} its first artifact
    #[arg(long, value_name = "ARGV")]
    app: Argv,
    /// The version that runs before any slot does [default: from ioto.json5, else 0.0.0]
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// An Ioto agent's ioto.json5: version, update.* and scripts.update are read from it
    #[arg(long, value_name = "FILE")]
    ioto: PathBuf,
    /// An Ioto agent's device.json5: id, product and every other property is reported
    #[arg(long, value_name = "FILE")]
    device: PathBuf,
    /// Health check of a version on trial: exit status 0 is healthy. Gets UPDRAFT_SLOT, UPDRAFT_IMAGE, UPDRAFT_VERSION
    #[arg(long, value_name = "ARGV")]
    health_cmd: Argv,
    /// How long one health check may take [default: 30s]
    #[arg(long, value_name = "SPAN")]
    health_time: Span,
    /// Pause between two health checks [default: 2s]
    #[arg(long, value_name = "SPAN")]
    health_every: Span,
    /// How long a version may take to become healthy before the old one runs again [default: 5m]
    #[arg(long, value_name = "SPAN")]
    trial_time: Span,
    /// How often a version may start without being confirmed [default: 3]
    #[arg(long, value_name = "N")]
    trial_boots: u32,
    /// Who confirms a version on trial [default: health]
    #[arg(long, value_name = "WHO")]
    confirm: Confirm,
    /// What counts as a start of the device [default: agent]
    #[arg(long, value_name = "WHAT")]
    boot_counter: BootCounter,
    /// Restarts the device after the active slot changed; without it only the application is started anew
    #[arg(long, value_name = "ARGV")]
    reboot_cmd: Argv,
    /// Check in at least this often, whatever the server asks for
    #[arg(long, value_name = "SPAN")]
    interval: Span,
    /// Longest silence of the server before a connection counts as lost [default: 30s]
    #[arg(long, value_name = "SPAN")]
    silence_time: Span,
    /// KiB between two checkpoints of a download: what a power cut costs at most [default: 4096]
    #[arg(long, value_name = "KIB")]
    checkpoint_kib: u64,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The TOML file is not valid.
    #[error("{} is not valid", path.display())]
    Toml {
        /// Which.
        path: PathBuf,
        /// Why, with line and column.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A file of the Ioto agent's is not valid.
    #[error("a file of the Ioto agent cannot be used")]
    Ioto(#[from] IotoError),
    /// Something needed is absent.
    #[error("{0} is missing: {1}")]
    Missing(&'static str, &'static str),
    /// Two settings that exclude each other.
    #[error("{0}")]
    Conflict(&'static str),
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's device address; or the bootstrap server's, where the carrier says so.
    pub server: String,
    /// Certificates to trust.
    pub ca: Option<PathBuf>,
    /// This device's ID.
    pub id: String,
    /// The product it is.
    pub product: String,
    /// How it reaches the server.
    pub carrier: Carrier,
    /// The state folder.
    pub state: PathBuf,
    /// The slots' folder.
    pub slots: Option<PathBuf>,
    /// The program that installs, where there are no slots.
    pub script: Option<Argv>,
    /// How long it may take.
    pub script_time: Duration,
    /// The application.
    pub app: Option<Argv>,
    /// The version that runs where no slot says otherwise, as set; `ioto.json5` is read anew each time.
    pub version: Option<String>,
    /// The Ioto agent's settings file.
    pub ioto: Option<PathBuf>,
    /// What else describes the device.
    pub attributes: Map<String, Value>,
    /// The health command.
    pub health_cmd: Option<Argv>,
    /// How long one run may take.
    pub health_time: Duration,
    /// Pause between two runs.
    pub health_every: Duration,
    /// How long a trial may take.
    pub trial_time: Duration,
    /// How often a version may start without being confirmed.
    pub trial_boots: u32,
    /// Who confirms.
    pub confirm: Confirm,
    /// What counts as a start.
    pub boot_counter: BootCounter,
    /// Restarts the device.
    pub reboot_cmd: Option<Argv>,
    /// Longest time between two check-ins.
    pub interval: Option<Duration>,
    /// Longest silence of the server.
    pub silence_time: Duration,
    /// Bytes between two checkpoints.
    pub checkpoint_bytes: u64,
}

impl Options {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`ConfigError`] naming the file, and the line where one is at fault.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| ConfigError::Toml { path: path.to_owned(), source: Box::new(source) })
    }

    /// Checks the options together and reads what they point to.
    ///
    /// # Errors
    /// [`ConfigError`] naming what is missing or at odds.
    pub fn check(self) -> Result<Config, ConfigError> {
        let device = self.device.as_deref().map(DeviceFile::read).transpose()?.unwrap_or_default();
        let ioto = self.ioto.as_deref().map(IotoFile::read).transpose()?.unwrap_or_default();
        let carrier = self.carrier()?;
        if carrier.brings_packages() && self.slots.is_none() {
            return Err(ConfigError::Conflict(
                "--transport lwm2m needs --slots: which version an image is shows only in its slot",
            ));
        }
        if self.slots.is_some() && self.script.is_some() {
            return Err(ConfigError::Conflict(
                "--slots and --script exclude each other: one of them installs",
            ));
        }
        if self.app.is_some() && self.slots.is_none() {
            return Err(ConfigError::Conflict("--app runs from a slot: it needs --slots"));
        }
        if self.script.is_some() && self.ioto.is_none() {
            return Err(ConfigError::Conflict(
                "--script needs --ioto FILE: the version in ioto.json5 is what tells that an update took",
            ));
        }
        let boot_counter = self.boot_counter.unwrap_or_default();
        if boot_counter == BootCounter::Kernel && self.slots.is_some() && self.reboot_cmd.is_none() {
            return Err(ConfigError::Conflict(
                "--boot-counter kernel with --slots needs --reboot-cmd, or no trial would ever start",
            ));
        }
        let script = if self.slots.is_some() { None } else { self.script.or(ioto.script) };
        Ok(Config {
            server: self
                .server
                .or(self.bootstrap_server)
                .ok_or(ConfigError::Missing("the server", "give --server https://host:port"))?,
            ca: self.ca,
            id: self
                .id
                .or(device.id)
                .ok_or(ConfigError::Missing("the ID", "give --id, or --device with an id"))?,
            product: self
                .product
                .or(device.product)
                .ok_or(ConfigError::Missing("the product", "give --product, or --device with a product"))?,
            carrier,
            state: self.state.ok_or(ConfigError::Missing("the state folder", "give --state DIR"))?,
            slots: self.slots,
            script,
            script_time: self.script_time.map_or(SCRIPT_TIME, |span| span.0),
            app: self.app,
            version: self.version,
            ioto: self.ioto,
            attributes: device.attributes,
            health_cmd: self.health_cmd,
            health_time: self.health_time.map_or(HEALTH_TIME, |span| span.0),
            health_every: self.health_every.map_or(HEALTH_EVERY, |span| span.0),
            trial_time: self.trial_time.map_or(TRIAL_TIME, |span| span.0),
            trial_boots: self.trial_boots.unwrap_or(TRIAL_BOOTS).max(1),
            confirm: self.confirm.unwrap_or_default(),
            boot_counter,
            reboot_cmd: self.reboot_cmd,
            interval: self.interval.map(|span| span.0),
            silence_time: self.silence_time.map_or(SILENCE_TIME, |span| span.0),
            checkpoint_bytes: self.checkpoint_kib.unwrap_or(CHECKPOINT_KIB).max(1).saturating_mul(1024),
        })
    }
}
