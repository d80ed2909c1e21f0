//! How fast a connection may speak, where its broker limits that. Pure.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// The time in which messages are counted.
const SECOND: Duration = Duration::from_secs(1);

/// Lets so many messages leave in any second, whenever it begins; a token bucket of the same rate would let twice as many.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: Option<usize>,
    /// When the last ones left, as many as may leave in a second.
    left: VecDeque<Instant>,
}

impl Pace {
    /// `None`: as fast as can be.
    pub(super) fn new(per_second: Option<u32>) -> Self {
        let per_second = per_second.map(|count| usize::try_from(count.max(1)).unwrap_or(usize::MAX));
        Self { per_second, left: VecDeque::new() }
    }

    /// When the next may leave; in the past if it may at once.
    pub(super) fn next(&self, now: Instant) -> Instant {
        match (self.per_second, self.left.front()) {
            (Some(most), Some(first)) if self.left.len() >= most => *first + SECOND,
            (Some(_) | None, Some(_) | None) => now,
        }
    }

    /// One has left.
    pub(super) fn count(&mut self, now: Instant) {
        let Some(most) = self.per_second else { return };
        if self.left.len() >= most {
            self.left.pop_front();
        }
        self.left.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_than_was_allowed_and_each_sees_as_many_if_they_wait() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(3));
        let mut now = start;
        let mut left = Vec::new();
        for _ in 0..10 {
            now = pace.next(now).max(now);
            pace.count(now);
            left.push((now - start).as_millis());
            now += Duration::from_millis(10);
        }
        assert_eq!(left, [0, 10, 20, 1000, 1010, 1020, 2000, 2010, 2020, 3000]);
    }

    #[test]
    fn a_pause_earns_no_more_than_one_second() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(2));
        pace.count(start);
        let late = start + Duration::from_secs(60);
        for _ in 0..2 {
            assert!(pace.next(late) <= late);
            pace.count(late);
        }
        assert_eq!(pace.next(late), late + SECOND);
    }

    #[test]
    fn without_a_limit_everything_leaves_at_once() {
        let now = Instant::now();
        let mut pace = Pace::new(None);
        for _ in 0..1_000 {
            pace.count(now);
            assert_eq!(pace.next(now), now);
        }
    }
}
