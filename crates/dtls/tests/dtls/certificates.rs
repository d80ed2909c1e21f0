//! Certificates on both ends: whose are taken and whose are not.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use updraft_dtls::{
    Certified, Client, ClientConfig, ClientCredential, Error, Event, Failure, Identity, OwnCertificate,
    Server, ServerConfig, Sessions, Trust,
};

use crate::world::{Way, World, address, client_config, server_config};

/// Years between which a certificate is good.
pub(crate) type Years = (i32, i32);
pub(crate) const GOOD: Years = (2020, 2120);
const EXPIRED: Years = (2010, 2015);
const NOT_YET: Years = (2110, 2120);

/// An authority of one test.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn params(common_name: &str, names: &[String], years: Years) -> CertificateParams {
    let mut params = CertificateParams::new(names.to_vec()).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}

fn key_pair() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name, &[], GOOD);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let (params, key) = (authority_params(name), key_pair());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// An authority that this one vouches for.
    fn intermediate(&self, name: &str) -> Self {
        let (params, key) = (authority_params(name), key_pair());
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn issue(&self, common_name: &str, names: &[String], years: Years) -> OwnCertificate {
        let key = key_pair();
        let certificate = params(common_name, names, years).signed_by(&key, &self.issuer).unwrap();
        OwnCertificate { chain: certificate.pem().into_bytes(), key: key.serialize_pem().into_bytes() }
    }
}

fn der_of(own: &OwnCertificate) -> Vec<u8> {
    let text = std::str::from_utf8(&own.chain).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap();
    pem.contents
}

/// A server of this authority, with keys as well.
pub(crate) fn server_of(authority: &Authority, own: OwnCertificate) -> ServerConfig {
    let mut config = server_config();
    config.certified = Some(Certified { own, device_roots: authority.pem.clone().into_bytes() });
    config
}

fn world_of(authority: &Authority) -> World {
    World::new(server_of(
        authority,
        authority.issue("server", &["updraft.test".into(), "127.0.0.1".into()], GOOD),
    ))
}

fn client_of(own: OwnCertificate, trust: Trust) -> ClientConfig {
    ClientConfig::new(ClientCredential::Certificate { own, trust })
}

fn trusting(authority: &Authority, name: &str) -> Trust {
    Trust::Authority { roots: authority.pem.clone().into_bytes(), name: name.into() }
}

#[test]
fn a_device_with_a_certificate_connects_and_is_known_by_what_it_says() {
    let authority = Authority::new("fleet");
    let mut world = world_of(&authority);
    let own = authority.issue("device-1", &["device-1.fleet.test".into()], GOOD);
    let der = der_of(&own);
    world.connect(address(1), &client_of(own, trusting(&authority, "updraft.test")));
    let session = world.session_at(address(1)).expect("it connects");
    let Some(Identity::Certificate(certificate)) = world.server.identity(session).cloned() else {
        panic!("{:?}", world.server.identity(session))
    };
    assert_eq!(certificate.common_name.as_deref(), Some("device-1"));
    assert_eq!(certificate.alternative_names, ["device-1.fleet.test"]);
    let fingerprint: [u8; 32] =
        sha2::Digest::finalize(sha2::Digest::chain_update(sha2::Sha256::default(), &der)).into();
    assert_eq!(certificate.fingerprint, fingerprint);
    assert!(world.speaks(address(1), b"up") && world.answers(session, b"down"));
}

#[test]
fn a_key_and_a_certificate_are_both_good_on_one_socket() {
    let authority = Authority::new("fleet");
    let mut world = world_of(&authority);
    world.connect(address(1), &client_config("device-1"));
    let own = authority.issue("device-2", &[], GOOD);
    world.connect(address(2), &client_of(own, trusting(&authority, "updraft.test")));
    assert_eq!(world.server.counts().awake, 2);
    assert!(world.speaks(address(1), b"by key") && world.speaks(address(2), b"by certificate"));
}

