//! What the server subscribes to, and what it may say: the topics of the contracts that are spoken. Pure.
//!
//! Deliberately absent: `state/+/update/accepted`, on which devices of the pattern's first example acknowledge. The server
//! publishes there itself and would hear each of its own answers.

use super::config::{Contract, ExternalConfig};
use super::lane::Place;

const REPLICA: [&str; 2] = ["state/+/update", "state/+/get"];
const JOBS: [&str; 4] = [
    "$aws/things/+/jobs/get",
    "$aws/things/+/jobs/start-next",
    "$aws/things/+/jobs/+/get",
    "$aws/things/+/jobs/+/update",
];
const SHADOW: [&str; 6] = [
    "$aws/things/+/shadow/update",
    "$aws/things/+/shadow/get",
    "$aws/things/+/shadow/delete",
    "$aws/things/+/shadow/name/+/update",
    "$aws/things/+/shadow/name/+/get",
    "$aws/things/+/shadow/name/+/delete",
];

/// How the server hears devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subscription {
    /// Each message goes to one of the servers.
    Shared,
    /// Each message goes to this server.
    Plain,
}

/// How the server hears devices on the topics of each contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subscriptions {
    /// On `state/…`.
    pub(super) state: Subscription,
    /// On `$aws/things/…`.
    pub(super) things: Subscription,
}

impl Subscriptions {
    /// Each message goes to this server.
    pub(super) const PLAIN: Self = Self { state: Subscription::Plain, things: Subscription::Plain };

    pub(super) fn of(self, contract: Contract) -> Subscription {
        match contract {
            Contract::Replica => self.state,
            Contract::Jobs | Contract::Shadow => self.things,
        }
    }
}

/// The filters of what devices ask on one of the connections, each message matching one at most.
pub(super) fn requests(config: &ExternalConfig, subscriptions: Subscriptions, place: Place) -> Vec<String> {
    let of = |contract: Contract| -> &'static [&'static str] {
        match contract {
            Contract::Replica => &REPLICA,
            Contract::Jobs => &JOBS,
            Contract::Shadow => &SHADOW,
        }
    };
    let written = |contract: Contract, filter: &str| match subscriptions.of(contract) {
        Subscription::Shared => format!("$share/{}/{filter}", config.share_group),
        Subscription::Plain => filter.to_owned(),
    };
    let is_heard = |contract: &Contract| {
        config.speaks(*contract)
            && match (place, subscriptions.of(*contract)) {
                (Place::First, Subscription::Shared | Subscription::Plain)
                | (Place::Further, Subscription::Shared) => true,
                (Place::Further, Subscription::Plain) => false,
            }
    };
    let spoken = Contract::ALL.into_iter().filter(is_heard);
    spoken.flat_map(|contract| of(contract).iter().map(move |filter| written(contract, filter))).collect()
}

