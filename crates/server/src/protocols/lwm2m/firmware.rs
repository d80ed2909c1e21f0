//! The Firmware Update object (object 5) to an execution and back: the table of `docs/protocols/lwm2m.md`, as code. Pure.

use super::config::{DeliveryConfig, SeverityWord};
use updraft_core::execution::Details;
use updraft_core::fleet::{Answer, Pending};
use updraft_core::id::RolloutId;
use updraft_core::report::{Progress, Word};
use updraft_core::state::FailureReason;
use updraft_lwm2m::firmware::{
    Campaign, Event, Failure, Limits, Marker, Outcome, Proof, Severity, Stage, Unfit, UpdateResult, Upgrade,
};

use crate::artifacts::Digest;

/// Under which name the marker of a campaign stands among an execution's notes.
pub const MARKER_NOTE: &str = "lwm2m";

/// What a device is to be updated to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The rollout.
    pub rollout: RolloutId,
    /// The attempt.
    pub attempt: u32,
    /// The version.
    pub version: String,
    /// The image.
    pub image: Digest,
    /// Its size, in bytes.
    pub size: u64,
    /// What was noted of the campaign before.
    pub marker: Option<Marker>,
}

impl Work {
    /// The update among what a device has before it. Tasks are documents, which LwM2M has no place for.
    #[must_use]
    pub fn of(pending: &[Pending]) -> Option<Self> {
        let (execution, update) =
            pending.iter().find_map(|one| one.update.as_ref().map(|update| (&one.execution, update)))?;
        let artifact = &update.release.artifact;
        let note = execution.details.get(MARKER_NOTE);
        Some(Self {
            rollout: update.rollout.clone(),
            attempt: update.attempt,
            version: update.release.version.to_string(),
            image: artifact.sha256.parse().ok()?,
            size: artifact.size,
            marker: note.and_then(|note| hex::decode(note).ok()).and_then(|bytes| Marker::decode(&bytes)),
        })
    }

    /// Whether both are the same attempt at the same rollout.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.rollout == other.rollout && self.attempt == other.attempt
    }

    /// What the driver is to bring about.
    #[must_use]
    pub fn campaign(&self, rules: &DeliveryConfig, limits: Limits) -> Campaign {
        let image = *self.image.as_bytes().first_chunk().expect("a digest has 32 bytes");
        Campaign {
            marker: self.marker.clone(),
            severity: Some(match rules.severity {
                SeverityWord::Critical => Severity::Critical,
                SeverityWord::Mandatory => Severity::Mandatory,
                SeverityWord::Optional => Severity::Optional,
            }),
            defer_max: Some(rules.defer_max.0),
            upgrade: Upgrade::Gated,
            limits,
            ..Campaign::new(self.version.clone(), image)
        }
    }
}

/// What the fleet is told.
#[derive(Debug, Clone)]
pub enum Said {
    /// How far the device is.
    Progress(Progress),
    /// A word that needs an answer: the marker to be kept, or the end.
    Answer(Answer),
}

/// What an event of the driver says to the fleet; `None`: nothing.
#[must_use]
pub fn said(work: &Work, event: &Event) -> Option<Said> {
    let progress = |word, percent, detail: String| {
        Some(Said::Progress(Progress {
            rollout: work.rollout.clone(),
            attempt: work.attempt,
            word,
            percent,
            detail,
        }))
    };
    match event {
        Event::Persist(marker) => Some(Said::Answer(Answer {
            details: Some(notes(marker)),
            ..answer(work, step(marker), String::new())
        })),
        Event::Downloading { percent } => progress(Word::Downloading, Some(*percent), String::new()),
        Event::Downloaded => progress(Word::Downloaded, None, String::new()),
        Event::Executing => progress(Word::Installing, None, String::new()),
        Event::Deferred { .. } => {
            progress(Word::Downloaded, None, "the device puts the update off".to_owned())
        }
        Event::Retrying { failure, .. } => {
            let detail = format!("{}; the download begins again", sentence(*failure));
            progress(Word::Downloading, None, detail)
        }
        Event::Ended(outcome) => Some(Said::Answer(ended(work, outcome))),
        // A matter between the driver and its caller.
        Event::Decide(_) | Event::Ready => None,
    }
}

/// What is said to the fleet of a push that waits, and why it does.
#[must_use]
pub fn waits(work: &Work, why: &str) -> Said {
    Said::Progress(Progress {
        rollout: work.rollout.clone(),
        attempt: work.attempt,
        word: Word::Downloading,
        percent: None,
        detail: format!("the push waits for a better link: {why}"),
    })
}

