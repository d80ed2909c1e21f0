//! What sessions cost: handshakes per second of CPU, and bytes of memory per session awake and asleep.
//!
//! `cargo run --release -p updraft-dtls --example handshakes`
//!
//! The server's end is measured in a process of its own. The devices are in another, and their datagrams go through a pipe,
//! so that neither their memory nor their work nor the kernel's sockets are counted.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has none to show")]

use std::io::{BufReader, BufWriter, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use updraft_dtls::{
    Certified, Client, ClientConfig, ClientCredential, Event, Lookup, OwnCertificate, PreSharedKey, Server,
    ServerConfig, Sessions, Trust,
};

/// Devices that shake hands at a time.
const CHUNK: u32 = 500;
/// From how many sessions on memory is counted: what the process itself needs is there by then.
const WARM: u32 = 2_000;
const KEY: [u8; 16] = *b"the same for all";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    PskAwake,
    PskAsleep,
    CertificateAwake,
    CertificateAsleep,
}

const KINDS: [(&str, Kind, u32); 4] = [
    ("psk-awake", Kind::PskAwake, 17_000),
    ("psk-asleep", Kind::PskAsleep, 52_000),
    ("certificate-awake", Kind::CertificateAwake, 4_000),
    ("certificate-asleep", Kind::CertificateAsleep, 6_000),
];

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        None => KINDS.iter().for_each(|(name, _, count)| {
            let itself = std::env::current_exe().unwrap();
            let done = Command::new(itself).args(["server", name, &count.to_string()]).status().unwrap();
            assert!(done.success(), "{name} failed");
        }),
        Some("server") => serve(&arguments[2], arguments[3].parse().unwrap()),
        Some("devices") => devices(&arguments[2], arguments[3].parse().unwrap()),
        Some(other) => panic!("what is {other}?"),
    }
}

fn kind_of(name: &str) -> Kind {
    KINDS.iter().find(|(known, ..)| *known == name).unwrap().1
}

/// One datagram in the pipe: whose, and how long. The number of nobody ends a batch.
fn write_frame(pipe: &mut impl Write, number: u32, datagram: &[u8]) {
    pipe.write_all(&number.to_be_bytes()).unwrap();
    pipe.write_all(&u16::try_from(datagram.len()).unwrap().to_be_bytes()).unwrap();
    pipe.write_all(datagram).unwrap();
}

const NOBODY: u32 = u32::MAX;

fn end_batch(pipe: &mut impl Write) {
    write_frame(pipe, NOBODY, &[]);
    pipe.flush().unwrap();
}

fn read_frame(pipe: &mut impl Read) -> Option<(u32, Vec<u8>)> {
    let mut head = [0; 6];
    pipe.read_exact(&mut head).ok()?;
    let mut datagram = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]]))];
    pipe.read_exact(&mut datagram).ok()?;
    Some((u32::from_be_bytes([head[0], head[1], head[2], head[3]]), datagram))
}

fn read_batch(pipe: &mut impl Read) -> Option<Vec<(u32, Vec<u8>)>> {
    let mut batch = Vec::new();
    loop {
        match read_frame(pipe)? {
            (NOBODY, _) => return Some(batch),
            frame => batch.push(frame),
        }
    }
}

fn address_of(number: u32) -> SocketAddr {
    SocketAddr::from(((0x0a00_0000 + number).to_be_bytes(), 5684))
}

fn number_of(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(address) => u32::from(*address.ip()) - 0x0a00_0000,
        SocketAddr::V6(_) => NOBODY,
    }
}

/// The CPU time of this thread, in nanoseconds.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn certificate(issuer: &Issuer<'_, KeyPair>, name: &str) -> OwnCertificate {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let chain = params.signed_by(&key, issuer).unwrap().pem().into_bytes();
    OwnCertificate { chain, key: key.serialize_pem().into_bytes() }
}

/// Both ends' certificates, of one authority: its own, the server's, a device's.
fn certificates() -> (Vec<u8>, OwnCertificate, OwnCertificate) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap().pem().into_bytes();
    let issuer = Issuer::new(params, key);
    (root, certificate(&issuer, "updraft.test"), certificate(&issuer, "device-1"))
}

