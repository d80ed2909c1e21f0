//! Where something is that speaks CoAP: `coaps://host[:port]`, or `coap://`.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use ureq::http::Uri;

/// CoAP's port, and that of CoAP over DTLS (RFC 7252 §12.6, §12.7).
const PORT_PLAIN: u16 = 5683;
const PORT_DTLS: u16 = 5684;

/// An end that speaks CoAP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Whether it goes without DTLS.
    pub(super) is_plain: bool,
    /// A name, or an IP address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// An address, and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) address: Address,
    pub(super) path: String,
    pub(super) queries: Vec<String>,
}

impl Address {
    /// The address in a URI without path; `None` where it is none.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let resource = Resource::parse(url)?;
        (resource.path == "/" && resource.queries.is_empty()).then_some(resource.address)
    }

    /// The first address that the host's name stands for.
    ///
    /// # Errors
    /// The name stands for none.
    pub(super) fn resolve(&self) -> io::Result<SocketAddr> {
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs()?;
        addresses.next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Resource {
    /// What a `coap` or `coaps` URI names (RFC 7252 §6.4); `None` where it names nothing.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let is_plain = match uri.scheme_str()? {
            "coap" => true,
            "coaps" => false,
            _ => return None,
        };
        let has_user = uri.authority()?.as_str().contains('@');
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if is_plain { PORT_PLAIN } else { PORT_DTLS });
        let queries = uri.query().into_iter().flat_map(|query| query.split('&'));
        let queries = queries.map(decoded).collect::<Option<_>>()?;
        let path = if uri.path().is_empty() { "/" } else { uri.path() };
        let address = Address { is_plain, host, port };
        (!address.host.is_empty() && !has_user).then_some(Self { address, path: path.to_owned(), queries })
    }

    /// The path's segments, percent-decoded; `None` where one is not UTF-8.
    pub(super) fn segments(&self) -> Option<Vec<String>> {
        self.path.split('/').filter(|segment| !segment.is_empty()).map(decoded).collect()
    }
}

/// Percent-decoded (RFC 3986 §2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = if first == b'%' {
            let digits = str::from_utf8(after.get(..2)?).ok()?;
            (u8::from_str_radix(digits, 16).ok()?, &after[2..])
        } else {
            (first, after)
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_scheme_host_and_port() {
        let plain = Address { is_plain: true, host: "127.0.0.1".into(), port: 5683 };
        assert_eq!(Address::parse("coap://127.0.0.1"), Some(plain.clone()));
        assert_eq!(Address::parse("coap://127.0.0.1/"), Some(plain));
        let secure = Address { is_plain: false, host: "::1".into(), port: 9 };
        assert_eq!(Address::parse("coaps://[::1]:9"), Some(secure));
        assert_eq!(
            Address::parse("coaps://OTA.example").map(|a| (a.host, a.port)),
            Some(("ota.example".into(), 5684))
        );
        for none in ["", "host", "https://h", "coap://", "coap://h/x", "coap://u@h", "coap+tcp://h"] {
            assert_eq!(Address::parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_link_is_read_as_path_and_queries() {
        let resource = Resource::parse("coap://h/f/a%20b//c?x=1&y=%26").unwrap();
        assert_eq!(resource.segments().unwrap(), ["f", "a b", "c"]);
        assert_eq!(resource.queries, ["x=1", "y=&"]);
        for none in ["coap://h/x?%", "coap://h/x?%zz", "coap://h/x?%ff"] {
            assert_eq!(Resource::parse(none), None, "{none}");
        }
        assert_eq!(Resource::parse("coap://h/%ff").unwrap().segments(), None);
    }
}
