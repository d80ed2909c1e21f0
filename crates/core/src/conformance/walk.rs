//! A random walk over a store: legal and illegal batches of executions, and the books compared after each.

use super::sample::{at, execution, load, prepare, rollout_id, states};
use crate::execution::Execution;
use crate::id::RolloutId;
use crate::state::Tally;
use crate::store::{Changes, Store};
use std::collections::{BTreeMap, BTreeSet};

/// Walks are short and few: each batch is a durable write where the store has a disk.
const BATCHES: usize = 150;
const DEVICES: [&str; 6] = ["d1", "d2", "d3", "d4", "d5", "d6"];
const ROLLOUTS: [&str; 3] = ["r1", "r2", "r3"];

/// A small generator (SplitMix64, public domain): the same walk on every machine.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let wide = u128::from(mixed ^ (mixed >> 31)) * (bound as u128);
        usize::try_from(wide >> 64).expect("a fraction of a usize")
    }
}

type Rows = BTreeMap<(&'static str, &'static str), Execution>;

/// After every batch, saved or refused, the tallies count exactly the executions that are stored; and a batch is
/// refused exactly if it leaves a device with two open executions.
pub fn tallies_equal_the_executions_whatever_happens(store: &mut dyn Store) {
    prepare(store, &DEVICES, &ROLLOUTS);
    let mut random = Seeded(7);
    let mut rows = Rows::new();
    for step in 0..BATCHES {
        let batch = batch(&mut random, step);
        let mut after = rows.clone();
        after.extend(batch.clone());
        let executions: Vec<_> = batch.into_values().collect();
        let saved = store.save(&Changes { executions, ..Changes::default() });
        assert_eq!(saved.is_ok(), at_most_one_open(&after), "batch {step}");
        if saved.is_ok() {
            rows = after;
        }
        compare(store, &rows, step);
    }
}

fn batch(random: &mut Seeded, step: usize) -> Rows {
    let states = states();
    let mut batch = Rows::new();
    for _ in 0..=random.below(4) {
        let (device, rollout) =
            (DEVICES[random.below(DEVICES.len())], ROLLOUTS[random.below(ROLLOUTS.len())]);
        let state = states[random.below(states.len())];
        let changed = at(i64::try_from(step).expect("a small number"));
        batch.insert((device, rollout), Execution { changed, ..execution(rollout, device, state) });
    }
    batch
}

fn at_most_one_open(rows: &Rows) -> bool {
    let mut open = BTreeSet::new();
    rows.iter().filter(|(_, row)| row.state.is_open()).all(|((device, _), _)| open.insert(*device))
}

fn compare(store: &mut dyn Store, rows: &Rows, step: usize) {
    for (device, record) in DEVICES.iter().zip(load(store, &DEVICES)) {
        let expected = rows.iter().filter(|((of, _), _)| of == device).map(|(_, row)| row.clone());
        assert_eq!(record.executions, expected.collect::<Vec<_>>(), "{device} after batch {step}");
    }
    let mut expected: BTreeMap<RolloutId, Tally> = BTreeMap::new();
    for ((_, rollout), row) in rows {
        expected.entry(rollout_id(rollout)).or_default().shift(None, row.state.kind());
    }
    let mut tallies = store.tallies().expect("tallies");
    tallies.retain(|_, tally| *tally != Tally::default());
    assert_eq!(tallies, expected, "after batch {step}");
}
