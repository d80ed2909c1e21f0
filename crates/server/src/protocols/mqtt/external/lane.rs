//! The connections to the broker, each a lane: what is said to one device always takes the same, so it keeps its order.

use super::config::ExternalConfig;
use super::say::{Up, WAITING_MAX};
use crate::protocols::mqtt::door::Message;
use crate::protocols::mqtt::topic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::{mpsc, watch};
use updraft_core::position::stable_hash;

/// What the spread of devices over lanes is drawn by, so that it is independent of their turns in rollouts.
const SALT: &str = "lane";

/// What a lane is for, beside what is said on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Devices are heard on it.
    First,
    /// Devices are heard on it as well where the broker shares: else each would be heard by every lane.
    Further,
}

/// One connection, made again whenever it is lost, and what waits to be said on it.
pub(super) struct Lane {
    pub(super) place: Place,
    pub(super) client_id: String,
    /// Messages that wait to be sent.
    pub(super) outbound: mpsc::Sender<Message>,
    /// The other end of it; taken once.
    waiting: Mutex<Option<mpsc::Receiver<Message>>>,
    /// Messages that wait no longer and are not acknowledged either.
    pub(super) unacknowledged: AtomicUsize,
    pub(super) up: watch::Sender<Option<Up>>,
    /// Why there is no connection, if there is none.
    trouble: Mutex<Option<String>>,
}

impl Lane {
    fn new(place: Place, client_id: String, waiting_max: usize) -> Self {
        let (outbound, waiting) = mpsc::channel(waiting_max);
        Self {
            place,
            client_id,
            outbound,
            waiting: Mutex::new(Some(waiting)),
            unacknowledged: AtomicUsize::new(0),
            up: watch::Sender::new(None),
            trouble: Mutex::default(),
        }
    }

    pub(super) fn take_waiting(&self) -> Option<mpsc::Receiver<Message>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_trouble(&self, why: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// How many messages wait or are not acknowledged.
    pub(super) fn unsaid(&self) -> usize {
        let waiting = self.outbound.max_capacity() - self.outbound.capacity();
        waiting + self.unacknowledged.load(Ordering::Relaxed)
    }
}

/// All lanes.
pub(super) struct Lanes(Vec<Lane>);

impl Lanes {
    /// As many as are configured, which is at least one. The first has the client ID as it is, the others with a number.
    pub(super) fn new(config: &ExternalConfig, client_id: &str) -> Self {
        let count = config.connections.max(1);
        let waiting_max = WAITING_MAX / count;
        let further =
            (2..=count).map(|number| Lane::new(Place::Further, format!("{client_id}-{number}"), waiting_max));
        let first = Lane::new(Place::First, client_id.to_owned(), waiting_max);
        Self(std::iter::once(first).chain(further).collect())
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Lane> {
        self.0.iter()
    }

    pub(super) fn first(&self) -> &Lane {
        &self.0[0]
    }

    /// The lane of whose topic it is.
    pub(super) fn of(&self, topic: &str) -> &Lane {
        let Some(device) = topic::device_of(topic) else { return self.first() };
        // The high bits, as everywhere: places of a line, without the bias of a remainder.
        let place = (u128::from(stable_hash(device.as_str(), SALT)) * self.0.len() as u128) >> 64;
        &self.0[usize::try_from(place)
            .expect("a product of the lanes and a fraction below one is below the lanes")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn lanes(connections: usize) -> Lanes {
        Lanes::new(&ExternalConfig { connections, ..ExternalConfig::default() }, "updraft")
    }

    #[test]
    fn each_connection_has_a_client_id_of_its_own() {
        let ids =
            |connections| lanes(connections).iter().map(|lane| lane.client_id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(1), ["updraft"]);
        assert_eq!(ids(3), ["updraft", "updraft-2", "updraft-3"]);
    }

    #[test]
    fn all_that_is_said_to_a_device_takes_one_lane_and_devices_are_spread_over_all() {
        let lanes = lanes(4);
        let mut devices: BTreeMap<&str, usize> = BTreeMap::new();
        for number in 0..1_000 {
            let topics = [
                "state/d-N/update/delta",
                "$aws/things/d-N/jobs/notify",
                "$aws/things/d-N/shadow/get/accepted",
            ]
            .map(|topic| topic.replace('N', &number.to_string()));
            let ids = topics.each_ref().map(|topic| lanes.of(topic).client_id.as_str());
            assert_eq!((ids[0], ids[0]), (ids[1], ids[2]));
            *devices.entry(ids[0]).or_default() += 1;
        }
        assert_eq!(devices.len(), 4);
        assert!(devices.values().all(|count| (200..300).contains(count)), "{devices:?}");
    }

    #[test]
    fn lanes_share_the_places_in_which_messages_wait() {
        let places: usize = lanes(64).iter().map(|lane| lane.outbound.max_capacity()).sum();
        assert_eq!(places, WAITING_MAX);
    }
}
