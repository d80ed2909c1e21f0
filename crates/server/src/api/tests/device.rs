use super::World;
use serde_json::json;

#[tokio::test]
async fn a_device_is_shown_with_all_it_said_and_what_happened_to_it() {
    let world = World::new();
    world.release("1.1.0").await;
    let rollout = world.rollout("1.1.0").await;
    world.report("cam-1", "1.0.0", &json!({"region": "eu", "power": {"battery": 80}})).await;
    let (status, answer) = world.get("/devices/cam-1").await;
    assert_eq!(status, 200);
    assert_eq!(
        (&answer["id"], &answer["product"], &answer["version"]),
        (&json!("cam-1"), &json!("cam"), &json!("1.0.0"))
    );
    assert_eq!(answer["attributes"]["power.battery"], 80);
    assert_eq!(answer["executions"][0]["rollout"], json!(rollout));
    assert_eq!(answer["executions"][0]["state"], "queued");
    assert_eq!(answer["history"][0]["to"], "queued");
    world.end();
}

#[tokio::test]
async fn devices_are_listed_by_id_with_filters_page_by_page() {
    let world = World::new();
    for number in 0..5 {
        let version = if number % 2 == 0 { "1.0.0" } else { "2.0.0" };
        world.report(&format!("cam-{number}"), version, &json!({})).await;
    }
    let ids = |page: &serde_json::Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let (_, first) = world.get("/devices?limit=3").await;
    assert_eq!(ids(&first), ["cam-0", "cam-1", "cam-2"]);
    let (_, second) = world.get(&format!("/devices?limit=3&after={}", first["next"].as_str().unwrap())).await;
    assert_eq!(ids(&second), ["cam-3", "cam-4"]);
    assert_eq!(second["next"], json!(null));
    for (query, expected) in [
        ("product=cam&version=2.0.0", vec!["cam-1", "cam-3"]),
        ("prefix=cam-4", vec!["cam-4"]),
        ("product=lock", vec![]),
    ] {
        assert_eq!(ids(&world.get(&format!("/devices?{query}")).await.1), expected, "{query}");
    }
    world.end();
}

#[tokio::test]
async fn an_unknown_device_comes_with_ids_that_are_near() {
    let world = World::new();
    world.report("cam-0001", "1.0.0", &json!({})).await;
    let (_, answer) = world.get("/devices/cam-0002").await;
    assert_eq!((&answer["code"], &answer["near"]), (&json!("device_unknown"), &json!(["cam-0001"])));
    world.end();
}

#[tokio::test]
async fn why_a_device_is_not_updated_is_one_sentence_each_time() {
    let world = World::new();
    let summary = async |id: &str| {
        let (status, answer) = world.get(&format!("/devices/{id}/explain")).await;
        assert_eq!(status, 200, "{answer}");
        answer["summary"].as_str().unwrap().to_owned()
    };
    world.report("cam-1", "1.0.0", &json!({})).await;
    assert_eq!(summary("cam-1").await, "Product cam has no release.");
    world.release("1.1.0").await;
    assert_eq!(summary("cam-1").await, "It does not get 1.1.0: no rollout of this release was started.");
    let rollout = world.rollout("1.1.0").await;
    assert_eq!(summary("cam-1").await, "Nothing stands in the way: it gets 1.1.0 when it next checks in.");
    world.report("cam-1", "1.0.0", &json!({})).await;
    assert_eq!(summary("cam-1").await, "It is being updated to 1.1.0: queued.");
    let (_, answer) = world.get("/devices/cam-1/explain").await;
    assert_eq!(answer["releases"][0]["obstacles"][0]["code"], "under_way", "{answer}");
    world.report("cam-1", "1.1.0", &json!({})).await;
    assert_eq!(summary("cam-1").await, "It is up to date: it runs 1.1.0, the newest release.");
    world.post(&format!("/rollouts/{rollout}/pause"), &json!({"note": "smoke in lab 2"})).await;
    world.report("cam-2", "1.0.0", &json!({})).await;
    let expected = "It does not get 1.1.0: the rollout is paused: operator ann: smoke in lab 2.";
    assert_eq!(summary("cam-2").await, expected);
    world.end();
}

#[tokio::test]
async fn the_clause_that_keeps_a_device_from_a_release_is_shown() {
    let world = World::new();
    let policy = "device.region%20%3D%3D%20'eu'%20%26%26%20device.ram%20%3E%3D%2064";
    world.call("PUT", &format!("/products/cam/releases/1.1.0?policy={policy}"), "image").await;
    world.rollout("1.1.0").await;
    world.report("cam-1", "1.0.0", &json!({"region": "us"})).await;
    let (_, answer) = world.get("/devices/cam-1/explain?version=1.1.0").await;
    let release = &answer["releases"][0];
    assert_eq!(release["obstacles"][0]["code"], "policy_unmatched");
    assert_eq!(release["policy"]["clauses"][0]["holds"], false);
    assert_eq!(release["policy"]["clauses"][1]["holds"], json!(null), "device.ram was not reported");
    let (status, answer) = world.get("/devices/cam-1/explain?version=1.1.1").await;
    assert_eq!((status, &answer["near"]), (404, &json!(["1.1.0"])));
    world.end();
}
