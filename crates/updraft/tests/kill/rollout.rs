//! SIGKILL in the middle of rollouts, again and again: nothing that was answered is lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fleet::{self, Device, PRODUCT, WORDS, World};
use crate::process::{PATIENCE, Process};

const KILLS: u64 = 50;
const THREADS: usize = 6;
const DEVICES_PER_THREAD: usize = 40;

#[test]
fn fifty_kills_lose_no_execution_open_none_twice_and_leave_every_history_complete() {
    let mut process = Process::start();
    let token = process.operate("POST", "/tokens", json!({ "product": PRODUCT }).to_string().as_bytes());
    let world = World {
        server: RwLock::new(process.devices),
        token: token["token"].as_str().unwrap().to_owned(),
        is_over: AtomicBool::new(false),
    };
    let parts: Vec<Mutex<Vec<Device>>> = (0..THREADS)
        .map(|part| (0..DEVICES_PER_THREAD).map(|n| Device::new(part * DEVICES_PER_THREAD + n)).collect())
        .map(Mutex::new)
        .collect();
    std::thread::scope(|scope| {
        let ends_with_us = EndsWithUs(&world.is_over);
        for part in &parts {
            scope.spawn(|| fleet::run(&world, part));
        }
        for kill in 0..KILLS {
            publish(&process, kill);
            // Anywhere between the first answers and a rollout that is mostly done.
            std::thread::park_timeout(Duration::from_millis(5 + kill * 7_919 % 150));
            process.kill();
            process.start_again();
            *world.server.write().unwrap() = process.devices;
        }
        drop(ends_with_us);
    });
    let mut devices: Vec<_> = parts.into_iter().flat_map(|part| part.into_inner().unwrap()).collect();
    let last = version(KILLS - 1);
    let until = Instant::now() + PATIENCE;
    for device in &mut devices {
        while device.version != last {
            device.step(&world);
            assert!(Instant::now() < until, "{} is still on {}", device.id, device.version);
        }
    }
    let jobs: usize = devices.iter().map(|device| check(&process, device)).sum();
    assert!(jobs > devices.len(), "there was something to lose: {jobs} jobs");
}

/// Ends the devices' threads also when the test fails.
struct EndsWithUs<'a>(&'a AtomicBool);

impl Drop for EndsWithUs<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn version(kill: u64) -> String {
    format!("1.{}.0", kill + 1)
}

fn publish(process: &Process, kill: u64) {
    let version = version(kill);
    process.operate("PUT", &format!("/products/{PRODUCT}/releases/{version}"), version.as_bytes());
    let start = json!({ "product": PRODUCT, "version": version });
    process.operate("POST", "/rollouts", start.to_string().as_bytes());
}

/// Compares what the server has on record with what the device was answered; how many jobs it had.
fn check(process: &Process, device: &Device) -> usize {
    let known = process.operate("GET", &format!("/devices/{}", device.id), b"");
    let mut histories: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    // Newest first, as people read it.
    for event in known["history"].as_array().unwrap().iter().rev() {
        let job = format!("{}-{}", event["rollout"].as_str().unwrap(), event["attempt"]);
        histories.entry(job).or_default().push(event);
    }
    assert_eq!(
        histories.keys().collect::<Vec<_>>(),
        device.promised.keys().collect::<Vec<_>>(),
        "{}: the jobs on record are those that were given",
        device.id
    );
    for (job, history) in &histories {
        let named = format!("{} {job}: {history:?}", device.id);
        assert_eq!(history.iter().filter(|event| event["from"].is_null()).count(), 1, "opened once: {named}");
        assert!(history.windows(2).all(|pair| pair[1]["from"] == pair[0]["to"]), "no gap: {named}");
        let states: Vec<_> = history.iter().map(|event| event["to"].as_str().unwrap()).collect();
        assert_eq!(states.last(), Some(&"succeeded"), "{named}");
        for word in &WORDS[..device.promised[job]] {
            assert!(states.contains(word), "{word} was answered: {named}");
        }
        assert!(job.ends_with("-1"), "one attempt is enough: {named}");
    }
    let executions = known["executions"].as_array().unwrap();
    assert_eq!(executions.len(), histories.len(), "{}", device.id);
    assert!(executions.iter().all(|execution| execution["state"] == "succeeded"), "{executions:?}");
    histories.len()
}