#[test]
fn an_expired_certificate_of_a_device_is_refused() {
    let authority = Authority::new("fleet");
    for years in [EXPIRED, NOT_YET] {
        let mut world = world_of(&authority);
        let own = authority.issue("device-1", &[], years);
        world.connect(address(1), &client_of(own, trusting(&authority, "updraft.test")));
        assert_eq!(world.failures(), [Failure::CertificateDates], "{years:?}");
        assert!(matches!(world.refusals()[..], [Failure::Alert(_)]), "{:?}", world.refusals());
        assert_eq!(world.server.counts(), Default::default());
    }
}

#[test]
fn an_expired_certificate_of_a_server_is_refused_also_if_it_is_pinned() {
    let authority = Authority::new("fleet");
    for years in [EXPIRED, NOT_YET] {
        let own = authority.issue("server", &["updraft.test".into()], years);
        for trust in [trusting(&authority, "updraft.test"), Trust::Pinned(der_of(&own))] {
            let mut world = World::new(server_of(&authority, own.clone()));
            world.connect(address(1), &client_of(authority.issue("device-1", &[], GOOD), trust.clone()));
            assert_eq!(world.refusals(), [Failure::CertificateDates], "{years:?} {trust:?}");
            assert_eq!(world.server.sessions().count(), 0);
        }
    }
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (authority, another) = (Authority::new("fleet"), Authority::new("fleet"));
    let mut world = world_of(&authority);
    let own = another.issue("device-1", &[], GOOD);
    world.connect(address(1), &client_of(own, trusting(&authority, "updraft.test")));
    assert_eq!(world.failures(), [Failure::CertificateNotTrusted]);

    let mut world = world_of(&authority);
    let own = authority.issue("device-1", &[], GOOD);
    world.connect(address(1), &client_of(own, trusting(&another, "updraft.test")));
    assert_eq!(world.refusals(), [Failure::CertificateNotTrusted]);
    assert_eq!(world.server.sessions().count(), 0);
}

#[test]
fn a_server_is_known_by_its_name_or_its_address() {
    let authority = Authority::new("fleet");
    for (name, connects) in [
        ("updraft.test", true),
        ("127.0.0.1", true),
        ("elsewhere.test", false),
        ("127.0.0.2", false),
        ("server", false),
    ] {
        let mut world = world_of(&authority);
        let own = authority.issue("device-1", &[], GOOD);
        world.connect(address(1), &client_of(own, trusting(&authority, name)));
        assert_eq!(world.session_at(address(1)).is_some(), connects, "{name}");
        assert_eq!(world.refusals().is_empty(), connects, "{name}");
    }
    let own = authority.issue("device-1", &[], GOOD);
    for name in ["", "nul\0byte"] {
        let config = client_of(own.clone(), trusting(&authority, name));
        assert_eq!(Client::new(&config).unwrap_err(), Error::Name);
    }
}

#[test]
fn a_pinned_certificate_is_that_one_and_no_other_of_the_same_authority() {
    let authority = Authority::new("fleet");
    let own = authority.issue("server", &[], GOOD);
    let other = authority.issue("server", &[], GOOD);
    for (pinned, connects) in [(&own, true), (&other, false)] {
        let mut world = World::new(server_of(&authority, own.clone()));
        let device = authority.issue("device-1", &[], GOOD);
        world.connect(address(1), &client_of(device, Trust::Pinned(der_of(pinned))));
        assert_eq!(world.session_at(address(1)).is_some(), connects);
        assert_eq!(world.refusals(), if connects { vec![] } else { vec![Failure::CertificateNotTrusted] });
    }
}

/// A server, and a device, whose certificates come from an intermediate authority, and do not fit in one datagram.
fn with_long_chains() -> (ServerConfig, ClientConfig) {
    let root = Authority::new("root");
    let intermediate = root.intermediate("intermediate");
    let long = |common_name: &str, name: &str| {
        let mut names: Vec<_> =
            (0..16).map(|number| format!("a-rather-long-name-{number}.fleet.test")).collect();
        names.push(name.into());
        let mut own = intermediate.issue(common_name, &names, GOOD);
        own.chain.extend_from_slice(intermediate.pem.as_bytes());
        own
    };
    let server = server_of(&root, long("server", "updraft.test"));
    (server, client_of(long("device-1", "device-1.test"), trusting(&root, "updraft.test")))
}

