//! The download edge: `GET` and `HEAD /v1/artifacts/{sha256}` and `/f/{device}/{job}/{seal}`, and
//! `POST /v1/artifacts/{sha256}/credential`.
//!
//! Who a caller is and whether a rollout still stands, the [`Gatekeeper`] says; which bytes go out, `range.rs` does.
//! There is no limit on the whole time of a download: a slow link is no fault. A reader that stops is cut off by the
//! listener.

use std::future::Future;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use object_store::GetResultPayload;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::{DownloadBody, Source};
use super::chunk::ChunkPool;
use super::credential::{self, CREDENTIAL_LIFE_SECONDS, CREDENTIAL_PREFIX, CredentialClaims};
use super::digest::Digest;
use super::link::{ARTIFACTS_PATH, LinkClaims, LinkError, LinkSigner};
use super::range;
use super::refusal::Refusal;
use super::short_link::ShortClaims;
use super::{Artifacts, answer};
use crate::listen::{FileQueue, Peer};
use updraft_core::id::DeviceId;
use updraft_wire::JobId;

/// Most downloads at a time. A slow one over TLS holds 32 KiB of content and 64 KiB of records, so that 4,096 of them
/// take 384 MiB; over plain connections the system holds the bytes.
pub const DOWNLOADS_MAX: usize = 4096;

/// Who sent a request, by its own credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// It carries no credential of a device, or one that is not known.
    Anonymous,
    /// It is this device.
    Device(String),
}

/// One download request, for the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadRequest {
    /// A `GET` whose answer begins at byte 0: a download begins. One that goes on, or a `HEAD`, does not count.
    pub is_start: bool,
    /// Content bytes the answer will carry.
    pub bytes: u64,
}

/// Whether the download may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Send the bytes.
    Open,
    /// 410 `link_withdrawn`: what the link was for has been cancelled or closed.
    Withdrawn,
}

/// The rest of the server cannot tell now; later it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// What the rest of the server knows about devices and rollouts.
pub trait Gatekeeper: Send + Sync + 'static {
    /// Which device the request's own credential is of.
    fn caller(&self, headers: &HeaderMap, peer: Option<Peer>) -> impl Future<Output = Caller> + Send;

    /// The open job of the device for this artifact: only with one may it have a temporary credential.
    fn open_job(&self, device: &str, sha256: &Digest) -> impl Future<Output = Option<String>> + Send;

    /// The artifact of the device's job; `None` if that is not open, or brings none.
    fn artifact_of(
        &self,
        device: &DeviceId,
        job: &JobId,
    ) -> impl Future<Output = Result<Option<Digest>, Unavailable>> + Send;

    /// Called once for each request that has proved its right and is about to be answered.
    fn admit(&self, claims: &LinkClaims, request: DownloadRequest) -> impl Future<Output = Admission> + Send;
}

/// The download service.
pub struct Downloads<G> {
    pub(super) artifacts: Artifacts,
    signer: Arc<LinkSigner>,
    gatekeeper: G,
    pub(super) chunks: Arc<ChunkPool>,
    slots: Arc<Semaphore>,
}

impl<G: Gatekeeper> Downloads<G> {
    /// Serves `artifacts` to holders of links made by `signer`, at most `downloads_max` at a time
    /// (see [`DOWNLOADS_MAX`]).
    pub fn new(artifacts: Artifacts, signer: Arc<LinkSigner>, gatekeeper: G, downloads_max: usize) -> Self {
        let slots = Arc::new(Semaphore::new(downloads_max));
        Self { artifacts, signer, gatekeeper, chunks: Arc::new(ChunkPool::default()), slots }
    }

