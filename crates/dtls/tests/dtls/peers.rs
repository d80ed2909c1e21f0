//! The server's end against clients of others: libcoap's, as Debian builds it on OpenSSL and on GnuTLS, and OpenSSL's own.

use std::io::Write;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use updraft_dtls::{
    Event, Failure, Identity, KEY_BYTES_MAX, Lookup, Server, ServerConfig, SessionId, Sessions,
};

use crate::certificates::{self, Authority};

/// Longest time that a client may take: a handshake on loopback takes milliseconds.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Whether a command is there. If not, says so, and fails where everything must be there.
fn is_present(command: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&folders).any(|folder| folder.join(command).is_file()) {
        return true;
    }
    let told = format!("needs {command}; run scripts/setup clients");
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{told}");
    eprintln!("skipped: {told}");
    false
}

/// A program that is killed if the test ends before it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The answer to a confirmable request: 2.05 Content with a body, piggybacked (RFC 7252 §5.2.1).
fn answer(request: &[u8], body: &[u8]) -> Vec<u8> {
    let token_length = request[0] & 0x0f;
    let mut answer = vec![0x60 | token_length, 0x45, request[2], request[3]];
    answer.extend_from_slice(&request[4..4 + usize::from(token_length)]);
    answer.push(0xff);
    answer.extend_from_slice(body);
    answer
}

/// Lets a client of libcoap ask one thing of a server that has one key. What the client printed, and whom the server saw.
fn ask(command: &str, key: &str) -> (String, Vec<Identity>) {
    let lookup = |identity: &[u8]| match identity {
        b"device-7" => Lookup::Key(b"sesame-sesame-16".to_vec()),
        _ => Lookup::Unknown,
    };
    let mut server = Server::new(ServerConfig::psk(Box::new(lookup))).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let uri = format!("coaps://{}/hello", socket.local_addr().unwrap());
    let child = Command::new(command)
        .args(["-m", "get", "-B", "20", "-u", "device-7", "-k", key, &uri])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut running = Running(child.unwrap());
    let began = Instant::now();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    let mut refused = false;
    while running.0.try_wait().unwrap().is_none() && !refused {
        assert!(began.elapsed() < TIME_MAX, "{command} takes longer than {TIME_MAX:?}");
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            server.handle_datagram(began.elapsed(), from, &buffer[..length]);
        }
        server.handle_timeout(began.elapsed());
        while let Some(event) = server.poll_event() {
            match event {
                Event::Connected { identity, .. } => seen.push(identity),
                Event::Received { session, data } if data[0] >> 4 == 4 && data[1] == 1 => {
                    server.send(began.elapsed(), session, &answer(&data, b"come in")).unwrap();
                }
                Event::Refused { .. } => refused = true,
                Event::Received { .. } | Event::Moved { .. } | Event::Closed { .. } => {}
            }
        }
        while let Some((to, datagram)) = server.poll_transmit() {
            socket.send_to(&datagram, to).unwrap();
        }
    }
    if refused {
        return (String::new(), seen);
    }
    let mut printed = String::new();
    std::io::Read::read_to_string(&mut running.0.stdout.take().unwrap(), &mut printed).unwrap();
    (printed, seen)
}

fn speaks_with(command: &str) {
    if !is_present(command) {
        return;
    }
    let (printed, seen) = ask(command, "sesame-sesame-16");
    assert_eq!(seen, [Identity::Psk(b"device-7".to_vec())]);
    assert!(printed.contains("come in"), "{printed}");
    let (_, seen) = ask(command, "open-open-open-1");
    assert_eq!(seen, [], "a wrong key must not connect");
}

#[test]
fn libcoaps_client_on_openssl_connects_with_a_key_and_is_answered() {
    speaks_with("coap-client-openssl");
}

#[test]
fn libcoaps_client_on_gnutls_connects_with_a_key_and_is_answered() {
    speaks_with("coap-client-gnutls");
}

