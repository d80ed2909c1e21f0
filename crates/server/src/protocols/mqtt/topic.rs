//! Topics: whose they are, what they ask for, and who may say or hear what. Pure.
//!
//! A device sees its own topics: those below `state/{device}/` and `$aws/things/{device}/`. It publishes what asks for
//! something, and hears the answers. An application sees the topics of all devices, asks in their name where state is
//! concerned, and never answers in the server's.
//!
//! Deliberately absent: how long a topic may be and what makes a filter well-formed. The endpoint holds both before it asks.

use super::door::Identity;
use super::shadow;
use updraft_core::id::DeviceId;
use updraft_wire::jobs::{self, Topic as Jobs};
use updraft_wire::replica::{self, Topic as Replica, Verdict};

/// What comes before the group and the filter of a shared subscription (MQTT 5, 4.8.2).
const SHARE: &str = "$share/";

/// A topic of a device, by its part of the server. The device's ID is as it stands in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// The device state replica.
    Replica {
        /// The device.
        device: &'a str,
        /// Which topic.
        topic: Replica,
    },
    /// Jobs.
    Jobs {
        /// The device.
        device: &'a str,
        /// Which topic.
        topic: Jobs<'a>,
    },
    /// Shadows.
    Shadow {
        /// The device.
        device: &'a str,
        /// What follows `shadow/`: see [`shadow::Route::parse`] and [`shadow::is_answer_topic`].
        levels: &'a str,
    },
}

/// Who uses a topic to say something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    /// The device, or an application in its name.
    DeviceOrApplication,
    /// The device.
    Device,
    /// The server.
    Server,
}

impl<'a> Route<'a> {
    /// What a topic name stands for; `None` if there is no such topic.
    #[must_use]
    pub fn parse(topic: &'a str) -> Option<Self> {
        let (device, below) = split(topic)?;
        match below {
            Below::State => Replica::parse(topic).map(|(_, topic)| Self::Replica { device, topic }),
            Below::Things(rest) => match rest.strip_prefix("shadow/") {
                Some(levels) => is_shadow_topic(levels).then_some(Self::Shadow { device, levels }),
                None => Jobs::parse(topic).map(|(_, topic)| Self::Jobs { device, topic }),
            },
        }
    }

    /// The device, as it stands in the topic.
    #[must_use]
    pub fn device(&self) -> &'a str {
        match self {
            Self::Replica { device, .. } | Self::Jobs { device, .. } | Self::Shadow { device, .. } => device,
        }
    }

    fn speaker(&self) -> Speaker {
        match self {
            Self::Replica { topic, .. } => match topic {
                Replica::Update | Replica::Get => Speaker::DeviceOrApplication,
                // Devices that follow the pattern's first example acknowledge here instead of on `update`.
                Replica::UpdateReply(Verdict::Accepted) => Speaker::Device,
                Replica::UpdateReply(Verdict::Rejected) | Replica::Delta | Replica::GetReply(_) => {
                    Speaker::Server
                }
            },
            Self::Jobs { topic, .. } => match topic {
                Jobs::Get | Jobs::StartNext | Jobs::Describe(_) | Jobs::Update(_) => Speaker::Device,
                Jobs::Notify
                | Jobs::NotifyNext
                | Jobs::GetReply(_)
                | Jobs::StartNextReply(_)
                | Jobs::DescribeReply(..)
                | Jobs::UpdateReply(..) => Speaker::Server,
            },
            Self::Shadow { levels, .. } => {
                if shadow::is_answer_topic(levels) {
                    Speaker::Server
                } else {
                    Speaker::DeviceOrApplication
                }
            }
        }
    }
}

fn is_shadow_topic(levels: &str) -> bool {
    shadow::Route::parse(levels).is_some() || shadow::is_answer_topic(levels)
}

/// Where in the tree of topics a device's own begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below<'a> {
    State,
    /// With what follows the device.
    Things(&'a str),
}

