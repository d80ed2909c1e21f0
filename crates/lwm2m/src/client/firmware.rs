//! Object 5 among the client's objects: [`crate::firmware::Object`], with what it wants of the host.

use super::object::{Object, Time, Write};
use crate::coap::Code;
use crate::firmware::object::{Action, RESOURCES};
use crate::link::ObjectVersion;
use crate::{Entry, Path};
use std::collections::VecDeque;

/// Object 5, and what it has to say.
#[derive(Debug)]
pub(super) struct Firmware {
    pub(super) object: crate::firmware::Object,
    pub(super) actions: VecDeque<Action>,
}

impl Firmware {
    pub(super) fn new(object: crate::firmware::Object) -> Self {
        Self { object, actions: VecDeque::new() }
    }

    /// Moves what the object wants of the host to where the host finds it.
    pub(super) fn collect(&mut self) {
        while let Some(action) = self.object.poll_action() {
            self.actions.push_back(action);
        }
    }
}

impl Object for Firmware {
    fn id(&self) -> u16 {
        crate::firmware::OBJECT
    }

    fn version(&self) -> Option<ObjectVersion> {
        Some(ObjectVersion { major: 1, minor: 2 })
    }

    fn instances(&self) -> Vec<u16> {
        vec![0]
    }

    fn resources(&self, _instance: u16) -> Vec<u16> {
        RESOURCES.to_vec()
    }

    fn read(&self, _time: Time, _instance: u16) -> Vec<Entry> {
        self.object.read_all()
    }

    fn write(&mut self, time: Time, _write: Write, entries: &[Entry]) -> Result<(), Code> {
        // One write of an instance would have to undo the first value when the second is refused; servers write one by one.
        let [entry] = entries else { return Err(Code::METHOD_NOT_ALLOWED) };
        let resource = entry.path.resource_id().ok_or(Code::BAD_REQUEST)?;
        let result = self.object.handle_write(time.now, resource, &entry.value);
        result.map_err(|refusal| Code(refusal.code()))
    }

    fn execute(&mut self, time: Time, resource: Path, _arguments: &str) -> Result<(), Code> {
        let resource = resource.resource_id().ok_or(Code::BAD_REQUEST)?;
        self.object.handle_execute(time.now, resource).map_err(|refusal| Code(refusal.code()))
    }
}
