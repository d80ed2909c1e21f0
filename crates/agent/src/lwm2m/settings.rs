//! What the line is told at its beginning, and the client that follows from it.

use super::link_quality;
use super::site::Home;
use crate::config::{Config, Delivery, Lwm2m};
use crate::pace;
use std::path::PathBuf;
use std::time::Duration;
use updraft_lwm2m::client::device::Device;
use updraft_lwm2m::client::server_object::ServerObject;
use updraft_lwm2m::client::{Client, Retry};
use updraft_lwm2m::coap::Reliability;
use updraft_lwm2m::registration::Lifetime;

/// The server's number in object 1, where no account says it: there is one server.
const SHORT_ID: u16 = 1;
/// Attempts before the pause after a sequence, and before the bootstrap server is asked: the pauses double up to the longest,
/// so that a server that is not heard has some three hours.
const ATTEMPTS: u32 = 16;
/// Refusals before the bootstrap server is asked: half a minute, in which a server that begins anew has read its keys.
const REFUSALS: u32 = 4;

/// What the line is told at its beginning.
pub(super) struct Settings {
    pub(super) home: Home,
    pub(super) seed: [u8; 32],
    pub(super) id: String,
    pub(super) device: Device,
    pub(super) state: PathBuf,
    pub(super) lifetime: Duration,
    pub(super) start_delay: Duration,
    pub(super) is_queued: bool,
    pub(super) delivery: Delivery,
}

impl Settings {
    pub(super) fn new(config: &Config, lwm2m: &Lwm2m, home: Home, seed: [u8; 32]) -> Self {
        let attribute = |name: &str| config.attributes.get(name)?.as_str().map(str::to_owned);
        let device = Device {
            manufacturer: attribute("manufacturer").unwrap_or_default(),
            model: attribute("model").unwrap_or_else(|| config.product.clone()),
            serial: attribute("serial").unwrap_or_else(|| config.id.clone()),
            device_type: Some(config.product.clone()),
            hardware_version: attribute("hardware_version"),
            ..Device::default()
        };
        Self {
            home,
            seed,
            id: config.id.clone(),
            device,
            state: config.state.clone(),
            lifetime: lwm2m.lifetime,
            start_delay: pace::start_delay(lwm2m.start_delay),
            is_queued: lwm2m.is_queued,
            delivery: lwm2m.delivery,
        }
    }

    fn client(&self) -> updraft_lwm2m::client::Config {
        let mut config = updraft_lwm2m::client::Config::new(&self.id);
        config.is_queued = self.is_queued;
        // A state that is not heard of costs the server a question minutes later.
        config.notifications = Reliability::Confirmable;
        config.retry = Retry {
            attempts: ATTEMPTS,
            pause: pace::CHECK_IN_PAUSE_MIN,
            pause_max: pace::CHECK_IN_PAUSE_MAX,
            sequence_pause: pace::CHECK_IN_PAUSE_MAX,
            sequences: 1,
            refusals: REFUSALS,
        };
        config.start_delay = self.start_delay;
        config.bootstrap = match &self.home {
            Home::Server(..) => None,
            Home::Bootstrap(_, security) => Some(security.clone()),
        };
        config
    }

    /// Object 1 where nobody has written to it.
    pub(super) fn server_object(&self) -> ServerObject {
        ServerObject::new(SHORT_ID, Lifetime::of_seconds(self.lifetime.as_secs()))
    }

    pub(super) fn new_client(&self, server: ServerObject) -> Client {
        let client = Client::new(self.client(), self.seed, server, self.device.clone());
        client.with_connectivity(link_quality::read(None))
    }
}
