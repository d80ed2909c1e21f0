//! A fleet in a database, as it would be after a year: every device known, one rollout to one in a hundred.

use crate::Outcome;
use std::path::Path;
use updraft_core::fleet::{Fleet, NewRollout};
use updraft_core::id::RolloutId;
use updraft_core::policy::Policy;
use updraft_core::position::position;
use updraft_core::release::{Artifact, DEFAULT_POLICY, Release};
use updraft_core::rollout::Plan;
use updraft_core::time::Timestamp;
use updraft_core::version::Version;
use updraft_server::protocols::http::check_in;
use updraft_server::store::Database;

pub(crate) const PRODUCT: &str = "thermostat";
const ROLLOUT: &str = "rbenchmark";
/// Devices below this place are in the rollout: one in a hundred.
const POSITIONS_OPEN: u16 = 100;
/// Devices written per transaction.
const BATCH: usize = 2_000;

/// Which devices there are, by number.
pub(crate) struct Devices {
    /// Those with nothing to do.
    pub(crate) quiet: Vec<u32>,
    /// Those that will be offered an update.
    pub(crate) due: Vec<u32>,
}

fn id(number: u32) -> String {
    format!("device-{number:07}")
}

/// What a device sends: some 300 bytes, as devices do that say where and what they are.
pub(crate) fn body(number: u32) -> Vec<u8> {
    let (id, site) = (id(number), number % 4_096);
    format!(
        r#"{{"id":"{id}","product":"{PRODUCT}","version":"1.0.0","boot":7,"attributes":{{"model":"M-1","hardware":"rev-c","region":"eu-central","site":"site-{site:04}","channel":"stable","ports":16,"pro":true,"memory_mib":512,"serial":"SN-{number:010}","kernel":"6.1.176","locale":"en"}}}}"#
    )
    .into_bytes()
}

impl Devices {
    /// Writes a fleet into a data folder.
    pub(crate) fn seed(folder: &Path, count: u32) -> Outcome<Self> {
        let database = Database::open(folder)?;
        let mut fleet = Fleet::open(database.fleet()?)?;
        let now = Timestamp::from_millis(1_700_000_000_000);
        let version = Version::parse("2.0.0")?;
        let mut attributes = updraft_core::attributes::Attributes::new();
        attributes.insert("version", "2.0.0")?;
        fleet.add_release(Release {
            product: PRODUCT.parse()?,
            version: version.clone(),
            policy: Policy::compile(DEFAULT_POLICY)?,
            artifact: Artifact { sha256: "ab".repeat(32), md5: "cd".repeat(16), size: 1 << 20 },
            attributes,
            created: now,
        })?;
        let rollout: RolloutId = ROLLOUT.parse()?;
        let mut plan = Plan::standard(now);
        plan.waves[0].positions = POSITIONS_OPEN;
        plan.pace.in_flight_max = 1_000_000;
        fleet.start_rollout(
            now,
            NewRollout { id: rollout, product: PRODUCT.parse()?, version, plan },
            "benchmark",
        )?;
        let numbers: Vec<_> = (0..count).collect();
        for batch in numbers.chunks(BATCH) {
            for number in batch {
                let said = check_in::native(&body(*number))?;
                fleet.report(now, &said.device, &said.report)?;
            }
            fleet.commit()?;
        }
        let is_due = |number: &u32| position(&id(*number), ROLLOUT) < POSITIONS_OPEN;
        let (due, quiet) = numbers.into_iter().partition(is_due);
        Ok(Self { quiet, due })
    }
}
