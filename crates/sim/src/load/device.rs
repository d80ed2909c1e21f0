//! One simulated device: what it sends, and what it makes of the answer. Pure.

use serde_json::{Map, Value};
use updraft_core::policy::bucket;
use updraft_wire::check_in::{CheckIn, CheckInAnswer, Reason, UpdateState, UpdateStatus};
use updraft_wire::{JobId, ioto};

/// Which contract the devices speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    /// The native check-in, with words of progress.
    Native,
    /// The check-in of the Ioto agent: a description, and no word of progress.
    Ioto,
}

/// What a device was told to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The link.
    pub url: String,
    /// What the bytes' SHA-256 must be, 64 lower-case hex digits.
    pub sha256: String,
    /// How many bytes there must be, where the contract says.
    pub size: Option<u64>,
}

/// An update under way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Update {
    /// Absent in a contract without jobs.
    job: Option<JobId>,
    version: String,
    state: UpdateState,
}

/// One simulated device.
#[derive(Debug, Clone)]
pub struct Device {
    contract: Contract,
    id: String,
    product: String,
    version: String,
    boot: u64,
    /// Whether new versions do not become healthy on it.
    is_failing: bool,
    update: Option<Update>,
    /// The version it once could not run: it does not take it again.
    refused: Option<String>,
}

/// What a device does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Come again when the server said.
    Wait,
    /// Fetch this, and then come again.
    Fetch(Fetch),
    /// Come again as soon as the next step is done.
    Step,
}

impl Device {
    /// A device that runs `version`. New versions do not become healthy on `failing_percent` of all devices, always the
    /// same ones.
    #[must_use]
    pub fn new(contract: Contract, id: String, product: &str, version: &str, failing_percent: u8) -> Self {
        let is_failing = bucket(&id) < failing_percent;
        let (product, version) = (product.to_owned(), version.to_owned());
        Self { contract, id, product, version, boot: 1, is_failing, update: None, refused: None }
    }

    /// The path to which it speaks.
    #[must_use]
    pub fn path(&self) -> &'static str {
        match self.contract {
            Contract::Native => "/v1/check-in",
            Contract::Ioto => ioto::CHECK_IN_PATH,
        }
    }

    /// Its ID.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The version it runs.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What it sends.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let encoded = match self.contract {
            Contract::Native => serde_json::to_vec(&self.words()),
            Contract::Ioto => {
                let mut attributes = attributes();
                for (name, value) in
                    [("id", &self.id), ("product", &self.product), ("version", &self.version)]
                {
                    attributes.insert(name.to_owned(), Value::from(value.as_str()));
                }
                serde_json::to_vec(&attributes)
            }
        };
        encoded.expect("a check-in is plain data")
    }

    /// Its words in the native contract.
    #[must_use]
    pub fn words(&self) -> CheckIn {
        CheckIn {
            id: self.id.clone(),
            product: self.product.clone(),
            version: self.version.clone(),
            boot: self.boot,
            attributes: attributes(),
            update: self.status(),
            manifest: None,
        }
    }

    fn status(&self) -> Option<UpdateStatus> {
        let update = self.update.as_ref()?;
        let reason = (update.state == UpdateState::RolledBack).then_some(Reason::RolledBack);
        let detail = reason.map(|_| "the simulated health check failed".to_owned());
        Some(UpdateStatus { job: update.job.clone()?, state: update.state, progress: None, reason, detail })
    }

    /// Takes in the answer to a check-in.
    ///
    /// # Errors
    /// A sentence, if it is not an answer of the contract.
    pub fn take(&mut self, answer: &[u8]) -> Result<(Next, Option<u64>), String> {
        let not_understood = |error: serde_json::Error| format!("an answer was not understood: {error}");
        match self.contract {
            Contract::Native => {
                let answer: CheckInAnswer = serde_json::from_slice(answer).map_err(not_understood)?;
                let wait_s = answer.next_check_in_s;
                Ok((self.take_native(answer), Some(wait_s)))
            }
            Contract::Ioto if answer.is_empty() || answer == b"{}" => Ok((Next::Wait, None)),
            Contract::Ioto => {
                let offer: ioto::Offer = serde_json::from_slice(answer).map_err(not_understood)?;
                Ok((self.take_ioto(offer), None))
            }
        }
    }

    /// Takes in an answer of the native contract.
    pub fn take_native(&mut self, answer: CheckInAnswer) -> Next {
        if let (Some(update), Some(noted)) = (&self.update, &answer.noted)
            && update.state.is_settled()
            && update.job.as_ref() == Some(noted)
        {
            self.update = None;
        }
        let Some(assignment) = answer.assignment else {
            // What is not activated is dropped; the rest is told to its end.
            let is_early =
                |update: &Update| matches!(update.state, UpdateState::Downloading | UpdateState::Downloaded);
            self.update = self.update.take().filter(|update| !is_early(update));
            return if self.update.is_some() { Next::Step } else { Next::Wait };
        };
        match &self.update {
            Some(update) if update.job.as_ref() == Some(&assignment.job) => match update.state {
                // The download goes on by itself.
                UpdateState::Downloading => Next::Wait,
                UpdateState::Downloaded
                | UpdateState::Installing
                | UpdateState::Rebooting
                | UpdateState::Trial
                | UpdateState::Succeeded
                | UpdateState::Failed
                | UpdateState::RolledBack
                | UpdateState::Rejected => Next::Step,
            },
            _ => {
                let fetch = assignment.links.into_iter().zip(&assignment.manifest.artifacts).next();
                let Some((url, artifact)) = fetch else { return Next::Wait };
                let (job, version) = (Some(assignment.job), assignment.manifest.version.clone());
                self.update = Some(Update { job, version, state: UpdateState::Downloading });
                Next::Fetch(Fetch { url, sha256: artifact.sha256.clone(), size: Some(artifact.size) })
            }
        }
    }

    fn take_ioto(&mut self, offer: ioto::Offer) -> Next {
        if self.refused.as_ref() == Some(&offer.version) {
            return Next::Wait;
        }
        self.update = Some(Update { job: None, version: offer.version, state: UpdateState::Downloading });
        Next::Fetch(Fetch { url: offer.url, sha256: offer.checksum, size: None })
    }

    /// The download ended, well or badly.
    pub fn fetched(&mut self, is_sound: bool) {
        let Some(update) = &mut self.update else { return };
        match (self.contract, is_sound) {
            (Contract::Native, true) => update.state = UpdateState::Downloaded,
            (Contract::Native, false) => update.state = UpdateState::Failed,
            // An Ioto agent installs at once, and says nothing of a bad download.
            (Contract::Ioto, true) => self.restart(),
            (Contract::Ioto, false) => self.update = None,
        }
    }

    /// The next step of an update is done: it says so at its next check-in.
    pub fn step(&mut self) {
        let Some(update) = &mut self.update else { return };
        match update.state {
            UpdateState::Downloaded => update.state = UpdateState::Installing,
            UpdateState::Installing => update.state = UpdateState::Rebooting,
            UpdateState::Rebooting => self.restart(),
            UpdateState::Downloading
            | UpdateState::Trial
            | UpdateState::Succeeded
            | UpdateState::Failed
            | UpdateState::RolledBack
            | UpdateState::Rejected => {}
        }
    }

    /// Starts into the new version; where that does not become healthy, once more into the old one.
    fn restart(&mut self) {
        let Some(update) = &mut self.update else { return };
        self.boot += 1;
        if self.is_failing {
            self.boot += 1;
            update.state = UpdateState::RolledBack;
            self.refused = Some(update.version.clone());
        } else {
            self.version.clone_from(&update.version);
            update.state = UpdateState::Succeeded;
        }
        if self.contract == Contract::Ioto {
            self.update = None;
        }
    }
}

