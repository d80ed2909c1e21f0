//! The device state replica over MQTT: topics, and the JSON bodies on them.
//!
//! A device says what it is as *reported* state, an application says what it should be as *desired* state, and the
//! replica answers with the difference. The bodies are those of a shadow document; what an Updraft device says of itself
//! and of its update inside them is here, merging documents is not.
//!
//! Unknown fields are ignored on both sides, as in the check-in.

use crate::{Assignment, JobId, Manifest, UpdateStatus};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt;
use std::str::FromStr;

/// The first level of every topic of the replica.
pub const ROOT: &str = "state";

/// Whether a request was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It was.
    Accepted,
    /// It was not.
    Rejected,
}

impl Verdict {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Accepted, Self::Rejected];

    /// The topic level that says so.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }

    /// The verdict that a topic level says.
    #[must_use]
    pub fn parse(level: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == level)
    }
}

/// A device's topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// `update`: state, said by the device or by an application.
    Update,
    /// `update/accepted` and `update/rejected`.
    UpdateReply(Verdict),
    /// `update/delta`: what is desired and not reported.
    Delta,
    /// `get`: asks for the whole state.
    Get,
    /// `get/accepted` and `get/rejected`.
    GetReply(Verdict),
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Update,
        Self::UpdateReply(Verdict::Accepted),
        Self::UpdateReply(Verdict::Rejected),
        Self::Delta,
        Self::Get,
        Self::GetReply(Verdict::Accepted),
        Self::GetReply(Verdict::Rejected),
    ];

    /// What follows the device's ID.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::UpdateReply(Verdict::Accepted) => "update/accepted",
            Self::UpdateReply(Verdict::Rejected) => "update/rejected",
            Self::Delta => "update/delta",
            Self::Get => "get",
            Self::GetReply(Verdict::Accepted) => "get/accepted",
            Self::GetReply(Verdict::Rejected) => "get/rejected",
        }
    }

    /// The topic's name for a device.
    #[must_use]
    pub fn name(self, device: &str) -> String {
        format!("{ROOT}/{device}/{}", self.path())
    }

    /// Whose topic a name is, and which.
    #[must_use]
    pub fn parse(name: &str) -> Option<(&str, Self)> {
        let (device, path) = name.strip_prefix(ROOT)?.strip_prefix('/')?.split_once('/')?;
        let topic = Self::ALL.into_iter().find(|topic| topic.path() == path)?;
        Some((device, topic)).filter(|_| !device.is_empty())
    }
}

/// What a device reports of itself: its description, flat, as policies read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    /// Whatever else describes the device. Names of the fields below are theirs.
    #[serde(flatten)]
    pub attributes: Map<String, Value>,
    /// The product it is.
    pub product: String,
    /// The version that runs as these words are spoken.
    pub version: String,
    /// How often the device has started.
    pub boot: u64,
    /// How the device stands with the last assignment it took. Absent parts are said as `null`, which removes them from
    /// the replica: it merges, and what an earlier word said must not stay beside this one.
    #[serde(default, serialize_with = "with_nulls")]
    pub update: Option<UpdateStatus>,
}

fn with_nulls<S: Serializer>(update: &Option<UpdateStatus>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(UpdateStatus { job, state, progress, reason, detail }) = update else {
        return serializer.serialize_none();
    };
    let mut fields = serializer.serialize_struct("UpdateStatus", 5)?;
    fields.serialize_field("job", job)?;
    fields.serialize_field("state", state)?;
    fields.serialize_field("progress", progress)?;
    fields.serialize_field("reason", reason)?;
    fields.serialize_field("detail", detail)?;
    fields.end()
}

impl Reported {
    /// Names in reported state that are not attributes.
    pub const NAMES: [&str; 4] = ["product", "version", "boot", "update"];

    /// A description whose attributes do not speak for its fields.
    #[must_use]
    pub fn new(
        product: String,
        version: String,
        boot: u64,
        mut attributes: Map<String, Value>,
        update: Option<UpdateStatus>,
    ) -> Self {
        for name in Self::NAMES {
            attributes.remove(name);
        }
        Self { attributes, product, version, boot, update }
    }
}

/// The body on `update`, with what is desired or reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateRequest<D = Value, R = Value> {
    /// What to change.
    pub state: Sections<D, R>,
    /// Echoed in the reply, so that it finds its request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    /// Change nothing unless the replica has this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// The two halves of a device's state, and how they differ.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sections<D = Value, R = Value> {
    /// What an application wants.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub desired: Option<D>,
    /// What the device says.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub reported: Option<R>,
    /// What is desired and not reported; only in replies.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub delta: Option<D>,
}

fn none<T>() -> Option<T> {
    None
}

/// The body on `get`. An empty payload is the same as one without a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetRequest {
    /// Echoed in the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// The body on `update/accepted`, `update/delta` (whose `state` is the difference itself) and `get/accepted`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted<S = Sections> {
    /// The state: what was sent, what differs, or all of it.
    pub state: S,
    /// When each leaf of it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// The replica's version: one more with each change.
    pub version: u64,
    /// When this was said, in seconds since 1970.
    pub timestamp: i64,
    /// The request's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// The body on `update/rejected` and `get/rejected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// As an HTTP status.
    pub code: u16,
    /// A sentence.
    pub message: String,
    /// When this was said, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// The request's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// The part of desired state (and of a delta) that asks a device to update. Other names are ordinary state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DesiredUpdate {
    /// Where the software is: a link made for this device, for clients that know no more than the pattern.
    #[serde(default, rename = "softwareURL", skip_serializing_if = "Option::is_none")]
    pub software_url: Option<String>,
    /// The job to name in the acknowledgement.
    #[serde(default, rename = "jobID", skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// The whole assignment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<Software>,
}

