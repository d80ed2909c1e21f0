//! The check-in doors: who speaks, what it says, the answer on the wire.

use super::check_in::{self, Malformed, Said};
use super::config::CheckInConfig;
use super::gate::Gate;
use super::schedule::next_check_in_s;
use crate::artifacts::Digest;
use crate::artifacts::{LinkClaims, LinkSigner};
use crate::auth::{Auth, Principal};
use crate::config::is_authority;
use crate::engine::hot::Key;
use crate::engine::thread::CHECK_IN_SALT;
use crate::engine::{CheckIn, Engine, EngineError};
use crate::listen::{Peer, ReadBodyError, read_body};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use updraft_core::fleet::{self, Assignment, Offer};
use updraft_core::id::DeviceId;
use updraft_core::position::position;
use updraft_core::time::Timestamp;
use updraft_wire::check_in::CHECK_IN_BYTES_MAX;
use updraft_wire::ioto;

/// How long a device may take to send the body of a check-in.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Path of the native check-in.
pub const CHECK_IN_PATH: &str = "/v1/check-in";

/// What the doors need.
pub struct Doors {
    /// The engine.
    pub engine: Engine,
    /// Who is calling.
    pub auth: Auth,
    /// Makes links.
    pub signer: Arc<LinkSigner>,
    /// When devices come next, and how long links work.
    pub config: CheckInConfig,
    /// What links begin with; else the host the device asked for.
    pub public_url: Option<String>,
    /// Whether links open only from the address that asked for them.
    pub bind_links_to_address: bool,
    /// How long a device may take to send a body; [`BODY_TIME_MAX`] but in tests.
    pub body_time_max: Duration,
}

/// The two contracts, as they enter a [`Key`]: the same bytes may mean different things in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Contract {
    Native = 1,
    Ioto = 2,
}

/// The routes.
pub fn router(doors: Arc<Doors>) -> Router {
    Router::new()
        .route(CHECK_IN_PATH, post(native))
        .route(ioto::CHECK_IN_PATH, post(ioto_check_in))
        .route(ioto::REPORT_PATH, post(ioto_report))
        .with_state(doors)
}

