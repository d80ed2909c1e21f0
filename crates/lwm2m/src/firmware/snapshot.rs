//! What a device's Firmware Update object held when it was read.
//!
//! Tolerant: any optional resource may be missing, numbers may come as any of the numeric types (TLV tells none), and what
//! has no meaning is passed over.

use super::word::{DeliveryMethod, Scheme, Schemes, Severity, State, UpdateResult};
use super::{OBJECT, URI_BYTES_MAX};
use crate::value::{Entry, Value};

/// The longest `PkgName` and `PkgVersion` kept: the object allows 255 bytes, and a snapshot is kept per device.
const TEXT_BYTES_MAX: usize = 255;

/// The resources of `/5/0`, as last read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Resource 3; none while it was not read, or means nothing.
    pub state: Option<State>,
    /// Resource 5.
    pub result: Option<UpdateResult>,
    /// Resource 1: where the image at hand came from.
    pub uri: Option<String>,
    /// Resource 6.
    pub package_name: Option<String>,
    /// Resource 7.
    pub package_version: Option<String>,
    /// Resource 8; none where the device does not say.
    pub schemes: Option<Schemes>,
    /// Resource 9.
    pub delivery: Option<DeliveryMethod>,
    /// Resource 11.
    pub severity: Option<Severity>,
    /// Resource 12, seconds since 1970.
    pub changed_s: Option<i64>,
    /// Resource 13, seconds.
    pub defer_max_s: Option<u64>,
    /// Resource 14.
    pub automatic: Option<bool>,
}

impl Snapshot {
    /// What the entries say of `/5/0`; entries of other places are passed over.
    #[must_use]
    pub fn read(entries: &[Entry]) -> Self {
        let mut snapshot = Self::default();
        snapshot.absorb(entries);
        snapshot
    }

    /// Takes in what a part of the instance holds, and keeps the rest.
    pub fn absorb(&mut self, entries: &[Entry]) {
        let mut schemes: Option<Schemes> = None;
        for Entry { path, value } in entries {
            if (path.object_id(), path.instance_id()) != (Some(OBJECT), Some(0)) {
                continue;
            }
            let Some(resource) = path.resource_id() else { continue };
            if resource == 8 {
                let known = schemes.unwrap_or(Schemes::NONE);
                schemes =
                    Some(number(value).and_then(Scheme::from_code).map_or(known, |one| known.with(one)));
            } else {
                self.take(resource, value);
            }
        }
        self.schemes = schemes.or(self.schemes);
    }

    fn take(&mut self, resource: u16, value: &Value) {
        let code = number(value);
        match resource {
            1 => self.uri = text(value, URI_BYTES_MAX).or(self.uri.take()),
            3 => self.state = code.and_then(State::from_code),
            5 => self.result = code.map(UpdateResult::from_code),
            6 => self.package_name = text(value, TEXT_BYTES_MAX),
            7 => self.package_version = text(value, TEXT_BYTES_MAX),
            9 => self.delivery = code.and_then(DeliveryMethod::from_code),
            11 => self.severity = code.and_then(Severity::from_code),
            12 => self.changed_s = code,
            13 => self.defer_max_s = code.and_then(|seconds| u64::try_from(seconds).ok()),
            14 => self.automatic = value.as_boolean().or(code.map(|number| number != 0)),
            _ => {}
        }
    }

    /// The schemes a URI may have: `coap` alone where the device does not say (resource 8's definition).
    #[must_use]
    pub fn schemes_or_default(&self) -> Schemes {
        self.schemes.unwrap_or(Schemes::UNSAID)
    }

    /// The method; a device that does not say is taken to pull, as every device of the object's version 1.0 can.
    #[must_use]
    pub fn delivery_or_default(&self) -> DeliveryMethod {
        self.delivery.unwrap_or(DeliveryMethod::Pull)
    }

    /// The result; nothing has ended where the device does not say.
    #[must_use]
    pub fn result_or_initial(&self) -> UpdateResult {
        self.result.unwrap_or(UpdateResult::Initial)
    }
}

