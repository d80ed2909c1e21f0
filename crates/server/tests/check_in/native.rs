//! The native check-in: the way of a job, and what is remembered between two check-ins.

use serde_json::{Value, json};
use updraft_wire::check_in::{CheckInAnswer, Reason};

use crate::stage::{PRODUCT, Stage, image};

const PATH: &str = "/v1/check-in";

fn idle(id: &str, version: &str, boot: u64) -> Value {
    json!({ "id": id, "product": PRODUCT, "version": version, "boot": boot })
}

fn with(mut body: Value, update: Value) -> Value {
    body["update"] = update;
    body
}

fn hear(stage: &Stage, token: &str, body: &Value) -> CheckInAnswer {
    let answer = stage.check_in(token, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// The job that the device is assigned.
fn assigned(stage: &Stage, token: &str, body: &Value) -> String {
    hear(stage, token, body).assignment.expect("an assignment").job.to_string()
}

#[test]
fn a_job_goes_its_way_step_by_step_and_only_the_confirmed_version_ends_it_well() {
    let stage = Stage::new();
    let content = image(5_000);
    let rollout = stage.publish("1.1.0", &content);
    let token = stage.device_token("d");
    let answer = hear(&stage, &token, &idle("d", "1.0.0", 4));
    let assignment = answer.assignment.unwrap();
    assert_eq!(assignment.job.to_string(), format!("{rollout}-1"));
    assert_eq!((assignment.manifest.artifacts[0].size, assignment.allow_downgrade), (5_000, false));
    assert_eq!(assignment.manifest.check(), Ok(()));
    let download = stage.plain().say(&crate::wire::get(&assignment.links[0], ""));
    assert_eq!((download.status, download.body), (200, content));
    let job = assignment.job.to_string();
    for (version, boot, state, stands) in [
        ("1.0.0", 4, "downloading", "downloading"),
        ("1.0.0", 4, "downloaded", "downloaded"),
        ("1.0.0", 4, "installing", "installing"),
        ("1.0.0", 4, "rebooting", "rebooting"),
        ("1.1.0", 5, "trial", "rebooting"),
    ] {
        let answer = hear(
            &stage,
            &token,
            &with(idle("d", version, boot), json!({ "job": job, "state": state, "progress": 7 })),
        );
        assert_eq!(answer.noted, None, "{state} is no end");
        assert_eq!(stage.stands("d").0, stands, "{state}");
    }
    let end = with(idle("d", "1.1.0", 5), json!({ "job": job, "state": "succeeded" }));
    let answer = hear(&stage, &token, &end);
    assert_eq!((answer.noted.map(|job| job.to_string()), answer.assignment), (Some(job), None));
    assert_eq!(stage.stands("d"), ("succeeded".into(), None));
}

#[test]
fn each_reason_a_device_gives_is_the_reason_on_record() {
    let stage = Stage::new();
    stage.release("1.1.0", &image(10));
    stage.rollout_with(json!({ "product": PRODUCT, "version": "1.1.0", "abort_percent": 101 }));
    for reason in [
        Reason::InsufficientStorage,
        Reason::OutOfMemory,
        Reason::ConnectionLost,
        Reason::IntegrityCheckFailed,
        Reason::UnsupportedPackage,
        Reason::InvalidUri,
        Reason::InstallFailed,
        Reason::UnsupportedProtocol,
        Reason::Cancelled,
        Reason::Deferred,
        Reason::RolledBack,
    ] {
        let word = serde_json::to_value(reason).unwrap();
        let id = word.as_str().unwrap();
        let token = stage.device_token(id);
        let job = assigned(&stage, &token, &idle(id, "1.0.0", 1));
        let end = json!({ "job": job, "state": "failed", "reason": word, "detail": "as I say" });
        assert!(hear(&stage, &token, &with(idle(id, "1.0.0", 1), end)).noted.is_some());
        assert_eq!(stage.stands(id), ("failed".into(), Some(id.into())));
        assert_eq!(stage.device(id).executions[0].detail, "as I say");
    }
}

#[test]
fn a_device_that_fell_back_says_so_or_is_seen_to() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(10));
    for (id, words) in [("says", Some("rolled_back")), ("silent", None)] {
        let token = stage.device_token(id);
        let job = assigned(&stage, &token, &idle(id, "1.0.0", 1));
        let restarting = with(idle(id, "1.0.0", 1), json!({ "job": job, "state": "rebooting" }));
        hear(&stage, &token, &restarting);
        let back = idle(id, "1.0.0", 3);
        let back = match words {
            Some(state) => with(back, json!({ "job": job, "state": state })),
            None => back,
        };
        hear(&stage, &token, &back);
        assert_eq!(stage.stands(id), ("failed".into(), Some("rolled_back".into())), "{id}");
    }
}

