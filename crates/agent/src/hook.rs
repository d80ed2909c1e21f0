//! Running somebody else's program: argv only, never a shell; its own process group, a time limit, and no more of
//! its output kept than anyone reads.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Most output kept, in bytes: enough for a sentence on what failed. The rest is read and dropped, so that the
/// program does not stall.
pub const OUTPUT_BYTES_MAX: usize = 4096;
/// How long output is awaited after the program itself has ended: a child it left behind may hold the pipe open.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "ArgvText")]
pub struct Argv(Vec<String>);

/// How an argv is written: a list, or one text split at blanks.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum ArgvText {
    List(Vec<String>),
    Text(String),
}

/// An argv without a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a command needs at least a program: \"/usr/bin/check --fast\", or in TOML a list of texts")]
pub struct EmptyArgv;

impl TryFrom<ArgvText> for Argv {
    type Error = EmptyArgv;

    fn try_from(text: ArgvText) -> Result<Self, EmptyArgv> {
        match text {
            ArgvText::List(list) => Self::new(list),
            ArgvText::Text(text) => text.parse(),
        }
    }
}

impl std::str::FromStr for Argv {
    type Err = EmptyArgv;

    fn from_str(text: &str) -> Result<Self, EmptyArgv> {
        Self::new(text.split_whitespace().map(str::to_owned).collect())
    }
}

impl Argv {
    /// An argv from its parts.
    ///
    /// # Errors
    /// [`EmptyArgv`] if there is no program.
    pub fn new(parts: Vec<String>) -> Result<Self, EmptyArgv> {
        if parts.first().is_none_or(String::is_empty) { Err(EmptyArgv) } else { Ok(Self(parts)) }
    }

    /// The argv with `{name}` replaced by a value in every part.
    #[must_use]
    pub fn with(&self, values: &BTreeMap<&str, String>) -> Self {
        let replaced = |part: &String| {
            values
                .iter()
                .fold(part.clone(), |part, (name, value)| part.replace(&format!("{{{name}}}"), value))
        };
        Self(self.0.iter().map(replaced).collect())
    }

    /// The argv with one more argument.
    #[must_use]
    pub fn and(mut self, argument: String) -> Self {
        self.0.push(argument);
        self
    }

    /// A command in its own process group, with nothing to read.
    #[must_use]
    pub fn command(&self, environment: &BTreeMap<String, String>) -> Command {
        let mut command = Command::new(&self.0[0]);
        command.args(&self.0[1..]).envs(environment).stdin(Stdio::null()).process_group(0);
        command
    }
}

impl std::fmt::Display for Argv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With status 0; its output, shortened.
    Well(String),
    /// Otherwise; a sentence.
    Badly(String),
}

/// Runs a program to its end, or to the time limit: then its whole process group is killed.
#[must_use]
pub fn run(argv: &Argv, environment: &BTreeMap<String, String>, time_max: Duration) -> Outcome {
    match spawn(argv, environment) {
        Ok((child, output)) => watch(argv, child, &output, time_max),
        Err(error) => Outcome::Badly(format!("cannot start {argv}: {error}")),
    }
}

fn spawn(
    argv: &Argv,
    environment: &BTreeMap<String, String>,
) -> std::io::Result<(Child, mpsc::Receiver<Vec<u8>>)> {
    let (reader, writer) = std::io::pipe()?;
    let mut command = argv.command(environment);
    command.stdout(writer.try_clone()?).stderr(writer);
    let child = command.spawn()?;
    // The command holds the pipe's other end; without this the output would never end.
    drop(command);
    let (give, output) = mpsc::channel();
    thread::spawn(move || give.send(drain(reader)));
    Ok((child, output))
}

/// Reads to the end and keeps the beginning.
fn drain(mut reader: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = reader.read(&mut buffer) {
        let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
    kept
}

fn watch(argv: &Argv, mut child: Child, output: &mpsc::Receiver<Vec<u8>>, time_max: Duration) -> Outcome {
    let pid = Pid::from_child(&child);
    let (give, ended) = mpsc::channel();
    // Waits without reaping, so that the process group's number stays taken until it was killed.
    thread::spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
        give.send(())
    });
    let in_time = ended.recv_timeout(time_max).is_ok();
    if !in_time {
        // It may end by itself at this very moment, which is as good.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let status = child.wait();
    let output = output.recv_timeout(OUTPUT_GRACE).unwrap_or_default();
    let output = String::from_utf8_lossy(&output).into_owned();
    match status {
        _ if !in_time => Outcome::Badly(format!("{argv} was killed after {} s", time_max.as_secs_f32())),
        Ok(status) if status.success() => Outcome::Well(output),
        Ok(status) => {
            let how = match status.signal() {
                Some(signal) => format!("signal {signal}"),
                None => format!("status {}", status.code().unwrap_or(-1)),
            };
            Outcome::Badly(
                format!("{argv} ended with {how}: {}", output.trim()).trim_end_matches(": ").into(),
            )
        }
        Err(error) => Outcome::Badly(format!("cannot wait for {argv}: {error}")),
    }
}
