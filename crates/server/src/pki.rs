//! The server's own certificate authority and certificate, made on first start.
//!
//! A device trusts `ca.pem` for its whole life, so the authority lives long and is never replaced by itself. The server
//! certificate is renewed at a start when its end is near or its names have changed. An operator who has a certificate
//! from elsewhere puts it into the same files; it is then served as it is for as long as it holds the names.
//!
//! Certificates of clients are in [`client`].

pub mod client;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::{Authority, Clients};
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use updraft_core::time::Timestamp;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::artifacts::{MODE_PUBLIC, MODE_SECRET, write_durable};

/// File of the authority's certificate: what devices are given.
pub const CA_FILE: &str = "ca.pem";
/// File of the authority's key, mode 0600.
pub const CA_KEY_FILE: &str = "ca.key";
/// File of the server's certificate.
pub const SERVER_FILE: &str = "server.pem";
/// File of the server's key, mode 0600.
pub const SERVER_KEY_FILE: &str = "server.key";

/// Life of the authority, in years: longer than the devices that trust it.
const CA_YEARS: i16 = 30;
/// Life of a server certificate, in years.
const SERVER_YEARS: i16 = 5;
/// A server certificate with less than this left is replaced at a start, in seconds: one year, so that a server that
/// is started once a year never runs out.
const RENEW_SECONDS: i64 = 365 * 24 * 3600;
/// First year in which the certificates hold. Devices without a battery-backed clock wake up years in the past, and
/// must still get the update that sets them right.
const VALID_FROM_YEAR: i32 = 2015;
/// Last year in which a certificate is made: RFC 5280 §4.1.2.5 ends dates with the year 9999.
const YEAR_MAX: i32 = 9900;
/// Largest certificate or key file that is read, in bytes.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read.
    #[error("cannot read {}; check its owner and mode", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what its name says.
    #[error("{} does not hold {expected} in PEM form; restore it from a backup, or move it away to have one made", path.display())]
    Garbage {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
    },
    /// One file of a pair is gone. Making a new authority in silence would lock out every device.
    #[error("{} is there but {} is not; restore it from a backup, or move both away to have a new authority made, which every device must then be given", present.display(), missing.display())]
    HalfOfPair {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// A name cannot stand in a certificate.
    #[error("{name:?} is neither a host name nor an IP address")]
    Name {
        /// The name.
        name: String,
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
    /// The authority's certificate cannot vouch for others.
    #[error("the authority's certificate in {CA_FILE} cannot vouch for certificates of clients")]
    Verifier(#[source] rustls::Error),
    /// The system has no random bytes.
    #[error("the system's random source failed")]
    Random(#[source] rustls::Error),
    /// The certificate and its key do not go together, or the key is of no use for TLS.
    #[error("the certificate in {} and the key in {} do not go together", certificate.display(), key.display())]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What the TLS library said.
        #[source]
        source: rustls::Error,
    },
}

/// The TLS side of a server: its configuration, and where devices get their trust from.
#[derive(Debug, Clone)]
pub struct Pki {
    /// TLS 1.2 and 1.3 with the server's certificate.
    pub tls: Arc<ServerConfig>,
    /// The authority's certificate, PEM.
    pub ca_path: PathBuf,
    /// Makes certificates for devices.
    pub authority: Arc<Authority>,
    /// Whether a new server certificate was made.
    pub is_renewed: bool,
}

/// Opens the certificates in `folder`, making what is missing and renewing what is due. `names` are host names and IP
/// addresses beyond `localhost`, `127.0.0.1`, `::1` and the machine's name.
///
/// # Errors
/// A file cannot be read or written or holds something else, or a name is none.
pub fn open(folder: &Path, names: &[String], now: Timestamp) -> Result<Pki, PkiError> {
    let names = all_names(names);
    let (issuer, own) = open_authority(folder, now)?;
    let (certificate, key) = (folder.join(SERVER_FILE), folder.join(SERVER_KEY_FILE));
    let is_renewed = !(certificate.exists() && key.exists()) || is_due(&certificate, &names, now)?;
    if is_renewed {
        make_server(&issuer, &names, now, &certificate, &key)?;
    }
    let tls = load(&certificate, &key, None)?;
    let authority = Arc::new(Authority::new(issuer, own));
    Ok(Pki { tls: Arc::new(tls), ca_path: folder.join(CA_FILE), authority, is_renewed })
}

fn all_names(configured: &[String]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
    names.extend(machine_name());
    names.extend(configured.iter().map(|name| normal_name(name)));
    names
}

/// The machine's name; `None` if it is no host name, which would only make a certificate fail.
#[must_use]
pub fn machine_name() -> Option<String> {
    let name =
        fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| fs::read_to_string("/etc/hostname"));
    name.ok().map(|name| name.trim().to_ascii_lowercase()).filter(|name| is_host_name(name))
}

/// RFC 1123 §2.1.
fn is_host_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

fn normal_name(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
}

fn open_authority(
    folder: &Path,
    now: Timestamp,
) -> Result<(Issuer<'static, KeyPair>, CertificateDer<'static>), PkiError> {
    let (certificate, key) = (folder.join(CA_FILE), folder.join(CA_KEY_FILE));
    match (certificate.exists(), key.exists()) {
        (true, true) => {}
        (false, false) => {
            let key_pair = KeyPair::generate().map_err(PkiError::Make)?;
            write(&key, &key_pair.serialize_pem(), MODE_SECRET)?;
            make_authority(&key_pair, now, &certificate)?;
        }
        // A first start that was cut short, or a lost certificate. The same key and name make the same authority to
        // devices that hold the old one.
        (false, true) => make_authority(&read_key(&key)?, now, &certificate)?,
        (true, false) => return Err(PkiError::HalfOfPair { present: certificate, missing: key }),
    }
    let key_pair = read_key(&key)?;
    let text = read_text(&certificate)?;
    let garbage = || PkiError::Garbage { path: certificate.clone(), expected: "a CA certificate" };
    let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| garbage())?;
    let issuer = Issuer::from_ca_cert_der(&der, key_pair).map_err(|_| garbage())?;
    Ok((issuer, der))
}

