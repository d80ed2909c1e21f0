use super::render::status;
use crate::protocols::mqtt::jobs::Told;
use crate::protocols::mqtt::stage::Stage;
use serde_json::{Value, json};
use std::time::Duration;
use updraft_core::state::{ExecutionState, FailureReason, Step};
use updraft_wire::jobs::{NEXT, Status, Topic};

const REBOOT: &str = r#"{"operation":"reboot"}"#;

fn in_progress() -> String {
    json!({ "status": "IN_PROGRESS" }).to_string()
}

fn code(body: &Value) -> &str {
    body["code"].as_str().unwrap()
}

#[test]
fn each_state_has_one_word_of_the_contract() {
    for (state, word) in [
        (ExecutionState::Queued, Status::Queued),
        (ExecutionState::InProgress(Step::Downloading), Status::InProgress),
        (ExecutionState::InProgress(Step::Rebooting), Status::InProgress),
        (ExecutionState::Succeeded, Status::Succeeded),
        (ExecutionState::Failed(FailureReason::RolledBack), Status::Failed),
        (ExecutionState::TimedOut, Status::TimedOut),
        (ExecutionState::Rejected, Status::Rejected),
        (ExecutionState::Canceled, Status::Canceled),
    ] {
        assert_eq!(status(state), word, "{state:?}");
    }
}

#[test]
fn a_list_names_what_is_begun_and_what_waits_in_whole_seconds() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    stage.task("one", REBOOT, &["d"]);
    stage.task("two", REBOOT, &["d"]);
    stage.jobs("d", Topic::Update("one"), &in_progress());
    stage.jobs("d", Topic::Get, "");
    stage.jobs("d", Topic::Update("one"), &in_progress());
    let (topic, body) = stage.jobs("d", Topic::Get, r#"{"clientToken":"t"}"#);
    assert_eq!(topic, "get/accepted");
    assert_eq!(body["inProgressJobs"][0]["jobId"], "one");
    assert_eq!(body["queuedJobs"][0]["jobId"], "two");
    assert_eq!(body["queuedJobs"][0]["versionNumber"], 1);
    assert_eq!(body["queuedJobs"][0]["executionNumber"], 1);
    assert_eq!((&body["timestamp"], &body["clientToken"]), (&json!(1_772_366_400), &json!("t")));
}

#[test]
fn next_is_the_devices_first_and_the_topic_of_the_reply_says_next() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    let (topic, body) = stage.jobs("d", Topic::Describe(NEXT), "{}");
    assert_eq!(topic, "$next/get/accepted");
    assert!(body.get("execution").is_none(), "nothing is pending: {body}");
    stage.task("one", REBOOT, &["d"]);
    let (_, body) = stage.jobs("d", Topic::Describe(NEXT), "{}");
    let execution = &body["execution"];
    assert_eq!((&execution["jobId"], &execution["status"]), (&json!("one"), &json!("QUEUED")));
    assert_eq!(execution["jobDocument"], json!({"operation": "reboot"}), "an object over MQTT");
    let (_, body) = stage.jobs("d", Topic::Describe(NEXT), r#"{"includeJobDocument":false}"#);
    assert!(body["execution"].get("jobDocument").is_none());
}

#[test]
fn start_next_starts_what_waits_and_leaves_what_is_begun_as_it_is() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    stage.task("one", REBOOT, &["d"]);
    let start = |details: &str| json!({"statusDetails": {"by": details}}).to_string();
    let (topic, body) = stage.jobs("d", Topic::StartNext, &start("first"));
    assert_eq!(topic, "start-next/accepted");
    assert_eq!(
        (&body["execution"]["status"], &body["execution"]["versionNumber"]),
        (&json!("IN_PROGRESS"), &json!(2))
    );
    let (_, body) = stage.jobs("d", Topic::StartNext, &start("second"));
    assert_eq!(body["execution"]["statusDetails"], json!({"by": "first"}));
    assert_eq!(body["execution"]["versionNumber"], 2);
}

#[test]
fn an_update_tells_state_and_document_if_asked_and_takes_numbers_as_text() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    stage.task("one", REBOOT, &["d"]);
    stage.jobs("d", Topic::Get, "");
    let request = json!({
        "status": "IN_PROGRESS", "expectedVersion": "1", "executionNumber": "1",
        "includeJobExecutionState": true, "includeJobDocument": true, "statusDetails": {"step": "one"},
    });
    let (topic, body) = stage.jobs("d", Topic::Update("one"), &request.to_string());
    assert_eq!(topic, "one/update/accepted");
    let state = json!({"status": "IN_PROGRESS", "statusDetails": {"step": "one"}, "versionNumber": 2});
    assert_eq!(body["executionState"], state);
    assert_eq!(body["jobDocument"], json!({"operation": "reboot"}));
    let (_, body) = stage.jobs("d", Topic::Update("one"), r#"{"status":"SUCCEEDED"}"#);
    assert!(body.get("executionState").is_none() && body.get("jobDocument").is_none(), "{body}");
}

