//! The application: the program in the slot, started by the agent where nothing else starts it, and started
//! again when it ends.

use crate::hook::Argv;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// How long the application may take to end when asked, before it is killed.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(5);
/// How often it is looked at. Nothing waits for its end but its own next start.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// First pause before it is started again; doubles up to [`RESTART_PAUSE_MAX`].
const RESTART_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause before it is started again.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(60);

/// The file in the state folder that names the process, so that an agent that was killed finds what it left.
pub const PROCESS_NAME: &str = "app.process";

/// The application.
#[derive(Debug)]
pub struct App {
    process_path: PathBuf,
    argv: Argv,
    environment: BTreeMap<String, String>,
    child: Option<Child>,
    start_at: Instant,
    pause: Duration,
}

impl App {
    /// An application that is due to start. Ends the one that an agent left behind that was killed.
    #[must_use]
    pub fn new(argv: Argv, environment: BTreeMap<String, String>, state: &Path, now: Instant) -> Self {
        let process_path = state.join(PROCESS_NAME);
        end_leftover(&process_path);
        Self { process_path, argv, environment, child: None, start_at: now, pause: RESTART_PAUSE_MIN }
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// When to call [`Self::poll`] again.
    #[must_use]
    pub fn due(&self, now: Instant) -> Instant {
        if self.child.is_some() { now + LOOK_EVERY } else { self.start_at }
    }

    /// Starts it if it is due; notices if it has ended. Says what there is to say.
    pub fn poll(&mut self, now: Instant) -> Option<String> {
        if let Some(child) = &mut self.child {
            let status = match child.try_wait() {
                Ok(None) => return None,
                Ok(Some(status)) => status.to_string(),
                Err(error) => error.to_string(),
            };
            self.child = None;
            self.start_at = now + self.pause;
            let note = format!("{} ended ({status}); again in {} s", self.argv, self.pause.as_secs());
            self.pause = (self.pause * 2).min(RESTART_PAUSE_MAX);
            return Some(note);
        }
        if now < self.start_at {
            return None;
        }
        match self.argv.command(&self.environment).spawn() {
            Ok(child) => {
                let named = name_process(&self.process_path, Pid::from_child(&child));
                self.child = Some(child);
                named.err().map(|error| format!("cannot note the application's process: {error}"))
            }
            Err(error) => {
                self.start_at = now + self.pause;
                self.pause = (self.pause * 2).min(RESTART_PAUSE_MAX);
                Some(format!("cannot start {}: {error}", self.argv))
            }
        }
    }
}

impl Drop for App {
    /// Asks it to end, and kills what has not ended in time.
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let group = Pid::from_child(&child);
        // Errors mean that there is nothing left to end.
        let _ = kill_process_group(group, Signal::TERM);
        let give_up = Instant::now() + STOP_TIME_MAX;
        while Instant::now() < give_up && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
        let _ = std::fs::remove_file(&self.process_path);
    }
}

/// When a process started, in ticks since the kernel did: with its number, this names it for good.
fn started_at(pid: Pid) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The second field is a name in parentheses that may hold blanks; the start is the 20th after it (proc(5)).
    stat.rsplit_once(") ")?.1.split(' ').nth(19).map(str::to_owned)
}

fn name_process(path: &Path, pid: Pid) -> std::io::Result<()> {
    let started = started_at(pid).unwrap_or_default();
    std::fs::write(path, format!("{} {started}", pid.as_raw_nonzero()))
}

/// Kills the process group that a file names, if it is still the one that was meant.
fn end_leftover(path: &Path) {
    let named = std::fs::read_to_string(path).unwrap_or_default();
    let Some((pid, started)) = named.split_once(' ') else { return };
    let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) else { return };
    if started_at(pid).as_deref() == Some(started) {
        // It may have ended since: as good.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}
