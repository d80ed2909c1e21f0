//! Who a peer is.

use std::fmt;

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Most names that are kept of a certificate: a device has one or two.
const NAMES_MAX: usize = 8;

/// Who a peer is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// It holds the key that goes by this name: up to 128 bytes of anything.
    Psk(Vec<u8>),
    /// It holds the key of a certificate from an authority that the server trusts.
    Certificate(Box<Certificate>),
    /// Whoever can send and hear at its address. Without security there is no more to know.
    Unproven,
}

/// What of a peer's certificate says who it is. Names as they are in the certificate: whoever trusts the authority trusts them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Certificate {
    /// The subject's common name.
    pub common_name: Option<String>,
    /// The alternative names that are text: DNS names and URIs.
    pub alternative_names: Vec<String>,
    /// The SHA-256 digest of the certificate in DER.
    pub fingerprint: [u8; 32],
    /// The certificate in DER, for whoever has more to ask of it.
    pub der: Box<[u8]>,
}

impl Certificate {
    /// Reads a certificate in DER. What cannot be read as text is left out; the fingerprint always stands.
    pub(crate) fn read(der: &[u8]) -> Self {
        let mut read = Self {
            common_name: None,
            alternative_names: Vec::new(),
            fingerprint: Sha256::digest(der).into(),
            der: der.into(),
        };
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return read };
        read.common_name = certificate
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .map(ToOwned::to_owned);
        if let Ok(Some(names)) = certificate.subject_alternative_name() {
            for name in names.value.general_names.iter().take(NAMES_MAX) {
                if let GeneralName::DNSName(text) | GeneralName::URI(text) = name {
                    read.alternative_names.push((*text).to_owned());
                }
            }
        }
        read
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("common_name", &self.common_name)
            .field("alternative_names", &self.alternative_names)
            .finish_non_exhaustive()
    }
}
