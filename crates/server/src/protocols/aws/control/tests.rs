//! What the control plane takes and refuses, field by field; and that limits are shown as they were given.

use super::limits;
use super::request::{
    CancelExecution, CancelJob, CreateJob, DocumentFrom, UpdateJob, associate, check_document,
};
use serde_json::{Value, json};
use std::time::Duration;
use updraft_core::rollout::{AbortCriterion, BadEnd};
use updraft_core::task::{DOCUMENT_CHARS_MAX, Membership};
use updraft_core::time::Timestamp;

const THING: &str = "arn:aws:iot:eu-central-1:123456789012:thing/d-1";
const GROUP: &str = "arn:aws:iot:eu-central-1:123456789012:thinggroup/thermostat";

fn job(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut body = json!({ "targets": [THING], "document": "{}" });
    change(&mut body);
    body.to_string().into_bytes()
}

fn created(change: impl FnOnce(&mut Value)) -> CreateJob {
    CreateJob::read(&job(change)).unwrap()
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Value), part: &str) {
    let failure = CreateJob::read(&job(change)).unwrap_err();
    assert_eq!(failure.status(), 400);
    assert!(failure.message.contains(part), "{part}: {}", failure.message);
}

#[test]
fn a_job_that_says_little_is_a_snapshot_without_limits() {
    let job = created(|_| {});
    assert_eq!(job.targets.devices.len(), 1);
    assert_eq!(job.document, DocumentFrom::Text("{}".to_owned()));
    assert_eq!((job.membership, job.link_life), (Membership::Snapshot, Duration::from_secs(3600)));
    assert_eq!(job.limits, limits::Limits::default());
    let mut plan = limits::plan(Timestamp::from_millis(0));
    job.limits.apply(&mut plan).unwrap();
    assert_eq!(plan.check(), Ok(()));
    assert_eq!(plan.retry.attempts_max, 1);
    assert!(limits::render(&plan).is_empty());
}

#[test]
fn targets_are_things_and_groups_each_once() {
    let job = created(|job| job["targets"] = json!([THING, GROUP, THING]));
    assert_eq!((job.targets.devices.len(), job.targets.groups.len()), (1, 1));
    refused(|job| job["targets"] = json!([]), "at least one");
    refused(|job| job["targets"] = json!(["d-1"]), "no target");
    refused(|job| job["targets"] = json!(["arn:aws:iot:r:a:thing/.."]), "device ID");
    refused(|job| drop(job.as_object_mut().unwrap().remove("targets")), "targets");
    let many: Vec<_> = (0..101).map(|n| format!("arn:aws:iot:r:a:thinggroup/g{n}")).collect();
    refused(|job| job["targets"] = json!(many), "100");
    assert!(associate(json!({ "targets": [GROUP], "comment": "more" }).to_string().as_bytes()).is_ok());
}

#[test]
fn limits_are_shown_as_they_were_given() {
    let given = json!({
        "jobExecutionsRolloutConfig": { "maximumPerMinute": 50 },
        "abortConfig": { "criteriaList": [
            { "failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 12.34,
              "minNumberOfExecutedThings": 5 },
            { "failureType": "ALL", "action": "CANCEL", "thresholdPercentage": 100.0,
              "minNumberOfExecutedThings": 1 },
        ] },
        "timeoutConfig": { "inProgressTimeoutInMinutes": 10_080 },
        "jobExecutionsRetryConfig": { "criteriaList": [
            { "failureType": "FAILED", "numberOfRetries": 3 },
            { "failureType": "TIMED_OUT", "numberOfRetries": 7 },
        ] },
    });
    let job = created(|job| job.as_object_mut().unwrap().extend(given.as_object().unwrap().clone()));
    let mut plan = limits::plan(Timestamp::from_millis(0));
    job.limits.clone().apply(&mut plan).unwrap();
    assert_eq!(plan.check(), Ok(()));
    assert_eq!(plan.criteria[0], AbortCriterion { counts: BadEnd::Failed, share: 1_234, ended_min: 5 });
    assert_eq!(plan.retry.attempts_max, 11);
    assert_eq!(Value::Object(limits::render(&plan)), given);
    let update = json!({ "timeoutConfig": { "inProgressTimeoutInMinutes": 1 } }).to_string();
    let update = UpdateJob::read(update.as_bytes()).unwrap();
    update.limits.apply(&mut plan).unwrap();
    assert_eq!(plan.deadlines.in_progress, Some(Duration::from_secs(60)));
    assert_eq!(plan.pace.per_minute_max, Some(50), "what an update does not say stays");
}

