//! Claims about the embedded certificate authority.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use updraft_core::time::Timestamp;
use updraft_server::pki::client::{IssueError, named_device};
use updraft_server::pki::{CA_FILE, CA_KEY_FILE, Pki, PkiError, SERVER_FILE, SERVER_KEY_FILE, open};
use x509_parser::prelude::{FromDer, X509Certificate};

const YEAR_MILLIS: i64 = 366 * 24 * 3600 * 1000;
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn years_later(years: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + years * YEAR_MILLIS)
}

fn open_at(folder: &Path, names: &[&str], now: Timestamp) -> Result<Pki, PkiError> {
    open(folder, &names.iter().map(ToString::to_string).collect::<Vec<_>>(), now)
}

/// Whether a device that trusts `ca` accepts the server certificate in the folder for a name at a time.
fn is_trusted(ca: &[u8], folder: &Path, name: &str, now: Timestamp) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let chain = CertificateDer::from_pem_file(folder.join(SERVER_FILE)).unwrap();
    let seconds = u64::try_from(now.as_millis() / 1000).unwrap();
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(&chain, &[], &name, &[], at).is_ok()
}

fn ca_of(folder: &Path) -> Vec<u8> {
    fs::read(folder.join(CA_FILE)).unwrap()
}

#[test]
fn the_first_start_makes_a_trusted_certificate_and_private_keys() {
    let folder = tempfile::tempdir().unwrap();
    let made = open_at(folder.path(), &["Updates.Example", "192.0.2.7", "*.devices.example"], NOW).unwrap();
    assert!(made.is_renewed && made.ca_path == folder.path().join(CA_FILE));
    let ca = ca_of(folder.path());
    let good = ["localhost", "127.0.0.1", "::1", "updates.example", "192.0.2.7", "a.devices.example"];
    for name in good {
        assert!(is_trusted(&ca, folder.path(), name, NOW), "{name}");
    }
    assert!(!is_trusted(&ca, folder.path(), "other.example", NOW));
    for key in [CA_KEY_FILE, SERVER_KEY_FILE] {
        assert_eq!(fs::metadata(folder.path().join(key)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_device_whose_clock_is_years_behind_trusts_the_server() {
    let folder = tempfile::tempdir().unwrap();
    open_at(folder.path(), &[], NOW).unwrap();
    assert!(is_trusted(
        &ca_of(folder.path()),
        folder.path(),
        "localhost",
        Timestamp::from_millis(1_450_000_000_000)
    ));
}

#[test]
fn the_next_start_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    open_at(folder.path(), &["updates.example"], NOW).unwrap();
    let read_all = || {
        [CA_FILE, CA_KEY_FILE, SERVER_FILE, SERVER_KEY_FILE]
            .map(|name| fs::read(folder.path().join(name)).unwrap())
    };
    let before = read_all();
    for names in [&["updates.example"][..], &[]] {
        assert!(!open_at(folder.path(), names, years_later(3)).unwrap().is_renewed);
    }
    assert!(read_all() == before);
}

#[test]
fn a_certificate_near_its_end_or_without_a_name_is_renewed_under_the_same_authority() {
    let folder = tempfile::tempdir().unwrap();
    open_at(folder.path(), &[], NOW).unwrap();
    let ca = ca_of(folder.path());
    assert!(open_at(folder.path(), &["updates.example"], NOW).unwrap().is_renewed);
    assert!(is_trusted(&ca, folder.path(), "updates.example", NOW));
    for later in [5, 10, 25] {
        assert!(open_at(folder.path(), &["updates.example"], years_later(later)).unwrap().is_renewed);
        assert!(is_trusted(&ca, folder.path(), "updates.example", years_later(later)));
    }
    assert!(ca_of(folder.path()) == ca);
}

#[test]
fn a_lost_ca_certificate_is_made_again_so_that_devices_still_trust() {
    let folder = tempfile::tempdir().unwrap();
    open_at(folder.path(), &[], NOW).unwrap();
    let old = ca_of(folder.path());
    fs::remove_file(folder.path().join(CA_FILE)).unwrap();
    fs::remove_file(folder.path().join(SERVER_FILE)).unwrap();
    open_at(folder.path(), &[], NOW).unwrap();
    assert!(is_trusted(&old, folder.path(), "localhost", NOW));
}

#[test]
fn a_lost_ca_key_is_an_error_and_not_a_new_authority() {
    let folder = tempfile::tempdir().unwrap();
    open_at(folder.path(), &[], NOW).unwrap();
    fs::remove_file(folder.path().join(CA_KEY_FILE)).unwrap();
    let error = open_at(folder.path(), &[], NOW).err().unwrap();
    assert!(matches!(error, PkiError::HalfOfPair { .. }) && error.to_string().contains(CA_KEY_FILE));
}

#[test]
fn a_crash_between_key_and_certificate_heals_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    open_at(folder.path(), &[], NOW).unwrap();
    fs::remove_file(folder.path().join(SERVER_FILE)).unwrap();
    assert!(open_at(folder.path(), &[], NOW).unwrap().is_renewed);
    assert!(is_trusted(&ca_of(folder.path()), folder.path(), "localhost", NOW));
}

#[test]
fn files_that_hold_something_else_are_named() {
    for name in [CA_FILE, CA_KEY_FILE, SERVER_FILE, SERVER_KEY_FILE] {
        for garbage in
            [&b""[..], b"\xff\xfe\0", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            let folder = tempfile::tempdir().unwrap();
            open_at(folder.path(), &[], NOW).unwrap();
            fs::write(folder.path().join(name), garbage).unwrap();
            let error = open_at(folder.path(), &[], NOW).err().unwrap();
            assert!(
                matches!(error, PkiError::Garbage { .. }) && error.to_string().contains(name),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn a_certificate_with_the_key_of_another_is_an_error() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    open_at(folder.path(), &[], NOW).unwrap();
    open_at(other.path(), &[], NOW).unwrap();
    fs::copy(other.path().join(SERVER_KEY_FILE), folder.path().join(SERVER_KEY_FILE)).unwrap();
    assert!(matches!(open_at(folder.path(), &[], NOW), Err(PkiError::Mismatch { .. })));
}

#[test]
fn a_name_that_is_none_is_refused() {
    for name in ["", "two words", "-x", "a..b", "é.example", &"x".repeat(300)] {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(open_at(folder.path(), &[name], NOW), Err(PkiError::Name { .. })), "{name}");
    }
}

#[test]
fn a_clock_that_is_centuries_off_makes_no_panic() {
    for millis in [i64::MIN, -1, 0, i64::MAX, 200_000_000_000_000] {
        let folder = tempfile::tempdir().unwrap();
        let made = open_at(folder.path(), &[], Timestamp::from_millis(millis)).unwrap();
        let _: Arc<ServerConfig> = made.tls;
    }
}

#[test]
fn certificates_for_devices_have_serial_numbers_of_their_own_and_never_outlive_the_authority() {
    let folder = tempfile::tempdir().unwrap();
    let authority = open_at(folder.path(), &[], NOW).unwrap().authority;
    let ca = CertificateDer::from_pem_slice(&ca_of(folder.path())).unwrap();
    let end = |der: &[u8]| X509Certificate::from_der(der).unwrap().1.validity().not_after.timestamp();
    let device = "cam-1".parse().unwrap();
    let mut serials = BTreeSet::new();
    for expires in [
        None,
        Some(NOW),
        Some(years_later(1)),
        Some(years_later(500)),
        Some(Timestamp::from_millis(i64::MAX)),
    ] {
        let issued = authority.issue(&device, expires, None).unwrap();
        let (_, certificate) = X509Certificate::from_der(&issued.der).unwrap();
        assert!(serials.insert(certificate.raw_serial().to_vec()));
        assert!(certificate.raw_serial()[0] < 0x80, "positive");
        assert!(!certificate.is_ca());
        let expected = expires.map_or(i64::MAX, |time| time.as_millis() / 1000);
        let ends = end(&issued.der);
        assert!(ends <= end(&ca) && (ends > expected || ends == end(&ca)), "{expires:?}: {ends}");
    }
}

#[test]
fn the_common_name_is_the_device_and_a_certificate_with_none_or_two_names_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let authority = open_at(folder.path(), &[], NOW).unwrap().authority;
    for name in ["cam-1", "urn:imei:123456789012345", &"x".repeat(64)] {
        let issued = authority.issue(&name.parse().unwrap(), None, None).unwrap();
        assert_eq!(named_device(&issued.der), Some(name.parse().unwrap()));
    }
    let long = "x".repeat(65).parse().unwrap();
    assert!(matches!(authority.issue(&long, None, None), Err(IssueError::NameTooLong)));
    for garbage in [&b""[..], b"\x30\x82", &[0; 4096]] {
        assert_eq!(named_device(garbage), None);
    }
}

#[test]
fn a_signing_request_that_is_none_or_is_not_signed_by_its_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = open_at(folder.path(), &[], NOW).unwrap().authority;
    let request =
        CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    // The last letters of the text are the end of the signature.
    let at = request.rfind("\n-----END").unwrap() - 8;
    let letter = if &request[at..=at] == "A" { "B" } else { "A" };
    let forged = format!("{}{letter}{}", &request[..at], &request[at + 1..]);
    let huge = "A".repeat(1 << 20);
    let key = KeyPair::generate().unwrap().serialize_pem();
    for bad in ["", "garbage", &forged, &huge, &key] {
        let outcome = authority.issue(&"cam-1".parse().unwrap(), None, Some(bad));
        assert!(matches!(outcome, Err(IssueError::Request)), "{}", &bad[..bad.len().min(40)]);
    }
}
