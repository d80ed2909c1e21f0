//! Devices that have nothing before them: asking again needs no decision until something changes.
//!
//! What [`hot`](super::hot) is for check-ins, for devices that ask without saying anything of themselves. An entry says: at
//! this generation of the fleet, and until this time, nothing is pending for the device. Whatever the device says makes the
//! engine forget it first. Losing an entry costs one look by the engine; nothing depends on its being there.

use super::SETTLED_MAX;
use crate::store::SqliteStore;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use updraft_core::fleet::{Error, Fleet, Offer};
use updraft_core::id::{DeviceId, ProductName};
use updraft_core::rollout::Rollout;
use updraft_core::time::Timestamp;

/// Most entries: one per device that is connected, and a bound on memory should there be more.
const ENTRIES_MAX: usize = 1_000_000;
/// Tasks that are looked at for one device. Where there are more, nothing is known without asking the fleet.
const TASKS_MAX: usize = 16;

/// What is known of a device that has nothing before it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// The device's number in the store.
    number: u32,
    /// The product whose credential spoke for it, if it has none of its own.
    product: Option<ProductName>,
    generation: u64,
    until: Timestamp,
}

/// The devices that have nothing before them, as far as is known.
#[derive(Debug, Default)]
pub struct Quiet {
    known: RwLock<HashMap<DeviceId, Entry>>,
    /// What the batch under way has found. Nobody may rely on it before it is durable.
    found: Mutex<Vec<(DeviceId, Entry)>>,
}

