//! Devices that prove themselves by a client certificate, over TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use updraft_server::pki::CA_FILE;

use crate::stage::{Answer, By, Stage};

/// A certificate and its key, in PEM.
type Pair = (String, String);

impl Stage {
    /// A client certificate for a device: the token's ID, for revoking, and the pair.
    fn certificate(&self, device: &str) -> (String, Pair) {
        let body = json!({ "device": device, "form": "certificate" });
        let made = self.operate("POST", "/tokens", body.to_string().as_bytes());
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        (text("id"), (text("certificate"), text("key")))
    }

    /// What the devices' TLS listener answers to a request; nothing if it closes instead.
    fn secured(&self, pair: Option<&Pair>, request: &str) -> Option<Answer> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.data().join(CA_FILE)).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match pair {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain =
                    CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let session =
            ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
        let tcp = TcpStream::connect(self.addresses.device).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        let mut stream = StreamOwned::new(session, tcp);
        let head = format!("{request}Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = Vec::new();
        // A listener that closes without a farewell has still answered.
        let _ = stream.read_to_end(&mut answer);
        (!answer.is_empty()).then(|| Answer::parse(&answer))
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\n")
}

const LIST: &str = "/api/things/shadow/ListNamedShadowsForThing/";

#[test]
fn a_device_proves_itself_by_certificate_and_speaks_for_nobody_else() {
    let stage = Stage::new();
    stage.device("d-1", json!({}));
    stage.device("d-2", json!({}));
    let (_, pair) = stage.certificate("d-1");
    let ask = |request: String| stage.secured(Some(&pair), &request).expect("an answer");
    let answer = ask(get("/role-aliases/updates/credentials") + "x-amzn-iot-thingname: d-1\r\n");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json()["credentials"]["sessionToken"].is_string());
    let named = ask(get("/role-aliases/updates/credentials") + "x-amzn-iot-thingname: d-2\r\n");
    named.is(403, "ForbiddenException");
    assert_eq!(ask(get("/things/d-1/jobs")).json(), json!({ "inProgressJobs": [], "queuedJobs": [] }));
    assert_eq!(ask(get(&format!("{LIST}d-1"))).status, 200);
    ask(get(&format!("{LIST}d-2"))).is(403, "ForbiddenException");
    ask(get("/jobs")).is(403, "ForbiddenException");
}

#[test]
fn a_certificate_that_is_revoked_unknown_or_absent_lets_nobody_in() {
    let stage = Stage::new();
    stage.device("d-1", json!({}));
    let (id, pair) = stage.certificate("d-1");
    let target = get(&format!("{LIST}d-1"));
    assert_eq!(stage.secured(Some(&pair), &target).unwrap().status, 200);
    stage.operate("POST", &format!("/tokens/{id}/revoke"), b"");
    stage.secured(Some(&pair), &target).unwrap().is(403, "UnrecognizedClientException");
    stage.secured(None, &target).unwrap().is(403, "MissingAuthenticationTokenException");
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["d-1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let foreign = (own.pem(), key.serialize_pem());
    assert!(stage.secured(Some(&foreign), &target).is_none(), "TLS refuses what no authority here made");
}

#[test]
fn a_device_without_a_certificate_is_let_in_by_its_token() {
    let stage = Stage::new();
    let By::Token(token) = stage.device("d-1", json!({})) else { unreachable!("a token was made") };
    let request = get(&format!("{LIST}d-1")) + &format!("Authorization: Bearer {token}\r\n");
    assert_eq!(stage.secured(None, &request).unwrap().status, 200);
}
