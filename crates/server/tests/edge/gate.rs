//! Claims about whom a CONNECT proves.

use updraft_core::time::Timestamp;
use updraft_server::auth::access_key::MasterKey;
use updraft_server::auth::{Auth, NewToken, Principal};
use updraft_server::engine::clock::Clock;
use updraft_server::protocols::mqtt::door::Identity;
use updraft_server::protocols::mqtt::endpoint::{ConnectFacts, Gate, Refusal};
use updraft_server::protocols::mqtt::gate::TokenGate;
use updraft_server::store::Database;

const NOW: Timestamp = Timestamp::from_millis(1_772_366_400_000);

struct Stage {
    gate: TokenGate,
    auth: Auth,
}

impl Stage {
    fn new() -> Self {
        let tokens = Database::in_memory().unwrap().tokens().unwrap();
        let auth = Auth::open(tokens, MasterKey::draw().unwrap(), NOW).unwrap();
        Self { gate: TokenGate::new(auth.clone(), Clock::starting_at(NOW)), auth }
    }

    fn token(&self, principal: Principal) -> String {
        let new = NewToken { principal, expires: None, note: String::new() };
        self.auth.create(new, NOW).unwrap().0.reveal().to_owned()
    }

    fn connect(
        &self,
        client_id: &str,
        username: Option<&str>,
        password: Option<&[u8]>,
        tls: Option<&Identity>,
    ) -> Result<Identity, Refusal> {
        let peer = ([127, 0, 0, 1], 50_000).into();
        let facts = ConnectFacts { client_id, username, password, tls, peer };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.gate.authenticate(facts))
    }
}

fn device(id: &str, product: Option<&str>) -> Result<Identity, Refusal> {
    let product = product.map(|name| name.parse().unwrap());
    Ok(Identity::Device { id: id.parse().unwrap(), product })
}

#[test]
fn a_devices_token_is_that_device_whatever_user_name_comes_with_it() {
    let stage = Stage::new();
    let token = stage.token(Principal::Device("cam-1".parse().unwrap()));
    for username in [None, Some(""), Some("cam-1"), Some("?SDK=IoTDeviceSDK/Python")] {
        for client_id in ["", "cam-1", "cam-2"] {
            let who = stage.connect(client_id, username, Some(token.as_bytes()), None);
            assert_eq!(who, device("cam-1", None), "never the device that the client ID names");
        }
    }
}

#[test]
fn a_products_token_is_the_device_that_the_client_id_names_or_else_the_user_name() {
    let stage = Stage::new();
    let token = stage.token(Principal::Product("cam".parse().unwrap()));
    let connect = |client_id, username| stage.connect(client_id, username, Some(token.as_bytes()), None);
    for (client_id, username) in [("cam-1", None), ("cam-1", Some("line 4")), ("", Some("cam-1"))] {
        assert_eq!(connect(client_id, username), device("cam-1", Some("cam")));
    }
    for (client_id, username) in [("", None), ("", Some("")), ("a/b", Some("cam-1")), ("", Some("+"))] {
        assert_eq!(connect(client_id, username), Err(Refusal::NotAuthorized), "{client_id:?}");
    }
}

#[test]
fn an_operators_token_is_an_application() {
    let stage = Stage::new();
    let token = stage.token(Principal::Operator("shop".parse().unwrap()));
    let who = stage.connect("anything", None, Some(token.as_bytes()), None);
    assert_eq!(who, Ok(Identity::Application { name: "shop".into() }));
}

#[test]
fn a_client_without_a_good_credential_is_nobody() {
    let stage = Stage::new();
    let good = stage.token(Principal::Device("cam-1".parse().unwrap()));
    let new = NewToken {
        principal: Principal::Device("cam-1".parse().unwrap()),
        expires: None,
        note: String::new(),
    };
    let (key_id, secret, _) = stage.auth.create_access_key(new, NOW).unwrap();
    let huge = vec![b'a'; 1 << 16];
    let bad: [Option<&[u8]>; 8] = [
        None,
        Some(b""),
        Some(b"cam-1"),
        Some(b"\xff\xfe"),
        Some(&good.as_bytes()[1..]),
        Some(&huge),
        Some(key_id.as_bytes()),
        Some(secret.reveal().as_bytes()),
    ];
    for password in bad {
        let who = stage.connect("cam-1", Some("cam-1"), password, None);
        assert_eq!(who, Err(Refusal::NotAuthorized));
    }
}

#[test]
fn a_revoked_token_is_nobody_from_that_moment() {
    let stage = Stage::new();
    let token = stage.token(Principal::Device("cam-1".parse().unwrap()));
    let id = stage.auth.list(None, 1).unwrap()[0].id.clone();
    stage.auth.revoke(&id, NOW).unwrap();
    let who = stage.connect("cam-1", None, Some(token.as_bytes()), None);
    assert_eq!(who, Err(Refusal::NotAuthorized));
}

#[test]
fn a_certificate_speaks_without_a_password_and_before_one() {
    let stage = Stage::new();
    let shown = device("cam-1", None).unwrap();
    let other = stage.token(Principal::Device("cam-2".parse().unwrap()));
    for password in [None, Some(&b""[..]), Some(b"wrong"), Some(other.as_bytes())] {
        let who = stage.connect("cam-2", Some("?SDK=x"), password, Some(&shown));
        assert_eq!(who.as_ref(), Ok(&shown));
    }
}
