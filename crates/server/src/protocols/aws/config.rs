//! The `[aws]` section of the configuration.

use crate::artifacts::temporary_key::{TEMPORARY_KEY_SECONDS_MAX, TEMPORARY_KEY_SECONDS_MIN};
use crate::interval::Interval;
use serde::Deserialize;
use std::time::Duration;

/// The `[aws]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwsConfig {
    /// How long a temporary access key works that a device gets for its own credential.
    pub credential_life: Interval,
    /// Whether the devices' TLS listener asks clients for a certificate, which they need not have. Switch it off where
    /// devices have certificates of authorities that are not known here and would show them.
    pub client_certificates: bool,
}

impl Default for AwsConfig {
    fn default() -> Self {
        Self { credential_life: Interval(Duration::from_secs(3600)), client_certificates: true }
    }
}

impl AwsConfig {
    /// Checks each value against its limits.
    ///
    /// # Errors
    /// A sentence naming the key and what it may be.
    pub fn check(&self) -> Result<(), String> {
        let seconds = self.credential_life.0.as_secs();
        if (TEMPORARY_KEY_SECONDS_MIN..=TEMPORARY_KEY_SECONDS_MAX).contains(&seconds) {
            Ok(())
        } else {
            Err("[aws] credential_life must be between 15m and 12h".to_owned())
        }
    }
}
