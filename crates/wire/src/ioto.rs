//! The check-in of the Ioto agent and the EmbedThis updaters: `POST /tok/provision/update` and
//! `POST /tok/provision/updateReport`.
//!
//! Field names and their order are the contract's. Values may be of any scalar type: the updaters send text
//! where the agent sends numbers and booleans.

use serde::{Deserialize, Serialize};

/// Path of the check-in.
pub const CHECK_IN_PATH: &str = "/tok/provision/update";
/// Path of the report after an apply script ran.
pub const REPORT_PATH: &str = "/tok/provision/updateReport";

/// The answer that carries an update. Without one the answer is `{}`.
///
/// One of the clients finds fields by searching for `"key":` followed at once by a quote and knows no escapes, so
/// this must be written compact and no value may need escaping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Absolute `https` URL of the image.
    pub url: String,
    /// SHA-256 of the image, 64 lower-case hex digits; compared by case.
    pub checksum: String,
    /// The update's ID, sent back in the report: our job ID.
    pub update: String,
    /// The version offered, SemVer 2.0.
    pub version: String,
}

/// What an updater says after its apply script ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateReport {
    /// Whether the script said it went well.
    #[serde(deserialize_with = "bool_or_text")]
    pub success: bool,
    /// The device's ID.
    pub id: String,
    /// The update's ID, as offered.
    pub update: String,
}

/// The shell updater sends `"true"` and `"false"` as text.
fn bool_or_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = bool;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("true or false, as a boolean or as text")
        }

        fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<bool, E> {
            match value {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(E::invalid_value(serde::de::Unexpected::Str(value), &self)),
            }
        }
    }
    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_compact_in_the_contracts_order_and_needs_no_escapes() {
        let offer = Offer {
            url: "https://ota.example:8443/v1/artifacts/ab?device=d&expires=1&signature=x".into(),
            checksum: "ab".repeat(32),
            update: "r1-1".into(),
            version: "1.1.0".into(),
        };
        let json = serde_json::to_string(&offer).unwrap();
        let start =
            r#"{"url":"https://ota.example:8443/v1/artifacts/ab?device=d&expires=1&signature=x","checksum":"#;
        assert!(json.starts_with(start), "{json}");
        assert!(json.ends_with(r#","update":"r1-1","version":"1.1.0"}"#), "{json}");
        assert!(!json.contains('\\'));
    }

    #[test]
    fn success_may_be_a_boolean_or_text() {
        for (success, expected) in
            [("true", true), ("false", false), ("\"true\"", true), ("\"false\"", false)]
        {
            let body = format!(r#"{{"success":{success},"id":"d","update":"r1-1"}}"#);
            let report: UpdateReport = serde_json::from_str(&body).unwrap();
            assert_eq!(report.success, expected);
        }
        assert!(serde_json::from_str::<UpdateReport>(r#"{"success":1,"id":"d","update":"u"}"#).is_err());
    }
}
