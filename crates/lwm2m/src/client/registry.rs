//! The objects of a device, and reads, writes and executions of their paths.

use super::connectivity::{self, Connectivity};
use super::device::{self, DeviceObject};
use super::firmware::Firmware;
use super::object::{Object, Time, Write};
use super::server_object::{self, ServerObject};
use crate::coap::Code;
use crate::model::{self, Instances, Operations};
use crate::{ContentFormat, Entry, Path, Value, content};
use std::collections::BTreeMap;

/// Object 0, whose keys no server reads.
pub(super) const SECURITY: u16 = 0;
/// Object 21 (OSCORE), kept from servers likewise.
const OSCORE: u16 = 21;

/// The objects of a device.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) server: ServerObject,
    pub(super) device: DeviceObject,
    pub(super) connectivity: Option<Connectivity>,
    pub(super) firmware: Option<Firmware>,
    pub(super) others: BTreeMap<u16, Box<dyn Object>>,
}

impl Registry {
    pub(super) fn object(&self, id: u16) -> Option<&dyn Object> {
        match id {
            server_object::OBJECT => Some(&self.server),
            device::OBJECT => Some(&self.device),
            connectivity::OBJECT => self.connectivity.as_ref().map(|object| object as &dyn Object),
            crate::firmware::OBJECT => self.firmware.as_ref().map(|object| object as &dyn Object),
            _ => self.others.get(&id).map(|object| &**object as &dyn Object),
        }
    }

    fn object_mut(&mut self, id: u16) -> Option<&mut dyn Object> {
        match id {
            server_object::OBJECT => Some(&mut self.server),
            device::OBJECT => Some(&mut self.device),
            connectivity::OBJECT => self.connectivity.as_mut().map(|object| object as &mut dyn Object),
            crate::firmware::OBJECT => self.firmware.as_mut().map(|object| object as &mut dyn Object),
            _ => self.others.get_mut(&id).map(|object| &mut **object as &mut dyn Object),
        }
    }

    /// The objects by number, but for those of keys.
    pub(super) fn objects(&self) -> impl Iterator<Item = &dyn Object> {
        let fixed = [server_object::OBJECT, device::OBJECT, connectivity::OBJECT, crate::firmware::OBJECT];
        let mut ids: Vec<u16> = fixed.into_iter().chain(self.others.keys().copied()).collect();
        ids.retain(|id| *id != SECURITY && *id != OSCORE);
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().filter_map(|id| self.object(id))
    }

    /// The object that a server's path is in.
    ///
    /// # Errors
    /// 4.01 for objects of keys, 4.04 for what is not there, 4.05 for the root.
    fn at(&self, path: &Path) -> Result<&dyn Object, Code> {
        let id = path.object_id().ok_or(Code::METHOD_NOT_ALLOWED)?;
        if matches!(id, SECURITY | OSCORE) {
            return Err(Code::UNAUTHORIZED);
        }
        let object = self.object(id).ok_or(Code::NOT_FOUND)?;
        let Some(instance) = path.instance_id() else { return Ok(object) };
        if !object.instances().contains(&instance) {
            return Err(Code::NOT_FOUND);
        }
        let Some(resource) = path.resource_id() else { return Ok(object) };
        if object.resources(instance).contains(&resource) { Ok(object) } else { Err(Code::NOT_FOUND) }
    }

    /// The leaves at a path.
    ///
    /// # Errors
    /// The code of the answer.
    pub(super) fn read(&self, time: Time, path: &Path) -> Result<Vec<Entry>, Code> {
        let object = self.at(path)?;
        if let Some(resource) = path.resource_id() {
            match object.operations(resource) {
                Some(Operations::Read | Operations::ReadWrite) => {}
                Some(Operations::Write | Operations::Execute | Operations::Bootstrap) | None => {
                    return Err(Code::METHOD_NOT_ALLOWED);
                }
            }
        }
        let instances = match path.instance_id() {
            Some(instance) => vec![instance],
            None => object.instances(),
        };
        let all = instances.into_iter().flat_map(|instance| object.read(time, instance));
        let entries: Vec<Entry> = all.filter(|entry| path.contains(&entry.path)).collect();
        let absent = entries.is_empty() && path.depth() >= 3 && !is_multiple(path);
        if absent || (entries.is_empty() && path.depth() == 4) { Err(Code::NOT_FOUND) } else { Ok(entries) }
    }

