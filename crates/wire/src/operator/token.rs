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
    /// As a pre-shared key, by which a device and the server know each other (DTLS).
    Psk,
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
    /// How it is to be presented. A certificate and a pre-shared key are for a device; an access key for a device or an
    /// operator.
    #[serde(default)]
    pub form: Form,
    /// With a certificate: a signing request in PEM (PKCS #10), if the device has its key already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_request: Option<String>,
    /// With a pre-shared key that the device has already: the identity it goes by, 1 to 128 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// With an identity: the key in hexadecimal digits, 1 to 64 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
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
    /// A pre-shared key; the identity it goes by is listed.
    Psk {
        /// The key, in hexadecimal digits.
        key: String,
    },
    /// Nothing: the device has its pre-shared key already.
    Nothing {},
}

/// A token that was just made. Its secret is shown this once.
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
    /// The identity that a pre-shared key goes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_is_read_as_its_own_form() {
        let listed = Token {
            id: "t1".into(),
            kind: "device".into(),
            form: Form::Psk,
            subject: "cam-1".into(),
            created: "2026-03-01T12:00:00Z".into(),
            expires: None,
            revoked: None,
            note: String::new(),
            identity: Some("UPDP0000000000000001".into()),
        };
        for shown in [
            Shown::Text { token: "updt_0".into() },
            Shown::Certificate { certificate: "PEM".into(), key: Some("PEM".into()) },
            Shown::Certificate { certificate: "PEM".into(), key: None },
            Shown::AccessKey { access_key_id: "UPDK0".into(), secret_access_key: "0".into() },
            Shown::Psk { key: "00ff".into() },
            Shown::Nothing {},
        ] {
            let created = Created { shown, listed: listed.clone() };
            let text = serde_json::to_string(&created).unwrap();
            assert_eq!(serde_json::from_str::<Created>(&text).unwrap(), created, "{text}");
        }
    }
}
