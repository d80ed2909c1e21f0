//! Check-in bodies to the domain's reports, and offers to answers. Pure.

use crate::update;
use serde::Deserialize;
use std::borrow::Cow;
use updraft_core::attributes::{Attributes, Value};
use updraft_core::fleet::{Assignment, Offer};
use updraft_core::id::DeviceId;
use updraft_core::report::{Description, Progress, Report, Word};
use updraft_core::state::FailureReason;
use updraft_wire::check_in::{CheckInAnswer, UpdateStatus};
use updraft_wire::manifest::{Manifest, VERSION_BYTES_MAX};
use updraft_wire::{JobId, ioto};

/// Why a body is no check-in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No JSON, or not of the contract's shape.
    #[error("the body is not a valid check-in: {0}")]
    Syntax(String),
    /// A field is missing or has a value outside its limits.
    #[error("the check-in's `{field}` is not valid: {rule}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it must be.
        rule: String,
    },
}

fn field(field: &'static str, rule: impl ToString) -> Malformed {
    Malformed::Field { field, rule: rule.to_string() }
}

/// A check-in, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Who speaks, as it says.
    pub device: DeviceId,
    /// What it says.
    pub report: Report,
    /// The job it says it has ended.
    pub ended: Option<JobId>,
}

/// The native body, with attributes read at once into the form in which they are kept.
#[derive(Deserialize)]
struct NativeBody<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    product: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    boot: u64,
    #[serde(default)]
    attributes: Attributes,
    #[serde(default)]
    update: Option<UpdateStatus>,
    #[serde(default)]
    manifest: Option<Manifest>,
}

/// Reads a body whole as UTF-8 (RFC 8259 §8.1), the fields nobody asks for included.
fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Malformed> {
    let text = std::str::from_utf8(body).map_err(|error| Malformed::Syntax(error.to_string()))?;
    serde_json::from_str(text).map_err(|error| Malformed::Syntax(error.to_string()))
}

/// Reads a native check-in (see [`updraft_wire::CheckIn`]).
///
/// # Errors
/// [`Malformed`].
pub fn native(body: &[u8]) -> Result<Said, Malformed> {
    let body: NativeBody<'_> = read(body)?;
    let mut attributes = body.attributes;
    if let Some(image) = body.manifest.as_ref().and_then(|manifest| manifest.artifacts.first()) {
        insert(&mut attributes, "image_sha256", &image.sha256)?;
    }
    for (name, value) in [("id", &body.id), ("product", &body.product), ("version", &body.version)] {
        insert(&mut attributes, name, value)?;
    }
    let ended =
        body.update.as_ref().filter(|update| update.state.is_settled()).map(|update| update.job.clone());
    let progress = body.update.map(update::progress);
    let description = describe(&body.product, &body.version, Some(body.boot), attributes)?;
    let device = body.id.parse().map_err(|error| field("id", error))?;
    Ok(Said { device, report: Report { description: Some(description), progress }, ended })
}

/// Reads a check-in of the Ioto agent or an EmbedThis updater: any properties, `id`, `product` and `version` among
/// them.
///
/// # Errors
/// [`Malformed`].
pub fn ioto(body: &[u8]) -> Result<Said, Malformed> {
    let attributes: Attributes = read(body).or_else(|error| match without_last_comma(body) {
        Some(body) => read(&body),
        None => Err(error),
    })?;
    let text = |name: &'static str| {
        let value = attributes.get(name).and_then(Value::as_str);
        value.map(str::to_owned).ok_or_else(|| field(name, "a text is required"))
    };
    let (id, product, version) = (text("id")?, text("product")?, text("version")?);
    let device = id.parse().map_err(|error| field("id", error))?;
    let description = describe(&product, &version, None, attributes)?;
    Ok(Said { device, report: Report { description: Some(description), progress: None }, ended: None })
}

/// The body without the comma before its end, if there is one: the C updater, run without extra properties, sends
/// `{"id":"…","product":"…","version":"…",}`.
fn without_last_comma(body: &[u8]) -> Option<Vec<u8>> {
    let fields = body.trim_ascii_end().strip_suffix(b"}")?.trim_ascii_end().strip_suffix(b",")?;
    Some([fields, b"}"].concat())
}

/// Reads what an updater says after its apply script ran.
///
/// # Errors
/// [`Malformed`].
pub fn ioto_report(body: &[u8]) -> Result<(DeviceId, Progress), Malformed> {
    let report: ioto::UpdateReport = read(body)?;
    let device = report.id.parse().map_err(|error| field("id", error))?;
    let job: JobId = report.update.parse().map_err(|error| field("update", error))?;
    let (word, detail) = if report.success {
        (Word::Rebooting, "the apply script ended well")
    } else {
        (Word::Failed(FailureReason::InstallFailed), "the apply script failed")
    };
    let rollout = update::rollout_of(&job);
    Ok((device, Progress { rollout, attempt: job.attempt(), word, percent: None, detail: detail.to_owned() }))
}

fn insert(attributes: &mut Attributes, name: &'static str, value: &str) -> Result<(), Malformed> {
    attributes.insert(name, value).map_err(|error| field(name, error))
}

fn describe(
    product: &str,
    version: &str,
    boot: Option<u64>,
    attributes: Attributes,
) -> Result<Description, Malformed> {
    if version.is_empty() || version.len() > VERSION_BYTES_MAX {
        return Err(field("version", format!("1 to {VERSION_BYTES_MAX} bytes")));
    }
    let product = product.parse().map_err(|error| field("product", error))?;
    Ok(Description { product, version: version.to_owned(), boot, attributes })
}

/// The native answer. `link` makes the link for an assignment.
#[must_use]
pub fn native_answer(
    offer: &Offer,
    next_check_in_s: u64,
    noted: Option<JobId>,
    link: impl FnOnce(&Assignment) -> String,
) -> CheckInAnswer {
    let assignment = match offer {
        Offer::Nothing { .. } => None,
        Offer::Assigned(assignment) => Some(update::assignment(assignment, link(assignment))),
    };
    CheckInAnswer { next_check_in_s, assignment, noted }
}

/// The answer to the Ioto agent and the updaters; `None` is sent as `{}`.
#[must_use]
pub fn ioto_answer(offer: &Offer, link: impl FnOnce(&Assignment) -> String) -> Option<ioto::Offer> {
    match offer {
        Offer::Nothing { .. } => None,
        Offer::Assigned(assignment) => Some(ioto::Offer {
            url: link(assignment),
            checksum: assignment.release.artifact.sha256.clone(),
            update: update::job(assignment).to_string(),
            version: assignment.release.version.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests;
