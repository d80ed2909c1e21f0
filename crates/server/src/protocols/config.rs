//! The `[protocols]` section of the configuration: one for each way devices speak that has settings of its own.

use super::lwm2m::config::Lwm2mConfig;
use super::mqtt::config::MqttConfig;
use serde::Deserialize;

/// The section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProtocolsConfig {
    /// MQTT.
    pub mqtt: MqttConfig,
    /// LwM2M.
    pub lwm2m: Lwm2mConfig,
}

impl ProtocolsConfig {
    /// Checks every value against its limits.
    ///
    /// # Errors
    /// A sentence naming the setting and what it may be.
    pub fn check(&self) -> Result<(), String> {
        self.mqtt.check()?;
        self.lwm2m.check()
    }
}
