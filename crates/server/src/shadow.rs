//! The shadow service's requests and answers as JSON, whatever carries them: MQTT topics or a REST path.
//!
//! The documents are those of the AWS IoT Device Shadow service (Developer Guide, "Device Shadow service documents"
//! and "Device Shadow error messages"). Merging and comparing is [`updraft_core::shadow`]; here is its form on the wire.
//!
//! Absent: who may ask (the carriers know), and the limit of requests in flight (429), which is a connection's.

mod body;
mod request;

use body::{
    AcceptedBody, DeletedBody, DeltaBody, DocumentsBody, MetadataBody, NamesBody, RejectedBody, SaidBody,
    ShadowBody, StateBody, filled,
};
use bytes::Bytes;
use serde::Serialize;
use updraft_core::fleet::{Error, Fleet};
use updraft_core::id::DeviceId;
use updraft_core::shadow::{
    InvalidUpdate, Metadata, NAMED_SHADOWS_MAX, NESTING_MAX, Part, SectionUpdate, Shadow, ShadowChange,
    ShadowName, ShadowRefused, State, Update,
};
use updraft_core::store::Store;
use updraft_core::time::Timestamp;

/// Longest request, in bytes: four times what a state may have, which leaves room for white space, escapes and the names
/// of what is to be removed.
pub const REQUEST_BYTES_MAX: usize = 32 * 1024;
/// Longest client token, in bytes, by the service's contract.
pub const CLIENT_TOKEN_BYTES_MAX: usize = 64;
/// Most names on one page of a list, by the service's contract.
pub const NAMES_PAGE_MAX: usize = 100;
/// Names on one page of a list unless asked for otherwise.
pub const NAMES_PAGE: usize = 25;

/// What can be asked of a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The whole shadow.
    Get,
    /// A change to it.
    Update,
    /// Its end.
    Delete,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Get, Self::Update, Self::Delete];

    /// Its word in a topic.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Why a request was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is not JSON, or not an object.
    InvalidJson,
    /// There is no `state`.
    MissingState,
    /// `state` is no object.
    StateNotAnObject,
    /// A section is neither an object nor null.
    SectionNotAnObject(Part),
    /// `state` has a member that is no section, or an array holds null: its name.
    InvalidNode(String),
    /// Nested deeper than [`NESTING_MAX`].
    TooDeep,
    /// `version` is no whole number.
    InvalidVersion,
    /// `clientToken` is no text of at most [`CLIENT_TOKEN_BYTES_MAX`].
    InvalidClientToken,
    /// The device has as many named shadows as it may.
    TooManyShadows,
    /// There is no such shadow: its name, or the device's for the classic one.
    NoShadow(String),
    /// The update is for another version.
    VersionConflict,
    /// The request or the shadow would be too large.
    TooLarge,
    /// The request is not UTF-8.
    NotUtf8,
}

impl Reason {
    /// The code: an HTTP status.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::InvalidJson
            | Self::MissingState
            | Self::StateNotAnObject
            | Self::SectionNotAnObject(_)
            | Self::InvalidNode(_)
            | Self::TooDeep
            | Self::InvalidVersion
            | Self::InvalidClientToken
            | Self::TooManyShadows => 400,
            Self::NoShadow(_) => 404,
            Self::VersionConflict => 409,
            Self::TooLarge => 413,
            Self::NotUtf8 => 415,
        }
    }

    /// The sentence: the service's own where it has one.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::InvalidJson => "Invalid JSON".to_owned(),
            Self::MissingState => "Missing required node: state".to_owned(),
            Self::StateNotAnObject => "State node must be an object".to_owned(),
            Self::SectionNotAnObject(Part::Desired) => "Desired node must be an object".to_owned(),
            Self::SectionNotAnObject(Part::Reported) => "Reported node must be an object".to_owned(),
            Self::InvalidNode(name) => format!("State contains an invalid node: '{name}'"),
            Self::TooDeep => {
                format!("JSON contains too many levels of nesting; maximum is {NESTING_MAX}")
            }
            Self::InvalidVersion => "Invalid version".to_owned(),
            Self::InvalidClientToken => "Invalid clientToken".to_owned(),
            Self::TooManyShadows => format!("Too many named shadows; maximum is {NAMED_SHADOWS_MAX}"),
            Self::NoShadow(name) => format!("No shadow exists with name: '{name}'"),
            Self::VersionConflict => "Version conflict".to_owned(),
            Self::TooLarge => "The payload exceeds the maximum size allowed".to_owned(),
            // The service's own words, "documented" for "document" among them.
            Self::NotUtf8 => "Unsupported documented encoding; supported encoding is UTF-8".to_owned(),
        }
    }
}