/// The device's level of a topic or filter, and where that stands; `None` outside of what devices own.
fn split(topic: &str) -> Option<(&str, Below<'_>)> {
    let below = |root: &str| topic.strip_prefix(root)?.strip_prefix('/')?.split_once('/');
    if let Some((device, _)) = below(replica::ROOT) {
        return Some((device, Below::State));
    }
    below(jobs::ROOT).map(|(device, rest)| (device, Below::Things(rest)))
}

/// Whose topic a name is; `None` if it is no device's own.
#[must_use]
pub fn device_of(topic: &str) -> Option<DeviceId> {
    split(topic)?.0.parse().ok()
}

/// Whether a client may publish to a topic, or leave a will for it.
#[must_use]
pub fn may_publish(who: &Identity, topic: &str) -> bool {
    let Some(route) = Route::parse(topic) else { return false };
    match (who, route.speaker()) {
        (Identity::Device { id, .. }, Speaker::DeviceOrApplication | Speaker::Device) => {
            route.device() == id.as_str()
        }
        // For a device that cannot be there, nothing can be asked.
        (Identity::Application { .. }, Speaker::DeviceOrApplication) => {
            route.device().parse::<DeviceId>().is_ok()
        }
        (Identity::Device { .. } | Identity::Application { .. }, Speaker::Device | Speaker::Server) => false,
    }
}

/// Whether a client may subscribe to a filter: a device to whatever can match its own topics only, topics that do not
/// exist and never will among them, because clients in the field ask for such (`.../update/`) and stop when refused.
#[must_use]
pub fn may_subscribe(who: &Identity, filter: &str) -> bool {
    let Some(filter) = unshared(filter) else { return false };
    match who {
        Identity::Device { id, .. } => split(filter).is_some_and(|(device, _)| device == id.as_str()),
        Identity::Application { .. } => !filter.is_empty(),
    }
}

