//! Rollouts: starting, steering and watching them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Starts a rollout. What is left out is as in the standard plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The product.
    pub product: String,
    /// The version of the release to bring.
    pub version: String,
    /// The share of the fleet it is for, in percent: 0.01 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentage: Option<f64>,
    /// When it begins, RFC 3339; at once if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<String>,
    /// Most executions open at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight_max: Option<u32>,
    /// Most executions opened in one minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_minute_max: Option<u32>,
    /// Abort when at least this percentage of ended executions went badly; 101: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_percent: Option<u8>,
    /// Judge only once this many executions have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_ended_min: Option<u32>,
    /// Most attempts with one device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// Wait before the second attempt; doubles with each further one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_off: Option<String>,
    /// How long devices may be silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadlines: Option<DeadlinesChange>,
    /// Whether devices on a newer version are taken back to this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_downgrade: bool,
}

/// How long a device may be silent, phase by phase; what is left out is as in the standard plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadlinesChange {
    /// From the offer to the first sign that the device took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<String>,
    /// Between signs of life while downloading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downloading: Option<String>,
    /// Between signs of life while installing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installing: Option<String>,
    /// From the restart to the report of the version that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebooting: Option<String>,
}

/// Pauses, resumes or aborts a rollout, or retries its failed devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steer {
    /// Why, for the history; at most 512 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// A share of the fleet, and when it may start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wave {
    /// The share reached with this wave, in percent of the fleet.
    pub percentage: f64,
    /// When it begins.
    pub starts: String,
}

/// How a rollout goes about its work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Which share may start when.
    pub waves: Vec<Wave>,
    /// Most executions open at once.
    pub in_flight_max: u32,
    /// Most executions opened in one minute; absent: no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_minute_max: Option<u32>,
    /// Abort when at least this percentage of ended executions went badly; 101: never.
    pub abort_percent: u8,
    /// Judge only once this many executions have ended.
    pub abort_ended_min: u32,
    /// Most attempts with one device.
    pub attempts_max: u32,
    /// Wait before the second attempt.
    pub back_off: String,
    /// How long devices may be silent.
    pub deadlines: Deadlines,
    /// Whether devices on a newer version are taken back to this one.
    pub allow_downgrade: bool,
}

/// How long a device may be silent, phase by phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadlines {
    /// From the offer to the first sign that the device took it.
    pub queued: String,
    /// Between signs of life while downloading.
    pub downloading: String,
    /// Between signs of life while installing.
    pub installing: String,
    /// From the restart to the report of the version that runs.
    pub rebooting: String,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its ID.
    pub id: String,
    /// The product whose release it brings; absent if it brings a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// The version it brings; absent if it brings a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The task it brings, by name; absent if it brings a release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// `draft`, `running`, `paused`, `completed` or `aborted`.
    pub state: String,
    /// Since when.
    pub state_since: String,
    /// Why it stands there, where someone or something decided it.
    pub note: String,
    /// When it was made.
    pub created: String,
    /// How it goes about its work.
    pub plan: Plan,
    /// What happened to it, oldest first; only in the answer about one rollout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Event>,
}

impl Rollout {
    /// What it brings, for people: product and version, or the task.
    #[must_use]
    pub fn brings(&self) -> String {
        brings(self.product.as_deref(), self.version.as_deref(), self.task.as_deref())
    }
}

impl Status {
    /// What it brings, for people: product and version, or the task.
    #[must_use]
    pub fn brings(&self) -> String {
        brings(self.product.as_deref(), self.version.as_deref(), self.task.as_deref())
    }
}

fn brings(product: Option<&str>, version: Option<&str>, task: Option<&str>) -> String {
    match task {
        Some(task) => format!("task {task}"),
        None => format!("{} {}", product.unwrap_or("?"), version.unwrap_or("?")),
    }
}

/// One line of a rollout's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: String,
    /// From which state; absent when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// To which state.
    pub to: String,
    /// Who decided it, or which rule, and why.
    pub note: String,
}

/// How a rollout stands: one execution per device, its latest attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its ID.
    pub id: String,
    /// The product whose release it brings; absent if it brings a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// The version it brings; absent if it brings a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The task it brings, by name; absent if it brings a release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// `draft`, `running`, `paused`, `completed` or `aborted`.
    pub state: String,
    /// Executions per state, all eleven states.
    pub counts: BTreeMap<String, u64>,
    /// Executions that are open.
    pub in_flight: u64,
    /// Devices due and not yet offered, as of `surveyed`; absent before the first look over the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<u64>,
    /// When `due` was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surveyed: Option<String>,
    /// Devices with an execution in this rollout.
    pub devices: u64,
    /// Whether nothing is left to do: no device is due and no execution is open.
    pub settled: bool,
    /// What it is waiting for, in a sentence.
    pub why: String,
}
