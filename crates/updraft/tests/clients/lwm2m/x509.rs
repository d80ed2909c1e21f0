//! Certificates on both ends: Leshan's client at our server, our agent at Leshan's server, and an account with a certificate
//! from Leshan's bootstrap server.

use std::fs;
use std::path::{Path, PathBuf};

use crate::certificate::{Certificate, openssl};
use crate::program::Kind;
use crate::server::Server;

use super::agent::{self, Leshan, agent};
use super::bootstrap::is_bootstrapped_by_leshan;
use super::stage::{Device, until};

const DEVICE: &str = "leshan-1";

/// An authority of nobody's, on P-256, and what it certifies, as files of a folder.
struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        let ca = "-addext keyUsage=critical,keyCertSign -days 30 -subj /CN=workshop";
        openssl(folder.path(), &format!("req -x509 {key} -keyout ca.key -out ca.pem {ca}"));
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate for a name, good for this usage.
    fn certify(&self, name: &str, usage: &str) -> Certificate {
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        let folder = self.folder.path();
        openssl(folder, &format!("req -new {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        let address = if name.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
        let extensions = format!(
            "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage={usage}\nsubjectAltName={address}:{name}\n"
        );
        fs::write(folder.join("extensions"), extensions).unwrap();
        let by = "-CA ca.pem -CAkey ca.key -set_serial 7 -days 30 -extfile extensions";
        openssl(folder, &format!("x509 -req -in {name}.csr {by} -out {name}.pem"));
        Certificate { certificate: self.path(&format!("{name}.pem")), key: self.path(&format!("{name}.key")) }
    }
}

/// A certificate in DER, in a file next to it.
fn der(certificate: &Path) -> PathBuf {
    let (folder, out) = (certificate.parent().unwrap(), certificate.with_extension("der"));
    openssl(folder, &format!("x509 -in {} -outform DER -out {}", certificate.display(), out.display()));
    out
}

/// A private key in PKCS #8 and DER, in a file next to it.
fn key_der(key: &Path) -> PathBuf {
    let (folder, out) = (key.parent().unwrap(), key.with_extension("pk8"));
    openssl(
        folder,
        &format!("pkcs8 -topk8 -nocrypt -in {} -outform DER -out {}", key.display(), out.display()),
    );
    out
}

/// The certificate by which our server is known, in DER.
fn certificate_of(server: &Server) -> PathBuf {
    fs::copy(server.path("updraft-data/server.pem"), server.path("our-server.pem")).unwrap();
    der(&server.path("our-server.pem"))
}

/// Leshan's client with a certificate, which takes only that of `trusts` for its server's.
fn start(server: &Server, own: &Certificate, trusts: &Path) -> Device {
    let words = [
        format!("name={DEVICE}"),
        format!("server={}", server.coaps()),
        format!("cert={}", der(&own.certificate).display()),
        format!("private={}", key_der(&own.key).display()),
        format!("trusts={}", trusts.display()),
    ];
    Device::start(server, Kind::Java, "Device", &words)
}

#[test]
fn leshans_client_registers_with_a_certificate_is_described_and_read_and_leaves() {
    if !Kind::Java.is_present() {
        return;
    }
    let server = Server::also_with("");
    let own = Certificate::of_server(&server, DEVICE);
    let device = start(&server, &own, &certificate_of(&server));
    let standing = server.await_standing(DEVICE);
    assert_eq!(standing["security"], "x509", "{standing}");
    assert!(server.read(DEVICE, "/3/0").to_string().contains("SN-1"));
    device.leave();
    server.await_absence(DEVICE);
    server.end();
}

#[test]
fn leshans_client_with_a_certificate_of_an_authority_that_was_taken_in_registers_and_of_another_does_not() {
    if !Kind::Java.is_present() {
        return;
    }
    let (factory, stranger) = (Workshop::new(), Workshop::new());
    let taken_in = format!("client_ca = {:?}\n", factory.path("ca.pem"));
    let server = Server::with_lwm2m(&taken_in);
    let trusts = certificate_of(&server);
    let strange = start(&server, &stranger.certify(DEVICE, "clientAuth"), &trusts);
    strange.await_words("refused", 1);
    assert_eq!(server.verb_if(&["lwm2m", "show", DEVICE]), None);
    drop(strange);
    let device = start(&server, &factory.certify(DEVICE, "clientAuth"), &trusts);
    assert_eq!(server.await_standing(DEVICE)["security"], "x509");
    device.leave();
    server.end();
}

#[test]
fn our_agent_registers_at_leshans_server_with_a_certificate_and_is_read() {
    if !Kind::Jar.is_present() {
        return;
    }
    let workshop = Workshop::new();
    // Leshan's server wants one that would be good for a client as well.
    let own = workshop.certify("127.0.0.1", "serverAuth,clientAuth");
    let device = workshop.certify(agent::DEVICE, "clientAuth");
    let file = |path: PathBuf| path.display().to_string();
    let words = [
        "-cert".to_owned(),
        file(own.certificate.clone()),
        "-prik".to_owned(),
        file(key_der(&own.key)),
        "-truststore".to_owned(),
        file(der(&workshop.path("ca.pem"))),
    ];
    let folder = tempfile::tempdir().unwrap();
    let leshan = Leshan::start_with(folder.path(), &words);
    leshan.expect_certificate(agent::DEVICE);
    let url = format!("coaps://127.0.0.1:{}", leshan.coaps_port);
    let (ca, cert, key) = (file(workshop.path("ca.pem")), file(device.certificate), file(device.key));
    let words = ["--server", &url, "--ca", &ca, "--cert", &cert, "--key", &key];
    let Some(_agent) = agent(folder.path(), &words) else { return };
    let known = until("registration", || leshan.get(&format!("/{}", agent::DEVICE)));
    assert_eq!(known["secure"], true, "{known}");
    let object3 = until("object 3", || leshan.read("/3/0")).to_string();
    assert!(object3.contains(r#"{"id":3,"value":"1.0.0"}"#), "{object3}");
}

#[test]
fn our_agent_is_bootstrapped_by_leshans_server_with_a_certificate_for_ours() {
    if !Kind::JavaServer.is_present() {
        return;
    }
    let server = Server::also_with("");
    let own = Certificate::of_server(&server, agent::DEVICE);
    let hex =
        |path: PathBuf| fs::read(path).unwrap().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (identity, secret) = (hex(der(&own.certificate)), hex(key_der(&own.key)));
    let trusts = hex(certificate_of(&server));
    let account = [
        ("mode", "X509"),
        ("account_identity", identity.as_str()),
        ("account_secret", &secret),
        ("account_server", &trusts),
    ];
    is_bootstrapped_by_leshan(&server, &account, "x509");
    server.end();
}
