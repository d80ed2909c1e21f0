//! Bringing the image to the device, and telling the device to install it.

use super::super::campaign::{Campaign, Delivery, Placement, Source, Stage, Upgrade};
use super::super::snapshot::Snapshot;
use super::super::word::{Scheme, State};
use super::super::{AUTOMATIC, DEFER_MAX, PACKAGE, PACKAGE_URI, SEVERITY, UPDATE, URI_BYTES_MAX};
use super::{Answer, Driver, Event, Failure, Operation, Outcome, Reply, Rest, Step, Unfit};
use crate::moment::Moment;
use crate::value::Value;

/// How often one campaign tells a device to install: words to a device may be lost, and so may the update in a power cut;
/// a device that stays in Downloaded after five does not mean to.
const EXECUTES_MAX: u8 = 5;

/// Whether a delivery fits the device.
pub(super) fn fits(snapshot: &Snapshot, delivery: &Delivery) -> Result<(), Unfit> {
    let method = snapshot.delivery_or_default();
    let Delivery::Pull { uri, .. } = delivery else {
        return if method.takes_push() { Ok(()) } else { Err(Unfit::NoPush) };
    };
    if !method.pulls() {
        return Err(Unfit::NoPull);
    }
    if uri.is_empty() || uri.len() > URI_BYTES_MAX {
        return Err(Unfit::UriLength);
    }
    let scheme = Scheme::of_uri(uri);
    let spoken = scheme.is_some_and(|scheme| snapshot.schemes_or_default().contains(scheme));
    if spoken { Ok(()) } else { Err(Unfit::Scheme(scheme)) }
}

/// What the campaign wants in resource `index` of the settings, where the device holds something else.
fn setting(campaign: &Campaign, snapshot: &Snapshot, index: u8) -> Option<Operation> {
    let (path, value) = match index {
        0 => {
            let severity = campaign.severity.filter(|wanted| snapshot.severity != Some(*wanted))?;
            (SEVERITY, Value::Integer(severity.code().into()))
        }
        1 => {
            let seconds = campaign.defer_max?.as_secs();
            if snapshot.defer_max_s == Some(seconds) {
                return None;
            }
            (DEFER_MAX, Value::Unsigned(seconds))
        }
        _ => {
            let wanted = campaign.upgrade == Upgrade::Automatic;
            if snapshot.automatic.unwrap_or(false) == wanted {
                return None;
            }
            (AUTOMATIC, Value::Boolean(wanted))
        }
    };
    Some(Operation::Write { path, value })
}

/// Severity, maximum defer period, automatic upgrade.
const SETTINGS: u8 = 3;

impl Driver {
    /// Offers or sends the image: after the server has said how, and the settings are written.
    pub(super) fn place(&mut self, now: Moment) -> Step {
        if now < self.hold_until {
            return Step::Pause(self.hold_until);
        }
        let Some(delivery) = self.delivery.clone() else {
            if !self.deciding {
                self.deciding = true;
                self.events.push_back(Event::Decide(Box::new(self.reading.snapshot.clone())));
            }
            return Step::Hold;
        };
        if let Err(unfit) = fits(&self.reading.snapshot, &delivery) {
            return Step::End(Outcome::Failed(Failure::Unfit(unfit)));
        }
        if let Some(operation) = self.next_setting() {
            return Step::Ask(operation);
        }
        let (source, operation) = match delivery {
            Delivery::Pull { uri, .. } => {
                let value = Value::Text(uri.clone());
                (Source::Uri(uri), Operation::Write { path: PACKAGE_URI, value })
            }
            Delivery::Push { size } => {
                (Source::Push(self.campaign.image), Operation::Push { path: PACKAGE, size })
            }
        };
        let result_before = self.reading.snapshot.result_or_initial().code();
        self.marker.placement = Some(Placement { source, stage: Stage::Placing, result_before });
        self.placing = Some(Reply::Sent);
        self.executing = None;
        self.package_seen = None;
        self.served = 0;
        self.line.returns = 0;
        self.progress_at = now;
        Step::Remember(Some(operation))
    }

    /// Each setting is written once for a placement: a device that does not take it does without.
    fn next_setting(&mut self) -> Option<Operation> {
        for index in (0..SETTINGS).filter(|index| self.settings_tried & 1 << index == 0) {
            if let Some(operation) = setting(&self.campaign, &self.reading.snapshot, index) {
                self.settings_tried |= 1 << index;
                return Some(operation);
            }
        }
        None
    }

    /// The URI was written, or the push is over; or it was a reset, which only a reading tells.
    pub(super) fn handle_placed(&mut self, now: Moment, answer: &Answer) {
        self.look();
        if self.placing != Some(Reply::Sent) {
            return;
        }
        self.progress_at = now;
        let reply = reply(answer);
        self.placing = Some(reply);
        let Some(placement) = &mut self.marker.placement else { return };
        if reply == Reply::Done && matches!(placement.source, Source::Push(_)) {
            placement.stage = Stage::Placed;
            self.remember();
        }
    }

    pub(super) fn handle_executed(&mut self, now: Moment, answer: &Answer) {
        let reply = reply(answer);
        self.executing = Some(reply);
        self.progress_at = now;
        self.look();
        match reply {
            // It restarts, perhaps at once: a reading now would cost it a radio's wake-up, or us 93 s without an answer.
            Reply::Done => self.rest = Rest::Until(now.plus(self.campaign.limits.poll)),
            Reply::Asleep => self.marker.executes = self.marker.executes.saturating_sub(1),
            Reply::Sent | Reply::Refused(_) | Reply::NoAnswer => {}
        }
    }

    /// Tells the device to install, if the server's gate is open.
    pub(super) fn execute(&mut self, now: Moment) -> Step {
        if self.marker.executes >= EXECUTES_MAX {
            return Step::End(Outcome::Failed(Failure::Stuck(State::Downloaded)));
        }
        if self.gate_until.is_none_or(|until| now > until) {
            if !self.ready_told {
                self.ready_told = true;
                self.events.push_back(Event::Ready);
            }
            return Step::Hold;
        }
        let result = self.reading.snapshot.result_or_initial();
        let Some(placement) = &mut self.marker.placement else { return Step::Hold };
        placement.stage = Stage::Executing;
        placement.result_before = result.code();
        self.marker.executes += 1;
        self.executing = Some(Reply::Sent);
        self.progress_at = now;
        Step::Remember(Some(Operation::Execute(UPDATE)))
    }

    pub(super) fn tell_downloading(&mut self) {
        let size = self.delivery.as_ref().map_or(0, Delivery::size);
        let share = u128::from(self.served.min(size)) * 100 / u128::from(size.max(1));
        self.tell(Event::Downloading { percent: u8::try_from(share).unwrap_or(100) });
    }
}

fn reply(answer: &Answer) -> Reply {
    match answer {
        Answer::Content(_) | Answer::Done => Reply::Done,
        Answer::Refused(code) => Reply::Refused(*code),
        Answer::NoAnswer => Reply::NoAnswer,
        Answer::Asleep => Reply::Asleep,
    }
}
