//! What to do, from what the device was just read to hold.

use super::super::campaign::{Placement, Source, Stage};
use super::super::word::{State, UpdateResult, Verdict};
use super::{Driver, Event, Failure, Outcome, Proof, Reply, Step, ask};
use crate::moment::Moment;
use std::time::Duration;

impl Driver {
    /// The one decision.
    pub(super) fn act(&mut self, now: Moment) -> Step {
        let Some(state) = self.reading.snapshot.state else {
            return Step::End(Outcome::Failed(Failure::Unreadable));
        };
        if self.runs_target() && state != State::Updating {
            let proof = if self.marker.placement.is_some() { Proof::Version } else { Proof::Already };
            return Step::End(Outcome::Succeeded(proof));
        }
        if self.cancelling
            && let Some(step) = self.act_to_cancel(now, state)
        {
            return step;
        }
        match state {
            State::Idle => self.act_idle(now),
            State::Downloading => self.act_downloading(now),
            State::Downloaded => self.act_downloaded(now),
            State::Updating => self.act_updating(now),
        }
    }

    pub(super) fn runs_target(&self) -> bool {
        self.reading.version.as_deref() == Some(self.campaign.target_version.trim())
    }

    /// None where the installation has begun, which is then followed to its end.
    fn act_to_cancel(&mut self, now: Moment, state: State) -> Option<Step> {
        match state {
            State::Idle => {
                let over = self.stage().is_none_or(|stage| stage < Stage::Executing) || self.cancel_sent;
                over.then_some(Step::End(Outcome::Cancelled))
            }
            State::Downloading | State::Downloaded if !self.anothers() => {
                Some(self.reset_to_cancel(now, state))
            }
            State::Downloading | State::Downloaded => Some(Step::End(Outcome::Cancelled)),
            State::Updating => None,
        }
    }

    fn act_idle(&mut self, now: Moment) -> Step {
        let Some(placement) = &self.marker.placement else { return self.place(now) };
        let result = self.reading.snapshot.result_or_initial();
        let (stage, changed) = (placement.stage, result.code() != placement.result_before);
        match stage {
            Stage::Placing => self.act_unplaced(now, result, changed),
            Stage::Placed => match result.verdict() {
                Verdict::Succeeded if self.installed_by_itself() => self.succeed_by_result(),
                // An update nobody here asked for, to a version nobody here wanted.
                Verdict::Succeeded => self.fail(now, Failure::Lost),
                Verdict::Failed => self.fail(now, Failure::Result(result)),
                Verdict::Cancelled => Step::End(Outcome::Cancelled),
                // A device that has just taken the last block may need a moment to say so.
                Verdict::Open | Verdict::Deferred => {
                    self.wait_or(now, self.campaign.limits.poll, |driver| driver.fail(now, Failure::Lost))
                }
            },
            Stage::Executing | Stage::Restarted => match result.verdict() {
                Verdict::Succeeded => self.succeed_by_result(),
                Verdict::Failed => self.fail_installing(now, result),
                Verdict::Cancelled => Step::End(Outcome::Cancelled),
                Verdict::Open | Verdict::Deferred => self.act_gone(now),
            },
        }
    }

    /// In Idle, and never seen with the image: the offer was not heard, not taken, or failed at once.
    fn act_unplaced(&mut self, now: Moment, result: UpdateResult, changed: bool) -> Step {
        let failed = result.verdict() == Verdict::Failed;
        if failed && changed {
            return self.fail(now, Failure::Result(result));
        }
        match self.placing {
            // After a crash, or never sent: nothing was lost but time.
            None | Some(Reply::Sent | Reply::Asleep) => self.place(now),
            Some(Reply::NoAnswer) => self.fail(now, Failure::Undelivered),
            Some(Reply::Refused(code)) if failed && !ask::passes(code) => {
                self.fail(now, Failure::Result(result))
            }
            Some(Reply::Refused(code)) => self.fail(now, Failure::Refused(code)),
            Some(Reply::Done) => {
                let failure = if failed { Failure::Result(result) } else { Failure::Stalled };
                self.wait_or(now, self.campaign.limits.stall, |driver| driver.fail(now, failure))
            }
        }
    }

    fn act_downloading(&mut self, now: Moment) -> Step {
        let Some(stage) = self.stage() else { return self.reset(now, State::Downloading) };
        if stage >= Stage::Executing {
            return self.act_gone(now);
        }
        if !self.ours() {
            return self.act_not_ours(now, State::Downloading);
        }
        if self.promote(Stage::Placed) {
            return Step::Remember(None);
        }
        self.tell_downloading();
        self.wait_or(now, self.campaign.limits.stall, |driver| driver.fail(now, Failure::Stalled))
    }

