//! Links made for one device: what it finds in deltas and documents.

use crate::artifacts::{Digest, LinkClaims, LinkSigner};
use crate::update;
use std::sync::Arc;
use std::time::Duration;
use updraft_core::execution::Execution;
use updraft_core::time::Timestamp;

/// Makes links.
#[derive(Clone)]
pub struct Links {
    /// Signs them.
    pub signer: Arc<LinkSigner>,
    /// What they begin with: scheme, host and port as devices reach the server.
    pub base_url: Arc<str>,
    /// How long a link to an update works.
    pub life: Duration,
}

impl Links {
    /// A link for the device of an execution to an artifact, which works while that execution is open; `None` if what is
    /// asked for has no name that an artifact has.
    #[must_use]
    pub fn link(
        &self,
        now: Timestamp,
        execution: &Execution,
        sha256: &str,
        life: Duration,
    ) -> Option<String> {
        let now_s = u64::try_from(now.as_millis()).unwrap_or(0) / 1000;
        let claims = LinkClaims {
            sha256: sha256.parse::<Digest>().ok()?,
            device: execution.device.to_string(),
            job: update::job_of(&execution.rollout, execution.attempt).to_string(),
            expires: now_s + life.as_secs(),
            net: None,
            close: false,
        };
        self.signer.sign(&self.base_url, &claims, now_s).ok()
    }
}