/// A number of whichever type, also one in digits: some devices write numbers as text.
fn number(value: &Value) -> Option<i64> {
    value.as_integer().or_else(|| value.as_text()?.trim().parse().ok())
}

fn text(value: &Value, bytes_max: usize) -> Option<String> {
    let bytes = value.as_opaque().and_then(|bytes| std::str::from_utf8(bytes).ok());
    value.as_text().or(bytes).filter(|text| text.len() <= bytes_max).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Path;

    fn entry(path: &str, value: impl Into<Value>) -> Entry {
        Entry::new(path.parse::<Path>().unwrap(), value)
    }

    #[test]
    fn what_an_instance_holds_is_read() {
        let snapshot = Snapshot::read(&[
            entry("/5/0/1", "coap://h/i"),
            entry("/5/0/3", 2),
            entry("/5/0/5", 11),
            entry("/5/0/7", "2.0.0"),
            entry("/5/0/8/0", 0),
            entry("/5/0/8/1", 3),
            entry("/5/0/8/2", 77),
            entry("/5/0/9", 2),
            entry("/5/0/11", 0),
            entry("/5/0/13", Value::Unsigned(60)),
            entry("/5/0/14", true),
            entry("/3/0/3", "1.0.0"),
        ]);
        assert_eq!(snapshot.state, Some(State::Downloaded));
        assert_eq!(snapshot.result, Some(UpdateResult::Deferred));
        assert_eq!(snapshot.uri.as_deref(), Some("coap://h/i"));
        assert_eq!(snapshot.package_version.as_deref(), Some("2.0.0"));
        assert_eq!(snapshot.schemes, Some(Schemes::UNSAID.with(Scheme::Https)), "unknown values are ignored");
        assert_eq!(snapshot.delivery, Some(DeliveryMethod::Both));
        assert_eq!(snapshot.severity, Some(Severity::Critical));
        assert_eq!((snapshot.defer_max_s, snapshot.automatic), (Some(60), Some(true)));
    }

    #[test]
    fn what_a_device_does_not_say_has_a_default() {
        let snapshot = Snapshot::read(&[entry("/5/0/3", 0)]);
        assert!(snapshot.schemes_or_default().contains(Scheme::Coap));
        assert!(!snapshot.schemes_or_default().contains(Scheme::Https));
        assert_eq!(snapshot.delivery_or_default(), DeliveryMethod::Pull);
        assert_eq!(snapshot.result_or_initial(), UpdateResult::Initial);
    }

    #[test]
    fn a_device_that_lists_only_unknown_schemes_has_none() {
        let snapshot = Snapshot::read(&[entry("/5/0/8/0", 9)]);
        assert_eq!(snapshot.schemes_or_default(), Schemes::NONE);
    }

    #[test]
    fn a_part_changes_only_what_it_says() {
        let mut snapshot =
            Snapshot::read(&[entry("/5/0/3", 1), entry("/5/0/5", 0), entry("/5/0/1", "coap://h/i")]);
        snapshot.absorb(&[entry("/5/0/3", 2)]);
        assert_eq!((snapshot.state, snapshot.uri.as_deref()), (Some(State::Downloaded), Some("coap://h/i")));
        assert_eq!(snapshot.result, Some(UpdateResult::Initial));
    }

    #[test]
    fn nonsense_is_no_word() {
        let snapshot = Snapshot::read(&[
            entry("/5/0/3", 9),
            entry("/5/0/5", "x"),
            entry("/5/0/1", "u".repeat(256)),
            entry("/5/1/9", 1),
            entry("/5/0/13", -1),
        ]);
        assert_eq!(snapshot, Snapshot::default());
    }

    #[test]
    fn numbers_come_as_any_type() {
        for value in [Value::Integer(2), Value::Unsigned(2), Value::Float(2.0), Value::from("2")] {
            assert_eq!(Snapshot::read(&[entry("/5/0/3", value)]).state, Some(State::Downloaded));
        }
    }
}
