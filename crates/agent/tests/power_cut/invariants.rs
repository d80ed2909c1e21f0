//! The ten promises, as checks. Written before the code they hold to account.
//!
//! Some hold on every disk that a power cut may leave, before anything has looked at it; some at rest, when
//! the agent has done all it can; some at each step.

use crate::disk::{Content, Contents};
use crate::world::{NEW, OLD, Scenario, Start, World, factory_image, new_image};
use std::path::{Path, PathBuf};
use updraft_agent::boot::BootControl;
use updraft_agent::file_slots::FileSlots;
use updraft_agent::ledger::Ledger;
use updraft_agent::record::{self, Found};
use updraft_agent::slots::{SlotState, Slots};
use updraft_agent::storage::Storage;
use updraft_wire::UpdateState;

/// Starts that an update may take, from the assignment to its end, with the trials of a bad version included.
pub(crate) const BOOTS_MAX: u32 = 12;
/// Check-ins that it may take.
pub(crate) const CHECK_INS_MAX: u32 = 24;

/// What does not belong to the agent, and where.
pub(crate) const FOREIGN: [(&str, &[u8]); 4] = [
    ("/state/other.txt", b"state of someone else"),
    ("/slots/README", b"notes"),
    ("/slots/a/config.local", b"a's own"),
    ("/slots/b/config.local", b"b's own"),
];

/// A broken promise, by its number.
pub(crate) type Broken = String;

/// What must hold on every disk that a power cut may leave.
pub(crate) fn on_disk(disk: &Contents, scenario: Scenario) -> Result<(), Broken> {
    i1_some_slot_always_starts(disk, scenario)?;
    i2_no_link_to_a_slot_with_wrong_bytes(disk)?;
    i7_no_record_is_torn(disk)?;
    i10_nothing_foreign_is_touched(disk)
}

/// What must hold when the agent has done all it can.
pub(crate) fn at_rest(
    world: &World,
    storage: &mut dyn Storage,
    disk: &Contents,
    confirmed: Option<&str>,
) -> Result<(), Broken> {
    on_disk(disk, world.scenario)?;
    let slots = FileSlots::open(storage, Path::new("/slots"), OLD, false).map_err(|e| e.to_string())?;
    let active = slots.active().and_then(|slot| slots.record(slot));
    let runs = active.map_or(OLD, |record| record.version.as_str());
    i4_a_bad_image_is_never_permanent(world, runs)?;
    i5_the_last_word_is_what_runs(world, runs)?;
    i6_the_job_has_ended(world)?;
    i8_the_floor_is_what_was_confirmed(
        confirmed,
        runs,
        active.is_none_or(|r| matches!(r.state, SlotState::Confirmed { .. })),
    )
}

fn linked(disk: &Contents) -> Option<PathBuf> {
    match disk.get(Path::new("/slots/current")) {
        Some(Content::Link(target)) => Some(Path::new("/slots").join(target)),
        Some(Content::File(_)) | None => None,
    }
}

fn i1_some_slot_always_starts(disk: &Contents, scenario: Scenario) -> Result<(), Broken> {
    let starts = match linked(disk) {
        Some(folder) => matches!(disk.get(&folder.join("image")), Some(Content::File(_))),
        // Without a link the system as it left the factory starts, where there is one.
        None => scenario.start == Start::Factory,
    };
    if starts { Ok(()) } else { Err("I1: nothing starts".into()) }
}

fn i2_no_link_to_a_slot_with_wrong_bytes(disk: &Contents) -> Result<(), Broken> {
    let Some(folder) = linked(disk) else { return Ok(()) };
    match disk.get(&folder.join("image")) {
        Some(Content::File(bytes)) if **bytes == factory_image() || **bytes == new_image() => Ok(()),
        Some(_) | None => Err(format!("I2: {} starts, and its bytes are wrong", folder.display())),
    }
}