    /// An offer of ours that failed is over; what somebody else put there is reset.
    fn act_not_ours(&mut self, now: Moment, state: State) -> Step {
        match self.placing {
            Some(Reply::NoAnswer) => self.fail(now, Failure::Undelivered),
            Some(Reply::Refused(code)) => self.fail(now, Failure::Refused(code)),
            None | Some(Reply::Sent | Reply::Done | Reply::Asleep) => self.reset(now, state),
        }
    }

    fn act_downloaded(&mut self, now: Moment) -> Step {
        let Some(stage) = self.stage() else { return self.reset(now, State::Downloaded) };
        if !self.ours() {
            return self.act_not_ours(now, State::Downloaded);
        }
        if self.promote(Stage::Placed) {
            return Step::Remember(None);
        }
        let snapshot = &self.reading.snapshot;
        self.package_seen.get_or_insert_with(|| snapshot.package_version.clone());
        let automatic = snapshot.automatic == Some(true);
        if stage >= Stage::Executing {
            return self.act_told(now);
        }
        self.tell(Event::Downloaded);
        if automatic {
            return self.wait_or(now, self.campaign.limits.reboot, |driver| driver.execute(now));
        }
        self.execute(now)
    }

    /// In Downloaded, and told to install: it did not hear, has not begun, puts it off, or has failed.
    fn act_told(&mut self, now: Moment) -> Step {
        let result = self.reading.snapshot.result_or_initial();
        let before = self.marker.placement.as_ref().map_or(0, |placement| placement.result_before);
        if result.verdict() == Verdict::Failed && result.code() != before {
            return self.fail_installing(now, result);
        }
        if result.verdict() == Verdict::Deferred {
            let patience = self.defer_patience();
            self.tell(Event::Deferred { until: self.progress_at.plus(patience) });
            return self.wait_or(now, patience, |_| Step::End(Outcome::Failed(Failure::Deferred)));
        }
        match (self.executing, self.stage()) {
            (Some(Reply::Done), Some(Stage::Executing)) => {
                self.wait_or(now, self.campaign.limits.reboot, |driver| driver.execute(now))
            }
            (Some(Reply::Refused(code)), _) if !ask::passes(code) => {
                Step::End(Outcome::Failed(Failure::Refused(code)))
            }
            (None | Some(_), _) => self.execute(now),
        }
    }

    /// The device's own period where it has one, with a poll's time to begin; otherwise the campaign's.
    fn defer_patience(&self) -> Duration {
        let own = self.reading.snapshot.defer_max_s.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        own.map_or(self.campaign.limits.defer, |own| own.saturating_add(self.campaign.limits.poll))
    }

    pub(super) fn deferred(&self) -> bool {
        self.reading.snapshot.state == Some(State::Downloaded)
            && self.reading.snapshot.result_or_initial().verdict() == Verdict::Deferred
    }

    fn act_updating(&mut self, now: Moment) -> Step {
        let limit = self.campaign.limits.reboot;
        if self.stage().is_some_and(|stage| stage < Stage::Executing) {
            if !self.ours() {
                self.marker.placement = None;
                return Step::Remember(None);
            }
            self.promote(Stage::Executing);
            self.progress_at = now;
            return Step::Remember(None);
        }
        if self.stage().is_some() {
            self.tell(Event::Executing);
        }
        self.wait_or(now, limit, |driver| {
            let proven = driver.runs_target() && driver.stage().is_some();
            Step::End(if proven {
                Outcome::Succeeded(Proof::Version)
            } else {
                Outcome::Failed(Failure::Stuck(State::Updating))
            })
        })
    }

    /// Told to install, and neither image nor result is left. After a restart that is an update that did not hold; without
    /// one, the restart may be still to come.
    fn act_gone(&mut self, now: Moment) -> Step {
        let version = self.reading.version.clone();
        if self.stage() == Some(Stage::Restarted) && version.is_some() {
            return Step::End(Outcome::RolledBack { version, result: UpdateResult::Initial });
        }
        self.wait_or(now, self.campaign.limits.reboot, |_| Step::End(Outcome::Failed(Failure::Lost)))
    }

    fn fail_installing(&mut self, now: Moment, result: UpdateResult) -> Step {
        if self.stage() == Some(Stage::Restarted) && result == UpdateResult::UpdateFailed {
            return Step::End(Outcome::RolledBack { version: self.reading.version.clone(), result });
        }
        self.fail(now, Failure::Result(result))
    }

