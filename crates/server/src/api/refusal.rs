//! Why a request of an operator gets no success: one table from cause to status, stable code and sentence.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use updraft_core::fleet::Error as FleetError;
use updraft_core::policy::PolicyError;
use updraft_core::store::StoreError;
use updraft_wire::operator::Failure;

use crate::artifacts::PutError;
use crate::auth::AuthError;
use crate::engine::EngineError;
use crate::pki::client::IssueError;
use crate::store::{Cause, cause};

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    failure: Failure,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let failure =
            Failure { code: code.to_owned(), message: message.into(), near: Vec::new(), excerpt: None };
        Self { status, failure }
    }

    /// 400.
    pub(super) fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404, with names that are near what was asked for.
    pub(super) fn unknown(code: &str, message: impl Into<String>, near: Vec<String>) -> Self {
        let mut refusal = Self::new(StatusCode::NOT_FOUND, code, message);
        refusal.failure.near = near;
        refusal
    }

    /// 400 for a policy, with a caret under the column.
    pub(super) fn policy(error: &PolicyError, source: &str) -> Self {
        let mut refusal = Self::bad("policy_invalid", format!("the policy is not valid: {error}"));
        // The last line repeats the message.
        let excerpt = error.render(source);
        refusal.failure.excerpt = excerpt.rsplit_once('\n').map(|(lines, _)| lines.to_owned());
        refusal
    }

    /// Fills in what was meant, where nothing was found.
    pub(super) fn near(mut self, near: impl FnOnce() -> Vec<String>) -> Self {
        if self.status == StatusCode::NOT_FOUND {
            self.failure.near = near();
        }
        self
    }

    /// Whether nothing was found.
    pub(super) fn is_unknown(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.failure)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "an operator's request failed");
        match cause(&error) {
            Cause::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "no_space",
                "the disk of the data folder is full; free some space and try again",
            ),
            Cause::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "the database is busy; try again in a few seconds",
            ),
            Cause::Refused | Cause::Corrupt | Cause::Other => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_failed",
                format!("{error}; the server's log says why"),
            ),
        }
    }
}

impl From<FleetError> for Refusal {
    fn from(error: FleetError) -> Self {
        let message = error.to_string();
        match error {
            FleetError::UnknownDevice(_) => Self::unknown("device_unknown", message, Vec::new()),
            FleetError::UnknownRelease { .. } => Self::unknown("release_unknown", message, Vec::new()),
            FleetError::UnknownRollout(_) => Self::unknown("rollout_unknown", message, Vec::new()),
            FleetError::ReleaseExists { .. } => Self::new(StatusCode::CONFLICT, "release_differs", message),
            FleetError::TooMany { .. } => Self::new(StatusCode::CONFLICT, "limit_reached", message),
            FleetError::RolloutExists(_) => Self::new(StatusCode::CONFLICT, "rollout_exists", message),
            FleetError::WrongState { .. } => Self::new(StatusCode::CONFLICT, "rollout_state", message),
            FleetError::UnknownTask(_) => Self::unknown("task_unknown", message, Vec::new()),
            FleetError::TaskExists(_) => Self::new(StatusCode::CONFLICT, "task_exists", message),
            FleetError::InvalidTask(_) => Self::bad("task_invalid", message),
            FleetError::InvalidPlan(_) => Self::bad("plan_invalid", message),
            FleetError::Store(error) => error.into(),
        }
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            EngineError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message),
            EngineError::Stopped => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", message),
            EngineError::NotSaved => Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", message),
            EngineError::WrongProduct => Self::new(StatusCode::FORBIDDEN, "wrong_device", message),
            EngineError::Fleet(error) => error.into(),
        }
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        let message = error.to_string();
        match error {
            AuthError::Store(error) => error.into(),
            AuthError::Unknown(_) => Self::unknown("token_unknown", message, Vec::new()),
            AuthError::TooMany => Self::new(StatusCode::CONFLICT, "limit_reached", message),
            AuthError::IdentityTaken { .. } => Self::new(StatusCode::CONFLICT, "identity_taken", message),
            AuthError::NotADevice => Self::bad("form_invalid", message),
            AuthError::Random | AuthError::File { .. } | AuthError::MasterKey(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", message)
            }
        }
    }
}

impl From<IssueError> for Refusal {
    fn from(error: IssueError) -> Self {
        let message = error.to_string();
        match error {
            IssueError::NameTooLong => Self::bad("name_too_long", message),
            IssueError::Request => Self::bad("signing_request_invalid", message),
            IssueError::Random | IssueError::Make(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a certificate was not made");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", message)
            }
        }
    }
}

impl From<PutError> for Refusal {
    fn from(error: PutError) -> Self {
        // A refusal of ours that ended the stream comes back as the reason why it broke off.
        if let PutError::Aborted(source) = &error
            && let Some(differs) = source.downcast_ref::<super::release::Sha256Differs>()
        {
            return Self::new(StatusCode::CONFLICT, "sha256_differs", differs.to_string());
        }
        Self::new(error.status(), error.code(), error.to_string())
    }
}
