//! The engine's thread: batches, group commit, the tick.

use super::hot::{Key, Settled};
use super::presence::seconds;
use super::{
    BATCH_MAX, By, Call, CheckIn, Command, EngineError, Finish, PRESENCE_INTERVAL, SETTLED_MAX, Shared,
    TICK_INTERVAL, low_bits,
};
use crate::store::SqliteStore;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Instant;
use tokio::sync::oneshot;
use updraft_core::fleet::{Fleet, Offer};
use updraft_core::id::DeviceId;
use updraft_core::position::position;
use updraft_core::time::Timestamp;

/// The salt of a device's place in the check-in interval: another line than any rollout's.
pub(crate) const CHECK_IN_SALT: &str = "check-in";

/// A decided check-in that waits for its batch to be durable.
struct Decided {
    check_in: Box<CheckIn>,
    outcome: Result<Offer, EngineError>,
    reply: oneshot::Sender<Result<Offer, EngineError>>,
}

pub(super) struct Worker {
    fleet: Fleet<SqliteStore>,
    queue: Receiver<Call>,
    shared: Arc<Shared>,
    /// What each device sent last, by its number: the entry to drop when it says something else.
    keys: Vec<Key>,
}

impl Worker {
    pub(super) fn new(fleet: Fleet<SqliteStore>, queue: Receiver<Call>, shared: Arc<Shared>) -> Self {
        Self { fleet, queue, shared, keys: Vec::new() }
    }

