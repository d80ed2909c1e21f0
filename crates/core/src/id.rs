//! Names of things, each its own type, each checked where it enters.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest device ID and product name, in bytes (the limit of AWS IoT thing names).
pub const NAME_BYTES_MAX: usize = 128;
/// Longest rollout ID, in bytes; with the attempt it fits the 64 characters of an AWS IoT job ID.
pub const ROLLOUT_ID_BYTES_MAX: usize = 48;
/// Longest task name, in bytes (the limit of AWS IoT job IDs).
pub const TASK_NAME_BYTES_MAX: usize = 64;

/// Why a text is no valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct InvalidName {
    what: &'static str,
    rule: &'static str,
}

const NAME_RULE: &str = "1 to 128 of A-Z a-z 0-9 : _ . @ -, not starting with a dot or a hyphen";
const ROLLOUT_ID_RULE: &str = "1 to 48 of a-z 0-9";
const TASK_NAME_RULE: &str = "1 to 64 of A-Z a-z 0-9 _ -";

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'.' | b'@' | b'-'))
}

fn is_rollout_id(text: &str) -> bool {
    (1..=ROLLOUT_ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn is_task_name(text: &str) -> bool {
    (1..=TASK_NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident, $rule:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if $check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { what: $what, rule: $rule })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// Names one device, within the whole server. Cheap to clone.
    DeviceId, "a device ID", is_name, NAME_RULE
);
name!(
    /// Names a product: a line of devices that share releases. Cheap to clone.
    ProductName, "a product name", is_name, NAME_RULE
);
name!(
    /// Names a rollout. Made once, at random, by whoever commands the rollout; never used again.
    RolloutId, "a rollout ID", is_rollout_id, ROLLOUT_ID_RULE
);
name!(
    /// Names a task, as its operator calls it. Cheap to clone.
    TaskName, "a task name", is_task_name, TASK_NAME_RULE
);
name!(
    /// Names a group of devices. Cheap to clone.
    GroupName, "a group name", is_name, NAME_RULE
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_mislead_a_path_a_topic_or_a_reader_are_refused() {
        let long = "x".repeat(129);
        for text in ["", ".", "..", "../x", "a/b", "a b", "a\0", "a+", "#", "-rf", "ä", "a\u{202e}b", &long]
        {
            assert!(text.parse::<DeviceId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_devices_really_have_are_taken() {
        for text in
            ["D1", "DEV0000001", "urn:imei:123456789012345", "00-1B-44-11-3A-B7", "a@b.example", "x_1"]
        {
            assert_eq!(text.parse::<DeviceId>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_rollout_id_fits_into_a_job_id() {
        assert!("r4k2m9x7q".parse::<RolloutId>().is_ok());
        for text in ["", "R1", "r-1", "r_1"] {
            assert!(text.parse::<RolloutId>().is_err(), "{text:?}");
        }
    }
}