#[test]
fn a_lost_note_is_given_again_to_the_same_bytes() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(10));
    let token = stage.device_token("d");
    let job = assigned(&stage, &token, &idle("d", "1.0.0", 1));
    let end = with(idle("d", "1.0.0", 1), json!({ "job": job, "state": "rejected" }));
    for time in 1..=3 {
        let answer = hear(&stage, &token, &end);
        assert_eq!(answer.noted.as_ref().map(ToString::to_string), Some(job.clone()), "time {time}");
    }
    assert_eq!(stage.stands("d").0, "rejected");
}

#[test]
fn a_word_about_a_job_nobody_gave_is_noted_and_changes_nothing() {
    let stage = Stage::new();
    let rollout = stage.publish("1.1.0", &image(10));
    let (mine, theirs) = (stage.device_token("mine"), stage.device_token("theirs"));
    let job = assigned(&stage, &theirs, &idle("theirs", "1.0.0", 1));
    // The attempt has the same name for each device, and each speaks of its own only.
    for job in ["r0000000000-1", &format!("{rollout}-7"), &job] {
        let words = with(idle("mine", "1.0.0", 1), json!({ "job": job, "state": "failed" }));
        assert!(hear(&stage, &mine, &words).noted.is_some());
    }
    assert_eq!(stage.stands("theirs").0, "queued");
    let report = |id: &str, token: &str, job: &str| {
        let body = json!({ "success": false, "id": id, "update": job }).to_string();
        stage.say("/tok/provision/updateReport", token, body).status
    };
    assert_eq!(report("theirs", &theirs, "r0000000000-1"), 200);
    assert_eq!(stage.stands("theirs").0, "queued", "a report about an unknown job");
    assert_eq!(report("theirs", &theirs, &job), 200);
    assert_eq!(stage.stands("theirs").0, "failed");
    let history = stage.device("theirs").history.len();
    assert_eq!(report("theirs", &theirs, &job), 200);
    assert_eq!(stage.device("theirs").history.len(), history, "a repeated report");
    assert_eq!(
        stage
            .say(
                "/tok/provision/updateReport",
                &stage.device_token("new"),
                format!(r#"{{"success":"true","id":"new","update":"{job}"}}"#)
            )
            .status,
        404,
        "a report of a device that never checked in"
    );
}

#[test]
fn a_late_report_is_noted_once_and_changes_nothing() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(10));
    let token = stage.device_token("d");
    let job = assigned(&stage, &token, &idle("d", "1.0.0", 1));
    hear(&stage, &token, &idle("d", "1.1.0", 2));
    let history = stage.device("d").history.len();
    for _ in 0..3 {
        let body = json!({ "success": false, "id": "d", "update": job }).to_string();
        assert_eq!(stage.say("/tok/provision/updateReport", &token, body).status, 200);
        assert_eq!(stage.stands("d"), ("succeeded".into(), None));
        assert_eq!(stage.device("d").history.len(), history + 1);
    }
}

#[test]
fn the_next_check_in_is_within_half_and_one_and_a_half_intervals_and_spread() {
    let stage = Stage::new();
    let (_, token) = stage.token("product", PRODUCT);
    let mut waits: Vec<u64> =
        (0..60).map(|n| hear(&stage, &token, &idle(&format!("d{n}"), "1.0.0", 1)).next_check_in_s).collect();
    waits.sort_unstable();
    assert!(waits[0] >= 450 && waits[59] <= 1_350, "{waits:?}");
    assert!(waits[59] - waits[0] > 450, "they do not come together: {waits:?}");
    stage.publish("1.1.0", &image(10));
    let updating = hear(&stage, &token, &idle("d1", "1.0.0", 1)).next_check_in_s;
    assert!((15..=45).contains(&updating), "{updating}");
}

