//! Devices that speak LwM2M: how one stands, and what an operator asks of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a registered device stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Its endpoint name.
    pub endpoint: String,
    /// From where it was last heard.
    pub address: String,
    /// How it proved who it is: `psk`, `x509` or `none`.
    pub security: String,
    /// The version of LwM2M it speaks.
    pub version: String,
    /// Seconds until its registration ends, unless it renews it; absent: it does not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_s: Option<u64>,
    /// When it registered.
    pub registered: String,
    /// When it was last heard.
    pub heard: String,
    /// Whether it sleeps between its words.
    pub queue_mode: bool,
    /// Whether it can be reached at this moment.
    pub awake: bool,
    /// Its objects and their instances, as paths.
    pub objects: Vec<String>,
    /// What is known of its resources, by path.
    pub tree: Vec<Resource>,
    /// Orders that wait for it.
    pub waiting: usize,
}

/// A resource, or one instance of a multiple one, with its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// Its path, as `/3/0/9`.
    pub path: String,
    /// What the registry calls it; absent where the server does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its type: `text`, `integer`, `unsigned`, `float`, `boolean`, `opaque`, `time`, `object_link` or `core_link`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its value: a number, a truth, or a text. Bytes are base64, a time is seconds since 1970, a link to an object `3:0`.
    pub value: Value,
}

/// What can be asked of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// What is there.
    Read,
    /// What is there, and from then on each change.
    Observe,
    /// No further changes.
    Ignore,
    /// What there is, without values.
    Discover,
    /// Write a resource.
    Write,
    /// Execute a resource.
    Execute,
}

impl Operation {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Observe => "observe",
            Self::Ignore => "ignore",
            Self::Discover => "discover",
            Self::Write => "write",
            Self::Execute => "execute",
        }
    }
}

/// Asks something of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// What.
    pub operation: Operation,
    /// Of which part of its tree, as `/3/0/9`.
    pub path: String,
    /// What to write, as text: numbers in decimals, truths as 0 or 1, bytes in base64. Only to write, and then needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What to execute with, as `0='x',1`. Only to execute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
}

/// An order was taken in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    /// Its number.
    pub number: u64,
    /// Whether it waits until the device wakes.
    pub waits: bool,
    /// What came of it; absent while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// An order as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub number: u64,
    /// What was asked.
    pub operation: Operation,
    /// Of which part of the device's tree.
    pub path: String,
    /// What was to be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What was to be executed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// Which operator asked.
    pub by: String,
    /// When.
    pub at: String,
    /// Whether it waits until the device wakes.
    pub waits: bool,
    /// What came of it; absent while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// What was read.
    Content {
        /// The resources, by path.
        tree: Vec<Resource>,
    },
    /// What was discovered.
    Links {
        /// In the CoRE link format (RFC 6690).
        links: String,
    },
    /// It was done.
    Done,
    /// The device said no.
    Refused {
        /// Its code, as `4.05`.
        code: String,
        /// What the code means, and what the device added.
        message: String,
    },
    /// The device did not answer.
    NoAnswer {
        /// Why not.
        message: String,
    },
}
