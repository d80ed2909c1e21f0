//! Object 4: the link as the host measures it (Core §E.5). A server decides by it how to deliver an image.

use super::object::{Object, Time};
use crate::{Entry, Path, Value};

/// The object's number.
pub const OBJECT: u16 = 4;
/// Addresses that are told at most.
pub const ADDRESSES_MAX: usize = 8;

/// The link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connectivity {
    /// Resource 0: the bearer in use, by the registry's number (21 WLAN, 41 Ethernet, 6 LTE, 7 NB-IoT).
    pub bearer: u8,
    /// Resource 1: the bearers there are; that in use is always one.
    pub bearers: Vec<u8>,
    /// Resource 2: Radio Signal Strength, in dBm by the bearer's own measure.
    pub signal_strength: i32,
    /// Resource 3: Link Quality, if the bearer has a measure for it.
    pub link_quality: Option<i32>,
    /// Resource 4: the device's addresses.
    pub addresses: Vec<String>,
}

impl Connectivity {
    /// A link by this bearer.
    #[must_use]
    pub fn new(bearer: u8, signal_strength: i32) -> Self {
        Self { bearer, bearers: vec![bearer], signal_strength, link_quality: None, addresses: Vec::new() }
    }
}

impl Object for Connectivity {
    fn id(&self) -> u16 {
        OBJECT
    }

    fn instances(&self) -> Vec<u16> {
        vec![0]
    }

    fn resources(&self, _instance: u16) -> Vec<u16> {
        let quality = self.link_quality.map(|_| 3);
        [0, 1, 2].into_iter().chain(quality).chain([4]).collect()
    }

    fn read(&self, _time: Time, _instance: u16) -> Vec<Entry> {
        let mut values =
            vec![(0, Value::Integer(self.bearer.into())), (2, Value::Integer(self.signal_strength.into()))];
        values.extend(self.link_quality.map(|quality| (3, Value::Integer(quality.into()))));
        let mut entries = super::registry::entries(OBJECT, 0, values);
        let bearers = self.bearers.iter().take(ADDRESSES_MAX).map(|bearer| Value::Integer((*bearer).into()));
        entries.extend(multiple(1, bearers));
        let addresses = self.addresses.iter().take(ADDRESSES_MAX).map(|text| Value::Text(text.clone()));
        entries.extend(multiple(4, addresses));
        entries
    }
}

fn multiple(resource: u16, values: impl Iterator<Item = Value>) -> impl Iterator<Item = Entry> {
    (0..)
        .zip(values)
        .map(move |(one, value)| Entry::new(Path::resource_instance(OBJECT, 0, resource, one), value))
}