#[test]
fn retries_for_everything_count_together() {
    let criteria = json!({ "criteriaList": [{ "failureType": "ALL", "numberOfRetries": 2 }] });
    let job = created(|job| {
        job["timeoutConfig"] = json!({ "inProgressTimeoutInMinutes": 5 });
        job["jobExecutionsRetryConfig"] = criteria.clone();
    });
    let mut plan = limits::plan(Timestamp::from_millis(0));
    job.limits.apply(&mut plan).unwrap();
    assert_eq!(plan.retry.attempts_max, 3);
    assert_eq!(limits::render(&plan)["jobExecutionsRetryConfig"], criteria);
}

#[test]
fn a_retry_after_a_timeout_takes_a_timeout() {
    let job = created(|job| {
        job["jobExecutionsRetryConfig"] =
            json!({ "criteriaList": [{ "failureType": "TIMED_OUT", "numberOfRetries": 1 }] });
    });
    let failure = job.limits.apply(&mut limits::plan(Timestamp::from_millis(0))).unwrap_err();
    assert!(failure.message.contains("timeoutConfig"), "{}", failure.message);
}

#[test]
fn what_is_not_supported_is_refused_by_name_and_never_passed_over() {
    let rate = json!({ "exponentialRate": {
        "baseRatePerMinute": 50, "incrementFactor": 2.0, "rateIncreaseCriteria": { "numberOfNotifiedThings": 1000 }
    } });
    refused(|job| job["jobExecutionsRolloutConfig"] = rate.clone(), "exponentialRate is not supported yet");
    let update = json!({ "jobExecutionsRolloutConfig": rate }).to_string();
    assert!(UpdateJob::read(update.as_bytes()).unwrap_err().message.contains("exponentialRate"));
    let window = json!({ "startTime": "2026-12-01T00:00:00Z" });
    refused(|job| job["schedulingConfig"] = window, "schedulingConfig is not supported yet");
    for (field, value) in [
        ("tags", json!([{ "Key": "a" }])),
        ("namespaceId", json!("n")),
        ("jobTemplateArn", json!("arn:aws:iot:r:a:jobtemplate/t")),
        ("documentParameters", json!({ "a": "b" })),
        ("destinationPackageVersions", json!(["arn:aws:iot:r:a:package/p/version/v"])),
    ] {
        refused(|job| job[field] = value, field);
    }
    refused(|job| job["somethingNew"] = json!(1), "somethingNew");
    assert!(CreateJob::read(&job(|job| job["tags"] = json!([]))).is_ok(), "nothing is asked for");
}

#[test]
fn each_limit_outside_its_bounds_is_named() {
    let rollout = |max: Value| json!({ "maximumPerMinute": max });
    refused(|job| job["jobExecutionsRolloutConfig"] = rollout(json!(0)), "maximumPerMinute");
    let abort = |percentage: f64, things: u32| {
        json!({ "criteriaList": [{ "failureType": "ALL", "action": "CANCEL",
            "thresholdPercentage": percentage, "minNumberOfExecutedThings": things }] })
    };
    for percentage in [0.0, 0.001, 100.01, -5.0, 1e300] {
        refused(|job| job["abortConfig"] = abort(percentage, 1), "thresholdPercentage");
    }
    refused(|job| job["abortConfig"] = abort(5.0, 0), "minNumberOfExecutedThings");
    refused(|job| job["abortConfig"] = json!({ "criteriaList": [] }), "criteriaList");
    for minutes in [0, 10_081] {
        let timeout = json!({ "inProgressTimeoutInMinutes": minutes });
        refused(|job| job["timeoutConfig"] = timeout, "inProgressTimeoutInMinutes");
    }
    for list in [
        json!([]),
        json!([{ "failureType": "FAILED", "numberOfRetries": 11 }]),
        json!([{ "failureType": "FAILED", "numberOfRetries": 6 }, { "failureType": "TIMED_OUT", "numberOfRetries": 5 }]),
        json!([{ "failureType": "FAILED", "numberOfRetries": 1 }, { "failureType": "FAILED", "numberOfRetries": 1 }]),
        json!([{ "failureType": "FAILED", "numberOfRetries": 1 }, { "failureType": "ALL", "numberOfRetries": 1 }]),
        json!([{ "failureType": "REJECTED", "numberOfRetries": 1 }]),
        json!([{ "failureType": "FAILED", "numberOfRetries": u32::MAX }, { "failureType": "TIMED_OUT", "numberOfRetries": u32::MAX }]),
    ] {
        refused(
            |job| job["jobExecutionsRetryConfig"] = json!({ "criteriaList": list }),
            "jobExecutionsRetryConfig",
        );
    }
    for seconds in [59, 3601] {
        refused(|job| job["presignedUrlConfig"] = json!({ "expiresInSec": seconds }), "expiresInSec");
    }
    refused(|job| job["presignedUrlConfig"] = json!({ "roleArn": "short" }), "roleArn");
    refused(|job| job["description"] = json!("x".repeat(2_029)), "description");
    refused(|job| job["description"] = json!("two\nlines"), "description");
    refused(|job| job["targetSelection"] = json!("SOME"), "SOME");
}

