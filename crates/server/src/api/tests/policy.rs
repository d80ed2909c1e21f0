use super::World;
use serde_json::json;

#[tokio::test]
async fn a_policy_is_tried_on_a_known_device_or_a_document() {
    let world = World::new();
    world.report("cam-1", "1.0.0", &json!({"region": "eu"})).await;
    for (body, matches) in [
        (json!({"policy": "device.region == 'eu'", "device": "cam-1"}), true),
        (json!({"policy": "device.version < update.version", "device": "cam-1", "version": "1.10.0"}), true),
        (json!({"policy": "device.version < update.version", "device": "cam-1"}), false),
        (json!({"policy": "device.a.b == 1", "document": {"a": {"b": 1}}}), true),
        (json!({"policy": "device.a.b == 2", "document": {"a": {"b": 1}}}), false),
    ] {
        let (status, answer) = world.post("/policy/test", &body).await;
        assert_eq!((status, answer["matches"].as_bool()), (200, Some(matches)), "{body}: {answer}");
        assert_eq!(answer["clauses"].as_array().unwrap().len(), 1);
    }
    let long = "x".repeat(5_000);
    for (body, status, code) in [
        (json!({"policy": "device.region =", "device": "cam-1"}), 400, "policy_invalid"),
        (json!({"policy": "true"}), 400, "device_invalid"),
        (json!({"policy": "true", "device": "cam-1", "document": {}}), 400, "device_invalid"),
        (json!({"policy": "true", "device": "cam-9"}), 404, "device_unknown"),
        (json!({"policy": "true", "device": "../x"}), 400, "name_invalid"),
        (json!({"policy": "true", "document": {"a": long}}), 400, "document_invalid"),
        (json!({"policy": "true", "document": {}, "version": "1"}), 400, "version_invalid"),
    ] {
        let (found, answer) = world.post("/policy/test", &body).await;
        assert_eq!((found, answer["code"].as_str()), (status, Some(code)), "{answer}");
    }
    world.end();
}
