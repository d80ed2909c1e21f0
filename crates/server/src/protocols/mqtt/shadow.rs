//! Shadows over MQTT: topics in, topics out. What the bodies say is [`crate::shadow`].
//!
//! Answers are ordinary messages: who wants them has subscribed to them before it asked (Developer Guide, "Device Shadow
//! MQTT topics").

use super::door::{Effects, Message};
use crate::shadow::{Answer, DELTA, DOCUMENTS, Event, Operation, answer, topic_prefix};
use updraft_core::fleet::{Error, Fleet};
use updraft_core::id::DeviceId;
use updraft_core::shadow::ShadowName;
use updraft_core::store::Store;
use updraft_core::time::Timestamp;

/// What a publish to a shadow's topic asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Of which shadow.
    pub name: ShadowName,
    /// What.
    pub operation: Operation,
}

impl Route {
    /// The request that the levels after `$aws/things/{device}/shadow/` name; `None` if nobody but the server publishes
    /// there, or there is no such topic.
    #[must_use]
    pub fn parse(levels: &str) -> Option<Self> {
        let (name, levels) = split(levels)?;
        let operation = Operation::ALL.into_iter().find(|operation| operation.as_str() == levels)?;
        Some(Self { name, operation })
    }
}

/// The shadow whose delta the levels after `$aws/things/{device}/shadow/` name: who subscribes to it may have missed one.
#[must_use]
pub fn delta_topic(levels: &str) -> Option<ShadowName> {
    split(levels).and_then(|(name, levels)| (levels == DELTA).then_some(name))
}

/// Whether the levels after `$aws/things/{device}/shadow/` are a topic on which the server answers or tells.
#[must_use]
pub fn is_answer_topic(levels: &str) -> bool {
    let Some((_, levels)) = split(levels) else { return false };
    let is_reply = |operation: Operation| {
        let rest = levels.strip_prefix(operation.as_str());
        matches!(rest, Some("/accepted" | "/rejected"))
    };
    levels == DELTA || levels == DOCUMENTS || Operation::ALL.into_iter().any(is_reply)
}

/// Which shadow, and the levels after it.
fn split(levels: &str) -> Option<(ShadowName, &str)> {
    match levels.strip_prefix("name/") {
        None => Some((ShadowName::CLASSIC, levels)),
        Some(named) => {
            let (name, levels) = named.split_once('/')?;
            Some((name.parse().ok()?, levels))
        }
    }
}

/// Does what a publish asks for, and says what is to be published in turn.
///
/// # Errors
/// [`Error::Store`]; whatever is wrong with the request is published as rejected.
pub fn handle<S: Store>(
    fleet: &mut Fleet<S>,
    now: Timestamp,
    device: &DeviceId,
    route: &Route,
    payload: &[u8],
) -> Result<Effects, Error> {
    let Route { name, operation } = route;
    let Answer { reply, events } = answer(fleet, now, device, name, *operation, payload)?;
    let (verdict, body) = match reply {
        Ok(body) => ("accepted", body),
        Err(rejected) => ("rejected", rejected.body),
    };
    let prefix = topic_prefix(device, name);
    let topic = format!("{prefix}/{}/{verdict}", operation.as_str());
    let mut published = vec![Message { topic: topic.into(), payload: body }];
    published.extend(messages(device, name, events));
    Ok(Effects { replies: Vec::new(), published })
}

/// The messages that tell of a shadow's change, whatever carried the request.
pub fn messages(device: &DeviceId, name: &ShadowName, events: Vec<Event>) -> impl Iterator<Item = Message> {
    let prefix = topic_prefix(device, name);
    events.into_iter().map(move |Event { topic, body }| Message {
        topic: format!("{prefix}/{topic}").into(),
        payload: body,
    })
}
