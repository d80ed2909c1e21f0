use super::World;
use axum::body::Body;
use axum::http::{Request, header};
use updraft_core::time::Timestamp;

use crate::auth::{NewToken, Principal};

const ROUTES: [(&str, &str); 20] = [
    ("GET", "/releases"),
    ("PUT", "/products/cam/releases/1.0.0"),
    ("GET", "/products/cam/releases/1.0.0"),
    ("GET", "/rollouts"),
    ("POST", "/rollouts"),
    ("GET", "/rollouts/r1"),
    ("GET", "/rollouts/r1/status"),
    ("POST", "/rollouts/r1/abort"),
    ("GET", "/devices"),
    ("GET", "/devices/cam-1"),
    ("GET", "/devices/cam-1/explain"),
    ("GET", "/devices/cam-1/lwm2m"),
    ("GET", "/devices/cam-1/lwm2m/orders"),
    ("POST", "/devices/cam-1/lwm2m/orders"),
    ("POST", "/policy/test"),
    ("GET", "/tokens"),
    ("POST", "/tokens/t1/revoke"),
    ("GET", "/backup"),
    ("GET", "/doctor"),
    ("GET", "/nothing/here"),
];

async fn knock(world: &World, method: &str, path: &str, authorization: Option<&str>) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
    if let Some(value) = authorization {
        request = request.header(header::AUTHORIZATION, value);
    }
    let (status, answer) = world.send(request.body(Body::empty()).unwrap()).await;
    (status, answer["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn every_route_needs_an_operators_token_and_none_says_whether_it_exists() {
    let world = World::new();
    let device = world.token_for(Principal::Device("cam-1".parse().unwrap()));
    let product = world.token_for(Principal::Product("cam".parse().unwrap()));
    let (device, product) = (format!("Bearer {device}"), format!("Bearer {product}"));
    let basic = format!("Basic {}", world.token);
    for (method, path) in ROUTES {
        for (authorization, status, code) in [
            (None, 401, "token_missing"),
            (Some(""), 401, "token_missing"),
            (Some(basic.as_str()), 401, "token_missing"),
            (Some("Bearer "), 401, "token_invalid"),
            (Some("Bearer updt_0"), 401, "token_invalid"),
            (Some(device.as_str()), 403, "token_not_operator"),
            (Some(product.as_str()), 403, "token_not_operator"),
        ] {
            let found = knock(&world, method, path, authorization).await;
            assert_eq!(found, (status, code.to_owned()), "{method} {path} {authorization:?}");
        }
    }
    world.end();
}

#[tokio::test]
async fn a_token_opens_nothing_once_it_is_revoked_or_expired() {
    let world = World::new();
    let now = world.engine.now();
    let bob = |expires| NewToken {
        principal: Principal::Operator("bob".parse().unwrap()),
        expires,
        note: String::new(),
    };
    let (token, row) = world.auth.create(bob(None), now).unwrap();
    let bearer = format!("bearer {}", token.reveal());
    assert_eq!(
        knock(&world, "GET", "/devices", Some(&bearer)).await.0,
        200,
        "the scheme's case does not matter"
    );
    world.auth.revoke(&row.id, now).unwrap();
    assert_eq!(knock(&world, "GET", "/devices", Some(&bearer)).await.0, 401);
    let past = Timestamp::from_millis(now.as_millis() - 2_000);
    let (token, _) = world.auth.create(bob(Some(past)), now).unwrap();
    let bearer = format!("Bearer {}", token.reveal());
    assert_eq!(knock(&world, "GET", "/devices", Some(&bearer)).await.0, 401);
    world.end();
}

#[tokio::test]
async fn anyone_may_ask_whether_the_server_is_there() {
    let world = World::new();
    let request = Request::get("/api/v1/health").body(Body::empty()).unwrap();
    let (status, answer) = world.send(request).await;
    assert_eq!((status, answer["status"].as_str()), (200, Some("ok")));
    for (method, uri, status, code) in
        [("POST", "/api/v1/health", 405, "method_not_allowed"), ("GET", "/", 404, "route_unknown")]
    {
        let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
        let (found, answer) = world.send(request).await;
        assert_eq!((found, answer["code"].as_str()), (status, Some(code)), "{method} {uri}");
    }
    world.end();
}

#[tokio::test]
async fn what_does_not_exist_is_told_to_operators_in_one_form() {
    let world = World::new();
    world
        .check(&[
            ("GET", "/nothing", "", 404, "route_unknown"),
            ("DELETE", "/releases", "", 405, "method_not_allowed"),
            ("GET", "/devices/cam-1", "", 404, "device_unknown"),
            ("GET", "/devices/cam-1/explain", "", 404, "device_unknown"),
            ("GET", "/rollouts/r1", "", 404, "rollout_unknown"),
            ("GET", "/rollouts/r1/status", "", 404, "rollout_unknown"),
            ("POST", "/rollouts/r1/pause", "{}", 404, "rollout_unknown"),
            ("GET", "/products/cam/releases/1.0.0", "", 404, "release_unknown"),
            ("POST", "/tokens/t1/revoke", "", 404, "token_unknown"),
        ])
        .await;
    world.end();
}

#[tokio::test]
async fn names_in_the_path_that_mislead_are_refused() {
    let world = World::new();
    for name in ["..%2F..%2Fetc", "a%00b", "%ff", "-x", "a%20b", "%C3%A4", "a%0d%0ab", &"x".repeat(129)] {
        for path in [format!("/devices/{name}"), format!("/products/{name}/releases/1.0.0")] {
            let (status, answer) = world.get(&path).await;
            assert_eq!((status, answer["code"].as_str()), (400, Some("name_invalid")), "{path}: {answer}");
        }
    }
    for version in ["1.0", "v1.0.0", "1.0.0.0", "latest"] {
        let (status, answer) = world.call("PUT", &format!("/products/cam/releases/{version}"), "image").await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("name_invalid")), "{version}: {answer}");
    }
    world.end();
}