impl From<InvalidUpdate> for Reason {
    fn from(invalid: InvalidUpdate) -> Self {
        match invalid {
            InvalidUpdate::NotAnObject(part) => Self::SectionNotAnObject(part),
            InvalidUpdate::TooDeep => Self::TooDeep,
            InvalidUpdate::NullInArray(name) => Self::InvalidNode(name),
        }
    }
}

impl From<ShadowRefused> for Reason {
    fn from(refused: ShadowRefused) -> Self {
        match refused {
            ShadowRefused::VersionConflict { .. } => Self::VersionConflict,
            ShadowRefused::TooLarge { .. } => Self::TooLarge,
            ShadowRefused::TooMany => Self::TooManyShadows,
        }
    }
}

/// A rejected request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub reason: Reason,
    /// Its body: `code`, `message`, `timestamp`, and the `clientToken` if one was sent that can be sent back.
    pub body: Bytes,
}

/// What everyone who follows a shadow hears of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The last levels of its topic.
    pub topic: &'static str,
    /// Its body.
    pub body: Bytes,
}

/// The last levels of the topic of what is desired and not reported.
pub const DELTA: &str = "update/delta";
/// The last levels of the topic of a shadow before and after an update.
pub const DOCUMENTS: &str = "update/documents";

/// What comes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The body of the answer: over MQTT to `…/accepted` or `…/rejected`, over REST to the caller.
    pub reply: Result<Bytes, Rejected>,
    /// Messages to the shadow's other topics, whatever carried the request.
    pub events: Vec<Event>,
}

/// The first levels of a shadow's topics, without a slash at the end.
#[must_use]
pub fn topic_prefix(device: &DeviceId, name: &ShadowName) -> String {
    if name.is_classic() {
        format!("$aws/things/{device}/shadow")
    } else {
        format!("$aws/things/{device}/shadow/name/{name}")
    }
}

/// Does what a request asks for.
///
/// # Errors
/// [`Error::Store`]; whatever is wrong with the request is in the answer.
pub fn answer<S: Store>(
    fleet: &mut Fleet<S>,
    now: Timestamp,
    device: &DeviceId,
    name: &ShadowName,
    operation: Operation,
    payload: &[u8],
) -> Result<Answer, Error> {
    let mut token = None;
    let outcome = match operation {
        Operation::Get => match request::get(payload, &mut token) {
            Ok(()) => get(fleet, now, device, name, token.as_deref())?,
            Err(reason) => Err(reason),
        },
        Operation::Update => match request::update(payload, &mut token) {
            Ok(update) => match fleet.update_shadow(now, device, name, &update)? {
                Ok(change) => Ok(accept(now, &update, &change, token.as_deref())),
                Err(refused) => Err(refused.into()),
            },
            Err(reason) => Err(reason),
        },
        Operation::Delete => {
            token = request::delete(payload);
            delete(fleet, now, device, name, token.as_deref())?
        }
    };
    Ok(outcome.unwrap_or_else(|reason| Answer {
        reply: Err(reject(now, reason, token.as_deref())),
        events: Vec::new(),
    }))
}

/// The body of a list of a device's named shadows: at most `limit` of them, after `after`.
///
/// # Errors
/// [`Error::Store`].
pub fn names<S: Store>(
    fleet: &mut Fleet<S>,
    now: Timestamp,
    device: &DeviceId,
    after: Option<&ShadowName>,
    limit: usize,
) -> Result<Bytes, Error> {
    let limit = limit.clamp(1, NAMES_PAGE_MAX);
    let mut names = fleet.shadow_names(device, after, limit + 1)?;
    let is_last = names.len() <= limit;
    names.truncate(limit);
    let results: Vec<_> = names.iter().map(ShadowName::as_str).collect();
    let next_token = results.last().filter(|_| !is_last).copied();
    Ok(bytes(&NamesBody { results: &results, timestamp: seconds(now), next_token }))
}

