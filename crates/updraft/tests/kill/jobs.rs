//! SIGKILL in the middle of a thousand jobs that devices work off over MQTT, and what a session is after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::mqtt::Link;
use crate::process::{PATIENCE, Process};
use crate::worker::{Crowd, PRODUCT, Worker, World};

const DEVICES: usize = 1_000;
/// What is to be done in each round, by all devices.
const ROUNDS: [&[Work]; 5] =
    [&[Work::Release], &[Work::Task], &[Work::Release], &[Work::Task], &[Work::Release, Work::Task]];
/// Kills while the same jobs are under way.
const KILLS_PER_ROUND: usize = 4;
/// Changes of one execution: it is opened, begun, installing, succeeded.
const CHANGES: usize = 4;
/// How long the server lets a device be silent about its job.
const DEADLINE: &str = "60s";
/// Longest for all of it.
const TIME_MAX: Duration = Duration::from_secs(180);

/// What a job is about.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// A release to install.
    Release,
    /// A document that names its devices.
    Task,
}

/// A job of all devices.
struct Job {
    /// What devices know it by.
    name: String,
    /// What the server's books know it by.
    rollout: String,
}

impl Job {
    fn start(process: &Process, work: Work, round: usize) -> Self {
        match work {
            Work::Release => {
                let rollout = publish(process, &format!("1.{}.0", round + 1), DEADLINE);
                Self { name: rollout.clone(), rollout }
            }
            Work::Task => {
                let name = format!("restart-{round}");
                let targets: Vec<_> = (0..DEVICES).map(Worker::new).map(|device| thing(&device.id)).collect();
                let job = json!({
                    "targets": targets, "document": "{\"operation\":\"restart\"}",
                    "timeoutConfig": { "inProgressTimeoutInMinutes": 1 },
                });
                process.operate_at("PUT", &format!("/jobs/{name}"), job.to_string().as_bytes());
                let rollouts = process.operate("GET", "/rollouts", b"");
                let all = rollouts["items"].as_array().unwrap();
                let its_own = all.iter().find(|rollout| rollout["task"] == name.as_str()).unwrap();
                Self { name, rollout: its_own["id"].as_str().unwrap().to_owned() }
            }
        }
    }
}

fn thing(id: &str) -> String {
    format!("arn:aws:iot:eu-central-1:000000000000:thing/{id}")
}

#[test]
fn twenty_kills_in_the_middle_of_a_thousand_jobs_lose_none_run_none_twice_and_leave_none_waiting() {
    let began = Instant::now();
    let mut process = Process::start();
    let world = World::new(process.mqtt, token(&process));
    let crowd = Crowd::start(&world, DEVICES);
    crowd.wait_until("all are known", |world| world.idle.load(Ordering::Relaxed) == DEVICES);
    let (mut jobs, mut under_way) = (Vec::new(), Vec::new());
    for (round, works) in ROUNDS.iter().enumerate() {
        let words = world.words.load(Ordering::Relaxed);
        jobs.extend(works.iter().map(|work| Job::start(&process, *work, round)));
        for kill in 0..KILLS_PER_ROUND {
            // Anywhere in its own quarter of all the changes there will be, but for the last few.
            let quarter = DEVICES * works.len() * CHANGES / KILLS_PER_ROUND;
            let seeded = (round * KILLS_PER_ROUND + kill) * 7_919 % (quarter * 9 / 10);
            let moment = words + kill * quarter + 1 + seeded;
            crowd.wait_until("the next kill", |world| world.words.load(Ordering::Relaxed) >= moment);
            process.kill();
            under_way.push(world.under_way.load(Ordering::Relaxed));
            process.start_again();
            *world.server.write().unwrap_or_else(PoisonError::into_inner) = process.mqtt;
        }
        let all = jobs.len() * DEVICES;
        crowd.wait_until("all have ended", |world| world.settled.load(Ordering::Relaxed) == all);
    }
    let amid = under_way.iter().filter(|jobs| **jobs >= DEVICES / 10).count();
    assert!(amid > under_way.len() / 2, "there was something to lose: {under_way:?}");
    eprintln!("jobs under way at the kills: {under_way:?}; {:?}", began.elapsed());
    for job in &jobs {
        check_rollout(&process, &job.rollout);
    }
    let known: Vec<_> = (0..DEVICES)
        .map(|n| process.operate("GET", &format!("/devices/{}", Worker::new(n).id), b""))
        .collect();
    process.kill();
    let devices = crowd.end();
    assert_eq!(devices.len(), DEVICES);
    for device in &devices {
        let known = known.iter().find(|known| known["id"] == device.id.as_str()).unwrap();
        check_device(known, device, &jobs);
    }
    assert!(began.elapsed() < TIME_MAX, "{:?}", began.elapsed());
}

pub(crate) fn token(process: &Process) -> String {
    let made = process.operate("POST", "/tokens", json!({ "product": PRODUCT }).to_string().as_bytes());
    made["token"].as_str().unwrap().to_owned()
}

/// Starts a rollout for everyone at once; its ID.
fn publish(process: &Process, version: &str, deadline: &str) -> String {
    process.operate("PUT", &format!("/products/{PRODUCT}/releases/{version}"), version.as_bytes());
    let start = json!({
        "product": PRODUCT, "version": version, "in_flight_max": 1_000_000, "abort_percent": 101, "attempts_max": 1,
        "deadlines": { "queued": deadline, "downloading": deadline, "installing": deadline, "rebooting": deadline },
    });
    process.operate("POST", "/rollouts", start.to_string().as_bytes())["id"].as_str().unwrap().to_owned()
}

