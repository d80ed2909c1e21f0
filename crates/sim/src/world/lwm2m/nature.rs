//! What a device is like: what it can do, how it sleeps, and which liberties it takes with the standard.

use crate::random::Random;
use std::time::Duration;
use updraft_lwm2m::client::{Config, Retry};
use updraft_lwm2m::coap::Reliability;
use updraft_lwm2m::firmware::object::Abilities;
use updraft_lwm2m::firmware::{DeliveryMethod, Scheme, Schemes};

/// Largest image a device has room for.
const IMAGE_BYTES_MAX: u64 = 4 << 20;

/// What a device is like.
#[derive(Debug, Clone)]
pub(super) struct Nature {
    /// It proves who it is, by a session that outlives a change of its address.
    pub(super) is_secured: bool,
    /// It sleeps between its words.
    pub(super) is_queued: bool,
    /// How images reach it.
    pub(super) delivery: DeliveryMethod,
    /// How long its registration lives, in seconds.
    pub(super) lifetime_s: u32,
    pub(super) notifications: Reliability,
    /// None of its notifications arrives.
    pub(super) is_mute: bool,
    /// It lets nobody observe it.
    pub(super) is_unobservable: bool,
    /// It runs a new image on trial first.
    pub(super) has_trial: bool,
    /// It puts updates off, once each.
    pub(super) defers: bool,
    /// After a restart it says that nothing came of any update.
    pub(super) forgets_results: bool,
    /// It takes a link, and never asks for a byte.
    pub(super) fetches_nothing: bool,
    /// It finds every image damaged.
    pub(super) damages_images: bool,
    /// Its radio signal, in dBm.
    pub(super) signal_dbm: i32,
}

impl Nature {
    /// A device without whims.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self {
        is_secured: false,
        is_queued: false,
        delivery: DeliveryMethod::Both,
        lifetime_s: 600,
        notifications: Reliability::NonConfirmable,
        is_mute: false,
        is_unobservable: false,
        has_trial: false,
        defers: false,
        forgets_results: false,
        fetches_nothing: false,
        damages_images: false,
        signal_dbm: -80,
    };

    /// A device drawn at random.
    pub(super) fn draw(random: &mut Random) -> Self {
        let delivery = [DeliveryMethod::Pull, DeliveryMethod::Push, DeliveryMethod::Both][random.index(3)];
        Self {
            is_secured: random.chance(400),
            is_queued: random.chance(250),
            delivery,
            lifetime_s: u32::try_from(random.between(120, 600)).unwrap_or(120),
            notifications: if random.chance(300) {
                Reliability::Confirmable
            } else {
                Reliability::NonConfirmable
            },
            is_mute: random.chance(100),
            is_unobservable: random.chance(150),
            has_trial: random.chance(500),
            defers: random.chance(200),
            forgets_results: random.chance(150),
            fetches_nothing: false,
            damages_images: false,
            signal_dbm: -i32::try_from(random.between(60, 120)).unwrap_or(60),
        }
    }

    pub(super) fn abilities(&self) -> Abilities {
        let schemes: Schemes = [Scheme::Coap].into_iter().collect();
        Abilities { schemes, delivery: self.delivery, image_bytes_max: IMAGE_BYTES_MAX }
    }

    /// The client's settings. It comes back sooner than the standard's defaults say, so that a run is hours, not days.
    pub(super) fn config(&self, endpoint: &str) -> Config {
        let mut config = Config::new(endpoint);
        config.is_queued = self.is_queued;
        config.notifications = self.notifications;
        config.retry = Retry {
            pause: Duration::from_secs(20),
            pause_max: Duration::from_secs(120),
            sequence_pause: Duration::from_secs(300),
            ..Retry::default()
        };
        if self.is_unobservable {
            config.coap.observers_max = 0;
        }
        config
    }
}
