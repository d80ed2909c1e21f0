use super::{UPLOAD_BYTES_MAX, World};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use sha2::{Digest, Sha256};
use std::io;

const PATH: &str = "/products/cam/releases/1.1.0";

#[tokio::test]
async fn a_release_added_twice_is_one_and_one_that_differs_is_refused() {
    let world = World::new();
    let with_settings = "/products/cam/releases/1.1.0?policy=device.region%20%3D%3D%20'eu'&meta.channel=beta";
    world
        .check(&[
            ("PUT", with_settings, "image", 201, ""),
            ("PUT", with_settings, "image", 200, ""),
            ("PUT", with_settings, "other image", 409, "release_differs"),
            ("PUT", PATH, "image", 409, "release_differs"),
            ("PUT", "/products/cam/releases/1.1.0+b", "image", 409, "release_differs"),
            ("GET", PATH, "", 200, ""),
        ])
        .await;
    let (_, answer) = world.get(PATH).await;
    assert_eq!(answer["policy"], "device.region == 'eu'");
    assert_eq!(answer["sha256"], hex::encode(Sha256::digest("image")));
    assert_eq!(answer["size"], 5);
    assert_eq!(
        answer["attributes"],
        serde_json::json!({"channel": "beta", "product": "cam", "version": "1.1.0"})
    );
    world.end();
}

#[tokio::test]
async fn each_wrong_setting_is_named_and_nothing_is_stored() {
    let world = World::new();
    let digest = hex::encode(Sha256::digest("image"));
    let other = hex::encode(Sha256::digest("other"));
    let (right, wrong) = (format!("{PATH}?sha256={digest}"), format!("{PATH}?sha256={other}"));
    let upper = format!("{PATH}?sha256={}", digest.to_uppercase());
    let large = "x".repeat(usize::try_from(UPLOAD_BYTES_MAX).unwrap() + 1);
    world
        .check(&[
            ("PUT", PATH, "", 400, "artifact_empty"),
            ("PUT", PATH, &large, 413, "artifact_too_large"),
            ("PUT", &wrong, "image", 409, "sha256_differs"),
            ("PUT", &upper, "image", 400, "query_invalid"),
            ("PUT", "/products/cam/releases/1.1.0?policy=device.x%20%3D%3D", "image", 400, "policy_invalid"),
            ("PUT", "/products/cam/releases/1.1.0?polcy=true", "image", 400, "query_invalid"),
            ("PUT", "/products/cam/releases/1.1.0?meta.=x", "image", 400, "metadata_invalid"),
            ("PUT", "/products/cam/releases/1.1.0?meta.version=2.0.0", "image", 400, "metadata_invalid"),
            ("PUT", "/products/cam/releases/1.1.0?meta.a=1&meta.a=2", "image", 400, "metadata_invalid"),
        ])
        .await;
    assert_eq!(world.artifacts.list().await.unwrap(), []);
    world.check(&[("PUT", &right, "image", 201, "")]).await;
    world.end();
}

#[tokio::test]
async fn a_policy_that_does_not_compile_is_shown_with_a_caret_under_the_column() {
    let world = World::new();
    let (_, answer) =
        world.call("PUT", "/products/cam/releases/1.1.0?policy=device.x%20%3D%3D", "image").await;
    assert_eq!(answer["excerpt"], "device.x ==\n           ^");
    assert!(answer["message"].as_str().unwrap().contains("column 12"), "{answer}");
    world.end();
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let world = World::new();
    let pieces: [Result<Bytes, io::Error>; 2] =
        [Ok(Bytes::from_static(b"half an ")), Err(io::Error::from(io::ErrorKind::ConnectionReset))];
    let (status, answer) = world.call("PUT", PATH, Body::from_stream(stream::iter(pieces))).await;
    assert_eq!((status, answer["code"].as_str()), (400, Some("upload_aborted")));
    assert_eq!(world.artifacts.list().await.unwrap(), []);
    world.check(&[("GET", PATH, "", 404, "release_unknown")]).await;
    world.end();
}

#[tokio::test]
async fn of_two_uploads_of_one_version_at_once_one_wins_and_the_other_is_told() {
    let world = World::new();
    let (one, other) =
        tokio::join!(world.call("PUT", PATH, "one image"), world.call("PUT", PATH, "other image"));
    let mut statuses = [one.0, other.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "{one:?} {other:?}");
    let (one, other) = tokio::join!(
        world.call("PUT", "/products/cam/releases/1.2.0", "same image"),
        world.call("PUT", "/products/cam/releases/1.2.0", "same image")
    );
    assert!(one.0 < 300 && other.0 < 300, "{one:?} {other:?}");
    assert_eq!(one.1, other.1);
    world.end();
}

#[tokio::test]
async fn releases_are_listed_by_product_the_newest_first_page_by_page() {
    let world = World::new();
    for path in ["b/releases/1.0.0", "a/releases/1.9.0", "a/releases/1.10.0", "a/releases/1.10.0-rc.1"] {
        assert_eq!(world.call("PUT", &format!("/products/{path}"), "image").await.0, 201);
    }
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let (_, page) = world.get(&format!("/releases?limit=1{after}")).await;
        for item in page["items"].as_array().unwrap() {
            found.push(format!(
                "{} {}",
                item["product"].as_str().unwrap(),
                item["version"].as_str().unwrap()
            ));
        }
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(found, ["a 1.10.0", "a 1.10.0-rc.1", "a 1.9.0", "b 1.0.0"]);
    let (_, page) = world.get("/releases?product=b").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    world.end();
}

#[tokio::test]
async fn a_release_not_found_comes_with_those_that_are_near() {
    let world = World::new();
    world.release("1.1.0").await;
    let (_, answer) = world.get("/products/cam/releases/1.1.1").await;
    assert_eq!(answer["near"], serde_json::json!(["1.1.0"]));
    let (_, answer) = world.get("/products/cma/releases/1.1.0").await;
    assert!(answer["near"].is_null(), "two letters of three differ: {answer}");
    let (_, answer) = world.get("/products/camx/releases/1.1.0").await;
    assert_eq!(answer["near"], serde_json::json!(["cam"]));
    world.end();
}
