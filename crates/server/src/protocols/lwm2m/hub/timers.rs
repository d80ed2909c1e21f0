//! When what is due next: one table for all that waits.

use super::LineId;
use std::collections::{BTreeSet, HashMap};
use updraft_core::id::DeviceId;
use updraft_lwm2m::Moment;

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    /// The message layer of a line.
    Line(LineId),
    /// The driver of a device's update.
    Driver(DeviceId),
    /// The look over all devices.
    Sweep,
    /// The end of what a device that sleeps is awake for.
    Awake(DeviceId),
    /// The oldest order that waits for a device.
    Orders(DeviceId),
}

/// What waits, and until when. Setting a key again moves it.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Moment, Key)>,
    at: HashMap<Key, Moment>,
}

impl Timers {
    /// Sets when something is due; `None`: no longer.
    pub(super) fn set(&mut self, key: Key, at: Option<Moment>) {
        let before = match at {
            Some(at) => self.at.insert(key.clone(), at),
            None => self.at.remove(&key),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.due.remove(&(before, key.clone()));
        }
        if let Some(at) = at {
            self.due.insert((at, key));
        }
    }

    /// The next that is due by now, taken out.
    pub(super) fn pop(&mut self, now: Moment) -> Option<Key> {
        let (at, _) = self.due.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        self.at.remove(&key);
        Some(key)
    }

    /// When something is due.
    pub(super) fn at(&self, key: &Key) -> Option<Moment> {
        self.at.get(key).copied()
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_again_is_due_once_at_its_last_time() {
        let mut timers = Timers::default();
        let key = Key::Driver("a".parse().unwrap());
        timers.set(key.clone(), Some(Moment(5)));
        timers.set(key.clone(), Some(Moment(9)));
        timers.set(Key::Driver("b".parse().unwrap()), Some(Moment(7)));
        assert_eq!(timers.next(), Some(Moment(7)));
        assert_eq!(timers.pop(Moment(8)), Some(Key::Driver("b".parse().unwrap())));
        assert_eq!(timers.pop(Moment(8)), None);
        assert_eq!(timers.pop(Moment(9)), Some(key.clone()));
        timers.set(key.clone(), Some(Moment(10)));
        timers.set(key, None);
        assert_eq!((timers.next(), timers.pop(Moment(100))), (None, None));
    }
}
