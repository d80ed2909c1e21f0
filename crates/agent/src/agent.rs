//! The agent as an embedding program sees it: build it, listen to it, run it.
//!
//! ```no_run
//! use updraft_agent::agent::{Agent, AgentEvent};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let config: updraft_agent::config::Config = updraft_agent::config::Options::default().check()?;
//! let agent = Agent::new(config)?.on_event(|event| match event {
//!     AgentEvent::Update(update) => println!("{:?} {:?}", update.status.state, update.path),
//!     AgentEvent::Note(note) => eprintln!("{note}"),
//! });
//! let handle = agent.handle(); // stops it from another thread
//! agent.run()?;
//! # drop(handle);
//! # Ok(())
//! # }
//! ```

use crate::config::{BootCounter, Config};
use crate::duty::{Duty, DutyEnd};
use crate::event::{DeviceUpdate, EventLog};
use crate::fetch::FetchPart;
use crate::hook::{self, Outcome};
use crate::http::{ClientError, client};
use crate::ioto::{IotoError, IotoFile};
use crate::pace;
use crate::session::{SessionError, sentence};
use crate::transport::{self, Transport};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Inputs that wait. Pieces of a download are most of them: a full queue slows the download down to the disk.
const INPUTS_WAITING_MAX: usize = 8;
/// Pause after the disk failed; doubles up to [`DISK_PAUSE_MAX`].
const DISK_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause after the disk failed.
const DISK_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long the reboot command is given to end the agent, before the agent goes on by itself.
const REBOOT_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// The lock's name in the state folder.
const LOCK_NAME: &str = "lock";
/// The kernel's name for the present boot.
const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";

/// What the embedding program hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEvent {
    /// `device:update`: an update went a step on.
    Update(DeviceUpdate),
    /// A sentence for the log.
    Note(String),
}

/// What the agent hears while it runs.
#[derive(Debug)]
pub(crate) enum Input {
    /// From the fetch with this number.
    Fetch(u64, FetchPart),
    /// From the health command, begun in this boot.
    Health(u64, Outcome),
    /// From the update script.
    Script(u64, Outcome),
    /// Somebody says that the version on trial is healthy.
    Confirm,
    /// Somebody wants a check-in.
    CheckIn,
    /// The transport has something to say.
    #[cfg_attr(
        not(any(feature = "mqtt", feature = "lwm2m")),
        expect(dead_code, reason = "over HTTP nothing is said unasked")
    )]
    Hint,
    /// The transport has a sentence for the log.
    #[cfg_attr(not(feature = "lwm2m"), expect(dead_code, reason = "others have the answer's error for that"))]
    Note(String),
    /// The server wants the device to restart.
    #[cfg_attr(not(feature = "lwm2m"), expect(dead_code, reason = "only LwM2M has such a word"))]
    Reboot,
    /// The embedding program says which version runs.
    Running(String),
    /// Somebody wants the agent to end.
    Stop,
}

/// Why an agent could not be built or run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The client's settings.
    #[error("cannot make a client")]
    Client(#[from] ClientError),
    /// The state folder.
    #[error("cannot use the state folder {}", path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another agent uses the state folder.
    #[error("another agent runs on {}: stop it, or give this one a --state of its own", .0.display())]
    Locked(PathBuf),
    /// A file of the Ioto agent's.
    #[error("a file of the Ioto agent cannot be used")]
    Ioto(#[from] IotoError),
    /// A single round over LwM2M.
    #[error("a single round is not for LwM2M: there the server speaks when it will")]
    Once,
    /// A single round ended without the server's answer.
    #[error("the check-in failed: {0}")]
    CheckIn(String),
}

/// Speaks to an agent that runs.
#[derive(Debug, Clone)]
pub struct Handle(SyncSender<Input>);

impl Handle {
    // A send fails only when the agent has ended, and then nothing is left to be told.

    /// Ends the agent: it stops the application and returns from [`Agent::run`].
    pub fn stop(&self) {
        let _ = self.0.send(Input::Stop);
    }

    /// Confirms the version on trial.
    pub fn confirm(&self) {
        let _ = self.0.send(Input::Confirm);
    }

    /// Asks for a check-in at once.
    pub fn check_in(&self) {
        let _ = self.0.send(Input::CheckIn);
    }

    /// Says which version runs, where the embedding program installs.
    pub fn running(&self, version: &str) {
        let _ = self.0.send(Input::Running(version.to_owned()));
    }
}

/// How long to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until stopped.
    Stopped,
    /// Until a check-in is answered and nothing is left to do.
    Idle,
}

/// What every boot of one agent shares.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) client: ureq::Agent,
    pub(crate) transport: Box<dyn Transport>,
    /// Whether the server is reached without TLS.
    pub(crate) is_plain: bool,
    pub(crate) inputs: SyncSender<Input>,
    pub(crate) listener: Box<dyn FnMut(&AgentEvent) + Send>,
    pub(crate) log: EventLog,
    pub(crate) until: Until,
}

impl Shared {
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        (self.listener)(&AgentEvent::Note(text.into()));
    }

    pub(crate) fn announce(&mut self, update: DeviceUpdate) {
        if let Err(error) = self.log.append(&update) {
            self.note(format!("cannot append to the events file: {error}"));
        }
        (self.listener)(&AgentEvent::Update(update));
    }

    /// The Ioto agent's settings, read anew: the update script may have changed them.
    pub(crate) fn ioto(&self) -> Result<IotoFile, IotoError> {
        self.config.ioto.as_deref().map(IotoFile::read).transpose().map(Option::unwrap_or_default)
    }

    /// The version that runs where no slot says otherwise.
    pub(crate) fn version(&self, ioto: &IotoFile) -> String {
        let (set, read) = (self.config.version.clone(), ioto.version.clone());
        // Where slots are used the option overrides; where a script installs, the file is what it changes.
        let version = if self.config.slots.is_some() { set.or(read) } else { read.or(set) };
        version.unwrap_or_else(|| crate::config::VERSION_UNKNOWN.to_owned())
    }
}

