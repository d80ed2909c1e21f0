//! Updates over MQTT, by the state replica and by jobs: as they should go, and as they should not.

use crate::broker::{Broker, DEVICE, Reaction, Said};
use crate::device::{Device, FACTORY, TOKEN, wait_until};
use crate::stub::{PRODUCT, Stub, image, serve};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use updraft_agent::slots::SlotName;
use updraft_wire::jobs::{self, Status};
use updraft_wire::replica::{self, Reported, Verdict};
use updraft_wire::{Reason, UpdateState};

const IMAGE_BYTES: usize = 300_000;
const REPLICA: [&str; 2] = ["--transport", "mqtt"];
const JOBS: [&str; 4] = ["--transport", "mqtt", "--mqtt-flow", "jobs"];
const HEALTHY: [&str; 2] = ["--health-cmd", "/bin/true"];
const SICK: [&str; 6] = ["--health-cmd", "/bin/false", "--health-every", "100ms", "--trial-time", "300ms"];
const IMPATIENT: [&str; 2] = ["--silence-time", "1s"];

/// A broker and a file server that assign an image, well served.
fn assigning(job: &str, version: &str, bytes: &[u8]) -> (Broker, Stub) {
    let (broker, files) = (Broker::start(), Stub::start());
    let served = bytes.to_vec();
    files.on_download(move |get| serve(&served, get));
    broker.assign(job, version, bytes, &format!("{}/image", files.url()));
    (broker, files)
}

fn with<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}

