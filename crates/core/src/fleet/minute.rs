//! The pace by the minute: how many executions a rollout has opened in the minute that runs.

use super::Fleet;
use crate::rollout::Rollout;
use crate::store::Store;
use crate::time::Timestamp;

/// Milliseconds of a minute.
const MINUTE_MILLIS: i64 = 60_000;

fn minute(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(MINUTE_MILLIS)
}

/// How many executions were opened in one minute.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Minute {
    number: i64,
    opened: u32,
}

impl Minute {
    fn opened_in(self, now: Timestamp) -> u32 {
        if self.number == minute(now) { self.opened } else { 0 }
    }

    fn is_full(self, now: Timestamp, max: u32) -> bool {
        self.opened_in(now) >= max
    }
}

impl<S: Store> Fleet<S> {
    /// When a rollout may open an execution again, if its pace by the minute is used up.
    pub(super) fn next_opening(&self, now: Timestamp, rollout: &Rollout) -> Option<Timestamp> {
        let max = rollout.plan.pace.per_minute_max?;
        // What was opened before the server started is not known here: that minute counts as used up.
        let used_up = self.minutes.get(&rollout.id).is_none_or(|used| used.is_full(now, max));
        used_up.then(|| Timestamp::from_millis((minute(now) + 1) * MINUTE_MILLIS))
    }

    pub(super) fn count_opening(&mut self, now: Timestamp, rollout: &Rollout) {
        if rollout.plan.pace.per_minute_max.is_some() {
            let used = self.minutes.entry(rollout.id.clone()).or_default();
            *used = Minute { number: minute(now), opened: used.opened_in(now) + 1 };
        }
    }

    /// Begins to count for rollouts that were started before this process was.
    pub(super) fn begin_minutes(&mut self, now: Timestamp) {
        for rollout in self.index.rollouts().filter(|rollout| rollout.state.offers()) {
            if rollout.plan.pace.per_minute_max.is_some() && !self.minutes.contains_key(&rollout.id) {
                let full = Minute { number: minute(now), opened: u32::MAX };
                self.minutes.insert(rollout.id.clone(), full);
            }
        }
    }
}