fn serve(name: &str, count: u32) {
    let kind = kind_of(name);
    let mut config = ServerConfig::psk(Box::new(|_| Lookup::Key(KEY.to_vec())));
    let (root, own, device) = certificates();
    config.certified = Some(Certified { own, device_roots: root.clone() });
    // All devices with a certificate have the same.
    config.sessions_per_identity_max = usize::MAX;
    if matches!(kind, Kind::PskAsleep | Kind::CertificateAsleep) {
        config.awake_max = 1_000;
    }
    let mut server = Server::new(config).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["devices", name, &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = BufWriter::new(child.stdin.take().unwrap());
    let mut from = BufReader::new(child.stdout.take().unwrap());
    for part in [&root, &device.chain, &device.key] {
        write_frame(&mut to, 0, part);
    }
    to.flush().unwrap();

    let (mut cpu, mut connected, mut warm) = (0, 0, (0, 0));
    let began = Instant::now();
    while let Some(batch) = read_batch(&mut from) {
        let before = cpu_ns();
        for (number, datagram) in &batch {
            server.handle_datagram(began.elapsed(), address_of(*number), datagram);
        }
        while let Some(event) = server.poll_event() {
            match event {
                Event::Connected { .. } => connected += 1,
                Event::Received { session, data } => {
                    server.send(began.elapsed(), session, &data[..20]).unwrap();
                }
                Event::Moved { .. } | Event::Closed { .. } | Event::Refused { .. } => panic!("{event:?}"),
            }
        }
        cpu += cpu_ns() - before;
        while let Some((address, datagram)) = server.poll_transmit() {
            write_frame(&mut to, number_of(address), &datagram);
        }
        end_batch(&mut to);
        if warm.0 == 0 && connected >= WARM {
            warm = (connected, resident());
        }
    }
    assert_eq!(connected, count);
    let counts = server.counts();
    let per_session = (resident() - warm.1) / u64::from(connected - warm.0);
    let per_second = u64::from(connected) * 1_000_000_000 / cpu;
    println!(
        "{name}: {connected} sessions ({} awake, {} asleep), {per_second} handshakes, each with one message up and one \
         down, per second of CPU, {per_session} bytes per session, {} MB in all",
        counts.awake,
        counts.asleep,
        resident() / 1_000_000
    );
    child.wait().unwrap();
}

fn devices(name: &str, count: u32) {
    let mut from = BufReader::new(std::io::stdin().lock());
    let mut to = BufWriter::new(std::io::stdout().lock());
    let mut parts = (0..3).map(|_| read_frame(&mut from).unwrap().1);
    let (roots, chain, key) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let trust = Trust::Authority { roots, name: "updraft.test".into() };
    let with_certificate = ClientCredential::Certificate { own: OwnCertificate { chain, key }, trust };
    let credential = |number: u32| match kind_of(name) {
        Kind::PskAwake | Kind::PskAsleep => {
            let identity = format!("urn:imei:{number:015}").into_bytes();
            ClientCredential::Psk(PreSharedKey { identity, key: KEY.to_vec() })
        }
        Kind::CertificateAwake | Kind::CertificateAsleep => with_certificate.clone(),
    };
    for first in (0..count).step_by(usize::try_from(CHUNK).unwrap()) {
        let mut chunk: Vec<_> = (first..count.min(first + CHUNK))
            .map(|number| Client::new(&ClientConfig::new(credential(number))).unwrap())
            .collect();
        for client in &mut chunk {
            client.connect(Duration::ZERO).unwrap();
        }
        shake_hands(&mut chunk, first, &mut from, &mut to);
    }
}

/// Lets these devices shake hands, and each say something and be answered.
fn shake_hands(chunk: &mut [Client], first: u32, from: &mut impl Read, to: &mut impl Write) {
    let mut answered = 0;
    while answered < chunk.len() {
        for (number, client) in (first..).zip(chunk.iter_mut()) {
            while let Some(datagram) = client.poll_transmit() {
                write_frame(to, number, &datagram);
            }
        }
        end_batch(to);
        for (number, datagram) in read_batch(from).unwrap() {
            let client = &mut chunk[usize::try_from(number - first).unwrap()];
            let was_connected = client.is_connected();
            // Time stands still: the pipe loses nothing, so nothing is ever repeated.
            client.handle_datagram(Duration::ZERO, &datagram);
            if client.is_connected() && !was_connected {
                client.send(Duration::ZERO, &[7; 120]).unwrap();
            } else if was_connected {
                answered += 1;
            }
        }
    }
}
