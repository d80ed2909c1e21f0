//! Who an MQTT client is: by its client certificate, or by a token as the password.

use super::door::Identity;
use super::endpoint::{ConnectFacts, Gate, Refusal};
use super::topic;
use crate::auth::{Auth, Principal};
use crate::engine::clock::Clock;
use crate::pki::client::{Clients, Origin, named_device as device_in};
use rustls_pki_types::CertificateDer;
use updraft_core::id::DeviceId;

/// Knows tokens and topics.
pub struct TokenGate {
    auth: Auth,
    clock: Clock,
}

impl TokenGate {
    /// A gate for the tokens of a server.
    #[must_use]
    pub fn new(auth: Auth, clock: Clock) -> Self {
        Self { auth, clock }
    }

    /// Whom a password proves.
    fn bearer(&self, facts: &ConnectFacts<'_>) -> Option<Identity> {
        let token = std::str::from_utf8(facts.password?).ok()?;
        match self.auth.verify(token, self.clock.now())? {
            // What user name it gives is of no matter: clients of AWS put their version there.
            Principal::Device(id) => Some(Identity::Device { id, product: None }),
            Principal::Product(product) => {
                let id = named_device(facts)?;
                Some(Identity::Device { id, product: Some(product) })
            }
            Principal::Operator(name) => Some(Identity::Application { name: name.to_string() }),
        }
    }
}

/// The device that a client with its product's token says it is: by its client ID, else by its user name.
fn named_device(facts: &ConnectFacts<'_>) -> Option<DeviceId> {
    if facts.client_id.is_empty() { facts.username?.parse().ok() } else { facts.client_id.parse().ok() }
}

impl Gate for TokenGate {
    async fn authenticate(&self, facts: ConnectFacts<'_>) -> Result<Identity, Refusal> {
        // Where a certificate speaks, nothing else is asked: some clients send a user name and no password with it.
        facts.tls.cloned().or_else(|| self.bearer(&facts)).ok_or(Refusal::NotAuthorized)
    }

    fn may_publish(&self, who: &Identity, topic: &str) -> bool {
        topic::may_publish(who, topic)
    }

    fn may_subscribe(&self, who: &Identity, filter: &str) -> bool {
        topic::may_subscribe(who, filter)
    }

    fn device_of(&self, topic: &str) -> Option<DeviceId> {
        topic::device_of(topic)
    }
}

/// Why a certificate that was shown, and has held, does not speak for anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefused {
    /// The server's own authority made it, and it is unknown, expired or revoked.
    #[error("its certificate is unknown, expired or revoked")]
    NotLive,
    /// It has no common name, or several, or one that is no device ID.
    #[error("its certificate names no device: the common name must be the device's ID")]
    NoDevice,
}

/// Knows whom a client's certificate proves.
pub struct Certificates {
    auth: Auth,
    clients: Clients,
    clock: Clock,
}

impl Certificates {
    /// Judges what `clients` has let pass.
    #[must_use]
    pub fn new(auth: Auth, clients: Clients, clock: Clock) -> Self {
        Self { auth, clients, clock }
    }

    /// Whom a chain proves that TLS has let pass; nobody if the client showed none.
    ///
    /// # Errors
    /// [`CertificateRefused`].
    pub fn identity(&self, chain: &[CertificateDer<'_>]) -> Result<Option<Identity>, CertificateRefused> {
        let now = self.clock.now();
        let Some(shown) = chain.first() else { return Ok(None) };
        if let Some(known) = self.auth.certificate(shown, now) {
            return match known {
                Principal::Device(id) => Ok(Some(Identity::Device { id, product: None })),
                Principal::Product(_) | Principal::Operator(_) => Err(CertificateRefused::NoDevice),
            };
        }
        match self.clients.origin(chain, now) {
            Some(Origin::Imported) => {
                let id = device_in(shown).ok_or(CertificateRefused::NoDevice)?;
                Ok(Some(Identity::Device { id, product: None }))
            }
            Some(Origin::Own) | None => Err(CertificateRefused::NotLive),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::NewToken;
    use crate::auth::access_key::MasterKey;
    use crate::store::Database;
    use updraft_core::time::Timestamp;

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
}
