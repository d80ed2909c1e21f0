//! What all doors of this contract do first: who calls, the body within its limit, the signature; and at the end, JSON.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use updraft_core::id::DeviceId;

use super::books::Books;
use super::caller::{Caller, Certified, Presented};
use super::failure::{Exception, Failure};
use super::query::Query;
use super::sigv4::Head;
use super::topics::Topics;
use crate::artifacts::{Artifacts, LinkSigner};
use crate::auth::{Auth, Principal};
use crate::engine::Engine;
use crate::listen::{ClientCertificates, read_body};

/// Largest body: a document of 32,768 characters, each of which JSON may write in six bytes, and as many targets as a
/// job may have.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a body may take to come.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// What the doors need.
#[derive(Clone)]
pub struct Doors {
    /// Decides.
    pub engine: Engine,
    /// Who is calling.
    pub auth: Auth,
    /// Whom client certificates prove.
    pub certified: Arc<Certified>,
    /// Makes and checks temporary access keys.
    pub signer: Arc<LinkSigner>,
    /// What carries topics.
    pub topics: Arc<dyn Topics>,
    /// What is written down.
    pub books: Arc<dyn Books>,
    /// Documents that are artifacts.
    pub artifacts: Artifacts,
    /// How long temporary access keys work.
    pub credential_life: Duration,
    /// Whether operators' calls are taken here.
    pub has_control_plane: bool,
}

/// A request whose caller is proven.
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    /// What the query says.
    pub query: Query,
    /// What the headers say.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Doors {
    /// Takes a request in: looks up its credential, reads its body, checks its signature.
    ///
    /// # Errors
    /// The credential, the query or the body is not what it must be.
    pub async fn enter(&self, request: Request, bytes_max: usize) -> Result<Call, Failure> {
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        let certified = || parts.extensions.get::<ClientCertificates>().map(|shown| (self.certified)(shown));
        let presented =
            Presented::read(&parts.headers, certified, &self.auth, &self.signer, self.engine.now())?;
        let body = read_body(body, bytes_max, BODY_TIME_MAX).await?;
        let head = Head {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: &query,
            headers: &parts.headers,
        };
        let caller = presented.verify(head, &body)?;
        Ok(Call { caller, query, headers: parts.headers, body })
    }

    /// Refuses a caller that may not speak for a device.
    ///
    /// # Errors
    /// `ForbiddenException`; whether there is such a device, it does not say.
    pub async fn admit(&self, caller: &Caller, device: &DeviceId) -> Result<(), Failure> {
        let may = match &caller.principal {
            Principal::Device(own) => own == device,
            Principal::Operator(_) => true,
            Principal::Product(product) => {
                let id = device.clone();
                let known = self.engine.command(move |fleet, _| fleet.device(&id)).await?;
                known.is_some_and(|known| known.product == *product)
            }
        };
        let message = "the credential is not for this device";
        if may { Ok(()) } else { Err(Failure::new(Exception::Forbidden, message)) }
    }
}

impl Doors {
    /// Refuses an operator's request for a device that was never heard of: speaking for it would make it known.
    ///
    /// # Errors
    /// `ResourceNotFoundException`.
    pub async fn check_known(&self, caller: &Caller, device: &DeviceId) -> Result<(), Failure> {
        let Principal::Operator(_) = caller.principal else { return Ok(()) };
        let id = device.clone();
        let known = self.engine.command(move |fleet, _| fleet.device(&id)).await?;
        known.map(drop).ok_or_else(|| Failure::unknown(format!("thing {device} was never heard of")))
    }
}

/// Reads a name in a path or a query.
///
/// # Errors
/// `InvalidRequestException`.
pub fn name<T: FromStr>(text: &str) -> Result<T, Failure>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Failure::invalid(error.to_string()))
}

/// Reads a JSON body; an empty one is an empty object. Nesting is bounded by the library, at 128 levels.
///
/// # Errors
/// `InvalidRequestException` that says where.
pub fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Failure::invalid(format!("the body is not valid: {error}")))
}

/// An answer in JSON.
#[must_use]
pub fn answer(body: &Value) -> Response {
    raw_answer(body.to_string())
}

/// An answer that is JSON already.
pub fn raw_answer(body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
