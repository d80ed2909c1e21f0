//! Certificates of clients: those the server's own authority makes for devices, and the check of those that are shown.
//!
//! A certificate speaks for the device that its common name says. The server's own are made here and are known by their
//! digest, so that they can be revoked; those of an authority from elsewhere count for as long as their chain holds.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use updraft_core::id::DeviceId;
use updraft_core::time::Timestamp;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{PkiError, VALID_FROM_YEAR, read_text};

/// Longest device ID that a certificate can name, in bytes: RFC 5280 appendix A, `ub-common-name`.
pub const COMMON_NAME_BYTES_MAX: usize = 64;
/// Largest signing request that is read, in bytes: one with a key of 8192 bits takes a quarter of it.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a serial number: RFC 5280 §4.1.2.2 allows 20, and at random 16 are never drawn twice.
const SERIAL_BYTES: usize = 16;

/// Why a certificate cannot be made for a device.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The device's ID does not fit into a certificate.
    #[error("a certificate names at most {COMMON_NAME_BYTES_MAX} characters, and the device's ID is longer")]
    NameTooLong,
    /// The signing request cannot be used.
    #[error("the signing request is none in PEM form, or its signature does not match its key")]
    Request,
    /// The system has no random bytes.
    #[error("the system's random source failed")]
    Random,
    /// The certificate cannot be made.
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
}

/// A certificate that was just made.
pub struct Issued {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// The same in PEM.
    pub certificate_pem: String,
    /// Its key in PEM (PKCS #8), unless the device has it itself.
    pub key_pem: Option<String>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}

/// The server's own authority, which makes certificates for devices.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    pub(super) fn new(issuer: Issuer<'static, KeyPair>, certificate: CertificateDer<'static>) -> Self {
        Self { issuer, certificate }
    }

    /// Makes a certificate for a device: for a new key on P-256, or for the key of a signing request, of which nothing else
    /// is taken. It ends with the authority, or on the day after `expires`; the exact end is the token's.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue(
        &self,
        device: &DeviceId,
        expires: Option<Timestamp>,
        request_pem: Option<&str>,
    ) -> Result<Issued, IssueError> {
        let params = self.params(device, expires)?;
        let (made, key_pem) = match request_pem {
            None => {
                let key = KeyPair::generate().map_err(IssueError::Make)?;
                (params.signed_by(&key, &self.issuer), Some(key.serialize_pem()))
            }
            Some(text) => {
                let request = Some(text).filter(|text| text.len() <= REQUEST_BYTES_MAX);
                let request = request.and_then(|text| CertificateSigningRequestParams::from_pem(text).ok());
                let key = request.ok_or(IssueError::Request)?.public_key;
                (params.signed_by(&key, &self.issuer), None)
            }
        };
        let made = made.map_err(IssueError::Make)?;
        Ok(Issued { der: made.der().clone(), certificate_pem: made.pem(), key_pem })
    }

    fn params(&self, device: &DeviceId, expires: Option<Timestamp>) -> Result<CertificateParams, IssueError> {
        if device.as_str().len() > COMMON_NAME_BYTES_MAX {
            return Err(IssueError::NameTooLong);
        }
        let mut serial = [0; SERIAL_BYTES];
        getrandom::fill(&mut serial).map_err(|_| IssueError::Random)?;
        // A serial number is positive.
        serial[0] &= 0x7f;
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = rcgen::date_time_ymd(VALID_FROM_YEAR, 1, 1);
        let (_, own) = X509Certificate::from_der(&self.certificate)
            .expect("the authority's certificate was read when it was opened");
        let end = own.validity().not_after.to_datetime();
        params.not_after = expires.and_then(day_after).map_or(end, |day| {
            let (month, day_of_month) = (day.month().unsigned_abs(), day.day().unsigned_abs());
            rcgen::date_time_ymd(i32::from(day.year()), month, day_of_month).min(end)
        });
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, device.as_str());
        Ok(params)
    }
}

/// The day after a time's own; `None` beyond the calendar.
fn day_after(time: Timestamp) -> Option<jiff::civil::Date> {
    let day = jiff::Timestamp::from_millisecond(time.as_millis()).ok()?.to_zoned(TimeZone::UTC).date();
    day.tomorrow().ok()
}

/// Whose authority a shown certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The server's own: it counts while it is known.
    Own,
    /// One that the operator named: it counts by its chain.
    Imported,
}

/// Checks the certificates that clients show. A client may show none.
#[derive(Clone)]
pub struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Only where there are others than the server's own.
    own: Option<Arc<dyn ClientCertVerifier>>,
    /// The server's own authority first.
    roots: Arc<[CertificateDer<'static>]>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("is_own_only", &self.own.is_none()).finish()
    }
}

impl Clients {
    /// Takes certificates of the server's own authority, and of those in the file `imported`.
    ///
    /// # Errors
    /// The file cannot be read, or holds no authority's certificate.
    pub fn open(own: &Authority, imported: Option<&Path>) -> Result<Self, PkiError> {
        let mut roots = RootCertStore::empty();
        roots.add(own.certificate.clone()).map_err(PkiError::Verifier)?;
        let Some(path) = imported else {
            let certificates = [own.certificate.clone()].into();
            return Ok(Self { verifier: verifier(roots)?, own: None, roots: certificates });
        };
        let mut certificates = vec![own.certificate.clone()];
        let own = verifier(roots.clone())?;
        let garbage = || PkiError::Garbage { path: path.into(), expected: "certificates of authorities" };
        let text = read_text(path)?;
        let count = roots.len();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let certificate = certificate.map_err(|_| garbage())?;
            roots.add(certificate.clone()).map_err(|_| garbage())?;
            certificates.push(certificate);
        }
        if roots.len() == count {
            return Err(garbage());
        }
        Ok(Self { verifier: verifier(roots)?, own: Some(own), roots: certificates.into() })
    }

    /// For the TLS side of a listener.
    #[must_use]
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// The authorities whose certificates count, in DER, the server's own first: for DTLS, which has a verifier of its own.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Where a chain comes from that the verifier has let pass. It is checked once more against the server's own authority
    /// alone, because another could bear the same name; that costs a signature check, and only where there is another.
    #[must_use]
    pub fn origin(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Option<Origin> {
        let (shown, between) = chain.split_first()?;
        let Some(own) = &self.own else { return Some(Origin::Own) };
        let seconds = u64::try_from(now.as_millis()).unwrap_or(0) / 1000;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let is_own = own.verify_client_cert(shown, between, now).is_ok();
        Some(if is_own { Origin::Own } else { Origin::Imported })
    }
}

fn verifier(roots: RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, PkiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        // Who shows no certificate must have a token.
        .allow_unauthenticated()
        .build();
    Ok(built.expect("there is a root, and no revocation list that could be wrong"))
}

/// The device that a certificate names: its one common name.
#[must_use]
pub fn named_device(der: &[u8]) -> Option<DeviceId> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let (name, None) = (names.next()?, names.next()) else { return None };
    name.as_str().ok()?.parse().ok()
}
