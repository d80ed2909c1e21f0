//! Notifications: that the list of what a device has before it has changed, or what comes first in it.

use super::render::{self, Renderer};
use super::{DeviceId, ExecutionState, Fleet, Links, Message, Pending, Store, Timestamp, message, seconds};
use std::collections::{BTreeMap, BTreeSet};
use updraft_core::id::RolloutId;
use updraft_wire::jobs::{ExecutionReply, Notification, Status, Summary, Topic};

/// What a device has been told of what it has before it: which executions, and which comes first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    list: BTreeSet<(RolloutId, u32)>,
    first: Option<(RolloutId, u32)>,
}

impl Told {
    /// What is told by saying all of it.
    #[must_use]
    pub fn of(pending: &[Pending]) -> Self {
        let key = |one: &Pending| (one.rollout.id.clone(), one.execution.attempt);
        Self { list: pending.iter().map(key).collect(), first: pending.first().map(key) }
    }

    /// Whether there was nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// What a device must hear that was told `before`: of the list, if an execution came or went; of what is next, if that is
/// another than it was.
pub fn notifications<S: Store>(
    fleet: &Fleet<S>,
    now: Timestamp,
    device: &DeviceId,
    before: &Told,
    pending: &[Pending],
    links: &Links,
) -> Vec<Message> {
    let after = Told::of(pending);
    let mut messages = Vec::new();
    if after.list != before.list {
        let notification = Notification { timestamp: seconds(now), jobs: by_status(pending) };
        messages.push(message(Topic::Notify, device, &notification));
    }
    if after.first != before.first {
        let renderer = Renderer { fleet, now, links };
        let execution =
            pending.first().map(|first| renderer.execution(&first.rollout, &first.execution, true));
        let next = ExecutionReply { execution, timestamp: seconds(now), client_token: None };
        messages.push(message(Topic::NotifyNext, device, &next));
    }
    messages
}

fn by_status(pending: &[Pending]) -> BTreeMap<Status, Vec<Summary>> {
    let mut lists: BTreeMap<Status, Vec<Summary>> = BTreeMap::new();
    for one in pending {
        let is_queued = one.execution.state == ExecutionState::Queued;
        let status = if is_queued { Status::Queued } else { Status::InProgress };
        lists.entry(status).or_default().push(render::summary(one));
    }
    lists
}
