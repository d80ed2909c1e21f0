//! What the line remembers across starts: object 5's record, and by which name its attempts are jobs.

use crate::record::{self, RecordError};
use crate::storage::FileStorage;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use updraft_lwm2m::firmware::Record;
use updraft_wire::JobId;

/// The file's name in the state folder.
const NAME: &str = "lwm2m.rec";
/// How every such job's rollout begins.
const ROLLOUT: &str = "lwm2m";

/// As it is on disk.
#[derive(Debug, Serialize, Deserialize)]
struct OnDisk {
    /// Told apart from that of a record that was lost: attempts are counted anew then.
    era: String,
    /// Object 5's record, in hex.
    record: String,
}

/// What is remembered.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    era: String,
    pub(super) record: Record,
}

impl Kept {
    /// What was kept; or a beginning, whose name is made of `random`.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn open(state: &Path, random: &[u8]) -> Result<Self, RecordError> {
        let path = state.join(NAME);
        let found = record::load::<OnDisk>(&mut FileStorage::new(), &path)?.whole();
        let kept = found.and_then(|found| {
            let record = Record::decode(&hex::decode(&found.record).ok()?)?;
            JobId::new(&format!("{ROLLOUT}{}", found.era), 1).ok()?;
            Some((found.era, record))
        });
        let (era, record) = kept.unwrap_or_else(|| (hex::encode(random), Record::default()));
        Ok(Self { path, era, record })
    }

    /// Makes a record durable.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn save(&mut self, record: Record) -> Result<(), RecordError> {
        let on_disk = OnDisk { era: self.era.clone(), record: hex::encode(record.encode()) };
        self.record = record;
        record::store(&mut FileStorage::new(), &self.path, &on_disk)
    }

    /// The job that an attempt is.
    pub(super) fn job(&self, attempt: u32) -> JobId {
        JobId::new(&format!("{ROLLOUT}{}", self.era), attempt.max(1)).expect("the era was checked")
    }

    /// The attempt that a job is, if it is one of these.
    pub(super) fn attempt(&self, job: &JobId) -> Option<u32> {
        (job.rollout().strip_prefix(ROLLOUT) == Some(self.era.as_str())).then_some(job.attempt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_again_and_a_torn_one_begins_a_new_era() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::open(folder.path(), &[1, 2]).unwrap();
        let job = kept.job(3);
        kept.save(Record { attempt: 3, ..Record::default() }).unwrap();
        let again = Kept::open(folder.path(), &[3, 4]).unwrap();
        assert_eq!((again.record.attempt, again.attempt(&job)), (3, Some(3)));
        std::fs::write(folder.path().join(NAME), b"torn").unwrap();
        let anew = Kept::open(folder.path(), &[3, 4]).unwrap();
        assert_eq!((anew.record.attempt, anew.attempt(&job)), (0, None));
    }
}
