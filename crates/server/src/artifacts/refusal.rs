//! Why a download request gets no bytes: one table from cause to status, code and sentence.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::credential::CredentialError;
use super::link::LinkError;
use super::{ReadError, answer};

/// Seconds after which a client that found all download slots taken should come back; most downloads end in that time.
const BUSY_RETRY_SECONDS: u32 = 30;

#[derive(Debug)]
pub(super) enum Refusal {
    ArtifactUnknown,
    MethodNotAllowed(&'static str),
    LinkMissing,
    Link(LinkError),
    Credential(CredentialError),
    Withdrawn,
    DeviceUnknown,
    NotAssigned,
    Busy,
    Unavailable,
    Store(ReadError),
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unknown(_) => Self::ArtifactUnknown,
            ReadError::Store(_) => Self::Store(error),
        }
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::ArtifactUnknown => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::LinkMissing | Self::DeviceUnknown => StatusCode::UNAUTHORIZED,
            Self::Link(_) | Self::Credential(_) | Self::NotAssigned => StatusCode::FORBIDDEN,
            Self::Withdrawn => StatusCode::GONE,
            Self::Busy | Self::Unavailable | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ArtifactUnknown => "artifact_unknown",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::LinkMissing => "link_missing",
            Self::Link(error) => error.code(),
            Self::Credential(error) => error.code(),
            Self::Withdrawn => "link_withdrawn",
            Self::DeviceUnknown => "device_unknown",
            Self::NotAssigned => "artifact_not_assigned",
            Self::Busy => "downloads_busy",
            Self::Unavailable => "unavailable",
            Self::Store(_) => "artifact_store_failed",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::ArtifactUnknown => "there is no such artifact".into(),
            Self::MethodNotAllowed(allowed) => format!("use {allowed} here"),
            Self::LinkMissing => "use the signed link of an offer, or a temporary credential".into(),
            Self::Link(error) => error.to_string(),
            Self::Credential(error) => error.to_string(),
            Self::Withdrawn => "what this link was for has been cancelled or closed".into(),
            Self::DeviceUnknown => "the request carries no credential of a known device".into(),
            Self::NotAssigned => "the device has no open job for this artifact".into(),
            Self::Busy => "too many downloads are under way; come back later".into(),
            Self::Unavailable => {
                "what this link is for cannot be looked up at the moment; come back later".into()
            }
            Self::Store(_) => "the artifact cannot be read at the moment; come back later".into(),
        }
    }

    /// The answer: `{"code","message"}`, never a byte of the artifact.
    pub(super) fn into_answer(self) -> Response {
        if let Self::Store(error) = &self {
            tracing::error!(error = error as &dyn std::error::Error, "an artifact could not be opened");
        }
        let body = serde_json::json!({ "code": self.code(), "message": self.message() }).to_string();
        let mut response = answer::json(self.status(), body);
        let headers = response.headers_mut();
        match self {
            Self::MethodNotAllowed(allowed) => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            Self::LinkMissing | Self::DeviceUnknown => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Busy | Self::Unavailable | Self::Store(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(BUSY_RETRY_SECONDS));
            }
            Self::ArtifactUnknown
            | Self::Link(_)
            | Self::Credential(_)
            | Self::Withdrawn
            | Self::NotAssigned => {}
        }
        response
    }
}
