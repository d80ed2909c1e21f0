//! Whom a client's certificate proves: one question for every protocol in which clients show certificates.

use rustls_pki_types::CertificateDer;
use updraft_core::id::DeviceId;

use super::{Auth, Principal};
use crate::engine::clock::Clock;
use crate::pki::client::{Clients, Origin, named_device};

/// Why a certificate that was shown, and has held, does not speak for anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefused {
    /// The server's own authority made it, and it is unknown, expired or revoked.
    #[error("its certificate is unknown, expired or revoked")]
    NotLive,
    /// It has no common name, or several, or one that is no device ID.
    #[error("its certificate names no device: the common name must be the device's ID")]
    NoDevice,
}

/// Knows whom a client's certificate proves.
pub struct Certificates {
    auth: Auth,
    clients: Clients,
    clock: Clock,
}

impl Certificates {
    /// Judges what `clients` has let pass.
    #[must_use]
    pub fn new(auth: Auth, clients: Clients, clock: Clock) -> Self {
        Self { auth, clients, clock }
    }

    /// The device that a chain proves which TLS or DTLS has let pass, its own certificate first; nobody if the client showed
    /// none. What is between that certificate and an authority counts only where authorities from elsewhere are trusted.
    ///
    /// # Errors
    /// [`CertificateRefused`].
    pub fn device(&self, chain: &[CertificateDer<'_>]) -> Result<Option<DeviceId>, CertificateRefused> {
        let now = self.clock.now();
        let Some(shown) = chain.first() else { return Ok(None) };
        if let Some(known) = self.auth.certificate(shown, now) {
            return match known {
                Principal::Device(id) => Ok(Some(id)),
                Principal::Product(_) | Principal::Operator(_) => Err(CertificateRefused::NoDevice),
            };
        }
        match self.clients.origin(chain, now) {
            Some(Origin::Imported) => Ok(Some(named_device(shown).ok_or(CertificateRefused::NoDevice)?)),
            Some(Origin::Own) | None => Err(CertificateRefused::NotLive),
        }
    }

    /// The authorities whose certificates count, in DER.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        self.clients.roots()
    }
}
