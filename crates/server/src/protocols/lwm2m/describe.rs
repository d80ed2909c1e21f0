//! What a device's tree says of it, as a description the fleet and policies read. Pure.
//!
//! Objects 3 (Device) and 4 (Connectivity Monitoring) become attributes by the names the registry gives their resources:
//! `/4/0/2`, Radio Signal Strength, is `device.radio_signal_strength`.

use serde::{Deserialize, Serialize};
use updraft_core::attributes::{Attributes, Value as Attribute};
use updraft_core::id::{DeviceId, ProductName};
use updraft_core::report::Description;
use updraft_lwm2m::firmware::{self, State};
use updraft_lwm2m::{Entry, Path, Value, model};

/// Manufacturer's model number: devices of one product share it.
const MODEL_NUMBER: Path = Path::resource(3, 0, 1);
/// The version that runs.
const FIRMWARE_VERSION: Path = Path::resource(3, 0, 3);
/// Of which objects attributes are made.
const OBJECTS: [u16; 2] = [3, 4];
/// The product of a device that names no model.
const PRODUCT_UNKNOWN: &str = "unknown";
/// The version of a device that names none: before all others.
const VERSION_UNKNOWN: &str = "0.0.0-unknown";
/// Longest text that becomes an attribute; a longer one is of no use in a policy.
const TEXT_BYTES_MAX: usize = 256;

/// What a device calls a version, where that is not what its release is called: noted when an update succeeded by the
/// device's own word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// What resource /3/0/3 says.
    pub said: String,
    /// The release's version.
    pub means: String,
}

/// A tree as a description. `known` is the product that the device is of already.
#[must_use]
pub fn description(
    device: &DeviceId,
    known: Option<&ProductName>,
    tree: &[Entry],
    alias: Option<&Alias>,
) -> Description {
    let text = |path: Path| {
        let entry = tree.iter().find(|entry| entry.path == path)?;
        if let Value::Text(text) = &entry.value { Some(text.as_str()) } else { None }
            .filter(|text| !text.is_empty())
    };
    let said = text(FIRMWARE_VERSION).unwrap_or(VERSION_UNKNOWN);
    let version = alias.filter(|alias| alias.said == said).map_or(said, |alias| &alias.means).to_owned();
    let unknown = || PRODUCT_UNKNOWN.parse().expect("the word for an unknown product is a product's name");
    let product = known
        .filter(|known| known.as_str() != PRODUCT_UNKNOWN)
        .cloned()
        .or_else(|| text(MODEL_NUMBER).and_then(product_of))
        .unwrap_or_else(unknown);
    let mut attributes = Attributes::new();
    for entry in tree.iter().filter(|entry| is_described(&entry.path)) {
        if let Some((name, value)) = attribute(entry) {
            // What does not fit is left out: the rest still describes the device.
            let _ = attributes.insert(&name, value);
        }
    }
    for (name, value) in [("id", device.as_str()), ("product", product.as_str()), ("version", &version)] {
        let _ = attributes.insert(name, value);
    }
    // A registration is no sign of a restart: devices register anew for other reasons too. What a restart led to, the
    // driver finds out.
    Description { product, version, boot: Some(1), attributes }
}

/// Whether the tree says that the device is updating: state 3 of object 5.
#[must_use]
pub fn is_updating(tree: &[Entry]) -> bool {
    tree.iter().any(|entry| {
        entry.path == firmware::STATE && entry.value == Value::Integer(i64::from(State::Updating.code()))
    })
}

/// A model number as a product's name: what such a name cannot hold becomes a hyphen.
fn product_of(model: &str) -> Option<ProductName> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_.:@-".contains(c) { c } else { '-' };
    let name: String = model.trim().chars().map(plain).collect();
    name.trim_matches(['-', '.']).parse().ok()
}

fn is_described(path: &Path) -> bool {
    path.object_id().is_some_and(|object| OBJECTS.contains(&object)) && path.resource_id().is_some()
}

/// The attribute of one leaf: only the first instance of a resource, of the first instance of its object.
fn attribute(entry: &Entry) -> Option<(String, Attribute)> {
    if entry.path.instance_id() != Some(0) || entry.path.resource_instance_id().is_some_and(|one| one != 0) {
        return None;
    }
    let name = snake_case(model::resource(&entry.path.truncated(3))?.name);
    let value = match &entry.value {
        Value::Text(text) if text.len() <= TEXT_BYTES_MAX => Attribute::from(text.as_str()),
        // A policy's numbers are doubles, which is what the fleet keeps.
        Value::Integer(number) | Value::Time(number) => Attribute::from(*number as f64),
        Value::Unsigned(number) => Attribute::from(*number as f64),
        Value::Float(number) => Attribute::from(*number),
        Value::Boolean(is) => Attribute::from(*is),
        Value::Text(_) | Value::Opaque(_) | Value::ObjectLink(..) | Value::CoreLink(_) => return None,
    };
    Some((name, value))
}

/// A name of the registry as an attribute's.
fn snake_case(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(tree: &[(&str, Value)], known: Option<&str>, alias: Option<&Alias>) -> Description {
        let tree: Vec<_> =
            tree.iter().map(|(path, value)| Entry::new(path.parse().unwrap(), value.clone())).collect();
        let known = known.map(|known| known.parse().unwrap());
        description(&"urn:imei:1".parse().unwrap(), known.as_ref(), &tree, alias)
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn objects_3_and_4_become_attributes_by_their_names_in_the_registry() {
        let tree = [
            ("/3/0/0", text("Open Mobile Alliance")),
            ("/3/0/1", text("Lightweight M2M Client")),
            ("/3/0/3", text("1.0.0")),
            ("/3/0/9", Value::Integer(80)),
            ("/4/0/2", Value::Integer(-92)),
            ("/5/0/3", Value::Integer(0)),
        ];
        let Description { product, version, attributes, .. } = described(&tree, None, None);
        assert_eq!((product.as_str(), version.as_str()), ("Lightweight-M2M-Client", "1.0.0"));
        assert_eq!(attributes.get("manufacturer").and_then(Attribute::as_str), Some("Open Mobile Alliance"));
        assert_eq!(attributes.get("radio_signal_strength"), Some(&Attribute::from(-92.0)));
        assert_eq!(attributes.get("battery_level"), Some(&Attribute::from(80.0)));
        assert_eq!(attributes.get("state"), None, "what object 5 says is no description");
    }

    #[test]
    fn a_product_that_is_known_stays() {
        let tree = [("/3/0/1", text("model 7"))];
        assert_eq!(described(&tree, Some("thermostat"), None).product.as_str(), "thermostat");
        assert_eq!(described(&tree, Some("unknown"), None).product.as_str(), "model-7");
        assert_eq!(described(&[], None, None).product.as_str(), "unknown");
        assert_eq!(described(&[("/3/0/1", text("…"))], None, None).product.as_str(), "unknown");
    }

    #[test]
    fn a_device_that_calls_its_version_otherwise_is_understood_once_it_succeeded() {
        let alias = Alias { said: "fw-12".to_owned(), means: "1.2.0".to_owned() };
        assert_eq!(described(&[("/3/0/3", text("fw-12"))], None, Some(&alias)).version, "1.2.0");
        assert_eq!(described(&[("/3/0/3", text("fw-13"))], None, Some(&alias)).version, "fw-13");
        assert_eq!(described(&[], None, None).version, VERSION_UNKNOWN);
    }
}
