//! Where the agent's thread and the line's meet: each leaves here what the other is to know. Nobody waits at it.

use crate::agent::Input;
use crate::session::Wanted;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use updraft_wire::{CheckIn, JobId};

/// A package to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) job: JobId,
    pub(super) link: String,
}

/// A package that is whole and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Staged {
    pub(super) job: JobId,
    pub(super) version: String,
}

/// What lies on the desk.
#[derive(Debug, Default)]
pub(super) struct Papers {
    /// The agent's latest words, until the line has read them.
    pub(super) words: Option<CheckIn>,
    /// A verified package, until the line has read of it.
    pub(super) staged: Option<Staged>,
    /// What the device's own apply window says.
    pub(super) is_open: bool,
    /// A fetch of a link of the line's own, by its number, until the line has taken it.
    pub(super) fetch: Option<(u64, Wanted)>,
    /// The fetch is given up.
    pub(super) is_fetch_stopped: bool,
    /// The agent ends.
    pub(super) is_closed: bool,
    /// Whether the device is registered, and if not, why.
    pub(super) registered: Option<Result<(), String>>,
    /// What the server wants installed.
    pub(super) offer: Option<Offer>,
    /// The end that object 5 tells by now.
    pub(super) noted: Option<JobId>,
    /// The server wants this applied.
    pub(super) install: Option<JobId>,
    /// A check-in is worth while.
    pub(super) is_hinted: bool,
}

/// The desk.
#[derive(Debug)]
pub(super) struct Desk {
    papers: Mutex<Papers>,
    bell: UnixStream,
    inputs: SyncSender<Input>,
}

impl Desk {
    /// A desk, and the end of its bell that the line waits on.
    ///
    /// # Errors
    /// There are no sockets left.
    pub(super) fn new(inputs: SyncSender<Input>) -> std::io::Result<(Self, UnixStream)> {
        let (bell, waiting) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        waiting.set_nonblocking(true)?;
        Ok((Self { papers: Mutex::default(), bell, inputs }, waiting))
    }

    /// What lies on it. Nothing is done while it is held that could wait for the other.
    pub(super) fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent has left something for the line.
    pub(super) fn ring(&self) {
        // A full bell rings already.
        let _ = (&self.bell).write(&[0]);
    }

    /// The line has left something for the agent.
    pub(super) fn hint(&self) {
        self.papers().is_hinted = true;
        // A full queue means that the agent is awake, and looks at what was hinted soon.
        let _ = self.inputs.try_send(Input::Hint);
    }

    /// Says a sentence for the log; one too many is lost.
    pub(super) fn note(&self, text: String) {
        let _ = self.inputs.try_send(Input::Note(text));
    }
}

/// Silences the bell.
pub(super) fn hush(mut waiting: &UnixStream) {
    let mut buffer = [0; 64];
    while waiting.read(&mut buffer).is_ok_and(|read| read == buffer.len()) {}
}
