//! What follows from what: events of the message layer, wishes of the registration, changes to be told.

use super::server_object::Trigger;
use super::upkeep::{Facts, Outcome, Wish};
use super::{Action, Client, EARLY_MAX, Target};
use crate::coap::{Code, Event, Exchange, Request, Response};
use crate::link::Objects;
use crate::registration::QueueMode;
use crate::{ContentFormat, Moment, Path, firmware};
use std::time::Duration;

impl Client {
    /// Takes what the message layer has heard, and does what is due, until there is no more.
    pub(super) fn drive(&mut self, now: Moment) {
        while let Some(event) = self.peer.poll_event() {
            self.handle_event(now, event);
        }
        self.drive_upkeep(now);
        let time = self.time(now);
        while let Some(notification) = self.watches.poll(&self.registry, time, self.config.notifications) {
            let super::watching::Notification { observer, response, reliability } = notification;
            if self.peer.notify(now, observer, response, reliability).is_err() {
                // It ended, or too much waits to be sent: the server reads what it misses.
                self.watches.remove(observer);
                self.peer.forget_observer(observer);
            }
        }
    }

    fn drive_upkeep(&mut self, now: Moment) {
        if self.bootstrapping.is_some() {
            self.drive_bootstrap(now);
            return;
        }
        if self.asked.is_some() {
            return;
        }
        let facts = self.facts();
        match self.upkeep.poll(now, &facts) {
            Some(Wish::Connect(session)) => {
                self.actions.push_back(Action::Connect { target: Target::Server, session });
            }
            Some(Wish::Ask(request)) => {
                if self.upkeep.is_registering() {
                    self.forget_watches();
                }
                self.ask(now, request);
            }
            None => {}
        }
    }

    /// Asks for the registration or the bootstrap. What cannot even be sent counts as not answered.
    pub(super) fn ask(&mut self, now: Moment, request: Request) {
        match self.peer.request(now, request) {
            Ok(id) => self.asked = Some(id),
            Err(_) => self.handle_silence(now),
        }
    }

    fn facts(&self) -> Facts {
        let mut paths = Vec::new();
        let mut versions = Vec::new();
        for object in self.registry.objects() {
            let instances = object.instances();
            if instances.is_empty() {
                paths.push(Path::object(object.id()));
            }
            paths.extend(instances.into_iter().map(|instance| Path::instance(object.id(), instance)));
            versions.extend(object.version().map(|version| (object.id(), version)));
        }
        Facts {
            lifetime: self.registry.server.lifetime,
            queue_mode: if self.config.is_queued { QueueMode::On } else { QueueMode::Off },
            objects: Objects::new(&paths, &versions, &[ContentFormat::SENML_CBOR]),
        }
    }

    fn handle_event(&mut self, now: Moment, event: Event) {
        match event {
            Event::Request { exchange, request } => self.handle_request(now, exchange, request),
            Event::Response { id, response } if self.asked == Some(id) => {
                self.asked = None;
                self.handle_answer(now, &response);
            }
            Event::Failed { id, .. } if self.asked == Some(id) => {
                self.asked = None;
                self.handle_silence(now);
            }
            Event::Response { id, response } | Event::Notification { id, response } => {
                self.actions.push_back(Action::Answered { id, response });
            }
            Event::Failed { id, failure } => self.actions.push_back(Action::Unanswered { id, failure }),
            Event::Unobserved { observer } => self.watches.remove(observer),
            // Nothing is pushed and nobody is pinged by this end.
            Event::WantBlock { .. } | Event::Pong { .. } => {}
        }
    }

    fn handle_request(&mut self, now: Moment, exchange: Exchange, request: Request) {
        if self.bootstrapping.is_some() {
            self.serve_bootstrap(now, exchange, &request);
        } else if self.upkeep.is_registering() && self.early.len() < EARLY_MAX {
            self.early.push_back((exchange, request));
        } else {
            self.serve_now(now, exchange, &request);
        }
    }

