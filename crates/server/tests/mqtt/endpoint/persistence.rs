//! Sessions over a restart of the server.

use super::client::{Got, Version, hello};
use super::stage::{Stage, message, settle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use updraft_server::protocols::mqtt::door::Bus;
use updraft_server::protocols::mqtt::endpoint::{
    Limits, MemorySessions, Mode, SavedSession, SessionChange, SessionStore, SessionStoreError,
};

/// Sessions in memory, on a disk that may fail.
#[derive(Debug, Default)]
struct Disk {
    sessions: MemorySessions,
    broken: AtomicBool,
}

impl SessionStore for Disk {
    fn load_all(&self) -> Result<Vec<SavedSession>, SessionStoreError> {
        self.sessions.load_all()
    }

    fn apply(&self, changes: &[SessionChange]) -> Result<(), SessionStoreError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(SessionStoreError { operation: "written", source: "the disk is full".into() });
        }
        self.sessions.apply(changes)
    }
}

fn stage(disk: &Arc<Disk>) -> Stage {
    Stage::with(Limits::default(), Some(disk.clone()), Mode::Gateway)
}

#[tokio::test(start_paused = true)]
async fn a_lasting_session_and_its_subscriptions_survive_a_restart() {
    let disk = Arc::new(Disk::default());
    let lasting = hello(Version::V5, "d1").lasting();
    let before = stage(&disk);
    let (mut client, _) = before.connect(&lasting).await;
    assert_eq!(client.subscribe(&[("state/d1/x", 1), ("state/d1/y", 0)]).await, [1, 0]);
    assert_eq!(client.unsubscribe(&["state/d1/y"]).await, [0]);
    // No goodbye: the server was killed. What the client was told is durable already.
    let after = stage(&disk);
    let (mut client, present) = after.connect(&lasting).await;
    assert!(present);
    after.endpoint.router().publish(message("state/d1/y", b"no"));
    after.endpoint.router().publish(message("state/d1/x", b"yes"));
    assert_eq!(client.take().await.payload, "yes");
    client.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_with_its_connection_is_never_kept() {
    let disk = Arc::new(Disk::default());
    let stage = stage(&disk);
    let mut client = stage.join(Version::V3, "d1").await;
    client.subscribe(&[("state/d1/x", 1)]).await;
    settle().await;
    assert_eq!(disk.load_all().unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ended_does_not_come_back_with_a_restart() {
    let disk = Arc::new(Disk::default());
    let stage = stage(&disk);
    let lasting = hello(Version::V5, "d1").lasting();
    let (mut client, _) = stage.connect(&lasting).await;
    client.subscribe(&[("state/d1/x", 1)]).await;
    assert_eq!(disk.load_all().unwrap().len(), 1);
    client.disconnect().await;
    // A clean start ends it at once.
    let _clean = stage.connect(&hello(Version::V5, "d1")).await;
    assert_eq!(disk.load_all().unwrap(), []);
    // So does time.
    let (mut client, _) = stage.connect(&lasting).await;
    client.subscribe(&[("state/d1/x", 1)]).await;
    assert_eq!(disk.load_all().unwrap().len(), 1);
    client.disconnect().await;
    tokio::time::sleep(Duration::from_secs(3_001)).await;
    assert_eq!(disk.load_all().unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_cannot_be_kept_is_refused() {
    let disk = Arc::new(Disk::default());
    let stage = stage(&disk);
    let (mut client, _) = stage.connect(&hello(Version::V5, "d1").lasting()).await;
    disk.broken.store(true, Ordering::Relaxed);
    assert_eq!(client.subscribe(&[("state/d1/x", 1)]).await, [0x80]);
    stage.endpoint.router().publish(message("state/d1/x", b"x"));
    client.hears_nothing().await;
    disk.broken.store(false, Ordering::Relaxed);
    assert_eq!(client.subscribe(&[("state/d1/x", 1)]).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_clean_start_that_cannot_be_kept_is_refused() {
    let disk = Arc::new(Disk::default());
    let stage = stage(&disk);
    let (mut client, _) = stage.connect(&hello(Version::V5, "d1").lasting()).await;
    client.subscribe(&[("state/d1/x", 1)]).await;
    client.disconnect().await;
    disk.broken.store(true, Ordering::Relaxed);
    let (_, got) = stage.try_connect(&hello(Version::V5, "d1")).await;
    assert!(matches!(got, Got::Connack { code: 0x88, .. }), "{got:?}");
}
