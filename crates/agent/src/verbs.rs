//! What a person or a script asks of an agent on the same machine: how it stands, to confirm, to be told.

use crate::agent::{AgentError, lock};
use crate::boot::BootControl;
use crate::event::EVENTS_NAME;
use crate::file_slots::FileSlots;
use crate::ledger::{Ledger, Phase};
use crate::record::{Found, RecordError};
use crate::session::read_ledger;
use crate::slots::{SlotError, SlotName, SlotRecord, SlotState, Slots};
use crate::storage::FileStorage;
use crate::trial::CONFIRM_NAME;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long `confirm` waits for a running agent to take note.
const CONFIRM_TIME_MAX: Duration = Duration::from_secs(15);
/// How often `confirm` and `watch` look.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// The ledger.
    #[error("cannot read what the agent remembers")]
    Ledger(#[from] RecordError),
    /// There is none.
    #[error("no agent has run on {}: is it the right --state?", .0.display())]
    NoLedger(PathBuf),
    /// It is damaged.
    #[error("the ledger in {} is damaged; a running agent writes it anew", .0.display())]
    TornLedger(PathBuf),
    /// Nothing to confirm.
    #[error("nothing is on trial")]
    NothingOnTrial,
    /// The agent did not react.
    #[error("the agent has not taken note within {} s; is it running?", CONFIRM_TIME_MAX.as_secs())]
    NotNoted,
    /// A slot.
    #[error("cannot confirm the slot")]
    Slot(#[from] SlotError),
    /// The state folder.
    #[error("cannot use the state folder")]
    State(#[from] AgentError),
    /// A file.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The output.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
}

fn ledger(state: &Path) -> Result<Ledger, VerbError> {
    match read_ledger(&mut FileStorage::new(), state)? {
        Found::Whole(ledger) => Ok(ledger),
        Found::Absent => Err(VerbError::NoLedger(state.to_owned())),
        Found::Torn => Err(VerbError::TornLedger(state.to_owned())),
    }
}

fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Downloading { .. } => "downloading",
        Phase::Staged { .. } => "staged",
        Phase::Trial { .. } => "trial",
        Phase::Applying { .. } => "applying",
    }
}

/// Shows how the agent stands.
///
/// # Errors
/// [`VerbError`] if no agent has run there.
pub fn status(state: &Path, slots: Option<&Path>, as_json: bool) -> Result<(), VerbError> {
    let ledger = ledger(state)?;
    let slots = slots.map(|root| FileSlots::open(&mut FileStorage::new(), root, "", false)).transpose()?;
    let is_running = matches!(lock(state), Err(AgentError::Locked(_)));
    let status = status_json(&ledger, slots.as_ref(), is_running);
    let text = if as_json {
        serde_json::to_string_pretty(&status).map_err(|error| VerbError::Output(error.into()))? + "\n"
    } else {
        status_text(&status)
    };
    io::stdout().write_all(text.as_bytes()).map_err(VerbError::Output)
}

fn slot_json(record: Option<&SlotRecord>) -> Value {
    match record {
        None => Value::Null,
        Some(record) => {
            let mut value = json!({ "version": record.version, "job": record.job });
            if let (Ok(Value::Object(state)), Value::Object(fields)) =
                (serde_json::to_value(record.state), &mut value)
            {
                fields.extend(state);
            }
            value
        }
    }
}

fn status_json(ledger: &Ledger, slots: Option<&FileSlots>, is_running: bool) -> Value {
    let assignment = ledger.phase.assignment();
    let position = match &ledger.phase {
        Phase::Downloading { position, .. } => Some(position),
        Phase::Idle | Phase::Staged { .. } | Phase::Trial { .. } | Phase::Applying { .. } => None,
    };
    json!({
        "running": is_running,
        "boot": ledger.boot,
        "phase": phase_name(&ledger.phase),
        "job": assignment.map(|assignment| &assignment.job),
        "target": assignment.map(|assignment| &assignment.manifest.version),
        "position": position,
        "active": slots.and_then(BootControl::active),
        "slots": slots.map(|slots| json!({
            "a": slot_json(slots.record(SlotName::A)),
            "b": slot_json(slots.record(SlotName::B)),
        })),
        "settled": ledger.settled,
        "unheard": ledger.outbox,
    })
}

