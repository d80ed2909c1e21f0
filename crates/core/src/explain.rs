//! Why a device gets a release, or does not: each reason as data.

use crate::id::{DeviceId, ProductName, RolloutId};
use crate::policy;
use crate::rollout::RolloutState;
use crate::state::ExecutionState;
use crate::time::Timestamp;
use crate::version::Version;
use serde::Serialize;
use std::fmt;

/// Why a device does not get a release as it asks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Obstacle {
    /// Nobody started a rollout of the release.
    NoRollout,
    /// The rollout opens nothing in its state.
    RolloutNotOffering {
        /// The state.
        state: RolloutState,
        /// Who or which rule put it there, and why.
        note: String,
    },
    /// The device runs this version.
    AlreadyInstalled,
    /// The device runs a newer version, and the rollout takes nobody back.
    OlderThanInstalled {
        /// What the device runs.
        installed: String,
    },
    /// The device's version is not SemVer, so nobody can tell whether the release is newer.
    VersionUnreadable {
        /// What the device said.
        version: String,
    },
    /// The device's wave has not begun, or no wave reaches it.
    NotItsTurn {
        /// The device's place in this rollout, 0 to 9999: hundredths of a percent.
        position: u16,
        /// Devices below this place may start now.
        open_to: u16,
        /// When its wave begins; `None` if no wave reaches it.
        turn: Option<Timestamp>,
    },
    /// An attempt is under way.
    UnderWay {
        /// Where it stands.
        state: ExecutionState,
        /// Which attempt it is.
        attempt: u32,
    },
    /// An earlier attempt ended, and nothing will try again by itself.
    Ended {
        /// How it ended.
        outcome: ExecutionState,
        /// The explanation kept.
        detail: String,
        /// How many attempts were made.
        attempts: u32,
    },
    /// An earlier attempt ended badly; the next comes later.
    BackOff {
        /// How it ended.
        outcome: ExecutionState,
        /// When the next attempt may begin.
        until: Timestamp,
    },
    /// The rollout has as many executions open as it may.
    InFlightFull {
        /// How many are open.
        in_flight: u64,
        /// How many may be.
        max: u32,
    },
    /// The rollout has opened as many executions as it may in this minute.
    MinuteFull {
        /// When it may open the next.
        until: Timestamp,
    },
    /// The task does not name the device, nor a group it is in.
    NotATarget,
    /// The distribution policy does not match.
    PolicyUnmatched {
        /// Clause by clause.
        explanation: policy::Explanation,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRollout => f.write_str("no rollout of this release was started"),
            Self::RolloutNotOffering { state, note } if note.is_empty() => {
                write!(f, "the rollout is {state}")
            }
            Self::RolloutNotOffering { state, note } => write!(f, "the rollout is {state}: {note}"),
            Self::AlreadyInstalled => f.write_str("the device runs this version already"),
            Self::OlderThanInstalled { installed } => {
                write!(f, "the device runs {installed}, which is newer, and the rollout takes nobody back")
            }
            Self::VersionUnreadable { version } => {
                write!(f, "the device says it runs {version:?}, which is not a SemVer version")
            }
            Self::NotItsTurn { position, open_to, turn } => {
                let percent = |places: &u16| f64::from(*places) / 100.0;
                write!(f, "not its turn: it stands at {:.2} %, ", percent(position))?;
                write!(f, "the rollout is open to {:.2} %", percent(open_to))?;
                f.write_str(if turn.is_some() { "; its wave begins later" } else { "; no wave reaches it" })
            }
            Self::UnderWay { state, attempt } => {
                write!(f, "attempt {attempt} is under way: {}", state.kind())
            }
            Self::Ended { outcome, detail, attempts } => {
                write!(f, "attempt {attempts} ended as {}", outcome.kind())?;
                if let Some(reason) = outcome.reason() {
                    write!(f, " ({})", reason.as_str())?;
                }
                write!(f, ": {detail}; it is not tried again by itself")
            }
            Self::BackOff { outcome, .. } => {
                write!(f, "the last attempt ended as {}; it is tried again later", outcome.kind())
            }
            Self::InFlightFull { in_flight, max } => {
                write!(f, "the rollout has {in_flight} executions open and may have {max}")
            }
            Self::MinuteFull { .. } => {
                f.write_str("the rollout has opened as many executions as it may in this minute")
            }
            Self::NotATarget => f.write_str("the task names neither the device nor a group it is in"),
            Self::PolicyUnmatched { explanation } => write!(f, "the policy does not match: {explanation}"),
        }
    }
}

/// One release in the light of one device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReleaseExplanation {
    /// The release's version.
    pub version: Version,
    /// Its rollout, the latest if there were several.
    pub rollout: Option<RolloutId>,
    /// What stands in the way; empty: nothing.
    pub obstacles: Vec<Obstacle>,
    /// How the policy came to its result, clause by clause.
    pub policy: policy::Explanation,
}

/// What would happen if the device asked now, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The device.
    pub device: DeviceId,
    /// The product it says it is.
    pub product: ProductName,
    /// The version it says it runs.
    pub version: String,
    /// The execution that is open, if one is: nothing else is offered until it has ended.
    pub open: Option<OpenExecution>,
    /// The release it would be offered, if any.
    pub would_offer: Option<Version>,
    /// Each release of its product, the newest first.
    pub releases: Vec<ReleaseExplanation>,
}

/// An open execution, for the explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenExecution {
    /// The rollout.
    pub rollout: RolloutId,
    /// The attempt.
    pub attempt: u32,
    /// Where it stands.
    pub state: ExecutionState,
    /// Since when.
    pub since: Timestamp,
    /// When silence will end it.
    pub deadline: Timestamp,
    /// What was last said of it; empty: nothing.
    pub detail: String,
}