fn read_key(path: &Path) -> Result<KeyPair, PkiError> {
    KeyPair::from_pem(&read_text(path)?)
        .map_err(|_| PkiError::Garbage { path: path.into(), expected: "a private key" })
}

fn make_authority(key_pair: &KeyPair, now: Timestamp, certificate: &Path) -> Result<(), PkiError> {
    let mut params = dated(CertificateParams::default(), now, CA_YEARS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "Updraft device CA");
    let made = params.self_signed(key_pair).map_err(PkiError::Make)?;
    write(certificate, &made.pem(), MODE_PUBLIC)
}

fn make_server(
    issuer: &Issuer<'static, KeyPair>,
    names: &BTreeSet<String>,
    now: Timestamp,
    certificate: &Path,
    key: &Path,
) -> Result<(), PkiError> {
    let mut params = dated(CertificateParams::default(), now, SERVER_YEARS);
    for name in names {
        params.subject_alt_names.push(subject_name(name)?);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.distinguished_name.push(DnType::CommonName, "Updraft server");
    let key_pair = KeyPair::generate().map_err(PkiError::Make)?;
    let made = params.signed_by(&key_pair, issuer).map_err(PkiError::Make)?;
    // A crash between the two leaves a pair that does not match. Without the certificate the next start makes both.
    match fs::remove_file(certificate) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(PkiError::Write { path: certificate.into(), source }),
    }
    write(key, &key_pair.serialize_pem(), MODE_SECRET)?;
    write(certificate, &made.pem(), MODE_PUBLIC)
}