    pub(super) fn run(mut self) {
        let (mut tick_at, mut presence_at) = (Instant::now(), Instant::now() + PRESENCE_INTERVAL);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let wait = tick_at.min(presence_at).saturating_duration_since(Instant::now());
            match self.queue.recv_timeout(wait) {
                Ok(call) => {
                    batch.push(call);
                    batch.extend(self.queue.try_iter().take(BATCH_MAX - 1));
                    self.run_batch(batch.drain(..));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= tick_at {
                self.tick();
                tick_at = Instant::now() + TICK_INTERVAL;
            }
            if Instant::now() >= presence_at {
                self.write_presence();
                presence_at = Instant::now() + PRESENCE_INTERVAL;
            }
        }
        self.write_presence();
    }

    fn run_batch(&mut self, calls: impl Iterator<Item = Call>) {
        let now = self.shared.clock.now();
        let (mut check_ins, mut commands, mut subjects) = (Vec::new(), Vec::new(), Vec::new());
        for call in calls {
            match call {
                Call::CheckIn(check_in, reply) => check_ins.push((check_in, reply)),
                Call::Command(command, about) => {
                    subjects.extend(about.clone());
                    commands.push((command, about));
                }
            }
        }
        let speakers = check_ins
            .iter()
            .map(|(check_in, _)| &check_in.device)
            .chain(subjects.iter().map(|(device, _)| device));
        let devices: Vec<_> = speakers.cloned().collect();
        // A failure here shows again in each verb, which loads what is missing and tells its caller.
        if let Err(error) = self.fleet.load(&devices) {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot load a batch");
        }
        let finish = self.run_commands(now, commands);
        let decided: Vec<_> =
            check_ins.into_iter().map(|(check_in, reply)| self.decide(now, check_in, reply)).collect();
        let saved = self.commit();
        self.notify();
        for (device, by) in subjects {
            let number = self.replace_key(&device, None);
            if let Some(number) = number.filter(|_| by == By::Device) {
                self.shared.presence.touch(number, now);
            }
        }
        for finish in finish {
            finish(if saved { Ok(()) } else { Err(EngineError::NotSaved) });
        }
        for Decided { check_in, outcome, reply } in decided {
            if saved && let Ok(offer) = &outcome {
                self.settle(now, &check_in, offer);
            }
            // The device may have hung up: what it said is kept all the same.
            let _ = reply.send(if saved { outcome } else { Err(EngineError::NotSaved) });
        }
    }

    fn run_commands(
        &mut self,
        now: Timestamp,
        commands: Vec<(Command, Option<(DeviceId, By)>)>,
    ) -> Vec<Finish> {
        let run = |(command, about): (Command, Option<(DeviceId, By)>)| {
            about.iter().for_each(|(device, _)| self.shared.quiet.forget(device));
            command(&mut self.fleet, now)
        };
        commands.into_iter().map(run).collect()
    }

    fn decide(
        &mut self,
        now: Timestamp,
        check_in: Box<CheckIn>,
        reply: oneshot::Sender<Result<Offer, EngineError>>,
    ) -> Decided {
        self.shared.quiet.forget(&check_in.device);
        let outcome = self.report_and_offer(now, &check_in);
        Decided { check_in, outcome, reply }
    }

    fn report_and_offer(&mut self, now: Timestamp, check_in: &CheckIn) -> Result<Offer, EngineError> {
        let CheckIn { device, report, product, key: _ } = check_in;
        if let Some(product) = product
            && self.fleet.device(device)?.is_some_and(|known| known.product != *product)
        {
            return Err(EngineError::WrongProduct);
        }
        self.fleet.report(now, device, report)?;
        Ok(self.fleet.offer(now, device)?)
    }

    /// Commits, and publishes the generation only then: nobody may rely on what is not durable.
    fn commit(&mut self) -> bool {
        let saved = self.fleet.commit();
        if let Err(error) = &saved {
            tracing::error!(error = error as &dyn std::error::Error, "a batch was not saved");
        }
        self.shared.generation.store(self.fleet.generation(), Ordering::Release);
        self.shared.quiet.settle(saved.is_ok());
        saved.is_ok()
    }

    /// Remembers that these bytes led to nothing, or forgets what the device sent before.
    fn settle(&mut self, now: Timestamp, check_in: &CheckIn, offer: &Offer) {
        let Some(number) = self.replace_key(&check_in.device, check_in.key) else { return };
        self.shared.presence.touch(number, now);
        let Some(key) = check_in.key else { return };
        match offer {
            Offer::Assigned(_) => self.shared.hot.remove(key),
            Offer::Nothing { recheck } => {
                let latest = now.plus(SETTLED_MAX);
                let until = recheck.map_or(latest, |recheck| recheck.min(latest));
                self.shared.hot.insert(
                    key,
                    Settled {
                        number,
                        generation: low_bits(self.fleet.generation()),
                        until_s: seconds(until),
                        position: position(check_in.device.as_str(), CHECK_IN_SALT),
                    },
                );
            }
        }
    }

    /// Forgets what a device sent before, unless it sent the same again. The device's number, if it has one.
    fn replace_key(&mut self, device: &DeviceId, key: Option<Key>) -> Option<u32> {
        let number = match self.fleet.store_mut().number(device) {
            Ok(number) => number?,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot read a device's number");
                return None;
            }
        };
        let place = number as usize;
        if self.keys.len() <= place {
            self.keys.resize(place + 1, Key::default());
        }
        let key = key.unwrap_or_default();
        let before = std::mem::replace(&mut self.keys[place], key);
        if before != key {
            self.shared.hot.remove(before);
        }
        Some(number)
    }

    fn tick(&mut self) {
        let now = self.shared.clock.now();
        match self.fleet.tick(now) {
            Ok(()) => {}
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a tick failed"),
        }
        self.commit();
        self.notify();
    }

    /// Passes on which devices something may have changed for, once that is durable.
    fn notify(&mut self) {
        let hints = self.fleet.take_hints();
        let listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            hints.iter().for_each(|device| listener.notify(device));
        }
    }

    fn write_presence(&mut self) {
        let dirty = self.shared.presence.take_dirty();
        if dirty.is_empty() {
            return;
        }
        let pages: Vec<_> = dirty.iter().map(|(page, seen)| (*page, seen.as_slice())).collect();
        if let Err(error) = self.fleet.store_mut().save_last_seen(&pages) {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot write last-seen times");
            self.shared.presence.put_back(dirty.iter().map(|(page, _)| *page));
        }
    }
}