/// An assignment as desired state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Software {
    /// The version to run, as in the manifest.
    pub version: String,
    /// Names this attempt.
    pub job: JobId,
    /// What to install.
    pub manifest: Manifest,
    /// Where the manifest's artifacts are, in its order.
    pub links: Vec<String>,
    /// Whether a version below the confirmed one may be installed.
    #[serde(default)]
    pub allow_downgrade: bool,
}

impl From<Assignment> for Software {
    fn from(assignment: Assignment) -> Self {
        let Assignment { job, manifest, links, allow_downgrade } = assignment;
        Self { version: manifest.version.clone(), job, manifest, links, allow_downgrade }
    }
}

impl From<Software> for Assignment {
    fn from(software: Software) -> Self {
        let Software { version: _, job, manifest, links, allow_downgrade } = software;
        Self { job, manifest, links, allow_downgrade }
    }
}

impl From<Assignment> for DesiredUpdate {
    fn from(assignment: Assignment) -> Self {
        Self {
            software_url: assignment.links.first().cloned(),
            job_id: Some(assignment.job.to_string()),
            software: Some(assignment.into()),
        }
    }
}

/// The plain-text acknowledgement of the pattern: `jobID:<id> SUCCESS` or `jobID:<id> FAILURE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The job, as the delta named it.
    pub job: JobId,
    /// Whether the device says that it took.
    pub is_success: bool,
}

/// Why a text is no acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an acknowledgement is \"jobID:<id> SUCCESS\" or \"jobID:<id> FAILURE\"")]
pub struct InvalidAcknowledgement;

impl fmt::Display for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "jobID:{} {}", self.job, if self.is_success { "SUCCESS" } else { "FAILURE" })
    }
}

impl FromStr for Acknowledgement {
    type Err = InvalidAcknowledgement;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = text.trim().strip_prefix("jobID:").ok_or(InvalidAcknowledgement)?;
        let (job, word) = words.trim_start().split_once(' ').ok_or(InvalidAcknowledgement)?;
        let is_success = match word.trim() {
            "SUCCESS" => true,
            "FAILURE" => false,
            _ => return Err(InvalidAcknowledgement),
        };
        Ok(Self { job: job.parse().map_err(|_| InvalidAcknowledgement)?, is_success })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_topic_is_found_again_by_its_name() {
        for topic in Topic::ALL {
            assert_eq!(Topic::parse(&topic.name("device-1")), Some(("device-1", topic)));
        }
        assert_eq!(Topic::Delta.name("d"), "state/d/update/delta");
    }

    #[test]
    fn a_name_of_another_shape_is_no_topic() {
        for name in
            ["", "state", "state/", "state//update", "state/d", "state/d/", "state/d/update/", "xstate/d/get"]
        {
            assert_eq!(Topic::parse(name), None, "{name:?}");
        }
        for name in ["state/d/e/update", "state/d/update/accepted/", "State/d/update", "state/d/set"] {
            assert_eq!(Topic::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn an_attribute_does_not_speak_for_a_field() {
        let attributes = json!({"region": "eu", "version": "9.9.9", "update": {}, "boot": 0});
        let Value::Object(attributes) = attributes else { unreachable!("an object") };
        let reported = Reported::new("thermostat".into(), "1.0.0".into(), 3, attributes, None);
        let json = serde_json::to_value(&reported).unwrap();
        let expected =
            json!({"region": "eu", "product": "thermostat", "version": "1.0.0", "boot": 3, "update": null});
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Reported>(json).unwrap(), reported);
    }

    #[test]
    fn what_an_earlier_word_said_of_an_update_does_not_stay_beside_a_later_one() {
        let update = serde_json::from_value(json!({"job": "r1-1", "state": "trial"})).unwrap();
        let reported = Reported::new("p".into(), "1.0.0".into(), 1, Map::new(), Some(update));
        let json = serde_json::to_value(&reported).unwrap();
        let expected =
            json!({"job": "r1-1", "state": "trial", "progress": null, "reason": null, "detail": null});
        assert_eq!(json["update"], expected);
        assert_eq!(serde_json::from_value::<Reported>(json).unwrap(), reported);
    }

    #[test]
    fn a_delta_brings_back_the_assignment() {
        let entry = json!({"name": "image", "size": 3, "sha256": "a".repeat(64)});
        let manifest = json!({"format": 1, "product": "p", "version": "1.1.0", "artifacts": [entry]});
        let assignment: Assignment =
            serde_json::from_value(json!({"job": "r1-1", "manifest": manifest, "links": ["https://x/y"]}))
                .unwrap();
        let json = serde_json::to_value(DesiredUpdate::from(assignment.clone())).unwrap();
        assert_eq!(json["softwareURL"], "https://x/y");
        assert_eq!(json["jobID"], "r1-1");
        assert_eq!(json["software"]["version"], "1.1.0");
        let back: DesiredUpdate = serde_json::from_value(json).unwrap();
        assert_eq!(back.software.map(Assignment::from), Some(assignment));
    }

    #[test]
    fn an_acknowledgement_is_read_as_the_pattern_writes_it() {
        let good = Acknowledgement { job: JobId::new("r1", 2).unwrap(), is_success: true };
        assert_eq!("jobID:r1-2 SUCCESS".parse(), Ok(good.clone()));
        assert_eq!("jobID: r1-2 SUCCESS\n".parse(), Ok(good.clone()));
        assert_eq!(good.to_string().parse(), Ok(good));
        for text in ["", "jobID:", "jobID:r1-2", "jobID:r1-2 MAYBE", "r1-2 SUCCESS", "jobID:r1 SUCCESS", "{}"]
        {
            assert_eq!(text.parse::<Acknowledgement>(), Err(InvalidAcknowledgement), "{text:?}");
        }
    }
}