#[test]
fn chains_that_do_not_fit_in_one_datagram_are_put_together() {
    let (server, client) = with_long_chains();
    let mut world = World::new(server);
    world.connect(address(1), &client);
    assert!(world.speaks(address(1), b"up"));
    for (sent, whose) in [(&world.sent, "device"), (&world.answered, "server")] {
        assert!(sent.iter().all(|(_, datagram)| datagram.len() <= 1232), "{whose}");
        assert!(sent.iter().any(|(_, datagram)| datagram.len() > 1000), "{whose}");
    }
}

#[test]
fn a_handshake_with_certificates_completes_whichever_datagram_is_lost() {
    let mut nth = 0;
    loop {
        let (server, client) = with_long_chains();
        let mut world = World::new(server);
        let count = Rc::new(Cell::new(0));
        let counted = Rc::clone(&count);
        world.network = Box::new(move |_, _| {
            counted.set(counted.get() + 1);
            counted.get() - 1 != nth
        });
        world.connect(address(1), &client);
        world.pass(Duration::from_secs(50));
        assert!(world.session_at(address(1)).is_some(), "datagram {nth} lost: {:?}", world.events);
        world.network = Box::new(|_, _| true);
        assert!(world.speaks(address(1), b"up"), "datagram {nth} lost");
        if nth >= count.get() {
            break;
        }
        nth += 1;
    }
    assert!(nth >= 8, "{nth} datagrams are too few for chains in pieces");
}

#[test]
fn a_session_with_a_certificate_sleeps_and_outlives_a_restart() {
    let authority = Authority::new("fleet");
    let mut world = world_of(&authority);
    let own = authority.issue("device-1", &["device-1.test".into()], GOOD);
    let der = der_of(&own);
    world.connect(address(1), &client_of(own, trusting(&authority, "updraft.test")));
    let session = world.session_at(address(1)).unwrap();
    let identity = world.server.identity(session).cloned().unwrap();
    world.speaks(address(1), b"x");
    world.pass(Duration::from_secs(601));
    assert_eq!(world.server.counts().asleep, 1);
    assert!(world.answers(session, b"wake up"));

    let bytes = world.server.save(session).unwrap().into_bytes();
    let kept = bytes.windows(der.len()).filter(|window| *window == der).count();
    assert_eq!(
        kept, 1,
        "the certificate itself is kept once, for whoever asks of it, and not by Mbed TLS as well"
    );
    assert!(bytes.len() < der.len() + 400, "{} bytes", bytes.len());
    let own = authority.issue("server", &["updraft.test".into()], GOOD);
    world.server = Server::new(server_of(&authority, own)).unwrap();
    let snapshot = updraft_dtls::Snapshot::from_bytes(&bytes).unwrap();
    assert_eq!(snapshot.identity(), &identity);
    let session = world.server.restore(world.now, snapshot).unwrap();
    assert!(world.speaks(address(1), b"up") && world.answers(session, b"down"));
}

#[test]
fn what_cannot_be_a_certificate_or_its_key_is_refused_at_the_beginning() {
    let authority = Authority::new("fleet");
    let (one, other) = (authority.issue("one", &[], GOOD), authority.issue("other", &[], GOOD));
    let refused = |own: OwnCertificate| Server::new(server_of(&authority, own)).unwrap_err();
    let chain = b"no certificate".to_vec();
    assert!(matches!(refused(OwnCertificate { chain, ..one.clone() }), Error::Certificate("own", _)));
    let key = b"no key".to_vec();
    assert!(matches!(refused(OwnCertificate { key, ..one.clone() }), Error::PrivateKey(_)));
    assert_eq!(refused(OwnCertificate { key: other.key, ..one.clone() }), Error::KeyMismatch);
    let mut config = server_of(&authority, one.clone());
    config.certified.as_mut().unwrap().device_roots = b"none".to_vec();
    assert!(matches!(Server::new(config).unwrap_err(), Error::Certificate("device authorities'", _)));
    let der = OwnCertificate { chain: der_of(&one), ..one };
    assert!(Server::new(server_of(&authority, der)).is_ok(), "DER is read as well");
}