/// Whether a message may leave: one of a contract that is not spoken may be the broker's own business, and some brokers
/// hang up on whoever publishes what it may not.
pub(super) fn carries(config: &ExternalConfig, topic: &str) -> bool {
    let contract = match topic.split('/').nth(3) {
        _ if topic.starts_with("state/") => Contract::Replica,
        Some("jobs") => Contract::Jobs,
        Some("shadow") => Contract::Shadow,
        _ => return false,
    };
    config.speaks(contract)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocols::mqtt::door::Identity;
    use crate::protocols::mqtt::endpoint::matches;
    use crate::protocols::mqtt::topic::may_publish;

    fn config(contracts: &[Contract]) -> ExternalConfig {
        ExternalConfig { contracts: contracts.to_vec(), ..ExternalConfig::default() }
    }

    /// Topics on which a device may ask, among them those whose names could be mistaken for one another.
    const ASKED: [&str; 14] = [
        "state/cam-1/update",
        "state/cam-1/get",
        "$aws/things/cam-1/jobs/get",
        "$aws/things/cam-1/jobs/start-next",
        "$aws/things/cam-1/jobs/$next/get",
        "$aws/things/cam-1/jobs/r1-1/get",
        "$aws/things/cam-1/jobs/get/update",
        "$aws/things/cam-1/jobs/start-next/get",
        "$aws/things/cam-1/shadow/update",
        "$aws/things/cam-1/shadow/get",
        "$aws/things/cam-1/shadow/delete",
        "$aws/things/cam-1/shadow/name/lamp/update",
        "$aws/things/cam-1/shadow/name/get/delete",
        "$aws/things/cam-1/shadow/name/$x/get",
    ];

    /// Topics on which the server speaks.
    const SAID: [&str; 14] = [
        "state/cam-1/update/accepted",
        "state/cam-1/update/rejected",
        "state/cam-1/update/delta",
        "state/cam-1/get/accepted",
        "$aws/things/cam-1/jobs/notify",
        "$aws/things/cam-1/jobs/notify-next",
        "$aws/things/cam-1/jobs/get/accepted",
        "$aws/things/cam-1/jobs/start-next/rejected",
        "$aws/things/cam-1/jobs/r1-1/update/accepted",
        "$aws/things/cam-1/jobs/$next/get/accepted",
        "$aws/things/cam-1/shadow/update/delta",
        "$aws/things/cam-1/shadow/update/documents",
        "$aws/things/cam-1/shadow/name/lamp/get/rejected",
        "$aws/things/cam-1/shadow/name/update/update/accepted",
    ];

    #[test]
    fn each_request_matches_one_filter_and_is_heard_once() {
        let all = requests(&ExternalConfig::default(), Subscriptions::PLAIN, Place::First);
        let device = Identity::Device { id: "cam-1".parse().unwrap(), product: None };
        for topic in ASKED {
            assert!(may_publish(&device, topic), "{topic}");
            assert_eq!(all.iter().filter(|filter| matches(filter, topic)).count(), 1, "{topic}");
        }
    }

    #[test]
    fn the_server_never_hears_itself() {
        let all = requests(&ExternalConfig::default(), Subscriptions::PLAIN, Place::First);
        for topic in SAID {
            assert!(!all.iter().any(|filter| matches(filter, topic)), "{topic}");
        }
    }

    #[test]
    fn what_is_not_spoken_is_neither_heard_nor_said() {
        let replica = config(&[Contract::Replica]);
        assert_eq!(requests(&replica, Subscriptions::PLAIN, Place::First), REPLICA);
        for topic in SAID {
            assert_eq!(carries(&replica, topic), topic.starts_with("state/"), "{topic}");
            assert!(carries(&ExternalConfig::default(), topic), "{topic}");
        }
        assert!(!carries(&ExternalConfig::default(), "commands/cam-1"));
        assert!(!carries(&config(&[Contract::Jobs]), "$aws/things/jobs/shadow/get/accepted"));
        assert!(carries(&config(&[Contract::Shadow]), "$aws/things/jobs/shadow/get/accepted"));
    }

    #[test]
    fn a_shared_subscription_names_its_group() {
        let config = ExternalConfig { share_group: "ota".into(), ..config(&[Contract::Replica]) };
        assert_eq!(
            requests(&config, STATE_SHARED, Place::First),
            ["$share/ota/state/+/update", "$share/ota/state/+/get"]
        );
    }

    /// As with mosquitto.
    const STATE_SHARED: Subscriptions =
        Subscriptions { state: Subscription::Shared, things: Subscription::Plain };

    #[test]
    fn further_connections_hear_what_is_shared_and_nothing_else() {
        let config = ExternalConfig::default();
        let first = requests(&config, STATE_SHARED, Place::First);
        let further = requests(&config, STATE_SHARED, Place::Further);
        assert_eq!(further, ["$share/updraft/state/+/update", "$share/updraft/state/+/get"]);
        assert_eq!(first.len(), REPLICA.len() + JOBS.len() + SHADOW.len());
        assert!(requests(&config, Subscriptions::PLAIN, Place::Further).is_empty());
    }
}
