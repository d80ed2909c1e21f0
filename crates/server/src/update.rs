//! An update as all contracts of ours say it: the job, the manifest, how a device stands with it. Pure.

use updraft_core::fleet::Assignment;
use updraft_core::id::RolloutId;
use updraft_core::report::{Progress, Word};
use updraft_core::rollout::Downgrade;
use updraft_core::state::FailureReason;
use updraft_wire::manifest::{ArtifactEntry, MANIFEST_FORMAT, Manifest};
use updraft_wire::{JobId, Reason, UpdateState, UpdateStatus};

/// The name of a release's one artifact in its manifest.
pub const IMAGE: &str = "image";

/// The job ID of one attempt at a rollout.
#[must_use]
pub fn job_of(rollout: &RolloutId, attempt: u32) -> JobId {
    JobId::new(rollout.as_str(), attempt)
        .expect("rollout IDs and attempts of the domain are within the job ID's limits")
}

/// The job ID of an assignment.
#[must_use]
pub fn job(assignment: &Assignment) -> JobId {
    job_of(&assignment.rollout, assignment.attempt)
}

/// The rollout that a job ID names.
#[must_use]
pub fn rollout_of(job: &JobId) -> RolloutId {
    job.rollout().parse().expect("a job ID's rollout part follows the rule of rollout IDs")
}

/// The manifest of an assignment.
#[must_use]
pub fn manifest(assignment: &Assignment) -> Manifest {
    let release = &assignment.release;
    Manifest {
        format: MANIFEST_FORMAT,
        product: release.product.to_string(),
        version: release.version.to_string(),
        artifacts: vec![ArtifactEntry {
            name: IMAGE.to_owned(),
            size: release.artifact.size,
            sha256: release.artifact.sha256.clone(),
            md5: Some(release.artifact.md5.clone()),
        }],
    }
}

/// An assignment as it crosses the wire, with the link made for the device.
#[must_use]
pub fn assignment(assignment: &Assignment, link: String) -> updraft_wire::Assignment {
    updraft_wire::Assignment {
        job: job(assignment),
        manifest: manifest(assignment),
        links: vec![link],
        allow_downgrade: assignment.downgrade == Downgrade::Allowed,
    }
}

/// What a device says of its update, in the domain's words.
#[must_use]
pub fn progress(status: UpdateStatus) -> Progress {
    let reason = status.reason.map(failure_reason);
    let word = match status.state {
        UpdateState::Downloading => Word::Downloading,
        UpdateState::Downloaded => Word::Downloaded,
        UpdateState::Installing => Word::Installing,
        UpdateState::Rebooting => Word::Rebooting,
        UpdateState::Trial => Word::Trial,
        UpdateState::Succeeded => Word::Succeeded,
        UpdateState::Failed => Word::Failed(reason.unwrap_or(FailureReason::InstallFailed)),
        UpdateState::RolledBack => Word::Failed(FailureReason::RolledBack),
        UpdateState::Rejected => Word::Rejected,
    };
    Progress {
        rollout: rollout_of(&status.job),
        attempt: status.job.attempt(),
        word,
        percent: status.progress.map(|percent| percent.min(100)),
        detail: status.detail.unwrap_or_default(),
    }
}

/// The table from the wire's reasons to the domain's.
fn failure_reason(reason: Reason) -> FailureReason {
    match reason {
        Reason::InsufficientStorage => FailureReason::InsufficientStorage,
        Reason::OutOfMemory => FailureReason::OutOfMemory,
        Reason::ConnectionLost => FailureReason::ConnectionLost,
        Reason::IntegrityCheckFailed => FailureReason::IntegrityCheckFailed,
        // A device that refuses to go back says `rejected`; should it say `failed`, nothing will change by itself.
        Reason::UnsupportedPackage | Reason::Downgrade => FailureReason::UnsupportedPackage,
        Reason::InvalidUri => FailureReason::InvalidUri,
        Reason::InstallFailed => FailureReason::InstallFailed,
        Reason::UnsupportedProtocol => FailureReason::UnsupportedProtocol,
        Reason::Cancelled => FailureReason::Cancelled,
        Reason::Deferred => FailureReason::Deferred,
        Reason::RolledBack => FailureReason::RolledBack,
    }
}
