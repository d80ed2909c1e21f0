//! Claims about whom a certificate proves, asked as DTLS asks: with the certificate alone, once its chain has held.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use updraft_core::time::Timestamp;
use updraft_server::auth::access_key::MasterKey;
use updraft_server::auth::certificate::{CertificateRefused, Certificates};
use updraft_server::auth::{Auth, NewToken, Principal};
use updraft_server::engine::clock::Clock;
use updraft_server::pki::client::Clients;
use updraft_server::pki::{self, CA_FILE};
use updraft_server::store::Database;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

#[test]
fn a_certificate_alone_proves_a_device_while_it_is_live_or_another_authority_vouches_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let own = pki::open(folder.path(), &[], NOW).unwrap().authority;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let other = params.self_signed(&key).unwrap();
    let path = folder.path().join("devices.pem");
    std::fs::write(&path, other.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let vouched = |name: Option<&str>| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        name.iter().for_each(|name| params.distinguished_name.push(DnType::CommonName, *name));
        params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().clone()
    };

    let tokens = Database::in_memory().unwrap().tokens().unwrap();
    let auth = Auth::open(tokens, MasterKey::draw().unwrap(), NOW).unwrap();
    let clients = Clients::open(&own, Some(&path)).unwrap();
    let certificates = Certificates::new(auth.clone(), clients, Clock::starting_at(NOW));
    let ca = CertificateDer::from_pem_file(folder.path().join(CA_FILE)).unwrap();
    assert_eq!(certificates.roots(), [ca, other.der().clone()]);

    let issue = |id: &str| own.issue(&id.parse().unwrap(), None, None).unwrap().der;
    let add = |der: &[u8], id: &str| {
        let principal = Principal::Device(id.parse().unwrap());
        auth.add_certificate(der, NewToken { principal, expires: None, note: String::new() }, NOW).unwrap()
    };
    let (live, revoked, unknown) = (issue("cam-1"), issue("cam-2"), issue("cam-3"));
    add(&live, "cam-1");
    auth.revoke(&add(&revoked, "cam-2").id, NOW).unwrap();
    for (shown, expected) in [
        (live, Ok("cam-1")),
        (revoked, Err(CertificateRefused::NotLive)),
        (unknown, Err(CertificateRefused::NotLive)),
        (vouched(Some("cam-4")), Ok("cam-4")),
        (vouched(Some("a b")), Err(CertificateRefused::NoDevice)),
        (vouched(None), Err(CertificateRefused::NoDevice)),
    ] {
        let expected = expected.map(|id| Some(id.parse().unwrap()));
        assert_eq!(certificates.device(&[shown]), expected);
    }
    assert_eq!(certificates.device(&[]), Ok(None));
}