fn status_text(status: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = vec![format!(
        "agent    {}, boot {}",
        if status["running"] == true { "running" } else { "not running" },
        status["boot"]
    )];
    let mut update = text(&status["phase"]);
    if !status["job"].is_null() {
        update = format!("{update} {} ({})", text(&status["target"]), text(&status["job"]));
    }
    lines.push(format!("update   {update}"));
    for slot in ["a", "b"] {
        let record = &status["slots"][slot];
        if status["slots"].is_null() {
            continue;
        }
        let mark = if status["active"] == slot { "  <- current" } else { "" };
        let held = if record.is_null() {
            "empty".to_owned()
        } else {
            format!("{} {}", text(&record["version"]), text(&record["state"]))
        };
        lines.push(format!("slot {slot}   {held}{mark}"));
    }
    if !status["settled"].is_null() {
        let settled = &status["settled"];
        let detail = settled["detail"].as_str().map_or_else(String::new, |detail| format!(": {detail}"));
        lines.push(format!("last     {} {}{detail}", text(&settled["job"]), text(&settled["state"])));
    }
    let unheard = status["unheard"].as_array().map_or(0, Vec::len);
    if unheard > 0 {
        lines.push(format!("unheard  {unheard} to be told to the server"));
    }
    lines.join("\n") + "\n"
}

/// Confirms the version on trial: through the agent if it runs, else in the slot's record.
///
/// # Errors
/// [`VerbError`] if nothing is on trial, or the agent does not react.
pub fn confirm(state: &Path, slots: Option<&Path>) -> Result<(), VerbError> {
    let ledger_now = ledger(state)?;
    let Phase::Trial { assignment } = &ledger_now.phase else { return Err(VerbError::NothingOnTrial) };
    match lock(state) {
        Ok(_held) => {
            let root = slots.ok_or(VerbError::NothingOnTrial)?;
            let mut storage = FileStorage::new();
            let mut slots = FileSlots::open(&mut storage, root, "", false)?;
            let on_trial = slots.active().and_then(|slot| slots.record(slot));
            if !on_trial.is_some_and(|record| matches!(record.state, SlotState::Trial { .. })) {
                return Err(VerbError::NothingOnTrial);
            }
            Ok(slots.confirm(&mut storage)?)
        }
        Err(AgentError::Locked(_)) => ask(state, &assignment.manifest.version),
        Err(error) => Err(error.into()),
    }
}

fn ask(state: &Path, version: &str) -> Result<(), VerbError> {
    let path = state.join(CONFIRM_NAME);
    std::fs::write(&path, version).map_err(|source| VerbError::File { path: path.clone(), source })?;
    let give_up = Instant::now() + CONFIRM_TIME_MAX;
    while Instant::now() < give_up {
        if !matches!(ledger(state)?.phase, Phase::Trial { .. }) {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let _ = std::fs::remove_file(&path);
    Err(VerbError::NotNoted)
}

/// Prints the events there are and then each as it happens, until the reader goes away.
///
/// # Errors
/// [`VerbError`] if the file or the output fails.
pub fn watch(state: &Path) -> Result<(), VerbError> {
    let path = state.join(EVENTS_NAME);
    let failed = |source| VerbError::File { path: path.clone(), source };
    let mut open: Option<(BufReader<File>, u64)> = None;
    let mut line = String::new();
    loop {
        let inode = std::fs::metadata(&path).map(|metadata| metadata.ino()).ok();
        if let Some((reader, _)) = &mut open {
            while reader.read_line(&mut line).map_err(failed)? > 0 && line.ends_with('\n') {
                match io::stdout().write_all(line.as_bytes()).and_then(|()| io::stdout().flush()) {
                    Ok(()) => line.clear(),
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    Err(error) => return Err(VerbError::Output(error)),
                }
            }
        }
        // The file was put aside for another one, or is there for the first time.
        if let Some(inode) = inode.filter(|inode| open.as_ref().is_none_or(|(_, held)| held != inode)) {
            let mut file = File::open(&path).map_err(failed)?;
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            open = Some((BufReader::new(file), inode));
            line.clear();
            continue;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
