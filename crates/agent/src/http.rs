//! The HTTP client: which server is trusted, and how long anything may take.

use crate::assignment::{LinkError, check_link};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{PemItem, RootCerts, TlsConfig};

/// Longest time to reach a server, name resolution and TLS handshake included.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);
/// Longest time from a request to the end of an answer's headers: a server that trickles its headers is cut off.
pub const HEADERS_TIME_MAX: Duration = Duration::from_secs(30);
/// Largest header block, in bytes.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// What was wrong with the client's settings.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The certificates to trust could not be read.
    #[error("cannot read the certificates to trust, {}", path.display())]
    CertificatesRead {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds no certificate.
    #[error("{} holds no PEM certificate", path.display())]
    CertificatesNone {
        /// Which file.
        path: PathBuf,
    },
    /// The agent was built without its `mqtt` feature.
    #[error("this agent was built without MQTT")]
    NoMqtt,
    /// The agent was built without its `lwm2m` feature.
    #[error("this agent was built without LwM2M")]
    NoLwm2m,
    /// The server's address for LwM2M is of no use.
    #[error("the server's address {url:?} is not valid: it is coaps://host[:port], or coap:// in a lab")]
    CoapAddress {
        /// The address.
        url: String,
    },
    /// What the session with the server is made of is of no use.
    #[error("cannot use the credential for DTLS: {0}")]
    Dtls(String),
    /// The server's address for MQTT is of no use.
    #[error("the server's address {url:?} is not valid: it is mqtts://host[:port], or mqtt:// in a lab")]
    Address {
        /// The address.
        url: String,
    },
    /// The device's certificate or key is of no use.
    #[error("cannot use the certificate and the key of the device: {0}")]
    Certificate(String),
    /// The server's URL is of no use.
    #[error("the server's URL {url:?} is not valid: it is https://host[:port], or http:// in a lab")]
    Server {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: LinkError,
    },
}

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    base: String,
    /// Whether it is reached without TLS.
    pub is_plain: bool,
}

impl Server {
    /// A server from its URL, `https://host[:port]`; `http://` for a lab.
    ///
    /// # Errors
    /// [`ClientError::Server`].
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let uri =
            check_link(url, true).map_err(|source| ClientError::Server { url: url.to_owned(), source })?;
        Ok(Self { base: url.trim_end_matches('/').to_owned(), is_plain: uri.scheme_str() == Some("http") })
    }

    /// The URL of a path on the server.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// A client that trusts the certificates in a PEM file, or those of the public web if none is given. Follows no
/// redirect by itself and asks for no compression. A connection silent for `silence_time` counts as lost.
///
/// # Errors
/// [`ClientError`] if the file holds none.
pub fn client(ca: Option<&Path>, silence_time: Duration) -> Result<ureq::Agent, ClientError> {
    let roots = match ca {
        Some(path) => RootCerts::Specific(Arc::new(certificates(path)?)),
        None => RootCerts::WebPki,
    };
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("updraft-agent/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .max_response_header_size(HEADER_BYTES_MAX)
        .timeout_connect(Some(CONNECT_TIME_MAX))
        .timeout_recv_response(Some(HEADERS_TIME_MAX))
        .timeout_per_read(Some(silence_time))
        .timeout_per_write(Some(silence_time))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build();
    Ok(config.new_agent())
}

/// Reads a file of certificates to trust.
pub(crate) fn read_pem(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|source| ClientError::CertificatesRead { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<ureq::tls::Certificate<'static>>, ClientError> {
    let pem = read_pem(path)?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            Ok(_) | Err(_) => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(ClientError::CertificatesNone { path: path.to_owned() });
    }
    Ok(certificates)
}
