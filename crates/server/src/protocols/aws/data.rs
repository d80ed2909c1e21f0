//! Shadows and publishing over HTTP (signing name `iotdata`): the same requests as on topics, answered to the caller.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::response::Response;
use bytes::Bytes;
use serde_json::json;
use updraft_core::id::DeviceId;
use updraft_core::shadow::ShadowName;

use super::caller::{Caller, Service};
use super::door::{Call, Doors, answer, name, raw_answer};
use super::failure::{Exception, Failure};
use super::topics::{Message, NotTaken, Speaker};
use crate::auth::Principal;
use crate::shadow::{self, NAMES_PAGE, NAMES_PAGE_MAX, Operation, REQUEST_BYTES_MAX, topic_prefix};

/// Largest payload of a publish, in bytes (AWS IoT).
const PAYLOAD_BYTES_MAX: usize = 128 * 1024;
/// Longest topic, in bytes (AWS IoT: 256 after the reserved levels; a device's name and a shadow's fit beside them).
const TOPIC_BYTES_MAX: usize = 512;

/// `GET|POST|DELETE /things/{thing}/shadow?name=`.
pub(super) async fn shadow(
    State(doors): State<Arc<Doors>>,
    Path(thing): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let operation = match *request.method() {
        Method::POST => Operation::Update,
        Method::DELETE => Operation::Delete,
        _ => Operation::Get,
    };
    let Call { caller, mut query, body, .. } = doors.enter(request, REQUEST_BYTES_MAX).await?;
    Service::Data.check(caller.scope.as_ref())?;
    let (device, shadow) = (name::<DeviceId>(&thing)?, query.take("name")?);
    query.finish()?;
    let shadow = shadow.map_or(Ok(ShadowName::CLASSIC), |shadow| name(&shadow))?;
    doors.admit(&caller, &device).await?;
    let topic = format!("{}/{}", topic_prefix(&device, &shadow), operation.as_str());
    let payload = if operation == Operation::Update { body } else { Bytes::new() };
    let said = say(&doors, speaker(&caller, &device), &topic, payload).await?;
    match verdict(said, &topic)? {
        Ok(body) => Ok(raw_answer(body)),
        Err(rejected) => Err(shadow_failure(&rejected)),
    }
}

/// `GET /api/things/shadow/ListNamedShadowsForThing/{thing}?nextToken=&pageSize=`.
pub(super) async fn named_shadows(
    State(doors): State<Arc<Doors>>,
    Path(thing): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let Call { caller, mut query, .. } = doors.enter(request, 0).await?;
    Service::Data.check(caller.scope.as_ref())?;
    let device = name::<DeviceId>(&thing)?;
    let after = query.take("nextToken")?.map(|token| name::<ShadowName>(&token)).transpose()?;
    let limit = query.read::<usize>("pageSize")?.unwrap_or(NAMES_PAGE);
    query.finish()?;
    if !(1..=NAMES_PAGE_MAX).contains(&limit) {
        return Err(Failure::invalid(format!("pageSize: 1 to {NAMES_PAGE_MAX}")));
    }
    doors.admit(&caller, &device).await?;
    let names = doors
        .engine
        .command(move |fleet, now| shadow::names(fleet, now, &device, after.as_ref(), limit))
        .await?;
    Ok(raw_answer(names))
}

/// `POST /topics/{topic}?qos=`.
pub(super) async fn publish(
    State(doors): State<Arc<Doors>>,
    Path(topic): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let Call { caller, mut query, body, .. } = doors.enter(request, PAYLOAD_BYTES_MAX).await?;
    Service::Data.check(caller.scope.as_ref())?;
    if query.read::<u8>("qos")?.is_some_and(|qos| qos > 1) {
        return Err(Failure::invalid("qos: 0 or 1"));
    }
    if query.flag("retain")? {
        return Err(Failure::invalid(
            "retain is not supported: topics here lead to devices and to state, which is kept",
        ));
    }
    query.finish()?;
    if topic.len() > TOPIC_BYTES_MAX || topic.contains(['+', '#', '\0']) {
        return Err(Failure::invalid(format!(
            "the topic has at most {TOPIC_BYTES_MAX} bytes and no wildcard"
        )));
    }
    let speaker = match &caller.principal {
        Principal::Device(id) => Speaker::Device(id.clone()),
        Principal::Operator(name) => Speaker::Application(name.to_string()),
        Principal::Product(_) => {
            let message = "a product's token names no device that could publish";
            return Err(Failure::new(Exception::Forbidden, message));
        }
    };
    say(&doors, speaker, &topic, body).await?;
    Ok(answer(&json!({ "message": "OK" })))
}

/// Who speaks on a device's topics: the device where its own credential speaks, else the operator.
fn speaker(caller: &Caller, device: &DeviceId) -> Speaker {
    match &caller.principal {
        Principal::Device(_) | Principal::Product(_) => Speaker::Device(device.clone()),
        Principal::Operator(name) => Speaker::Application(name.to_string()),
    }
}

/// Says something on a topic. The answers.
pub(super) async fn say(
    doors: &Doors,
    from: Speaker,
    topic: &str,
    payload: Bytes,
) -> Result<Vec<Message>, Failure> {
    let message = Message { topic: topic.into(), payload };
    doors.topics.say(from, message).await.map_err(|not_taken| match not_taken {
        NotTaken::Forbidden => Failure::new(Exception::Forbidden, "this topic is not for the caller"),
        NotTaken::Unavailable => Failure::new(
            Exception::ServiceUnavailable,
            "the server cannot take it now; try again in a few seconds",
        ),
    })
}

/// The answer to what was asked on a topic: `…/accepted`, or `…/rejected`.
pub(super) fn verdict(said: Vec<Message>, topic: &str) -> Result<Result<Bytes, Bytes>, Failure> {
    let found = said.into_iter().find_map(|Message { topic: answered, payload }| {
        match answered.strip_prefix(topic)? {
            "/accepted" => Some(Ok(payload)),
            "/rejected" => Some(Err(payload)),
            _ => None,
        }
    });
    found.ok_or_else(|| {
        tracing::error!(topic, "a request on a topic was not answered");
        Failure::new(Exception::InternalFailure, "the server made a mistake; its log says more")
    })
}

/// The failure that a rejected shadow request says: its code is an HTTP status.
fn shadow_failure(rejected: &[u8]) -> Failure {
    let body: serde_json::Value = serde_json::from_slice(rejected).unwrap_or_default();
    let message = body["message"].as_str().unwrap_or("the request was rejected");
    let exception = match body["code"].as_u64() {
        Some(400) => Exception::InvalidRequest,
        Some(401 | 403) => Exception::Forbidden,
        Some(404) => Exception::ResourceNotFound,
        Some(409) => Exception::Conflict,
        Some(413) => Exception::RequestEntityTooLarge,
        Some(415) => Exception::UnsupportedDocumentEncoding,
        Some(429) => Exception::Throttling,
        Some(_) | None => Exception::InternalFailure,
    };
    Failure::new(exception, message)
}
