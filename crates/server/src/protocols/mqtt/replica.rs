//! The device state replica: `state/{device}/…` to shadow, reports and one-device rollouts, and back. Pure.
//!
//! The replica is the device's classic shadow, seen on topics of its own, with one part that is not stored: what asks for
//! an update (`softwareURL`, `jobID`, `software`) is rendered from the open execution whenever someone asks. So state
//! and rollouts cannot contradict each other.

mod ask;
mod hear;
mod overlay;
#[cfg(test)]
mod tests;

pub(super) use hear::unknown_device;
pub use overlay::delta;

use super::door::{Effects, Identity, Message};
use super::links::Links;
use crate::shadow::{self, DELTA, Operation};
use bytes::Bytes;
use overlay::{DesiredWork, deltas};
use serde_json::{Value, json};
use updraft_core::fleet::{Error, Fleet};
use updraft_core::id::{DeviceId, RolloutId};
use updraft_core::shadow::ShadowName;
use updraft_core::store::Store;
use updraft_core::time::Timestamp;
use updraft_wire::replica::{ROOT, Topic, Verdict};

/// Why a request is rejected: a code as of HTTP, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused(u16, String);

/// Everything a request is handled with.
pub struct Desk<'a, S> {
    /// Decides.
    pub fleet: &'a mut Fleet<S>,
    /// When.
    pub now: Timestamp,
    /// Whose state it is.
    pub device: &'a DeviceId,
    /// Who asks.
    pub who: &'a Identity,
    /// Makes links.
    pub links: &'a Links,
    /// The ID that a rollout gets which the request may start, drawn at random.
    pub new_rollout: RolloutId,
}

impl<S: Store> Desk<'_, S> {
    /// Takes in a message on one of the topics.
    ///
    /// # Errors
    /// [`Error::Store`]; whatever is wrong with the request is rejected on its own topic.
    pub fn handle(&mut self, topic: Topic, payload: &[u8]) -> Result<Effects, Error> {
        match topic {
            // Devices that follow the pattern's first example acknowledge on the topic of the acceptance.
            Topic::Update | Topic::UpdateReply(Verdict::Accepted) => self.update(payload),
            Topic::Get => self.get(payload),
            Topic::UpdateReply(Verdict::Rejected) | Topic::Delta | Topic::GetReply(_) => {
                Ok(Effects::default())
            }
        }
    }

    fn update(&mut self, payload: &[u8]) -> Result<Effects, Error> {
        let request = match hear::read(self.who, payload) {
            Ok(request) => request,
            Err(refused) => {
                let token = hear::token(payload);
                return Ok(self.rejected(Topic::UpdateReply(Verdict::Rejected), &refused, token));
            }
        };
        let token = request.token.clone();
        if let Err(refused) = self.check(&request)? {
            return Ok(self.rejected(Topic::UpdateReply(Verdict::Rejected), &refused, token));
        }
        let state = self.state_of(&request)?;
        let answer = shadow::answer(
            self.fleet,
            self.now,
            self.device,
            &ShadowName::CLASSIC,
            Operation::Update,
            &state,
        )?;
        let accepted = match answer.reply {
            Ok(accepted) => accepted,
            Err(rejected) => {
                return Ok(published(self.device, Topic::UpdateReply(Verdict::Rejected), rejected.body));
            }
        };
        let asked = request.asked.clone();
        self.carry_out(request)?;
        let accepted = match asked {
            Some(asked) => with_members(&accepted, &["state", "desired"], asked.echo),
            None => accepted,
        };
        let mut effects = published(self.device, Topic::UpdateReply(Verdict::Accepted), accepted);
        let said = answer.events.iter().find(|event| event.topic == DELTA).map(|event| event.body.clone());
        effects.published.extend(deltas(self, said)?);
        effects.published.extend(super::shadow::messages(self.device, &ShadowName::CLASSIC, answer.events));
        Ok(effects)
    }

    fn get(&mut self, payload: &[u8]) -> Result<Effects, Error> {
        let payload = if payload.trim_ascii().is_empty() { b"{}" } else { payload };
        let answer =
            shadow::answer(self.fleet, self.now, self.device, &ShadowName::CLASSIC, Operation::Get, payload)?;
        let work = DesiredWork::of(self)?;
        let body = match (answer.reply, work) {
            (Ok(body), None) => body,
            (Ok(body), Some(work)) => {
                let body = with_members(&body, &["state", "desired"], work.members.clone());
                with_members(&body, &["state", "delta"], work.members)
            }
            (Err(rejected), Some(work)) if rejected.reason.code() == 404 => {
                let timestamp = self.now.as_millis().div_euclid(1000);
                let members = Value::Object(work.members);
                let token = hear::token(payload);
                let mut body = json!({
                    "state": { "desired": members, "delta": members }, "version": 0, "timestamp": timestamp,
                });
                if let Some(token) = token {
                    body["clientToken"] = token.into();
                }
                body.to_string().into()
            }
            (Err(rejected), _) => {
                return Ok(published(self.device, Topic::GetReply(Verdict::Rejected), rejected.body));
            }
        };
        Ok(published(self.device, Topic::GetReply(Verdict::Accepted), body))
    }

    fn rejected(&self, topic: Topic, refused: &Refused, token: Option<String>) -> Effects {
        let Refused(code, message) = refused;
        let timestamp = self.now.as_millis().div_euclid(1000);
        let mut body = json!({ "code": code, "message": message, "timestamp": timestamp });
        if let Some(token) = token {
            body["clientToken"] = token.into();
        }
        published(self.device, topic, body.to_string().into())
    }
}

/// A message on one of the device's topics, for whoever subscribed.
fn published(device: &DeviceId, topic: Topic, payload: Bytes) -> Effects {
    Effects { replies: Vec::new(), published: vec![message(device, topic, payload)] }
}

fn message(device: &DeviceId, topic: Topic, payload: Bytes) -> Message {
    Message { topic: topic.name(device.as_str()).into(), payload }
}

/// The topic on which a device hears what it has to do.
#[must_use]
pub fn delta_topic(device: &DeviceId) -> String {
    format!("{ROOT}/{device}/{}", Topic::Delta.path())
}

/// A body with more members in the object at `path`, made where it is not.
fn with_members(body: &[u8], path: &[&str], members: serde_json::Map<String, Value>) -> Bytes {
    let Ok(mut whole) = serde_json::from_slice::<Value>(body) else { return Bytes::copy_from_slice(body) };
    let mut at = &mut whole;
    for name in path {
        if !at[*name].is_object() {
            at[*name] = json!({});
        }
        at = &mut at[*name];
    }
    if let Some(object) = at.as_object_mut() {
        object.extend(members);
    }
    whole.to_string().into()
}
