//! A process of the demonstration: its output in a file, its end noticed, none left behind.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Failure;

/// How much of a process's output is shown when it ended by itself.
const LAST_LINES: usize = 12;
/// How long a process may take to end when it is asked to.
const STOP_TIME: Duration = Duration::from_secs(5);

/// A running process. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts a process that writes all it says to a file.
    pub(super) fn start(name: &'static str, mut command: Command, log: &Path) -> Result<Self, Failure> {
        let output = File::create(log)?;
        command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
        let process = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { name, process, log: log.to_owned() })
    }

    /// Starts a process and waits for the first line it prints to its standard output.
    pub(super) fn start_and_read_line(
        name: &'static str,
        mut command: Command,
        log: &Path,
    ) -> Result<(Self, String), Failure> {
        command.stdin(Stdio::null()).stderr(File::create(log)?).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let stdout = process.stdout.take().ok_or("the process has no standard output")?;
        let mut child = Self { name, process, log: log.to_owned() };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            child.process.wait()?;
            child.check()?;
        }
        Ok((child, line))
    }

    /// Whether it still runs; else its last words.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        let Some(status) = self.process.try_wait()? else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
        Err(format!("{} ended ({status}):\n{last}", self.name).into())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // By the shell's own tool: asking politely needs no unsafe code here.
        let asked = Command::new("kill").arg(self.process.id().to_string()).status();
        let deadline = Instant::now() + STOP_TIME;
        while asked.is_ok() && Instant::now() < deadline {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