/// An agent.
pub struct Agent {
    shared: Shared,
    received: Receiver<Input>,
    _lock: File,
}

impl Agent {
    /// An agent that has its state folder to itself.
    ///
    /// # Errors
    /// [`AgentError`] if the folder is in use or the client's settings are wrong.
    pub fn new(config: Config) -> Result<Self, AgentError> {
        let client = client(config.ca.as_deref(), config.silence_time)?;
        let lock = lock(&config.state)?;
        let (inputs, received) = sync_channel(INPUTS_WAITING_MAX);
        let (transport, is_plain) = transport::open(&config, &client, &inputs)?;
        let log = EventLog::new(&config.state);
        let listener = Box::new(|_: &AgentEvent| ());
        let until = Until::Stopped;
        Ok(Self {
            shared: Shared { config, client, transport, is_plain, inputs, listener, log, until },
            received,
            _lock: lock,
        })
    }

    /// Sets who hears of events. Called on the agent's own thread: while it runs, the agent waits.
    #[must_use]
    pub fn on_event(mut self, listener: impl FnMut(&AgentEvent) + Send + 'static) -> Self {
        self.shared.listener = Box::new(listener);
        self
    }

    /// Speaks to this agent from another thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.shared.inputs.clone())
    }

    /// Runs until stopped. Failures of the world (network, server, disk) are noted and tried again.
    ///
    /// # Errors
    /// [`AgentError`] if the Ioto agent's files are of no use at the start.
    pub fn run(self) -> Result<(), AgentError> {
        self.run_until(Until::Stopped)
    }

    /// Checks in, does what follows from the answer, and returns when nothing is left to do.
    ///
    /// # Errors
    /// [`AgentError`] as [`Self::run`], and if the server does not answer.
    pub fn run_once(self) -> Result<(), AgentError> {
        if self.shared.config.carrier.brings_packages() {
            return Err(AgentError::Once);
        }
        self.run_until(Until::Idle)
    }

    fn run_until(mut self, until: Until) -> Result<(), AgentError> {
        self.shared.until = until;
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let end = match Duty::begin(&mut self.shared) {
                Ok(duty) => duty.run(&self.received),
                Err(error) => Err(error),
            };
            match end {
                Ok(DutyEnd::Stop) => return Ok(()),
                Ok(DutyEnd::Unanswered(detail)) => return Err(AgentError::CheckIn(detail)),
                Ok(DutyEnd::Restart) => {
                    failures = 0;
                    if self.reboot() {
                        return Ok(());
                    }
                }
                Err(DutyError::Ioto(error)) => return Err(error.into()),
                Err(DutyError::Session(error)) => {
                    let lasted = began.elapsed() > DISK_PAUSE_MAX;
                    failures = if lasted { 1 } else { failures + 1 };
                    let pause = pace::pause(&self.shared.config.id, failures, DISK_PAUSE_MIN, DISK_PAUSE_MAX);
                    self.shared.note(format!("{}; starting anew in {pause:.0?}", sentence(&error)));
                    if self.rest(pause) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Runs the reboot command, if there is one. Says whether the agent is to end.
    fn reboot(&mut self) -> bool {
        let Some(argv) = self.shared.config.reboot_cmd.clone() else { return false };
        self.shared.note(format!("restarting the device with {argv}"));
        match hook::run(&argv, &BTreeMap::new(), REBOOT_TIME_MAX) {
            // The command has only asked for a restart, which comes as a signal.
            Outcome::Well(_) => self.rest(REBOOT_TIME_MAX),
            Outcome::Badly(detail) => {
                self.shared.note(detail);
                self.rest(DISK_PAUSE_MAX)
            }
        }
    }

    /// Waits. Says whether the agent is to end.
    fn rest(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            match self.received.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
                Ok(
                    Input::Fetch(..)
                    | Input::Health(..)
                    | Input::Script(..)
                    | Input::Confirm
                    | Input::CheckIn
                    | Input::Hint
                    | Input::Note(_)
                    | Input::Reboot
                    | Input::Running(_),
                ) => {}
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

/// Why a boot ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DutyError {
    #[error("the disk failed")]
    Session(#[from] SessionError),
    #[error("a file of the Ioto agent cannot be used")]
    Ioto(#[from] IotoError),
}

/// Takes the state folder, making it if need be; given back when the file is dropped.
///
/// # Errors
/// [`AgentError::Locked`] if another agent has it.
pub fn lock(state: &Path) -> Result<File, AgentError> {
    let failed = |source| AgentError::State { path: state.to_owned(), source };
    std::fs::create_dir_all(state).map_err(failed)?;
    let path = state.join(LOCK_NAME);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AgentError::Locked(state.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The kernel's name for this boot, where starts are counted by it.
pub(crate) fn boot_id(counter: BootCounter) -> Option<String> {
    match counter {
        BootCounter::Agent => None,
        BootCounter::Kernel => std::fs::read_to_string(BOOT_ID_PATH).ok().map(|id| id.trim().to_owned()),
    }
}