impl Quiet {
    /// The number of a device for which nothing is pending, if that is known of one with such a credential.
    pub(super) fn get(
        &self,
        device: &DeviceId,
        product: Option<&ProductName>,
        generation: u64,
        now: Timestamp,
    ) -> Option<u32> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get(device)?;
        let holds = entry.generation == generation && entry.product.as_ref() == product && now < entry.until;
        holds.then_some(entry.number)
    }

    /// Notes, within a batch, that the fleet was asked and nothing is pending for a device, if that will hold until
    /// something changes or a time that can be told. `product` is that of the credential, found to be the device's own.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn note(
        &self,
        fleet: &mut Fleet<SqliteStore>,
        now: Timestamp,
        id: &DeviceId,
        product: Option<&ProductName>,
    ) -> Result<(), Error> {
        let Some(device) = fleet.device(id)? else { return Ok(()) };
        let Some(number) = fleet.store_mut().number(id)? else { return Ok(()) };
        let tasks = fleet.tasks(None, TASKS_MAX);
        // When a task's turn comes, only the fleet can tell.
        let is_for =
            |one: &Rollout| one.state.offers() && one.task().is_some_and(|task| task.is_for(&device));
        let may_come = tasks.iter().any(is_for);
        if may_come || tasks.len() == TASKS_MAX {
            return Ok(());
        }
        let Offer::Nothing { recheck } = fleet.offer(now, id)? else { return Ok(()) };
        let latest = now.plus(SETTLED_MAX);
        let until = recheck.map_or(latest, |recheck| recheck.min(latest));
        let entry = Entry { number, product: product.cloned(), generation: fleet.generation(), until };
        self.found().push((id.clone(), entry));
        Ok(())
    }

    /// The device says something, or something is said of it: what was known may no longer hold.
    pub(super) fn forget(&self, device: &DeviceId) {
        self.found().retain(|(found, _)| found != device);
        let is_known = self.known.read().unwrap_or_else(PoisonError::into_inner).contains_key(device);
        if is_known {
            self.known.write().unwrap_or_else(PoisonError::into_inner).remove(device);
        }
    }

    /// The batch is durable, or lost: what it found may be relied on, or not.
    pub(super) fn settle(&self, saved: bool) {
        let found = std::mem::take(&mut *self.found());
        if found.is_empty() || !saved {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (device, entry) in found {
            if known.len() < ENTRIES_MAX || known.contains_key(&device) {
                known.insert(device, entry);
            }
        }
    }

    fn found(&self) -> MutexGuard<'_, Vec<(DeviceId, Entry)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::Clock;
    use super::super::{By, Engine};
    use super::*;
    use crate::store::Database;
    use updraft_core::attributes::Attributes;
    use updraft_core::report::{Description, Report};
    use updraft_core::rollout::Plan;
    use updraft_core::task::{Membership, Task};

    const NOW: Timestamp = Timestamp::from_millis(1_772_366_400_000);

    fn cam() -> DeviceId {
        "cam-1".parse().unwrap()
    }

    fn report(site: &str) -> Report {
        let mut attributes = Attributes::new();
        attributes.insert("site", site).unwrap();
        let product = "cam".parse().unwrap();
        let description = Description { product, version: "1.0.0".to_owned(), boot: None, attributes };
        Report { description: Some(description), progress: None }
    }

    async fn engine() -> Engine {
        let (engine, _) =
            Engine::start(Database::in_memory().unwrap().fleet().unwrap(), Clock::starting_at(NOW)).unwrap();
        say(&engine, "here").await;
        engine
    }

    async fn say(engine: &Engine, site: &str) {
        let report = report(site);
        engine.about(cam(), By::Device, move |fleet, now| fleet.report(now, &cam(), &report)).await.unwrap();
    }

    /// Asks the fleet what is pending, as a device does, and notes it if that is nothing.
    async fn ask(engine: &Engine) -> usize {
        let quiet = engine.quiet().clone();
        engine
            .about(cam(), By::Device, move |fleet, now| {
                let pending = fleet.pending(now, &cam())?;
                if pending.is_empty() {
                    quiet.note(fleet, now, &cam(), None)?;
                }
                Ok(pending.len())
            })
            .await
            .unwrap()
    }

    fn task(name: &str, device: &str) -> Task {
        Task {
            name: name.parse().unwrap(),
            description: String::new(),
            document: "{}".to_owned(),
            devices: [device.parse().unwrap()].into(),
            groups: [].into(),
            membership: Membership::Snapshot,
            link_life: std::time::Duration::from_secs(3_600),
        }
    }

    #[tokio::test]
    async fn a_device_with_nothing_before_it_is_quiet_until_it_says_something() {
        let engine = engine().await;
        assert!(!engine.is_quiet(&cam(), None), "nobody has asked");
        assert_eq!(ask(&engine).await, 0);
        assert!(engine.is_quiet(&cam(), None));
        say(&engine, "elsewhere").await;
        assert!(!engine.is_quiet(&cam(), None));
    }

    #[tokio::test]
    async fn a_task_for_a_quiet_device_is_heard_of_at_once() {
        let engine = engine().await;
        assert_eq!(ask(&engine).await, 0);
        let plan = Plan::standard(NOW);
        engine.start_task(task("calibrate", "cam-1"), plan, "test".to_owned()).await.unwrap();
        assert!(!engine.is_quiet(&cam(), None));
        assert_eq!(ask(&engine).await, 1);
        assert!(!engine.is_quiet(&cam(), None), "something is pending");
    }

    #[tokio::test]
    async fn a_device_whose_task_has_its_turn_later_is_not_quiet() {
        let engine = engine().await;
        let mut plan = Plan::standard(NOW);
        plan.waves[0].starts = NOW.plus(std::time::Duration::from_secs(3_600));
        engine.start_task(task("calibrate", "cam-1"), plan, "test".to_owned()).await.unwrap();
        assert_eq!(ask(&engine).await, 0);
        assert!(!engine.is_quiet(&cam(), None), "its turn comes by time alone");
    }

    #[tokio::test]
    async fn what_is_known_counts_for_one_credential_and_for_its_time() {
        let quiet = Quiet::default();
        let entry = Entry { number: 7, product: Some("cam".parse().unwrap()), generation: 3, until: NOW };
        quiet.found().push((cam(), entry));
        let (own, other) = ("cam".parse().unwrap(), "door".parse().unwrap());
        let before = Timestamp::from_millis(NOW.as_millis() - 1);
        assert_eq!(quiet.get(&cam(), Some(&own), 3, before), None, "the batch is not durable");
        quiet.settle(true);
        assert_eq!(quiet.get(&cam(), Some(&own), 3, before), Some(7));
        assert_eq!(quiet.get(&cam(), Some(&own), 3, NOW), None);
        assert_eq!(quiet.get(&cam(), Some(&own), 4, before), None);
        assert_eq!(quiet.get(&cam(), Some(&other), 3, before), None);
        assert_eq!(quiet.get(&cam(), None, 3, before), None);
    }

    #[test]
    fn what_a_lost_batch_found_is_forgotten() {
        let quiet = Quiet::default();
        let entry = || Entry { number: 7, product: None, generation: 3, until: NOW };
        let before = Timestamp::from_millis(0);
        quiet.found().push((cam(), entry()));
        quiet.settle(false);
        quiet.settle(true);
        assert_eq!(quiet.get(&cam(), None, 3, before), None);
        quiet.found().push((cam(), entry()));
        quiet.forget(&cam());
        quiet.settle(true);
        assert_eq!(quiet.get(&cam(), None, 3, before), None, "the device spoke later in the batch");
    }
}
