//! The real agent killed at its n-th system call, or told by it that the disk fails, for every n until it no
//! longer matters.
//!
//! After each kill the agent is started again until nothing is left to do; then the device must run what the
//! server believes it runs. `strace` does the killing: it needs nothing in the agent.

use crate::device::{Device, FACTORY};
use crate::stub::{Stub, image};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use updraft_wire::UpdateState;

/// Three checkpoints of the smallest size.
const IMAGE_BYTES: usize = 200_000;
/// Calls that one update may make of one kind; beyond it something loops.
const CALLS_MAX: usize = 200;
/// Devices at once: they wait more than they work.
const DEVICES_AT_ONCE: usize = 4;
/// Starts until a device must be at rest: those that a trial allows, and as many again.
const STARTS_MAX: usize = 8;

/// What the n-th call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Injected {
    /// The process is killed as it makes the call.
    Kill,
    /// The call fails.
    Error(&'static str),
}

#[derive(Debug, Clone, Copy)]
struct Case {
    calls: &'static str,
    injected: Injected,
    is_healthy: bool,
}

impl Case {
    fn expression(self, nth: usize) -> String {
        match self.injected {
            Injected::Kill => format!("inject={}:signal=KILL:when={nth}", self.calls),
            Injected::Error(error) => format!("inject={}:error={error}:when={nth}", self.calls),
        }
    }

    fn options(self) -> [&'static str; 6] {
        let health = if self.is_healthy { "/bin/true" } else { "/bin/false" };
        ["--health-cmd", health, "--health-every", "50ms", "--trial-time", "300ms"]
    }
}

/// Whether system calls can be tampered with here. On a machine that checks everything they must be.
fn can_inject(test: &str) -> bool {
    let probe = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:signal=KILL:when=1", "true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let can = probe.is_ok_and(|status| status.success());
    if !can {
        println!("skipped: {test}: strace is missing, or may not trace here");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI has to have a working strace");
    }
    can
}

/// Plays one update with something injected at the n-th call. Says whether the call was reached.
fn play(case: Case, nth: usize) -> bool {
    let bytes = image(IMAGE_BYTES);
    let stub = Stub::assigning("r1-1", "1.1.0", &bytes);
    let device = Device::new();
    let trace = device.path("trace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", &format!("trace={}", case.calls), "-e", &case.expression(nth), "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_updraft-agent"))
        .args(device.arguments(&stub, &case.options()))
        .args(["--once"])
        .env_remove("UPDRAFT_TOKEN")
        .output()
        .unwrap();
    let context = || format!("{case:?} {nth}: {}", String::from_utf8_lossy(&output.stderr));
    let traced = std::fs::read_to_string(&trace).unwrap();
    let was_reached = match case.injected {
        Injected::Kill => traced.contains("killed by SIGKILL"),
        Injected::Error(_) => traced.contains("(INJECTED)"),
    };
    device.assert_startable_or_repairable(&context());
    for _ in 0..STARTS_MAX {
        let (went_well, log) = device.run_once(&stub, &case.options());
        if went_well && stub.ended().is_some() {
            break;
        }
        assert!(log.is_empty() || !log.contains("panicked"), "{}: {log}", context());
    }
    let end = stub.ended().unwrap_or_else(|| panic!("no end: {}", context()));
    device.assert_startable();
    let runs = device.active_version();
    assert_eq!(stub.words().last().unwrap().version, runs, "{}", context());
    match (case.injected, end.state) {
        (_, UpdateState::Succeeded) => assert!(case.is_healthy && runs == "1.1.0", "{}", context()),
        (_, UpdateState::RolledBack) => assert_eq!(runs, FACTORY, "{}", context()),
        // A disk that says no may cost the update, never the device.
        (Injected::Error(_), UpdateState::Failed) => assert_eq!(runs, FACTORY, "{}", context()),
        (_, state) => panic!("{state:?} with {runs}: {}", context()),
    }
    let may_roll_back = !case.is_healthy || case.injected != Injected::Kill;
    assert!(may_roll_back || end.state == UpdateState::Succeeded, "{}", context());
    was_reached
}

/// Plays a case for every n until the n-th call is never made.
fn play_all(test: &str, case: Case) {
    if !can_inject(test) {
        return;
    }
    let next = AtomicUsize::new(1);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..DEVICES_AT_ONCE {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    assert!(nth < CALLS_MAX, "{test}: the calls never end");
                    if !play(case, nth) {
                        is_over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let played = next.load(Ordering::Relaxed);
    println!("{test}: {played} runs");
    assert!(played > DEVICES_AT_ONCE + 5, "{test}: {} was hardly called", case.calls);
}

#[test]
fn an_agent_killed_at_any_fsync_brings_a_good_version() {
    let case = Case { calls: "fsync", injected: Injected::Kill, is_healthy: true };
    play_all("an_agent_killed_at_any_fsync_brings_a_good_version", case);
}

#[test]
fn an_agent_killed_at_any_rename_brings_a_good_version() {
    let case = Case { calls: "/^rename", injected: Injected::Kill, is_healthy: true };
    play_all("an_agent_killed_at_any_rename_brings_a_good_version", case);
}

#[test]
fn an_agent_killed_at_any_rename_leaves_a_sick_version() {
    let case = Case { calls: "/^rename", injected: Injected::Kill, is_healthy: false };
    play_all("an_agent_killed_at_any_rename_leaves_a_sick_version", case);
}

#[test]
fn an_agent_killed_at_any_write_brings_a_good_version() {
    let case = Case { calls: "pwrite64", injected: Injected::Kill, is_healthy: true };
    play_all("an_agent_killed_at_any_write_brings_a_good_version", case);
}

#[test]
fn an_agent_killed_at_any_word_it_says_brings_a_good_version() {
    // What it stores goes by pwrite64; by write go its log and its events.
    let case = Case { calls: "write", injected: Injected::Kill, is_healthy: true };
    play_all("an_agent_killed_at_any_word_it_says_brings_a_good_version", case);
}

#[test]
fn a_sync_that_fails_costs_an_update_at_most() {
    let case = Case { calls: "fsync", injected: Injected::Error("EIO"), is_healthy: true };
    play_all("a_sync_that_fails_costs_an_update_at_most", case);
}

#[test]
fn a_full_disk_at_any_write_costs_an_update_at_most() {
    let case = Case { calls: "pwrite64", injected: Injected::Error("ENOSPC"), is_healthy: true };
    play_all("a_full_disk_at_any_write_costs_an_update_at_most", case);
}