    /// Takes in a write of a path.
    ///
    /// # Errors
    /// The code of the answer; nothing has changed then.
    pub(super) fn write(
        &mut self,
        time: Time,
        path: &Path,
        write: Write,
        format: Option<ContentFormat>,
        body: &[u8],
    ) -> Result<(), Code> {
        if path.depth() < 2 {
            return Err(Code::METHOD_NOT_ALLOWED);
        }
        let object = self.at(path)?;
        if let Some(resource) = path.resource_id() {
            writable(object, resource)?;
        }
        let format = format.unwrap_or_else(|| format_of_kind(path));
        let entries = content::decode(format, path, body).map_err(|error| Code(error.code()))?;
        let mut taken = Vec::new();
        for entry in entries {
            let resource = entry.path.resource_id().ok_or(Code::BAD_REQUEST)?;
            if !object.resources(entry.path.instance_id().unwrap_or(0)).contains(&resource) {
                return Err(Code::NOT_FOUND);
            }
            // A whole instance names what cannot be written as well: that stands as it is, or the write is refused.
            if path.depth() == 2 && self.says(time, &entry) {
                continue;
            }
            writable(object, resource)?;
            taken.push(entry);
        }
        let id = object.id();
        self.object_mut(id).ok_or(Code::NOT_FOUND)?.write(time, write, &taken)
    }

    /// Whether a resource that is only read has this very value.
    fn says(&self, time: Time, entry: &Entry) -> bool {
        let own = self.at(&entry.path).and_then(|object| {
            match object.operations(entry.path.resource_id().unwrap_or(0)) {
                Some(Operations::Read) => self.read(time, &entry.path),
                Some(
                    Operations::ReadWrite | Operations::Write | Operations::Execute | Operations::Bootstrap,
                )
                | None => Err(Code::METHOD_NOT_ALLOWED),
            }
        });
        matches!(own.as_deref(), Ok([own]) if own.value.to_string() == entry.value.to_string())
    }

    /// Takes in a Write-Composite: all of the values, or none where a path cannot be written.
    ///
    /// # Errors
    /// The code of the answer.
    pub(super) fn write_composite(&mut self, time: Time, entries: Vec<Entry>) -> Result<Vec<Path>, Code> {
        let mut by_instance: BTreeMap<Path, Vec<Entry>> = BTreeMap::new();
        for entry in entries {
            let object = self.at(&entry.path.truncated(3))?;
            writable(object, entry.path.resource_id().ok_or(Code::BAD_REQUEST)?)?;
            by_instance.entry(entry.path.truncated(2)).or_default().push(entry);
        }
        let mut written = Vec::new();
        for (instance, entries) in by_instance {
            let id = instance.object_id().ok_or(Code::BAD_REQUEST)?;
            self.object_mut(id).ok_or(Code::NOT_FOUND)?.write(time, Write::Partial, &entries)?;
            written.extend(entries.iter().map(|entry| entry.path));
        }
        Ok(written)
    }

    /// Whether a path is a resource that is executed.
    pub(super) fn is_executable(&self, path: &Path) -> bool {
        let Some(resource) = path.resource_id() else { return false };
        self.at(path).is_ok_and(|object| object.operations(resource) == Some(Operations::Execute))
    }

