//! Tokens.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use updraft_wire::operator::Page;
use updraft_wire::operator::token::{Create, Created, Form, Shown, Token};

use super::refusal::Refusal;
use super::render;
use super::request::{At, Given, Parameters, duration, name};
use super::{Api, blocking};
use crate::auth::psk::{InvalidIdentity, InvalidPsk};
use crate::auth::{NOTE_BYTES_MAX, NewToken, Principal};
use crate::store::{TokenForm, TokenKind, TokenRow};
use updraft_core::time::Timestamp;

/// Longest life of a token that has an end: ten years, longer than which "for ever" is meant.
const LIFE_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

pub(super) async fn create(
    State(api): State<Api>,
    Given(create): Given<Create>,
) -> Result<(StatusCode, Json<Created>), Refusal> {
    let now = api.now();
    let expires = match &create.expires_in {
        None => None,
        Some(text) => Some(now.plus(life(text)?)),
    };
    if create.note.len() > NOTE_BYTES_MAX {
        return Err(Refusal::bad("note_too_long", format!("note: at most {NOTE_BYTES_MAX} bytes")));
    }
    let new = NewToken { principal: principal(&create)?, expires, note: create.note };
    if create.signing_request.is_some() && create.form != Form::Certificate {
        return Err(Refusal::bad("form_invalid", "a signing request goes with a certificate"));
    }
    if (create.identity.is_some() || create.key.is_some()) && create.form != Form::Psk {
        return Err(Refusal::bad("form_invalid", "an identity and a key go with a pre-shared key"));
    }
    let (shown, row) = match create.form {
        Form::Text => {
            let (token, row) = api.tokens(move |auth| auth.create(new, now)).await?;
            (Shown::Text { token: token.reveal().to_owned() }, row)
        }
        Form::Certificate => certificate(&api, new, create.signing_request, now).await?,
        Form::AccessKey => access_key(&api, new, now).await?,
        Form::Psk => psk(&api, new, (create.identity, create.key), now).await?,
    };
    Ok((StatusCode::CREATED, Json(Created { shown, listed: listed(row) })))
}

async fn access_key(api: &Api, new: NewToken, now: Timestamp) -> Result<(Shown, TokenRow), Refusal> {
    match new.principal {
        Principal::Device(_) | Principal::Operator(_) => {}
        Principal::Product(_) => {
            return Err(Refusal::bad("form_invalid", "an access key is for a device or an operator"));
        }
    }
    let (id, secret, row) = api.tokens(move |auth| auth.create_access_key(new, now)).await?;
    let secret_access_key = secret.reveal().to_owned();
    Ok((Shown::AccessKey { access_key_id: id, secret_access_key }, row))
}

/// A pre-shared key: one to be made, or the one that the device has.
async fn psk(
    api: &Api,
    new: NewToken,
    brought: (Option<String>, Option<String>),
    now: Timestamp,
) -> Result<(Shown, TokenRow), Refusal> {
    let (identity, key) = match brought {
        (None, None) => {
            let (key, row) = api.tokens(move |auth| auth.create_psk(new, now)).await?;
            return Ok((Shown::Psk { key: hex::encode(key.reveal()) }, row));
        }
        (Some(identity), Some(key)) => (identity, key),
        (Some(_), None) | (None, Some(_)) => {
            let message =
                "a key that a device has already comes with its identity, and an identity with its key";
            return Err(Refusal::bad("form_invalid", message));
        }
    };
    let identity = identity
        .parse()
        .map_err(|error: InvalidIdentity| Refusal::bad("identity_invalid", error.to_string()))?;
    let key = key.parse().map_err(|error: InvalidPsk| Refusal::bad("key_invalid", error.to_string()))?;
    let row = api.tokens(move |auth| auth.import_psk(identity, key, new, now)).await?;
    Ok((Shown::Nothing {}, row))
}

async fn certificate(
    api: &Api,
    new: NewToken,
    signing_request: Option<String>,
    now: Timestamp,
) -> Result<(Shown, TokenRow), Refusal> {
    let Principal::Device(device) = new.principal.clone() else {
        return Err(Refusal::bad("form_invalid", "a certificate is for a device"));
    };
    let (authority, expires) = (Arc::clone(&api.authority), new.expires);
    let issued = blocking(move || Ok(authority.issue(&device, expires, signing_request.as_deref())?)).await?;
    let der = issued.der;
    let row = api.tokens(move |auth| auth.add_certificate(&der, new, now)).await?;
    Ok((Shown::Certificate { certificate: issued.certificate_pem, key: issued.key_pem }, row))
}

fn principal(create: &Create) -> Result<Principal, Refusal> {
    match (&create.device, &create.product, &create.operator) {
        (Some(device), None, None) => Ok(Principal::Device(name("name_invalid", device)?)),
        (None, Some(product), None) => Ok(Principal::Product(name("name_invalid", product)?)),
        (None, None, Some(operator)) => Ok(Principal::Operator(operator.parse().map_err(|_| {
            let rule = "1 to 128 of A-Z a-z 0-9 : _ . @ -, not starting with a dot or a hyphen";
            Refusal::bad("name_invalid", format!("an operator's name must be {rule}"))
        })?)),
        _ => Err(Refusal::bad("subject_invalid", "a token is for exactly one of: device, product, operator")),
    }
}

fn life(text: &str) -> Result<Duration, Refusal> {
    let life = duration("expires_in", text)?;
    if (Duration::from_secs(1)..=LIFE_MAX).contains(&life) {
        Ok(life)
    } else {
        Err(Refusal::bad("duration_invalid", "expires_in: 1 second to 10 years; leave it out for ever"))
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    mut parameters: Parameters,
) -> Result<Json<Page<Token>>, Refusal> {
    let (after, limit) = (parameters.take("after")?, parameters.limit()?);
    parameters.finish()?;
    let rows = api.tokens(move |auth| auth.list(after.as_deref(), limit)).await?;
    let next = (rows.len() == limit).then(|| rows.last().map(|row| row.id.clone())).flatten();
    Ok(Json(Page { items: rows.into_iter().map(listed).collect(), next }))
}

pub(super) async fn revoke(State(api): State<Api>, At(id): At<String>) -> Result<Json<Token>, Refusal> {
    let now = api.now();
    let row = api.tokens(move |auth| auth.revoke(&id, now)).await?;
    Ok(Json(listed(row)))
}

fn listed(row: TokenRow) -> Token {
    let kind = match row.kind {
        TokenKind::Device => "device",
        TokenKind::Product => "product",
        TokenKind::Operator => "operator",
    };
    let form = match row.form {
        TokenForm::Text => Form::Text,
        TokenForm::Certificate => Form::Certificate,
        TokenForm::AccessKey => Form::AccessKey,
        TokenForm::Psk => Form::Psk,
    };
    Token {
        id: row.id,
        kind: kind.to_owned(),
        form,
        subject: row.subject,
        created: render::time(row.created),
        expires: row.expires.map(render::time),
        revoked: row.revoked.map(render::time),
        note: row.note,
        identity: row.psk.map(|psk| psk.identity),
    }
}