fn run_once(device: &Device, broker: &Broker, parts: &[&[&str]]) -> (bool, String) {
    let more = with(parts).into_iter().chain(["--once"]).collect::<Vec<_>>();
    let output = device.command_at(&broker.url(), &more).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn an_update_by_the_state_replica_goes_the_whole_way() {
    let bytes = image(IMAGE_BYTES);
    let (broker, files) = assigning("r1-1", "1.1.0", &bytes);
    let device = Device::new();
    let (went_well, log) = run_once(&device, &broker, &[&REPLICA, &HEALTHY]);
    assert!(went_well, "{log}");
    assert_eq!(broker.ended().unwrap().state, UpdateState::Succeeded, "{log}");
    assert_eq!(device.current_image(), Some(bytes));
    device.assert_startable();
    let reported = broker.reported();
    let last = reported.last().unwrap();
    assert_eq!((last.product.as_str(), last.version.as_str(), last.boot), (PRODUCT, "1.1.0", 2));
    for said in &reported {
        // Success is never claimed by another version than the one that was to run.
        let is_end = said.update.as_ref().is_some_and(|update| update.state == UpdateState::Succeeded);
        assert!(!is_end || said.version == "1.1.0");
    }
    let (credential, keep_alive) = broker.connects()[0].clone();
    assert_eq!(credential, Some((DEVICE.to_owned(), TOKEN.to_owned())));
    assert_eq!(keep_alive, 240);
    assert!(files.gets().iter().all(|get| get.header("authorization").is_none()));
}

#[test]
fn an_update_by_jobs_goes_the_whole_way_and_succeeds_only_after_the_confirmation() {
    let (broker, _files) = assigning("r1-1", "1.1.0", &image(IMAGE_BYTES));
    let device = Device::new();
    let agent =
        device.run_at(&broker.url(), &with(&[&JOBS, &["--confirm", "manual", "--keep-alive", "20m"]]));
    let steps = |broker: &Broker| {
        let of = |details: Option<jobs::Details>| details.unwrap_or_default().get("step").cloned();
        broker.updates().into_iter().filter_map(|(_, body)| of(body.status_details)).collect::<Vec<_>>()
    };
    broker.wait("the trial", |broker| steps(broker).contains(&"trial".to_owned()).then_some(()));
    assert!(broker.updates().iter().all(|(_, body)| body.status == Status::InProgress));
    assert!(device.verb(&["confirm"]).0);
    assert_eq!(broker.wait_for_end().state, UpdateState::Succeeded);
    let updates = broker.updates();
    let (job, last) = updates.last().unwrap();
    assert_eq!((job.as_str(), last.status, last.execution_number), ("r1", Status::Succeeded, Some(1)));
    assert_eq!(last.status_details.clone().unwrap()["version"], "1.1.0");
    assert!(last.expected_version.is_some());
    assert_eq!(broker.reported().last().unwrap().version, "1.1.0", "the description came too late");
    let state = |reported: &Reported| reported.update.as_ref().map(|update| update.state);
    let described: Vec<_> =
        broker.reported().iter().map(|reported| (reported.version.clone(), state(reported))).collect();
    let trial = ("1.1.0".to_owned(), Some(UpdateState::Trial));
    let expected = [(FACTORY.to_owned(), None), trial, ("1.1.0".to_owned(), None)];
    assert_eq!(described, expected, "a version on trial looks like success: {:#?}", broker.said());
    assert_eq!(broker.connects()[0].1, 1200);
    let own = format!("$aws/things/{DEVICE}/jobs/");
    assert!(
        broker.filters().iter().all(|f| f.starts_with(&own) || f.starts_with(&format!("state/{DEVICE}/")))
    );
    assert!(agent.terminate().0.success());
}

#[test]
fn a_sick_version_is_left_and_jobs_hear_it_as_failed() {
    let (broker, _files) = assigning("r1-1", "1.1.0", &image(1000));
    let device = Device::new();
    let (went_well, log) = run_once(&device, &broker, &[&JOBS, &SICK]);
    assert!(went_well, "{log}");
    let end = broker.ended().unwrap();
    assert_eq!((end.state, end.reason), (UpdateState::RolledBack, Some(Reason::RolledBack)), "{log}");
    let (_, last) = broker.updates().pop().unwrap();
    assert_eq!(last.status, Status::Failed);
    assert!(last.status_details.unwrap()["detail"].contains("/bin/false"));
    assert_eq!(broker.reported().last().unwrap().version, FACTORY);
}

#[test]
fn a_sick_version_is_left_and_the_replica_hears_it_from_a_later_boot() {
    let (broker, _files) = assigning("r1-1", "1.1.0", &image(1000));
    let device = Device::new();
    assert!(run_once(&device, &broker, &[&REPLICA, &SICK]).0);
    assert_eq!(broker.ended().unwrap().state, UpdateState::RolledBack);
    let last = broker.reported().pop().unwrap();
    assert_eq!((last.version.as_str(), last.boot), (FACTORY, 3));
}

#[test]
fn a_device_that_waits_is_woken_by_a_hint_and_repeated_hints_change_nothing() {
    for flow in [&REPLICA[..], &JOBS[..]] {
        let (broker, files) = (Broker::start(), Stub::start());
        let bytes = image(IMAGE_BYTES);
        let served = bytes.clone();
        files.on_download(move |get| serve(&served, get));
        let device = Device::new();
        let agent = device.run_at(&broker.url(), &with(&[flow, &HEALTHY, &["--interval", "10m"]]));
        broker.wait("the first question", |broker| {
            broker.said().iter().any(|said| said.topic.ends_with("get")).then_some(())
        });
        broker.assign("r1-1", "1.1.0", &bytes, &format!("{}/image", files.url()));
        for _ in 0..50 {
            broker.hint();
        }
        assert_eq!(broker.wait_for_end().state, UpdateState::Succeeded, "{flow:?}");
        assert_eq!(files.gets().len(), 1, "{flow:?}: fetched more than once");
        assert!(agent.terminate().0.success());
    }
}

#[test]
fn an_assignment_taken_back_is_dropped_before_it_starts() {
    for flow in [&REPLICA[..], &JOBS[..]] {
        let bytes = image(IMAGE_BYTES);
        let (broker, files) = assigning("r1-1", "1.1.0", &bytes);
        files.on_download(move |get| {
            let mut reply = serve(&bytes, get);
            reply.truncate(reply.len() / 2);
            reply
        });
        let device = Device::new();
        let agent = device.run_at(&broker.url(), &with(&[flow]));
        files.wait("the download", |_, gets| (!gets.is_empty()).then_some(()));
        broker.withdraw();
        wait_until("the slot to be given up", || !device.path("slots").join("a/image").exists());
        drop(agent);
        assert_eq!(device.active_version(), FACTORY);
    }
}

#[test]
fn a_broker_that_goes_away_in_the_middle_of_an_update_is_found_again() {
    for flow in [&REPLICA[..], &JOBS[..]] {
        let bytes = image(IMAGE_BYTES);
        let (broker, files) = assigning("r1-1", "1.1.0", &bytes);
        let device = Device::new();
        let agent = device.run_at(&broker.url(), &with(&[flow, &HEALTHY]));
        files.wait("the download", |_, gets| (!gets.is_empty()).then_some(()));
        broker.cut();
        broker.wait_for_connects(2);
        broker.cut();
        assert_eq!(broker.wait_for_end().state, UpdateState::Succeeded, "{flow:?}");
        device.assert_startable();
        assert!(agent.terminate().0.success());
    }
}

#[test]
fn an_end_that_was_not_accepted_is_told_again_after_the_connection_was_lost() {
    for flow in [&REPLICA[..], &JOBS[..]] {
        let (broker, _files) = assigning("r1-1", "1.1.0", &image(1000));
        let ends = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ends);
        broker.on_message(move |said| {
            let is_end = said.body["state"]["reported"]["update"]["state"] == "succeeded"
                || said.body["status"] == "SUCCEEDED";
            if is_end && counted.fetch_add(1, Ordering::SeqCst) == 0 {
                Reaction::HangUp
            } else {
                Reaction::Usual
            }
        });
        let device = Device::new();
        let _agent = device.run_at(&broker.url(), &with(&[flow, &HEALTHY]));
        assert_eq!(broker.wait_for_end().state, UpdateState::Succeeded);
        assert_eq!(ends.load(Ordering::SeqCst), 2, "{flow:?}");
        wait_until("the end to be noted", || {
            device.verb(&["status", "--json"]).1.contains("\"unheard\": []")
        });
    }
}