fn attributes() -> Map<String, Value> {
    Map::from_iter([("model".to_owned(), Value::from("simulated"))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(job: &str) -> Vec<u8> {
        let digest = "ab".repeat(32);
        format!(
            r#"{{"next_check_in_s":1,"assignment":{{"job":"{job}","manifest":{{"format":1,"product":"p","version":"2.0.0","artifacts":[{{"name":"image","size":3,"sha256":"{digest}"}}]}},"links":["https://h/x"]}}}}"#
        )
        .into_bytes()
    }

    fn said(device: &Device) -> CheckIn {
        serde_json::from_slice(&device.body()).unwrap()
    }

    fn to_the_end(failing_percent: u8) -> (Device, Vec<UpdateState>) {
        let mut device = Device::new(Contract::Native, "d".to_owned(), "p", "1.0.0", failing_percent);
        assert!(matches!(device.take(&assigned("r1-1")).unwrap().0, Next::Fetch(_)));
        device.fetched(true);
        let mut states = Vec::new();
        for _ in 0..4 {
            states.push(said(&device).update.unwrap().state);
            device.take(&assigned("r1-1")).unwrap();
            device.step();
        }
        (device, states)
    }

    #[test]
    fn a_device_tells_each_step_and_ends_on_the_new_version() {
        let (mut device, states) = to_the_end(0);
        let steps = [UpdateState::Downloaded, UpdateState::Installing, UpdateState::Rebooting];
        assert_eq!(states[..3], steps);
        assert_eq!(said(&device).update.unwrap().state, UpdateState::Succeeded);
        assert_eq!((device.version(), said(&device).boot), ("2.0.0", 2));
        device.take(br#"{"next_check_in_s":9,"noted":"r1-1"}"#).unwrap();
        assert_eq!(said(&device).update, None, "what is noted is not said again");
    }

    #[test]
    fn a_failing_device_comes_back_on_the_old_version_and_says_so() {
        let (device, _) = to_the_end(100);
        let last = said(&device);
        assert_eq!((last.version.as_str(), last.boot), ("1.0.0", 3));
        assert_eq!(last.update.unwrap().state, UpdateState::RolledBack);
    }

    #[test]
    fn an_update_that_is_withdrawn_before_it_is_installed_is_dropped() {
        let mut device = Device::new(Contract::Native, "d".to_owned(), "p", "1.0.0", 0);
        device.take(&assigned("r1-1")).unwrap();
        device.fetched(true);
        device.take(br#"{"next_check_in_s":9}"#).unwrap();
        assert_eq!(said(&device).update, None);
    }
}