    /// The routes, to be merged into the device listener's.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/v1/artifacts/{sha256}", any(download::<G>))
            .route("/v1/artifacts/{sha256}/credential", any(exchange::<G>))
            .route("/f/{device}/{job}/{seal}", any(download_short::<G>))
            .with_state(self)
    }

    /// Checks the right of a request to the artifact.
    async fn authorize(
        &self,
        sha256: &Digest,
        query: Option<&str>,
        headers: &HeaderMap,
        peer: Option<Peer>,
    ) -> Result<LinkClaims, Refusal> {
        let now = unix_now();
        let temporary = bearer(headers).filter(|token| token.starts_with(CREDENTIAL_PREFIX));
        let Some(query) = query else {
            let token = temporary.ok_or(Refusal::LinkMissing)?;
            let claims = credential::verify(&self.signer, token, sha256, now).map_err(Refusal::Credential)?;
            return Ok(LinkClaims::from(claims));
        };
        let client: Option<IpAddr> = peer.map(|peer| peer.address.ip());
        let claims = self.signer.verify(sha256, query, now, client).map_err(Refusal::Link)?;
        self.own_link(claims, headers, peer).await
    }

    /// Checks the right of a request to what a short link is for.
    async fn authorize_short(&self, request: &Parts) -> Result<LinkClaims, Refusal> {
        let path = request.uri.path().strip_prefix('/').unwrap_or_default();
        let path: Vec<_> = path.split('/').collect();
        if request.uri.query().is_some() {
            return Err(Refusal::Link(LinkError::Malformed));
        }
        let ShortClaims { device, job, expires } =
            self.signer.verify_short(&path, unix_now()).map_err(Refusal::Link)?;
        let sha256 = self.gatekeeper.artifact_of(&device, &job).await;
        let sha256 = sha256.map_err(|Unavailable| Refusal::Unavailable)?.ok_or(Refusal::Withdrawn)?;
        let (device, job) = (device.to_string(), job.to_string());
        let claims = LinkClaims { sha256, device, job, expires, net: None, close: false };
        self.own_link(claims, &request.headers, peer_of(request)).await
    }

    /// Refuses a link to a device that proves to be another than the link's.
    async fn own_link(
        &self,
        claims: LinkClaims,
        headers: &HeaderMap,
        peer: Option<Peer>,
    ) -> Result<LinkClaims, Refusal> {
        let temporary = bearer(headers).filter(|token| token.starts_with(CREDENTIAL_PREFIX));
        let caller = match temporary {
            Some(token) => match credential::verify(&self.signer, token, &claims.sha256, unix_now()) {
                Ok(claims) => Caller::Device(claims.device),
                Err(error) => return Err(Refusal::Credential(error)),
            },
            None if headers.contains_key(header::AUTHORIZATION) => {
                self.gatekeeper.caller(headers, peer).await
            }
            None => Caller::Anonymous,
        };
        match caller {
            Caller::Device(device) if device != claims.device => Err(Refusal::Link(LinkError::WrongDevice)),
            Caller::Device(_) | Caller::Anonymous => Ok(claims),
        }
    }

    async fn download(&self, request: Request) -> Result<Response, Refusal> {
        let (request, _) = request.into_parts();
        let sha256 = digest_of(request.uri.path(), "").ok_or(Refusal::ArtifactUnknown)?;
        let is_head = is_head(&request.method)?;
        let (query, headers) = (request.uri.query(), &request.headers);
        let claims = self.authorize(&sha256, query, headers, peer_of(&request)).await?;
        self.send(&request, &claims, is_head).await
    }

    async fn download_short(&self, request: Request) -> Result<Response, Refusal> {
        let (request, _) = request.into_parts();
        let is_head = is_head(&request.method)?;
        let claims = self.authorize_short(&request).await?;
        self.send(&request, &claims, is_head).await
    }

    /// Answers a request that has proved its right.
    async fn send(&self, request: &Parts, claims: &LinkClaims, is_head: bool) -> Result<Response, Refusal> {
        let (sha256, headers) = (claims.sha256, &request.headers);
        let permit = self.slot()?;
        let opened = self.artifacts.open(&sha256).await.map_err(Refusal::from)?;
        let size = opened.meta.size;
        let selection = range::select(headers, &sha256, size, is_head);
        let asked = DownloadRequest {
            is_start: !is_head && answer::starts_at_zero(&selection),
            bytes: if is_head { 0 } else { answer::content_bytes(&selection, size) },
        };
        if self.gatekeeper.admit(claims, asked).await == Admission::Withdrawn {
            return Err(Refusal::Withdrawn);
        }
        let plan = answer::plan(selection, &sha256, size);
        let body = if is_head || plan.segments.is_empty() {
            Body::empty()
        } else {
            let source = match opened.payload {
                GetResultPayload::File(file, _) => {
                    Source::File(file, request.extensions.get::<FileQueue>().cloned())
                }
                GetResultPayload::Stream(_) => Source::Store(self.artifacts.clone(), sha256),
            };
            Body::new(DownloadBody::new(plan.segments, source, Arc::clone(&self.chunks), permit))
        };
        let mut response = Response::new(body);
        *response.status_mut() = plan.status;
        *response.headers_mut() = plan.headers;
        if claims.close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    fn slot(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Refusal::Busy)
    }

    async fn exchange(&self, request: Request) -> Result<Response, Refusal> {
        let sha256 = digest_of(request.uri().path(), "/credential").ok_or(Refusal::ArtifactUnknown)?;
        if request.method() != Method::POST {
            return Err(Refusal::MethodNotAllowed("POST"));
        }
        let peer = request.extensions().get::<Peer>().copied();
        let Caller::Device(device) = self.gatekeeper.caller(request.headers(), peer).await else {
            return Err(Refusal::DeviceUnknown);
        };
        let job = self.gatekeeper.open_job(&device, &sha256).await.ok_or(Refusal::NotAssigned)?;
        let now = unix_now();
        let expires = now.saturating_add(CREDENTIAL_LIFE_SECONDS);
        let claims = CredentialClaims { sha256, device, job, expires };
        let credential = credential::issue(&self.signer, &claims, now);
        let text = serde_json::json!({ "credential": credential.reveal(), "expires": expires }).to_string();
        Ok(answer::json(StatusCode::OK, text))
    }
}

