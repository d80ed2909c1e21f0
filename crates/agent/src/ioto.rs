//! The Ioto agent's own files, `ioto.json5` and `device.json5`, read as they are.
//!
//! Only what an update needs is read; the rest of both files is left alone. Nothing is ever written to them.

use crate::cron::{Schedule, parse_span};
use crate::hook::Argv;
use serde_json::{Map, Value};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest file read, in bytes; the Ioto agent's own have a few KiB.
pub const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Most objects and lists in a file. The reader recurses, so what bounds their number bounds its stack; the Ioto
/// agent's own files have some thirty.
pub const CONTAINERS_MAX: usize = 512;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IotoError {
    /// It could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no JSON5 object.
    #[error("{} is no JSON5 object: {detail}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where and why.
        detail: String,
    },
    /// A value that cannot be understood.
    #[error("{}: {key} is not valid: {detail}", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
        /// Why.
        detail: String,
    },
}

/// What is read from `device.json5`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceFile {
    /// `id`, unless it is `auto`.
    pub id: Option<String>,
    /// `product`, or `productToken` as it was once called.
    pub product: Option<String>,
    /// Every other property, with its JSON type.
    pub attributes: Map<String, Value>,
}

impl DeviceFile {
    /// Reads `device.json5`.
    ///
    /// # Errors
    /// [`IotoError`].
    pub fn read(path: &Path) -> Result<Self, IotoError> {
        let mut attributes = object(path)?;
        let mut take = |key: &str| match attributes.remove(key) {
            Some(Value::String(text)) => Some(text),
            Some(value) if !value.is_null() => Some(value.to_string()),
            Some(_) | None => None,
        };
        let id = take("id").filter(|id| id != "auto");
        let product = take("product").or_else(|| take("productToken"));
        Ok(Self { id, product, attributes })
    }
}

/// What is read from `ioto.json5`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IotoFile {
    /// `version`: what runs. The update script or the image writes it.
    pub version: Option<String>,
    /// `update.enable`. Without an `update` object updates are on; with one they are off unless it says so, as with
    /// the Ioto agent.
    pub enable: Option<bool>,
    /// `update.schedule`: when a check-in may happen.
    pub schedule: Option<Schedule>,
    /// `update.period`: time between two check-ins.
    pub period: Option<Duration>,
    /// `update.jitter`: what the period is spread by.
    pub jitter: Option<Duration>,
    /// `update.apply`: when a verified image may be applied.
    pub apply: Option<Schedule>,
    /// `scripts.update`.
    pub script: Option<Argv>,
}

impl IotoFile {
    /// Reads `ioto.json5`.
    ///
    /// # Errors
    /// [`IotoError`].
    pub fn read(path: &Path) -> Result<Self, IotoError> {
        let root = object(path)?;
        let invalid =
            |key: &'static str, detail: String| IotoError::Value { path: path.to_owned(), key, detail };
        let update = root.get("update").and_then(Value::as_object);
        let text = |key: &str| match update.and_then(|update| update.get(key)) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(_) | None => None,
        };
        let schedule = |key: &str, name: &'static str| {
            text(key).map(|text| text.parse()).transpose().map_err(|error: String| invalid(name, error))
        };
        let span = |key: &str, name: &'static str| {
            text(key).map(|text| parse_span(&text)).transpose().map_err(|error| invalid(name, error))
        };
        let script = root.get("scripts").and_then(|scripts| scripts.get("update")).and_then(Value::as_str);
        Ok(Self {
            version: root.get("version").and_then(Value::as_str).map(str::to_owned),
            enable: update.map(|update| update.get("enable").is_some_and(is_true)),
            schedule: schedule("schedule", "update.schedule")?,
            period: span("period", "update.period")?,
            jitter: span("jitter", "update.jitter")?,
            apply: schedule("apply", "update.apply")?,
            script: script.and_then(|script| script.parse().ok()),
        })
    }
}

/// `true`, or its text.
fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true) || value.as_str() == Some("true")
}

fn object(path: &Path) -> Result<Map<String, Value>, IotoError> {
    let read = |source| IotoError::Read { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(read)?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(read(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    let syntax = |detail| IotoError::Syntax { path: path.to_owned(), detail };
    if text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() > CONTAINERS_MAX {
        return Err(syntax(format!("more than {CONTAINERS_MAX} objects and lists")));
    }
    match json5::from_str(&text).map_err(|error| syntax(error.to_string()))? {
        Value::Object(object) => Ok(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(syntax("it holds something else".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_ioto_agents_settings_are_read_as_they_are() {
        let held = file(
            r"/* Ioto */ {
                version: '1.2.0', // what runs
                services: { update: true, },
                update: { enable: true, schedule: '* * * * *', period: '24 hrs', jitter: 30, apply: 'night' },
                scripts: { update: 'scripts/update' },
            }",
        );
        let read = IotoFile::read(held.path()).unwrap();
        assert_eq!(read.version.as_deref(), Some("1.2.0"));
        assert_eq!(read.enable, Some(true));
        assert_eq!(read.period, Some(Duration::from_secs(86_400)));
        assert_eq!(read.jitter, Some(Duration::from_secs(30)));
        assert_eq!(read.apply, Some("night".parse().unwrap()));
        assert_eq!(read.script, Some("scripts/update".parse().unwrap()));
    }

    #[test]
    fn an_update_object_that_does_not_enable_updates_disables_them() {
        for (text, enable) in [
            ("{}", None),
            ("{update: {}}", Some(false)),
            ("{update: {enable: 'true'}}", Some(true)),
            ("{update: {enable: false}}", Some(false)),
        ] {
            assert_eq!(IotoFile::read(file(text).path()).unwrap().enable, enable, "{text}");
        }
    }

    #[test]
    fn a_device_is_described_by_all_its_properties() {
        let held = file("{id: 'D1', product: 'P', model: 'M-1', ports: 16, test: false}");
        let read = DeviceFile::read(held.path()).unwrap();
        assert_eq!((read.id.as_deref(), read.product.as_deref()), (Some("D1"), Some("P")));
        let attributes = serde_json::json!({ "model": "M-1", "ports": 16, "test": false });
        assert_eq!(Value::Object(read.attributes), attributes);
        let older = DeviceFile::read(file("{id: 'auto', productToken: 'P'}").path()).unwrap();
        assert_eq!((older.id, older.product.as_deref()), (None, Some("P")));
    }

    #[test]
    fn what_is_no_json5_object_is_refused_with_its_name() {
        let (deep, less_deep) = ("[".repeat(10_000), "[".repeat(CONTAINERS_MAX));
        for text in ["", "[1]", "{version: }", "{update: {period: '5m'}}", &deep, &less_deep] {
            let held = file(text);
            let error = IotoFile::read(held.path()).unwrap_err().to_string();
            assert!(error.contains(&held.path().display().to_string()), "{error}");
        }
    }
}
