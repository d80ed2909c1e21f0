//! The bodies of answers and messages.

use serde::Serialize;
use serde_json::{Map, Value};
use updraft_core::shadow::{Metadata, Section, Shadow, State};

/// A section, unless it is empty: an empty section is left out.
pub(super) fn filled(section: &Section) -> Option<&Section> {
    (!section.is_empty()).then_some(section)
}

#[derive(Default, Serialize)]
pub(super) struct StateBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) desired: Option<State<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reported: Option<State<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<State<'a>>,
}

impl<'a> StateBody<'a> {
    pub(super) fn of(shadow: &'a Shadow) -> Self {
        let (desired, reported) = (filled(&shadow.desired), filled(&shadow.reported));
        Self { desired: desired.map(State), reported: reported.map(State), delta: None }
    }
}

#[derive(Serialize)]
pub(super) struct MetadataBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) desired: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reported: Option<Metadata<'a>>,
}

impl<'a> MetadataBody<'a> {
    pub(super) fn of(shadow: &'a Shadow) -> Self {
        let (desired, reported) = (filled(&shadow.desired), filled(&shadow.reported));
        Self { desired: desired.map(Metadata), reported: reported.map(Metadata) }
    }
}

#[derive(Serialize)]
pub(super) struct ShadowBody<'a> {
    pub(super) state: StateBody<'a>,
    pub(super) metadata: MetadataBody<'a>,
    pub(super) version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<i64>,
    #[serde(rename = "clientToken", skip_serializing_if = "Option::is_none")]
    pub(super) client_token: Option<&'a str>,
}

impl<'a> ShadowBody<'a> {
    /// A shadow as one side of a change.
    pub(super) fn of(shadow: &'a Shadow) -> Self {
        let (state, metadata) = (StateBody::of(shadow), MetadataBody::of(shadow));
        Self { state, metadata, version: shadow.version, timestamp: None, client_token: None }
    }
}

/// What an update said, sections that it removes as null.
#[derive(Serialize)]
pub(super) struct SaidBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) desired: Option<Option<&'a Map<String, Value>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reported: Option<Option<&'a Map<String, Value>>>,
}

#[derive(Serialize)]
pub(super) struct AcceptedBody<'a> {
    pub(super) state: SaidBody<'a>,
    pub(super) metadata: MetadataBody<'a>,
    pub(super) version: u64,
    pub(super) timestamp: i64,
    #[serde(rename = "clientToken", skip_serializing_if = "Option::is_none")]
    pub(super) client_token: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct DocumentsBody<'a> {
    pub(super) previous: ShadowBody<'a>,
    pub(super) current: ShadowBody<'a>,
    pub(super) timestamp: i64,
    #[serde(rename = "clientToken", skip_serializing_if = "Option::is_none")]
    pub(super) client_token: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct DeltaBody<'a> {
    pub(super) version: u64,
    pub(super) timestamp: i64,
    pub(super) state: State<'a>,
    pub(super) metadata: Metadata<'a>,
    #[serde(rename = "clientToken", skip_serializing_if = "Option::is_none")]
    pub(super) client_token: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct DeletedBody<'a> {
    pub(super) version: u64,
    pub(super) timestamp: i64,
    #[serde(rename = "clientToken", skip_serializing_if = "Option::is_none")]
    pub(super) client_token: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct RejectedBody<'a> {
    pub(super) code: u16,
    pub(super) message: &'a str,
    pub(super) timestamp: i64,
    #[serde(rename = "clientToken", skip_serializing_if = "Option::is_none")]
    pub(super) client_token: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct NamesBody<'a> {
    pub(super) results: &'a [&'a str],
    pub(super) timestamp: i64,
    #[serde(rename = "nextToken", skip_serializing_if = "Option::is_none")]
    pub(super) next_token: Option<&'a str>,
}