fn subject_name(name: &str) -> Result<SanType, PkiError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let plain = name.strip_prefix("*.").unwrap_or(name);
    let dns =
        if is_host_name(plain) { name.to_owned().try_into() } else { Err(rcgen::Error::InvalidNameType) };
    dns.map(SanType::DnsName).map_err(|source| PkiError::Name { name: name.into(), source })
}

fn dated(mut params: CertificateParams, now: Timestamp, years: i16) -> CertificateParams {
    let now = jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let today = now.to_zoned(TimeZone::UTC).date();
    // A clock that is centuries off must not make a date that no certificate can hold.
    let year = i32::from(today.year()).clamp(VALID_FROM_YEAR, YEAR_MAX) + i32::from(years);
    params.not_before = rcgen::date_time_ymd(VALID_FROM_YEAR, 1, 1);
    // The first of the month: a leap day has no counterpart in most years.
    let month = today.month().unsigned_abs();
    params.not_after = rcgen::date_time_ymd(year, month, 1);
    params
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// When it ends, in seconds since 1970.
    pub ends_s: i64,
    /// The host names and addresses it is for.
    pub names: BTreeSet<String>,
}

/// Reads what a certificate in a PEM file says of itself.
///
/// # Errors
/// The file cannot be read, or holds no certificate.
pub fn inspect(path: &Path) -> Result<Inspected, PkiError> {
    let garbage = || PkiError::Garbage { path: path.into(), expected: "a certificate" };
    let text = read_text(path)?;
    let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| garbage())?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| garbage())?;
    let held = certificate.subject_alternative_name().ok().flatten().map(|names| &names.value.general_names);
    let names = held.into_iter().flatten().filter_map(held_name).collect();
    Ok(Inspected { ends_s: certificate.validity().not_after.timestamp(), names })
}

/// Whether the certificate ends soon, has ended, or lacks a name.
fn is_due(path: &Path, names: &BTreeSet<String>, now: Timestamp) -> Result<bool, PkiError> {
    let held = inspect(path)?;
    let left = held.ends_s.saturating_sub(now.as_millis() / 1000);
    Ok(left < RENEW_SECONDS || !names.is_subset(&held.names))
}

fn held_name(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some(name.to_ascii_lowercase());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    let address = <[u8; 4]>::try_from(*bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
    address.ok().map(|address| address.to_string())
}

/// TLS 1.2 and 1.3 with the certificate chain and the key of these files. With `clients`, a client may show a certificate,
/// and is recognised again by a ticket, which spares a fleet that comes back all at once most of the work.
pub(crate) fn load(
    certificate: &Path,
    key: &Path,
    clients: Option<&Clients>,
) -> Result<ServerConfig, PkiError> {
    let garbage = |path: &Path, expected| PkiError::Garbage { path: path.into(), expected };
    let chain = CertificateDer::pem_slice_iter(read_text(certificate)?.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| garbage(certificate, "a certificate"))?;
    let secret = PrivateKeyDer::from_pem_slice(read_text(key)?.as_bytes())
        .map_err(|_| garbage(key, "a private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the ring provider has suites for TLS 1.2 and 1.3");
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients.verifier()),
        None => builder.with_no_client_auth(),
    };
    let mut tls = builder.with_single_cert(chain, secret).map_err(|source| PkiError::Mismatch {
        certificate: certificate.into(),
        key: key.into(),
        source,
    })?;
    if clients.is_some() {
        tls.ticketer = rustls::crypto::ring::Ticketer::new().map_err(PkiError::Random)?;
    }
    Ok(tls)
}

fn read_text(path: &Path) -> Result<String, PkiError> {
    let failed = |source| PkiError::Read { path: path.into(), source };
    if fs::metadata(path).map_err(failed)?.len() > PEM_BYTES_MAX {
        return Err(PkiError::Garbage { path: path.into(), expected: "a certificate or key" });
    }
    let bytes = fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| PkiError::Garbage { path: path.into(), expected: "text" })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    write_durable(path, text.as_bytes(), mode).map_err(|source| PkiError::Write { path: path.into(), source })
}
