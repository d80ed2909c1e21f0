//! The part of desired state that is not stored: what the open execution asks of the device.

use super::{Desk, Message, Topic, message, with_members};
use crate::protocols::mqtt::jobs;
use crate::shadow;
use crate::update;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use updraft_core::fleet::{Error, Pending};
use updraft_core::shadow::ShadowName;
use updraft_core::state::ExecutionState;
use updraft_core::store::Store;
use updraft_wire::replica::DesiredUpdate;

/// What a device is to do, as members of desired state.
pub(super) struct DesiredWork {
    pub(super) members: Map<String, Value>,
    /// Whether the device has not begun.
    is_queued: bool,
}

impl DesiredWork {
    /// What the device of a desk is to do first, if that can be said in this contract.
    pub(super) fn of<S: Store>(desk: &mut Desk<'_, S>) -> Result<Option<Self>, Error> {
        let pending = desk.fleet.pending(desk.now, desk.device)?;
        Ok(pending.iter().find_map(|one| Self::render(desk, one)))
    }

    fn render<S: Store>(desk: &Desk<'_, S>, pending: &Pending) -> Option<Self> {
        let Pending { execution, rollout, update } = pending;
        let is_queued = execution.state == ExecutionState::Queued;
        let members = match update {
            Some(assignment) => {
                let sha256 = &assignment.release.artifact.sha256;
                let link = desk.links.link(desk.now, execution, sha256, desk.links.life)?;
                let desired = DesiredUpdate::from(update::assignment(assignment, link));
                serde_json::to_value(desired).ok()?
            }
            None => {
                // Of tasks, those that are about software say where it is.
                let document = jobs::document(desk.fleet, desk.now, rollout, execution, desk.links);
                let url = document.get("softwareURL")?.clone();
                json!({ "softwareURL": url, "jobID": jobs::job_id(rollout) })
            }
        };
        let Value::Object(members) = members else { return None };
        Some(Self { members, is_queued })
    }
}

/// The delta that follows an update of the replica: what the shadow says differs, and the work, as long as the device has
/// not begun it.
pub(super) fn deltas<S: Store>(
    desk: &mut Desk<'_, S>,
    said: Option<Bytes>,
) -> Result<Option<Message>, Error> {
    let work = DesiredWork::of(desk)?.filter(|work| work.is_queued);
    let body = match (said, work) {
        (None, None) => return Ok(None),
        (Some(said), None) => said,
        (Some(said), Some(work)) => with_members(&said, &["state"], work.members),
        (None, Some(work)) => alone(desk, work)?,
    };
    Ok(Some(message(desk.device, Topic::Delta, body)))
}

/// A delta of the work alone.
fn alone<S: Store>(desk: &mut Desk<'_, S>, work: DesiredWork) -> Result<Bytes, Error> {
    let version = desk.fleet.shadow(desk.device, &ShadowName::CLASSIC)?.map_or(0, |shadow| shadow.version);
    let timestamp = desk.now.as_millis().div_euclid(1000);
    let body = json!({ "state": work.members, "version": version, "timestamp": timestamp });
    Ok(body.to_string().into())
}

/// What a device must hear that may have missed it: all that is desired and not reported, and its work, begun or not.
///
/// # Errors
/// [`Error::Store`].
pub fn delta<S: Store>(desk: &mut Desk<'_, S>) -> Result<Option<Message>, Error> {
    let said = desk
        .fleet
        .shadow(desk.device, &ShadowName::CLASSIC)?
        .and_then(|shadow| shadow::delta(desk.now, &shadow, None))
        .map(|event| event.body);
    let work = DesiredWork::of(desk)?;
    let body = match (said, work) {
        (None, None) => return Ok(None),
        (Some(said), None) => said,
        (Some(said), Some(work)) => with_members(&said, &["state"], work.members),
        (None, Some(work)) => alone(desk, work)?,
    };
    Ok(Some(message(desk.device, Topic::Delta, body)))
}