/// The records of some datagrams.
fn records(datagrams: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for datagram in datagrams {
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let length = 13 + usize::from(u16::from_be_bytes([rest[11], rest[12]]));
            let (record, after) = rest.split_at(length.min(rest.len()));
            records.push(record.to_vec());
            rest = after;
        }
    }
    records
}

/// Which message of a handshake a record carries in the clear (RFC 5246 §7.4).
fn message_of(record: &[u8]) -> Option<u8> {
    (record[..5] == [22, 0xfe, 0xfd, 0, 0]).then(|| record[13])
}

const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_VERIFY: u8 = 15;

/// The records of a device's flight with its certificate, none of which arrives.
fn flight_of_device(world: &mut World, client: &ClientConfig) -> Vec<Vec<u8>> {
    let before = world.sent.len();
    world.network = Box::new(|way, datagram| way == Way::ToClient || datagram[13] == 1);
    world.connect(address(1), client);
    // Two ClientHellos come before it.
    records(world.sent.drain(before..).skip(2).map(|(_, datagram)| datagram).collect::<Vec<_>>())
}

/// The records of a server's flight with its certificate, none of which arrives.
fn flight_of_server(world: &mut World, client: &ClientConfig) -> Vec<Vec<u8>> {
    world.network = Box::new(|way, datagram| way == Way::ToServer || datagram[13] == 3);
    world.connect(address(1), client);
    // A HelloVerifyRequest comes before it.
    records(world.answered.drain(1..).map(|(_, datagram)| datagram).collect::<Vec<_>>())
}

#[test]
fn a_certificate_alone_proves_nothing() {
    let authority = Authority::new("fleet");
    let mut world = world_of(&authority);
    let client = client_of(authority.issue("device-1", &[], GOOD), trusting(&authority, "updraft.test"));
    // What proves that it holds the key, its CertificateVerify (RFC 5246 §7.4.8), is left out of its flight.
    let (left_out, flight): (Vec<_>, Vec<_>) = flight_of_device(&mut world, &client)
        .into_iter()
        .partition(|record| message_of(record) == Some(CERTIFICATE_VERIFY));
    assert_eq!(left_out.len(), 1);
    for record in flight {
        world.server.handle_datagram(world.now, address(1), &record);
    }
    world.clients.clear();
    world.pass(Duration::from_secs(100));
    assert!(!world.events.iter().any(|event| matches!(event, Event::Connected { .. })), "{:?}", world.events);
    assert_eq!(world.server.counts(), Default::default());
}

#[test]
fn a_certificate_that_is_damaged_in_any_place_is_refused_and_hurts_nobody() {
    let authority = Authority::new("fleet");
    let mut world = world_of(&authority);
    let client = client_of(authority.issue("device-1", &[], GOOD), trusting(&authority, "updraft.test"));
    let mut at = 13;
    loop {
        let mut flight = flight_of_device(&mut world, &client);
        let certificate = flight.iter_mut().find(|record| message_of(record) == Some(CERTIFICATE)).unwrap();
        if at >= certificate.len() {
            break;
        }
        certificate[at] ^= 0x81;
        for record in flight {
            world.server.handle_datagram(world.now, address(1), &record);
        }
        world.clients.clear();
        world.settle();
        // Each place of the headers and lengths, and one in nine of the rest.
        at += if at < 60 { 1 } else { 9 };
    }
    assert!(at > 300, "a certificate has hundreds of bytes");
    world.pass(Duration::from_secs(100));
    assert!(!world.events.iter().any(|event| matches!(event, Event::Connected { .. })), "{:?}", world.events);
    assert_eq!(world.server.counts(), Default::default());
    world.network = Box::new(|_, _| true);
    world.connect(address(2), &client);
    assert!(world.speaks(address(2), b"another is as welcome as ever"));
}

/// Names a way of signing that nobody knows, in place of ecdsa-with-SHA256 (RFC 5758 §3.2), wherever it stands in a record.
fn sign_unknowably(record: &mut [u8]) {
    const ECDSA_WITH_SHA256: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let places: Vec<_> =
        (0..record.len()).filter(|at| record[*at..].starts_with(&ECDSA_WITH_SHA256)).collect();
    assert_eq!(places.len(), 2, "in what is signed, and beside the signature");
    for at in places {
        record[at + 7] = 0x7f;
    }
}

