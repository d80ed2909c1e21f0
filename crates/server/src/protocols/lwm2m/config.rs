//! The `[protocols.lwm2m]` section of the configuration.

use crate::interval::Interval;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Most devices registered at once unless the section says otherwise.
const REGISTRATIONS_DEFAULT: usize = 100_000;
/// Most that may be asked for: what tables and timers are sized for.
const REGISTRATIONS_LIMIT: usize = 1_000_000;

/// How an image goes to devices that can take it either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// They fetch it.
    Pull,
    /// It is sent.
    Push,
}

/// The `[protocols.lwm2m]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lwm2mConfig {
    /// Whether devices can speak LwM2M at all.
    pub enabled: bool,
    /// Where devices connect by DTLS.
    pub listen: SocketAddr,
    /// Where devices speak without security; for a lab only.
    pub plain_listen: Option<SocketAddr>,
    /// Whether `plain_listen` may be an address that others than this machine reach.
    pub plain_on_public_address: bool,
    /// Host and port as devices reach `listen`, for links and bootstrapping; without it, the names of `[device]` count.
    pub public_authority: Option<String>,
    /// Authorities whose certificates speak for the device in their common name, as a PEM file. The server's own does in
    /// any case.
    pub client_ca: Option<PathBuf>,
    /// Whether devices that ask to be bootstrapped are given a key of their own.
    pub bootstrap: bool,
    /// Most devices registered at once.
    pub registrations_max: usize,
    /// How images are delivered.
    pub delivery: DeliveryConfig,
}

/// The `[protocols.lwm2m.delivery]` section: push or pull, and when a push may begin.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryConfig {
    /// What is done with devices that can do both.
    pub prefer: Preference,
    /// A push waits while the device's radio signal is weaker than this, in dBm (resource /4/0/2).
    pub signal_dbm_min: Option<i32>,
    /// A push waits while the link quality is below this (resource /4/0/3; what it means depends on the bearer).
    pub link_quality_min: Option<i64>,
    /// How long a push waits for a better link before it looks again.
    pub look_again: Interval,
    /// How long a push waits for a better link in all; then it begins on the link there is.
    pub wait_max: Interval,
    /// What devices are told of an update's urgency (resource /5/0/11).
    pub severity: SeverityWord,
    /// How long a device may put an update off (resource /5/0/13); zero: not at all.
    pub defer_max: Interval,
}

/// How urgent an update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeverityWord {
    /// It should not be put off.
    Critical,
    /// It has to be installed, at a time that suits.
    Mandatory,
    /// It may be left out.
    Optional,
}

impl Default for Lwm2mConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5684),
            plain_listen: None,
            plain_on_public_address: false,
            public_authority: None,
            client_ca: None,
            bootstrap: true,
            registrations_max: REGISTRATIONS_DEFAULT,
            delivery: DeliveryConfig::default(),
        }
    }
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            prefer: Preference::Pull,
            signal_dbm_min: None,
            link_quality_min: None,
            look_again: Interval(Duration::from_secs(15 * 60)),
            wait_max: Interval(Duration::from_secs(24 * 3600)),
            severity: SeverityWord::Mandatory,
            defer_max: Interval(Duration::from_secs(7 * 24 * 3600)),
        }
    }
}

impl Lwm2mConfig {
    /// Checks every value against its limits.
    ///
    /// # Errors
    /// A sentence naming the setting and what it may be.
    pub fn check(&self) -> Result<(), String> {
        let refuse = |text: &str| Err(format!("[protocols.lwm2m] {text}"));
        if let Some(plain) = self.plain_listen
            && !plain.ip().is_loopback()
            && !self.plain_on_public_address
        {
            return refuse(
                "plain_listen is no loopback address: anyone who reaches it can speak for any device without a credential; \
                 set plain_on_public_address = true if that is meant",
            );
        }
        if self.registrations_max == 0 || self.registrations_max > REGISTRATIONS_LIMIT {
            return refuse("registrations_max must be 1 to 1000000");
        }
        if let Some(authority) = &self.public_authority
            && !crate::config::is_authority(authority)
        {
            return refuse("public_authority must be host:port");
        }
        if self.delivery.look_again.0.is_zero() {
            return refuse("delivery.look_again must be longer than nothing");
        }
        Ok(())
    }
}
