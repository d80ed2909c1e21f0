use crate::protocols::mqtt::stage::{PRODUCT, Stage, application, device, id};
use serde_json::{Value, json};
use updraft_core::state::{ExecutionState, FailureReason};
use updraft_wire::replica::{Topic, Verdict};

const WISH: &str = r#"{"state":{"desired":{"softwareURL":"https://elsewhere.example/fw.bin","jobID":"42"}}}"#;

fn of<'a>(published: &'a [(String, Value)], levels: &str) -> &'a Value {
    let found = published.iter().find(|(name, _)| name == levels);
    &found.unwrap_or_else(|| panic!("{levels} is not in {published:?}")).1
}

fn reported(state: &Value) -> String {
    json!({ "state": { "reported": state } }).to_string()
}

#[test]
fn the_patterns_nine_steps() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    let published = stage.replica(&application(), "d", Topic::Update, WISH);
    assert_eq!(of(&published, "update/accepted")["state"]["desired"]["jobID"], "42");
    let delta = of(&published, "update/delta");
    assert_eq!(delta["state"], json!({"softwareURL": "https://elsewhere.example/fw.bin", "jobID": "42"}));
    let published = stage.replica(&device("d"), "d", Topic::Update, "jobID:42 SUCCESS");
    assert_eq!(of(&published, "update/accepted")["state"]["reported"]["status"], "SUCCESS");
    assert!(
        published.iter().all(|(levels, _)| levels != "update/delta"),
        "nothing is left to do: {published:?}"
    );
    assert_eq!(stage.missed("d"), None);
}

#[test]
fn an_acknowledgement_where_the_pattern_once_said_counts_as_one() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    stage.replica(&application(), "d", Topic::Update, WISH);
    stage.replica(&device("d"), "d", Topic::UpdateReply(Verdict::Accepted), "jobID:42 FAILURE");
    assert_eq!(stage.missed("d"), None, "it has ended");
    let wish = stage.fleet.task(&"42".parse().unwrap()).unwrap().id.clone();
    let state = stage.execution("d", &wish).state;
    assert_eq!(state, ExecutionState::Failed(FailureReason::InstallFailed));
}

#[test]
fn a_wish_for_an_artifact_of_ours_brings_a_link_made_for_the_device() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    stage.release("2.0.0", &[]);
    for url in [
        "https://s3.amazonaws.com/cam/2.0.0",
        &format!("https://updates.example/v1/artifacts/{}", "a".repeat(64)),
    ] {
        let wish = json!({"state": {"desired": {"softwareURL": url}}}).to_string();
        let published = stage.replica(&application(), "d", Topic::Update, &wish);
        let link = of(&published, "update/delta")["state"]["softwareURL"].as_str().unwrap().to_owned();
        assert!(link.starts_with("https://updates.example/v1/artifacts/aaaa"), "{link}");
        assert!(link.contains("device=d&"), "{link}");
    }
}

#[test]
fn the_same_wish_twice_is_one_and_another_takes_its_place() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    let wish = |url: &str| json!({"state": {"desired": {"softwareURL": url}}}).to_string();
    let job = |published: &[(String, Value)]| of(published, "update/delta")["state"]["jobID"].clone();
    let first = job(&stage.replica(&application(), "d", Topic::Update, &wish("https://a.example/1")));
    let again = job(&stage.replica(&application(), "d", Topic::Update, &wish("https://a.example/1")));
    assert_eq!(first, again);
    let other = job(&stage.replica(&application(), "d", Topic::Update, &wish("https://a.example/2")));
    assert_ne!(first, other);
    assert_eq!(stage.fleet.tasks_of(&id("d")).len(), 1, "what was wished before is over");
    let nothing = r#"{"state":{"desired":{"softwareURL":null}}}"#;
    stage.replica(&application(), "d", Topic::Update, nothing);
    assert_eq!(stage.missed("d"), None);
}

#[test]
fn an_update_of_the_rollout_engine_is_in_the_delta_and_never_stored() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    stage.release("2.0.0", &[]);
    stage.rollout("2.0.0");
    let says = json!({"product": PRODUCT, "version": "1.0.0", "boot": 3});
    let published = stage.replica(&device("d"), "d", Topic::Update, &reported(&says));
    let delta = &of(&published, "update/delta")["state"];
    assert_eq!((&delta["jobID"], &delta["software"]["version"]), (&json!("r1-1"), &json!("2.0.0")));
    let published = stage.replica(&device("d"), "d", Topic::Get, "");
    let whole = of(&published, "get/accepted");
    assert_eq!(whole["state"]["desired"]["jobID"], "r1-1");
    assert_eq!(whole["state"]["reported"], says);
    stage.fleet.abort(stage.now, &"r1".parse().unwrap(), "a test").unwrap();
    let published = stage.replica(&device("d"), "d", Topic::Get, "");
    assert!(of(&published, "get/accepted")["state"].get("desired").is_none(), "{published:?}");
}

