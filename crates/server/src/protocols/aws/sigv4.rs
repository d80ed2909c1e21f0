//! AWS Signature Version 4, checked: who signed, for what scope, and that the request is as it was signed.
//!
//! Pure: head and body of a request, the time and the signer's secret are arguments. Only the form with an
//! `Authorization` header is taken, and only with the body signed. Deliberately absent: signed queries, which put a
//! usable credential into logs and histories, and `Date` in place of `X-Amz-Date`.
//!
//! Within [`SKEW_MAX`] a request can be sent again by whoever saw it, as with AWS itself: TLS is what keeps it unseen.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use updraft_core::time::Timestamp;

use super::query::{Query, encode_but};

/// How far a request's time may be from ours (AWS allows as much). A wider window would let a seen request be sent again
/// for longer; a narrower one would shut out devices with cheap clocks.
pub const SKEW_MAX: Duration = Duration::from_secs(5 * 60);
/// Most headers that a signature covers; clients sign 4 to 8.
pub const SIGNED_HEADERS_MAX: usize = 32;

/// The header with the request's time.
pub const DATE: &str = "x-amz-date";
/// The header with the token of a temporary credential.
pub const SECURITY_TOKEN: &str = "x-amz-security-token";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// Headers that begin so change what a request means, and so must be signed if they are there.
const MEANINGFUL: &str = "x-amz-";

/// Why a signature was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error("the request is not signed")]
    Missing,
    /// It is not in its proper form; what is wrong.
    #[error("the signature is not complete: {0}")]
    Incomplete(&'static str),
    /// The request's time is not now.
    #[error("the request's time is more than {} minutes from the server's", SKEW_MAX.as_secs() / 60)]
    Time,
    /// The scope's date is not that of the request.
    #[error("the date in the credential scope is not that of the request")]
    Scope,
    /// The request is not as it was signed, or was signed with another secret.
    #[error(
        "the signature does not match: check the secret key, and that nothing on the way changes requests"
    )]
    Mismatch,
}

/// What a key was derived for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The day, as `YYYYMMDD`.
    pub date: String,
    /// The region: any name, since there is one server.
    pub region: String,
    /// The service, by its signing name.
    pub service: String,
}

/// What is signed of a request, but its body.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a str,
    /// The path as it stands in the request line, still encoded.
    pub path: &'a str,
    /// The query.
    pub query: &'a Query,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// A signature, not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose key it says it is.
    pub access_key_id: String,
    /// For what.
    pub scope: Scope,
    /// The token of a temporary credential, if the key is of such a one.
    pub token: Option<String>,
    /// The request's time, as it was signed.
    time: String,
    signed_headers: Vec<String>,
    signature: [u8; 32],
}

impl Claim {
    /// Reads the signature of a request and checks all that needs no secret.
    ///
    /// # Errors
    /// [`SignatureError`], [`SignatureError::Mismatch`] excepted.
    pub fn read(headers: &HeaderMap, now: Timestamp) -> Result<Self, SignatureError> {
        let claim = parse::claim(headers)?;
        let time = parse::time(&claim.time)
            .ok_or(SignatureError::Incomplete("X-Amz-Date is a time such as 20260301T120000Z"))?;
        let apart = now.as_millis().abs_diff(time.as_millis());
        if u128::from(apart) > SKEW_MAX.as_millis() {
            return Err(SignatureError::Time);
        }
        // A key derived for one day must not sign for another.
        if !claim.time.starts_with(&claim.scope.date) {
            return Err(SignatureError::Scope);
        }
        Ok(claim)
    }

    /// Whether the request was signed so with this secret, compared in constant time.
    ///
    /// # Errors
    /// [`SignatureError::Mismatch`].
    pub fn verify(&self, head: Head<'_>, body: &[u8], secret: &str) -> Result<(), SignatureError> {
        let request = self.canonical_request(head, body).ok_or(SignatureError::Mismatch)?;
        let Scope { date, region, service } = &self.scope;
        let (time, hash) = (&self.time, hex::encode(Sha256::digest(request)));
        let text = format!("{ALGORITHM}\n{time}\n{date}/{region}/{service}/{TERMINATOR}\n{hash}");
        let expected = mac(&self.signing_key(secret), &text);
        if bool::from(expected.ct_eq(&self.signature)) { Ok(()) } else { Err(SignatureError::Mismatch) }
    }

    fn signing_key(&self, secret: &str) -> [u8; 32] {
        let Scope { date, region, service } = &self.scope;
        let day = mac(format!("AWS4{secret}").as_bytes(), date);
        [region, service, TERMINATOR].iter().fold(day, |key, part| mac(&key, part))
    }

    /// The text of which a hash is signed; `None` if a header that was signed is not there, or is no text.
    fn canonical_request(&self, head: Head<'_>, body: &[u8]) -> Option<String> {
        let Head { method, path, query, headers } = head;
        // Encoded once more: so do all services but one, whose paths are names of files.
        let path = encode_but(if path.is_empty() { "/" } else { path }, "/");
        let mut text = format!("{method}\n{path}\n{}\n", query.canonical());
        for name in &self.signed_headers {
            let mut values = Vec::new();
            for value in headers.get_all(name) {
                values.push(value.to_str().ok()?.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
            }
            if values.is_empty() {
                return None;
            }
            writeln!(text, "{name}:{}", values.join(",")).expect("a String takes all");
        }
        let (names, hash) = (self.signed_headers.join(";"), hex::encode(Sha256::digest(body)));
        write!(text, "\n{names}\n{hash}").expect("a String takes all");
        Some(text)
    }
}

/// Whether a request has a signature at all, right or wrong.
#[must_use]
pub fn is_signed(headers: &HeaderMap) -> bool {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.starts_with(ALGORITHM))
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}