/// Why a check-in is refused.
///
/// The texts matter: an Ioto agent that reads `Authentication failed` or `Cannot find device` in an answer deletes its
/// credentials and certificates. No answer of these doors may consist of either.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the credential is missing, unknown, expired or revoked")]
    Credential,
    #[error("the credential is not for this device")]
    WrongDevice,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Body(#[from] ReadBodyError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Refused {
    /// The one table from refusals to HTTP status and stable code.
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Credential => (StatusCode::UNAUTHORIZED, "credential_refused"),
            Self::WrongDevice | Self::Engine(EngineError::WrongProduct) => {
                (StatusCode::FORBIDDEN, "wrong_device")
            }
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::Body(error) => (error.status(), error.code()),
            Self::Engine(EngineError::Fleet(fleet::Error::UnknownDevice(_))) => {
                (StatusCode::NOT_FOUND, "device_unknown")
            }
            Self::Engine(
                EngineError::Busy | EngineError::Stopped | EngineError::NotSaved | EngineError::Fleet(_),
            ) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }

    fn response(&self) -> Response {
        let (status, code) = self.status();
        let body = serde_json::json!({ "code": code, "message": self.to_string() });
        let mut response = json(status, body.to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

fn json(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

async fn native(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    doors.native(request).await.unwrap_or_else(|refused| refused.response())
}

async fn ioto_check_in(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    doors.ioto_check_in(request).await.unwrap_or_else(|refused| refused.response())
}

async fn ioto_report(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    doors.ioto_report(request).await.unwrap_or_else(|refused| refused.response())
}

/// The credential in a request: with the word `bearer` in any case, or alone, as the updaters send it.
pub(super) fn credential(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    match value.split_once(' ') {
        Some((scheme, token)) => scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()),
        None => Some(value),
    }
}

/// Whether a credential lets its bearer speak for a device of a product.
fn speaks_for(principal: &Principal, said: &Said) -> bool {
    let product = said.report.description.as_ref().map(|description| &description.product);
    match principal {
        Principal::Device(device) => *device == said.device,
        Principal::Product(own) => product.is_none_or(|product| product == own),
        Principal::Operator(_) => false,
    }
}

/// What a request is, before it is read.
struct Entry {
    principal: Principal,
    key: Key,
    body: Bytes,
    headers: HeaderMap,
    peer: Option<Peer>,
}

impl Doors {
    async fn enter(&self, contract: Contract, request: Request) -> Result<Entry, Refused> {
        let (parts, body) = request.into_parts();
        let token = credential(&parts.headers).ok_or(Refused::Credential)?;
        let principal = self.auth.verify(token, self.engine.now()).ok_or(Refused::Credential)?;
        let body = read_body(body, CHECK_IN_BYTES_MAX, self.body_time_max).await?;
        let key = Key::of(contract as u8, token, &body);
        let peer = parts.extensions.get().copied();
        Ok(Entry { principal, key, body, headers: parts.headers, peer })
    }

    /// What a link for the sender begins with: the configured URL, or where the device itself found the server.
    fn base_url(&self, Entry { headers, peer, .. }: &Entry) -> String {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        let host =
            headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(|host| is_authority(host));
        let scheme = if peer.is_none_or(|peer| peer.is_tls) { "https" } else { "http" };
        format!("{scheme}://{}", host.unwrap_or("localhost"))
    }

    async fn native(&self, request: Request) -> Result<Response, Refused> {
        let entry = self.enter(Contract::Native, request).await?;
        let now = self.engine.now();
        if let Some(settled) = self.engine.settled(entry.key) {
            let next = next_check_in_s(now, settled.position, self.config.interval.0);
            return Ok(json(StatusCode::OK, format!("{{\"next_check_in_s\":{next}}}")));
        }
        let said = check_in::native(&entry.body)?;
        let (device, ended) = (said.device.clone(), said.ended.clone());
        let offer = self.decide(&entry, said).await?;
        let interval = match &offer {
            Offer::Assigned(_) => self.config.interval_updating.0,
            Offer::Nothing { .. } => self.config.interval.0,
        };
        let next = next_check_in_s(now, position(device.as_str(), CHECK_IN_SALT), interval);
        let answer = check_in::native_answer(&offer, next, ended, |assignment| {
            self.link(now, &device, assignment, &entry, false)
        });
        let body = serde_json::to_vec(&answer).expect("an answer is plain data");
        Ok(json(StatusCode::OK, body))
    }

    async fn ioto_check_in(&self, request: Request) -> Result<Response, Refused> {
        const NOTHING: &[u8] = b"{}";
        let entry = self.enter(Contract::Ioto, request).await?;
        if self.engine.settled(entry.key).is_some() {
            return Ok(json(StatusCode::OK, NOTHING));
        }
        let said = check_in::ioto(&entry.body)?;
        let device = said.device.clone();
        let now = self.engine.now();
        let offer = self.decide(&entry, said).await?;
        // These clients read a download until the connection closes, so the link asks for that.
        let answer =
            check_in::ioto_answer(&offer, |assignment| self.link(now, &device, assignment, &entry, true));
        let body = answer.map_or_else(
            || NOTHING.to_vec(),
            |offer| serde_json::to_vec(&offer).expect("an offer is plain data"),
        );
        Ok(json(StatusCode::OK, body))
    }

    async fn ioto_report(&self, request: Request) -> Result<Response, Refused> {
        let entry = self.enter(Contract::Ioto, request).await?;
        let (device, progress) = check_in::ioto_report(&entry.body)?;
        match &entry.principal {
            Principal::Device(own) if *own == device => {}
            Principal::Product(product) => self.check_product(&device, product).await?,
            Principal::Device(_) | Principal::Operator(_) => return Err(Refused::WrongDevice),
        }
        self.engine.progress(device, progress).await?;
        Ok(json(StatusCode::OK, "{}"))
    }

    /// A product's credential speaks for devices of that product only, and this contract's report does not say which
    /// product the device is.
    async fn check_product(
        &self,
        device: &DeviceId,
        product: &updraft_core::id::ProductName,
    ) -> Result<(), Refused> {
        let id = device.clone();
        let known = self.engine.command(move |fleet, _| fleet.device(&id)).await?;
        if known.is_some_and(|known| known.product == *product) { Ok(()) } else { Err(Refused::WrongDevice) }
    }

    async fn decide(&self, entry: &Entry, said: Said) -> Result<Offer, Refused> {
        if !speaks_for(&entry.principal, &said) {
            return Err(Refused::WrongDevice);
        }
        // The note of an end is part of the answer to these very words.
        let key = said.ended.is_none().then_some(entry.key);
        // A product's credential must not take over a device of another product by calling it one of its own.
        let product = match &entry.principal {
            Principal::Product(product) => Some(product.clone()),
            Principal::Device(_) | Principal::Operator(_) => None,
        };
        let check_in = CheckIn { device: said.device, report: said.report, key, product };
        Ok(self.engine.check_in(check_in).await?)
    }

    fn link(
        &self,
        now: Timestamp,
        device: &DeviceId,
        assignment: &Assignment,
        entry: &Entry,
        close: bool,
    ) -> String {
        let now_s = u64::try_from(now.as_millis()).unwrap_or(0) / 1000;
        let claims = LinkClaims {
            sha256: assignment
                .release
                .artifact
                .sha256
                .parse::<Digest>()
                .expect("artifacts are named by digests"),
            device: device.to_string(),
            job: crate::update::job(assignment).to_string(),
            expires: now_s + self.config.link_life.0.as_secs(),
            net: entry.peer.filter(|_| self.bind_links_to_address).map(|peer| peer.address.ip().into()),
            close,
        };
        self.signer
            .sign(&self.base_url(entry), &claims, now_s)
            .expect("the base URL, the link's life and the IDs were checked where they entered")
    }
}

/// The routes of downloads, which ask the engine whether a job is still open.
pub fn gate(doors: &Doors) -> Gate {
    Gate { engine: doors.engine.clone(), auth: doors.auth.clone() }
}
