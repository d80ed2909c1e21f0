//! What is to be simulated, and what came of it.

use super::{Backend, Sabotage};
use std::collections::BTreeMap;
use std::fmt;

/// How many devices the numbers of faults and plans are made for. In a world of more of them, a fault hits more, and more
/// may be in flight.
const USUAL_DEVICES: usize = 10;

/// What to simulate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Decides everything else.
    pub seed: u64,
    /// How many devices that speak HTTP.
    pub devices: usize,
    /// How many devices that speak LwM2M.
    pub constrained: usize,
    /// A mistake to put in on purpose.
    pub sabotage: Option<Sabotage>,
}

impl Scenario {
    /// The file of tests that has such worlds.
    pub(super) fn test(&self) -> &'static str {
        match (self.scale(), self.constrained) {
            (1, 0) => "seeds",
            (1, _) => "lwm2m",
            (_, _) => "fleet",
        }
    }

    /// How many times more devices than usual there are; 1 where there are fewer.
    pub(super) fn scale(&self) -> usize {
        ((self.devices + self.constrained) / USUAL_DEVICES).max(1)
    }
}

/// What happened in a run that went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Which store the server had.
    pub backend: Backend,
    /// How long it took, in seconds of virtual time.
    pub seconds: u64,
    /// How many commits the server made.
    pub commits: usize,
    /// How often each kind of thing happened.
    pub counts: BTreeMap<&'static str, u64>,
}

/// What went wrong in a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    /// The seed.
    pub seed: u64,
    /// The file of tests that has such worlds.
    pub test: &'static str,
    /// Which rules were broken.
    pub complaints: Vec<String>,
    /// What happened last, oldest first.
    pub story: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} breaks the rules:", self.seed)?;
        self.complaints.iter().try_for_each(|complaint| writeln!(f, "  {complaint}"))?;
        writeln!(f, "what happened before:")?;
        self.story.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "repeat it with:")?;
        write!(
            f,
            "  UPDRAFT_SEED={} cargo test -p updraft-sim --test {} one_seed -- --nocapture",
            self.seed, self.test
        )
    }
}
