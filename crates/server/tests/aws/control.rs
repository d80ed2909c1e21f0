//! The control plane, without a client that would spare it anything.

use serde_json::{Value, json};

use crate::stage::{Answer, At, By, PRODUCT, Stage};

fn thing(name: &str) -> String {
    format!("arn:aws:iot:eu-central-1:1:thing/{name}")
}

/// A stage with an operator's hands.
struct Operator {
    stage: Stage,
    by: By,
}

impl Operator {
    fn new() -> Self {
        let stage = Stage::new();
        let by = By::Key(stage.key("operator", "planner"), "iot");
        Self { stage, by }
    }

    fn ask(&self, method: &str, target: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.stage.ask(At::Operators, &self.by, method, target, body.as_bytes())
    }

    #[track_caller]
    fn done(&self, method: &str, target: &str, body: &Value) -> Value {
        let answer = self.ask(method, target, body);
        assert_eq!(answer.status, 200, "{method} {target}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    fn create(&self, job: &str, targets: &[String]) -> Value {
        self.done("PUT", &format!("/jobs/{job}"), &json!({ "targets": targets, "document": "{\"a\":1}" }))
    }

    fn describe(&self, job: &str) -> Value {
        self.done("GET", &format!("/jobs/{job}"), &Value::Null)["job"].clone()
    }
}

#[test]
fn a_job_is_made_described_and_listed_with_names_of_the_requests_region() {
    let operator = Operator::new();
    operator.stage.device("d-1", json!({}));
    operator.stage.device("d-2", json!({}));
    let made = operator.create("j-1", &[thing("d-1"), thing("d-2")]);
    assert_eq!(made["jobArn"], "arn:aws:iot:eu-central-1:000000000000:job/j-1");
    let job = operator.describe("j-1");
    assert_eq!(
        (job["status"].as_str(), job["targetSelection"].as_str()),
        (Some("IN_PROGRESS"), Some("SNAPSHOT"))
    );
    assert_eq!(job["jobProcessDetails"]["numberOfQueuedThings"], 2);
    assert_eq!(job["targets"][0], "arn:aws:iot:eu-central-1:000000000000:thing/d-1");
    let document = operator.done("GET", "/jobs/j-1/job-document", &Value::Null);
    assert_eq!(document["document"], "{\"a\":1}");
    let again = json!({ "targets": [thing("d-1")], "document": "{}" });
    operator.ask("PUT", "/jobs/j-1", &again).is(409, "ResourceAlreadyExistsException");
    operator.ask("GET", "/jobs/j-2", &Value::Null).is(404, "ResourceNotFoundException");
    let listed = operator.done("GET", "/jobs?status=IN_PROGRESS&targetSelection=SNAPSHOT", &Value::Null);
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(operator.done("GET", "/jobs?status=CANCELED", &Value::Null)["jobs"], json!([]));
    operator.ask("GET", "/jobs?status=DONE", &Value::Null).is(400, "InvalidRequestException");
    operator.ask("GET", "/jobs?colour=red", &Value::Null).is(400, "InvalidRequestException");
}

#[test]
fn a_target_that_is_no_device_and_a_group_without_one_are_refused() {
    let operator = Operator::new();
    let job = |target: &str| json!({ "targets": [target], "document": "{}" });
    let unknown = operator.ask("PUT", "/jobs/j", &job(&thing("nobody")));
    unknown.is(404, "ResourceNotFoundException");
    let empty = operator.ask("PUT", "/jobs/j", &job("arn:aws:iot:eu-central-1:1:thinggroup/empty"));
    empty.is(400, "InvalidRequestException");
    operator.ask("PUT", "/jobs/bad%20id", &job(&thing("nobody"))).is(400, "InvalidRequestException");
}

#[test]
fn a_group_is_a_product_or_what_devices_call_their_group() {
    let operator = Operator::new();
    operator.stage.device("d-1", json!({ "group": "kitchens" }));
    operator.stage.device("d-2", json!({ "group": "cellars" }));
    operator.stage.device("d-3", json!({ "groups": "kitchens" }));
    let group = |name: &str| format!("arn:aws:iot:eu-central-1:1:thinggroup/{name}");
    operator.create("kitchens", &[group("kitchens")]);
    operator.create("all", &[group(PRODUCT)]);
    operator.create("some", &[group("cellars"), thing("d-3")]);
    for (job, devices) in
        [("kitchens", vec!["d-1"]), ("all", vec!["d-1", "d-2", "d-3"]), ("some", vec!["d-2", "d-3"])]
    {
        let listed = operator.done("GET", &format!("/jobs/{job}/things"), &Value::Null);
        let things: Vec<_> = listed["executionSummaries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["thingArn"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
            .collect();
        assert_eq!(things, devices, "{job}");
    }
    let grouped = operator.done("GET", "/jobs?thingGroupName=cellars", &Value::Null);
    assert_eq!(grouped["jobs"][0]["jobId"], "some");
}

#[test]
fn pages_go_on_where_they_ended_and_hold_everything_once() {
    let operator = Operator::new();
    let devices: Vec<_> = (0..7).map(|n| format!("d-{n}")).collect();
    for device in &devices {
        operator.stage.device(device, json!({}));
    }
    let targets: Vec<_> = devices.iter().map(|device| thing(device)).collect();
    for job in ["a", "b", "c", "d", "e"] {
        operator.create(job, &targets);
    }
    let all = |target: &str, list: &str| {
        let (mut found, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = operator.done("GET", &format!("{target}?maxResults=2{token}"), &Value::Null);
            found.extend(page[list].as_array().unwrap().clone());
            pages += 1;
            assert!(pages < 10, "the pages end");
            match page["nextToken"].as_str() {
                Some(next) => token = format!("&nextToken={next}"),
                None => return found,
            }
        }
    };
    let jobs = all("/jobs", "jobs");
    assert_eq!(
        jobs.iter().map(|job| job["jobId"].as_str().unwrap()).collect::<Vec<_>>(),
        ["a", "b", "c", "d", "e"]
    );
    assert_eq!(all("/jobs/a/things", "executionSummaries").len(), 7);
    assert_eq!(all("/things/d-3/jobs", "executionSummaries").len(), 5);
    for bad in ["maxResults=0", "maxResults=251", "maxResults=x", "nextToken=a%2Fb"] {
        operator.ask("GET", &format!("/jobs?{bad}"), &Value::Null).is(400, "InvalidRequestException");
    }
}

#[test]
fn a_job_is_changed_canceled_with_its_reason_and_deleted() {
    let operator = Operator::new();
    operator.stage.device("d-1", json!({}));
    operator.create("j", &[thing("d-1")]);
    let change = json!({ "description": "slower", "jobExecutionsRolloutConfig": { "maximumPerMinute": 3 } });
    operator.done("PATCH", "/jobs/j", &change);
    let job = operator.describe("j");
    assert_eq!(
        (job["description"].as_str(), &job["jobExecutionsRolloutConfig"]["maximumPerMinute"]),
        (Some("slower"), &json!(3))
    );
    operator.ask("DELETE", "/jobs/j", &Value::Null).is(409, "InvalidStateTransitionException");
    operator.done("PUT", "/jobs/j/cancel", &json!({ "reasonCode": "BAD_IMAGE", "comment": "it smokes" }));
    let job = operator.describe("j");
    assert_eq!(job["status"], "CANCELED");
    assert_eq!((job["reasonCode"].as_str(), job["comment"].as_str()), (Some("BAD_IMAGE"), Some("it smokes")));
    assert_eq!(job["jobProcessDetails"]["numberOfCanceledThings"], 1);
    assert!(job["completedAt"].as_f64().unwrap() > 1.7e9);
    operator.ask("PUT", "/jobs/j/cancel", &json!({})).is(400, "InvalidRequestException");
    operator.ask("PATCH", "/jobs/j", &change).is(400, "InvalidRequestException");
    operator.done("DELETE", "/jobs/j", &Value::Null);
    operator.ask("GET", "/jobs/j", &Value::Null).is(404, "ResourceNotFoundException");
    operator.create("j", &[thing("d-1")]);
}

#[test]
fn only_a_continuous_job_takes_more_targets() {
    let operator = Operator::new();
    for device in ["d-1", "d-2"] {
        operator.stage.device(device, json!({}));
    }
    operator.create("once", &[thing("d-1")]);
    let more = json!({ "targets": [thing("d-2")], "comment": "this one too" });
    operator.ask("POST", "/jobs/once/targets", &more).is(400, "InvalidRequestException");
    let continuous = json!({ "targets": [thing("d-1")], "document": "{}", "targetSelection": "CONTINUOUS" });
    operator.done("PUT", "/jobs/always", &continuous);
    operator.done("POST", "/jobs/always/targets", &more);
    assert_eq!(operator.describe("always")["targets"].as_array().unwrap().len(), 2);
    let many: Vec<_> = (0..99).map(|n| format!("arn:aws:iot:r:1:thinggroup/g{n}")).collect();
    let too_many = operator.ask("POST", "/jobs/always/targets", &json!({ "targets": many }));
    too_many.is(410, "LimitExceededException");
}

#[test]
fn a_devices_part_is_described_canceled_and_deleted() {
    let operator = Operator::new();
    for device in ["d-1", "d-2"] {
        operator.stage.device(device, json!({}));
    }
    operator.create("j", &[thing("d-1"), thing("d-2")]);
    let part = |device: &str| operator.ask("GET", &format!("/things/{device}/jobs/j"), &Value::Null);
    let queued = part("d-1").json()["execution"].clone();
    assert_eq!((&queued["status"], &queued["executionNumber"]), (&json!("QUEUED"), &json!(1)));
    assert_eq!(queued["thingArn"], "arn:aws:iot:eu-central-1:000000000000:thing/d-1");
    operator.done("PUT", "/things/d-1/jobs/j/cancel", &json!({ "statusDetails": { "why": "spare part" } }));
    let canceled = part("d-1").json()["execution"].clone();
    assert_eq!(canceled["status"], "CANCELED");
    assert_eq!(canceled["statusDetails"]["detailsMap"]["why"], "spare part");
    let again = operator.ask("PUT", "/things/d-1/jobs/j/cancel", &json!({}));
    again.is(409, "InvalidStateTransitionException");
    let of = |number: &str| {
        operator.ask("GET", &format!("/things/d-2/jobs/j?executionNumber={number}"), &Value::Null)
    };
    assert_eq!(of("1").status, 200);
    of("2").is(404, "ResourceNotFoundException");
    let delete = |force: &str| {
        operator.ask("DELETE", &format!("/things/d-2/jobs/j/executionNumber/1{force}"), &Value::Null)
    };
    delete("").is(409, "InvalidStateTransitionException");
    assert_eq!(delete("?force=true").status, 200);
    part("d-2").is(404, "ResourceNotFoundException");
    let listed = operator.done("GET", "/jobs/j/things?status=CANCELED", &Value::Null);
    assert_eq!(listed["executionSummaries"].as_array().unwrap().len(), 1, "what is deleted is not listed");
    delete("?force=true").is(404, "ResourceNotFoundException");
    operator.done("DELETE", "/things/d-1/jobs/j/executionNumber/1", &Value::Null);
    part("d-1").is(404, "ResourceNotFoundException");
    assert_eq!(operator.describe("j")["jobProcessDetails"]["numberOfCanceledThings"], 2, "history counts on");
    operator.ask("GET", "/things/d-9/jobs", &Value::Null).is(404, "ResourceNotFoundException");
    operator.ask("GET", "/things/d-9/jobs/j", &Value::Null).is(404, "ResourceNotFoundException");
}

#[test]
fn a_continuous_job_lists_members_before_they_ask_and_says_who_was_removed() {
    let operator = Operator::new();
    operator.stage.device("d-2", json!({ "group": "porch" }));
    let first = operator.stage.device("d-1", json!({ "group": "porch" }));
    operator.stage.device("d-3", json!({ "group": "cellar" }));
    let porch = json!(["arn:aws:iot:eu-central-1:000000000000:thinggroup/porch"]);
    let job = json!({ "targets": porch, "document": "{}", "targetSelection": "CONTINUOUS" });
    operator.done("PUT", "/jobs/always", &job);
    let listed = |query: &str| -> Vec<(String, String)> {
        let body = operator.done("GET", &format!("/jobs/always/things{query}"), &Value::Null);
        let lines = body["executionSummaries"].as_array().unwrap().clone();
        let name = |line: &Value| line["thingArn"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let status = |line: &Value| line["jobExecutionSummary"]["status"].as_str().unwrap().to_owned();
        lines.iter().map(|line| (name(line), status(line))).collect()
    };
    let pair = |name: &str, status: &str| (name.to_owned(), status.to_owned());
    assert_eq!(listed(""), [pair("d-1", "QUEUED"), pair("d-2", "QUEUED")]);
    operator.stage.ask(At::Devices, &first, "GET", "/things/d-1/jobs", b"");
    operator.stage.device("d-1", json!({ "group": "cellar" }));
    assert_eq!(listed(""), [pair("d-1", "REMOVED"), pair("d-2", "QUEUED")]);
    assert_eq!(listed("?status=REMOVED"), [pair("d-1", "REMOVED")]);
    let counts = operator.describe("always")["jobProcessDetails"].clone();
    assert_eq!(counts["numberOfRemovedThings"], 1);
}

#[test]
fn a_documents_placeholders_name_releases_that_there_are() {
    let operator = Operator::new();
    operator.stage.device("d-1", json!({}));
    operator.stage.release("1.1.0", b"an image");
    operator.stage.release("1.2.0", br#"{"operation":"install"}"#);
    let url = |version: &str| format!("https://s3.eu-central-1.amazonaws.com/{PRODUCT}/{version}");
    let document = |version: &str| {
        json!({ "url": format!("${{aws:iot:s3-presigned-url:{}}}", url(version)) }).to_string()
    };
    let create = |job: &str, body: Value| operator.ask("PUT", &format!("/jobs/{job}"), &body);
    let targets = json!([thing("d-1")]);
    let made = create("filled", json!({ "targets": targets, "document": document("1.1.0") }));
    assert_eq!(made.status, 200, "{made:?}");
    let kept = operator.done("GET", "/jobs/filled/job-document", &Value::Null);
    assert_eq!(kept["document"], document("1.1.0"), "placeholders stay as they are");
    let missing = create("x", json!({ "targets": targets, "document": document("9.9.9") }));
    missing.is(400, "InvalidRequestException");
    assert!(missing.message().contains("PRODUCT/VERSION"), "{}", missing.message());
    let from = |version: &str| json!({ "targets": targets, "documentSource": url(version) });
    assert_eq!(create("stored", from("1.2.0")).status, 200);
    let kept = operator.done("GET", "/jobs/stored/job-document", &Value::Null);
    assert_eq!(kept["document"], r#"{"operation":"install"}"#);
    create("y", from("1.1.0")).is(400, "InvalidRequestException");
    create("y", from("9.9.9")).is(400, "InvalidRequestException");
    let elsewhere = json!({ "targets": targets, "documentSource": "https://example.com/document.json" });
    create("y", elsewhere).is(400, "InvalidRequestException");
}

#[test]
fn what_cannot_be_done_yet_is_refused_by_name() {
    let operator = Operator::new();
    operator.stage.device("d-1", json!({}));
    for (field, value) in [
        (
            "jobExecutionsRolloutConfig",
            json!({ "exponentialRate": { "baseRatePerMinute": 50, "incrementFactor": 2,
            "rateIncreaseCriteria": { "numberOfNotifiedThings": 1000 } } }),
        ),
        ("schedulingConfig", json!({ "startTime": "2030-01-01 00:00" })),
    ] {
        let mut body = json!({ "targets": [thing("d-1")], "document": "{}" });
        body[field] = value;
        let answer = operator.ask("PUT", "/jobs/j", &body);
        answer.is(400, "InvalidRequestException");
        assert!(answer.message().contains("not supported yet"), "{}", answer.message());
    }
    let huge = json!({ "targets": [thing("d-1")], "document": "x".repeat(2 << 20) });
    operator.ask("PUT", "/jobs/j", &huge).is(413, "RequestEntityTooLargeException");
    operator.ask("GET", "/jobs/j", &Value::Null).is(404, "ResourceNotFoundException");
}

#[test]
fn a_continuous_job_is_for_devices_that_join_its_group_later_and_a_snapshot_is_not() {
    let operator = Operator::new();
    let device = operator.stage.device("d-1", json!({ "group": "attics" }));
    operator.stage.device("d-0", json!({ "group": "kitchens" }));
    let group = "arn:aws:iot:eu-central-1:1:thinggroup/kitchens";
    for (job, selection) in [("always", "CONTINUOUS"), ("once", "SNAPSHOT")] {
        let body = json!({ "targets": [group], "document": "{}", "targetSelection": selection });
        operator.done("PUT", &format!("/jobs/{job}"), &body);
    }
    let queued = || {
        let answer = operator.stage.ask(At::Devices, &device, "GET", "/things/d-1/jobs", b"");
        let jobs = answer.json()["queuedJobs"].as_array().unwrap().clone();
        jobs.iter().map(|job| job["jobId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(queued().is_empty());
    let body = json!({ "id": "d-1", "product": PRODUCT, "version": "1.0.0", "boot": 2,
        "attributes": { "group": "kitchens" } });
    let moved = operator.stage.ask(At::Devices, &device, "POST", "/v1/check-in", body.to_string().as_bytes());
    assert_eq!(moved.status, 200);
    assert_eq!(queued(), ["always"]);
    let listed = operator.done("GET", "/jobs/always/things", &Value::Null);
    assert_eq!(listed["executionSummaries"].as_array().unwrap().len(), 2, "who has asked, and who has not");
}