#[test]
fn every_rejection_has_the_contracts_code_and_where_it_helps_the_state() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    stage.task("one", REBOOT, &["d"]);
    stage.jobs("d", Topic::Get, "");
    let long = "x".repeat(65);
    let update = |body: Value| body.to_string();
    for (topic, payload, expected) in [
        (Topic::Update("one"), "{".to_owned(), "InvalidJson"),
        (Topic::Update("one"), "[]".to_owned(), "InvalidRequest"),
        (Topic::Update("one"), "{}".to_owned(), "InvalidRequest"),
        (Topic::Update("one"), update(json!({"status": "QUEUED"})), "InvalidRequest"),
        (Topic::Update("one"), update(json!({"status": "DONE"})), "InvalidRequest"),
        (
            Topic::Update("one"),
            update(json!({"status": "IN_PROGRESS", "stepTimeoutInMinutes": 0})),
            "InvalidRequest",
        ),
        (
            Topic::Update("one"),
            update(json!({"status": "IN_PROGRESS", "statusDetails": {"a b": "c"}})),
            "InvalidRequest",
        ),
        (
            Topic::Update("one"),
            update(json!({"status": "IN_PROGRESS", "clientToken": long})),
            "InvalidRequest",
        ),
        (
            Topic::Update("one"),
            update(json!({"status": "IN_PROGRESS", "expectedVersion": 7})),
            "VersionMismatch",
        ),
        (
            Topic::Update("one"),
            update(json!({"status": "IN_PROGRESS", "executionNumber": 2})),
            "ResourceNotFound",
        ),
        (Topic::Update("none"), in_progress(), "ResourceNotFound"),
        (Topic::Update("a job"), in_progress(), "InvalidRequest"),
        (Topic::Describe("none"), "{}".to_owned(), "ResourceNotFound"),
    ] {
        let (levels, body) = stage.jobs("d", topic, &payload);
        assert!(levels.ends_with("/rejected"), "{levels}");
        assert_eq!(code(&body), expected, "{payload}: {body}");
        assert_eq!(body.get("executionState").is_some(), expected == "VersionMismatch", "{body}");
        assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
    stage.jobs("d", Topic::Update("one"), r#"{"status":"FAILED","statusDetails":{"reason":"no room"}}"#);
    let (_, body) = stage.jobs("d", Topic::Update("one"), r#"{"status":"SUCCEEDED","clientToken":"t"}"#);
    assert_eq!((code(&body), &body["clientToken"]), ("InvalidStateTransition", &json!("t")));
    assert_eq!(body["executionState"]["status"], "FAILED");
    let (_, body) = stage.jobs("d", Topic::Describe("one"), "{}");
    assert_eq!(code(&body), "TerminalStateReached");
}

#[test]
fn another_devices_job_is_no_job() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    stage.knows("e", "1.0.0");
    stage.task("one", REBOOT, &["d"]);
    stage.jobs("d", Topic::Get, "");
    let (_, body) = stage.jobs("e", Topic::Describe("one"), "{}");
    assert_eq!(code(&body), "ResourceNotFound");
    let (_, body) = stage.jobs("e", Topic::Update("one"), r#"{"status":"SUCCEEDED"}"#);
    assert_eq!(code(&body), "ResourceNotFound");
}

#[test]
fn placeholders_are_filled_with_a_link_of_the_devices_own_each_time_it_asks() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    stage.release("2.0.0", &[]);
    let url = "${aws:iot:s3-presigned-url:https://s3.amazonaws.com/cam/2.0.0}";
    stage.task("one", &json!({"files": [{"url": url}]}).to_string(), &["d"]);
    let mut link = || {
        let (_, body) = stage.jobs("d", Topic::Describe(NEXT), "{}");
        stage.wait(Duration::from_secs(1));
        body["execution"]["jobDocument"]["files"][0]["url"].as_str().unwrap().to_owned()
    };
    let first = link();
    assert!(first.starts_with("https://updates.example/v1/artifacts/aaaa"), "{first}");
    assert!(first.contains("device=d&job=tone-1&"), "{first}");
    assert_ne!(first, link(), "its life begins anew");
}

#[test]
fn a_release_with_a_slot_is_a_zerynth_document_and_any_other_an_updates() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    stage.release("2.0.0", &[("bc_idx", "1")]);
    let rollout = stage.rollout("2.0.0");
    let (_, body) = stage.jobs("d", Topic::Describe(NEXT), "{}");
    let mut document = body["execution"]["jobDocument"].clone();
    let url = document["bc_url"].take();
    assert!(url.as_str().unwrap().contains("job=r1-1"), "{url}");
    let expected = json!({
        "operation": "fota", "bc_idx": 1, "bc_crc": "b".repeat(32), "bc_size": 5, "bc_url": null
    });
    assert_eq!(document, expected);
    stage.fleet.abort(stage.now, &rollout, "a test").unwrap();
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    stage.release("2.0.0", &[]);
    stage.rollout("2.0.0");
    let (_, body) = stage.jobs("d", Topic::Describe("r1"), "{}");
    let document = &body["execution"]["jobDocument"];
    assert_eq!((&document["operation"], &document["version"]), (&json!("update"), &json!("2.0.0")));
    assert_eq!(document["job"], "r1-1");
}

