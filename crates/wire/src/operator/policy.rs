//! Trying a policy on a device.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Tries a policy on a device that is known or described.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// The policy.
    pub policy: String,
    /// The ID of a known device. Either this or `document`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What a device would report of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Map<String, Value>>,
    /// What `update.version` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// How a policy comes out for a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether the policy holds.
    pub matches: bool,
    /// How each clause came out, in the order written.
    pub clauses: Vec<Clause>,
}

/// How one clause of a policy came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clause {
    /// The clause, as written.
    pub text: String,
    /// Whether it holds; absent if it was not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
    /// What it saw, as a sentence for people.
    pub why: String,
}
