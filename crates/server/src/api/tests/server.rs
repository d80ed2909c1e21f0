use super::{PUBLIC_URL, World};
use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::store::Database;
use crate::store::backup::restore;

#[tokio::test]
async fn a_backup_holds_what_the_server_knows() {
    let world = World::new();
    world.release("1.1.0").await;
    let bearer = format!("Bearer {}", world.token);
    let request =
        Request::get("/api/v1/backup").header(header::AUTHORIZATION, bearer).body(Body::empty()).unwrap();
    let answer = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()[header::CACHE_CONTROL]),
        (200, &"no-store".parse().unwrap())
    );
    let tar = answer.into_body().collect().await.unwrap().to_bytes();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    restore(&mut tar.as_ref(), &data, &mut |_| {}).unwrap();
    let mut views = Database::open(&data).unwrap().views().unwrap();
    assert_eq!(views.facts().unwrap().releases, 1);
    world.end();
}

#[tokio::test]
async fn the_facts_hold_a_link_to_the_latest_release() {
    let world = World::new();
    let (_, facts) = world.get("/doctor").await;
    assert_eq!((facts["link"].is_null(), facts["database_faults"].as_array().unwrap().len()), (true, 0));
    world.release("1.1.0").await;
    let (_, facts) = world.get("/doctor").await;
    assert!(facts["link"].as_str().unwrap().starts_with(PUBLIC_URL), "{facts}");
    let (_, facts) = world.get("/doctor?base=https%3A%2F%2F10.0.0.1%3A8443").await;
    assert!(facts["link"].as_str().unwrap().starts_with("https://10.0.0.1:8443/"), "{facts}");
    world.check(&[("GET", "/doctor?base=javascript:1", "", 400, "base_invalid")]).await;
    world.end();
}
