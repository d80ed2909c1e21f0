//! Updates: what the fleet wants of a device, the driver that brings it about, and what the fleet is told of it.

use super::super::delivery::{Case, Decision, decide};
use super::super::describe::Alias;
use super::super::firmware::{self, Said, Work};
use super::asks::Purpose;
use super::device::{Step, Update};
use super::timers::Key;
use super::{Action, Heard, Hub, LineId, files};
use std::collections::VecDeque;
use std::time::Duration;
use updraft_core::fleet::Answer as Word;
use updraft_core::id::DeviceId;
use updraft_core::report;
use updraft_core::state::FailureReason;
use updraft_lwm2m::coap::{Method, RequestId};
use updraft_lwm2m::firmware::{Delivery, Driver, Event, Operation, Outcome, Proof, Snapshot};
use updraft_lwm2m::{Entry, Moment, Path, Value};

/// How long the fleet is not told the same again: below the shortest patience of a rollout's phases, above what would be
/// work for nothing.
const SIGN_OF_LIFE: Duration = Duration::from_secs(600);
/// How long to wait before a word that the fleet could not take is said again.
const SAY_AGAIN: Duration = Duration::from_secs(5);
/// How long a driver may take to tell a device to install, once it may. Then it asks again.
const GATE: Duration = Duration::from_secs(3600);
/// Connectivity Monitoring: how good the link is.
const LINK: Path = Path::instance(4, 0);
/// Radio Signal Strength, in dBm.
const SIGNAL: Path = Path::resource(4, 0, 2);
/// Link Quality.
const QUALITY: Path = Path::resource(4, 0, 3);