/// The filter within a shared subscription, or the filter itself; `None` for a share of nothing, or of a share.
fn unshared(filter: &str) -> Option<&str> {
    let Some(shared) = filter.strip_prefix(SHARE) else { return Some(filter) };
    let (group, filter) = shared.split_once('/')?;
    (!group.is_empty() && !group.contains(['+', '#']) && !filter.starts_with(SHARE)).then_some(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: &str) -> Identity {
        Identity::Device { id: id.parse().unwrap(), product: None }
    }

    fn application() -> Identity {
        Identity::Application { name: "shop".into() }
    }

    /// Every topic on which a device asks for something, `{}` standing for the device.
    const REQUESTS: [&str; 14] = [
        "state/{}/update",
        "state/{}/get",
        "$aws/things/{}/jobs/get",
        "$aws/things/{}/jobs/start-next",
        "$aws/things/{}/jobs/$next/get",
        "$aws/things/{}/jobs/r1-1/get",
        "$aws/things/{}/jobs/r1-1/update",
        "$aws/things/{}/jobs/get/update",
        "$aws/things/{}/shadow/update",
        "$aws/things/{}/shadow/get",
        "$aws/things/{}/shadow/delete",
        "$aws/things/{}/shadow/name/lamp/update",
        "$aws/things/{}/shadow/name/$update/get",
        "$aws/things/{}/shadow/name/lamp/delete",
    ];

    /// Every topic on which the server speaks.
    const ANSWERS: [&str; 22] = [
        "state/{}/update/rejected",
        "state/{}/update/delta",
        "state/{}/get/accepted",
        "state/{}/get/rejected",
        "$aws/things/{}/jobs/notify",
        "$aws/things/{}/jobs/notify-next",
        "$aws/things/{}/jobs/get/accepted",
        "$aws/things/{}/jobs/get/rejected",
        "$aws/things/{}/jobs/start-next/accepted",
        "$aws/things/{}/jobs/start-next/rejected",
        "$aws/things/{}/jobs/$next/get/accepted",
        "$aws/things/{}/jobs/r1-1/get/rejected",
        "$aws/things/{}/jobs/r1-1/update/accepted",
        "$aws/things/{}/jobs/r1-1/update/rejected",
        "$aws/things/{}/shadow/update/accepted",
        "$aws/things/{}/shadow/get/rejected",
        "$aws/things/{}/shadow/delete/accepted",
        "$aws/things/{}/shadow/update/delta",
        "$aws/things/{}/shadow/update/documents",
        "$aws/things/{}/shadow/name/lamp/update/accepted",
        "$aws/things/{}/shadow/name/lamp/update/delta",
        "$aws/things/{}/shadow/name/lamp/update/documents",
    ];

    /// What looks like a topic of a device and is none.
    const NONSENSE: [&str; 20] = [
        "",
        "/",
        "state",
        "state/cam-1",
        "state/cam-1/",
        "state/cam-1/update/",
        "state/cam-1/set",
        "/state/cam-1/update",
        "State/cam-1/update",
        "state//update",
        "$aws/things/cam-1",
        "$aws/things/cam-1/jobs",
        "$aws/things/cam-1/jobs/",
        "$aws/things/cam-1/jobs/r1-1/delete",
        "$aws/things/cam-1/shadow",
        "$aws/things/cam-1/shadow/name//update",
        "$aws/things/cam-1/shadow/name/a b/update",
        "$aws/things/cam-1/shadow/update/now",
        "$aws/events/job/r1-1/completed",
        "commands/cam-1",
    ];

    fn of(topic: &str, id: &str) -> String {
        topic.replace("{}", id)
    }

    #[test]
    fn a_device_publishes_every_request_of_its_own_and_no_answer() {
        let cam = device("cam-1");
        for topic in REQUESTS {
            assert!(may_publish(&cam, &of(topic, "cam-1")), "{topic}");
        }
        for topic in ANSWERS {
            assert!(!may_publish(&cam, &of(topic, "cam-1")), "{topic}");
        }
        for topic in NONSENSE {
            assert!(!may_publish(&cam, topic), "{topic}");
        }
    }

    #[test]
    fn a_device_may_acknowledge_where_the_pattern_once_said() {
        assert!(may_publish(&device("cam-1"), "state/cam-1/update/accepted"));
        assert!(!may_publish(&device("cam-1"), "state/cam-2/update/accepted"));
        assert!(!may_publish(&application(), "state/cam-1/update/accepted"));
    }

    #[test]
    fn a_device_cannot_publish_on_another_devices_topics_nor_leave_a_will_there() {
        // A will is asked about by the same question.
        for other in ["cam-2", "cam", "cam-11", "CAM-1", "+", "#", "cam-1/../cam-2", "", "$next"] {
            for topic in REQUESTS.into_iter().chain(ANSWERS) {
                assert!(!may_publish(&device("cam-1"), &of(topic, other)), "{topic} {other}");
            }
        }
    }

    #[test]
    fn a_device_subscribes_to_its_own_topics_with_wildcards_below_its_name() {
        let cam = device("cam-1");
        for topic in REQUESTS.into_iter().chain(ANSWERS) {
            assert!(may_subscribe(&cam, &of(topic, "cam-1")), "{topic}");
        }
        for filter in [
            "state/cam-1/#",
            "state/cam-1/+",
            "state/cam-1/update/+",
            "$aws/things/cam-1/#",
            "$aws/things/cam-1/jobs/#",
            "$aws/things/cam-1/jobs/+/get/+",
            "$aws/things/cam-1/jobs/$next/get/accepted",
            "$aws/things/cam-1/jobs/r1-1/update/",
            "$aws/things/cam-1/shadow/name/+/update/delta",
            "$aws/things/cam-1/+/get/+",
            "$aws/things/cam-1/tunnels/notify",
        ] {
            assert!(may_subscribe(&cam, filter), "{filter}");
        }
    }

    #[test]
    fn a_device_cannot_subscribe_to_another_devices_topics() {
        for topic in REQUESTS.into_iter().chain(ANSWERS) {
            for other in ["cam-2", "cam", "cam-11", "CAM-1", ""] {
                assert!(!may_subscribe(&device("cam-1"), &of(topic, other)), "{topic} {other}");
            }
        }
    }

    #[test]
    fn a_device_cannot_subscribe_with_a_wildcard_above_its_name() {
        for filter in [
            "#",
            "+",
            "+/#",
            "+/+/#",
            "+/cam-1/update",
            "state/#",
            "state/+",
            "state/+/update",
            "state/cam-1",
            "state/cam-1+/update",
            "$aws/#",
            "$aws/+/cam-1/jobs/#",
            "$aws/things/#",
            "$aws/things/+/jobs/notify",
            "$aws/things/+/shadow/name/lamp/update/delta",
            "$aws/things/cam-1",
            "+/things/cam-1/#",
            "$SYS/#",
        ] {
            assert!(!may_subscribe(&device("cam-1"), filter), "{filter}");
        }
    }

    #[test]
    fn a_shared_subscription_gives_no_more_than_the_filter_within_it() {
        let cam = device("cam-1");
        for filter in ["state/cam-1/#", "$aws/things/cam-1/jobs/#"] {
            assert!(may_subscribe(&cam, &format!("$share/group/{filter}")));
        }
        for filter in ["#", "state/+/update", "state/cam-2/update", "$aws/things/cam-2/shadow/get/accepted"] {
            assert!(!may_subscribe(&cam, &format!("$share/group/{filter}")), "{filter}");
            assert!(may_subscribe(&application(), &format!("$share/group/{filter}")), "{filter}");
        }
        for filter in ["$share/", "$share/g", "$share//#", "$share/+/#", "$share/g/", "$share/g/$share/g/#"] {
            assert!(!may_subscribe(&cam, filter), "{filter}");
            assert!(!may_subscribe(&application(), filter), "{filter}");
        }
    }

    #[test]
    fn an_application_asks_about_the_state_of_any_device_and_about_nothing_else() {
        for topic in REQUESTS {
            let is_state = !topic.contains("/jobs/");
            for id in ["cam-1", "cam-2"] {
                assert_eq!(may_publish(&application(), &of(topic, id)), is_state, "{topic}");
            }
            for id in ["+", "#", "", "a b", ".", &"x".repeat(129)] {
                assert!(!may_publish(&application(), &of(topic, id)), "{topic} {id}");
            }
        }
        for topic in ANSWERS {
            assert!(!may_publish(&application(), &of(topic, "cam-1")), "{topic}");
        }
        for topic in NONSENSE {
            assert!(!may_publish(&application(), topic), "{topic}");
        }
    }

    #[test]
    fn an_application_hears_all_devices() {
        for filter in ["#", "state/#", "state/+/update/delta", "$aws/things/+/shadow/#", "state/cam-1/update"]
        {
            assert!(may_subscribe(&application(), filter), "{filter}");
        }
        assert!(!may_subscribe(&application(), ""));
    }

    #[test]
    fn every_topic_is_its_devices_and_no_other_topic_is_anyones() {
        for topic in REQUESTS.into_iter().chain(ANSWERS) {
            let name = of(topic, "urn:imei:1");
            assert_eq!(device_of(&name), Some("urn:imei:1".parse().unwrap()), "{topic}");
            assert_eq!(Route::parse(&name).map(|route| route.device()), Some("urn:imei:1"), "{topic}");
        }
        for topic in
            ["", "state", "state/cam-1", "commands/cam-1/ack", "$aws/events/job/x", "state/a b/update"]
        {
            assert_eq!(device_of(topic), None, "{topic}");
            assert_eq!(Route::parse(topic).filter(|route| route.device() != "a b"), None, "{topic}");
        }
    }
}
