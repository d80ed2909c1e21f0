//! Real updates, end to end, by clients with the habits of those in the field.

use std::time::{Duration, Instant};

use serde_json::json;
use updraft_core::execution::OFFERS_MAX;

use crate::client::agent::{Agent, PERIOD_S, Turn};
use crate::client::{Apply, Device, Ran, updaters};
use crate::stage::{PRODUCT, Stage, image};
use crate::wire::PATIENCE;

fn device<'a>(id: &'a str, token: &'a str, version: &'a str) -> Device<'a> {
    Device { id, product: PRODUCT, version, token, properties: &[] }
}

fn agent<'a>(stage: &'a Stage, id: &str) -> Agent<'a> {
    let properties = json!({
        "id": id, "product": PRODUCT, "name": "N", "description": "D", "model": "M-1", "ports": 16, "test": false
    });
    Agent::new(stage, stage.device_token(id), properties, "1.0.0")
}

/// Flips a bit of the one artifact, where it lies.
fn damage(stage: &Stage, bytes: u64) {
    let mut folders = vec![stage.data().join("artifacts")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.len() == bytes {
                let mut content = std::fs::read(entry.path()).unwrap();
                content[0] ^= 1;
                let copy = entry.path().with_extension("damaged");
                std::fs::write(&copy, content).unwrap();
                std::fs::rename(copy, entry.path()).unwrap();
                return;
            }
        }
    }
    panic!("no artifact of {bytes} bytes");
}

#[test]
fn each_updater_takes_an_update_and_its_next_check_in_is_the_proof() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(300_000));
    for (id, run) in updaters() {
        let token = stage.device_token(id);
        let ran = run(&stage, &device(id, &token, "1.0.0"), Apply::Succeeds);
        assert_eq!(ran, Ok(Ran::Updated("1.1.0".into())), "{id}");
        assert_eq!(stage.stands(id).0, "rebooting", "{id}: installed is not yet updated");
        let ran = run(&stage, &device(id, &token, "1.1.0"), Apply::Succeeds);
        assert_eq!(ran, Ok(Ran::NoUpdate), "{id}");
        assert_eq!(stage.stands(id), ("succeeded".into(), None), "{id}");
    }
}

#[test]
fn each_updater_sends_texts_that_policies_read_as_what_they_mean() {
    let stage = Stage::new();
    stage.release_for(
        "1.1.0",
        "device.pro%20%3D%3D%20true%20%26%26%20device.ports%20%3E%3D%2016",
        &image(10),
    );
    stage.rollout("1.1.0");
    for (id, run) in updaters() {
        let token = stage.device_token(id);
        let plain =
            Device { properties: &[("pro", "false"), ("ports", "16")], ..device(id, &token, "1.0.0") };
        assert_eq!(run(&stage, &plain, Apply::Succeeds), Ok(Ran::NoUpdate), "{id}");
        let pro = Device { properties: &[("pro", "true"), ("ports", "16")], ..device(id, &token, "1.0.0") };
        assert_eq!(run(&stage, &pro, Apply::Succeeds), Ok(Ran::Updated("1.1.0".into())), "{id}");
    }
}

#[test]
fn a_damaged_image_is_applied_by_no_updater_and_the_job_ends_after_some_offers() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(70_000));
    damage(&stage, 70_000);
    for (id, run) in updaters() {
        let token = stage.device_token(id);
        for offer in 1..=OFFERS_MAX {
            let error = run(&stage, &device(id, &token, "1.0.0"), Apply::Succeeds).unwrap_err();
            assert!(error.contains("Checksum does not match"), "{id}, offer {offer}: {error}");
            assert_eq!(stage.stands(id).0, "downloading", "{id}: nobody says anything of it");
        }
        assert_eq!(run(&stage, &device(id, &token, "1.0.0"), Apply::Succeeds), Ok(Ran::NoUpdate), "{id}");
        assert_eq!(stage.stands(id), ("failed".into(), Some("version_unchanged".into())), "{id}");
    }
}

