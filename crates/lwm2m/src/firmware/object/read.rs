//! What a server reads of the object.

use super::super::{OBJECT, Snapshot, word::State};
use super::{Object, Origin, Refusal};
use crate::path::Path;
use crate::value::{Entry, Value};

/// The resources, as Discover lists them.
pub const RESOURCES: [u16; 14] = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];

impl Object {
    /// All that can be read.
    #[must_use]
    pub fn read_all(&self) -> Vec<Entry> {
        RESOURCES.into_iter().filter_map(|resource| self.read(resource).ok()).flatten().collect()
    }

    /// What a resource holds.
    ///
    /// # Errors
    /// The resource is not there, holds nothing, or cannot be read.
    pub fn read(&self, resource: u16) -> Result<Vec<Entry>, Refusal> {
        let record = &self.record;
        let value = match resource {
            1 => Value::Text(match &record.origin {
                Some(Origin::Uri { uri, .. }) => uri.clone(),
                Some(Origin::Push) | None => String::new(),
            }),
            3 => Value::Integer(record.state.code().into()),
            5 => Value::Integer(record.result.code().into()),
            6 => Value::Text(record.package_name.clone().ok_or(Refusal::NotFound)?),
            7 => Value::Text(record.package_version.clone().ok_or(Refusal::NotFound)?),
            8 => return Ok(self.read_schemes()),
            9 => Value::Integer(self.abilities.delivery.code().into()),
            11 => Value::Integer(record.severity.code().into()),
            12 => Value::Time(record.changed_s.ok_or(Refusal::NotFound)?),
            13 => Value::Unsigned(record.defer_max_s.into()),
            14 => Value::Boolean(record.automatic),
            0 | 2 | 10 => return Err(Refusal::MethodNotAllowed),
            _ => return Err(Refusal::NotFound),
        };
        Ok(vec![Entry::new(Path::resource(OBJECT, 0, resource), value)])
    }

    fn read_schemes(&self) -> Vec<Entry> {
        let schemes = self.abilities.schemes.iter().zip(0..);
        schemes
            .map(|(scheme, index)| {
                let path = Path::resource_instance(OBJECT, 0, 8, index);
                Entry::new(path, Value::Integer(scheme.code().into()))
            })
            .collect()
    }

    /// The object as a server that reads all of it understands it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::read(&self.read_all())
    }

    /// Resource 3.
    #[must_use]
    pub fn state(&self) -> State {
        self.record.state
    }
}
