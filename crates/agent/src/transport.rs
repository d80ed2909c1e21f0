//! How the agent's words get to the server and its answer back. What follows from an answer is the same for all.

use crate::agent::Input;
use crate::check_in::Http;
use crate::config::{Carrier, Config};
use crate::http::{ClientError, Server};
use crate::session::Wanted;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use updraft_wire::{CheckIn, CheckInAnswer, JobId, Manifest};

/// Carries words to the server.
pub(crate) trait Transport: Send {
    /// Says how the device stands, and what the server wants of it. Waits for the answer, for a bounded time.
    ///
    /// # Errors
    /// [`CheckInError`]; nothing that was said counts as heard then.
    fn check_in(&mut self, words: &CheckIn) -> Result<CheckInAnswer, CheckInError>;

    /// Whether the server has hinted since the last time that a check-in is worth while.
    fn take_hint(&mut self) -> bool;

    /// Whether the verified update may be applied now; `is_open` says what the device's own apply window says.
    fn may_apply(&mut self, is_open: bool, job: &JobId, manifest: &Manifest) -> bool {
        let _ = (job, manifest);
        is_open
    }

    /// Fetches a link that is the transport's own: its parts come as inputs with this number. `false` for links that anybody
    /// may fetch.
    fn fetch(&mut self, number: u64, wanted: &Wanted) -> bool {
        let _ = (number, wanted);
        false
    }

    /// The fetch with this number is given up.
    fn stop_fetch(&mut self) {}
}

/// Why a check-in brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum CheckInError {
    /// The server was not reached, or did not answer in time.
    #[error("the server was not reached")]
    Unreached(#[source] Box<ureq::Error>),
    /// The server does not take this device's word.
    #[error("the server refused with status {status}: {text}")]
    Refused {
        /// 4xx, or the contract's nearest to it.
        status: u16,
        /// What it said, shortened.
        text: String,
    },
    /// The server cannot answer at the moment.
    #[error("the server is not able to answer (status {status})")]
    Unable {
        /// Anything else than 200 and 4xx.
        status: u16,
        /// When to come again, if it said so.
        retry_after: Option<Duration>,
    },
    /// A connection is being made for the first time, and nothing has failed yet.
    #[error("no connection to the server yet")]
    Pending,
    /// There is no connection to the server.
    #[error("no connection to the server: {0}")]
    Offline(String),
    /// The server does not answer, though the connection stands.
    #[error("the server has not answered within {0:.0?}")]
    Silent(Duration),
    /// The answer is too long, not JSON, or not of the agreed shape.
    #[error("the server's answer is not understood: {0}")]
    NotUnderstood(String),
}

/// A transport, and whether it goes without TLS.
pub(crate) type Opened = (Box<dyn Transport>, bool);

/// The transport that the configuration asks for. A hint of the server's wakes whoever receives `inputs`.
///
/// # Errors
/// [`ClientError`] if an address, a certificate or a key is of no use.
pub(crate) fn open(
    config: &Config,
    client: &ureq::Agent,
    inputs: &SyncSender<Input>,
) -> Result<Opened, ClientError> {
    match &config.carrier {
        Carrier::Http { token } => {
            let (client, server, token) = (client.clone(), Server::new(&config.server)?, token.clone());
            let is_plain = server.is_plain;
            Ok((Box::new(Http { client, server, token }), is_plain))
        }
        Carrier::Lwm2m(settings) => open_lwm2m(config, settings, inputs),
        Carrier::Mqtt { flow, credential, keep_alive } => {
            open_mqtt(config, *flow, credential, *keep_alive, inputs)
        }
    }
}

#[cfg(feature = "lwm2m")]
use crate::lwm2m::open as open_lwm2m;
#[cfg(feature = "mqtt")]
use crate::mqtt::open as open_mqtt;

#[cfg(not(feature = "lwm2m"))]
fn open_lwm2m(_: &Config, _: &crate::config::Lwm2m, _: &SyncSender<Input>) -> Result<Opened, ClientError> {
    Err(ClientError::NoLwm2m)
}

#[cfg(not(feature = "mqtt"))]
fn open_mqtt(
    _: &Config,
    _: crate::config::MqttFlow,
    _: &crate::config::Credential,
    _: Duration,
    _: &SyncSender<Input>,
) -> Result<Opened, ClientError> {
    Err(ClientError::NoMqtt)
}
