//! The engine's clock: wall time at the start, moved on by monotonic time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};
use updraft_core::time::Timestamp;

/// Tells the time as the engine sees it.
///
/// Deadlines must not fire, nor wait for years, because somebody set the wall clock: within one life of the process
/// time only moves with the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall_at_start: Timestamp,
    start: Instant,
}

impl Clock {
    /// A clock that starts from the machine's wall time.
    #[must_use]
    pub fn system() -> Self {
        Self::starting_at(wall())
    }

    /// A clock that starts from a given time.
    #[must_use]
    pub fn starting_at(wall_at_start: Timestamp) -> Self {
        Self { wall_at_start, start: Instant::now() }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.wall_at_start.plus(self.start.elapsed())
    }
}

/// The machine's wall time; 1970 if it is set to a time before that.
fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
