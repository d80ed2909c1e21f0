//! What the download door asks the rest of the server: whose credential, which job, still open?

use super::serve::credential;
use crate::artifacts::Digest;
use crate::artifacts::LinkClaims;
use crate::artifacts::serve::{Admission, Caller, DownloadRequest, Gatekeeper, Unavailable};
use crate::auth::{Auth, Principal};
use crate::engine::Engine;
use crate::listen::Peer;
use crate::update;
use axum::http::HeaderMap;
use updraft_core::id::DeviceId;
use updraft_wire::JobId;

/// The engine and the credentials, as the download door sees them.
pub struct Gate {
    /// The engine.
    pub engine: Engine,
    /// Who is calling.
    pub auth: Auth,
}

impl Gatekeeper for Gate {
    async fn caller(&self, headers: &HeaderMap, _peer: Option<Peer>) -> Caller {
        let principal = credential(headers).and_then(|token| self.auth.verify(token, self.engine.now()));
        match principal {
            Some(Principal::Device(device)) => Caller::Device(device.to_string()),
            // A product's credential is nobody in particular.
            Some(Principal::Product(_) | Principal::Operator(_)) | None => Caller::Anonymous,
        }
    }

    async fn open_job(&self, device: &str, sha256: &Digest) -> Option<String> {
        let device: DeviceId = device.parse().ok()?;
        let assignment = self.engine.assigned(device).await.ok()??;
        let is_for_it = assignment.release.artifact.sha256 == sha256.to_string();
        is_for_it.then(|| update::job(&assignment).to_string())
    }

    async fn artifact_of(&self, device: &DeviceId, job: &JobId) -> Result<Option<Digest>, Unavailable> {
        let rollout = update::rollout_of(job);
        match self.engine.artifact_of(device.clone(), rollout, job.attempt()).await {
            Ok(artifact) => Ok(artifact.and_then(|artifact| artifact.sha256.parse().ok())),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a short link was not looked up");
                Err(Unavailable)
            }
        }
    }

    async fn admit(&self, claims: &LinkClaims, request: DownloadRequest) -> Admission {
        let (Ok(device), Ok(job)) = (claims.device.parse(), claims.job.parse::<JobId>()) else {
            return Admission::Open;
        };
        let Ok(rollout) = job.rollout().parse() else { return Admission::Open };
        match self.engine.admit_download(device, rollout, job.attempt(), request.is_start).await {
            Ok(false) => Admission::Withdrawn,
            Ok(true) => Admission::Open,
            Err(error) => {
                // The link itself is good: an engine that is busy must not cost a device its download.
                tracing::warn!(error = &error as &dyn std::error::Error, "a download was not booked");
                Admission::Open
            }
        }
    }
}
