//! What must be so after each tick, and in the end, when everything works and nobody interferes.

use super::World;
use super::books::Row;
use super::reference::{Expected, expected};
use std::collections::BTreeMap;
use updraft_core::explain::Obstacle;
use updraft_core::fleet::CLOSED_PER_TICK_MAX;
use updraft_core::id::DeviceId;
use updraft_core::state::StateKind;
use updraft_core::time::Timestamp;

/// After a tick nothing is overdue, and nothing of an aborted rollout is open; unless there was more than one tick closes.
pub(super) fn check_after_tick(world: &mut World, clock: Timestamp) {
    let World { books, truth, .. } = world;
    let mut left = Vec::new();
    for row in books.open_rows() {
        let execution = &row.execution;
        let name = || format!("{}-{} of {}", execution.rollout, execution.attempt, execution.device);
        if execution.deadline <= clock {
            left.push(format!("{} is open beyond its deadline", name()));
        }
        let rollout = books.rollout(&execution.rollout);
        if rollout.is_some_and(|rollout| rollout.state == updraft_core::rollout::RolloutState::Aborted) {
            left.push(format!("{} is open, and its rollout is aborted", name()));
        }
    }
    let is_closed_now = |row: &&Row| !row.execution.state.is_open() && row.execution.changed == clock;
    if !left.is_empty() && books.rows().filter(is_closed_now).count() < CLOSED_PER_TICK_MAX {
        left.into_iter().for_each(|complaint| truth.complain(complaint));
    }
}

/// What is not yet as it should be; empty: everything has come to rest, and rightly so.
pub(super) fn unrest(world: &mut World) -> Vec<String> {
    let mut unrest = Vec::new();
    let clock = world.server.clock(world.now);
    for row in world.books.open_rows() {
        let execution = &row.execution;
        let (rollout, device, state) = (&execution.rollout, &execution.device, execution.state);
        unrest.push(format!("{rollout} of {device} is still {state:?}"));
    }
    for device in 0..world.devices.len() {
        if !world.truth.devices[device].is_silent {
            unrest.extend(unrest_of(world, device, clock));
        }
    }
    unrest
}

fn unrest_of(world: &mut World, device: usize, clock: Timestamp) -> Option<String> {
    let truth = &world.truth.devices[device];
    let id = truth.id.clone();
    if !world.devices[device].is_idle() {
        return Some(format!("{id} is not idle: {}", world.devices[device].standing()));
    }
    let Some(known) = world.books.devices.get(&id) else {
        return Some(format!("{id} is not in the books"));
    };
    if known.version != truth.version() {
        return Some(format!("{id} runs {}, in the books it runs {}", truth.version(), known.version));
    }
    let should = expected(&world.books, known, clock);
    if let Expected::Update(rollout) = &should {
        let explanation = world.server.fleet().and_then(|fleet| fleet.explain(clock, &id, None).ok());
        return Some(format!("{id} should take part in {rollout}; the server explains: {explanation:?}"));
    }
    check_explanation(world, device, clock)
}

/// What the server explains agrees with the reference: nothing is due, and what it counts is so.
fn check_explanation(world: &mut World, device: usize, clock: Timestamp) -> Option<String> {
    let id = world.truth.devices[device].id.clone();
    let explanation = match world.server.fleet()?.explain(clock, &id, None) {
        Ok(explanation) => explanation,
        Err(error) => return Some(format!("{id} is not explained: {error}")),
    };
    if let Some(version) = &explanation.would_offer {
        return Some(format!("{id} would be offered {version}, which is not for it"));
    }
    for release in &explanation.releases {
        for obstacle in &release.obstacles {
            if let (Obstacle::InFlightFull { in_flight, .. }, Some(rollout)) = (obstacle, &release.rollout) {
                let booked = world.books.in_flight(rollout);
                return Some(format!(
                    "{rollout} is said to have {in_flight} in flight; the books say {booked}"
                ));
            }
        }
    }
    None
}

/// The store holds what was saved: rows, and counts made from them.
pub(super) fn check_store(world: &mut World) {
    let saved = std::mem::take(&mut world.truth.complaints);
    let mut complaints = saved;
    let mut rows: BTreeMap<DeviceId, usize> = BTreeMap::new();
    for row in world.books.rows() {
        *rows.entry(row.execution.device.clone()).or_default() += 1;
    }
    for device in world.books.devices.values() {
        match world.server.disk.record(&device.id) {
            Ok(record) => {
                if record.device.as_ref() != Some(device) {
                    complaints.push(format!("{} is stored otherwise than saved", device.id));
                }
                for execution in &record.executions {
                    let row = world.books.row(&execution.device, &execution.rollout);
                    if row.map(|row| &row.execution) != Some(execution) {
                        complaints.push(format!(
                            "{} of {} is stored otherwise than saved",
                            execution.rollout, execution.device
                        ));
                    }
                }
                let booked = rows.get(&device.id).copied().unwrap_or_default();
                if booked != record.executions.len() {
                    complaints.push(format!("{} has {booked} executions saved, others stored", device.id));
                }
            }
            Err(error) => complaints.push(format!("{} cannot be read: {error}", device.id)),
        }
    }
    let counted = world.server.disk.counted().unwrap_or_default();
    for rollout in world.books.rollouts() {
        let tally = counted.get(&rollout.id).copied().unwrap_or_default();
        for kind in StateKind::ALL {
            let booked = world.books.count(&rollout.id, kind);
            if tally.count(kind) != booked {
                complaints.push(format!(
                    "{}: {} counted as {kind}, booked {booked}",
                    rollout.id,
                    tally.count(kind)
                ));
            }
        }
    }
    world.truth.complaints = complaints;
}
