//! Who is calling, by whatever proves it: a signature, a token, a certificate.

use axum::http::{HeaderMap, header};
use updraft_core::id::DeviceId;
use updraft_core::time::Timestamp;

use super::failure::{Exception, Failure};
use super::sigv4::{Claim, Head, Scope, is_signed};
use crate::artifacts::temporary_key;
use crate::artifacts::{CredentialError, LinkSigner};
use crate::auth::{Auth, Principal};
use crate::listen::ClientCertificates;

/// The services whose names stand in scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Jobs, as operators see them.
    Control,
    /// Jobs, as devices see them.
    Jobs,
    /// Shadows and publishing.
    Data,
}

impl Service {
    /// Its signing name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "iot",
            Self::Jobs => "iot-jobs-data",
            Self::Data => "iotdata",
        }
    }

    /// Refuses a scope of another service.
    ///
    /// # Errors
    /// `InvalidSignatureException`.
    pub fn check(self, scope: Option<&Scope>) -> Result<(), Failure> {
        match scope {
            Some(scope) if scope.service != self.name() => Err(Failure::new(
                Exception::InvalidSignature,
                format!("the credential should be scoped to the service '{}'", self.name()),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// What a request says of its caller, before its body is read.
pub struct Presented {
    principal: Principal,
    signed: Option<(Claim, String)>,
}

/// Whom a client's certificates prove, if they prove a device.
pub type Certified = dyn Fn(&ClientCertificates) -> Option<DeviceId> + Send + Sync;

impl Presented {
    /// Looks up whose credential a request presents; `certified` says whom the connection's certificate proves, if one was
    /// shown. A signature is not checked yet: that takes the body, which nobody
    /// unknown may make the server read.
    ///
    /// # Errors
    /// There is no credential, or it is unknown, expired or not in its form.
    pub fn read(
        headers: &HeaderMap,
        certified: impl FnOnce() -> Option<Option<DeviceId>>,
        auth: &Auth,
        signer: &LinkSigner,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        if is_signed(headers) {
            return Self::signed(headers, auth, signer, now);
        }
        let unknown =
            || Failure::new(Exception::UnrecognizedClient, "the token is unknown, expired or revoked");
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let (scheme, token) =
                value.to_str().ok().and_then(|value| value.trim().split_once(' ')).unwrap_or_default();
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(unknown());
            }
            let principal = auth.verify(token.trim(), now).ok_or_else(unknown)?;
            return Ok(Self { principal, signed: None });
        }
        let device = certified().ok_or_else(|| {
            let message = "sign the request, or send a token or a client certificate";
            Failure::new(Exception::MissingAuthenticationToken, message)
        })?;
        let principal = device.map(Principal::Device).ok_or_else(|| {
            let message = "the certificate is unknown, expired or revoked, or names no device";
            Failure::new(Exception::UnrecognizedClient, message)
        })?;
        Ok(Self { principal, signed: None })
    }

    fn signed(
        headers: &HeaderMap,
        auth: &Auth,
        signer: &LinkSigner,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let claim = Claim::read(headers, now)?;
        let unknown = || {
            Failure::new(
                Exception::UnrecognizedClient,
                "the security token included in the request is invalid",
            )
        };
        let (principal, secret) = if let Some(token) = &claim.token {
            let now_s = u64::try_from(now.as_millis()).unwrap_or(0) / 1000;
            let key = temporary_key::open(signer, token, now_s).map_err(|error| match error {
                CredentialError::Expired => Failure::new(Exception::ExpiredToken, error.to_string()),
                CredentialError::Altered
                | CredentialError::WrongArtifact
                | CredentialError::UnknownKey
                | CredentialError::Malformed => unknown(),
            })?;
            if key.access_key_id != claim.access_key_id {
                return Err(unknown());
            }
            (Principal::Device(key.device), key.secret)
        } else {
            let key = auth.access_key(&claim.access_key_id, now).ok_or_else(unknown)?;
            (key.principal, key.secret.reveal().to_owned())
        };
        Ok(Self { principal, signed: Some((claim, secret)) })
    }

    /// The scope of a signature; a token and a certificate have none.
    #[must_use]
    pub fn scope(&self) -> Option<&Scope> {
        self.signed.as_ref().map(|(claim, _)| &claim.scope)
    }

    /// Checks the signature, if there is one. Whom the request is from.
    ///
    /// # Errors
    /// `InvalidSignatureException`.
    pub fn verify(self, head: Head<'_>, body: &[u8]) -> Result<Caller, Failure> {
        let Self { principal, signed } = self;
        let Some((claim, secret)) = signed else { return Ok(Caller { principal, scope: None }) };
        claim.verify(head, body, &secret)?;
        Ok(Caller { principal, scope: Some(claim.scope) })
    }
}

/// Who is calling, proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// What the signature was for, if there was one.
    pub scope: Option<Scope>,
}

impl Caller {
    /// The region that names in the answer carry.
    #[must_use]
    pub fn region(&self) -> &str {
        self.scope.as_ref().map_or("local", |scope| &scope.region)
    }

    /// Refuses everyone but operators. The operator's name.
    ///
    /// # Errors
    /// `ForbiddenException`.
    pub fn operator(&self) -> Result<String, Failure> {
        match &self.principal {
            Principal::Operator(name) => Ok(name.to_string()),
            Principal::Device(_) | Principal::Product(_) => {
                Err(Failure::new(Exception::Forbidden, "only operators may do this"))
            }
        }
    }
}
