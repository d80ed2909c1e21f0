//! No room left while the server runs: refusals, nothing lost, and everything again once there is room.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::fleet::PRODUCT;
use crate::process::{Line, Process};

/// Lets no file of the server grow beyond so many bytes; `None`: as large as it likes.
fn limit_files(process: &Process, bytes: Option<u64>) {
    let id = Pid::from_raw(i32::try_from(process.id()).unwrap());
    prlimit(id, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

fn check_in(line: &mut Line, token: &str, id: &str, note: &str) -> (u16, Value) {
    let body = json!({
        "id": id, "product": PRODUCT, "version": "1.0.0", "boot": 1, "attributes": { "note": note }
    });
    line.ask("POST", "/v1/check-in", token, body.to_string().as_bytes()).unwrap()
}

#[test]
fn a_full_disk_refuses_news_keeps_what_was_answered_and_takes_news_again_when_there_is_room() {
    let mut process = Process::start();
    let token = process.operate("POST", "/tokens", json!({ "product": PRODUCT }).to_string().as_bytes());
    let token = token["token"].as_str().unwrap().to_owned();
    process.operate("PUT", &format!("/products/{PRODUCT}/releases/1.1.0"), b"image");
    let mut line = Line::to(process.devices).unwrap();
    let (status, _) = check_in(&mut line, &token, "before", "a");
    assert_eq!(status, 200);

    limit_files(&process, Some(4_096));
    for id in ["before", "new"] {
        let (status, refusal) = check_in(&mut line, &token, id, "b");
        assert_eq!((status, refusal["code"].as_str()), (503, Some("unavailable")), "{id}");
    }
    let (status, _) = check_in(&mut line, &token, "before", "a");
    assert_eq!(status, 200, "what is on record needs no room");

    limit_files(&process, None);
    for id in ["before", "new"] {
        assert_eq!(check_in(&mut line, &token, id, "c").0, 200, "{id}");
    }
    let start = json!({ "product": PRODUCT, "version": "1.1.0" }).to_string();
    process.operate("POST", "/rollouts", start.as_bytes());
    let (_, answer) = check_in(&mut line, &token, "new", "c");
    let job = answer["assignment"]["job"].clone();
    assert!(job.is_string(), "{answer}");

    process.kill();
    process.start_again();
    let mut line = Line::to(process.devices).unwrap();
    let (_, answer) = check_in(&mut line, &token, "new", "c");
    assert_eq!(answer["assignment"]["job"], job, "what was answered outlives the process");
    assert_eq!(process.operate("GET", "/devices/before", b"")["attributes"]["note"], "c");
}
