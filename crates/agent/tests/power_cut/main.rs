//! Cuts the power between any two changes of the disk, looks at every disk that this may leave, and cuts the
//! recovery as well.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

mod conformance;
mod disk;
mod invariants;
mod world;

use disk::{Content, Contents, Faults};
use invariants::Broken;
use std::collections::BTreeSet;
use std::path::Path;
use world::{CHECKPOINT_BYTES, Ended, PIECE_BYTES, Quality, Scenario, Start, World, new_image};

/// Cuts that are explored on the way from the assignment to its end.
const DEPTH: u32 = 2;

#[derive(Debug, Default)]
struct Explored {
    /// Disks gone on from, with what else tells two situations apart.
    disks: BTreeSet<(Contents, (bool, u64), u32)>,
    /// Disks looked at.
    seen: BTreeSet<Contents>,
    cuts: u64,
}

struct Explorer {
    faults: Faults,
    cuts_max: u32,
    explored: Explored,
}

impl Explorer {
    /// Runs from a disk to rest, and on from every disk that a cut at any change on the way would leave.
    fn explore(&mut self, world: &World, contents: &Contents, depth: u32) -> Result<(), Broken> {
        let mut uncut = world.clone();
        let disk = world::disk(contents, self.faults);
        if depth > 0 {
            disk.note_cuts();
        }
        let Ended::AtRest(confirmed) = uncut.run(&disk)? else { unreachable!("nothing cuts this run") };
        let noted = disk.noted_cuts();
        invariants::at_rest(&uncut, &mut disk.clone(), &disk.live(), confirmed.as_deref())?;
        let cuts = u64::from(self.cuts_max - depth);
        let lost_max = CHECKPOINT_BYTES + PIECE_BYTES as u64;
        let size = new_image().len() as u64;
        invariants::i9_no_more_than_a_checkpoint_again(uncut.served, size, cuts, lost_max)?;
        if depth == 0 {
            return Ok(());
        }
        for (at, (moment, disks)) in noted.into_iter().enumerate() {
            self.explored.cuts += 1;
            for left in disks {
                let cut = uncut.moment(moment);
                self.go_on(cut, left, depth).map_err(|broken| format!("{broken}, cut at {at}"))?;
            }
        }
        Ok(())
    }

    /// Goes on from a disk that a cut has left.
    fn go_on(&mut self, cut: &World, left: Contents, depth: u32) -> Result<(), Broken> {
        if self.explored.seen.insert(left.clone()) {
            invariants::on_disk(&left, cut.scenario)?;
        }
        if self.explored.disks.insert((left.clone(), cut.key(), depth)) {
            self.explore(cut, &left, depth - 1)?;
        }
        Ok(())
    }
}

fn explore(scenario: Scenario, faults: Faults, depth: u32) -> Result<Explored, Broken> {
    let mut explorer = Explorer { faults, cuts_max: depth, explored: Explored::default() };
    explorer.explore(&World::new(scenario), &world::first_disk(scenario), depth)?;
    Ok(explorer.explored)
}

fn holds(start: Start, quality: Quality) {
    holds_in(Scenario::new(start, quality));
}

fn holds_in(scenario: Scenario) {
    let explored = explore(scenario, Faults::default(), DEPTH).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{scenario:?}: {} cuts, {} disks", explored.cuts, explored.disks.len());
    assert!(explored.disks.len() > 100, "the model has lost its cuts: {}", explored.disks.len());
}

#[test]
fn a_good_version_arrives_through_any_two_power_cuts() {
    holds(Start::SlotA, Quality::Good);
}

#[test]
fn a_sick_version_is_left_through_any_two_power_cuts() {
    holds(Start::SlotA, Quality::Sick);
}

#[test]
fn a_crashing_version_is_left_through_any_two_power_cuts() {
    holds(Start::SlotA, Quality::Crashing);
}

#[test]
fn a_package_without_a_manifest_arrives_through_any_two_power_cuts() {
    holds_in(Scenario { is_package: true, ..Scenario::new(Start::SlotA, Quality::Good) });
}

#[test]
fn a_sick_package_without_a_manifest_is_left_through_any_two_power_cuts() {
    holds_in(Scenario { is_package: true, ..Scenario::new(Start::SlotA, Quality::Sick) });
}

