//! Devices: lists, one in detail, and why it is or is not updated.

use axum::Json;
use axum::extract::State;
use updraft_core::execution::{Execution, HistoryEntry};
use updraft_core::explain::{Explanation, Obstacle, OpenExecution, ReleaseExplanation};
use updraft_core::id::{DeviceId, ProductName, RolloutId};
use updraft_core::state::StateKind;
use updraft_core::store::StoreError;
use updraft_core::version::Version;
use updraft_wire::operator::Page;
use updraft_wire::operator::device as wire;

use super::Api;
use super::refusal::Refusal;
use super::render;
use super::request::{At, Parameters, time};
use super::suggestion::near;
use crate::store::{DeviceDetail, DeviceFilter, Views};

/// Most lines of history in an answer, the latest.
const HISTORY_MAX: usize = 200;
/// Devices among which near IDs are looked for: those that begin alike.
const NEAR_DEVICES_MAX: usize = 1_000;

pub(super) async fn list(
    State(api): State<Api>,
    mut parameters: Parameters,
) -> Result<Json<Page<wire::Summary>>, Refusal> {
    let filter = DeviceFilter {
        product: parameters.read::<ProductName>("product")?,
        version: parameters.take("version")?,
        state: parameters.take("state")?.map(|word| state(&word)).transpose()?,
        rollout: parameters.read::<RolloutId>("rollout")?,
        id_prefix: parameters.take("prefix")?,
        unseen_since: parameters.take("unseen_since")?.map(|text| time("unseen_since", &text)).transpose()?,
    };
    let after: Option<DeviceId> = parameters.read("after")?;
    let limit = parameters.limit()?;
    parameters.finish()?;
    let page = api.read(move |views| views.devices(&filter, after.as_ref(), limit)).await?;
    let items = page.devices.into_iter().map(|line| wire::Summary {
        last_seen: api.engine.last_seen(line.number).max(line.last_seen).map(render::time),
        id: line.id.to_string(),
        product: line.product.to_string(),
        version: line.version,
    });
    Ok(Json(Page { items: items.collect(), next: page.next.map(|id| id.to_string()) }))
}

fn state(word: &str) -> Result<StateKind, Refusal> {
    StateKind::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| {
        let words = StateKind::ALL.map(StateKind::as_str).join(", ");
        Refusal::bad("query_invalid", format!("state: one of {words}"))
    })
}

pub(super) async fn show(
    State(api): State<Api>,
    At(id): At<DeviceId>,
) -> Result<Json<wire::Device>, Refusal> {
    Ok(Json(rendered(api.device(&id).await?)))
}

pub(super) async fn explain(
    State(api): State<Api>,
    At(id): At<DeviceId>,
    mut parameters: Parameters,
) -> Result<Json<wire::Explanation>, Refusal> {
    let version: Option<Version> = parameters.read("version")?;
    parameters.finish()?;
    match api.engine.explain(id.clone(), version.clone()).await {
        Ok(explanation) => Ok(Json(explained(&explanation))),
        Err(error) => {
            // The device, which says whose releases may be meant; or else there is no such device.
            let device = api.device(&id).await?;
            Err(match version {
                Some(version) => api.name_near(error.into(), device.device.product, &version).await,
                None => error.into(),
            })
        }
    }
}

impl Api {
    /// All that is known of a device; names near it if there is none.
    pub(super) async fn device(&self, id: &DeviceId) -> Result<DeviceDetail, Refusal> {
        let wanted = id.clone();
        if let Some(mut device) = self.read(move |views| views.device(&wanted, HISTORY_MAX)).await? {
            // The store is some seconds behind.
            device.last_seen = device.last_seen.max(self.engine.last_seen(device.number));
            return Ok(device);
        }
        let wanted = id.clone();
        let near = self.read(move |views| near_devices(views, &wanted)).await.unwrap_or_default();
        Err(Refusal::unknown("device_unknown", format!("device {id} was never heard of"), near))
    }
}

/// Known IDs near one that is not known, among those that begin with its first half.
fn near_devices(views: &mut Views, id: &DeviceId) -> Result<Vec<String>, StoreError> {
    // IDs are ASCII, so every byte is a place to cut.
    let prefix = &id.as_str()[..id.as_str().len() / 2];
    let filter = DeviceFilter { id_prefix: Some(prefix.to_owned()), ..DeviceFilter::default() };
    let page = views.devices(&filter, None, NEAR_DEVICES_MAX)?;
    Ok(near(id.as_str(), page.devices.iter().map(|line| line.id.as_str())))
}

