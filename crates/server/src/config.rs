//! The configuration file: one TOML file, each section's type, defaults and checks beside what it configures.
//!
//! An empty file is the embedded profile and works. Unknown keys are errors: a typing mistake must not be a default.

use crate::protocols::aws::config::AwsConfig;
use crate::protocols::config::ProtocolsConfig;
use crate::protocols::http::config::CheckInConfig;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where the server keeps its data unless told otherwise, relative to where it is started.
pub const DEFAULT_DATA: &str = "updraft-data";
/// The environment variable that names another data folder.
pub const DATA_VARIABLE: &str = "UPDRAFT_DATA";
/// Largest configuration file read, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The data folder.
    pub data: Option<PathBuf>,
    /// The listener for devices.
    pub device: DeviceConfig,
    /// The listener for operators.
    pub operator: OperatorConfig,
    /// The check-in protocols.
    pub check_in: CheckInConfig,
    /// Uploads and downloads.
    pub artifacts: ArtifactsConfig,
    /// Other ways devices speak.
    pub protocols: ProtocolsConfig,
    /// The HTTP doors of AWS IoT.
    pub aws: AwsConfig,
}

/// The `[device]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceConfig {
    /// Where devices connect by TLS.
    pub listen: SocketAddr,
    /// Where devices connect without TLS; for a lab only.
    pub plain_listen: Option<SocketAddr>,
    /// What links begin with: scheme, host and port as devices reach the server. Without it, links name the host that
    /// the device itself asked for.
    pub public_url: Option<String>,
    /// Further names and addresses for the server's own certificate.
    pub names: Vec<String>,
    /// A certificate chain to use instead of the server's own, as a PEM file; with `key`.
    pub certificate: Option<PathBuf>,
    /// The key to `certificate`, as a PEM file.
    pub key: Option<PathBuf>,
    /// Most connections at once.
    pub connections_max: usize,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8443),
            plain_listen: None,
            public_url: None,
            names: Vec::new(),
            certificate: None,
            key: None,
            connections_max: 16_384,
        }
    }
}

/// The `[operator]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperatorConfig {
    /// Where operators connect; without TLS, so it should stay on the loopback or behind a proxy.
    pub listen: SocketAddr,
}

impl Default for OperatorConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080) }
    }
}

/// The `[artifacts]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArtifactsConfig {
    /// Largest file that may be uploaded, in bytes.
    pub upload_bytes_max: u64,
    /// Most downloads at once; beyond, devices are asked to come again shortly.
    pub downloads_max: usize,
    /// Whether links open only from the address that asked for them. Leave it off where devices change networks.
    pub bind_links_to_address: bool,
}

impl Default for ArtifactsConfig {
    fn default() -> Self {
        Self { upload_bytes_max: 16 << 30, downloads_max: 4_096, bind_links_to_address: false }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no valid TOML, or a key or value is not known.
    #[error("{path}: {message}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A value is outside its limits.
    #[error("{0}")]
    Value(String),
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let bytes = std::fs::metadata(path).map_err(read)?.len();
        if bytes > CONFIG_BYTES_MAX {
            return Err(ConfigError::Value(format!(
                "{}: {bytes} bytes are too many for a configuration file; at most {CONFIG_BYTES_MAX} are read",
                path.display()
            )));
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let config: Self = toml::from_str(&text)
            .map_err(|error| ConfigError::Syntax { path: path.to_owned(), message: error.to_string() })?;
        config.check()?;
        Ok(config)
    }

    /// Checks every value against its limits.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_in.check().map_err(ConfigError::Value)?;
        self.protocols.check().map_err(ConfigError::Value)?;
        self.aws.check().map_err(ConfigError::Value)?;
        let value = |text: &str| Err(ConfigError::Value(text.to_owned()));
        if self.device.certificate.is_some() != self.device.key.is_some() {
            return value("[device] certificate and key belong together: set both or neither");
        }
        if let Some(url) = &self.device.public_url
            && !is_public_url(url)
        {
            return value(
                "[device] public_url must be https://host[:port] (http:// in a lab), without a path, a query or quotes",
            );
        }
        if self.device.connections_max == 0 || self.artifacts.downloads_max == 0 {
            return value("[device] connections_max and [artifacts] downloads_max must be at least 1");
        }
        Ok(())
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new(DEFAULT_DATA))
    }
}

/// Whether links can begin with this. One client knows no JSON escapes and no redirects, so it is kept plain.
fn is_public_url(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    host.is_some_and(is_authority)
}

/// Whether a text is a plain host with an optional port.
#[must_use]
pub fn is_authority(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn an_empty_file_is_the_embedded_profile() {
        let config = read("").unwrap();
        assert_eq!(config.device.listen.port(), 8443);
        assert_eq!(config.device.plain_listen, None);
        assert_eq!(config.operator.listen.to_string(), "127.0.0.1:8080");
    }

    #[test]
    fn a_typing_mistake_is_an_error_that_names_it() {
        for (text, part) in [
            ("[device]\nlisten_plain = \"127.0.0.1:1\"", "listen_plain"),
            ("[devices]", "devices"),
            ("[device]\nlisten = \"8443\"", "socket address"),
            ("[protocols.coap]", "coap"),
            ("[protocols.mqtt]\nconnections_max = 0", "connections_max"),
            ("[protocols.mqtt]\nopen_router_for_conformance = true", "loopback"),
            ("[protocols.lwm2m]\nplain_listen = \"0.0.0.0:5683\"", "plain_on_public_address"),
            ("[protocols.lwm2m]\nregistrations_max = 0", "registrations_max"),
            ("[protocols.lwm2m]\npublic_authority = \"coaps://x\"", "host:port"),
            ("[check_in]\ninterval = \"0s\"", "interval"),
            ("[aws]\ncredential_life = \"13h\"", "credential_life"),
            ("[device]\ncertificate = \"c.pem\"", "key"),
            ("[device]\npublic_url = \"https://host/path?\\\"\"", "public_url"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
