//! Where a server is, and how the session with it is secured: by the options, or by an account.

use super::address::Address;
use super::wire;
use crate::config::{Lwm2m, ServerRole};
use crate::http::ClientError;
use std::path::Path;
use updraft_dtls::{Client, ClientConfig, ClientCredential, OwnCertificate, PreSharedKey, Trust};
use updraft_lwm2m::bootstrap::{Security, SecurityMode};

/// A server.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) address: Address,
    /// None: the session has no security.
    pub(super) security: Option<ClientConfig>,
}

/// How the device comes to its server.
#[derive(Debug)]
pub(super) enum Home {
    /// By its options, which have this URL.
    Server(Site, String),
    /// By an account, which this bootstrap server gives.
    Bootstrap(Site, Security),
}

impl Home {
    /// What the options say.
    ///
    /// # Errors
    /// [`ClientError`] if the address or the credential is of no use.
    pub(super) fn new(url: &str, lwm2m: &Lwm2m, ca: Option<&Path>) -> Result<Self, ClientError> {
        let address = Address::parse(url).ok_or_else(|| ClientError::CoapAddress { url: url.to_owned() })?;
        let security = wire::security(&lwm2m.credential, ca, &address)?;
        let site = Site { address, security };
        Ok(match lwm2m.role {
            ServerRole::Server => Self::Server(site, url.to_owned()),
            ServerRole::Bootstrap => {
                let security = own_instance(url, site.security.as_ref());
                Self::Bootstrap(site, security)
            }
        })
    }

    /// The server that the options name.
    pub(super) fn site(&self) -> &Site {
        match self {
            Self::Server(site, _) | Self::Bootstrap(site, _) => site,
        }
    }

    /// Whether that one is spoken to without security, as in a lab.
    pub(super) fn is_plain(&self) -> bool {
        self.site().security.is_none()
    }
}

/// The bootstrap server's instance of object 0. Nobody can read its keys; of a certificate's, which are in files, it says only
/// that there are some.
fn own_instance(url: &str, security: Option<&ClientConfig>) -> Security {
    const IN_A_FILE: [u8; 1] = [0];
    let (mode, identity, server_key, secret) = match security.map(|config| &config.credential) {
        None => (SecurityMode::NoSec, Vec::new(), Vec::new(), Vec::new()),
        Some(ClientCredential::Psk(psk)) => {
            (SecurityMode::Psk, psk.identity.clone(), Vec::new(), psk.key.clone())
        }
        Some(ClientCredential::Certificate { .. }) => {
            (SecurityMode::Certificate, IN_A_FILE.to_vec(), IN_A_FILE.to_vec(), IN_A_FILE.to_vec())
        }
    };
    Security { uri: url.to_owned(), mode, identity, server_key, secret }
}

impl Site {
    /// The server of an account that `giver` has given.
    ///
    /// # Errors
    /// Why this device can do nothing with it.
    pub(super) fn of_account(account: &Security, giver: &Self) -> Result<Self, String> {
        let address = Address::parse(&account.uri)
            .ok_or_else(|| format!("{:?} is not coaps://host[:port]", account.uri))?;
        let credential = match account.mode {
            SecurityMode::NoSec if giver.security.is_some() => {
                return Err("it has no security, and its bootstrap server has".to_owned());
            }
            SecurityMode::NoSec => None,
            SecurityMode::Psk => Some(ClientCredential::Psk(PreSharedKey {
                identity: account.identity.clone(),
                key: account.secret.clone(),
            })),
            // Certificate Usage 3, the default: this very certificate (Transport §5.2.8.7).
            SecurityMode::Certificate => Some(ClientCredential::Certificate {
                own: OwnCertificate { chain: account.identity.clone(), key: account.secret.clone() },
                trust: Trust::Pinned(account.server_key.clone()),
            }),
            SecurityMode::RawPublicKey | SecurityMode::Est => {
                return Err("it asks for raw public keys or for EST".to_owned());
            }
        };
        let security = credential.map(ClientConfig::new);
        if let Some(config) = &security {
            // Read once now, so that a key of no use is told when it is given.
            Client::new(config).map_err(|error| error.to_string())?;
        }
        Ok(Self { address, security })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(uri: &str, mode: SecurityMode, secret: &[u8]) -> Security {
        let (identity, server_key) = (b"device-1".to_vec(), Vec::new());
        Security { uri: uri.into(), mode, identity, server_key, secret: secret.to_vec() }
    }

    #[test]
    fn an_account_is_taken_only_if_this_device_can_speak_with_it_as_safely_as_with_its_giver() {
        let plain = Site { address: Address::parse("coap://b").unwrap(), security: None };
        let psk = account("coaps://b", SecurityMode::Psk, b"0123456789abcdef");
        let secure = Site::of_account(&psk, &plain).unwrap();
        assert!(secure.security.is_some());
        assert!(Site::of_account(&psk, &secure).is_ok());
        let unsafe_one = account("coap://a:5683", SecurityMode::NoSec, b"");
        assert!(Site::of_account(&unsafe_one, &plain).unwrap().security.is_none());
        for (account, word) in [
            (unsafe_one, "no security"),
            (account("coaps+tcp://a", SecurityMode::Psk, b"0123456789abcdef"), "coaps://host"),
            (account("coaps://a", SecurityMode::Psk, &[1; updraft_dtls::KEY_BYTES_MAX + 1]), "1 to 64 bytes"),
            (account("coaps://a", SecurityMode::Certificate, b"none"), "certificate"),
            (account("coaps://a", SecurityMode::RawPublicKey, b"key"), "raw public keys"),
        ] {
            let refused = Site::of_account(&account, &secure).unwrap_err();
            assert!(refused.contains(word), "{account:?}: {refused}");
        }
    }
}
