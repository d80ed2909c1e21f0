//! The job ID: how an execution is called on the wire.

use std::fmt;
use std::str::FromStr;

/// Longest rollout part of a job ID, in bytes. Leaves room for the attempt within the 64 characters that
/// AWS IoT Jobs allows a job ID.
pub const ROLLOUT_BYTES_MAX: usize = 48;

/// One attempt of one device at one rollout, written `<rollout>-<attempt>`.
///
/// The rollout part is `[a-z0-9]`, at most [`ROLLOUT_BYTES_MAX`] bytes; the attempt counts from 1. Ordered by
/// rollout, then attempt: two attempts of one rollout compare as they happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId {
    rollout: String,
    attempt: u32,
}

/// Why a text is no job ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job ID is <rollout>-<attempt>: lower-case letters and digits, a hyphen, a number from 1")]
pub struct InvalidJobId;

impl JobId {
    /// A job ID from its parts.
    ///
    /// # Errors
    /// [`InvalidJobId`] if the rollout is empty, too long or holds other characters, or the attempt is 0.
    pub fn new(rollout: &str, attempt: u32) -> Result<Self, InvalidJobId> {
        let rollout_is_valid = !rollout.is_empty()
            && rollout.len() <= ROLLOUT_BYTES_MAX
            && rollout.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if rollout_is_valid && attempt > 0 {
            Ok(Self { rollout: rollout.to_owned(), attempt })
        } else {
            Err(InvalidJobId)
        }
    }

    /// The rollout's ID.
    #[must_use]
    pub fn rollout(&self) -> &str {
        &self.rollout
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.rollout, self.attempt)
    }
}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rollout, attempt) = text.rsplit_once('-').ok_or(InvalidJobId)?;
        // `parse` would take "+1" and "01": one job must have one spelling.
        let canonical = !attempt.starts_with(['+', '0']);
        let attempt = attempt.parse().ok().filter(|_| canonical).ok_or(InvalidJobId)?;
        Self::new(rollout, attempt)
    }
}

impl serde::Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_survives_its_text() {
        let job = JobId::new("r4k2m9x7q", 12).unwrap();
        assert_eq!(job.to_string(), "r4k2m9x7q-12");
        assert_eq!("r4k2m9x7q-12".parse(), Ok(job));
    }

    #[test]
    fn one_job_has_one_spelling() {
        for text in
            ["", "-", "r", "r-", "-1", "r-0", "r-01", "r-+1", "R-1", "r--1", "r/../x-1", "r-4294967296"]
        {
            assert_eq!(text.parse::<JobId>(), Err(InvalidJobId), "{text:?}");
        }
    }
}