impl From<CredentialClaims> for LinkClaims {
    fn from(claims: CredentialClaims) -> Self {
        let CredentialClaims { sha256, device, job, expires } = claims;
        Self { sha256, device, job, expires, net: None, close: false }
    }
}

async fn download<G: Gatekeeper>(State(downloads): State<Arc<Downloads<G>>>, request: Request) -> Response {
    downloads.download(request).await.unwrap_or_else(Refusal::into_answer)
}

async fn download_short<G: Gatekeeper>(
    State(downloads): State<Arc<Downloads<G>>>,
    request: Request,
) -> Response {
    downloads.download_short(request).await.unwrap_or_else(Refusal::into_answer)
}

async fn exchange<G: Gatekeeper>(State(downloads): State<Arc<Downloads<G>>>, request: Request) -> Response {
    downloads.exchange(request).await.unwrap_or_else(Refusal::into_answer)
}

fn is_head(method: &Method) -> Result<bool, Refusal> {
    match *method {
        Method::GET => Ok(false),
        Method::HEAD => Ok(true),
        _ => Err(Refusal::MethodNotAllowed("GET, HEAD")),
    }
}

fn peer_of(request: &Parts) -> Option<Peer> {
    request.extensions.get().copied()
}

/// The digest in a path; `None` unless the path is exactly the artifact's, byte by byte and without decoding.
fn digest_of(path: &str, suffix: &str) -> Option<Digest> {
    let name = path.strip_prefix(ARTIFACTS_PATH)?.strip_suffix(suffix)?;
    Digest::from_str(name).ok()
}

/// The token of `Authorization: Bearer`, the scheme in any case (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unix_now() -> u64 {
    // Before 1970 every link is good; a clock that wrong is the operator's to find, and `doctor` names it.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
