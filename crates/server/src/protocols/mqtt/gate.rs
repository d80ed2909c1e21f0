//! Who an MQTT client is: by its client certificate, or by a token as the password. Whom a certificate proves,
//! [`crate::auth::certificate`] says.

use super::door::Identity;
use super::endpoint::{ConnectFacts, Gate, Refusal};
use super::topic;
use crate::auth::{Auth, Principal};
use crate::engine::clock::Clock;
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