#[tokio::test]
async fn bodies_beyond_measure_are_refused_at_each_door() {
    let world = World::new();
    let large = format!("\"{}\"", "x".repeat(updraft_wire::operator::REQUEST_BYTES_MAX));
    let deep = "[".repeat(100_000);
    let deep_document = format!("{{\"policy\": \"true\", \"document\": {}", "{\"a\":".repeat(200));
    for path in ["/rollouts", "/tokens", "/policy/test", "/rollouts/r1/pause"] {
        for (body, status, code) in [
            (large.clone().into_bytes(), 413, "body_too_large"),
            (deep.clone().into_bytes(), 400, "body_invalid"),
            (deep_document.clone().into_bytes(), 400, "body_invalid"),
            (b"{\"note\": \"\xff\"}".to_vec(), 400, "body_invalid"),
            (b"{\"nonsense\": 1}".to_vec(), 400, "body_invalid"),
            (Vec::new(), 400, "body_invalid"),
        ] {
            let (found, answer) = world.call("POST", path, body).await;
            assert_eq!((found, answer["code"].as_str()), (status, Some(code)), "{path}: {answer}");
        }
    }
    world.end();
}

#[tokio::test]
async fn a_misspelt_or_repeated_parameter_lists_nothing() {
    let world = World::new();
    world
        .check(&[
            ("GET", "/devices?produkt=cam", "", 400, "query_invalid"),
            ("GET", "/devices?product=cam&product=lock", "", 400, "query_invalid"),
            ("GET", "/devices?product=..%2F", "", 400, "query_invalid"),
            ("GET", "/devices?state=lost", "", 400, "query_invalid"),
            ("GET", "/devices?limit=0", "", 400, "query_invalid"),
            ("GET", "/devices?limit=1001", "", 400, "query_invalid"),
            ("GET", "/devices?limit=-1", "", 400, "query_invalid"),
            ("GET", "/devices?unseen_since=yesterday", "", 400, "time_invalid"),
            ("GET", "/releases?after=cam", "", 400, "query_invalid"),
            ("GET", "/rollouts?after=R1", "", 400, "query_invalid"),
            ("GET", "/tokens?kind=device", "", 400, "query_invalid"),
            ("GET", "/devices?product=cam", "", 200, ""),
        ])
        .await;
    world.end();
}
