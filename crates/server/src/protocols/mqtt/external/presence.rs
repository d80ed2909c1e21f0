//! Which devices were heard lately. Whether one is connected is the broker's to know: who was heard is taken to be there.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use updraft_core::id::DeviceId;

/// Most devices remembered: as many as the server's own endpoint has sessions at most. Whoever is beyond asks by itself.
const DEVICES_MAX: usize = 1_000_000;

/// Which devices were heard when.
#[derive(Debug)]
pub(super) struct Presence {
    /// How long a device counts as connected after it was heard.
    life: Duration,
    heard: Mutex<HashMap<DeviceId, Instant>>,
}

impl Presence {
    pub(super) fn new(life: Duration) -> Self {
        Self { life, heard: Mutex::default() }
    }

    pub(super) fn life(&self) -> Duration {
        self.life
    }

    /// A device was heard then.
    pub(super) fn hear(&self, device: &DeviceId, at: Instant) {
        let mut heard = self.lock();
        if let Some(last) = heard.get_mut(device) {
            *last = at.max(*last);
        } else if heard.len() < DEVICES_MAX {
            heard.insert(device.clone(), at);
        }
    }

    pub(super) fn is_connected(&self, device: &DeviceId, now: Instant) -> bool {
        self.lock().get(device).is_some_and(|at| now.saturating_duration_since(*at) < self.life)
    }

    /// Who is connected. Forgets the others.
    pub(super) fn connected(&self, now: Instant) -> Vec<DeviceId> {
        let mut heard = self.lock();
        heard.retain(|_, at| now.saturating_duration_since(*at) < self.life);
        heard.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Instant>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_counts_as_connected_for_as_long_as_was_said_after_it_was_heard() {
        let presence = Presence::new(Duration::from_secs(60));
        let (device, other): (DeviceId, DeviceId) = ("cam-1".parse().unwrap(), "cam-2".parse().unwrap());
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        presence.hear(&device, start);
        presence.hear(&other, after(30));
        assert!(presence.is_connected(&device, after(59)));
        assert!(!presence.is_connected(&device, after(60)));
        assert_eq!(presence.connected(after(60)), std::slice::from_ref(&other));
        presence.hear(&other, start);
        assert!(presence.is_connected(&other, after(89)), "an earlier word takes nothing back");
        assert!(!presence.is_connected(&device, after(1)), "who is forgotten is heard anew or not at all");
    }
}