impl Hub {
    /// What the fleet wants of a device: begins it, goes on, or takes it back.
    pub(super) fn take_work(&mut self, now: Moment, device: &DeviceId, work: Option<Work>) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        let update = registered.active.as_mut().and_then(|active| active.update.as_mut());
        match (update, work) {
            (None, None) => {}
            (Some(update), Some(work)) if update.work.is_same(&work) => {}
            (None, Some(work)) => self.begin_update(now, device, work),
            (Some(update), _) => {
                update.withdrawn = true;
                update.driver.cancel(now);
                self.pump(now, device);
            }
        }
    }

    fn begin_update(&mut self, now: Moment, device: &DeviceId, work: Work) {
        let campaign = work.campaign(&self.settings.delivery, self.settings.limits.clone());
        let Some(registered) = self.devices.get_mut(device) else { return };
        tracing::debug!(%device, rollout = %work.rollout, attempt = work.attempt, "an update begins");
        registered.active().update = Some(Update {
            driver: Driver::new(campaign, now),
            work,
            withdrawn: false,
            waits_since: None,
            words: VecDeque::new(),
            saying: false,
            told: now,
            last: None,
            again_at: None,
        });
        self.pump(now, device);
    }

    /// Something moves a driver.
    pub(super) fn step(&mut self, now: Moment, device: &DeviceId, step: Step) {
        self.with_update(now, device, |update, now| {
            match step {
                Step::Timeout => update.driver.handle_timeout(now),
                Step::Registered => update.driver.handle_registered(now),
                Step::Awake => update.driver.handle_awake(now),
            }
            if update.again_at.is_some_and(|at| at <= now) {
                update.again_at = None;
                update.saying = false;
            }
        });
        self.pump(now, device);
    }

    /// Runs something on the update of a device, if it has one.
    pub(super) fn with_update<T>(
        &mut self,
        now: Moment,
        device: &DeviceId,
        run: impl FnOnce(&mut Update, Moment) -> T,
    ) -> Option<T> {
        let active = self.devices.get_mut(device)?.active.as_mut()?;
        active.update.as_mut().map(|update| run(update, now))
    }

    /// Takes everything a driver has to say, asks what it wants asked, and tells the fleet.
    pub(super) fn pump(&mut self, now: Moment, device: &DeviceId) {
        loop {
            if let Some(event) =
                self.with_update(now, device, |update, _| update.driver.poll_event()).flatten()
            {
                self.take_driver_event(now, device, event);
                continue;
            }
            let Some(ask) = self.with_update(now, device, |update, _| update.driver.poll_ask()).flatten()
            else {
                break;
            };
            let id = ask.id;
            if let Some(answer) = self.ask_for_driver(now, device, ask) {
                self.with_update(now, device, |update, now| update.driver.handle_answer(now, id, answer));
            }
        }
        self.speak(now, device);
        let due = self.with_update(now, device, |update, _| {
            [update.driver.poll_timeout(), update.again_at].into_iter().flatten().min()
        });
        self.timers.set(Key::Driver(device.clone()), due.flatten());
    }

    fn take_driver_event(&mut self, now: Moment, device: &DeviceId, event: Event) {
        match &event {
            Event::Decide(snapshot) => return self.decide(now, device, snapshot),
            Event::Ready => {
                self.with_update(now, device, |update, now| {
                    if !update.withdrawn {
                        update.driver.proceed(now, now.plus(GATE));
                    }
                });
                return;
            }
            Event::Ended(Outcome::Succeeded(Proof::Result { version: Some(said) })) => {
                self.learn_alias(device, said.clone());
            }
            Event::Persist(_)
            | Event::Downloading { .. }
            | Event::Downloaded
            | Event::Executing
            | Event::Deferred { .. }
            | Event::Retrying { .. }
            | Event::Ended(_) => {}
        }
        self.with_update(now, device, |update, _| {
            let is_news = !update.withdrawn || matches!(event, Event::Persist(_));
            if is_news && let Some(said) = firmware::said(&update.work, &event) {
                update.say(said, matches!(event, Event::Persist(_)));
            }
        });
    }

    /// A device that succeeded by its own word calls the version otherwise.
    fn learn_alias(&mut self, device: &DeviceId, said: String) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        let Some(update) = registered.active.as_ref().and_then(|active| active.update.as_ref()) else {
            return;
        };
        registered.alias = Some(Box::new(Alias { said, means: update.work.version.clone() }));
        self.keep(device);
    }

    /// Push, pull or wait. Where a push depends on the link, the link is read first: what was read once says nothing of now.
    fn decide(&mut self, now: Moment, device: &DeviceId, snapshot: &Snapshot) {
        let rules = &self.settings.delivery;
        let depends = rules.signal_dbm_min.is_some() || rules.link_quality_min.is_some();
        let has_link = self
            .devices
            .get(device)
            .is_some_and(|registered| registered.is_awake(now) && registered.objects().has(4));
        let takes_push = snapshot.delivery_or_default() != updraft_lwm2m::firmware::DeliveryMethod::Pull;
        if depends && has_link && takes_push {
            let request = self.request_for(device, Method::Get, &LINK);
            if self.ask(now, device, request, Purpose::Link) {
                return;
            }
        }
        self.settle_delivery(now, device, snapshot);
    }

    /// The link was read, for a decision.
    pub(super) fn decide_now(&mut self, now: Moment, device: &DeviceId) {
        let snapshot = self.with_update(now, device, |update, _| update.driver.snapshot().clone());
        if let Some(snapshot) = snapshot {
            self.settle_delivery(now, device, &snapshot);
        }
        self.pump(now, device);
    }

    fn settle_delivery(&mut self, now: Moment, device: &DeviceId, snapshot: &Snapshot) {
        let Some(registered) = self.devices.get_mut(device) else { return };
        let (tree, security) = (registered.tree(), registered.security);
        let Some(update) = registered.active.as_mut().and_then(|active| active.update.as_mut()) else {
            return;
        };
        let links = self.settings.linker.links(device, security, &update.work);
        let waited = update.waits_since.map_or(Duration::ZERO, |since| now.since(since));
        let decision = decide(&Case {
            rules: &self.settings.delivery,
            method: snapshot.delivery_or_default(),
            schemes: snapshot.schemes_or_default(),
            links: &links,
            signal_dbm: number(&tree, SIGNAL),
            link_quality: number(&tree, QUALITY),
            waited,
        });
        let size = update.work.size;
        match decision {
            Decision::Pull(uri) => update.deliver(now, Delivery::Pull { uri, size }),
            Decision::Push => update.deliver(now, Delivery::Push { size }),
            Decision::Wait(pause, why) => {
                tracing::info!(%device, why, "a push waits for a better link");
                update.say(firmware::waits(&update.work, &why), false);
                update.waits_since.get_or_insert(now);
                update.driver.postpone(now, now.plus(pause));
            }
            Decision::Impossible(why) => update.give_up(now, why),
        }
    }

    /// Tells the fleet what is to be told next, one word at a time; forgets an update of which all was told.
    fn speak(&mut self, now: Moment, device: &DeviceId) {
        let said = self.with_update(now, device, |update, now| {
            if update.saying {
                return None;
            }
            let (said, _) = update.words.front()?;
            (update.saying, update.told) = (true, now);
            Some((update.work.clone(), said.clone()))
        });
        if let Some((work, said)) = said.flatten() {
            self.actions.push_back(Action::Say(device.clone(), work, said));
            return;
        }
        let is_over = |update: &mut Update, _| update.driver.is_ended() && update.words.is_empty();
        if self.with_update(now, device, is_over) == Some(true) {
            self.end_update(now, device);
        }
    }

    fn end_update(&mut self, now: Moment, device: &DeviceId) {
        self.drop_driven(now, device);
        let Some(registered) = self.devices.get_mut(device) else { return };
        registered.active().update = None;
        registered.tidy();
        self.timers.set(Key::Driver(device.clone()), None);
        // What the device runs may be another version, and something else may be before it.
        self.tell_description(device);
    }

    /// What the fleet said of the last word about an update.
    pub fn handle_heard(&mut self, now: Moment, device: &DeviceId, heard: Heard) {
        self.with_update(now, device, |update, now| match heard {
            Heard::Failed => update.again_at = Some(now.plus(SAY_AGAIN)),
            Heard::Taken | Heard::Over => {
                update.saying = false;
                let is_marker = update.words.pop_front().is_some_and(|(_, is_marker)| is_marker);
                if is_marker {
                    update.driver.handle_persisted(now);
                }
                if heard == Heard::Over && !update.driver.is_ended() {
                    update.withdrawn = true;
                    update.driver.cancel(now);
                }
            }
        });
        self.pump(now, device);
    }

    /// Repeats the last word, if it was long ago: the fleet gives up a device of which nothing is heard.
    pub(super) fn sign_of_life(&mut self, now: Moment, device: &DeviceId) {
        self.with_update(now, device, |update, now| {
            let is_due = now.since(update.told) >= SIGN_OF_LIFE && update.words.is_empty();
            if is_due && let Some(last) = update.last.clone() {
                update.say(last, false);
            }
        });
    }

    /// A push needs bytes.
    pub(super) fn want_block(
        &mut self,
        now: Moment,
        line: LineId,
        request: RequestId,
        offset: u64,
        length: usize,
    ) {
        let Some(device) = self.lines.get(&line).and_then(|line| line.device.clone()) else { return };
        let Some(registered) = self.devices.get_mut(&device) else { return };
        let Some(active) = registered.active.as_mut() else { return };
        let is_push = matches!(active.asked.get(&request), Some(Purpose::Drive(_, Operation::Push { .. })));
        let Some(update) = active.update.as_mut().filter(|_| is_push) else { return };
        let (image, size) = (update.work.image, update.work.size);
        // What comes before has arrived.
        update.driver.handle_served(now, offset);
        let waiter = files::Waiter::Push { line, request, image, size, offset, length };
        self.serve_waiter(now, waiter);
        self.sign_of_life(now, &device);
        self.pump(now, &device);
    }

    /// So much of an image has left for a device that fetches it.
    pub(super) fn served(&mut self, now: Moment, device: &DeviceId, until: u64) {
        self.with_update(now, device, |update, now| update.driver.handle_served(now, until));
        self.sign_of_life(now, device);
        self.pump(now, device);
    }
}