#[test]
fn a_step_of_an_update_is_heard_and_success_is_the_target_version() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    stage.release("2.0.0", &[]);
    let rollout = stage.rollout("2.0.0");
    stage.jobs("d", Topic::StartNext, "{}");
    let step = json!({"status": "IN_PROGRESS", "statusDetails": {"step": "installing"}});
    stage.jobs("d", Topic::Update("r1"), &step.to_string());
    assert_eq!(stage.execution("d", &rollout).state, ExecutionState::InProgress(Step::Installing));
    let (_, body) =
        stage.jobs("d", Topic::Update("r1"), r#"{"status":"SUCCEEDED","includeJobExecutionState":true}"#);
    assert_eq!(body["executionState"]["status"], "SUCCEEDED");
    assert_eq!(stage.execution("d", &rollout).state, ExecutionState::Succeeded);
}

#[test]
fn a_failure_keeps_the_devices_own_reason() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    stage.release("2.0.0", &[]);
    let rollout = stage.rollout("2.0.0");
    stage.jobs("d", Topic::StartNext, "{}");
    let failed = json!({"status": "FAILED", "statusDetails": {"reason": "invalid fota"}});
    stage.jobs("d", Topic::Update("r1"), &failed.to_string());
    let execution = stage.execution("d", &rollout);
    assert_eq!(execution.state, ExecutionState::Failed(FailureReason::InstallFailed));
    assert_eq!(execution.detail, "invalid fota");
}

#[test]
fn a_device_is_notified_as_the_contracts_worked_example_says() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    let names = |told: &[(String, Value)]| told.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    stage.task("one", REBOOT, &["d"]);
    let (told, known) = stage.told("d", &Told::default());
    assert_eq!(names(&told), ["notify", "notify-next"]);
    assert_eq!(told[0].1["jobs"]["QUEUED"][0]["jobId"], "one");
    assert_eq!(told[1].1["execution"]["jobDocument"], json!({"operation": "reboot"}));
    stage.wait(Duration::from_secs(1));
    stage.task("two", REBOOT, &["d"]);
    let (told, known) = stage.told("d", &known);
    assert_eq!(names(&told), ["notify"], "the first is the same");
    stage.jobs("d", Topic::Update("one"), &in_progress());
    let (told, known) = stage.told("d", &known);
    assert_eq!(names(&told), [""; 0], "the first was begun: neither list nor first has changed");
    stage.jobs("d", Topic::Update("one"), r#"{"status":"SUCCEEDED"}"#);
    let (told, known) = stage.told("d", &known);
    assert_eq!(names(&told), ["notify", "notify-next"]);
    stage.jobs("d", Topic::Update("two"), r#"{"status":"REJECTED"}"#);
    let (told, _) = stage.told("d", &known);
    assert_eq!(told[0].1["jobs"], json!({}), "an empty list");
    assert!(told[1].1.get("execution").is_none());
}

#[test]
fn the_end_that_a_timer_made_is_told_as_timed_out() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    let rollout = stage.task("one", REBOOT, &["d"]);
    let (_, body) = stage.jobs("d", Topic::StartNext, r#"{"stepTimeoutInMinutes":5}"#);
    assert_eq!(body["execution"]["approximateSecondsBeforeTimedOut"], 300);
    stage.wait(Duration::from_secs(300));
    stage.fleet.tick(stage.now).unwrap();
    assert_eq!(stage.execution("d", &rollout).state, ExecutionState::TimedOut);
    let (_, body) = stage.jobs("d", Topic::Update("one"), &in_progress());
    assert_eq!(body["executionState"]["status"], "TIMED_OUT");
}