#[test]
fn the_same_bytes_again_see_a_rollout_that_began_in_between() {
    let stage = Stage::new();
    let token = stage.device_token("d");
    let body = idle("d", "1.0.0", 1);
    for _ in 0..3 {
        assert_eq!(hear(&stage, &token, &body).assignment, None);
    }
    stage.publish("1.1.0", &image(10));
    assert!(hear(&stage, &token, &body).assignment.is_some());
}

#[test]
fn the_same_bytes_again_are_refused_once_their_token_is_revoked() {
    let stage = Stage::new();
    let (id, token) = stage.token("device", "d");
    let body = idle("d", "1.0.0", 1);
    for _ in 0..3 {
        assert_eq!(stage.check_in(&token, &body).status, 200);
    }
    stage.revoke(&id);
    assert_eq!(stage.check_in(&token, &body).status, 401);
}

#[test]
fn an_attribute_that_goes_to_and_fro_is_believed_each_time() {
    let stage = Stage::new();
    let token = stage.device_token("d");
    let body = |region: &str| {
        let mut body = idle("d", "1.0.0", 1);
        body["attributes"] = json!({ "region": region });
        body
    };
    for region in ["a", "a", "b", "a", "a", "b", "b", "a"] {
        hear(&stage, &token, &body(region));
        assert_eq!(stage.device("d").attributes["region"], region);
    }
}

#[test]
fn the_two_contracts_do_not_answer_for_each_other() {
    let stage = Stage::new();
    let token = stage.device_token("d");
    let body = idle("d", "1.0.0", 1).to_string();
    for _ in 0..2 {
        assert_eq!(stage.say("/tok/provision/update", &token, &body).text(), "{}");
        assert!(stage.say(PATH, &token, &body).json()["next_check_in_s"].is_u64());
    }
}

#[test]
fn a_failed_report_ends_the_silence_that_a_restart_was_granted() {
    let stage = Stage::new();
    stage.release("1.1.0", &image(10));
    let start = json!({ "product": PRODUCT, "version": "1.1.0", "back_off": "1s" });
    let rollout = stage.rollout_with(start);
    let token = stage.device_token("d");
    let body = json!({ "id": "d", "product": PRODUCT, "version": "1.0.0" }).to_string();
    let check_in = || stage.say("/tok/provision/update", &token, &body).json();
    let report = |success: bool| {
        let body = json!({ "success": success, "id": "d", "update": format!("{rollout}-1") }).to_string();
        assert_eq!(stage.say("/tok/provision/updateReport", &token, body).status, 200);
    };
    assert_eq!(check_in()["update"], format!("{rollout}-1"));
    report(true);
    for _ in 0..3 {
        assert_eq!(check_in(), json!({}), "it is restarting: nothing to do until the deadline");
    }
    report(false);
    assert_eq!(stage.stands("d"), ("failed".into(), Some("install_failed".into())));
    let reason = updraft_core::state::FailureReason::InstallFailed;
    if reason.is_transient() {
        let until = std::time::Instant::now() + crate::wire::PATIENCE;
        while check_in() == json!({}) {
            assert!(std::time::Instant::now() < until, "the same bytes were answered from what held before");
        }
        assert_eq!(check_in()["update"], format!("{rollout}-2"));
    }
}

#[test]
fn a_restart_loses_nothing_and_the_job_keeps_its_name() {
    let mut stage = Stage::new();
    stage.publish("1.1.0", &image(10));
    let token = stage.device_token("d");
    let job = assigned(&stage, &token, &idle("d", "1.0.0", 1));
    hear(&stage, &token, &with(idle("d", "1.0.0", 1), json!({ "job": job, "state": "installing" })));
    let before = stage.device("d");
    stage.restart();
    let after = stage.device("d");
    assert_eq!((before.executions, before.history), (after.executions, after.history));
    assert_eq!(assigned(&stage, &token, &idle("d", "1.0.0", 1)), job);
}
