//! Where an MQTT broker is, or the server's own endpoint.

use std::net::Ipv6Addr;

/// The port of MQTT over TLS (IANA).
pub const PORT_TLS: u16 = 8883;
/// The port of MQTT without TLS (IANA).
pub const PORT_PLAIN: u16 = 1883;
/// Longest host name, in bytes (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// The address of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Its name or IP address; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is reached without TLS.
    pub is_plain: bool,
}

impl Address {
    /// Reads `mqtts://host[:port]`, or `mqtt://` without TLS, with or without a slash at the end; `None` for anything else.
    /// A user's name or a path is no part of an address: credentials are set elsewhere, where they are not logged.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        // Schemes are the same in capitals (RFC 3986, 3.1).
        let (is_plain, default) = match scheme.to_ascii_lowercase().as_str() {
            "mqtts" => (false, PORT_TLS),
            "mqtt" => (true, PORT_PLAIN),
            _ => return None,
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').filter(|(host, _)| host.parse::<Ipv6Addr>().is_ok())?,
            None => {
                let end = authority.find(':').unwrap_or(authority.len());
                Some(authority.split_at(end)).filter(|(host, _)| is_host(host))?
            }
        };
        let port = match port {
            "" => default,
            port => number(port.strip_prefix(':')?)?,
        };
        Some(Self { host: host.to_owned(), port, is_plain })
    }
}

/// Whether it is a name or an IPv4 address, by the letters that names in use have.
fn is_host(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=HOST_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_part)
}

/// A port, in digits alone.
fn number(text: &str) -> Option<u16> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_digits && *port > 0)
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
            ("mqtt://broker_1:1884", "broker_1", 1884, true),
            ("mqtts://[::1]:8884", "::1", 8884, false),
            ("mqtts://[2001:db8::1]/", "2001:db8::1", 8883, false),
            ("MQTTS://Ota.example", "Ota.example", 8883, false),
        ] {
            assert_eq!(Address::parse(url), Some(Address { host: host.into(), port, is_plain }), "{url}");
        }
    }

    #[test]
    fn an_address_has_no_credential_no_path_and_no_other_scheme() {
        for url in [
            "",
            "broker",
            "ota.example:8883",
            "https://ota.example",
            "wss://a",
            "mqtts:a",
            "mqtts://",
            "mqtts:///",
            "mqtts://:8883",
            "mqtts://a/b",
            "mqtts://a//",
            "mqtts://a?b",
            "mqtts://a#b",
            "mqtts://user@a",
            "mqtts://user:secret@a",
            "mqtts://a b",
            "mqtts://a\n",
        ] {
            assert_eq!(Address::parse(url), None, "{url:?}");
        }
    }

    #[test]
    fn a_port_is_a_number_from_1_to_65535_and_a_host_is_whole() {
        for url in [
            "mqtt://a:0",
            "mqtts://a:70000",
            "mqtts://a:",
            "mqtts://a:+1",
            "mqtts://a:8883:1",
            "mqtts://::1",
            "mqtts://[::1",
            "mqtts://[::1]8883",
            "mqtts://[a]",
            "mqtts://[]",
        ] {
            assert_eq!(Address::parse(url), None, "{url:?}");
        }
        assert_eq!(Address::parse(&format!("mqtts://{}", "a".repeat(254))), None);
    }
}
