//! Taking requests apart: names in the path, the query, JSON bodies. What is wrong is refused in one form.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use updraft_core::time::Timestamp;
use updraft_wire::operator::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, REQUEST_BYTES_MAX};

use super::refusal::Refusal;
use crate::interval::parse_duration;
use crate::listen::read_body;

/// How long a JSON body may take to come.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Most parameters in a query: each setting of an upload and its metadata.
const PARAMETERS_MAX: usize = 64;

/// The names in the path, each checked by its type.
pub(super) struct At<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(Self(names)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                Err(Refusal::bad("name_invalid", error.body_text()))
            }
            Err(error) => Err(Refusal::bad("name_invalid", error.body_text())),
        }
    }
}

/// A JSON body.
pub(super) struct Given<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Given<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Refusal> {
        let bytes = read_body(request.into_body(), REQUEST_BYTES_MAX, BODY_TIME_MAX)
            .await
            .map_err(|error| Refusal::new(error.status(), error.code(), error.to_string()))?;
        // serde_json bounds the nesting at 128 levels.
        let given = serde_json::from_slice(&bytes);
        given
            .map(Self)
            .map_err(|error| Refusal::bad("body_invalid", format!("the body is not valid: {error}")))
    }
}

/// The query's parameters: each is asked for by name, once, and none may be left over.
pub(super) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|error| Refusal::bad("query_invalid", error.body_text()))?;
        if pairs.len() > PARAMETERS_MAX {
            let message = format!("the query has more than {PARAMETERS_MAX} parameters");
            return Err(Refusal::bad("query_invalid", message));
        }
        Ok(Self(pairs))
    }
}

impl Parameters {
    /// The value of a parameter, if it was given. Given twice is an error.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let Some(at) = self.0.iter().position(|(key, _)| key == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(at);
        if self.0.iter().any(|(key, _)| key == name) {
            return Err(Refusal::bad("query_invalid", format!("the parameter {name} was given twice")));
        }
        Ok(Some(value))
    }

    /// The value of a parameter, read by its type.
    pub(super) fn read<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, Refusal>
    where
        T::Err: std::fmt::Display,
    {
        let Some(value) = self.take(name)? else { return Ok(None) };
        let value = value.parse();
        value.map(Some).map_err(|error: T::Err| Refusal::bad("query_invalid", format!("{name}: {error}")))
    }

    /// All parameters whose name begins with `prefix`, without it.
    pub(super) fn take_all(&mut self, prefix: &str) -> Vec<(String, String)> {
        let (taken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|(key, _)| key.starts_with(prefix));
        self.0 = left;
        taken.into_iter().map(|(key, value)| (key[prefix.len()..].to_owned(), value)).collect()
    }

    /// The `limit` of a list.
    pub(super) fn limit(&mut self) -> Result<usize, Refusal> {
        let limit = self.read::<usize>("limit")?.unwrap_or(PAGE_ITEMS_DEFAULT);
        if (1..=PAGE_ITEMS_MAX).contains(&limit) {
            Ok(limit)
        } else {
            Err(Refusal::bad("query_invalid", format!("limit: 1 to {PAGE_ITEMS_MAX}")))
        }
    }

    /// Refuses what nobody asked for: a misspelt filter must not list everything.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(Refusal::bad("query_invalid", format!("there is no parameter {name:?} here")))
            }
        }
    }
}

/// Reads a duration, or says which setting is wrong.
pub(super) fn duration(setting: &str, text: &str) -> Result<Duration, Refusal> {
    parse_duration(text).map_err(|error| Refusal::bad("duration_invalid", format!("{setting}: {error}")))
}

/// Reads a time in RFC 3339, or says which setting is wrong.
pub(super) fn time(setting: &str, text: &str) -> Result<Timestamp, Refusal> {
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(|time| Timestamp::from_millis(time.as_millisecond())).map_err(|_| {
        Refusal::bad(
            "time_invalid",
            format!("{setting}: {text:?} is not a time such as 2026-03-01T12:00:00Z"),
        )
    })
}

/// Reads a name, or says which setting is wrong.
pub(super) fn name<T: std::str::FromStr>(code: &str, text: &str) -> Result<T, Refusal>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Refusal::bad(code, error.to_string()))
}