#[test]
fn the_first_version_of_all_arrives_through_any_two_power_cuts() {
    holds(Start::Factory, Quality::Good);
}

#[test]
fn a_sick_first_version_gives_way_to_the_factorys_through_any_two_power_cuts() {
    holds(Start::Factory, Quality::Sick);
}

/// The ledger as a failing flash chip may leave it, after a cut anywhere: gone, or garbage.
fn without_ledger(quality: Quality) {
    let scenario = Scenario::new(Start::SlotA, quality);
    let first = world::first_disk(scenario);
    let disk = world::disk(&first, Faults::default());
    World::new(scenario).run(&disk).unwrap();
    for at in 0..disk.changes() {
        let mut cut = World::new(scenario);
        let disk = world::disk(&first, Faults::default());
        disk.cut_at(at);
        cut.run(&disk).unwrap();
        for mut left in disk.after_cut() {
            for ledger in [None, Some(Content::File(b"\xFF\xFF\xFF\xFF".to_vec().into()))] {
                left.remove(Path::new("/state/ledger.rec"));
                left.extend(ledger.map(|garbage| ("/state/ledger.rec".into(), garbage)));
                let disk = world::disk(&left, Faults::default());
                let mut world = cut.clone();
                let ended = world.run(&disk).unwrap_or_else(|broken| panic!("{broken}, cut at {at}"));
                let Ended::AtRest(confirmed) = ended else { unreachable!("nothing cuts this run") };
                let live = disk.live();
                invariants::at_rest(&world, &mut disk.clone(), &live, confirmed.as_deref())
                    .unwrap_or_else(|broken| panic!("{broken}, cut at {at}"));
            }
        }
    }
}

#[test]
fn a_lost_ledger_makes_no_loop_of_a_sick_version() {
    without_ledger(Quality::Sick);
}

#[test]
fn a_lost_ledger_makes_no_loop_of_a_crashing_version() {
    without_ledger(Quality::Crashing);
}

#[test]
fn a_lost_ledger_keeps_a_good_version_from_nothing() {
    without_ledger(Quality::Good);
}

/// Tests of the test: each of these faults has to be found.
fn finds(scenario: Scenario, faults: Faults, promises: &[&str]) {
    let Err(broken) = explore(scenario, faults, 1) else { panic!("a fault that nobody noticed") };
    assert!(promises.iter().any(|promise| broken.starts_with(promise)), "{broken}");
}

#[test]
fn an_image_that_is_not_synced_is_found() {
    let faults = Faults { image_sync_skipped: true, ..Faults::default() };
    finds(Scenario::new(Start::SlotA, Quality::Good), faults, &["I1", "I2", "I9"]);
}

#[test]
fn a_record_that_is_not_synced_is_found() {
    let faults = Faults { record_sync_skipped: true, ..Faults::default() };
    finds(Scenario::new(Start::SlotA, Quality::Good), faults, &["I7"]);
}

#[test]
fn a_record_written_in_place_is_found() {
    let faults = Faults { records_in_place: true, ..Faults::default() };
    finds(Scenario::new(Start::SlotA, Quality::Good), faults, &["I7"]);
}

#[test]
fn a_folder_that_is_not_synced_is_found() {
    let faults = Faults { folder_sync_skipped: true, ..Faults::default() };
    let broken = explore(Scenario::new(Start::Factory, Quality::Good), faults, 1);
    assert!(broken.is_err(), "a fault that nobody noticed");
}

#[test]
fn a_confirmation_before_the_health_check_is_found() {
    let scenario = Scenario { health_skipped: true, ..Scenario::new(Start::SlotA, Quality::Good) };
    finds(scenario, Faults::default(), &["I3"]);
}

#[test]
fn a_confirmation_of_a_sick_version_is_found() {
    let scenario = Scenario { confirms_sick: true, ..Scenario::new(Start::SlotA, Quality::Sick) };
    finds(scenario, Faults::default(), &["I3", "I4"]);
}

#[test]
fn a_file_made_at_the_cost_of_others_is_found() {
    let faults = Faults { folder_cleared: true, ..Faults::default() };
    finds(Scenario::new(Start::SlotA, Quality::Good), faults, &["I10"]);
}