#[test]
fn a_server_that_never_answers_is_left_and_tried_again() {
    for flow in [&REPLICA[..], &JOBS[..]] {
        let (broker, _files) = assigning("r1-1", "1.1.0", &image(1000));
        let heard = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&heard);
        // The first question, and the second one on a later connection, get no answer.
        broker.on_message(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Reaction::Say(Vec::new()),
            _ => Reaction::Usual,
        });
        let device = Device::new();
        let agent = device.run_at(&broker.url(), &with(&[flow, &HEALTHY, &IMPATIENT]));
        assert_eq!(broker.wait_for_end().state, UpdateState::Succeeded, "{flow:?}");
        assert!(broker.connects().len() >= 3, "{flow:?}: the silent connections were kept");
        assert!(agent.terminate().0.success());
    }
}

#[test]
fn a_single_round_ends_with_the_reason_when_the_server_does_not_answer() {
    let broker = Broker::start();
    broker.on_message(|_| Reaction::Say(Vec::new()));
    let (went_well, log) = run_once(&Device::new(), &broker, &[&REPLICA, &IMPATIENT]);
    assert!(!went_well && log.contains("has not answered within 1s"), "{log}");
    broker.refuse(true);
    let (went_well, log) = run_once(&Device::new(), &broker, &[&REPLICA, &IMPATIENT]);
    assert!(!went_well && log.contains("does not take this device's credential"), "{log}");
    let address = broker.url();
    drop(broker);
    let device = Device::new();
    let output = device.command_at(&address, &with(&[&REPLICA, &["--once"]])).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no connection to the server"));
}