    /// Begins again where that may help, within bounds: 3 and 4, and 5 once; and what never reached the device.
    fn fail(&mut self, now: Moment, failure: Failure) -> Step {
        let integrity = failure == Failure::Result(UpdateResult::Integrity);
        let helps = match failure {
            Failure::Result(UpdateResult::NoMemory | UpdateResult::ConnectionLost) => true,
            Failure::Result(_) => integrity && !self.marker.integrity_failed,
            Failure::Stalled | Failure::Undelivered | Failure::Lost => true,
            Failure::Refused(code) => ask::passes(code),
            Failure::Stuck(_)
            | Failure::NoReturn
            | Failure::Silent
            | Failure::Deferred
            | Failure::Unreadable
            | Failure::Unfit(_) => false,
        };
        if !helps || self.cancelling || self.marker.retries >= self.campaign.limits.retries_max {
            return Step::End(Outcome::Failed(failure));
        }
        let wait = self.campaign.limits.retry_wait.saturating_mul(1 << self.marker.retries.min(16));
        self.marker.retries += 1;
        self.marker.integrity_failed |= integrity;
        self.marker.placement = None;
        self.placing = None;
        self.executing = None;
        self.settings_tried = 0;
        self.gate_until = None;
        self.delivery.clone_from(&self.campaign.delivery);
        self.hold_until = now.plus(wait);
        self.tell(Event::Retrying { failure, at: self.hold_until });
        Step::Remember(None)
    }

    fn succeed_by_result(&self) -> Step {
        let version = self.reading.version.clone();
        Step::End(Outcome::Succeeded(Proof::Result { version }))
    }

    /// Whether a success without our word to install is to be believed: the device was to install by itself, or there is
    /// no version to check it against.
    fn installed_by_itself(&self) -> bool {
        self.reading.snapshot.automatic == Some(true) || self.reading.version.is_none()
    }

    fn stage(&self) -> Option<Stage> {
        self.marker.placement.as_ref().map(|placement| placement.stage)
    }

    /// Whether the image on the device is the one this campaign put there.
    ///
    /// A package version the campaign does not expect tells, and so does a URI. Where there is none to read, the image is ours if this process saw it arrive and it has not changed
    /// since, or if an earlier one did and the package says no other version.
    pub(super) fn ours(&self) -> bool {
        let Some(Placement { source, stage, .. }) = &self.marker.placement else { return false };
        let snapshot = &self.reading.snapshot;
        let uri = snapshot.uri.as_deref().filter(|uri| !uri.is_empty());
        let package = snapshot.package_version.as_deref().filter(|version| !version.is_empty());
        let same = self.package_seen.as_ref().is_none_or(|seen| *seen == snapshot.package_version);
        let expected = self.campaign.package_version.as_deref();
        if package.is_some() && expected.is_some() && package != expected {
            return false;
        }
        let target =
            package.is_some_and(|version| version == expected.unwrap_or(&self.campaign.target_version));
        let sure = match (self.placing, *stage >= Stage::Placed) {
            (Some(_), true) | (Some(Reply::Done), false) => same,
            (None, true) => package.is_none() || target,
            (_, false) => target,
        };
        match (source, uri) {
            (Source::Uri(ours), Some(uri)) => ours == uri,
            (Source::Uri(_), None) => sure,
            (Source::Push(image), None) => *image == self.campaign.image && sure,
            (Source::Push(_), Some(_)) => false,
        }
    }

    /// Whether the image on the device is surely another's: it has a URI that this campaign did not write.
    fn anothers(&self) -> bool {
        let uri = self.reading.snapshot.uri.as_deref().filter(|uri| !uri.is_empty());
        let ours = self.marker.placement.as_ref().and_then(|placement| match &placement.source {
            Source::Uri(ours) => Some(ours.as_str()),
            Source::Push(_) => None,
        });
        uri.is_some() && uri != ours
    }

    /// Moves the placement on to the stage, if it is not there; whether it moved.
    fn promote(&mut self, stage: Stage) -> bool {
        let Some(placement) = self.marker.placement.as_mut().filter(|placement| placement.stage < stage)
        else {
            return false;
        };
        placement.stage = stage;
        true
    }

    /// Waits until nothing has moved for so long, then does that.
    fn wait_or(&mut self, now: Moment, limit: Duration, then: impl FnOnce(&mut Self) -> Step) -> Step {
        let deadline = self.progress_at.plus(limit);
        if now < deadline { Step::Wait(deadline) } else { then(self) }
    }
}