/// I3, at the step itself: `passed` says whether the health check passed in this boot.
pub(crate) fn i3_no_confirmation_without_a_health_check(passed: bool) -> Result<(), Broken> {
    if passed { Ok(()) } else { Err("I3: confirmed without a health check in this boot".into()) }
}

fn i4_a_bad_image_is_never_permanent(world: &World, runs: &str) -> Result<(), Broken> {
    let is_wrong = !world.scenario.is_good() && runs == NEW;
    if is_wrong { Err("I4: the bad version runs on".into()) } else { Ok(()) }
}

fn i5_the_last_word_is_what_runs(world: &World, runs: &str) -> Result<(), Broken> {
    let Some((said, end)) = &world.last_words else { return Err("I5: nothing was said".into()) };
    if said != runs {
        return Err(format!("I5: {said} was said to run, {runs} does"));
    }
    let expected = if world.scenario.is_good() { UpdateState::Succeeded } else { UpdateState::RolledBack };
    let expected_version = if world.scenario.is_good() { NEW } else { OLD };
    match end {
        Some(end) if *end == expected && runs == expected_version => Ok(()),
        end => Err(format!("I5: the end is {end:?} with {runs} running")),
    }
}

fn i6_the_job_has_ended(world: &World) -> Result<(), Broken> {
    if world.has_noted_end() { Ok(()) } else { Err("I6: the job never ended".into()) }
}

/// I6, while it runs: no endless loop.
pub(crate) fn i6_not_too_often(boots: u32, check_ins: u32) -> Result<(), Broken> {
    if boots > BOOTS_MAX || check_ins > CHECK_INS_MAX {
        return Err(format!("I6: no end after {boots} boots and {check_ins} check-ins"));
    }
    Ok(())
}

fn i7_no_record_is_torn(disk: &Contents) -> Result<(), Broken> {
    for path in ["/state/ledger.rec", "/slots/a/.slot.rec", "/slots/b/.slot.rec"] {
        let Some(Content::File(bytes)) = disk.get(Path::new(path)) else { continue };
        let mut storage = crate::disk::Disk::with(&[(path, bytes)]);
        // Any JSON object will do: the checksum is what is looked at.
        let found = record::load::<serde_json::Value>(&mut storage, Path::new(path));
        if !matches!(found, Ok(Found::Whole(_))) {
            return Err(format!("I7: {path} is torn"));
        }
    }
    let path = "/state/ledger.rec";
    let Some(Content::File(bytes)) = disk.get(Path::new(path)) else {
        return Err("I7: the ledger is gone".into());
    };
    let mut storage = crate::disk::Disk::with(&[(path, bytes)]);
    match record::load::<Ledger>(&mut storage, Path::new(path)) {
        Ok(Found::Whole(_)) => Ok(()),
        found => Err(format!("I7: the ledger is no ledger: {found:?}")),
    }
}

/// I8: a floor above what is confirmed would refuse the way back.
pub(crate) fn i8_the_floor_is_what_was_confirmed(
    confirmed: Option<&str>,
    runs: &str,
    is_confirmed: bool,
) -> Result<(), Broken> {
    match confirmed {
        Some(floor) if floor != runs || !is_confirmed => {
            Err(format!("I8: the floor is {floor} while {runs} runs"))
        }
        Some(_) | None => Ok(()),
    }
}

/// I9: what was served beyond the image, after this many cuts.
pub(crate) fn i9_no_more_than_a_checkpoint_again(
    served: u64,
    size: u64,
    cuts: u64,
    lost_max: u64,
) -> Result<(), Broken> {
    if served > size + cuts * lost_max {
        return Err(format!("I9: {served} bytes served for an image of {size} after {cuts} cuts"));
    }
    Ok(())
}

fn i10_nothing_foreign_is_touched(disk: &Contents) -> Result<(), Broken> {
    for (path, bytes) in FOREIGN {
        if !matches!(disk.get(Path::new(path)), Some(Content::File(held)) if **held == bytes) {
            return Err(format!("I10: {path} was touched"));
        }
    }
    Ok(())
}
