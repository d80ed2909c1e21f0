//! Jobs as a device sees them, over HTTP (signing name `iot-jobs-data`): the same requests as on topics. Only the
//! document differs: a text here, an object there.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use updraft_core::id::DeviceId;
use updraft_wire::jobs::{DescribeRequest, NEXT, Rejected, RejectedCode, StartNextRequest, Topic};

use super::caller::Service;
use super::control;
use super::data::{say, verdict};
use super::door::{Call, Doors, answer, json as read, name};
use super::failure::{Exception, Failure};
use super::topics::Speaker;

/// Largest body of a device's request, in bytes: ten details of 1,024 characters, each of which JSON may write in six
/// bytes, and their names.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Longest job ID, in bytes (AWS IoT Jobs).
const JOB_ID_BYTES_MAX: usize = 64;

/// `GET /things/{thing}/jobs`: what is pending, or, in the control plane's scope, the device's executions.
pub(super) async fn list(
    State(doors): State<Arc<Doors>>,
    Path(thing): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let call = doors.enter(request, 0).await?;
    if is_control(&call) {
        return control::executions_of_thing(&doors, &thing, call).await;
    }
    let Call { query, .. } = &call;
    query.clone().finish()?;
    ask(&doors, &call, &thing, None, Topic::Get, Value::Null).await
}

