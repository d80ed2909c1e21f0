//! The model: what the resources of objects 0 to 5 are called, which type they have and what may be done to them, as the
//! OMA registry has it (objects 0, 1 and 3 in version 1.2, 2 in 1.1, 4 in 1.3, 5 in 1.2).
//!
//! Deliberately absent: a reader of registry files. A format that names no types needs a table for what this product reads
//! and writes itself; every other resource is shown by its number, and its bytes as bytes.

mod objects;

use crate::path::Path;
use crate::value::Kind;

pub use objects::OBJECTS;

/// What may be done to a resource (registry, `Operations`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operations {
    /// Only a bootstrap server touches it.
    Bootstrap,
    /// It is read.
    Read,
    /// It is written.
    Write,
    /// It is read and written.
    ReadWrite,
    /// It is executed.
    Execute,
}

/// Whether there is one of a thing, or any number (registry, `MultipleInstances`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// One at most.
    Single,
    /// Any number.
    Multiple,
}

/// Whether a device must have a thing (registry, `Mandatory`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It must.
    Mandatory,
    /// It may.
    Optional,
}

/// An object of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Its number.
    pub id: u16,
    /// Its name.
    pub name: &'static str,
    /// How many instances it has.
    pub instances: Instances,
    /// Its resources, by number.
    pub resources: &'static [Resource],
}

/// A resource of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// Its number.
    pub id: u16,
    /// Its name.
    pub name: &'static str,
    /// Its type; none where it is executed.
    pub kind: Option<Kind>,
    /// What may be done to it.
    pub operations: Operations,
    /// How many instances it has.
    pub instances: Instances,
    /// Whether each instance of its object has it.
    pub presence: Presence,
}

/// The object of this number.
#[must_use]
pub fn object(id: u16) -> Option<&'static Object> {
    OBJECTS.iter().find(|object| object.id == id)
}

/// The resource that a path names, or is in.
#[must_use]
pub fn resource(path: &Path) -> Option<&'static Resource> {
    let resources = object(path.object_id()?)?.resources;
    let id = path.resource_id()?;
    resources.binary_search_by_key(&id, |resource| resource.id).ok().map(|index| &resources[index])
}

/// The type of the resource that a path names, or is in.
#[must_use]
pub fn kind(path: &Path) -> Option<Kind> {
    resource(path)?.kind
}

/// A path and its name, for people: `3/0/3 Firmware Version`, `3/0/6/1 Available Power Sources`, `3/0 Device`; only the
/// numbers where the registry's part known here has no name.
#[must_use]
pub fn label(path: &Path) -> String {
    let name = match path.resource_id() {
        Some(_) => resource(path).map(|resource| resource.name),
        None => path.object_id().and_then(object).map(|object| object.name),
    };
    let path = path.to_string();
    let numbers = path.strip_prefix('/').unwrap_or(&path);
    name.map_or_else(|| numbers.to_owned(), |name| format!("{numbers} {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_labelled_with_the_registrys_name() {
        for (path, expected) in [
            ("/3/0/3", "3/0/3 Firmware Version"),
            ("/3/0/6/1", "3/0/6/1 Available Power Sources"),
            ("/5/0", "5/0 Firmware Update"),
            ("/5", "5 Firmware Update"),
            ("/5/0/14", "5/0/14 Automatic Upgrade at Download"),
            ("/5/0/4", "5/0/4"),
            ("/33629/0/15", "33629/0/15"),
            ("/", ""),
        ] {
            assert_eq!(label(&path.parse().unwrap()), expected);
        }
    }

    #[test]
    fn types_and_operations_are_the_registrys() {
        let of = |path: &str| *resource(&path.parse().unwrap()).unwrap();
        assert_eq!(of("/5/0/0").kind, Some(Kind::Opaque));
        assert_eq!(of("/5/0/0").operations, Operations::Write);
        assert_eq!(of("/5/0/2").kind, None);
        assert_eq!(of("/5/0/8/3").instances, Instances::Multiple);
        assert_eq!(of("/1/0/1").kind, Some(Kind::Unsigned));
        assert_eq!(of("/0/0/17").kind, Some(Kind::ObjectLink));
        assert_eq!(of("/0/0/5").operations, Operations::Bootstrap);
        assert_eq!(of("/3/0/13").kind, Some(Kind::Time));
        assert_eq!(of("/4/0/2").presence, Presence::Mandatory);
        assert_eq!(object(3).unwrap().instances, Instances::Single);
        assert_eq!(kind(&Path::instance(3, 0)), None);
    }

    #[test]
    fn the_tables_are_in_the_order_of_their_numbers() {
        assert!(OBJECTS.iter().map(|object| object.id).eq(0..=5));
        for object in OBJECTS {
            assert!(object.resources.windows(2).all(|two| two[0].id < two[1].id), "{}", object.name);
            for resource in object.resources {
                assert_eq!(
                    resource.kind.is_none(),
                    resource.operations == Operations::Execute,
                    "{}",
                    resource.name
                );
            }
        }
    }
}
