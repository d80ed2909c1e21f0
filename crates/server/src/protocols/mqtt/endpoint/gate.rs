//! Who may connect, and what each may say and hear: asked here, decided elsewhere.
//!
//! The endpoint asks at every door: CONNECT, the will's topic, each PUBLISH, each filter, and again before a message that
//! waited is sent. An answer that cannot be had is a refusal.

use super::super::door::Identity;
use std::future::Future;
use std::net::SocketAddr;
use updraft_core::id::DeviceId;

/// What a CONNECT says, and what is known of the connection it came on.
#[derive(Debug, Clone, Copy)]
pub struct ConnectFacts<'a> {
    /// The client ID, empty if the client leaves it to the server.
    pub client_id: &'a str,
    /// The user name, if there is one. It may be there without a password.
    pub username: Option<&'a str>,
    /// The password, if there is one.
    pub password: Option<&'a [u8]>,
    /// Whom the client's certificate proves, if it showed one.
    pub tls: Option<&'a Identity>,
    /// Where the connection comes from.
    pub peer: SocketAddr,
}

/// Why a CONNECT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The credential is wrong, or is none: 5 on MQTT 3.1.1, 0x87 (not authorized) on MQTT 5.
    NotAuthorized,
    /// It cannot be checked now: 3 on MQTT 3.1.1, 0x88 (server unavailable) on MQTT 5.
    Unavailable,
}

/// Who may do what.
pub trait Gate: Send + Sync + 'static {
    /// Whom the credential of a CONNECT proves. A device's ID must come from its credential, or, for a credential of its
    /// product, from the client ID; that the client ID is the device's own, the endpoint checks.
    ///
    /// # Errors
    /// [`Refusal`].
    fn authenticate(
        &self,
        facts: ConnectFacts<'_>,
    ) -> impl Future<Output = Result<Identity, Refusal>> + Send;

    /// Whether it may publish to this topic name, or leave a will for it.
    fn may_publish(&self, who: &Identity, topic: &str) -> bool;

    /// Whether it may subscribe to this filter, wildcards and all. A shared subscription is asked about by the filter
    /// within it.
    fn may_subscribe(&self, who: &Identity, filter: &str) -> bool;

    /// Whether a message that waited may still be sent to it. A topic name is a filter that matches itself.
    fn may_receive(&self, who: &Identity, topic: &str) -> bool {
        self.may_subscribe(who, topic)
    }

    /// Whose topic this is, if it is a device's own: a message on it goes to that device's session, if it subscribed.
    fn device_of(&self, topic: &str) -> Option<DeviceId>;
}