/// Replies to the first `bad` questions for what is wanted in this way, then as usual; the update must succeed all the same.
fn survives(name: &str, flow: &[&str], bad: impl Fn(&Said) -> Option<Reaction> + Send + 'static) {
    let (broker, _files) = assigning("r1-1", "1.1.0", &image(1000));
    let is_spent = Arc::new(Mutex::new(false));
    let spent = Arc::clone(&is_spent);
    broker.on_message(move |said| {
        let mut is_spent = spent.lock().unwrap();
        match bad(said).filter(|_| !*is_spent) {
            Some(reaction) => {
                *is_spent = true;
                reaction
            }
            None => Reaction::Usual,
        }
    });
    let device = Device::new();
    let agent = device.run_at(&broker.url(), &with(&[flow, &HEALTHY, &IMPATIENT]));
    let end = broker.wait_for_end();
    assert_eq!(end.state, UpdateState::Succeeded, "{name}: {end:?}");
    assert!(*is_spent.lock().unwrap(), "{name}: nothing bad was said");
    let (status, log) = agent.terminate();
    assert!(status.success() && !log.contains("panicked"), "{name}: {log}");
}

fn get_accepted(said: &Said, body: &[u8]) -> Option<Reaction> {
    let topic = replica::Topic::GetReply(Verdict::Accepted).name(DEVICE);
    said.topic.ends_with("/get").then(|| Reaction::Say(vec![(topic, body.to_vec())]))
}

fn next_accepted(said: &Said, body: &[u8]) -> Option<Reaction> {
    let topic = jobs::Topic::DescribeReply(jobs::NEXT, Verdict::Accepted).name(DEVICE);
    said.topic.ends_with("$next/get").then(|| Reaction::Say(vec![(topic, body.to_vec())]))
}

#[test]
fn malformed_replies_change_nothing() {
    let good_token = |said: &Said, body: serde_json::Value| {
        let mut body = body;
        body["clientToken"] = said.body["clientToken"].clone();
        body.to_string().into_bytes()
    };
    survives("no JSON", &REPLICA, |said| get_accepted(said, b"hello"));
    survives("no UTF-8", &REPLICA, |said| get_accepted(said, b"\xff\xfe"));
    survives("nested too deep", &REPLICA, |said| get_accepted(said, "[".repeat(100_000).as_bytes()));
    survives("another shape", &REPLICA, move |said| {
        get_accepted(said, &good_token(said, json!({"state": 7, "version": 1, "timestamp": 1})))
    });
    survives("a broken assignment", &REPLICA, move |said| {
        let delta = json!({"software": {"version": "1.1.0", "job": "../x"}});
        get_accepted(
            said,
            &good_token(said, json!({"state": {"delta": delta}, "version": 1, "timestamp": 1})),
        )
    });
    survives("a link without a manifest", &REPLICA, move |said| {
        let delta = json!({"softwareURL": "http://127.0.0.1/x", "jobID": "r1-1"});
        get_accepted(
            said,
            &good_token(said, json!({"state": {"delta": delta}, "version": 1, "timestamp": 1})),
        )
    });
    survives("no JSON of a job", &JOBS, |said| next_accepted(said, b"hello"));
    survives("a job of another shape", &JOBS, move |said| {
        next_accepted(said, &good_token(said, json!({"execution": {"jobId": 7}, "timestamp": 1})))
    });
}

#[test]
fn an_oversized_message_costs_the_connection_and_nothing_else() {
    survives("oversized", &REPLICA, |said| get_accepted(said, &vec![b' '; 600 * 1024]));
    survives("oversized job", &JOBS, |said| next_accepted(said, &vec![b' '; 600 * 1024]));
}

#[test]
fn a_late_reply_and_one_to_another_are_nobodys() {
    for token in [json!("another"), json!(null), json!(7)] {
        survives("another token", &REPLICA, move |said| {
            get_accepted(
                said,
                json!({"state": {}, "version": 1, "clientToken": token}).to_string().as_bytes(),
            )
        });
    }
    survives("another device's topic", &REPLICA, |said| {
        let mut body = json!({"state": {}, "version": 1, "timestamp": 1});
        body["clientToken"] = said.body["clientToken"].clone();
        let topic = replica::Topic::GetReply(Verdict::Accepted).name("device-2");
        said.topic.ends_with("/get").then(|| Reaction::Say(vec![(topic, body.to_string().into_bytes())]))
    });
}