/// `PUT /things/{thing}/jobs/$next`: starts what is next.
pub(super) async fn start_next(
    State(doors): State<Arc<Doors>>,
    Path((thing, job)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let call = doors.enter(request, REQUEST_BYTES_MAX).await?;
    if job != NEXT {
        return Err(Failure::new(Exception::MethodNotAllowed, "PUT starts $next, and no job by its ID"));
    }
    call.query.clone().finish()?;
    let request: StartNextRequest = read(&call.body)?;
    let body = json_of(&request);
    ask(&doors, &call, &thing, None, Topic::StartNext, body).await
}

/// `GET /things/{thing}/jobs/{job}`: one execution, as a device sees it, or in the control plane's scope.
pub(super) async fn describe(
    State(doors): State<Arc<Doors>>,
    Path((thing, job)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let mut call = doors.enter(request, 0).await?;
    if is_control(&call) {
        return control::describe_execution(&doors, &thing, &job, call).await;
    }
    let request = DescribeRequest {
        execution_number: call.query.read("executionNumber")?,
        include_job_document: call.query.read("includeJobDocument")?,
        client_token: None,
    };
    call.query.clone().finish()?;
    ask(&doors, &call, &thing, Some(&job), Topic::Describe(&job), json_of(&request)).await
}

/// `POST /things/{thing}/jobs/{job}`: how the device stands.
pub(super) async fn update(
    State(doors): State<Arc<Doors>>,
    Path((thing, job)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let call = doors.enter(request, REQUEST_BYTES_MAX).await?;
    call.query.clone().finish()?;
    let mut body: Value = read(&call.body)?;
    // Echoed on topics, where answers must be told apart; nothing here.
    if let Some(body) = body.as_object_mut() {
        body.remove("clientToken");
    }
    ask(&doors, &call, &thing, Some(&job), Topic::Update(&job), body).await
}

/// Two paths are in both planes. The plane is that of the signature's scope; without a signature it is the devices'.
fn is_control(call: &Call) -> bool {
    call.caller.scope.as_ref().is_some_and(|scope| scope.service == Service::Control.name())
}

fn json_of(request: &impl serde::Serialize) -> Value {
    serde_json::to_value(request).expect("a request is plain data")
}

/// Asks as the device would on its topic, and answers as HTTP wants it.
async fn ask(
    doors: &Doors,
    call: &Call,
    thing: &str,
    job: Option<&str>,
    topic: Topic<'_>,
    body: Value,
) -> Result<Response, Failure> {
    Service::Jobs.check(call.caller.scope.as_ref())?;
    let device = name::<DeviceId>(thing)?;
    if let Some(job) = job.filter(|job| *job != NEXT) {
        check_job_id(job)?;
    }
    doors.admit(&call.caller, &device).await?;
    doors.check_known(&call.caller, &device).await?;
    let topic = topic.name(device.as_str());
    let payload = if body.is_null() { Bytes::from_static(b"{}") } else { body.to_string().into() };
    // Whoever may speak for a device does so as the device: there is nobody else on these topics.
    let said = say(doors, Speaker::Device(device), &topic, payload).await?;
    match verdict(said, &topic)? {
        Ok(accepted) => Ok(answer(&http_form(&accepted)?)),
        Err(rejected) => Err(failure(&rejected)),
    }
}

/// Refuses what is no job ID, which could be more than one level of a topic.
///
/// # Errors
/// `InvalidRequestException`.
pub(super) fn check_job_id(job: &str) -> Result<(), Failure> {
    let is_id = (1..=JOB_ID_BYTES_MAX).contains(&job.len())
        && job.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let message = "a job ID is 1 to 64 of A-Z a-z 0-9 _ -";
    if is_id { Ok(()) } else { Err(Failure::invalid(message)) }
}

#[derive(Deserialize)]
struct Accepted {
    #[serde(flatten)]
    members: serde_json::Map<String, Value>,
}

/// An answer as HTTP has it: without time and token, the document a text.
fn http_form(accepted: &[u8]) -> Result<Value, Failure> {
    let mistake = || Failure::new(Exception::InternalFailure, "the server made a mistake; its log says more");
    let Accepted { mut members } = serde_json::from_slice(accepted).map_err(|_| mistake())?;
    members.remove("timestamp");
    members.remove("clientToken");
    if let Some(document) = members.get_mut("jobDocument") {
        *document = json!(document.to_string());
    }
    if let Some(document) =
        members.get_mut("execution").and_then(|execution| execution.get_mut("jobDocument"))
    {
        *document = json!(document.to_string());
    }
    Ok(Value::Object(members))
}

/// The exception for a rejection. That the version is another has no exception of its own in this plane; the control
/// plane's says it best.
fn failure(rejected: &[u8]) -> Failure {
    let Ok(Rejected { code, message, .. }) = serde_json::from_slice(rejected) else {
        return Failure::new(Exception::InternalFailure, "the server made a mistake; its log says more");
    };
    let exception = match code {
        RejectedCode::InvalidTopic | RejectedCode::InvalidJson | RejectedCode::InvalidRequest => {
            Exception::InvalidRequest
        }
        RejectedCode::InvalidStateTransition => Exception::InvalidStateTransition,
        RejectedCode::ResourceNotFound => Exception::ResourceNotFound,
        RejectedCode::VersionMismatch => Exception::VersionConflict,
        RejectedCode::InternalError => Exception::ServiceUnavailable,
        RejectedCode::RequestThrottled => Exception::Throttling,
        RejectedCode::TerminalStateReached => Exception::TerminalState,
    };
    Failure::new(exception, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_http_the_document_is_a_text_and_there_is_no_time() {
        let accepted = json!({
            "execution": {"jobId": "j", "jobDocument": {"a": [1]}}, "timestamp": 5, "clientToken": "t"
        });
        let form = http_form(accepted.to_string().as_bytes()).unwrap();
        assert_eq!(form, json!({"execution": {"jobId": "j", "jobDocument": "{\"a\":[1]}"}}));
        let form = http_form(br#"{"jobDocument":{},"timestamp":1}"#).unwrap();
        assert_eq!(form, json!({"jobDocument": "{}"}));
        assert_eq!(http_form(br#"{"timestamp":1}"#).unwrap(), json!({}));
    }

    #[test]
    fn each_rejection_has_its_exception() {
        for (code, exception) in [
            ("InvalidRequest", Exception::InvalidRequest),
            ("InvalidJson", Exception::InvalidRequest),
            ("ResourceNotFound", Exception::ResourceNotFound),
            ("VersionMismatch", Exception::VersionConflict),
            ("InvalidStateTransition", Exception::InvalidStateTransition),
            ("TerminalStateReached", Exception::TerminalState),
            ("RequestThrottled", Exception::Throttling),
        ] {
            let body = json!({"code": code, "message": "why", "timestamp": 1}).to_string();
            let failure = failure(body.as_bytes());
            assert_eq!((failure.exception, failure.message.as_str()), (exception, "why"));
        }
        assert_eq!(failure(b"nonsense").exception, Exception::InternalFailure);
    }

    #[test]
    fn what_could_be_more_than_one_level_of_a_topic_is_no_job_id() {
        for bad in ["", "a/b", "+", "#", "a b", "$next2", "é", &"x".repeat(65)] {
            assert!(check_job_id(bad).is_err(), "{bad}");
        }
        assert!(check_job_id("Job_1-a").is_ok());
    }
}
