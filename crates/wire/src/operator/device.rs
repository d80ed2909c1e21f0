//! Devices, and why one of them is or is not updated.

use super::policy::Outcome;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A device in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Its ID.
    pub id: String,
    /// The product it says it is.
    pub product: String,
    /// The version it says it runs.
    pub version: String,
    /// When it was last heard of; absent if it has not been since the server keeps this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
}

/// A device with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its ID.
    pub id: String,
    /// The product it says it is.
    pub product: String,
    /// The version it says it runs.
    pub version: String,
    /// When it was last heard of.
    #[serde(default)]
    pub last_seen: Option<String>,
    /// When it was first heard of.
    pub first_seen: String,
    /// When its description last changed.
    pub changed: String,
    /// How often it has started, where its protocol tells; else 0.
    pub boot: u64,
    /// Everything it said of itself, flat.
    pub attributes: Map<String, Value>,
    /// Its latest attempt in each rollout, the latest change first.
    pub executions: Vec<Execution>,
    /// What happened to its executions, newest first.
    pub history: Vec<Event>,
}

/// One device's part in one rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// The rollout.
    pub rollout: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Where it stands: one of the ten words of a rollout's counts.
    pub state: String,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Percent of the current step, as last told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// The last explanation, of the device or of the server.
    pub detail: String,
    /// The version the device ran when the attempt began.
    pub from_version: String,
    /// How often the offer was made.
    pub offers: u32,
    /// When the attempt began.
    pub opened: String,
    /// When the state last changed.
    pub changed: String,
    /// When silence ends it; absent once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
}

/// One line of a device's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: String,
    /// The rollout.
    pub rollout: String,
    /// The attempt.
    pub attempt: u32,
    /// From which state; absent when the attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// To which state.
    pub to: String,
    /// Why, in a sentence.
    pub note: String,
}

/// What would happen if a device asked at this moment, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The device.
    pub device: String,
    /// The product it says it is.
    pub product: String,
    /// The version it says it runs.
    pub version: String,
    /// The answer, in a sentence.
    pub summary: String,
    /// The version it would be offered; absent if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_offer: Option<String>,
    /// The execution that is open: nothing else is offered until it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenExecution>,
    /// Each release of its product, the newest first; only the one asked about, if one was.
    pub releases: Vec<ReleaseExplanation>,
}

/// An execution under way, for the explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenExecution {
    /// The rollout.
    pub rollout: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Where it stands.
    pub state: String,
    /// Since when.
    pub since: String,
    /// When silence ends it.
    pub deadline: String,
    /// What was last said of it; absent: nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// One release in the light of one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseExplanation {
    /// The release's version.
    pub version: String,
    /// Its rollout, the latest if there were several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// What stands in the way; empty: nothing.
    pub obstacles: Vec<Obstacle>,
    /// How the policy came out.
    pub policy: Outcome,
}

/// One thing that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// The reason as a stable word for programs.
    pub code: String,
    /// The reason as a sentence for people.
    pub text: String,
    /// When it goes away by itself, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}
