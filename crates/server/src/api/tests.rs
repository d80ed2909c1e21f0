//! The operator API through its router, over the real engine, database and artifacts in a temporary folder.

mod device;
mod door;
mod guide;
mod hub;
mod lwm2m;
mod policy;
mod release;
mod rollout;
mod server;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;
use updraft_core::attributes::Attributes;
use updraft_core::report::{Description, Report};

use super::{Lwm2m, Parts, router};
use crate::artifacts::{Artifacts, LinkSigner, UploadLimits};
use crate::auth::access_key::MasterKey;
use crate::auth::{Auth, NewToken, Principal};
use crate::engine::clock::Clock;
use crate::engine::{Engine, Running};
use crate::store::Database;

/// Where devices are told to download from.
const PUBLIC_URL: &str = "https://updates.example.com";
/// Largest upload in these tests, in bytes.
const UPLOAD_BYTES_MAX: u64 = 1 << 20;

/// A server's inside, without sockets.
struct World {
    router: Router,
    engine: Engine,
    artifacts: Artifacts,
    auth: Auth,
    token: String,
    running: Running,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(|_| None)
    }

    /// A server that may speak LwM2M, by books in its database.
    fn with(lwm2m: impl FnOnce(&Database) -> Option<Lwm2m>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let database = Database::open(folder.path()).unwrap();
        let auth = Auth::open(database.tokens().unwrap(), MasterKey::draw().unwrap(), clock.now()).unwrap();
        let artifacts = Artifacts::open_folder(&folder.path().join("artifacts")).unwrap();
        let signer = Arc::new(LinkSigner::open(&folder.path().join("link.keys"), 1_700_000_000).unwrap());
        let (engine, running) = Engine::start(database.fleet().unwrap(), clock).unwrap();
        let parts = Parts {
            lwm2m: lwm2m(&database),
            engine: engine.clone(),
            database,
            artifacts: artifacts.clone(),
            upload_limits: UploadLimits { bytes_max: UPLOAD_BYTES_MAX },
            auth: auth.clone(),
            authority: crate::pki::open(folder.path(), &[], clock.now()).unwrap().authority,
            signer,
            public_url: PUBLIC_URL.to_owned(),
        };
        let router = router(parts).unwrap();
        let ann = Principal::Operator("ann".parse().unwrap());
        let mut world = Self { router, engine, artifacts, auth, token: String::new(), running, folder };
        world.token = world.token_for(ann);
        world
    }

    fn token_for(&self, principal: Principal) -> String {
        let new = NewToken { principal, expires: None, note: String::new() };
        self.auth.create(new, self.engine.now()).unwrap().0.reveal().to_owned()
    }

    /// Sends a request as an operator; the status, and the body as JSON (null if it is none).
    async fn call(&self, method: &str, path: &str, body: impl Into<Body>) -> (u16, Value) {
        let bearer = format!("Bearer {}", self.token);
        let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        let request = request.header(header::AUTHORIZATION, bearer).body(body.into()).unwrap();
        self.send(request).await
    }

    async fn send(&self, request: Request<Body>) -> (u16, Value) {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, Body::empty()).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.call("POST", path, body.to_string()).await
    }

    /// Each line: method, path, body, and the status and code that come back.
    async fn check(&self, table: &[(&str, &str, &str, u16, &str)]) {
        for (method, path, body, status, code) in table {
            let (found, answer) = self.call(method, path, (*body).to_owned()).await;
            let found_code = answer["code"].as_str().unwrap_or_default();
            assert_eq!((found, found_code), (*status, *code), "{method} {path} {body}: {answer}");
            assert_eq!(answer["message"].is_string(), *status >= 400, "{method} {path}: {answer}");
        }
    }

    /// A device reports, and asks what to do.
    async fn report(&self, id: &str, version: &str, attributes: &Value) {
        let device = id.parse().unwrap();
        let mut attributes: Attributes = serde_json::from_value(attributes.clone()).unwrap();
        // As every door for devices does.
        for (name, value) in [("id", id), ("product", "cam"), ("version", version)] {
            attributes.insert(name, value).unwrap();
        }
        let description = Description {
            product: "cam".parse().unwrap(),
            version: version.to_owned(),
            boot: Some(1),
            attributes,
        };
        let report = Report { description: Some(description), progress: None };
        let asked = self.engine.command(move |fleet, now| {
            fleet.report(now, &device, &report)?;
            fleet.offer(now, &device).map(|_| ())
        });
        asked.await.unwrap();
    }

    /// Adds a release of the product `cam`.
    async fn release(&self, version: &str) {
        let path = format!("/products/cam/releases/{version}");
        let (status, answer) = self.call("PUT", &path, format!("image of {version}")).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// Starts a rollout and gives its ID.
    async fn rollout(&self, version: &str) -> String {
        let body = serde_json::json!({"product": "cam", "version": version});
        let (status, answer) = self.post("/rollouts", &body).await;
        assert_eq!(status, StatusCode::CREATED.as_u16(), "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    /// Ends the engine thread and removes the folder.
    fn end(self) {
        let Self { router, engine, auth, running, folder, .. } = self;
        drop((router, engine, auth));
        running.join();
        folder.close().unwrap();
    }
}