/// Lets OpenSSL's client connect with one suite and say a line. Whom the server saw, and whether the session could be put away;
/// or why it was refused.
fn says_hello(mut server: Server, arguments: &[&str]) -> Result<(Identity, bool), Failure> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let child = Command::new("openssl")
        .args(["s_client", "-dtls1_2", "-quiet", "-connect", &socket.local_addr().unwrap().to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut running = Running(child.unwrap());
    let began = Instant::now();
    let mut buffer = [0; 4096];
    let (mut connected, mut heard): (Option<(SessionId, Identity)>, bool) = (None, false);
    while !heard {
        assert!(began.elapsed() < TIME_MAX, "{arguments:?} takes longer than {TIME_MAX:?}");
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            server.handle_datagram(began.elapsed(), from, &buffer[..length]);
        }
        server.handle_timeout(began.elapsed());
        while let Some((to, datagram)) = server.poll_transmit() {
            socket.send_to(&datagram, to).unwrap();
        }
        while let Some(event) = server.poll_event() {
            match event {
                Event::Connected { session, identity, .. } => {
                    running.0.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
                    connected = Some((session, identity));
                }
                Event::Received { data, .. } => heard = data == b"hello\n",
                Event::Refused { failure, .. } => return Err(failure),
                Event::Moved { .. } | Event::Closed { .. } => {
                    panic!("{arguments:?}: {event:?}")
                }
            }
        }
    }
    let (session, identity) = connected.unwrap();
    Ok((identity, server.save(session).is_some()))
}

#[test]
fn openssls_client_connects_with_each_suite_for_keys() {
    if !is_present("openssl") {
        return;
    }
    for (suite, sleeps, length) in [
        ("PSK-AES128-CCM8", true, 16),
        ("PSK-AES128-CCM8", true, KEY_BYTES_MAX),
        ("PSK-AES128-GCM-SHA256", true, 16),
        ("PSK-AES128-CBC-SHA256", false, 16),
    ] {
        let lookup = move |_: &[u8]| Lookup::Key(vec![0xab; length]);
        let server = Server::new(ServerConfig::psk(Box::new(lookup))).unwrap();
        let (cipher, key) = (format!("{suite}:@SECLEVEL=0"), "ab".repeat(length));
        let seen = says_hello(server, &["-cipher", &cipher, "-psk_identity", "device-7", "-psk", &key]);
        assert_eq!(
            seen,
            Ok((Identity::Psk(b"device-7".to_vec()), sleeps)),
            "{suite}, a key of {length} bytes"
        );
    }
}

#[test]
fn openssls_client_connects_with_each_suite_for_certificates() {
    if !is_present("openssl") {
        return;
    }
    let authority = Authority::new("fleet");
    let device = authority.issue("device-7", &[], certificates::GOOD);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("device.pem"), &device.chain).unwrap();
    std::fs::write(path("device.key"), &device.key).unwrap();
    std::fs::write(path("ca.pem"), authority.pem.as_bytes()).unwrap();
    for (suite, sleeps) in [
        ("ECDHE-ECDSA-AES128-CCM8", true),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", true),
        ("ECDHE-ECDSA-AES128-SHA256", false),
    ] {
        let own = authority.issue("server", &["updraft.test".into()], certificates::GOOD);
        let server = Server::new(certificates::server_of(&authority, own)).unwrap();
        let cipher = format!("{suite}:@SECLEVEL=0");
        let mut arguments =
            vec!["-cipher", &cipher, "-verify_return_error", "-verify_hostname", "updraft.test"];
        let files = [path("device.pem"), path("device.key"), path("ca.pem")];
        arguments.extend(["-cert", &files[0], "-key", &files[1], "-CAfile", &files[2]]);
        let (identity, slept) = says_hello(server, &arguments).unwrap();
        let Identity::Certificate(certificate) = identity else { panic!("{suite}: {identity:?}") };
        assert_eq!(certificate.common_name.as_deref(), Some("device-7"), "{suite}");
        assert_eq!(slept, sleeps, "{suite}");
    }
}

#[test]
fn openssls_client_without_a_certificate_is_refused() {
    if !is_present("openssl") {
        return;
    }
    let authority = Authority::new("fleet");
    let own = authority.issue("server", &["updraft.test".into()], certificates::GOOD);
    let server = Server::new(certificates::server_of(&authority, own)).unwrap();
    let seen = says_hello(server, &["-cipher", "ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0"]);
    assert_eq!(seen, Err(Failure::NoCertificate));
}
