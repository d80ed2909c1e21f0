//! Reading the device, and observing it.

use std::collections::{BTreeSet, VecDeque};

use super::super::campaign::Stage;
use super::super::snapshot::Snapshot;
use super::super::word::{State, UpdateResult};
use super::super::{
    AUTOMATIC, DELIVERY, INSTANCE, PACKAGE_URI, PACKAGE_VERSION, PROTOCOLS, RESULT, RUNNING_VERSION, STATE,
};
use super::{Answer, Driver, Operation, Rest, ask};
use crate::moment::Moment;
use crate::path::Path;
use crate::value::Entry;

/// What is read one by one, and only once, of a device that does not let the instance be read: a sleepy one is not awake
/// for long.
const ABILITIES: [Path; 3] = [PROTOCOLS, DELIVERY, AUTOMATIC];

/// What is observed: two resources, since some devices cannot observe the instance.
const OBSERVED: [Path; 2] = [STATE, RESULT];

/// Whether a resource is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Observation {
    #[default]
    Wanted,
    Held,
    /// The device does not do it: it is polled.
    Refused,
}

/// What was read of the device, and what is to be read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) snapshot: Snapshot,
    pub(super) version: Option<String>,
    pub(super) version_wanted: bool,
    unread: VecDeque<Path>,
    singly: bool,
    /// Those of [`ABILITIES`] that were read, or refused.
    learned: BTreeSet<Path>,
    /// Something went unanswered since the state was read: minutes have passed, and others may have been at the device.
    pub(super) stale: bool,
    observations: [Observation; 2],
    seen: Option<(Option<State>, Option<UpdateResult>)>,
}

impl Reading {
    pub(super) fn forget_observations(&mut self) {
        self.observations = [Observation::Wanted; 2];
    }
}

impl Driver {
    /// The device is read before the next decision.
    pub(super) fn look(&mut self) {
        self.rest = Rest::Awake;
        let told =
            self.marker.placement.as_ref().is_some_and(|placement| placement.stage >= Stage::Executing);
        let reading = &mut self.reading;
        reading.unread.clear();
        if reading.version_wanted || told {
            reading.unread.push_back(RUNNING_VERSION);
        }
        // The state comes last: what is decided rests on it.
        if reading.singly {
            reading.unread.extend(ABILITIES.iter().filter(|path| !reading.learned.contains(*path)));
            reading.unread.extend([RESULT, STATE]);
        } else {
            reading.unread.push_back(INSTANCE);
        }
    }

    /// What is still to be read, then what is to be observed. A device that is there already is not observed; one that is
    /// still Updating is, for the version it runs may be on trial.
    pub(super) fn next_reading(&self) -> Option<Operation> {
        if let Some(path) = self.reading.unread.front() {
            return Some(Operation::Read(*path));
        }
        if self.runs_target() && self.reading.snapshot.state != Some(State::Updating) {
            return None;
        }
        let wanted = |(observation, _): &(&Observation, &Path)| **observation == Observation::Wanted;
        let (_, path) = self.reading.observations.iter().zip(&OBSERVED).find(wanted)?;
        Some(Operation::Observe(*path))
    }

    pub(super) fn handle_read(&mut self, now: Moment, path: Path, answer: Answer) {
        match answer {
            Answer::Content(entries) => self.take_in(now, path, &entries),
            Answer::Refused(code) if ask::busy(code) => return,
            // 2.04 to a Read is no answer to it; like a refusal it says that there is nothing to read here.
            Answer::Refused(_) | Answer::Done => self.take_refusal(path),
            Answer::NoAnswer | Answer::Asleep => return,
        }
        let reading = &mut self.reading;
        reading.unread.retain(|unread| *unread != path);
        if reading.singly && ABILITIES.contains(&path) {
            reading.learned.insert(path);
        }
        if path == STATE || path == INSTANCE {
            reading.stale = false;
        }
        if path == STATE && reading.snapshot.state != Some(State::Idle) {
            reading.unread.extend([PACKAGE_URI, PACKAGE_VERSION]);
        }
    }

    fn take_in(&mut self, now: Moment, path: Path, entries: &[Entry]) {
        if path == RUNNING_VERSION {
            let found = entries.iter().find(|entry| entry.path == RUNNING_VERSION);
            let version = found.and_then(|entry| {
                let bytes = entry.value.as_opaque().and_then(|bytes| std::str::from_utf8(bytes).ok());
                entry.value.as_text().or(bytes)
            });
            self.reading.version = version.map(|version| version.trim().to_owned());
            self.reading.version_wanted = false;
            return;
        }
        if path == INSTANCE {
            let snapshot = Snapshot::read(entries);
            if snapshot.state.is_none() {
                return self.take_refusal(path);
            }
            self.reading.snapshot = snapshot;
        } else {
            self.reading.snapshot.absorb(entries);
        }
        self.note_change(now);
    }

    fn take_refusal(&mut self, path: Path) {
        if path == INSTANCE {
            self.reading.singly = true;
            self.look();
        } else if path == STATE {
            self.reading.snapshot.state = None;
        } else if path == PACKAGE_URI {
            self.reading.snapshot.uri = None;
        } else if path == PACKAGE_VERSION {
            self.reading.snapshot.package_version = None;
        } else if path == RUNNING_VERSION {
            self.reading.version = None;
            self.reading.version_wanted = false;
        }
    }

    pub(super) fn handle_observed(&mut self, now: Moment, path: Path, answer: Answer) {
        let observation = match answer {
            Answer::Content(entries) => {
                self.reading.snapshot.absorb(&entries);
                self.note_change(now);
                Observation::Held
            }
            Answer::Done | Answer::Refused(_) => Observation::Refused,
            Answer::NoAnswer | Answer::Asleep => return self.look(),
        };
        for (held, observed) in self.reading.observations.iter_mut().zip(OBSERVED) {
            if observed == path {
                *held = observation;
            }
        }
    }

    /// Compares with what was last seen. A change is progress, and a device back in Idle may run another version.
    pub(super) fn note_change(&mut self, now: Moment) {
        let Snapshot { state, result, .. } = self.reading.snapshot;
        let Some((state_before, _)) =
            self.reading.seen.replace((state, result)).filter(|seen| *seen != (state, result))
        else {
            return;
        };
        self.progress_at = now;
        if state == state_before {
            return;
        }
        self.rung = 0;
        if state == Some(State::Idle) {
            self.resets = 0;
            self.reading.version_wanted = true;
            if !self.reading.unread.contains(&RUNNING_VERSION) {
                self.reading.unread.push_back(RUNNING_VERSION);
            }
        }
        if state != Some(State::Downloaded) {
            self.ready_told = false;
        }
    }
}
