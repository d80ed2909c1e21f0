//! What the hub asks of the fleet, done as the server does it: within a batch, and answered once that is durable.

use super::super::disk::{Handle, is_simulated};
use super::super::sabotage::Sabotage;
use super::super::server::Told;
use super::super::truth::Truth;
use updraft_core::fleet::{Error, Fleet};
use updraft_core::id::DeviceId;
use updraft_core::report::{Progress, Report, Word};
use updraft_core::time::Timestamp;
use updraft_lwm2m::coap::Code;
use updraft_lwm2m::{Entry, Moment};
use updraft_server::protocols::lwm2m::describe::Alias;
use updraft_server::protocols::lwm2m::firmware::{Said, Work};
use updraft_server::protocols::lwm2m::fleet as lwm2m;
use updraft_server::protocols::lwm2m::hub::{File, Heard, Hub};

/// Something the hub asks of the fleet.
#[derive(Debug)]
pub(in super::super) enum Call {
    Describe(DeviceId, Vec<Entry>, Option<Alias>),
    Look(DeviceId),
    Say(DeviceId, Work, Said),
    Resolve(u64, String, bool),
}

/// What came of it.
#[derive(Debug, Clone)]
pub(in super::super) enum Came {
    Described(DeviceId, bool),
    Looked(DeviceId, Result<Option<Work>, ()>, Option<Told>),
    Said(DeviceId, Heard),
    Resolved(u64, Result<File, Code>),
}

impl Call {
    /// Does it, within a batch.
    pub(in super::super) fn carry_out(
        self,
        clock: Timestamp,
        fleet: &mut Fleet<Handle>,
        sabotage: Option<Sabotage>,
        truth: &mut Truth,
    ) -> Came {
        let failed = self.failed();
        let done = match self {
            Self::Describe(device, tree, alias) => {
                let told = lwm2m::describe(fleet, clock, &device, &tree, alias.as_ref());
                told.map(|()| Came::Described(device, true))
            }
            Self::Look(device) => look(clock, fleet, device),
            Self::Say(device, work, said) => {
                let said = distort(said, &work, sabotage);
                let heard = lwm2m::say(fleet, clock, &device, &work, said);
                heard.map(|heard| Came::Said(device, heard))
            }
            Self::Resolve(ticket, path, is_start) => resolve(clock, fleet, ticket, &path, is_start),
        };
        done.unwrap_or_else(|error| {
            // A server that was put back does not know every device that its hub knows.
            if !is_simulated(&error) && !matches!(error, Error::UnknownDevice(_)) {
                truth.complain(format!("the fleet failed: {error}: {error:?}"));
            }
            truth.count("calls of the hub that failed");
            failed
        })
    }

    fn failed(&self) -> Came {
        match self {
            Self::Describe(device, ..) => Came::Described(device.clone(), false),
            Self::Look(device) => Came::Looked(device.clone(), Err(()), None),
            Self::Say(device, ..) => Came::Said(device.clone(), Heard::Failed),
            Self::Resolve(ticket, ..) => Came::Resolved(*ticket, Err(Code::SERVICE_UNAVAILABLE)),
        }
    }
}

impl Came {
    /// What it is where the batch was not made durable.
    pub(in super::super) fn undone(self) -> Self {
        match self {
            Self::Described(device, _) => Self::Described(device, false),
            Self::Looked(device, ..) => Self::Looked(device, Err(()), None),
            Self::Said(device, _) => Self::Said(device, Heard::Failed),
            Self::Resolved(ticket, _) => Self::Resolved(ticket, Err(Code::SERVICE_UNAVAILABLE)),
        }
    }

    /// Which device is told to do what by it.
    pub(super) fn told(&self) -> Option<(DeviceId, Told)> {
        match self {
            Self::Looked(device, _, Some(told)) => Some((device.clone(), told.clone())),
            Self::Looked(_, _, None) | Self::Described(..) | Self::Said(..) | Self::Resolved(..) => None,
        }
    }

    /// Tells the hub.
    pub(super) fn tell(self, now: Moment, hub: &mut Hub) {
        match self {
            Self::Described(device, is_taken) => hub.handle_described(&device, is_taken),
            Self::Looked(device, work, _) => hub.handle_work(now, &device, work),
            Self::Said(device, heard) => hub.handle_heard(now, &device, heard),
            Self::Resolved(ticket, file) => hub.handle_file(now, ticket, file),
        }
    }
}

fn look(clock: Timestamp, fleet: &mut Fleet<Handle>, device: DeviceId) -> Result<Came, Error> {
    let work = lwm2m::look(fleet, clock, &device)?;
    let told = fleet.assigned(&device)?.map(|assignment| Told::of(&assignment));
    Ok(Came::Looked(device, Ok(work), told))
}

/// A mistake in what the fleet is told.
fn distort(said: Said, work: &Work, sabotage: Option<Sabotage>) -> Said {
    let mut answer = match said {
        Said::Answer(answer) => answer,
        Said::Progress(_) => return said,
    };
    match sabotage {
        Some(Sabotage::LosesMarkers) => answer.details = None,
        Some(Sabotage::TakesMarkersForSuccess) if answer.word == Word::Downloaded => {
            (answer.word, answer.version) = (Word::Succeeded, Some(work.version.clone()));
        }
        Some(_) | None => {}
    }
    Said::Answer(answer)
}

fn resolve(
    clock: Timestamp,
    fleet: &mut Fleet<Handle>,
    ticket: u64,
    path: &str,
    is_start: bool,
) -> Result<Came, Error> {
    let refused = Ok(Came::Resolved(ticket, Err(Code::NOT_FOUND)));
    let mut parts = path.trim_start_matches("/f/").split('/');
    let (Some(device), Some(rollout), Some(attempt)) = (parts.next(), parts.next(), parts.next()) else {
        return refused;
    };
    let (Ok(device), Ok(attempt)) = (device.parse::<DeviceId>(), attempt.parse::<u32>()) else {
        return refused;
    };
    let work = Work::of(&fleet.pending(clock, &device)?)
        .filter(|work| work.rollout.as_str() == rollout && work.attempt == attempt);
    let Some(work) = work else { return refused };
    if is_start {
        let (rollout, word) = (work.rollout.clone(), Word::Fetching);
        let progress = Progress { rollout, attempt, word, percent: None, detail: String::new() };
        fleet.report(clock, &device, &Report { description: None, progress: Some(progress) })?;
    }
    let execution = fleet.execution(&device, &work.rollout)?;
    if execution.is_some_and(|one| one.attempt == attempt && one.state.is_open()) {
        return Ok(Came::Resolved(ticket, Ok(File { device, image: work.image, size: work.size })));
    }
    refused
}
