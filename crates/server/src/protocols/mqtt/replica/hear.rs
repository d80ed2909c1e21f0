//! What is said on `update`: state for the shadow, a description, a word about an update, a wish for software.

use super::ask::Asked;
use super::{Desk, Refused, with_members};
use crate::protocols::mqtt::door::Identity;
use crate::protocols::mqtt::jobs;
use crate::update;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use updraft_core::attributes::Attributes;
use updraft_core::device::Device;
use updraft_core::fleet::{Answer, Error};
use updraft_core::id::{ProductName, RolloutId};
use updraft_core::report::{Description, Progress, Report, Word};
use updraft_core::shadow::{ShadowName, State};
use updraft_core::state::FailureReason;
use updraft_core::store::Store;
use updraft_wire::UpdateStatus;
use updraft_wire::manifest::VERSION_BYTES_MAX;

/// What a plain-text acknowledgement begins with.
const ACKNOWLEDGEMENT: &[u8] = b"jobID:";
/// Longest acknowledgement, in bytes: a job ID of 64 and the words around it.
const ACKNOWLEDGEMENT_BYTES_MAX: usize = 128;
/// What a device is called that has connected and never said what it is.
pub(in crate::protocols::mqtt) const PRODUCT_UNKNOWN: &str = "unknown";
/// The version of a device that has never said it: by SemVer below any release, since some devices never say.
const VERSION_UNKNOWN: &str = "0.0.0-unknown";

/// A message on `update`, read.
pub(super) struct Request {
    /// What the shadow is to take in.
    pub(super) state: String,
    /// The token that the reply echoes.
    pub(super) token: Option<String>,
    /// The software that an application wants, or no longer wants.
    pub(super) asked: Option<Asked>,
    /// The acknowledgement of a job, by its ID: whether it went well.
    acknowledged: Option<(String, bool)>,
    /// How a device of ours stands.
    status: Option<UpdateStatus>,
    /// The product it says it is, if it says so.
    product: Option<String>,
    is_reported: bool,
}

/// Reads a message.
pub(super) fn read(who: &Identity, payload: &[u8]) -> Result<Request, Refused> {
    let payload = payload.trim_ascii();
    if payload.starts_with(ACKNOWLEDGEMENT) {
        return acknowledgement(who, payload);
    }
    let text =
        std::str::from_utf8(payload).map_err(|_| Refused(415, "the payload is not UTF-8".to_owned()))?;
    let Ok(mut body) = serde_json::from_str::<Value>(text) else {
        // The shadow says what is wrong with it, in the contract's words.
        return Ok(Request::plain(text.to_owned()));
    };
    let token = body["clientToken"].as_str().map(str::to_owned);
    let is_device = matches!(who, Identity::Device { .. });
    let asked = match body.get_mut("state").and_then(|state| state.get_mut("desired")) {
        Some(Value::Object(desired)) => Asked::take(desired)?,
        Some(_) | None => None,
    };
    if asked.is_some() && is_device {
        return Err(Refused(403, "only an application asks for software".to_owned()));
    }
    let reported = body.get("state").and_then(|state| state.get("reported"));
    if reported.is_some() && !is_device {
        return Err(Refused(403, "reported state is what the device says; set desired state".to_owned()));
    }
    let mut request = Request::plain(if asked.is_some() { body.to_string() } else { text.to_owned() });
    (request.token, request.asked) = (token, asked);
    if let Some(Value::Object(reported)) = reported {
        request.is_reported = true;
        request.acknowledged = word_of(reported);
        request.status = status_of(reported)?;
        request.product = reported.get("product").and_then(Value::as_str).map(str::to_owned);
    }
    Ok(request)
}

impl Request {
    fn plain(state: String) -> Self {
        Self {
            state,
            token: None,
            asked: None,
            acknowledged: None,
            status: None,
            product: None,
            is_reported: false,
        }
    }
}

