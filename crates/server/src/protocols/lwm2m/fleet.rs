//! What the hub tells and asks the fleet: each of its actions, as one turn of the engine. Pure.

use super::describe::{self, Alias};
use super::firmware::{Said, Work};
use super::hub::Heard;
use updraft_core::fleet::{AnswerRefused, Error, Fleet};
use updraft_core::id::DeviceId;
use updraft_core::report::{Progress, Report, Word};
use updraft_core::state::ExecutionState;
use updraft_core::store::Store;
use updraft_core::time::Timestamp;
use updraft_lwm2m::Entry;

/// Tells what a device is. While it says that it is updating (state 3), the version it runs is on trial: it may still be
/// taken back, so that it proves nothing.
///
/// # Errors
/// The fleet's.
pub fn describe<S: Store>(
    fleet: &mut Fleet<S>,
    now: Timestamp,
    device: &DeviceId,
    tree: &[Entry],
    alias: Option<&Alias>,
) -> Result<(), Error> {
    let known = fleet.device(device)?.map(|known| known.product);
    let description = describe::description(device, known.as_ref(), tree, alias);
    let progress = if describe::is_updating(tree) { trial(fleet, device)? } else { None };
    fleet.report(now, device, &Report { description: Some(description), progress })
}

/// The word that a device is on trial with the update it has begun, if it has.
fn trial<S: Store>(fleet: &mut Fleet<S>, device: &DeviceId) -> Result<Option<Progress>, Error> {
    // Also of a rollout that was aborted just now, whose executions are not closed yet.
    let assigned = match fleet.assigned(device) {
        Ok(assigned) => assigned,
        Err(Error::UnknownDevice(_)) => None,
        Err(error) => return Err(error),
    };
    let Some(assigned) = assigned else { return Ok(None) };
    let execution = fleet.execution(device, &assigned.rollout)?;
    let begun = execution.filter(|one| one.state != ExecutionState::Queued);
    Ok(begun.map(|one| Progress {
        rollout: one.rollout,
        attempt: one.attempt,
        word: Word::Trial,
        percent: None,
        detail: String::new(),
    }))
}

/// What a device is to be updated to.
///
/// # Errors
/// The fleet's.
pub fn look<S: Store>(
    fleet: &mut Fleet<S>,
    now: Timestamp,
    device: &DeviceId,
) -> Result<Option<Work>, Error> {
    Ok(Work::of(&fleet.pending(now, device)?))
}

/// Tells how an update stands.
///
/// # Errors
/// The fleet's.
pub fn say<S: Store>(
    fleet: &mut Fleet<S>,
    now: Timestamp,
    device: &DeviceId,
    work: &Work,
    said: Said,
) -> Result<Heard, Error> {
    match said {
        Said::Answer(answer) => Ok(match fleet.answer(now, device, &work.rollout, &answer)? {
            Ok(_) => Heard::Taken,
            Err(
                AnswerRefused::Unknown
                | AnswerRefused::Revision(_)
                | AnswerRefused::State(_)
                | AnswerRefused::TooManyDetails,
            ) => Heard::Over,
        }),
        Said::Progress(progress) => {
            fleet.report(now, device, &Report { description: None, progress: Some(progress) })?;
            let execution = fleet.execution(device, &work.rollout)?;
            let goes_on = execution
                .is_some_and(|execution| execution.attempt == work.attempt && execution.state.is_open());
            Ok(if goes_on { Heard::Taken } else { Heard::Over })
        }
    }
}
