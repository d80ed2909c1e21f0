//! What the agent remembers across starts: which boot this is, the update in work, what it has settled, and what
//! the server has yet to hear.

use serde::{Deserialize, Serialize};
use updraft_wire::{Assignment, JobId, UpdateStatus};

/// Most ends of updates that wait for the server to take note. A device offline for long settles one update
/// and then waits for the next assignment, which only the server gives: more than two is a server that forgets.
pub const OUTBOX_MAX: usize = 8;

/// The ledger's format: a reader refuses another.
pub const LEDGER_FORMAT: u32 = 1;

/// How much of an assignment is safely on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which of the manifest's artifacts is being written, counted from 0; those before it are whole.
    pub artifact: usize,
    /// Bytes of that artifact on disk.
    pub offset: u64,
    /// The strong entity tag under which those bytes were served. Without one a download starts again.
    pub etag: Option<String>,
}

/// The update in work.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// None.
    #[default]
    Idle,
    /// Fetching the artifacts into the target.
    Downloading {
        /// What was assigned.
        assignment: Assignment,
        /// How much is safely on disk.
        position: Position,
    },
    /// Read back and found right; not yet activated.
    Staged {
        /// What was assigned.
        assignment: Assignment,
    },
    /// The target is being made the one that boots, or boots on trial.
    Trial {
        /// What was assigned.
        assignment: Assignment,
    },
    /// The image is handed to a script or to the embedding program, which installs it.
    Applying {
        /// What was assigned.
        assignment: Assignment,
        /// The boot in which it was handed over.
        since_boot: u64,
        /// Whether the script is known to have ended well. Unknown after a power cut.
        applied: bool,
    },
}

impl Phase {
    /// The assignment in work.
    #[must_use]
    pub fn assignment(&self) -> Option<&Assignment> {
        match self {
            Self::Idle => None,
            Self::Downloading { assignment, .. }
            | Self::Staged { assignment }
            | Self::Trial { assignment }
            | Self::Applying { assignment, .. } => Some(assignment),
        }
    }

    /// Whether nothing has been handed over yet, so that the work can still be dropped.
    #[must_use]
    pub fn can_be_dropped(&self) -> bool {
        match self {
            Self::Downloading { .. } | Self::Staged { .. } => true,
            Self::Idle | Self::Trial { .. } | Self::Applying { .. } => false,
        }
    }
}

/// What the agent remembers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Always [`LEDGER_FORMAT`].
    pub format: u32,
    /// How often the device has started.
    pub boot: u64,
    /// The kernel's name for that boot, where starts are counted by it.
    pub boot_id: Option<String>,
    /// The kernel's name for the boot that is to end before anything else happens: the active slot has changed,
    /// and what runs is not yet, or no longer, what is in it.
    #[serde(default)]
    pub restart_due: Option<String>,
    /// The update in work.
    pub phase: Phase,
    /// How the assignment settled last ended.
    pub settled: Option<UpdateStatus>,
    /// Ends that the server has not taken note of, oldest first.
    pub outbox: Vec<UpdateStatus>,
}

impl Ledger {
    /// The ledger of a device that has never started.
    #[must_use]
    pub fn blank() -> Self {
        Self {
            format: LEDGER_FORMAT,
            boot: 0,
            boot_id: None,
            restart_due: None,
            phase: Phase::Idle,
            settled: None,
            outbox: Vec::new(),
        }
    }

    /// Whether this boot has to end before anything else happens.
    #[must_use]
    pub fn awaits_restart(&self, boot_id: Option<&str>) -> bool {
        boot_id.is_some() && self.restart_due.as_deref() == boot_id
    }

    /// Closes an assignment: remembers how it ended and queues the word for the server.
    pub fn settle(&mut self, status: UpdateStatus) {
        self.settled = Some(status.clone());
        self.tell(status);
    }

    /// Queues an end for the server, once.
    pub fn tell(&mut self, status: UpdateStatus) {
        self.outbox.retain(|waiting| waiting.job != status.job);
        self.outbox.push(status);
        let surplus = self.outbox.len().saturating_sub(OUTBOX_MAX);
        self.outbox.drain(..surplus);
    }

    /// Drops what the server has taken note of. Says whether there was any.
    pub fn noted(&mut self, job: &JobId) -> bool {
        let before = self.outbox.len();
        self.outbox.retain(|waiting| waiting.job != *job);
        self.outbox.len() < before
    }
}
