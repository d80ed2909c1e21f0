//! An application's wish for software: the pattern's third step becomes a rollout for one device.

use super::{Desk, Refused};
use crate::artifacts::link::ARTIFACTS_PATH;
use crate::placeholder::{self, Placeholder};
use serde_json::{Map, Value, json};
use std::time::Duration;
use updraft_core::device::Device;
use updraft_core::fleet::{Error, NewTask};
use updraft_core::id::TaskName;
use updraft_core::rollout::{Deadlines, Plan, Rollout, RolloutState};
use updraft_core::store::Store;
use updraft_core::task::{DOCUMENT_CHARS_MAX, Membership, Task};

/// How long a wish waits for its device: a year, since an application that wants software wants it whenever the device
/// turns up.
const PATIENCE: Duration = Duration::from_secs(366 * 86_400);
/// How long a link in such a wish works, from when the device asks.
const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Longest URL of software, in bytes.
const URL_BYTES_MAX: usize = 2048;
/// What the rollout's history says.
const BY: &str = "an application set desired state";

/// What an application wants of a device's software.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Where it is; `None`: nothing is wanted any more.
    url: Option<String>,
    /// What the application calls the job.
    job: Option<TaskName>,
    /// As it was said, for the reply.
    pub(super) echo: Map<String, Value>,
}

impl Asked {
    /// Takes the wish out of desired state, which does not keep it.
    pub(super) fn take(desired: &mut Map<String, Value>) -> Result<Option<Self>, Refused> {
        if !desired.contains_key("softwareURL") {
            return Ok(None);
        }
        let members = ["softwareURL", "jobID", "software"];
        let echo: Map<_, _> = members
            .iter()
            .filter_map(|name| desired.remove(*name).map(|value| ((*name).to_owned(), value)))
            .collect();
        let invalid = |sentence: &str| Refused(400, sentence.to_owned());
        let url = match &echo["softwareURL"] {
            Value::Null => None,
            Value::String(url) if (1..=URL_BYTES_MAX).contains(&url.len()) => Some(url.clone()),
            Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                return Err(invalid("desired.softwareURL: a URL of at most 2048 bytes, or null"));
            }
        };
        let job = match echo.get("jobID") {
            None | Some(Value::Null) => None,
            Some(Value::String(job)) => {
                Some(job.parse().map_err(|_| invalid("desired.jobID: 1 to 64 of A-Z a-z 0-9 _ -"))?)
            }
            Some(_) => return Err(invalid("desired.jobID: a text")),
        };
        Ok(Some(Self { url, job, echo }))
    }
}

impl<S: Store> Desk<'_, S> {
    /// Whether a wish can be carried out.
    pub(super) fn check_asked(&self, asked: &Asked, known: Option<&Device>) -> Result<(), Refused> {
        if known.is_none() {
            return Err(Refused(404, format!("device {} was never heard of", self.device)));
        }
        let Some(url) = &asked.url else { return Ok(()) };
        let document = self.document(url);
        if document.chars().count() > DOCUMENT_CHARS_MAX {
            return Err(Refused(413, "desired.softwareURL is too long".to_owned()));
        }
        placeholder::all(&document).map_err(|error| Refused(400, error.to_string()))?;
        match &asked.job {
            Some(job) if self.fleet.task(job).is_ok_and(|rollout| !self.is_wish(rollout, url)) => {
                Err(Refused(409, format!("there is a job {job} already")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Carries out a wish: ends what was wished before, unless it is the same.
    pub(super) fn ask_for(&mut self, asked: &Asked) -> Result<(), Error> {
        for rollout in self.wishes() {
            let is_same = asked.url.as_ref().is_some_and(|url| self.is_wish(&rollout, url))
                && asked.job.as_ref().is_none_or(|job| rollout.task().is_some_and(|task| task.name == *job));
            if is_same {
                return Ok(());
            }
            if let Some(task) = rollout.task() {
                self.fleet.retire_task(self.now, &task.name, true, BY)?;
            }
        }
        let Some(url) = &asked.url else { return Ok(()) };
        let id = self.new_rollout.clone();
        let name = match &asked.job {
            Some(job) => job.clone(),
            None => id.as_str().parse().expect("a rollout ID is a task name"),
        };
        let task = Task {
            name,
            description: BY.to_owned(),
            document: self.document(url),
            devices: [self.device.clone()].into(),
            groups: [].into(),
            membership: Membership::Snapshot,
            link_life: LINK_LIFE,
        };
        let mut plan = Plan::standard(self.now);
        plan.retry.attempts_max = 1;
        plan.deadlines = Deadlines {
            queued: PATIENCE,
            downloading: PATIENCE,
            installing: PATIENCE,
            rebooting: PATIENCE,
            in_progress: None,
        };
        self.fleet.start_task(self.now, NewTask { id, task, plan }, BY).map(|_| ())
    }

    /// The document of a wish. A URL of this server's artifacts becomes a placeholder, so that the device gets a link of
    /// its own; any other stays as it is.
    fn document(&self, url: &str) -> String {
        let own = self.own_release(url).map(|placeholder| placeholder.text());
        json!({ "operation": "update", "softwareURL": own.as_deref().unwrap_or(url) }).to_string()
    }

    fn own_release(&self, url: &str) -> Option<Placeholder> {
        if let Ok(placeholder) = placeholder::artifact(url) {
            return self
                .fleet
                .release(&placeholder.product, &placeholder.version)
                .is_ok()
                .then_some(placeholder);
        }
        let path = url.strip_prefix(&*self.links.base_url)?.strip_prefix(ARTIFACTS_PATH)?;
        let sha256 = path.split('?').next()?;
        let release = self.fleet.release_with(sha256)?;
        Some(Placeholder { product: release.product.clone(), version: release.version.clone() })
    }

    /// The wishes for this device that are not over.
    fn wishes(&self) -> Vec<Rollout> {
        let is_one = |rollout: &Rollout| {
            let task = rollout.task();
            rollout.state == RolloutState::Running
                && task.is_some_and(|task| task.description == BY && task.devices.contains(self.device))
        };
        self.fleet.tasks_of(self.device).into_iter().filter(is_one).collect()
    }

    fn is_wish(&self, rollout: &Rollout, url: &str) -> bool {
        rollout
            .task()
            .is_some_and(|task| task.devices.contains(self.device) && task.document == self.document(url))
    }
}