    /// Executes a resource.
    ///
    /// # Errors
    /// The code of the answer.
    pub(super) fn execute(&mut self, time: Time, path: &Path, arguments: &[u8]) -> Result<(), Code> {
        let arguments = str::from_utf8(arguments).map_err(|_| Code::BAD_REQUEST)?;
        let id = self.at(path)?.id();
        self.object_mut(id).ok_or(Code::NOT_FOUND)?.execute(time, *path, arguments)
    }

    /// Makes an instance.
    ///
    /// # Errors
    /// The code of the answer.
    pub(super) fn create(
        &mut self,
        time: Time,
        path: &Path,
        format: Option<ContentFormat>,
        body: &[u8],
    ) -> Result<u16, Code> {
        let id = self.at(path)?.id();
        let entries = match format {
            _ if body.is_empty() => Vec::new(),
            Some(format) => content::decode(format, path, body).map_err(|error| Code(error.code()))?,
            None => return Err(Code::UNSUPPORTED_CONTENT_FORMAT),
        };
        let instance = entries.first().and_then(|entry| entry.path.instance_id());
        self.object_mut(id).ok_or(Code::NOT_FOUND)?.create(time, instance, &entries)
    }

    /// Removes an instance.
    ///
    /// # Errors
    /// The code of the answer.
    pub(super) fn delete(&mut self, path: &Path) -> Result<(), Code> {
        let id = self.at(path)?.id();
        let instance = path.instance_id().filter(|_| path.depth() == 2).ok_or(Code::METHOD_NOT_ALLOWED)?;
        self.object_mut(id).ok_or(Code::NOT_FOUND)?.delete(instance)
    }

    /// Whether something is at a path, readable or not.
    ///
    /// # Errors
    /// 4.04, or 4.01 for objects of keys.
    pub(super) fn exists(&self, path: &Path) -> Result<(), Code> {
        self.at(path).map(|_| ())
    }

    /// What Discover lists below a path: the nodes, and how many instances a multiple resource has.
    ///
    /// # Errors
    /// The code of the answer.
    pub(super) fn discover(&self, time: Time, path: &Path) -> Result<Vec<(Path, Option<usize>)>, Code> {
        let object = self.at(path)?;
        let mut nodes = Vec::new();
        if path.depth() == 1 {
            nodes.push((*path, None));
        }
        for instance in object.instances() {
            let at = Path::instance(object.id(), instance);
            if !(path.contains(&at) || at.contains(path)) {
                continue;
            }
            if path.depth() <= 2 {
                nodes.push((at, None));
            }
            let values = object.read(time, instance);
            for resource in object.resources(instance) {
                let at = Path::resource(object.id(), instance, resource);
                if path.contains(&at) {
                    let leaves =
                        values.iter().filter(|entry| entry.path.depth() == 4 && at.contains(&entry.path));
                    nodes.push((at, Some(leaves.count()).filter(|_| is_multiple(&at))));
                }
            }
        }
        Ok(nodes)
    }
}

fn writable(object: &dyn Object, resource: u16) -> Result<(), Code> {
    match object.operations(resource) {
        Some(Operations::Write | Operations::ReadWrite) => Ok(()),
        Some(Operations::Read | Operations::Execute | Operations::Bootstrap) | None => {
            Err(Code::METHOD_NOT_ALLOWED)
        }
    }
}

/// Whether a path is a resource of several instances.
pub(super) fn is_multiple(path: &Path) -> bool {
    model::resource(path).is_some_and(|resource| resource.instances == Instances::Multiple)
}

/// The format of a value whose sender named none: bytes for bytes, text for all else.
fn format_of_kind(path: &Path) -> ContentFormat {
    if model::kind(path) == Some(crate::Kind::Opaque) { ContentFormat::OPAQUE } else { ContentFormat::TEXT }
}

/// Entries of single resources.
pub(super) fn entries(object: u16, instance: u16, values: Vec<(u16, Value)>) -> Vec<Entry> {
    let entry = |(resource, value)| Entry::new(Path::resource(object, instance, resource), value);
    values.into_iter().map(entry).collect()
}
