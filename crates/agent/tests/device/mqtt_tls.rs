//! Which servers the agent speaks MQTT with over TLS, and how it proves who it is.

use crate::device::{Device, TOKEN};
use crate::tls::Authority;
use bytes::BytesMut;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rumqttc::mqttbytes::v4::{ConnectAuth, Packet};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Largest packet the server here takes, in bytes.
const PACKET_BYTES_MAX: usize = 64 * 1024;

/// A certificate for a name, good from and to the first day of these years, and its key.
fn certificate(authority: &Authority, name: &str, years: (i32, i32)) -> (String, String) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, &authority.issuer).unwrap().pem(), key.serialize_pem())
}

fn server(authority: &Authority, name: &str, years: (i32, i32)) -> ServerConfig {
    let (chain, key) = certificate(authority, name, years);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
        .unwrap()
}

/// What a server heard of a device: its client ID, its credential, and whether it showed a certificate.
type Heard = Option<(String, ConnectAuth, bool)>;

/// Serves one connection of a real agent that trusts `trusted`, up to its first packet.
fn hears(config: ServerConfig, trusted: &Authority, more: &[&str]) -> Heard {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || -> Heard {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
        let (mut buffer, mut piece) = (BytesMut::new(), [0; 4096]);
        loop {
            let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
            buffer.extend_from_slice(&piece[..read]);
            if let Ok(Packet::Connect(connect)) = Packet::read(&mut buffer, PACKET_BYTES_MAX) {
                let has_certificate = stream.conn.peer_certificates().is_some_and(|chain| !chain.is_empty());
                return Some((connect.client_id, connect.auth, has_certificate));
            }
        }
    });
    let ca = trusted.pem.display().to_string();
    let more: Vec<_> = ["--transport", "mqtt", "--once", "--ca", &ca].iter().chain(more).copied().collect();
    let output = Device::new().command_at(&format!("mqtts://localhost:{port}"), &more).output().unwrap();
    assert!(!output.status.success());
    server.join().unwrap()
}

#[test]
fn a_good_server_is_told_the_token_and_with_a_certificate_no_token() {
    let authority = Authority::new();
    let with_token = hears(server(&authority, "localhost", (2020, 2090)), &authority, &[]);
    let credential = ConnectAuth::UsernamePassword { username: "device-1".into(), password: TOKEN.into() };
    assert_eq!(with_token, Some(("device-1".to_owned(), credential, false)));
    let (chain, key) = certificate(&authority, "device-1", (2020, 2090));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("device.pem"), chain).unwrap();
    std::fs::write(path("device.key"), key).unwrap();
    let more = ["--cert", &path("device.pem"), "--key", &path("device.key")];
    let with_certificate = hears(server(&authority, "localhost", (2020, 2090)), &authority, &more);
    assert_eq!(with_certificate, Some(("device-1".to_owned(), ConnectAuth::None, true)));
}

#[test]
fn a_server_of_another_authority_another_name_or_another_time_hears_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (what, config) in [
        ("another authority", server(&other, "localhost", (2020, 2090))),
        ("another name", server(&authority, "other.example", (2020, 2090))),
        ("expired", server(&authority, "localhost", (2020, 2021))),
    ] {
        assert_eq!(hears(config, &authority, &[]), None, "{what}");
    }
}
