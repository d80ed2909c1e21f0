use super::document::printable;
use super::*;
use crate::replica::Verdict;
use crate::{JobId, Reason, UpdateState, UpdateStatus};
use serde_json::json;

#[test]
fn every_topic_is_found_again_by_its_name() {
    let mut topics = vec![Topic::Notify, Topic::NotifyNext, Topic::Get, Topic::StartNext];
    for job in ["r1", "$next", "get", "notify"] {
        topics.extend([Topic::Describe(job), Topic::Update(job)]);
    }
    for verdict in Verdict::ALL {
        topics.extend([Topic::GetReply(verdict), Topic::StartNextReply(verdict)]);
        topics.extend([Topic::DescribeReply("$next", verdict), Topic::UpdateReply("r1", verdict)]);
    }
    for topic in topics {
        let name = topic.name("device-1");
        assert_eq!(Topic::parse(&name), Some(("device-1", topic)), "{name}");
    }
    assert_eq!(Topic::Describe(NEXT).name("d"), "$aws/things/d/jobs/$next/get");
}

#[test]
fn a_name_of_another_shape_is_no_topic() {
    for path in ["", "jobs", "jobs/", "jobs//get", "jobs/r1", "jobs/r1/", "jobs/r1/get/", "jobs/r1/get/x"] {
        assert_eq!(Topic::parse(&format!("$aws/things/d/{path}")), None, "{path:?}");
    }
    for path in ["jobs/r1/update/accepted/x", "shadow/get", "jobs/notify/", "jobs/get/accepted/x"] {
        assert_eq!(Topic::parse(&format!("$aws/things/d/{path}")), None, "{path:?}");
    }
    assert_eq!(Topic::parse("$aws/things//jobs/get"), None);
}

#[test]
fn a_detail_may_be_a_number_or_a_truth_value_and_becomes_a_text() {
    let details = |value| -> Result<UpdateRequest, _> {
        serde_json::from_value(json!({"status": "SUCCEEDED", "statusDetails": {"uptime": value}}))
    };
    for (value, text) in [(json!("1"), "1"), (json!(12.5), "12.5"), (json!(7), "7"), (json!(true), "true")] {
        let said = details(value).unwrap().status_details.unwrap();
        assert_eq!(said, Details::from([("uptime".to_owned(), text.to_owned())]));
    }
    for value in [json!(null), json!([1]), json!({"deep": 1})] {
        assert!(details(value).unwrap_err().to_string().contains("statusDetails.uptime"));
    }
    let without: UpdateRequest = serde_json::from_value(json!({"status": "FAILED"})).unwrap();
    assert_eq!(without.status_details, None);
}

#[test]
fn a_number_may_be_a_text_and_nothing_else() {
    for (expected, value) in [(Some(3), json!(3)), (Some(3), json!("3")), (None, json!(null))] {
        let body = json!({"status": "IN_PROGRESS", "expectedVersion": value});
        assert_eq!(serde_json::from_value::<UpdateRequest>(body).unwrap().expected_version, expected);
    }
    for value in [json!("x"), json!(1.5), json!(true), json!([1]), json!("")] {
        let body = json!({"status": "IN_PROGRESS", "expectedVersion": value});
        assert!(serde_json::from_value::<UpdateRequest>(body).is_err(), "{value}");
    }
}

#[test]
fn what_a_device_says_is_heard_as_it_was_meant() {
    let job = JobId::new("r1", 1).unwrap();
    let status = |state, progress, reason, detail: Option<&str>| UpdateStatus {
        job: job.clone(),
        state,
        progress,
        reason,
        detail: detail.map(str::to_owned),
    };
    for update in [
        status(UpdateState::Downloading, Some(42), None, None),
        status(UpdateState::Downloaded, None, None, None),
        status(UpdateState::Installing, None, None, None),
        status(UpdateState::Rebooting, None, None, None),
        status(UpdateState::Trial, None, None, None),
        status(UpdateState::Succeeded, None, None, None),
        status(UpdateState::Failed, None, Some(Reason::InstallFailed), Some("no room")),
        status(UpdateState::RolledBack, None, Some(Reason::RolledBack), Some("sick")),
        status(UpdateState::Rejected, None, Some(Reason::Downgrade), Some("too old")),
    ] {
        let (word, details) = said(&update, "1.1.0");
        assert_eq!(heard(job.clone(), word, &details), Some(update));
    }
    let (_, details) = said(&status(UpdateState::Succeeded, None, None, None), "1.1.0");
    assert_eq!(details, Details::from([("version".to_owned(), "1.1.0".to_owned())]));
}

#[test]
fn a_failure_says_its_reason_as_a_word() {
    let details = failure(Reason::IntegrityCheckFailed, "the MD5 differs");
    let expected = [("detail", "the MD5 differs"), ("reason", "integrity_check_failed")];
    assert_eq!(details, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn a_detail_is_printable_and_short() {
    let text = format!("a\u{0}b\n{}", "x".repeat(2 * DETAIL_CHARS_MAX));
    let said = printable(&text).unwrap();
    assert!(said.starts_with("a b x") && said.chars().count() == DETAIL_CHARS_MAX);
    assert_eq!(printable(""), None);
}
