//! The server about itself: is it there, is it sound, and all it knows as one file.

use axum::Json;
use axum::extract::State;
use updraft_wire::operator::server::{Facts, Health};

use super::Api;
use super::refusal::Refusal;
use super::render;
use super::request::Parameters;
use crate::artifacts::LinkClaims;

/// How long the link that `doctor` tries is good for, in seconds.
const LINK_LIFE_SECONDS: u64 = 60;
/// Whom that link is for: no device's ID, so nothing is booked for it.
const LINK_DEVICE: &str = "-doctor";
/// Releases among which the latest is looked for.
const RELEASES_MAX: usize = 10_000;

pub(super) async fn health() -> Json<Health> {
    Json(Health { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
}

pub(super) async fn facts(
    State(api): State<Api>,
    mut parameters: Parameters,
) -> Result<Json<Facts>, Refusal> {
    let base = parameters.take("base")?.unwrap_or_else(|| api.public_url.clone());
    parameters.finish()?;
    let database = api.database.clone();
    let (facts, faults) = super::blocking(move || {
        // A connection of its own: the check reads the whole file, and lists must not wait for it.
        let mut views = database.views().map_err(|error| {
            Refusal::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "store_failed", error.to_string())
        })?;
        let mut faults = views.faults()?;
        faults.extend(views.verify_tallies()?.into_iter().map(|wrong| {
            let (rollout, state, kept, counted) = (wrong.rollout, wrong.state, wrong.kept, wrong.counted);
            format!("rollout {rollout} counts {kept} executions as {state}, and has {counted}")
        }));
        Ok((views.facts()?, faults))
    })
    .await?;
    Ok(Json(Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: render::time(api.now()),
        public_url: api.public_url.clone(),
        devices: facts.devices,
        releases: facts.releases,
        rollouts: facts.rollouts,
        database_faults: faults,
        link: link(&api, &base).await?,
    }))
}

/// A link to the artifact of the release that was added last.
async fn link(api: &Api, base: &str) -> Result<Option<String>, Refusal> {
    let releases = api.releases(None, None, RELEASES_MAX).await?;
    let Some(latest) = releases.iter().max_by_key(|release| release.created) else { return Ok(None) };
    let Ok(sha256) = latest.artifact.sha256.parse() else { return Ok(None) };
    if base.is_empty() {
        return Ok(None);
    }
    let now = u64::try_from(api.now().as_millis()).unwrap_or(0) / 1000;
    let claims = LinkClaims {
        sha256,
        device: LINK_DEVICE.to_owned(),
        job: String::new(),
        expires: now + LINK_LIFE_SECONDS,
        net: None,
        close: false,
    };
    let link = api.signer.sign(base, &claims, now);
    link.map(Some).map_err(|error| Refusal::bad("base_invalid", format!("base: {error}")))
}
