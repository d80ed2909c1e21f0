//! Taking the `Authorization` header apart.

use axum::http::{HeaderMap, HeaderName, header};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use updraft_core::time::Timestamp;

use super::{
    ALGORITHM, Claim, DATE, MEANINGFUL, SECURITY_TOKEN, SIGNED_HEADERS_MAX, Scope, SignatureError, TERMINATOR,
};

/// Longest `Authorization` header that is looked at, in bytes: key ID, scope and header names take a tenth.
const AUTHORIZATION_BYTES_MAX: usize = 4096;
/// Longest access key ID, region and service, in bytes (AWS: 128 for a key ID).
const PART_BYTES_MAX: usize = 128;

pub(super) fn claim(headers: &HeaderMap) -> Result<Claim, SignatureError> {
    let text = single(headers, header::AUTHORIZATION)?.ok_or(SignatureError::Missing)?;
    let fields = text.strip_prefix(ALGORITHM).ok_or(SignatureError::Missing)?;
    if text.len() > AUTHORIZATION_BYTES_MAX {
        return Err(SignatureError::Incomplete("the Authorization header is too long"));
    }
    let [credential, names, signature] = fields_of(fields)?;
    let (access_key_id, scope) = credential_of(credential)?;
    let signed_headers = signed_headers(names)?;
    covers(headers, &signed_headers)?;
    let mut bytes = [0; 32];
    let is_lower = !signature.bytes().any(|byte| byte.is_ascii_uppercase());
    if !is_lower || hex::decode_to_slice(signature, &mut bytes).is_err() {
        return Err(SignatureError::Incomplete("Signature is 64 lower-case hex digits"));
    }
    let time = single(headers, HeaderName::from_static(DATE))?;
    let time = time.ok_or(SignatureError::Incomplete("X-Amz-Date is missing"))?.to_owned();
    let token = single(headers, HeaderName::from_static(SECURITY_TOKEN))?.map(str::to_owned);
    Ok(Claim { access_key_id, scope, token, time, signed_headers, signature: bytes })
}

/// A time such as `20260301T120000Z`.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let has_shape = text.len() == 16
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok().filter(|_| has_shape)?;
    let time = time.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp::from_millis(time.timestamp().as_millisecond()))
}

/// A header that may be there once: sent twice, one might be signed and the other obeyed.
fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, SignatureError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(SignatureError::Incomplete("a header of the signature was sent twice"));
    }
    let text = value.to_str().map_err(|_| SignatureError::Incomplete("a header is not plain text"))?;
    Ok(Some(text.trim()))
}

fn fields_of(fields: &str) -> Result<[&str; 3], SignatureError> {
    let wrong =
        SignatureError::Incomplete("Authorization has Credential, SignedHeaders and Signature, once each");
    let names = ["Credential", "SignedHeaders", "Signature"];
    let mut found = [None; 3];
    for field in fields.split(',') {
        let (name, value) = field.trim().split_once('=').ok_or(wrong)?;
        let at = names.iter().position(|known| *known == name).ok_or(wrong)?;
        if found[at].replace(value).is_some() {
            return Err(wrong);
        }
    }
    match found {
        [Some(credential), Some(names), Some(signature)] => Ok([credential, names, signature]),
        [_, _, _] => Err(wrong),
    }
}

fn credential_of(credential: &str) -> Result<(String, Scope), SignatureError> {
    let wrong = SignatureError::Incomplete("Credential is KEY/YYYYMMDD/REGION/SERVICE/aws4_request");
    let parts: Vec<_> = credential.split('/').collect();
    let [key, date, region, service, TERMINATOR] = parts[..] else { return Err(wrong) };
    let is_part = |part: &str| {
        (1..=PART_BYTES_MAX).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if date.len() != 8 || ![key, date, region, service].into_iter().all(is_part) {
        return Err(wrong);
    }
    let scope = Scope { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() };
    Ok((key.to_owned(), scope))
}

fn signed_headers(names: &str) -> Result<Vec<String>, SignatureError> {
    let names: Vec<_> = names.split(';').map(str::to_owned).collect();
    let is_name = |name: &String| HeaderName::from_lowercase(name.as_bytes()).is_ok();
    let is_sorted = names.windows(2).all(|pair| pair[0] < pair[1]);
    if names.len() > SIGNED_HEADERS_MAX || !is_sorted || !names.iter().all(is_name) {
        return Err(SignatureError::Incomplete("SignedHeaders are lower-case names, sorted, once each"));
    }
    Ok(names)
}

/// What must be signed: the host, so that a request is for this server, and whatever changes its meaning.
fn covers(headers: &HeaderMap, signed: &[String]) -> Result<(), SignatureError> {
    let is_signed = |name: &str| signed.iter().any(|signed| signed == name);
    let meaningful = headers.keys().filter(|name| name.as_str().starts_with(MEANINGFUL));
    if is_signed("host") && meaningful.into_iter().all(|name| is_signed(name.as_str())) {
        Ok(())
    } else {
        Err(SignatureError::Incomplete("host and all x-amz- headers must be signed"))
    }
}