#[test]
fn success_is_the_report_of_the_target_version_and_no_other_word() {
    let mut stage = Stage::new();
    stage.release("2.0.0", &[]);
    let rollout = stage.rollout("2.0.0");
    let says = |version: &str, state: &str| {
        let update = json!({"job": "r1-1", "state": state, "reason": null});
        reported(&json!({"product": PRODUCT, "version": version, "boot": 3, "update": update}))
    };
    let first = reported(&json!({"product": PRODUCT, "version": "1.0.0", "boot": 3}));
    stage.replica(&device("d"), "d", Topic::Update, &first);
    stage.replica(&device("d"), "d", Topic::Update, &says("1.0.0", "installing"));
    stage.replica(&device("d"), "d", Topic::Update, &says("2.0.0", "trial"));
    assert!(stage.execution("d", &rollout).state.is_open(), "a trial may still fall back");
    stage.replica(&device("d"), "d", Topic::Update, &says("2.0.0", "succeeded"));
    assert_eq!(stage.execution("d", &rollout).state, ExecutionState::Succeeded);
}

#[test]
fn what_a_device_reports_is_its_description_for_policies() {
    let mut stage = Stage::new();
    let says = json!({"product": PRODUCT, "version": "1.0.0", "region": "eu", "net": {"rssi": -60}});
    stage.replica(&device("d"), "d", Topic::Update, &reported(&says));
    stage.replica(&device("d"), "d", Topic::Update, &reported(&json!({"battery": 80})));
    let known = stage.fleet.device(&id("d")).unwrap().unwrap();
    assert_eq!((known.product.as_str(), known.version.as_str()), (PRODUCT, "1.0.0"));
    let told = ["region", "battery", "id"].map(|name| known.attributes.get(name).is_some());
    assert_eq!(told, [true; 3], "{:?}", known.attributes);
}

#[test]
fn each_refusal_says_why_and_changes_nothing() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    let product =
        crate::protocols::mqtt::door::Identity::Device { id: id("d"), product: PRODUCT.parse().ok() };
    for (who, name, payload, code) in [
        (application(), "never", WISH.to_owned(), 404),
        (device("d"), "d", WISH.to_owned(), 403),
        (application(), "d", reported(&json!({"version": "9.0.0"})), 403),
        (application(), "d", "jobID:42 SUCCESS".to_owned(), 403),
        (device("d"), "d", "jobID:none SUCCESS".to_owned(), 404),
        (device("d"), "d", "jobID:42 MAYBE".to_owned(), 400),
        (device("d"), "d", "{".to_owned(), 400),
        (device("d"), "d", "{}".to_owned(), 400),
        (device("d"), "d", reported(&json!({"update": {"job": "x", "state": "trial"}})), 400),
        (product, "d", reported(&json!({"product": "toaster"})), 403),
        (application(), "d", r#"{"state":{"desired":{"softwareURL":7}}}"#.to_owned(), 400),
        (application(), "d", r#"{"state":{"desired":{"softwareURL":"${aws:iot:x}"}}}"#.to_owned(), 400),
    ] {
        let published = stage.replica(&who, name, Topic::Update, &payload);
        assert_eq!(of(&published, "update/rejected")["code"], code, "{payload}");
        assert_eq!(published.len(), 1, "{published:?}");
    }
    assert_eq!(stage.missed("d"), None);
    let wish = WISH.replace("{\"state\"", "{\"clientToken\":\"t\",\"state\"");
    let published = stage.replica(&device("d"), "d", Topic::Update, &wish);
    assert_eq!(of(&published, "update/rejected")["clientToken"], "t");
    let published = stage.replica(&device("e"), "e", Topic::Get, r#"{"clientToken":"t"}"#);
    let rejected = of(&published, "get/rejected");
    assert_eq!((&rejected["code"], &rejected["clientToken"]), (&json!(404), &json!("t")));
}

#[test]
fn ordinary_desired_state_is_ordinary() {
    let mut stage = Stage::new();
    stage.knows("d", "1.0.0");
    let desired = r#"{"state":{"desired":{"lamp":"on"}},"clientToken":"t"}"#;
    let published = stage.replica(&application(), "d", Topic::Update, desired);
    assert_eq!(of(&published, "update/delta")["state"], json!({"lamp": "on"}));
    assert_eq!(of(&published, "update/accepted")["clientToken"], "t");
    let delta = stage.missed("d").unwrap();
    assert_eq!(delta["state"], json!({"lamp": "on"}));
    stage.replica(&device("d"), "d", Topic::Update, &reported(&json!({"lamp": "on"})));
    assert_eq!(stage.missed("d"), None);
}
