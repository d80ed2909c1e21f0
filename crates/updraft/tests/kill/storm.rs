//! All devices of a fleet come at once, and again at once, as after a power cut of the server.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::jobs::token;
use crate::process::Process;
use crate::worker::{Crowd, Worker, World};

const DEVICES: usize = 10_000;
/// Open files that each side needs beside its connections.
const OTHER_FILES: u64 = 200;
/// Most memory of the server, in KiB: what it takes by itself, and some for each connection.
#[cfg(target_os = "linux")]
const MEMORY_KIB_MAX: u64 = 128 * 1024;

#[test]
fn a_storm_of_reconnects_is_held() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let is_enough = limit.maximum.is_none_or(|files| files > DEVICES as u64 + OTHER_FILES);
    assert!(is_enough, "this test needs more open files: {limit:?}");
    let mut process = Process::start();
    let world = World::new(process.mqtt, token(&process));
    let crowd = Crowd::start(&world, DEVICES);
    let idle = |world: &World| world.idle.load(Ordering::Relaxed);
    // Amid the first storm: who heard that its subscription stands, or its version is known, relies on it from here on.
    crowd.wait_until("many are served", |world| idle(world) >= DEVICES / 3);
    process.kill();
    crowd.wait_until("all have lost their connection", |world| idle(world) == 0);
    process.start_again();
    *world.server.write().unwrap_or_else(PoisonError::into_inner) = process.mqtt;
    crowd.wait_until("all are served", |world| idle(world) == DEVICES);
    process.kill();
    crowd.wait_until("all have lost their connection", |world| idle(world) == 0);
    process.start_again();
    let back = Instant::now();
    *world.server.write().unwrap_or_else(PoisonError::into_inner) = process.mqtt;
    // Within the patience of `wait_until`; each has its session again and an answer.
    crowd.wait_until("all are served again", |world| idle(world) == DEVICES);
    eprintln!("{DEVICES} devices served again after {:?}", back.elapsed());
    #[cfg(target_os = "linux")]
    {
        let peak = peak_kib(&process);
        eprintln!("the server took {peak} KiB at most");
        assert!(peak < MEMORY_KIB_MAX, "{peak} KiB");
    }
    for number in (0..DEVICES).step_by(DEVICES / 100) {
        let device = Worker::new(number);
        let known = process.operate("GET", &format!("/devices/{}", device.id), b"");
        assert_eq!(known["version"], device.version.as_str(), "what was acknowledged is on record: {known}");
    }
    process.kill();
    assert_eq!(crowd.end().len(), DEVICES);
}

/// The most memory that the server has had so far.
#[cfg(target_os = "linux")]
fn peak_kib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
