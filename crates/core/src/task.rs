//! A task: work for devices that is no release, a document which they understand.
//!
//! What an AWS IoT job is: the document is opaque here, the devices are named or found by their groups, and success is
//! what the device says, since there is no version that could prove it.

use crate::attributes::Value;
use crate::device::Device;
use crate::id::{DeviceId, GroupName, TaskName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Longest document, in characters (the limit of AWS IoT Jobs).
pub const DOCUMENT_CHARS_MAX: usize = 32_768;
/// Longest description, in characters (the limit of AWS IoT Jobs).
pub const DESCRIPTION_CHARS_MAX: usize = 2_028;
/// Most devices that one task names, its groups resolved: the list is kept with the task, and read at every start.
pub const DEVICES_MAX: usize = 10_000;
/// Most groups that one task names (AWS IoT Jobs allows 100 targets).
pub const GROUPS_MAX: usize = 100;
/// Most executions of tasks that a device has open at once; further ones wait. AWS IoT Jobs lists as many.
pub const OPEN_MAX: usize = 10;
/// The attribute by which a device says which group it is in.
pub const GROUP_ATTRIBUTE: &str = "group";

/// Whether devices that join a group later are meant as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Membership {
    /// The devices named, once; the task is complete when each has ended.
    Snapshot,
    /// Whoever is or comes to be in one of the groups; the task is never complete by itself.
    Continuous,
}

/// Work that is no release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What its operator calls it, and devices with it: unique among tasks that are not retired.
    pub name: TaskName,
    /// What it is for, in the operator's words; at most [`DESCRIPTION_CHARS_MAX`].
    pub description: String,
    /// What devices are given: JSON, at most [`DOCUMENT_CHARS_MAX`].
    pub document: String,
    /// The devices named; for a snapshot also those that its groups had. At most [`DEVICES_MAX`].
    pub devices: BTreeSet<DeviceId>,
    /// The groups named; at most [`GROUPS_MAX`].
    pub groups: BTreeSet<GroupName>,
    /// Whether devices that join a group later are meant.
    pub membership: Membership,
    /// How long links in the document work, from when a device asks.
    pub link_life: Duration,
}

impl Task {
    /// Checks every size against its limit.
    ///
    /// # Errors
    /// A sentence naming what is wrong and what it may be.
    pub fn check(&self) -> Result<(), &'static str> {
        let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&self.document);
        if self.document.chars().count() > DOCUMENT_CHARS_MAX || is_object.is_err() {
            return Err("document: a JSON object of at most 32768 characters");
        }
        if self.description.chars().count() > DESCRIPTION_CHARS_MAX {
            return Err("description: at most 2028 characters");
        }
        if self.devices.len() > DEVICES_MAX || self.groups.len() > GROUPS_MAX {
            return Err("targets: at most 10000 devices and 100 groups");
        }
        if self.devices.is_empty() && self.groups.is_empty() {
            return Err("targets: at least one device or group");
        }
        Ok(())
    }

    /// Whether a device is meant.
    #[must_use]
    pub fn is_for(&self, device: &Device) -> bool {
        let by_group = || match self.membership {
            Membership::Snapshot => false,
            Membership::Continuous => self.groups.iter().any(|group| is_member(device, group)),
        };
        self.devices.contains(&device.id) || by_group()
    }
}

/// Whether a device is in a group: its product is called so, or it says so in its [`GROUP_ATTRIBUTE`].
#[must_use]
pub fn is_member(device: &Device, group: &GroupName) -> bool {
    let said = device.attributes.get(GROUP_ATTRIBUTE).and_then(Value::as_str);
    device.product.as_str() == group.as_str() || said == Some(group.as_str())
}
