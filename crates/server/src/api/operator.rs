//! The one door: an operator's token on each request.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Api;
use super::refusal::Refusal;
use crate::auth::{OperatorName, Principal};

/// Who asks, for the history of what was done.
#[derive(Debug, Clone)]
pub(super) struct Operator(pub(super) OperatorName);

impl Operator {
    /// What history says: who, and why if they said.
    pub(super) fn with_note(&self, note: &str) -> String {
        if note.is_empty() { format!("operator {}", self.0) } else { format!("operator {}: {note}", self.0) }
    }
}

/// Lets operators in, and nobody else.
pub(super) async fn admit(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let presented = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = presented.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        // RFC 9110 §11.1: the scheme's case does not matter.
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let Some(token) = token else {
        let message = "this needs an operator's token: send it as `Authorization: Bearer TOKEN`";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "token_missing", message));
    };
    match api.auth.verify(token, api.now()) {
        Some(Principal::Operator(name)) => {
            request.extensions_mut().insert(Operator(name));
            Ok(next.run(request).await)
        }
        Some(Principal::Device(_) | Principal::Product(_)) => {
            let message =
                "this token is not an operator's; make one with `updraft token create --operator NAME`";
            Err(Refusal::new(StatusCode::FORBIDDEN, "token_not_operator", message))
        }
        None => {
            let message = "the operator token is not valid: unknown, expired or revoked";
            Err(Refusal::new(StatusCode::UNAUTHORIZED, "token_invalid", message))
        }
    }
}