/// How a campaign ended, in the fleet's words.
fn ended(work: &Work, outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Succeeded(proof) => {
            let detail = match proof {
                Proof::Already => "the device ran the version before anything was done".to_owned(),
                Proof::Version => String::new(),
                Proof::Result { version } => format!(
                    "the device says that the update succeeded (result 1), and calls its version {}",
                    version.as_deref().unwrap_or("nothing")
                ),
            };
            Answer { version: Some(work.version.clone()), ..answer(work, Word::Succeeded, detail) }
        }
        Outcome::RolledBack { version, result } => {
            let runs = version.as_deref().unwrap_or("an unknown version");
            let detail = format!("the device restarted and runs {runs} (result {})", result.code());
            answer(work, Word::Failed(FailureReason::RolledBack), detail)
        }
        Outcome::Failed(failure) => answer(work, Word::Failed(reason(*failure)), sentence(*failure)),
        Outcome::Cancelled => {
            let detail = "the update was cancelled on the device".to_owned();
            answer(work, Word::Failed(FailureReason::Cancelled), detail)
        }
    }
}

fn answer(work: &Work, word: Word, detail: String) -> Answer {
    Answer {
        attempt: Some(work.attempt),
        revision: None,
        word,
        detail,
        details: None,
        timer: None,
        version: None,
    }
}

/// The marker as the execution's notes hold it.
fn notes(marker: &Marker) -> Details {
    [(MARKER_NOTE.to_owned(), hex::encode(marker.encode()))].into()
}

/// The word that says no more than the marker does: a word behind where the execution stands changes nothing.
fn step(marker: &Marker) -> Word {
    match marker.placement.as_ref().map(|placement| placement.stage) {
        None | Some(Stage::Placing | Stage::Placed) => Word::Downloading,
        Some(Stage::Executing) => Word::Downloaded,
        Some(Stage::Restarted) => Word::Rebooting,
    }
}

/// The fleet's reason for a failure.
fn reason(failure: Failure) -> FailureReason {
    match failure {
        Failure::Result(result) => reason_of_result(result),
        Failure::Stalled | Failure::Undelivered | Failure::Silent => FailureReason::ConnectionLost,
        // Nothing that time would mend: somebody has to look.
        Failure::Refused(_) | Failure::Lost | Failure::Stuck(_) | Failure::NoReturn => {
            FailureReason::InstallFailed
        }
        Failure::Deferred => FailureReason::Deferred,
        Failure::Unreadable | Failure::Unfit(Unfit::NoPull | Unfit::NoPush | Unfit::Scheme(_)) => {
            FailureReason::UnsupportedProtocol
        }
        Failure::Unfit(Unfit::UriLength) => FailureReason::InvalidUri,
    }
}

/// The fleet's reason for what resource 5 says.
fn reason_of_result(result: UpdateResult) -> FailureReason {
    match result {
        UpdateResult::NoFlash => FailureReason::InsufficientStorage,
        UpdateResult::NoMemory => FailureReason::OutOfMemory,
        UpdateResult::ConnectionLost => FailureReason::ConnectionLost,
        UpdateResult::Integrity => FailureReason::IntegrityCheckFailed,
        UpdateResult::UnsupportedPackage => FailureReason::UnsupportedPackage,
        UpdateResult::InvalidUri => FailureReason::InvalidUri,
        UpdateResult::UnsupportedProtocol => FailureReason::UnsupportedProtocol,
        UpdateResult::Cancelled => FailureReason::Cancelled,
        UpdateResult::Deferred => FailureReason::Deferred,
        // Neither the beginning nor success is a failure: a device that fails with them has not updated.
        UpdateResult::UpdateFailed
        | UpdateResult::Initial
        | UpdateResult::Success
        | UpdateResult::Other(_) => FailureReason::InstallFailed,
    }
}

/// A failure, for the person who asks why.
fn sentence(failure: Failure) -> String {
    match failure {
        Failure::Result(result) => format!("the device says: {result} (result {})", result.code()),
        Failure::Refused(code) => {
            format!("the device refused what it was asked ({}.{:02})", code >> 5, code & 0x1f)
        }
        Failure::Stalled => "nothing of the download moved for too long".to_owned(),
        Failure::Undelivered => "the image did not reach the device".to_owned(),
        Failure::Lost => "the image is gone from the device, and it does not say why".to_owned(),
        Failure::Stuck(state) => format!("the device does not leave state {}", state.code()),
        Failure::NoReturn => "the device was told to install, and was not heard of in time".to_owned(),
        Failure::Silent => "the device answered nothing for too long".to_owned(),
        Failure::Deferred => "the device put the update off for too long".to_owned(),
        Failure::Unreadable => "the device has no Firmware Update object that can be read".to_owned(),
        Failure::Unfit(Unfit::NoPull) => "the device takes only images that are sent to it".to_owned(),
        Failure::Unfit(Unfit::NoPush) => "the device only fetches images".to_owned(),
        Failure::Unfit(Unfit::Scheme(_)) => "the device does not fetch by the scheme of the link".to_owned(),
        Failure::Unfit(Unfit::UriLength) => "the link is longer than a Package URI may be".to_owned(),
    }
}
