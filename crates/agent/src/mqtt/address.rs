//! Where the server is, for MQTT.

use crate::http::ClientError;
use ureq::http::Uri;

/// The port of MQTT over TLS (IANA).
const PORT_TLS: u16 = 8883;
/// The port of MQTT without TLS (IANA).
const PORT_PLAIN: u16 = 1883;

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether it is reached without TLS.
    pub(crate) is_plain: bool,
}

impl Address {
    /// An address from its URL, `mqtts://host[:port]`; `mqtt://` for a lab.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub(crate) fn new(url: &str) -> Result<Self, ClientError> {
        Self::parse(url).ok_or_else(|| ClientError::Address { url: url.to_owned() })
    }

    fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let (is_plain, port) = match uri.scheme_str()? {
            "mqtts" => (false, PORT_TLS),
            "mqtt" => (true, PORT_PLAIN),
            _ => return None,
        };
        let is_bare = uri.query().is_none() && matches!(uri.path(), "" | "/");
        // What is left beside the host is a port; a user's name or a port out of range is no address of ours.
        let host = uri.host()?;
        let port = match uri.authority()?.as_str().strip_prefix(host)? {
            "" => port,
            rest => rest.strip_prefix(':')?.parse().ok().filter(|port| *port > 0)?,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_valid = is_bare && !host.is_empty();
        is_valid.then(|| Self { host: host.to_owned(), port, is_plain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_perhaps_a_port() {
        for (url, host, port, is_plain) in [
            ("mqtts://ota.example", "ota.example", 8883, false),
            ("mqtts://ota.example:443/", "ota.example", 443, false),
            ("mqtt://127.0.0.1", "127.0.0.1", 1883, true),
            ("mqtts://[::1]:8884", "::1", 8884, false),
        ] {
            assert_eq!(Address::parse(url), Some(Address { host: host.into(), port, is_plain }), "{url}");
        }
        for url in [
            "",
            "ota.example",
            "https://ota.example",
            "mqtts://",
            "mqtts://:8883",
            "mqtts://a/b",
            "mqtts://a?b",
        ] {
            assert_eq!(Address::parse(url), None, "{url:?}");
        }
        for url in ["mqtts://user:secret@a", "mqtts://a:0", "mqtts://a:70000", "wss://a"] {
            assert_eq!(Address::parse(url), None, "{url:?}");
        }
    }
}