impl Update {
    /// Has something told to the fleet; what waits behind the word under way and was only progress is replaced.
    pub(super) fn say(&mut self, said: Said, is_marker: bool) {
        if let Said::Progress(_) = &said {
            self.last = Some(said.clone());
            let replaces = self.words.len() > usize::from(self.saying)
                && matches!(self.words.back(), Some((Said::Progress(_), false)));
            if replaces {
                self.words.pop_back();
            }
        }
        self.words.push_back((said, is_marker));
    }

    fn deliver(&mut self, now: Moment, delivery: Delivery) {
        self.waits_since = None;
        if let Err(unfit) = self.driver.deliver(now, delivery) {
            self.give_up(now, format!("the delivery does not fit the device: {unfit:?}"));
        }
    }

    /// Nothing can be done for the device: the fleet is told, and the driver ends.
    fn give_up(&mut self, now: Moment, why: String) {
        let answer = Word {
            attempt: Some(self.work.attempt),
            revision: None,
            word: report::Word::Failed(FailureReason::UnsupportedProtocol),
            detail: why,
            details: None,
            timer: None,
            version: None,
        };
        self.say(Said::Answer(answer), false);
        self.withdrawn = true;
        self.driver.cancel(now);
    }
}

/// A number of a tree.
fn number(tree: &[Entry], path: Path) -> Option<i64> {
    let entry = tree.iter().find(|entry| entry.path == path)?;
    match entry.value {
        Value::Integer(number) => Some(number),
        Value::Unsigned(number) => i64::try_from(number).ok(),
        Value::Text(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Opaque(_)
        | Value::Time(_)
        | Value::ObjectLink(..)
        | Value::CoreLink(_) => None,
    }
}