/// In the server's books, each device has succeeded once.
fn check_rollout(process: &Process, rollout: &str) {
    let status = process.operate("GET", &format!("/rollouts/{rollout}/status"), b"");
    assert_eq!((&status["in_flight"], &status["devices"]), (&json!(0), &json!(DEVICES)), "{status}");
    for (state, count) in status["counts"].as_object().unwrap() {
        assert_eq!(*count, json!(if state == "succeeded" { DEVICES } else { 0 }), "{state}: {status}");
    }
}

/// The device has run each job once, and the server has the whole story of each.
fn check_device(known: &Value, device: &Worker, jobs: &[Job]) {
    let each_once: BTreeSet<_> = jobs.iter().map(|job| (job.name.clone(), 1)).collect();
    assert_eq!(device.memory.keys().cloned().collect::<BTreeSet<_>>(), each_once, "{device:?}");
    assert!(device.memory.values().all(|one| one.runs == 1 && one.is_settled), "{device:?}");
    assert_eq!(known["version"], device.version.as_str());
    let mut histories: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    // Newest first, as people read it.
    for event in known["history"].as_array().unwrap().iter().rev() {
        assert_eq!(event["attempt"], 1, "{event}");
        histories.entry(event["rollout"].as_str().unwrap()).or_default().push(event);
    }
    let rollouts: BTreeSet<_> = jobs.iter().map(|job| job.rollout.as_str()).collect();
    assert_eq!(histories.keys().copied().collect::<BTreeSet<_>>(), rollouts, "{known}");
    for history in histories.values() {
        assert!(history[0]["from"].is_null(), "{history:?}");
        assert!(history.windows(2).all(|pair| pair[1]["from"] == pair[0]["to"]), "no gap: {history:?}");
        let ends = history.iter().filter(|event| event["to"] == "succeeded").count();
        assert_eq!((ends, &history.last().unwrap()["to"]), (1, &json!("succeeded")), "{history:?}");
    }
}

/// Lets one device do something over MQTT.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Connects as a device.
async fn connect(process: &Process, id: &str, token: &str) -> Link {
    Link::open(process.mqtt, id, token).await.unwrap()
}

fn notices(id: &str) -> String {
    format!("$aws/things/{id}/jobs/notify-next")
}

/// Connects as a device for the first time, subscribes to notices, and tells its version.
async fn introduce(process: &Process, id: &str, token: &str) -> Link {
    let mut link = connect(process, id, token).await;
    assert!(!link.is_resumed);
    link.subscribe(&notices(id)).await.unwrap();
    let state = json!({ "state": { "reported": { "version": "1.0.0" } } });
    link.publish(&format!("state/{id}/update"), &state).await.unwrap();
    link
}

/// Connects as a device that has a session, and subscribes to nothing.
async fn resume(process: &Process, id: &str, token: &str) -> Link {
    let link = connect(process, id, token).await;
    assert!(link.is_resumed, "{id}: the server has kept the session");
    link
}

/// Waits for a notice that names a job.
async fn hear_of(job: &str, id: &str, link: &mut Link) {
    let heard = link.message().await.unwrap();
    assert_eq!((heard.topic, &heard.payload["execution"]["jobId"]), (notices(id), &json!(job)));
}

#[test]
fn a_session_and_its_subscriptions_outlive_a_kill() {
    let mut process = Process::start();
    let token = token(&process);
    block_on(async {
        drop(introduce(&process, "away", &token).await);
        let _link = introduce(&process, "lasting", &token).await;
        // An answer that left is durable: nothing may be left to write when the server dies.
        process.kill();
        process.start_again();
        let mut link = resume(&process, "lasting", &token).await;
        let job = publish(&process, "1.1.0", DEADLINE);
        hear_of(&job, "lasting", &mut link).await;
        process.kill();
        process.start_again();
        let mut link = resume(&process, "lasting", &token).await;
        // It may have missed the notice, which comes again.
        hear_of(&job, "lasting", &mut link).await;
        let mut link = resume(&process, "away", &token).await;
        hear_of(&job, "away", &mut link).await;
    });
}

#[test]
fn a_device_that_falls_silent_before_a_kill_is_timed_out_at_its_deadline_after_it() {
    let mut process = Process::start();
    let token = token(&process);
    block_on(async {
        let mut link = connect(&process, "silent", &token).await;
        publish(&process, "1.1.0", "3s");
        link.publish("$aws/things/silent/jobs/start-next", &json!({})).await.unwrap();
        let taken = link.message().await.unwrap();
        assert_eq!(taken.payload["execution"]["status"], "IN_PROGRESS", "{}", taken.payload);
    });
    let deadline = Instant::now() + Duration::from_secs(3);
    process.kill();
    process.start_again();
    let execution = loop {
        let known = process.operate("GET", "/devices/silent", b"");
        let execution = known["executions"][0].clone();
        if execution["state"] != "downloading" {
            break execution;
        }
        assert!(Instant::now() < deadline + PATIENCE, "it waits past its deadline: {execution}");
        std::thread::park_timeout(Duration::from_millis(50));
    };
    assert_eq!(execution["state"], "timed_out", "{execution}");
    assert!(Instant::now() + Duration::from_millis(500) > deadline, "not before its deadline");
}
