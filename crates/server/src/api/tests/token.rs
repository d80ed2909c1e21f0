use super::World;
use serde_json::json;

use crate::auth::Principal;

#[tokio::test]
async fn a_token_is_shown_once_and_is_good_until_it_is_revoked() {
    let world = World::new();
    let (status, made) = world.post("/tokens", &json!({"device": "cam-1", "note": "bench 3"})).await;
    assert_eq!((status, &made["kind"], &made["subject"]), (201, &json!("device"), &json!("cam-1")));
    let token = made["token"].as_str().unwrap();
    let device = Principal::Device("cam-1".parse().unwrap());
    assert_eq!(world.auth.verify(token, world.engine.now()), Some(device));
    let (_, listed) = world.get("/tokens").await;
    assert!(!listed.to_string().contains(token), "a list shows no secret");
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "ann's and the device's");
    let path = format!("/tokens/{}/revoke", made["id"].as_str().unwrap());
    let (status, revoked) = world.call("POST", &path, "").await;
    assert_eq!((status, revoked["revoked"].is_string()), (200, true));
    assert_eq!(world.auth.verify(token, world.engine.now()), None);
    assert_eq!(world.call("POST", &path, "").await, (200, revoked), "revoking twice changes nothing");
    world.end();
}

#[tokio::test]
async fn a_token_stands_for_exactly_one_well_named_subject() {
    let world = World::new();
    let long = "n".repeat(257);
    for (body, code) in [
        (json!({}), "subject_invalid"),
        (json!({"device": "a", "product": "b"}), "subject_invalid"),
        (json!({"device": "a/b"}), "name_invalid"),
        (json!({"product": "\u{0}"}), "name_invalid"),
        (json!({"operator": ""}), "name_invalid"),
        (json!({"device": "a", "expires_in": "0s"}), "duration_invalid"),
        (json!({"device": "a", "expires_in": "4000d"}), "duration_invalid"),
        (json!({"device": "a", "note": long}), "note_too_long"),
    ] {
        let (status, answer) = world.post("/tokens", &body).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(code)), "{body}");
    }
    for body in
        [json!({"product": "cam"}), json!({"operator": "bob"}), json!({"device": "a", "expires_in": "7d"})]
    {
        assert_eq!(world.post("/tokens", &body).await.0, 201, "{body}");
    }
    world.end();
}
