//! Trying a policy on a device.

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use updraft_core::attributes::Attributes;
use updraft_core::id::DeviceId;
use updraft_core::policy::{Facts, Policy};
use updraft_core::version::Version;
use updraft_wire::operator::policy::{Outcome, Test};

use super::Api;
use super::refusal::Refusal;
use super::render;
use super::request::{Given, name};

pub(super) async fn test(State(api): State<Api>, Given(test): Given<Test>) -> Result<Json<Outcome>, Refusal> {
    let policy = Policy::compile(&test.policy).map_err(|error| Refusal::policy(&error, &test.policy))?;
    let device = match (test.device, test.document) {
        (Some(id), None) => {
            let id: DeviceId = name("name_invalid", &id)?;
            api.device(&id).await?.device.attributes
        }
        (None, Some(document)) => serde_json::from_value(Value::Object(document))
            .map_err(|error| Refusal::bad("document_invalid", format!("document: {error}")))?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(Refusal::bad("device_invalid", "give exactly one of: device, document"));
        }
    };
    let mut update = Attributes::new();
    if let Some(version) = &test.version {
        let version: Version = name("version_invalid", version)?;
        update
            .insert("version", &version)
            .map_err(|error| Refusal::bad("version_invalid", error.to_string()))?;
    }
    let explanation = policy.explain(&Facts { device: &device, update: &update });
    Ok(Json(render::outcome(&explanation)))
}