/// `jobID:<id> SUCCESS` or `jobID:<id> FAILURE`, which the replica keeps as reported state.
fn acknowledgement(who: &Identity, payload: &[u8]) -> Result<Request, Refused> {
    let wrong =
        || Refused(400, "an acknowledgement is \"jobID:<id> SUCCESS\" or \"jobID:<id> FAILURE\"".to_owned());
    if matches!(who, Identity::Application { .. }) {
        return Err(Refused(403, "a job is acknowledged by its device".to_owned()));
    }
    let text = std::str::from_utf8(payload).map_err(|_| wrong())?;
    let words = text.strip_prefix("jobID:").filter(|_| text.len() <= ACKNOWLEDGEMENT_BYTES_MAX);
    let (job, word) = words.and_then(|words| words.trim().split_once(' ')).ok_or_else(wrong)?;
    let went_well = went_well(word.trim()).ok_or_else(wrong)?;
    let state = json!({ "state": { "reported": { "jobID": job, "status": word.trim() } } }).to_string();
    Ok(Request { acknowledged: Some((job.to_owned(), went_well)), ..Request::plain(state) })
}

fn went_well(word: &str) -> Option<bool> {
    match word {
        "SUCCESS" => Some(true),
        "FAILURE" => Some(false),
        _ => None,
    }
}

/// The acknowledgement as JSON: `jobID` and `status` in reported state.
fn word_of(reported: &Map<String, Value>) -> Option<(String, bool)> {
    let job = reported.get("jobID")?.as_str()?;
    let status = reported.get("status")?.as_str()?;
    Some((job.to_owned(), went_well(status)?))
}

/// How a device of ours says it stands. Absent parts are said as null there.
fn status_of(reported: &Map<String, Value>) -> Result<Option<UpdateStatus>, Refused> {
    match reported.get("update") {
        Some(Value::Object(update)) if update.contains_key("job") => {
            let present = update.iter().filter(|(_, value)| !value.is_null());
            let update: Map<_, _> = present.map(|(name, value)| (name.clone(), value.clone())).collect();
            serde_json::from_value(Value::Object(update))
                .map(Some)
                .map_err(|error| Refused(400, format!("state.reported.update: {error}")))
        }
        // Any other state may be called so.
        Some(_) | None => Ok(None),
    }
}

/// The client token of a payload, where there is one.
pub(super) fn token(payload: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(payload).ok()?;
    Some(body.get("clientToken")?.as_str()?.to_owned())
}

