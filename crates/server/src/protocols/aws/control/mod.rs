//! Jobs as operators see them (signing name `iot`): a job is a rollout that brings a task.
//!
//! A device for which a job is has an execution from when it first asks. Until then the contract shows one that is
//! queued, and so do the answers here.

mod answer;
mod execution;
mod job;
mod limits;
mod request;
#[cfg(test)]
mod tests;

pub(super) use execution::{
    cancel as cancel_execution, delete as delete_execution, describe as describe_execution, of_job,
    of_thing as executions_of_thing,
};
pub(super) use job::{associate, cancel, create, delete, describe, document, list, update};

use updraft_core::fleet::Error as FleetError;
use updraft_core::id::{DeviceId, TaskName};

use super::caller::Service;
use super::door::{Call, Doors};
use super::failure::{Exception, Failure};
use super::query::Query;

/// Most entries of one page (AWS IoT Jobs).
const PAGE_MAX: usize = 250;
/// Entries of one page unless asked for otherwise.
const PAGE: usize = 50;
/// Most devices or jobs that are looked at for one page of a filtered list; a page may so be short, or empty, with more
/// to come.
const LOOKED_AT_MAX: usize = 2_000;

/// Lets operators in, where the control plane is. The operator's name.
fn admit(doors: &Doors, call: &Call) -> Result<String, Failure> {
    Service::Control.check(call.caller.scope.as_ref())?;
    if !doors.has_control_plane {
        let message = "the control plane of jobs is on the operators' listener";
        return Err(Failure::new(Exception::Forbidden, message));
    }
    call.caller.operator()
}

/// Reads the ID of a job in a path.
fn job_name(text: &str) -> Result<TaskName, Failure> {
    super::jobs::check_job_id(text)?;
    super::door::name(text)
}

/// Reads the name of a thing in a path.
fn thing_name(text: &str) -> Result<DeviceId, Failure> {
    super::door::name(text)
}

/// Where a page begins, and how long it may be.
fn page(query: &mut Query) -> Result<(Option<String>, usize), Failure> {
    let limit = query.read::<usize>("maxResults")?.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Failure::invalid(format!("maxResults: 1 to {PAGE_MAX}")));
    }
    Ok((query.take("nextToken")?, limit))
}

/// A state that does not allow a change is, for all but deletions, a request that makes no sense.
fn state_is_invalid(error: FleetError) -> Failure {
    let failure = Failure::from(error);
    if failure.exception == Exception::InvalidStateTransition {
        return Failure::invalid(failure.message);
    }
    failure
}
