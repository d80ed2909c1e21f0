//! Object 3: what the device is and runs, and how it is rebooted (Core §E.4).

use super::object::{Object, Time, Write};
use crate::coap::Code;
use crate::link::ObjectVersion;
use crate::{Entry, Path, Value};

/// The object's number.
pub const OBJECT: u16 = 3;
/// Error codes that are kept at most, of those the object knows nine.
pub const ERRORS_MAX: usize = 8;

/// The device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// Resource 0.
    pub manufacturer: String,
    /// Resource 1.
    pub model: String,
    /// Resource 2.
    pub serial: String,
    /// Resource 3: the version that runs.
    pub firmware_version: String,
    /// Resource 9: how full the battery is, in percent, if there is one.
    pub battery_percent: Option<u8>,
    /// Resource 11: error codes, of which none is 0 (no error).
    pub errors: Vec<u8>,
    /// Resource 14: offset from UTC, as `+02:00`.
    pub utc_offset: Option<String>,
    /// Resource 15: the time zone's name.
    pub time_zone: Option<String>,
    /// Resource 17: what kind of device it is.
    pub device_type: Option<String>,
    /// Resource 18.
    pub hardware_version: Option<String>,
    /// Resource 19: the version of the software beside the firmware.
    pub software_version: Option<String>,
}

/// The device among the client's objects, with what the server has asked of it.
#[derive(Debug, Clone)]
pub(super) struct DeviceObject {
    pub(super) device: Device,
    /// Resource 4 was executed.
    pub(super) reboot_asked: bool,
    /// Resource 13 was written.
    pub(super) time_set: Option<i64>,
}

impl Device {
    fn texts(&self) -> Vec<(u16, Value)> {
        let always = [
            (0, Some(&self.manufacturer)),
            (1, Some(&self.model)),
            (2, Some(&self.serial)),
            (3, Some(&self.firmware_version)),
            (14, self.utc_offset.as_ref()),
            (15, self.time_zone.as_ref()),
            (17, self.device_type.as_ref()),
            (18, self.hardware_version.as_ref()),
            (19, self.software_version.as_ref()),
        ];
        always
            .into_iter()
            .filter_map(|(id, text)| Some((id, Value::Text(text.filter(|text| !text.is_empty())?.clone()))))
            .collect()
    }
}

impl Object for DeviceObject {
    fn id(&self) -> u16 {
        OBJECT
    }

    fn version(&self) -> Option<ObjectVersion> {
        Some(ObjectVersion { major: 1, minor: 1 })
    }

    fn instances(&self) -> Vec<u16> {
        vec![0]
    }

    fn resources(&self, _instance: u16) -> Vec<u16> {
        let mut ids: Vec<u16> = self.device.texts().into_iter().map(|(id, _)| id).collect();
        ids.extend(self.device.battery_percent.map(|_| 9));
        ids.extend([4, 11, 12, 13, 16]);
        ids.sort_unstable();
        ids
    }

    fn read(&self, time: Time, _instance: u16) -> Vec<Entry> {
        let mut values = self.device.texts();
        values.extend(self.device.battery_percent.map(|percent| (9, Value::Integer(percent.into()))));
        values.extend(time.utc_s.map(|seconds| (13, Value::Time(seconds))));
        values.push((16, Value::from("U")));
        let mut entries = super::registry::entries(OBJECT, 0, values);
        let none = [0];
        let errors = if self.device.errors.is_empty() { &none[..] } else { &self.device.errors };
        for (index, error) in (0_u16..).zip(errors.iter().take(ERRORS_MAX)) {
            entries.push(Entry::new(Path::resource_instance(OBJECT, 0, 11, index), i64::from(*error)));
        }
        entries
    }

    fn write(&mut self, _time: Time, _write: Write, entries: &[Entry]) -> Result<(), Code> {
        let mut changed = self.clone();
        for entry in entries {
            match entry.path.resource_id() {
                Some(13) => changed.time_set = Some(entry.value.as_integer().ok_or(Code::BAD_REQUEST)?),
                Some(14) => changed.device.utc_offset = Some(text(entry)?),
                Some(15) => changed.device.time_zone = Some(text(entry)?),
                Some(_) | None => return Err(Code::METHOD_NOT_ALLOWED),
            }
        }
        *self = changed;
        Ok(())
    }

    fn execute(&mut self, _time: Time, resource: Path, _arguments: &str) -> Result<(), Code> {
        match resource.resource_id() {
            Some(4) => self.reboot_asked = true,
            Some(12) => self.device.errors.clear(),
            Some(_) | None => return Err(Code::METHOD_NOT_ALLOWED),
        }
        Ok(())
    }
}

fn text(entry: &Entry) -> Result<String, Code> {
    entry.value.as_text().map(str::to_owned).ok_or(Code::BAD_REQUEST)
}