fn rendered(detail: DeviceDetail) -> wire::Device {
    let DeviceDetail { number: _, device, last_seen, mut executions, history } = detail;
    executions.sort_by_key(|execution| std::cmp::Reverse(execution.changed));
    wire::Device {
        id: device.id.to_string(),
        product: device.product.to_string(),
        version: device.version,
        last_seen: last_seen.map(render::time),
        first_seen: render::time(device.first_seen),
        changed: render::time(device.changed),
        boot: device.boot,
        attributes: render::attributes(&device.attributes),
        executions: executions.into_iter().map(execution).collect(),
        history: history.into_iter().map(event).collect(),
    }
}

fn execution(execution: Execution) -> wire::Execution {
    wire::Execution {
        rollout: execution.rollout.to_string(),
        attempt: execution.attempt,
        state: execution.state.kind().to_string(),
        reason: execution.state.reason().map(|reason| reason.as_str().to_owned()),
        percent: execution.percent,
        detail: execution.detail,
        from_version: execution.from_version,
        offers: execution.offers,
        opened: render::time(execution.opened),
        changed: render::time(execution.changed),
        deadline: execution.state.is_open().then(|| render::time(execution.deadline)),
    }
}

fn event(entry: HistoryEntry) -> wire::Event {
    wire::Event {
        at: render::time(entry.at),
        rollout: entry.rollout.to_string(),
        attempt: entry.attempt,
        from: entry.from.map(render::state),
        to: render::state(entry.to),
        note: entry.note,
    }
}

fn explained(explanation: &Explanation) -> wire::Explanation {
    wire::Explanation {
        device: explanation.device.to_string(),
        product: explanation.product.to_string(),
        version: explanation.version.clone(),
        summary: summary(explanation),
        would_offer: explanation.would_offer.as_ref().map(ToString::to_string),
        open: explanation.open.as_ref().map(open),
        releases: explanation.releases.iter().map(release).collect(),
    }
}

/// The answer to "why did this device not update?", in a sentence.
fn summary(explanation: &Explanation) -> String {
    let newest = explanation.releases.first();
    match (&explanation.open, &explanation.would_offer, newest) {
        (Some(open), Some(version), _) => {
            format!("It is being updated to {version}: {}.", open.state.kind())
        }
        (Some(open), None, _) => format!("An update is under way: {}.", open.state.kind()),
        (None, Some(version), _) => {
            format!("Nothing stands in the way: it gets {version} when it next checks in.")
        }
        (None, None, None) => format!("Product {} has no release.", explanation.product),
        (None, None, Some(newest)) => match newest.obstacles.first() {
            Some(Obstacle::AlreadyInstalled) => {
                format!("It is up to date: it runs {}, the newest release.", newest.version)
            }
            Some(obstacle) => format!("It does not get {}: {obstacle}.", newest.version),
            None => format!("It does not get {} before an older release has ended.", newest.version),
        },
    }
}

fn open(open: &OpenExecution) -> wire::OpenExecution {
    wire::OpenExecution {
        rollout: open.rollout.to_string(),
        attempt: open.attempt,
        state: open.state.kind().to_string(),
        since: render::time(open.since),
        deadline: render::time(open.deadline),
        detail: open.detail.clone(),
    }
}

fn release(release: &ReleaseExplanation) -> wire::ReleaseExplanation {
    wire::ReleaseExplanation {
        version: release.version.to_string(),
        rollout: release.rollout.as_ref().map(ToString::to_string),
        obstacles: release.obstacles.iter().map(obstacle).collect(),
        policy: render::outcome(&release.policy),
    }
}

fn obstacle(obstacle: &Obstacle) -> wire::Obstacle {
    let (code, until) = match obstacle {
        Obstacle::NoRollout => ("no_rollout", None),
        Obstacle::RolloutNotOffering { .. } => ("rollout_not_offering", None),
        Obstacle::AlreadyInstalled => ("already_installed", None),
        Obstacle::OlderThanInstalled { .. } => ("older_than_installed", None),
        Obstacle::VersionUnreadable { .. } => ("version_unreadable", None),
        Obstacle::NotItsTurn { turn, .. } => ("not_its_turn", *turn),
        Obstacle::UnderWay { .. } => ("under_way", None),
        Obstacle::Ended { .. } => ("ended", None),
        Obstacle::BackOff { until, .. } => ("back_off", Some(*until)),
        Obstacle::InFlightFull { .. } => ("in_flight_full", None),
        Obstacle::MinuteFull { until } => ("minute_full", Some(*until)),
        Obstacle::NotATarget => ("not_a_target", None),
        Obstacle::PolicyUnmatched { .. } => ("policy_unmatched", None),
    };
    wire::Obstacle { code: code.to_owned(), text: obstacle.to_string(), until: until.map(render::time) }
}