#[test]
fn a_certificate_that_is_signed_in_a_way_nobody_knows_is_refused_at_both_ends() {
    // Mbed TLS leaves such a one out of the list, and has the empty list verified.
    let authority = Authority::new("fleet");
    let client = client_of(authority.issue("device-1", &[], GOOD), trusting(&authority, "updraft.test"));
    let mut world = world_of(&authority);
    for mut record in flight_of_device(&mut world, &client) {
        if message_of(&record) == Some(CERTIFICATE) {
            sign_unknowably(&mut record);
        }
        world.server.handle_datagram(world.now, address(1), &record);
    }
    world.settle();
    assert_eq!(world.failures().len(), 1, "{:?}", world.events);
    assert_eq!(world.server.counts(), Default::default());

    let mut world = world_of(&authority);
    for mut record in flight_of_server(&mut world, &client) {
        if message_of(&record) == Some(CERTIFICATE) {
            sign_unknowably(&mut record);
        }
        world.clients.get_mut(&address(1)).unwrap().handle_datagram(world.now, &record);
    }
    world.collect();
    assert_eq!(world.refusals().len(), 1, "{:?}", world.client_events);
}

#[test]
fn whoever_comes_after_refused_certificates_connects_as_ever() {
    let (authority, another) = (Authority::new("fleet"), Authority::new("fleet"));
    let mut config = server_of(&authority, authority.issue("server", &["updraft.test".into()], GOOD));
    config.half_open_max = 4;
    let mut world = World::new(config);
    let trust = trusting(&authority, "updraft.test");
    for round in 0..10 {
        for own in [authority.issue("device-1", &[], EXPIRED), another.issue("device-1", &[], GOOD)] {
            world.connect(address(1), &client_of(own, trust.clone()));
        }
        let doubting = client_of(authority.issue("device-1", &[], GOOD), trusting(&another, "updraft.test"));
        world.connect(address(1), &doubting);
        assert_eq!(world.server.counts(), Default::default(), "round {round}");
        world.connect(address(1), &client_of(authority.issue("device-1", &[], GOOD), trust.clone()));
        assert!(world.speaks(address(1), b"by certificate"), "round {round}");
        world.connect(address(2), &client_config("device-2"));
        assert!(world.speaks(address(2), b"by key"), "round {round}");
        for session in world.server.ids() {
            world.server.close(world.now, session);
        }
        world.settle();
    }
}

#[test]
fn a_server_that_does_not_sign_with_its_certificates_key_is_left() {
    let authority = Authority::new("fleet");
    let client = client_of(authority.issue("device-1", &[], GOOD), trusting(&authority, "updraft.test"));
    let hears = |world: &mut World, flight: Vec<Vec<u8>>| {
        for record in flight {
            world.clients.get_mut(&address(1)).unwrap().handle_datagram(world.now, &record);
        }
        world.network = Box::new(|_, _| false);
        world.settle();
        world.clients[&address(1)].is_connected()
    };
    // A signature that is not of that key: the last byte is one of its own.
    let mut world = world_of(&authority);
    let mut flight = flight_of_server(&mut world, &client);
    let signed = flight.iter_mut().find(|record| message_of(record) == Some(SERVER_KEY_EXCHANGE)).unwrap();
    *signed.last_mut().unwrap() ^= 1;
    assert!(!hears(&mut world, flight));
    assert_eq!(world.refusals().len(), 1, "{:?}", world.client_events);
    // None, and the messages after it count on as if there never was one (CVE-2021-34433).
    let mut world = world_of(&authority);
    let mut flight = flight_of_server(&mut world, &client);
    let without = flight.iter().position(|record| message_of(record) == Some(SERVER_KEY_EXCHANGE)).unwrap();
    flight.remove(without);
    for record in &mut flight[without..] {
        record[18] -= 1;
    }
    assert!(!hears(&mut world, flight));
    assert_eq!(world.refusals().len(), 1, "{:?}", world.client_events);
}
