//! Why a request of this contract gets no success: the exception's name in a header, as its clients look for it, and a
//! sentence in the body.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use updraft_core::fleet::Error as FleetError;

use super::query::QueryError;
use super::sigv4::SignatureError;
use crate::engine::EngineError;
use crate::listen::ReadBodyError;
use crate::placeholder::InvalidPlaceholder;

/// The header in which clients look for the exception's name.
pub const ERROR_TYPE: &str = "x-amzn-errortype";

/// The exceptions. Their status is that of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    /// 400: the request is not what it must be, or asks for what is not supported.
    InvalidRequest,
    /// 400: the authorization header is not complete.
    IncompleteSignature,
    /// 403: nobody is named as the caller.
    MissingAuthenticationToken,
    /// 403: the signature is not that of the request, or its time is not now.
    InvalidSignature,
    /// 403: the temporary credential's time is over.
    ExpiredToken,
    /// 403: nobody has such a credential.
    UnrecognizedClient,
    /// 403: the caller may not do this.
    Forbidden,
    /// 404: there is no such thing, job or shadow.
    ResourceNotFound,
    /// 405: the path exists and does not take the method.
    MethodNotAllowed,
    /// 409: there is one of that name.
    ResourceAlreadyExists,
    /// 409: its state does not allow it.
    InvalidStateTransition,
    /// 409: it has another version than the caller expects.
    VersionConflict,
    /// 409, of shadows: the document has another version.
    Conflict,
    /// 410: a limit of the server is reached.
    LimitExceeded,
    /// 410: the execution has ended.
    TerminalState,
    /// 413: the body is too large.
    RequestEntityTooLarge,
    /// 415: the body is not UTF-8.
    UnsupportedDocumentEncoding,
    /// 429: too many requests.
    Throttling,
    /// 500: the server made a mistake.
    InternalFailure,
    /// 503: the server cannot do it now.
    ServiceUnavailable,
}

impl Exception {
    fn named(self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "InvalidRequestException"),
            Self::IncompleteSignature => (StatusCode::BAD_REQUEST, "IncompleteSignatureException"),
            Self::MissingAuthenticationToken => {
                (StatusCode::FORBIDDEN, "MissingAuthenticationTokenException")
            }
            Self::InvalidSignature => (StatusCode::FORBIDDEN, "InvalidSignatureException"),
            Self::ExpiredToken => (StatusCode::FORBIDDEN, "ExpiredTokenException"),
            Self::UnrecognizedClient => (StatusCode::FORBIDDEN, "UnrecognizedClientException"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "ForbiddenException"),
            Self::ResourceNotFound => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowedException"),
            Self::ResourceAlreadyExists => (StatusCode::CONFLICT, "ResourceAlreadyExistsException"),
            Self::InvalidStateTransition => (StatusCode::CONFLICT, "InvalidStateTransitionException"),
            Self::VersionConflict => (StatusCode::CONFLICT, "VersionConflictException"),
            Self::Conflict => (StatusCode::CONFLICT, "ConflictException"),
            Self::LimitExceeded => (StatusCode::GONE, "LimitExceededException"),
            Self::TerminalState => (StatusCode::GONE, "TerminalStateException"),
            Self::RequestEntityTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException"),
            Self::UnsupportedDocumentEncoding => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedDocumentEncodingException")
            }
            Self::Throttling => (StatusCode::TOO_MANY_REQUESTS, "ThrottlingException"),
            Self::InternalFailure => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailureException"),
            Self::ServiceUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
        }
    }
}

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which exception.
    pub exception: Exception,
    /// Why, in a sentence.
    pub message: String,
}

impl Failure {
    /// A failure with its reason.
    pub fn new(exception: Exception, message: impl Into<String>) -> Self {
        Self { exception, message: message.into() }
    }

    /// The commonest one.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Exception::InvalidRequest, message)
    }

    /// There is no such thing.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(Exception::ResourceNotFound, message)
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.exception.named().0
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, name) = self.exception.named();
        let body = serde_json::json!({ "message": self.message }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_TYPE, HeaderValue::from_static(name));
        response
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<InvalidPlaceholder> for Failure {
    fn from(error: InvalidPlaceholder) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<ReadBodyError> for Failure {
    fn from(error: ReadBodyError) -> Self {
        let exception = match error {
            ReadBodyError::TooLarge { .. } => Exception::RequestEntityTooLarge,
            ReadBodyError::TooSlow { .. } | ReadBodyError::Broken(_) => Exception::InvalidRequest,
        };
        Self::new(exception, error.to_string())
    }
}

impl From<SignatureError> for Failure {
    fn from(error: SignatureError) -> Self {
        let exception = match error {
            SignatureError::Missing => Exception::MissingAuthenticationToken,
            SignatureError::Incomplete(_) => Exception::IncompleteSignature,
            SignatureError::Time | SignatureError::Scope | SignatureError::Mismatch => {
                Exception::InvalidSignature
            }
        };
        Self::new(exception, error.to_string())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            EngineError::Busy => Self::new(Exception::Throttling, message),
            EngineError::Stopped | EngineError::NotSaved => Self::new(Exception::ServiceUnavailable, message),
            EngineError::WrongProduct => Self::new(Exception::Forbidden, message),
            EngineError::Fleet(error) => error.into(),
        }
    }
}

impl From<FleetError> for Failure {
    fn from(error: FleetError) -> Self {
        let message = error.to_string();
        let exception = match error {
            FleetError::UnknownDevice(_)
            | FleetError::UnknownRelease { .. }
            | FleetError::UnknownRollout(_)
            | FleetError::UnknownTask(_) => Exception::ResourceNotFound,
            FleetError::ReleaseExists { .. } | FleetError::RolloutExists(_) | FleetError::TaskExists(_) => {
                Exception::ResourceAlreadyExists
            }
            FleetError::TooMany { .. } => Exception::LimitExceeded,
            FleetError::WrongState { .. } => Exception::InvalidStateTransition,
            FleetError::InvalidPlan(_) | FleetError::InvalidTask(_) => Exception::InvalidRequest,
            FleetError::Store(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
                Exception::ServiceUnavailable
            }
        };
        Self::new(exception, message)
    }
}
