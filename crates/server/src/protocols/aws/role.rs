//! `GET /role-aliases/{alias}/credentials`: a temporary access key for a device's own credential, as AWS IoT's
//! credential provider gives it.
//!
//! There are no roles: whatever the alias, the key lets its bearer do what the device may. Deliberately absent: renewal by
//! a temporary key, which would make it permanent, and exchange for a product's token, which is of no one device.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde_json::json;
use updraft_core::id::DeviceId;

use super::door::{Doors, answer};
use super::failure::{Exception, Failure};
use crate::artifacts::temporary_key;
use crate::auth::Principal;

/// The header in which a device says which thing it is; if it is there, it must be the device.
const THING_NAME: &str = "x-amzn-iot-thingname";
/// Longest alias, in bytes (AWS IoT).
const ALIAS_BYTES_MAX: usize = 128;

/// Hands out a temporary access key.
pub(super) async fn credentials(
    State(doors): State<Arc<Doors>>,
    Path(alias): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let call = doors.enter(request, 0).await?;
    call.query.finish()?;
    let is_alias = (1..=ALIAS_BYTES_MAX).contains(&alias.len())
        && alias.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_=,@-".contains(&byte));
    if !is_alias {
        return Err(Failure::invalid("a role alias is 1 to 128 of A-Z a-z 0-9 _ = , @ -"));
    }
    let forbidden = |message: &str| Failure::new(Exception::Forbidden, message);
    if call.caller.scope.is_some() {
        return Err(forbidden(
            "prove the device by its certificate or token: a signature gets no temporary key",
        ));
    }
    let Principal::Device(device) = call.caller.principal else {
        return Err(forbidden("only a device's own credential can be exchanged"));
    };
    if let Some(named) = call.headers.get(THING_NAME) {
        let is_own = named.to_str().ok().and_then(|name| name.parse::<DeviceId>().ok());
        if is_own.as_ref() != Some(&device) {
            return Err(forbidden("the credential is not for the thing named in x-amzn-iot-thingname"));
        }
    }
    let now = u64::try_from(doors.engine.now().as_millis()).unwrap_or(0) / 1000;
    let key = temporary_key::issue(&doors.signer, &device, now, doors.credential_life.as_secs());
    let expires = i64::try_from(key.expires).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    let expires = expires.expect("hours from now is a time").to_string();
    Ok(answer(&json!({ "credentials": {
        "accessKeyId": key.access_key_id,
        "secretAccessKey": key.secret,
        "sessionToken": key.token,
        "expiration": expires,
    } })))
}
