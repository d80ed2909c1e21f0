//! Rollouts: start, steer, watch.

mod plan;
mod why;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use updraft_core::fleet::NOTE_BYTES_MAX;
use updraft_core::id::{ProductName, RolloutId};
use updraft_core::rollout::{Rollout, RolloutState};
use updraft_core::state::{StateKind, Tally};
use updraft_core::version::Version;
use updraft_wire::operator::Page;
use updraft_wire::operator::rollout as wire;

use super::Api;
use super::operator::Operator;
use super::refusal::Refusal;
use super::render;
use super::request::{At, Given, Parameters, name};
use super::suggestion::near;

pub(super) async fn start(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    Given(start): Given<wire::Start>,
) -> Result<(StatusCode, Json<wire::Rollout>), Refusal> {
    let product: ProductName = name("name_invalid", &start.product)?;
    let version: Version = name("version_invalid", &start.version)?;
    let plan = plan::of(&start, api.now())?;
    let by = operator.with_note("");
    match api.engine.start_rollout(product.clone(), version.clone(), plan, by).await {
        Ok(rollout) => Ok((StatusCode::CREATED, Json(render::rollout(&rollout)))),
        Err(error) => Err(api.name_near(error.into(), product, &version).await),
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    mut parameters: Parameters,
) -> Result<Json<Page<wire::Rollout>>, Refusal> {
    let product: Option<ProductName> = parameters.read("product")?;
    let after: Option<RolloutId> = parameters.read("after")?;
    let limit = parameters.limit()?;
    parameters.finish()?;
    let rollouts = api.read(move |views| views.rollouts(product.as_ref(), after.as_ref(), limit)).await?;
    let next =
        (rollouts.len() == limit).then(|| rollouts.last().map(|last| last.rollout.id.to_string())).flatten();
    let items = rollouts.iter().map(|line| render::rollout(&line.rollout)).collect();
    Ok(Json(Page { items, next }))
}

pub(super) async fn show(
    State(api): State<Api>,
    At(id): At<RolloutId>,
) -> Result<Json<wire::Rollout>, Refusal> {
    let (rollout, _) = api.rollout(&id).await?;
    let history = api.read(move |views| views.rollout_history(&id, HISTORY_MAX)).await?;
    let mut rendered = render::rollout(&rollout);
    rendered.history = history
        .into_iter()
        .map(|entry| wire::Event {
            at: render::time(entry.at),
            from: entry.from.map(|state| state.to_string()),
            to: entry.to.to_string(),
            note: entry.note,
        })
        .collect();
    Ok(Json(rendered))
}

pub(super) async fn status(
    State(api): State<Api>,
    At(id): At<RolloutId>,
) -> Result<Json<wire::Status>, Refusal> {
    let (rollout, tally) = api.rollout(&id).await?;
    let counts = StateKind::ALL.iter().map(|kind| (kind.to_string(), tally.count(*kind)));
    let due = rollout.survey.map(|survey| survey.due);
    let idle = tally.in_flight() == 0;
    let settled = match rollout.state {
        RolloutState::Completed | RolloutState::Aborted => idle,
        RolloutState::Paused => idle && due == Some(0),
        // While it runs, a look over the whole fleet decides, and makes it completed.
        RolloutState::Draft | RolloutState::Running => false,
    };
    Ok(Json(wire::Status {
        id: rollout.id.to_string(),
        product: rollout.release().map(|(product, _)| product.to_string()),
        version: rollout.release().map(|(_, version)| version.to_string()),
        task: rollout.task().map(|task| task.name.to_string()),
        state: rollout.state.to_string(),
        counts: counts.collect(),
        in_flight: tally.in_flight(),
        due,
        surveyed: rollout.survey.map(|survey| render::time(survey.at)),
        devices: StateKind::ALL.iter().map(|kind| tally.count(*kind)).sum(),
        settled,
        why: why::is_it_waiting(&rollout, &tally, api.now()),
    }))
}

/// Which way to steer.
enum Turn {
    Pause,
    Resume,
    Abort,
    Retry,
}

pub(super) async fn pause(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    At(id): At<RolloutId>,
    Given(steer): Given<wire::Steer>,
) -> Result<Json<wire::Rollout>, Refusal> {
    api.steer(id, &operator, &steer, Turn::Pause).await
}

pub(super) async fn resume(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    At(id): At<RolloutId>,
    Given(steer): Given<wire::Steer>,
) -> Result<Json<wire::Rollout>, Refusal> {
    api.steer(id, &operator, &steer, Turn::Resume).await
}

pub(super) async fn abort(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    At(id): At<RolloutId>,
    Given(steer): Given<wire::Steer>,
) -> Result<Json<wire::Rollout>, Refusal> {
    api.steer(id, &operator, &steer, Turn::Abort).await
}

pub(super) async fn retry(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    At(id): At<RolloutId>,
    Given(steer): Given<wire::Steer>,
) -> Result<Json<wire::Rollout>, Refusal> {
    api.steer(id, &operator, &steer, Turn::Retry).await
}

impl Api {
    async fn steer(
        &self,
        id: RolloutId,
        operator: &Operator,
        steer: &wire::Steer,
        turn: Turn,
    ) -> Result<Json<wire::Rollout>, Refusal> {
        let by = operator.with_note(&steer.note);
        if by.len() > NOTE_BYTES_MAX {
            return Err(Refusal::bad(
                "note_too_long",
                format!("note: at most {NOTE_BYTES_MAX} bytes with your name"),
            ));
        }
        let steered = match turn {
            Turn::Pause => self.engine.pause(id.clone(), by).await,
            Turn::Resume => self.engine.resume(id.clone(), by).await,
            Turn::Abort => self.engine.abort(id.clone(), by).await,
            Turn::Retry => self.engine.retry(id.clone(), by).await,
        };
        match steered {
            Ok(rollout) => Ok(Json(render::rollout(&rollout))),
            Err(error) => Err(self.rollout_near(error.into(), &id).await),
        }
    }

    /// A rollout and how many of its executions stand where.
    async fn rollout(&self, id: &RolloutId) -> Result<(Rollout, Tally), Refusal> {
        let wanted = id.clone();
        if let Some(line) = self.read(move |views| views.rollout(&wanted)).await? {
            return Ok((line.rollout, line.tally));
        }
        let unknown = Refusal::unknown("rollout_unknown", format!("there is no rollout {id}"), Vec::new());
        Err(self.rollout_near(unknown, id).await)
    }

    async fn rollout_near(&self, refusal: Refusal, id: &RolloutId) -> Refusal {
        if !refusal.is_unknown() {
            return refusal;
        }
        match self.read(|views| views.rollouts(None, None, NEAR_ROLLOUTS_MAX)).await {
            Ok(lines) => {
                refusal.near(|| near(id.as_str(), lines.iter().map(|line| line.rollout.id.as_str())))
            }
            Err(_) => refusal,
        }
    }
}

/// Most lines of history in an answer, the latest.
const HISTORY_MAX: usize = 1_000;
/// Rollouts among which near IDs are looked for: the latest.
const NEAR_ROLLOUTS_MAX: usize = 1_000;
