//! Tokens: who may speak to the server.

use serde::{Deserialize, Serialize};

/// How a token is presented.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// As a text.
    #[default]
    Text,
    /// As a client certificate, with its key.
    Certificate,
    /// As an access key, with whose secret requests are signed (AWS Signature Version 4).
    AccessKey,
}

/// Makes a token for exactly one of a device, a product or an operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// For the device of this ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// For any device of this product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// For an operator of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// How it is to be presented. A certificate is for a device; an access key for a device or an operator.
    #[serde(default)]
    pub form: Form,
    /// With a certificate: a signing request in PEM (PKCS #10), if the device has its key already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_request: Option<String>,
    /// How long it is good for; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// What it is for; at most 256 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// What is shown of a token this once, by its form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Shown {
    /// A text.
    Text {
        /// The secret text.
        token: String,
    },
    /// A client certificate.
    Certificate {
        /// The certificate, PEM.
        certificate: String,
        /// Its key, PEM; absent where the device has it itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// An access key, in AWS's words.
    #[serde(rename_all = "camelCase")]
    AccessKey {
        /// Its ID, which requests name.
        access_key_id: String,
        /// Its secret, which signs them.
        secret_access_key: String,
    },
}

/// A token that was just made. Its secret is shown this once; the server keeps only a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// What to keep.
    #[serde(flatten)]
    pub shown: Shown,
    /// What is known of it.
    #[serde(flatten)]
    pub listed: Token,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Names it, for revoking.
    pub id: String,
    /// `device`, `product` or `operator`.
    pub kind: String,
    /// How it is presented.
    #[serde(default)]
    pub form: Form,
    /// The device, product or operator it stands for.
    pub subject: String,
    /// When it was made.
    pub created: String,
    /// When it ends; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
    /// What it is for.
    pub note: String,
}
