//! Taking images off the device: those of others before ours, and ours when the campaign is cancelled.

use super::super::campaign::Delivery;
use super::super::word::State;
use super::super::{CANCEL, PACKAGE, PACKAGE_URI};
use super::{Driver, Failure, Operation, Outcome, Step};
use crate::moment::Moment;
use crate::value::Value;

/// How many asks one reset may take, each verified by reading: three rounds of three ways, with a stall's patience between
/// the rounds. A device that is still not in Idle does not come there by asking.
const RESETS_MAX: u8 = 9;

/// A way back to Idle.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// An empty URI. Some devices ignore it while they download.
    EmptyUri,
    /// A package of a single byte 0.
    ZeroPackage,
    /// Execute Cancel, of the object's version 1.1.
    Cancel,
}

/// In the order in which devices know them.
const WAYS: [Way; 3] = [Way::EmptyUri, Way::ZeroPackage, Way::Cancel];
/// To cancel, the word for it first: the device then keeps the result Cancelled.
const WAYS_TO_CANCEL: [Way; 3] = [Way::Cancel, Way::EmptyUri, Way::ZeroPackage];

impl Way {
    fn operation(self) -> Operation {
        match self {
            Self::EmptyUri => Operation::Write { path: PACKAGE_URI, value: Value::Text(String::new()) },
            Self::ZeroPackage => Operation::Write { path: PACKAGE, value: Value::Opaque(vec![0]) },
            Self::Cancel => Operation::Execute(CANCEL),
        }
    }
}

impl Driver {
    /// Resets a device that holds an image which is not this campaign's, or is of no use any more.
    pub(super) fn reset(&mut self, now: Moment, state: State) -> Step {
        if self.marker.placement.take().is_some() {
            self.placing = None;
            self.executing = None;
            return Step::Remember(None);
        }
        self.climb(now, state, &WAYS)
    }

    /// Takes the campaign's own image off the device.
    pub(super) fn reset_to_cancel(&mut self, now: Moment, state: State) -> Step {
        self.cancel_sent = true;
        self.climb(now, state, &WAYS_TO_CANCEL)
    }

    /// The next way, or a wait, or the end. Answers are not looked at: the reading after each tells.
    fn climb(&mut self, now: Moment, state: State, ways: &[Way; 3]) -> Step {
        if usize::from(self.rung) >= ways.len() {
            let patience = self.progress_at.plus(self.campaign.limits.stall);
            if now < patience {
                return Step::Wait(patience);
            }
            self.rung = 0;
            // The first block of a push overwrites what is left of another, where nothing else does (RFC 7959 §2.5).
            if state == State::Downloading && !self.cancelling && self.may_overwrite() {
                return self.place(now);
            }
        }
        if self.resets >= RESETS_MAX {
            return Step::End(Outcome::Failed(Failure::Stuck(state)));
        }
        let way = ways[usize::from(self.rung)];
        self.rung += 1;
        self.resets += 1;
        self.progress_at = now;
        Step::Ask(way.operation())
    }

    fn may_overwrite(&self) -> bool {
        matches!(self.delivery, Some(Delivery::Push { .. }))
    }
}
