//! Claims about who an MQTT client is: by its certificate or its token, over real TLS.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_RSA_SHA256,
};
use rustls::HandshakeKind;
use serde_json::{Value, json};
use updraft_core::time::Timestamp;
use updraft_server::pki;

use super::mqtt::{ACCEPTED, Client, NOT_AUTHORIZED, Stage, connect};

/// A key of an RSA device, made for these tests alone: the library makes none.
const RSA_KEY: &str = include_str!("rsa.key");
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn made(value: &Value) -> (&str, &str) {
    (value["certificate"].as_str().unwrap(), value["key"].as_str().unwrap())
}

/// An authority of somebody else's.
struct Other(Issuer<'static, KeyPair>, String);

impl Other {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    /// A certificate for a common name, with that key.
    fn issue(&self, name: &str, key: &KeyPair) -> String {
        self.issue_for(name, key, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue_for(&self, name: &str, key: &KeyPair, usage: ExtendedKeyUsagePurpose) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        params.signed_by(key, &self.0).unwrap().pem()
    }

    /// A server that takes this authority's certificates.
    fn stage(&self) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devices.pem");
        std::fs::write(&path, &self.1).unwrap();
        Stage::with(folder, |config| config.protocols.mqtt.client_ca = Some(path))
    }
}

fn hello(client: &mut Client, id: &str) -> Option<u8> {
    client.hello(&connect(4, id, None, None))
}

#[test]
fn a_token_is_the_password_over_tls_and_without_one_nobody_is_let_in() {
    let stage = Stage::new();
    let token = stage.token("cam-1");
    let tls = || stage.tls(stage.trusting(None));
    for level in [4, 5] {
        assert_eq!(tls().hello(&connect(level, "cam-1", None, Some(&token))).is_some(), level == 5);
        assert_eq!(tls().hello(&connect(level, "cam-1", Some("any"), Some(&token))), Some(ACCEPTED));
    }
    for (id, password) in [("cam-1", None), ("cam-1", Some("wrong")), ("cam-2", Some(token.as_str()))] {
        assert_ne!(
            tls().hello(&connect(4, id, Some("cam-1"), password)),
            Some(ACCEPTED),
            "{id} {password:?}"
        );
    }
    let operator = std::fs::read_to_string(stage.data().join("operator.token")).unwrap();
    assert_eq!(tls().hello(&connect(4, "shop", Some("x"), Some(operator.trim()))), Some(ACCEPTED));
}

#[test]
fn a_products_token_speaks_for_the_device_that_the_client_id_names() {
    let stage = Stage::new();
    let made = stage.create(&json!({ "product": "cam" }));
    let token = made["token"].as_str().unwrap();
    let mut client = stage.tls(stage.trusting(None));
    assert_eq!(client.hello(&connect(4, "cam-7", Some("cam-7"), Some(token))), Some(ACCEPTED));
    let mut nameless = stage.tls(stage.trusting(None));
    assert_eq!(nameless.hello(&connect(4, "", Some("a b"), Some(token))), Some(NOT_AUTHORIZED));
}

#[test]
fn revoking_a_token_that_speaks_for_many_ends_the_connections_of_all_whom_it_let_in_and_of_nobody_else() {
    let stage = Stage::new();
    let (product, operator) =
        (stage.create(&json!({ "product": "cam" })), stage.create(&json!({ "operator": "shop" })));
    let own = stage.token("cam-2");
    let enter = |id: &str, token: &str| {
        let mut client = stage.tls(stage.trusting(None));
        assert_eq!(client.hello(&connect(5, id, None, Some(token))), Some(ACCEPTED));
        client
    };
    let mut of_product = enter("cam-1", product["token"].as_str().unwrap());
    let mut of_operator = enter("backend", operator["token"].as_str().unwrap());
    let mut another = enter("cam-2", &own);
    for (made, client) in [(&product, &mut of_product), (&operator, &mut of_operator)] {
        stage.revoke(made);
        let farewell = client.packet().unwrap().expect("a DISCONNECT");
        assert_eq!((farewell[0] >> 4, farewell[2]), (14, 0x98));
    }
    another.0.write_all(&[0xc0, 0]).unwrap();
    assert_eq!(another.packet().unwrap(), Some(vec![0xd0, 0]), "it is still there");
}

#[test]
fn a_certificate_of_the_servers_own_authority_needs_no_password() {
    let stage = Stage::new();
    let certificate = stage.create(&json!({ "device": "cam-1", "form": "certificate" }));
    assert_eq!(certificate["form"], "certificate");
    let tls = || stage.tls(stage.trusting(Some(made(&certificate))));
    assert_eq!(hello(&mut tls(), "cam-1"), Some(ACCEPTED));
    // As the AWS SDKs do: a user name, and no password.
    assert_eq!(tls().hello(&connect(4, "cam-1", Some("?SDK=x&Version=1"), None)), Some(ACCEPTED));
    assert_ne!(hello(&mut tls(), "cam-2"), Some(ACCEPTED), "another's client ID");
}

#[test]
fn revoking_a_certificate_ends_its_connection_and_lets_it_in_no_more_not_even_by_a_resumed_session() {
    let stage = Stage::new();
    let certificate = stage.create(&json!({ "device": "cam-1", "form": "certificate" }));
    let config = Arc::new(stage.trusting(Some(made(&certificate))));
    let (mut first, kind) = stage.tls_again(&config);
    assert_eq!((hello(&mut first, "cam-1"), kind), (Some(ACCEPTED), Some(HandshakeKind::Full)));
    let (mut client, kind) = stage.tls_again(&config);
    assert_eq!(client.hello(&connect(5, "cam-1", None, None)), Some(ACCEPTED));
    assert_eq!(kind, Some(HandshakeKind::Resumed), "the certificate speaks without being shown again");
    stage.revoke(&certificate);
    let farewell = client.packet().unwrap().expect("a DISCONNECT");
    assert_eq!((farewell[0] >> 4, farewell[2]), (14, 0x98), "by an administrator");
    let (mut again, kind) = stage.tls_again(&config);
    assert_eq!((hello(&mut again, "cam-1"), kind), (None, Some(HandshakeKind::Resumed)));
    assert_eq!(hello(&mut stage.tls(stage.trusting(Some(made(&certificate)))), "cam-1"), None);
}

#[test]
fn a_certificate_that_the_authority_made_and_the_server_does_not_know_is_refused() {
    let stage = Stage::new();
    let authority = pki::open(&stage.data(), &[], NOW).unwrap().authority;
    let issued = authority.issue(&"cam-1".parse().unwrap(), None, None).unwrap();
    let shown = (issued.certificate_pem.as_str(), issued.key_pem.as_deref().unwrap());
    assert_eq!(hello(&mut stage.tls(stage.trusting(Some(shown))), "cam-1"), None);
    let token = stage.token("cam-1");
    let with_token = connect(4, "cam-1", Some("cam-1"), Some(&token));
    assert_eq!(stage.tls(stage.trusting(Some(shown))).hello(&with_token), None, "a token does not heal it");
}

#[test]
fn a_certificate_of_an_imported_authority_speaks_for_its_common_name_with_rsa_and_ec_keys() {
    let other = Other::new("factory");
    let stage = other.stage();
    for key in [KeyPair::generate().unwrap(), KeyPair::from_pem(RSA_KEY).unwrap()] {
        let pem = other.issue("cam-1", &key);
        let secret = key.serialize_pem();
        let tls = || stage.tls(stage.trusting(Some((&pem, &secret))));
        assert_eq!(hello(&mut tls(), "cam-1"), Some(ACCEPTED));
        assert_ne!(hello(&mut tls(), "cam-2"), Some(ACCEPTED));
    }
    let own = stage.create(&json!({ "device": "cam-2", "form": "certificate" }));
    let tls = || stage.tls(stage.trusting(Some(made(&own))));
    assert_eq!(hello(&mut tls(), "cam-2"), Some(ACCEPTED), "beside it the server's own counts");
    stage.revoke(&own);
    assert_eq!(hello(&mut tls(), "cam-2"), None, "and only while it is known");
}

#[test]
fn an_imported_authority_of_the_same_name_brings_no_revoked_certificate_back() {
    let other = Other::new("Updraft device CA");
    let stage = other.stage();
    let key = KeyPair::generate().unwrap();
    let (pem, secret) = (other.issue("cam-1", &key), key.serialize_pem());
    assert_eq!(hello(&mut stage.tls(stage.trusting(Some((&pem, &secret)))), "cam-1"), Some(ACCEPTED));
    let own = stage.create(&json!({ "device": "cam-2", "form": "certificate" }));
    stage.revoke(&own);
    assert_eq!(hello(&mut stage.tls(stage.trusting(Some(made(&own)))), "cam-2"), None);
}

#[test]
fn an_imported_certificate_that_names_no_device_is_refused() {
    let other = Other::new("factory");
    let stage = other.stage();
    for name in ["", "a b", "../x", "+", "#", "cam/1", &"x".repeat(129)] {
        let key = KeyPair::generate().unwrap();
        let (pem, secret) = (other.issue(name, &key), key.serialize_pem());
        assert_eq!(hello(&mut stage.tls(stage.trusting(Some((&pem, &secret)))), name), None, "{name:?}");
    }
}

#[test]
fn a_certificate_of_a_stranger_or_for_another_use_does_not_get_through_the_handshake() {
    let other = Other::new("factory");
    let stage = other.stage();
    let key = KeyPair::generate().unwrap();
    let strangers = Other::new("factory").issue("cam-1", &key);
    let servers = other.issue_for("cam-1", &key, ExtendedKeyUsagePurpose::ServerAuth);
    for pem in [strangers, servers] {
        let mut client = stage.tls(stage.trusting(Some((&pem, &key.serialize_pem()))));
        assert_eq!(hello(&mut client, "cam-1"), None);
    }
    let own = std::fs::read_to_string(stage.data().join(pki::SERVER_FILE)).unwrap();
    let own_key = std::fs::read_to_string(stage.data().join(pki::SERVER_KEY_FILE)).unwrap();
    let mut client = stage.tls(stage.trusting(Some((&own, &own_key))));
    assert_eq!(hello(&mut client, "localhost"), None, "the server's own certificate is no device's");
}

#[test]
fn a_device_that_has_its_key_already_gets_a_certificate_for_it() {
    let stage = Stage::new();
    for key in [KeyPair::generate().unwrap(), KeyPair::from_pem(RSA_KEY).unwrap()] {
        let mut wished = CertificateParams::default();
        wished.distinguished_name.push(DnType::CommonName, "cam-2");
        let request = wished.serialize_request(&key).unwrap().pem().unwrap();
        let body = json!({ "device": "cam-1", "form": "certificate", "signing_request": request });
        let made = stage.create(&body);
        assert!(made.get("key").is_none(), "the server does not have it");
        let shown = (made["certificate"].as_str().unwrap(), &*key.serialize_pem());
        let tls = || stage.tls(stage.trusting(Some(shown)));
        assert_eq!(hello(&mut tls(), "cam-1"), Some(ACCEPTED));
        assert_ne!(hello(&mut tls(), "cam-2"), Some(ACCEPTED), "the request's own name counts for nothing");
    }
    assert!(KeyPair::from_pem(RSA_KEY).unwrap().is_compatible(&PKCS_RSA_SHA256));
}

#[test]
fn a_client_that_offers_any_application_protocol_is_not_turned_away() {
    let stage = Stage::new();
    let token = stage.token("cam-1");
    for protocols in [vec![], vec![b"x-amzn-mqtt-ca".to_vec()], vec![b"mqtt".to_vec(), b"http/1.1".to_vec()]]
    {
        let mut config = stage.trusting(None);
        config.alpn_protocols = protocols;
        let mut client = stage.tls(config);
        assert_eq!(client.hello(&connect(4, "cam-1", Some("x"), Some(&token))), Some(ACCEPTED));
    }
}

#[test]
fn the_listener_without_tls_is_off_unless_switched_on() {
    let stage = Stage::new();
    assert_eq!(stage.addresses.mqtt_plain, None);
    let any = ([127, 0, 0, 1], 0).into();
    let lab =
        Stage::with(tempfile::tempdir().unwrap(), |config| config.protocols.mqtt.plain_listen = Some(any));
    let token = lab.token("cam-1");
    let mut client = Client::plain(lab.addresses.mqtt_plain.unwrap());
    assert_eq!(client.hello(&connect(4, "cam-1", Some("x"), Some(&token))), Some(ACCEPTED));
    let mut stranger = Client::plain(lab.addresses.mqtt_plain.unwrap());
    assert_eq!(stranger.hello(&connect(4, "cam-1", Some("x"), Some("wrong"))), Some(NOT_AUTHORIZED));
}

#[test]
fn switched_off_it_has_no_listener() {
    let stage = Stage::with(tempfile::tempdir().unwrap(), |config| config.protocols.mqtt.enabled = false);
    assert_eq!((stage.addresses.mqtt, stage.addresses.mqtt_plain), (None, None));
}

#[test]
fn a_shutdown_tells_clients_that_it_is_one() {
    let stage = Stage::new();
    let token = stage.token("cam-1");
    let mut client = stage.tls(stage.trusting(None));
    assert_eq!(client.hello(&connect(5, "cam-1", None, Some(&token))), Some(ACCEPTED));
    stage.ask_to_stop();
    let farewell = client.packet().unwrap().expect("a DISCONNECT");
    assert_eq!((farewell[0] >> 4, farewell[2]), (14, 0x8b));
    assert_eq!(client.packet().unwrap(), None, "and then hangs up");
    stage.stop();
}

#[test]
fn a_taken_port_and_a_file_without_authorities_are_named() {
    let stage = Stage::new();
    let refused = |change: &dyn Fn(&mut updraft_server::config::Config)| {
        let folder = tempfile::tempdir().unwrap();
        let any = ([127, 0, 0, 1], 0).into();
        let mut config = updraft_server::config::Config {
            data: Some(folder.path().join("data")),
            ..updraft_server::config::Config::default()
        };
        (config.device.listen, config.operator.listen, config.protocols.mqtt.listen) = (any, any, any);
        config.protocols.lwm2m.listen = any;
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(updraft_server::serve::Server::open(&config)).err().unwrap();
        let mut words = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            words = format!("{words}: {error}");
            cause = error.source();
        }
        words
    };
    let taken = stage.addresses.mqtt.unwrap();
    assert!(refused(&|config| config.protocols.mqtt.listen = taken).contains("[protocols.mqtt] listen"));
    assert!(
        refused(&|config| config.protocols.mqtt.plain_listen = Some(taken))
            .contains("[protocols.mqtt] plain_listen")
    );
    let key = stage.data().join(pki::SERVER_KEY_FILE);
    for path in [key, stage.data().join("nowhere.pem")] {
        let words = refused(&|config| config.protocols.mqtt.client_ca = Some(path.clone()));
        assert!(words.contains(&path.display().to_string()), "{words}");
    }
}
