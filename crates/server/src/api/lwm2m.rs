//! Devices that speak LwM2M: how one stands, and what is asked of it.
//!
//! Deliberately absent: how a device is reached. The desk takes an order, and says what came of it or that it waits.

mod render;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use updraft_core::id::DeviceId;
use updraft_lwm2m::content::{self, ContentFormat};
use updraft_wire::operator::Page;
use updraft_wire::operator::lwm2m as wire;

use super::operator::Operator;
use super::refusal::Refusal;
use super::request::{At, Given, Parameters};
use super::{Api, Lwm2m, blocking};
use crate::protocols::lwm2m::books::BooksError;
use crate::protocols::lwm2m::desk::{ARGUMENT_BYTES_MAX, DeskError, Operation, Order, Path, Taken};

pub(super) async fn standing(
    State(api): State<Api>,
    At(id): At<DeviceId>,
) -> Result<Json<wire::Standing>, Refusal> {
    match api.spoken()?.desk.look(id.clone()).await? {
        Some(standing) => Ok(Json(render::standing(standing))),
        None => Err(api.not_registered(&id).await),
    }
}

pub(super) async fn place(
    State(api): State<Api>,
    Extension(operator): Extension<Operator>,
    At(id): At<DeviceId>,
    Given(place): Given<wire::Place>,
) -> Result<(StatusCode, Json<wire::Placed>), Refusal> {
    let desk = &api.spoken()?.desk;
    let path = path(place.operation, &place.path)?;
    let operation = operation(place, &path)?;
    let by = operator.0.to_string();
    let order = Order { number: 0, device: id.clone(), operation, path, by, at: api.now() };
    match desk.order(order).await {
        Ok(Taken::Ended(number, outcome)) => {
            let outcome = Some(render::outcome(outcome));
            Ok((StatusCode::OK, Json(wire::Placed { number, waits: false, outcome })))
        }
        Ok(Taken::Waits(number)) => {
            Ok((StatusCode::ACCEPTED, Json(wire::Placed { number, waits: true, outcome: None })))
        }
        Err(error) => {
            let refusal = Refusal::from(error);
            Err(if refusal.is_unknown() { api.not_registered(&id).await } else { refusal })
        }
    }
}

pub(super) async fn orders(
    State(api): State<Api>,
    At(id): At<DeviceId>,
    mut parameters: Parameters,
) -> Result<Json<Page<wire::Order>>, Refusal> {
    let after: Option<u64> = parameters.read("after")?;
    let limit = parameters.limit()?;
    parameters.finish()?;
    let (books, device) = (api.spoken()?.books.clone(), id.clone());
    let kept = blocking(move || books.orders(&device).map_err(Refusal::from)).await?;
    if kept.is_empty() {
        // None of a device that there is, or there is no such device.
        api.device(&id).await?;
    }
    let mut items: Vec<_> =
        kept.into_iter().filter(|saved| after.is_none_or(|after| saved.order.number > after)).collect();
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(|saved| saved.order.number.to_string());
    Ok(Json(Page { items: items.into_iter().map(render::order).collect(), next }))
}

impl From<DeskError> for Refusal {
    fn from(error: DeskError) -> Self {
        let message = error.to_string();
        match error {
            DeskError::NotRegistered => Self::unknown("device_not_registered", message, Vec::new()),
            DeskError::TooMany => Self::new(StatusCode::TOO_MANY_REQUESTS, "orders_too_many", message),
            DeskError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message),
        }
    }
}

impl From<BooksError> for Refusal {
    fn from(error: BooksError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "an operator's request failed");
        let message = "the orders cannot be read; the server's log says why";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", message)
    }
}

impl Api {
    /// What there is to LwM2M, if the server speaks it.
    fn spoken(&self) -> Result<&Lwm2m, Refusal> {
        self.lwm2m.as_ref().ok_or_else(|| {
            let message = "this server does not speak LwM2M: its configuration switches it off";
            Refusal::unknown("lwm2m_off", message, Vec::new())
        })
    }

    /// Why there is nothing to a device: it is not registered, or there is no such device.
    async fn not_registered(&self, id: &DeviceId) -> Refusal {
        match self.device(id).await {
            Ok(_) => {
                let message = format!("device {id} is not registered by LwM2M");
                Refusal::unknown("device_not_registered", message, Vec::new())
            }
            Err(refusal) => refusal,
        }
    }
}

/// Reads the path of an operation that can be asked of what is there (Core §6.3, §6.4).
fn path(operation: wire::Operation, text: &str) -> Result<Path, Refusal> {
    let invalid = |why: &str| Refusal::bad("path_invalid", format!("path: {why}"));
    let path: Path = text.parse().map_err(|error| invalid(&format!("{error}, such as /3/0/9")))?;
    let (depths, what) = match operation {
        wire::Operation::Read | wire::Operation::Observe | wire::Operation::Ignore => {
            (1..=4, "an object, an instance or a resource, such as /3/0/9")
        }
        wire::Operation::Discover => (1..=3, "an object, an instance or a resource, such as /3/0"),
        wire::Operation::Write => (3..=4, "a resource, such as /1/0/1"),
        wire::Operation::Execute => (3..=3, "a resource, such as /3/0/4"),
    };
    if depths.contains(&path.depth()) {
        Ok(path)
    } else {
        Err(invalid(&format!("{} takes {what}", operation.as_str())))
    }
}

/// What is asked, with no more and no less than belongs to it.
fn operation(place: wire::Place, path: &Path) -> Result<Operation, Refusal> {
    let wire::Place { operation, path: _, value, arguments } = place;
    if value.is_some() != (operation == wire::Operation::Write) {
        let message = "value: write needs one, and nothing else takes one";
        return Err(Refusal::bad("value_invalid", message));
    }
    if arguments.is_some() && operation != wire::Operation::Execute {
        return Err(Refusal::bad("arguments_invalid", "arguments: only execute takes any"));
    }
    check_length("value", value.as_deref().unwrap_or_default())?;
    check_length("arguments", arguments.as_deref().unwrap_or_default())?;
    Ok(match operation {
        wire::Operation::Read => Operation::Read,
        wire::Operation::Observe => Operation::Observe,
        wire::Operation::Ignore => Operation::Ignore,
        wire::Operation::Discover => Operation::Discover,
        wire::Operation::Write => {
            let value = value.unwrap_or_default();
            check_value(path, &value)?;
            Operation::Write(value)
        }
        wire::Operation::Execute => Operation::Execute(arguments),
    })
}

fn check_length(field: &str, text: &str) -> Result<(), Refusal> {
    if text.len() > ARGUMENT_BYTES_MAX {
        let message = format!("{field}: at most {ARGUMENT_BYTES_MAX} bytes");
        return Err(Refusal::bad("value_too_long", message));
    }
    Ok(())
}

/// Whether a resource of a known type can hold the text (Core §7.4.1): what surely fails is not sent to a device, least of
/// all to one that sleeps for a day before it says so.
fn check_value(path: &Path, text: &str) -> Result<(), Refusal> {
    content::decode(ContentFormat::TEXT, path, text.as_bytes()).map(|_| ()).map_err(|_| {
        let kind = updraft_lwm2m::model::kind(path);
        Refusal::bad("value_invalid", format!("value: {path} holds {}", kind.map_or("a text", render::holds)))
    })
}