#[test]
fn jobs_that_are_not_for_this_agent_are_refused_and_ours_behind_them_is_done() {
    let (broker, _files) = assigning("r1-1", "1.1.0", &image(1000));
    broker.put_before("reboot-all", json!({"operation": "reboot"}));
    broker.put_before("nameless", json!({"x": 1}));
    broker.put_before("broken", json!({"operation": "update", "version": "1.1.0"}));
    broker.put_before("zerynth", json!({"operation": "fota", "bc_idx": 1}));
    let device = Device::new();
    let (went_well, log) = run_once(&device, &broker, &[&JOBS, &HEALTHY]);
    assert!(went_well, "{log}");
    assert_eq!(broker.ended().unwrap().state, UpdateState::Succeeded);
    let ends: Vec<_> = broker.updates().into_iter().take(4).map(|(job, body)| (job, body.status)).collect();
    let expected = [
        ("reboot-all", Status::Rejected),
        ("nameless", Status::Rejected),
        ("broken", Status::Failed),
        ("zerynth", Status::Rejected),
    ];
    assert_eq!(ends, expected.map(|(job, status)| (job.to_owned(), status)));
}

#[test]
fn a_job_that_another_hand_has_changed_is_described_anew() {
    let (broker, _files) = assigning("r1-1", "1.1.0", &image(1000));
    let mut is_overtaken = false;
    broker.on_message(move |said| {
        let overtakes = said.body["status"] == "SUCCEEDED" && !std::mem::replace(&mut is_overtaken, true);
        if overtakes { Reaction::Overtake } else { Reaction::Usual }
    });
    let device = Device::new();
    let (went_well, log) = run_once(&device, &broker, &[&JOBS, &HEALTHY]);
    assert!(went_well, "{log}");
    assert_eq!(broker.ended().unwrap().state, UpdateState::Succeeded);
    let ends = broker.updates().into_iter().filter(|(_, body)| body.status == Status::Succeeded);
    let versions: Vec<_> = ends.map(|(_, body)| body.expected_version.unwrap()).collect();
    assert_eq!(versions.len(), 2, "one refused, one accepted");
    assert_eq!(versions[0] + 1, versions[1]);
}

#[test]
fn a_job_closed_by_the_server_hears_no_more_and_the_device_goes_on() {
    let (broker, _files) = assigning("r1-1", "1.1.0", &image(1000));
    let device = Device::new();
    let agent = device.run_at(&broker.url(), &with(&[&JOBS, &["--confirm", "manual"]]));
    wait_until("the trial", || {
        device.slot(SlotName::A).is_some_and(|record| record.version == "1.1.0")
            && device.active_version() == "1.1.0"
    });
    broker.withdraw();
    assert!(device.verb(&["confirm"]).0);
    wait_until("the end to be let go", || device.verb(&["status", "--json"]).1.contains("\"unheard\": []"));
    let bytes = image(2000);
    let files = Stub::start();
    let served = bytes.clone();
    files.on_download(move |get| serve(&served, get));
    broker.assign("r2-1", "1.2.0", &bytes, &format!("{}/image", files.url()));
    wait_until("the next update", || device.active_version() == "1.2.0");
    assert!(agent.terminate().0.success());
}

#[test]
fn settings_that_exclude_each_other_are_told() {
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_updraft-agent"));
        command.args(["run", "--id", "d", "--product", "p", "--state", "/nonexistent/state"]).args(arguments);
        let output = command.env_remove("UPDRAFT_TOKEN").output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (arguments, part) in [
        (&["--mqtt-flow", "jobs", "--token", "abcdefgh"][..], "are for --transport mqtt"),
        (&["--transport", "mqtt", "--token", "abcdefgh", "--keep-alive", "21m"], "--keep-alive is 5s to 20m"),
        (&["--transport", "mqtt", "--cert", "x"], "--cert and --key go together"),
        (&["--transport", "mqtt"], "the token or the certificate is missing"),
    ] {
        let said = run(arguments);
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state").display().to_string();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_updraft-agent"));
    command.args(["run", "--id", "d", "--product", "p", "--transport", "mqtt", "--token", "abcdefgh"]);
    let output = command.args(["--state", &state, "--server", "https://ota.example"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("it is mqtts://host[:port]"), "{said}");
}