#[test]
fn a_field_of_another_type_and_a_body_nested_too_deep_are_refused() {
    for (field, value) in [
        ("targets", json!("d-1")),
        ("targets", json!([1])),
        ("document", json!({})),
        ("description", json!(7)),
        ("timeoutConfig", json!([])),
        ("timeoutConfig", json!({ "inProgressTimeoutInMinutes": "5" })),
        ("abortConfig", json!({ "criteriaList": [{ "failureType": "ALL" }] })),
        ("abortConfig", json!({ "criteriaList": [null] })),
        ("jobExecutionsRolloutConfig", json!({ "maximumPerMinute": -1 })),
        ("jobExecutionsRolloutConfig", json!({ "maximumPerMinute": 4_294_967_296_u64 })),
        ("jobExecutionsRolloutConfig", json!({ "maximumPerMinute": 1.5 })),
    ] {
        refused(|job| job[field] = value, "the body is not valid");
    }
    let deep = format!("{{\"targets\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for body in [deep.as_bytes(), b"[]", b"nonsense", b"{\"targets\":[\"\xff\"]}", b"{\"targets\":[]"] {
        assert_eq!(CreateJob::read(body).unwrap_err().status(), 400);
    }
}

#[test]
fn a_document_is_one_json_object_of_a_bounded_size_from_one_place() {
    refused(|job| job["documentSource"] = json!("https://s3.amazonaws.com/p/1.0.0"), "one of them");
    refused(|job| drop(job.as_object_mut().unwrap().remove("document")), "one of them");
    let elsewhere = |job: &mut Value| {
        job.as_object_mut().unwrap().remove("document");
        job["documentSource"] = json!("https://example.com/document.json");
    };
    refused(elsewhere, "names no artifact");
    for document in
        ["", "[]", "7", "{", "{\"a\":1}x", &format!("{{\"a\":\"{}\"}}", "x".repeat(DOCUMENT_CHARS_MAX))]
    {
        assert!(check_document(document).is_err(), "{document:.20}");
    }
    let full = format!("{{\"a\":\"{}\"}}", "é".repeat(DOCUMENT_CHARS_MAX - 8));
    assert!(check_document(&full).is_ok(), "characters are counted, not bytes");
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    assert!(check_document(&deep).is_err());
}

#[test]
fn a_cancel_says_why_within_bounds() {
    let given = json!({ "reasonCode": "BAD_1", "comment": "it smokes" }).to_string();
    let cancel = CancelJob::read(given.as_bytes()).unwrap();
    assert_eq!(cancel.reason_code.as_deref(), Some("BAD_1"));
    assert_eq!(CancelJob::read(b"").unwrap(), CancelJob { reason_code: None, comment: None });
    for body in [
        json!({ "reasonCode": "lower" }),
        json!({ "reasonCode": "" }),
        json!({ "reasonCode": "X".repeat(129) }),
        json!({ "comment": "x".repeat(2_029) }),
        json!({ "force": true }),
    ] {
        assert!(CancelJob::read(body.to_string().as_bytes()).is_err(), "{body:.60}");
    }
    let one =
        |details: Value| CancelExecution::read(json!({ "statusDetails": details }).to_string().as_bytes());
    assert!(one(json!({ "why": "because" })).is_ok());
    let many: Value =
        (0..11).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    for details in [
        many,
        json!({ "a b": "v" }),
        json!({ "k": "" }),
        json!({ "k": "x".repeat(1_025) }),
        json!({ "k": 1 }),
    ] {
        assert!(one(details.clone()).is_err(), "{details:.60}");
    }
}
