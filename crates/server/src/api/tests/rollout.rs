use super::World;
use serde_json::{Value, json};

#[tokio::test]
async fn a_rollout_goes_through_the_states_an_operator_gives_it_and_remembers_who_and_why() {
    let world = World::new();
    world.release("1.1.0").await;
    world.report("cam-1", "1.0.0", &json!({})).await;
    let id = world.rollout("1.1.0").await;
    for (verb, state) in
        [("pause", "paused"), ("resume", "running"), ("retry", "running"), ("abort", "aborted")]
    {
        let (status, answer) = world.post(&format!("/rollouts/{id}/{verb}"), &json!({"note": verb})).await;
        assert_eq!((status, answer["state"].as_str()), (200, Some(state)), "{verb}: {answer}");
    }
    let (_, answer) = world.get(&format!("/rollouts/{id}")).await;
    let history: Vec<&str> =
        answer["history"].as_array().unwrap().iter().map(|event| event["note"].as_str().unwrap()).collect();
    assert_eq!(history[..3], ["operator ann", "operator ann: pause", "operator ann: resume"], "{answer}");
    assert_eq!(history.last(), Some(&"operator ann: abort"));
    let (status, answer) = world.post(&format!("/rollouts/{id}/resume"), &json!({})).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("rollout_state")));
    world.end();
}

#[tokio::test]
async fn the_status_counts_executions_in_all_eleven_states() {
    let world = World::new();
    world.release("1.1.0").await;
    let id = world.rollout("1.1.0").await;
    world.report("cam-1", "1.0.0", &json!({})).await;
    world.report("cam-2", "1.0.0", &json!({})).await;
    world.report("cam-2", "1.1.0", &json!({})).await;
    world.report("cam-3", "1.1.0", &json!({})).await;
    let (status, answer) = world.get(&format!("/rollouts/{id}/status")).await;
    assert_eq!(status, 200);
    let counts = answer["counts"].as_object().unwrap();
    assert_eq!(counts.len(), 11);
    let counted: Vec<(&str, u64)> = counts
        .iter()
        .filter_map(|(state, count)| Some((state.as_str(), count.as_u64().filter(|count| *count > 0)?)))
        .collect();
    assert_eq!(counted, [("queued", 1), ("succeeded", 1)], "{answer}");
    assert_eq!(
        (&answer["in_flight"], &answer["devices"], &answer["settled"]),
        (&json!(1), &json!(2), &json!(false))
    );
    assert!(!answer["why"].as_str().unwrap().is_empty());
    world.end();
}

#[tokio::test]
async fn every_setting_reaches_the_plan() {
    let world = World::new();
    world.release("1.1.0").await;
    let body = json!({
        "product": "cam", "version": "1.1.0", "percentage": 12.5, "starts": "2030-01-01T00:00:00Z",
        "in_flight_max": 7, "abort_percent": 30, "abort_ended_min": 5, "attempts_max": 4, "back_off": "90s",
        "deadlines": {"queued": "1h", "rebooting": "10m"}, "allow_downgrade": true
    });
    let (status, answer) = world.post("/rollouts", &body).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(
        answer["plan"],
        json!({
            "waves": [{"percentage": 12.5, "starts": "2030-01-01T00:00:00Z"}],
            "in_flight_max": 7, "abort_percent": 30, "abort_ended_min": 5, "attempts_max": 4, "back_off": "1m 30s",
            "deadlines": {"queued": "1h", "downloading": "26h", "installing": "26h", "rebooting": "10m"},
            "allow_downgrade": true
        })
    );
    world.end();
}

#[tokio::test]
async fn a_rollout_that_cannot_be_is_refused_with_the_setting_that_is_wrong() {
    let world = World::new();
    world.release("1.1.0").await;
    let with = |key: &str, value: Value| {
        let mut body = json!({"product": "cam", "version": "1.1.0"});
        body[key] = value;
        body
    };
    for (body, status, code, word) in [
        (with("version", json!("1.1.1")), 404, "release_unknown", "1.1.1"),
        (with("version", json!("1.1")), 400, "version_invalid", "1.1"),
        (with("product", json!("a/b")), 400, "name_invalid", "product"),
        (with("percentage", json!(0)), 400, "plan_invalid", "percentage"),
        (with("percentage", json!(101)), 400, "plan_invalid", "percentage"),
        (with("in_flight_max", json!(0)), 400, "plan_invalid", "in-flight"),
        (with("in_flight_max", json!(-1)), 400, "body_invalid", "in"),
        (with("abort_percent", json!(0)), 400, "plan_invalid", "abort"),
        (with("attempts_max", json!(101)), 400, "plan_invalid", "attempts"),
        (with("back_off", json!("soon")), 400, "duration_invalid", "back_off"),
        (with("starts", json!("tomorrow")), 400, "time_invalid", "starts"),
        (with("deadlines", json!({"queued": "0s"})), 400, "plan_invalid", "deadlines"),
        (with("deadlines", json!({"quoted": "1h"})), 400, "body_invalid", "quoted"),
    ] {
        let (found, answer) = world.post("/rollouts", &body).await;
        assert_eq!((found, answer["code"].as_str()), (status, Some(code)), "{body}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(word), "{body}: {answer}");
    }
    let first = world.rollout("1.1.0").await;
    let (status, answer) = world.post("/rollouts", &json!({"product": "cam", "version": "1.1.0"})).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("rollout_exists")));
    assert!(answer["message"].as_str().unwrap().contains(&first));
    world.end();
}

#[tokio::test]
async fn a_note_longer_than_history_keeps_is_refused_and_not_cut() {
    let world = World::new();
    world.release("1.1.0").await;
    let id = world.rollout("1.1.0").await;
    let (status, answer) =
        world.post(&format!("/rollouts/{id}/pause"), &json!({"note": "x".repeat(512)})).await;
    assert_eq!((status, answer["code"].as_str()), (400, Some("note_too_long")));
    world.end();
}

#[tokio::test]
async fn rollouts_are_listed_the_latest_first_and_a_misread_id_finds_its_neighbour() {
    let world = World::new();
    let mut ids = Vec::new();
    for version in ["1.1.0", "1.2.0", "1.3.0"] {
        world.release(version).await;
        ids.push(world.rollout(version).await);
    }
    let (_, first) = world.get("/rollouts?limit=2").await;
    let (_, second) =
        world.get(&format!("/rollouts?limit=2&after={}", first["next"].as_str().unwrap())).await;
    let listed: Vec<&Value> =
        first["items"].as_array().unwrap().iter().chain(second["items"].as_array().unwrap()).collect();
    let mut listed: Vec<&str> = listed.iter().map(|rollout| rollout["id"].as_str().unwrap()).collect();
    listed.sort_unstable();
    ids.sort_unstable();
    assert_eq!(listed, ids);
    let wrong = format!("{}z", &ids[0][..ids[0].len() - 1]);
    let (_, answer) = world.get(&format!("/rollouts/{wrong}")).await;
    assert_eq!(answer["near"], json!([ids[0]]));
    world.end();
}
