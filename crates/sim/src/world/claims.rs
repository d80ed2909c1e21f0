//! What the server claims of a device, held against what the device really did.

use super::books::{Row, line};
use super::network::DELAY_MS_MAX;
use super::truth::Truth;
use updraft_core::execution::HistoryEntry;
use updraft_core::rollout::Rollout;
use updraft_core::state::{ExecutionState, FailureReason};
use updraft_wire::JobId;

/// Checks the end of an execution. `row` is how the books had it before the batch; `opened` and `now` are world time.
pub(super) fn check(
    entry: &HistoryEntry,
    rollout: &Rollout,
    row: Option<&Row>,
    opened: u64,
    now: u64,
    truth: &mut Truth,
) {
    let Some(device) = truth.number_of(&entry.device).map(|number| &truth.devices[number]) else {
        truth.complain(format!("{} is of nobody", line(entry)));
        return;
    };
    let Some((_, target)) = rollout.release() else {
        truth.complain(format!("{} is of a task, and nobody starts tasks here", line(entry)));
        return;
    };
    let target = target.as_str();
    match entry.to {
        ExecutionState::Succeeded => {
            // Words may be as old as the network keeps them. A contract without a start counter cannot tell.
            let since = opened.saturating_sub(DELAY_MS_MAX);
            if !device.ran(target, since, now) {
                truth.complain(format!("{} did not run {target}", line(entry)));
            }
            truth.count("succeeded");
        }
        ExecutionState::Failed(FailureReason::RolledBack) => {
            let job = JobId::new(entry.rollout.as_str(), entry.attempt).map(|job| job.to_string());
            let boot =
                row.filter(|row| row.execution.attempt == entry.attempt).map_or(0, |row| row.execution.boot);
            let really =
                job.is_ok_and(|job| device.fell_back(&job)) || device.came_back_without(target, boot);
            if !really {
                truth.complain(format!("{} did not fall back", line(entry)));
            }
            truth.count("rolled back");
        }
        ExecutionState::Failed(_) => truth.count("failed otherwise"),
        ExecutionState::TimedOut => truth.count("timed out"),
        ExecutionState::Rejected => truth.count("rejected"),
        ExecutionState::Canceled => truth.count("canceled"),
        ExecutionState::Removed => truth.count("removed"),
        ExecutionState::Queued | ExecutionState::InProgress(_) => {}
    }
}
