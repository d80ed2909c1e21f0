//! Who has said something. The broker has let them say it on a topic, and says no more: so the topic decides. Pure.

use super::config::Applications;
use crate::protocols::mqtt::door::Identity;
use crate::protocols::mqtt::topic;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use updraft_wire::replica::Topic as Replica;

/// What applications behind a broker are called.
const APPLICATION: &str = "broker";

/// Whose word a message is; `None` if its topic is nobody's to speak on.
pub(super) fn speaker(topic: &str, payload: &[u8], applications: Applications) -> Option<Identity> {
    let device = topic::device_of(topic)?;
    let who = match applications {
        Applications::WhoeverSetsDesiredState if is_update(topic) && is_desired_alone(payload) => {
            Identity::Application { name: APPLICATION.to_owned() }
        }
        Applications::WhoeverSetsDesiredState | Applications::None => {
            Identity::Device { id: device, product: None }
        }
    };
    topic::may_publish(&who, topic).then_some(who)
}

fn is_update(topic: &str) -> bool {
    matches!(Replica::parse(topic), Some((_, Replica::Update)))
}

/// Whether a payload sets desired state and reports nothing.
fn is_desired_alone(payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Body {
        state: BTreeMap<String, IgnoredAny>,
    }
    serde_json::from_slice::<Body>(payload)
        .is_ok_and(|body| body.state.contains_key("desired") && !body.state.contains_key("reported"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: &str) -> Option<Identity> {
        Some(Identity::Device { id: id.parse().unwrap(), product: None })
    }

    const DESIRED: &[u8] = br#"{"state":{"desired":{"softwareURL":"https://a/b"}}}"#;

    #[test]
    fn a_topic_decides_the_device() {
        for topic in ["state/cam-1/get", "state/cam-1/update", "$aws/things/cam-1/jobs/get"] {
            assert_eq!(speaker(topic, b"", Applications::None), device("cam-1"), "{topic}");
        }
        assert_eq!(speaker("state/cam-1/update", DESIRED, Applications::None), device("cam-1"));
    }

    #[test]
    fn nobody_speaks_on_the_servers_topics_nor_for_a_device_that_cannot_be() {
        for topic in [
            "",
            "state/cam-1/update/delta",
            "state/cam-1/update/rejected",
            "state/a b/update",
            "state/+/update",
            "$aws/things/cam-1/jobs/notify",
            "$aws/things/cam-1/shadow/update/accepted",
            "commands/cam-1",
        ] {
            for applications in [Applications::None, Applications::WhoeverSetsDesiredState] {
                assert_eq!(speaker(topic, DESIRED, applications), None, "{topic}");
            }
        }
    }

    #[test]
    fn desired_state_alone_is_an_applications_where_that_was_chosen() {
        let speaker = |topic, payload| speaker(topic, payload, Applications::WhoeverSetsDesiredState);
        let application = Some(Identity::Application { name: APPLICATION.into() });
        assert_eq!(speaker("state/cam-1/update", DESIRED), application);
        assert_eq!(speaker("state/cam-1/update", br#"{"state":{"desired":null}}"#), application);
        for payload in [
            &br#"{"state":{"desired":{"a":1},"reported":{"a":1}}}"#[..],
            br#"{"state":{"desired":{"a":1},"reported":null}}"#,
            br#"{"state":{"reported":{"a":1}}}"#,
            br#"{"state":{}}"#,
            br#"{"state":{"desired":{}},"state":{"reported":{}}}"#,
            b"jobID:r1-1 SUCCESS",
            b"{",
            b"",
        ] {
            assert_eq!(speaker("state/cam-1/update", payload), device("cam-1"), "{payload:?}");
        }
        for topic in ["state/cam-1/get", "$aws/things/cam-1/shadow/update", "$aws/things/cam-1/jobs/get"] {
            assert_eq!(speaker(topic, DESIRED), device("cam-1"), "{topic}");
        }
    }
}
