//! The operator API: JSON over HTTP, one file per resource. Handlers parse, ask once, and render.
//!
//! Everything but `GET /api/v1/health` needs an operator's token, the routes that do not exist included: who may not
//! operate the server learns nothing of it. A bulk call does not exist: each ID is a request, and each is authorised.
//!
//! Deliberately absent: sessions and cookies, so that no web page can act for an operator who is logged in elsewhere.

mod backup;
mod device;
mod lwm2m;
mod operator;
mod policy;
mod refusal;
mod release;
mod render;
mod request;
mod rollout;
mod server;
mod suggestion;
mod token;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, post, put};
use updraft_core::store::StoreError;
use updraft_core::time::Timestamp;

use crate::artifacts::{Artifacts, LinkSigner, UploadLimits};
use crate::auth::Auth;
use crate::engine::Engine;
use crate::pki::client::Authority;
use crate::protocols::lwm2m::books::Books;
use crate::protocols::lwm2m::desk::Desk;
use crate::store::{Database, OpenError, Views};
use refusal::Refusal;

/// What the API stands on.
pub struct Parts {
    /// Decides.
    pub engine: Engine,
    /// Lists, backups and checks of the database.
    pub database: Database,
    /// Takes uploads.
    pub artifacts: Artifacts,
    /// What an upload may cost.
    pub upload_limits: UploadLimits,
    /// Who is calling.
    pub auth: Auth,
    /// Makes certificates for devices.
    pub authority: Arc<Authority>,
    /// Makes the link that `doctor` tries.
    pub signer: Arc<LinkSigner>,
    /// Where devices reach the server, as links begin; empty if it is not known.
    pub public_url: String,
    /// Devices that speak LwM2M; `None`: the server does not.
    pub lwm2m: Option<Lwm2m>,
}

/// What the API knows of LwM2M.
pub struct Lwm2m {
    /// Takes orders for devices, and says how they stand.
    pub desk: Desk,
    /// Where orders are kept.
    pub books: Arc<dyn Books>,
}

/// The API, ready to answer. Cloning is cheap.
#[derive(Clone)]
struct Api(Arc<Shared>);

struct Shared {
    parts: Parts,
    /// One reading connection for all lists: a page is short, and operators are few.
    views: Mutex<Views>,
}

impl std::ops::Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

impl Api {
    fn now(&self) -> Timestamp {
        self.engine.now()
    }

    /// Reads from the database, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Views) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let api = self.clone();
        blocking(move || {
            let mut views = api.0.views.lock().unwrap_or_else(PoisonError::into_inner);
            read(&mut views).map_err(Refusal::from)
        })
        .await
    }

    /// Asks the tokens, on a thread that may block.
    async fn tokens<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Auth) -> Result<T, crate::auth::AuthError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let auth = self.auth.clone();
        blocking(move || ask(&auth).map_err(Refusal::from)).await
    }
}

/// Runs what may block on a thread for such.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    // A task that does not end is one that panicked, or a runtime that stops.
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server made a mistake; its log says more",
        ))
    })
}

/// The routes.
///
/// # Errors
/// [`OpenError`] if the database opens no further connection.
pub fn router(parts: Parts) -> Result<Router, OpenError> {
    let views = Mutex::new(parts.database.views()?);
    let api = Api(Arc::new(Shared { parts, views }));
    let routes = Router::new()
        .route("/releases", get(release::list))
        .route("/products/{product}/releases/{version}", put(release::add).get(release::show))
        .route("/rollouts", get(rollout::list).post(rollout::start))
        .route("/rollouts/{id}", get(rollout::show))
        .route("/rollouts/{id}/status", get(rollout::status))
        .route("/rollouts/{id}/pause", post(rollout::pause))
        .route("/rollouts/{id}/resume", post(rollout::resume))
        .route("/rollouts/{id}/abort", post(rollout::abort))
        .route("/rollouts/{id}/retry", post(rollout::retry))
        .route("/devices", get(device::list))
        .route("/devices/{id}", get(device::show))
        .route("/devices/{id}/explain", get(device::explain))
        .route("/devices/{id}/lwm2m", get(lwm2m::standing))
        .route("/devices/{id}/lwm2m/orders", get(lwm2m::orders).post(lwm2m::place))
        .route("/policy/test", post(policy::test))
        .route("/tokens", get(token::list).post(token::create))
        .route("/tokens/{id}/revoke", post(token::revoke))
        .route("/backup", get(backup::write))
        .route("/doctor", get(server::facts))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(route_unknown)
        .layer(middleware::from_fn_with_state(api.clone(), operator::admit))
        .with_state(api);
    let health = Router::new()
        .route("/health", get(server::health))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state::<()>(());
    let api = health.merge(routes);
    Ok(Router::new().nest(updraft_wire::operator::API_PATH, api).fallback(route_unknown))
}

async fn route_unknown() -> Refusal {
    Refusal::unknown(
        "route_unknown",
        "there is nothing at this path; see the operating guide's API page",
        Vec::new(),
    )
}

async fn method_not_allowed() -> Refusal {
    let message = "this path exists and does not take this method; see the operating guide's API page";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

#[cfg(test)]
mod tests;