impl<S: Store> Desk<'_, S> {
    /// What must hold before anything is taken in.
    pub(super) fn check(&mut self, request: &Request) -> Result<Result<(), Refused>, Error> {
        let known = self.fleet.device(self.device)?;
        if let Identity::Device { product: Some(own), .. } = self.who {
            let said = request.product.as_deref();
            if said.is_some_and(|said| said != own.as_str()) {
                return Ok(Err(Refused(403, format!("the credential is for devices of product {own}"))));
            }
        }
        if let Some((job, _)) = &request.acknowledged
            && self.rollout_named(job).is_none()
        {
            return Ok(Err(Refused(404, format!("the device has no job {job}"))));
        }
        match &request.asked {
            Some(asked) => Ok(self.check_asked(asked, known.as_ref())),
            None => Ok(Ok(())),
        }
    }

    /// Does what a message says beside changing the shadow.
    pub(super) fn carry_out(&mut self, request: Request) -> Result<(), Error> {
        if let Some(asked) = &request.asked {
            self.ask_for(asked)?;
        }
        if let Some((job, went_well)) = &request.acknowledged {
            self.acknowledge(job, *went_well)?;
        }
        if !request.is_reported {
            return Ok(());
        }
        let progress = request.status.map(update::progress);
        self.report(progress)
    }

    /// Takes over what the device says of itself: all that it ever reported, as the shadow has merged it.
    pub(in crate::protocols::mqtt) fn report(&mut self, progress: Option<Progress>) -> Result<(), Error> {
        let known = self.fleet.device(self.device)?;
        let shadow = self.fleet.shadow(self.device, &ShadowName::CLASSIC)?;
        let description = shadow.and_then(|shadow| {
            let reported = serde_json::to_value(State(&shadow.reported)).ok()?;
            describe(self.device.as_str(), &reported, known.as_ref(), self.who)
        });
        if description.is_some() || (progress.is_some() && known.is_some()) {
            self.fleet.report(self.now, self.device, &Report { description, progress })?;
        }
        Ok(())
    }

    /// What the shadow is to take in: with an acknowledgement of success also the version that the device says by it that
    /// it runs (the pattern's step 8), unless it says so itself. Only while the job is open: a late word changes nothing.
    pub(super) fn state_of(&mut self, request: &Request) -> Result<Bytes, Error> {
        let said = Bytes::from(request.state.clone());
        let Some((job, true)) = &request.acknowledged else { return Ok(said) };
        let Some((rollout, _)) = self.rollout_named(job) else { return Ok(said) };
        let pending = self.fleet.pending(self.now, self.device)?;
        let open = pending.iter().find(|one| one.rollout.id == rollout);
        let Some((_, version)) = open.and_then(|one| one.rollout.release()) else { return Ok(said) };
        let reported = serde_json::from_str::<Value>(&request.state).ok();
        if reported.is_some_and(|body| body["state"]["reported"].get("version").is_some()) {
            return Ok(said);
        }
        let member = Map::from_iter([("version".to_owned(), version.as_str().into())]);
        Ok(with_members(&said, &["state", "reported"], member))
    }

    /// The rollout that a job ID in an acknowledgement names: as a delta names it, or as Jobs does.
    fn rollout_named(&self, job: &str) -> Option<(RolloutId, Option<u32>)> {
        if let Ok(job) = job.parse::<updraft_wire::JobId>() {
            let id = update::rollout_of(&job);
            if self.fleet.rollout(&id).is_ok() {
                return Some((id, Some(job.attempt())));
            }
        }
        jobs::rollout(self.fleet, job).map(|rollout| (rollout.id, None))
    }

    /// A repeated or late acknowledgement is normal, and changes nothing.
    fn acknowledge(&mut self, job: &str, went_well: bool) -> Result<(), Error> {
        let Some((rollout, attempt)) = self.rollout_named(job) else { return Ok(()) };
        let word = if went_well { Word::Succeeded } else { Word::Failed(FailureReason::InstallFailed) };
        let answer = Answer {
            attempt,
            revision: None,
            word,
            detail: String::new(),
            details: None,
            timer: None,
            version: None,
        };
        let _taken = self.fleet.answer(self.now, self.device, &rollout, &answer)?;
        Ok(())
    }
}

/// A device's description from all that it reported; `None` if that does not say what it is, and nothing else does.
fn describe(id: &str, reported: &Value, known: Option<&Device>, who: &Identity) -> Option<Description> {
    let text = |name: &str| reported.get(name).and_then(Value::as_str);
    let credential = match who {
        Identity::Device { product, .. } => product.clone(),
        Identity::Application { .. } => None,
    };
    let known_product = || known.map(|device| device.product.clone());
    let product: ProductName =
        text("product").and_then(|product| product.parse().ok()).or(credential).or_else(known_product)?;
    let version = text("version").filter(|version| (1..=VERSION_BYTES_MAX).contains(&version.len()));
    let version = version.or(known.map(|device| device.version.as_str()))?.to_owned();
    let boot = reported.get("boot").and_then(Value::as_u64);
    let mut attributes: Attributes = serde_json::from_value(reported.clone()).ok()?;
    attributes.remove("update");
    for (name, value) in [("id", id), ("product", product.as_str()), ("version", version.as_str())] {
        attributes.insert(name, value).ok()?;
    }
    Some(Description { product, version, boot, attributes })
}

/// The description of a device that has connected and said nothing of itself.
pub(in crate::protocols::mqtt) fn unknown_device(
    id: &str,
    product: Option<&ProductName>,
) -> Option<Description> {
    let unknown = || PRODUCT_UNKNOWN.parse().ok();
    let product = product.cloned().or_else(unknown)?;
    let mut attributes = Attributes::new();
    for (name, value) in [("id", id), ("product", product.as_str()), ("version", VERSION_UNKNOWN)] {
        attributes.insert(name, value).ok()?;
    }
    Some(Description { product, version: VERSION_UNKNOWN.to_owned(), boot: None, attributes })
}
