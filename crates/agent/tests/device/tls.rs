//! What the agent refuses of a server's certificate.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use updraft_agent::http::client;

/// An authority, and the file by which it is trusted.
pub(crate) struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: PathBuf,
    _folder: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pem = folder.path().join("ca.pem");
        std::fs::write(&pem, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), pem, _folder: folder }
    }

    /// A server's certificate for a name, good from and to the first day of these years.
    fn server(&self, name: &str, years: (i32, i32)) -> ServerConfig {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}

/// Serves one connection and asks it for something, trusting `trusted`. Whether the agent spoke, and got its answer.
fn asks(config: ServerConfig, trusted: &Authority) -> (bool, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
        let heard = stream.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        heard
    });
    let agent = client(Some(&trusted.pem), Duration::from_secs(5)).unwrap();
    let answer = agent.get(format!("https://localhost:{port}/")).header("authorization", "secret").call();
    (server.join().unwrap(), answer.is_ok())
}

#[test]
fn a_server_with_a_good_certificate_of_the_trusted_authority_is_heard() {
    let authority = Authority::new();
    assert_eq!(asks(authority.server("localhost", (2020, 2090)), &authority), (true, true));
}

#[test]
fn a_server_of_another_authority_another_name_or_another_time_is_told_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (what, config) in [
        ("another authority", other.server("localhost", (2020, 2090))),
        ("another name", authority.server("other.example", (2020, 2090))),
        ("expired", authority.server("localhost", (2020, 2021))),
        ("not yet good", authority.server("localhost", (2089, 2090))),
    ] {
        assert_eq!(asks(config, &authority), (false, false), "{what}");
    }
}