/// What a device must hear of a shadow that it may have missed: the delta as it stands, if there is one.
#[must_use]
pub fn delta(now: Timestamp, shadow: &Shadow, token: Option<&str>) -> Option<Event> {
    let delta = shadow.delta();
    if delta.is_empty() {
        return None;
    }
    let body = DeltaBody {
        version: shadow.version,
        timestamp: seconds(now),
        state: State(&delta),
        metadata: Metadata(&delta),
        client_token: token,
    };
    Some(Event { topic: DELTA, body: bytes(&body) })
}

fn get<S: Store>(
    fleet: &mut Fleet<S>,
    now: Timestamp,
    device: &DeviceId,
    name: &ShadowName,
    token: Option<&str>,
) -> Result<Result<Answer, Reason>, Error> {
    let Some(shadow) = fleet.shadow(device, name)? else { return Ok(Err(no_shadow(device, name))) };
    let delta = shadow.delta();
    let body = ShadowBody {
        state: StateBody { delta: filled(&delta).map(State), ..StateBody::of(&shadow) },
        metadata: MetadataBody::of(&shadow),
        version: shadow.version,
        timestamp: Some(seconds(now)),
        client_token: token,
    };
    Ok(Ok(Answer { reply: Ok(bytes(&body)), events: Vec::new() }))
}

fn delete<S: Store>(
    fleet: &mut Fleet<S>,
    now: Timestamp,
    device: &DeviceId,
    name: &ShadowName,
    client_token: Option<&str>,
) -> Result<Result<Answer, Reason>, Error> {
    let Some(version) = fleet.delete_shadow(now, device, name)? else {
        return Ok(Err(no_shadow(device, name)));
    };
    let body = DeletedBody { version, timestamp: seconds(now), client_token };
    Ok(Ok(Answer { reply: Ok(bytes(&body)), events: Vec::new() }))
}

/// What an update that was taken leads to. A delta follows each that leaves something to do, whoever sent it: the guide
/// does not say that a report which leaves a difference is silent, and a device drops what is not newer.
fn accept(now: Timestamp, update: &Update, change: &ShadowChange, token: Option<&str>) -> Answer {
    let timestamp = seconds(now);
    let said = |part| match update.section(part) {
        SectionUpdate::Unchanged => None,
        SectionUpdate::Removed => Some(None),
        SectionUpdate::Merged(object) => Some(Some(object)),
    };
    let set = |part| update.section(part).set(now);
    let (desired, reported) = (set(Part::Desired), set(Part::Reported));
    let accepted = AcceptedBody {
        state: SaidBody { desired: said(Part::Desired), reported: said(Part::Reported) },
        metadata: MetadataBody {
            desired: desired.as_ref().map(Metadata),
            reported: reported.as_ref().map(Metadata),
        },
        version: change.current.version,
        timestamp,
        client_token: token,
    };
    let documents = DocumentsBody {
        previous: ShadowBody::of(&change.previous),
        current: ShadowBody::of(&change.current),
        timestamp,
        client_token: token,
    };
    let mut events: Vec<_> = delta(now, &change.current, token).into_iter().collect();
    events.push(Event { topic: DOCUMENTS, body: bytes(&documents) });
    Answer { reply: Ok(bytes(&accepted)), events }
}

fn reject(now: Timestamp, reason: Reason, client_token: Option<&str>) -> Rejected {
    let (code, message) = (reason.code(), reason.message());
    let body = RejectedBody { code, message: &message, timestamp: seconds(now), client_token };
    Rejected { body: bytes(&body), reason }
}

fn no_shadow(device: &DeviceId, name: &ShadowName) -> Reason {
    Reason::NoShadow(if name.is_classic() { device.to_string() } else { name.to_string() })
}

fn seconds(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1_000)
}

fn bytes(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).expect("names are texts, and values came from JSON").into()
}
