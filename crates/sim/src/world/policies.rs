//! The distribution policies that operators use here, each with what it means, said a second time and differently.

use updraft_core::attributes::{Attributes, Value};

/// What a policy's meaning is asked about.
pub(super) struct Pair<'a> {
    /// What the device said of itself.
    pub(super) device: &'a Attributes,
    /// The version it said it runs.
    pub(super) device_version: &'a str,
    /// The release's version.
    pub(super) update_version: &'a str,
}

/// A policy and its meaning.
pub(super) struct Policy {
    pub(super) source: &'static str,
    pub(super) means: fn(&Pair<'_>) -> bool,
}

/// All policies in use. What the devices that speak LwM2M say of themselves, the first and the last can ask for.
const POLICIES: [Policy; 6] = [
    Policy { source: "device.version < update.version", means: is_older },
    Policy {
        source: "device.version < update.version && device.region == 'eu'",
        means: |pair| is_older(pair) && text(pair, "region").as_deref() == Some("eu"),
    },
    Policy {
        source: "has(device.ring) && device.ring <= 2",
        means: |pair| text(pair, "ring").is_some_and(|ring| matches!(ring.as_str(), "0" | "1" | "2")),
    },
    Policy { source: "device.ring == 1 && device.version != update.version", means: is_ring_one_and_other },
    Policy { source: "device.region in ['eu', 'us']", means: |pair| text(pair, "region").is_some() },
    Policy {
        source: "device.version < update.version && device.radio_signal_strength > -100",
        means: |pair| {
            is_older(pair) && text(pair, "radio_signal_strength").is_some_and(|dbm| is_above(&dbm, -100))
        },
    },
];

/// The choice of an operator whose devices speak HTTP, by place.
pub(super) const FOR_HTTP: &[usize] = &[0, 1, 2, 3, 4];
/// The choice of one, most of whose devices speak LwM2M: some releases are not for those.
pub(super) const FOR_LWM2M: &[usize] = &[0, 0, 0, 5, 5, 1, 3];

/// The policy at a place of the choice.
pub(super) fn source(choice: &[usize], place: usize) -> &'static str {
    POLICIES[choice[place]].source
}

/// What a policy means for a pair; `None` if it is none of ours.
pub(super) fn meaning(source: &str, pair: &Pair<'_>) -> Option<bool> {
    POLICIES.iter().find(|policy| policy.source == source).map(|policy| (policy.means)(pair))
}

/// SemVer precedence, by another reader than the server's own; `None` where either is no version.
pub(super) fn precedence(left: &str, right: &str) -> Option<std::cmp::Ordering> {
    let (left, right) = (semver::Version::parse(left).ok()?, semver::Version::parse(right).ok()?);
    Some(left.cmp_precedence(&right))
}

fn is_older(pair: &Pair<'_>) -> bool {
    precedence(pair.device_version, pair.update_version) == Some(std::cmp::Ordering::Less)
}

fn is_ring_one_and_other(pair: &Pair<'_>) -> bool {
    let differs = precedence(pair.device_version, pair.update_version) != Some(std::cmp::Ordering::Equal);
    differs && text(pair, "ring").as_deref() == Some("1")
}

fn is_above(number: &str, least: i64) -> bool {
    number.parse::<i64>().is_ok_and(|number| number > least)
}

/// An attribute as text, whichever type the device gave it.
fn text(pair: &Pair<'_>, name: &str) -> Option<String> {
    match pair.device.get(name)? {
        Value::Text(text) => Some(text.as_str().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(_) | Value::Null | Value::List(_) => None,
    }
}