    fn serve_now(&mut self, now: Moment, exchange: Exchange, request: &Request) {
        let time = self.time(now);
        let before = self.registry.server.clone();
        self.serve(time, exchange, request);
        self.take_triggers(now);
        if self.registry.server != before {
            self.actions.push_back(Action::ServerChanged(self.registry.server.clone()));
        }
        self.is_answering = true;
        if let Some(firmware) = &mut self.registry.firmware {
            firmware.collect();
        }
        self.tell_firmware(now);
    }

    fn handle_answer(&mut self, now: Moment, response: &Response) {
        if self.bootstrapping.is_some() {
            self.handle_bootstrap_answer(now, response);
            return;
        }
        let outcome = self.upkeep.handle_response(now, response, self.registry.server.lifetime);
        self.handle_outcome(now, outcome, Some(response.code));
    }

    pub(super) fn handle_silence(&mut self, now: Moment) {
        if self.bootstrapping.is_some() {
            self.handle_bootstrap_silence(now);
            return;
        }
        let outcome = self.upkeep.handle_silence(now);
        self.handle_outcome(now, outcome, None);
    }

    /// The server has refused a session.
    pub(super) fn handle_refusal(&mut self, now: Moment) {
        if self.bootstrapping.is_some() {
            self.handle_bootstrap_silence(now);
            return;
        }
        let outcome = self.upkeep.handle_refusal(now);
        self.handle_outcome(now, outcome, None);
    }

    fn handle_outcome(&mut self, now: Moment, outcome: Outcome, code: Option<Code>) {
        match outcome {
            Outcome::Registered => {
                self.fruitless_bootstraps = 0;
                let location = self.upkeep.location().unwrap_or_default().to_owned();
                self.actions.push_back(Action::Registered(location));
                while let Some((exchange, request)) = self.early.pop_front() {
                    self.serve_now(now, exchange, &request);
                }
            }
            Outcome::Updated => self.actions.push_back(Action::Updated),
            Outcome::Left => {
                self.forget_watches();
                self.actions.push_back(Action::Deregistered);
                self.actions.push_back(Action::Disconnect);
            }
            Outcome::Failed => self.actions.push_back(Action::RegistrationFailed(code)),
            Outcome::Exhausted => {
                self.actions.push_back(Action::RegistrationFailed(code));
                self.fall_back_to_bootstrap(now);
            }
        }
        self.drive_upkeep(now);
    }

    /// Says goodbye, and comes back after the pause, if there is one.
    pub(super) fn leave(&mut self, now: Moment, pause: Option<Duration>) {
        self.asked = None;
        if let Some(request) = self.upkeep.leave(pause) {
            self.ask(now, request);
        }
    }

    /// What an execution or a write has asked for besides its answer.
    pub(super) fn take_triggers(&mut self, now: Moment) {
        if std::mem::take(&mut self.registry.device.reboot_asked) {
            self.actions.push_back(Action::Reboot);
        }
        if let Some(unix_s) = self.registry.device.time_set.take() {
            self.set_clock(now, unix_s);
            self.actions.push_back(Action::ClockSet(unix_s));
        }
        match self.registry.server.trigger.take() {
            Some(Trigger::Update) => self.upkeep.update(),
            Some(Trigger::Disable(seconds)) => self.leave(now, Some(Duration::from_secs(seconds))),
            // The answer leaves on this session, before the next one is begun.
            Some(Trigger::Bootstrap) => self.is_bootstrap_due = true,
            None => {}
        }
    }

    fn forget_watches(&mut self) {
        for observer in self.watches.clear() {
            self.peer.forget_observer(observer);
        }
    }

    /// Hands over what object 5 wants, and marks what has changed in it for those who observe.
    pub(super) fn tell_firmware(&mut self, now: Moment) {
        let time = self.time(now);
        let Some(firmware) = &mut self.registry.firmware else { return };
        firmware.collect();
        self.actions.extend(firmware.actions.drain(..).map(Action::Firmware));
        let mut changed = Vec::new();
        while let Some(resource) = firmware.object.poll_changed() {
            changed.push(Path::resource(firmware::OBJECT, 0, resource));
        }
        for path in changed {
            self.watches.changed(&self.registry, time, &path);
        }
    }
}