#[test]
fn a_failing_script_ends_the_job_where_the_updater_tells_and_is_offered_again_where_it_does_not() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(1_000));
    for (id, run) in updaters() {
        let token = stage.device_token(id);
        let ran = run(&stage, &device(id, &token, "1.0.0"), Apply::Fails);
        if id == "shell" {
            assert!(ran.unwrap_err().contains("Apply update failed"));
            assert_eq!(stage.stands(id).0, "downloading");
            let again = run(&stage, &device(id, &token, "1.0.0"), Apply::Succeeds);
            assert_eq!(again, Ok(Ran::Updated("1.1.0".into())));
        } else {
            assert!(ran.is_ok(), "{id}: a failed script is no failure of the updater");
            assert_eq!(stage.stands(id), ("failed".into(), Some("install_failed".into())), "{id}");
            assert_eq!(run(&stage, &device(id, &token, "1.0.0"), Apply::Fails), Ok(Ran::NoUpdate), "{id}");
        }
    }
}

#[test]
fn an_updater_with_a_bad_token_says_so_and_is_told_nothing() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(10));
    for (id, run) in updaters() {
        let error = run(&stage, &device(id, "updt_guessed", "1.0.0"), Apply::Succeeds).unwrap_err();
        assert!(!error.is_empty() && !error.contains("http"), "{id}: {error}");
    }
}

#[test]
fn an_ioto_agent_is_believed_by_its_version_at_the_next_check_in() {
    let stage = Stage::new();
    let rollout = stage.publish("1.1.0", &image(200_000));
    let mut agent = agent(&stage, "DEV0000001");
    assert_eq!(agent.turn(15, Apply::Succeeds), Turn::Applied);
    assert_eq!(stage.stands("DEV0000001").0, "downloading", "the agent reports nothing");
    assert_eq!(agent.turn(3_600, Apply::Succeeds), Turn::TooEarly);
    assert_eq!(agent.turn(15 + PERIOD_S, Apply::Succeeds), Turn::NoUpdate);
    assert_eq!(stage.stands("DEV0000001"), ("succeeded".into(), None));
    let known = stage.device("DEV0000001");
    assert_eq!((&known.attributes["ports"], &known.attributes["test"]), (&json!(16), &json!(false)));
    assert_eq!(known.attributes["iotoVersion"], "3.0.0");
    assert_eq!(stage.status(&rollout).counts["succeeded"], 1);
}

#[test]
fn an_ioto_agent_whose_version_stays_the_same_gets_some_offers_and_then_none() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(1_000));
    let mut agent = agent(&stage, "stuck");
    for offer in 0..u64::from(OFFERS_MAX) {
        assert_eq!(agent.turn(offer * PERIOD_S, Apply::Fails), Turn::Applied, "offer {offer}");
    }
    assert_eq!(agent.turn(9 * PERIOD_S, Apply::Fails), Turn::NoUpdate);
    assert_eq!(stage.stands("stuck"), ("failed".into(), Some("version_unchanged".into())));
}

#[test]
fn an_ioto_agent_that_cannot_verify_waits_for_its_period_and_asks_again() {
    let stage = Stage::new();
    stage.publish("1.1.0", &image(50_001));
    damage(&stage, 50_001);
    let mut agent = agent(&stage, "unlucky");
    assert_eq!(agent.turn(0, Apply::Succeeds), Turn::BadChecksum);
    assert_eq!(agent.turn(600, Apply::Succeeds), Turn::TooEarly);
    damage(&stage, 50_001);
    assert_eq!(agent.turn(PERIOD_S, Apply::Succeeds), Turn::Applied, "the damage is mended");
}

#[test]
fn a_device_that_never_comes_back_times_out() {
    let stage = Stage::new();
    stage.release("1.1.0", &image(10));
    let deadlines = json!({ "queued": "1s", "downloading": "1s" });
    stage.rollout_with(json!({ "product": PRODUCT, "version": "1.1.0", "deadlines": deadlines }));
    let mut agent = agent(&stage, "lost");
    assert_eq!(agent.turn(0, Apply::Succeeds), Turn::Applied);
    let until = Instant::now() + PATIENCE;
    while stage.stands("lost").0 != "timed_out" {
        assert!(Instant::now() < until, "{:?}", stage.stands("lost"));
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
