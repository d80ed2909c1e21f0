//! Certificates on P-256 for devices, and for mosquitto, from one authority that both servers trust.

use crate::{Outcome, fleet};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// The authority's certificate, mosquitto's, and its key.
pub(crate) const CA_FILE: &str = "benchmark-ca.pem";
pub(crate) const SERVER_FILE: &str = "mosquitto.pem";
pub(crate) const KEY_FILE: &str = "mosquitto.key";

/// Makes the authority and what mosquitto shows, and the TLS side of each device.
pub(crate) fn make(folder: &Path, devices: u32, roots: &[&Path]) -> Outcome<Arc<Vec<Arc<ClientConfig>>>> {
    let key = KeyPair::generate()?;
    let mut params = named("benchmark authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = params.self_signed(&key)?;
    fs::write(folder.join(CA_FILE), authority.pem())?;
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    fs::write(folder.join(SERVER_FILE), params.signed_by(&server_key, &issuer)?.pem())?;
    fs::write(folder.join(KEY_FILE), server_key.serialize_pem())?;
    let mut trusted = RootCertStore::empty();
    trusted.add(authority.der().clone())?;
    for path in roots {
        trusted.add(CertificateDer::from_pem_file(path)?)?;
    }
    let trusted = Arc::new(trusted);
    let configs = (0..devices).map(|number| config(&issuer, &trusted, &fleet::id(number)));
    Ok(Arc::new(configs.collect::<Outcome<_>>()?))
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn config(issuer: &Issuer<'_, KeyPair>, roots: &Arc<RootCertStore>, id: &str) -> Outcome<Arc<ClientConfig>> {
    let key = KeyPair::generate()?;
    let mut params = named(id);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, issuer)?.der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(vec![certificate], key)?;
    // Every handshake is a full one.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
