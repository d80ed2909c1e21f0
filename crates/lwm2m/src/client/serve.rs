//! Answers to what the server asks of the objects (Core §6.3, Transport §6.4.4).

use super::Client;
use super::object::{Time, Write};
use super::watching::Subject;
use crate::coap::{Code, Exchange, Method, Observe, Request, Response};
use crate::content;
use crate::link::{Discovered, write_discovered};
use crate::registration::Version;
use crate::{ContentFormat, Entry, Path, Value};

/// Paths that one Observe-Composite or Read-Composite may name.
const COMPOSITE_PATHS_MAX: usize = 64;

impl Client {
    /// Answers a request of the server.
    pub(super) fn serve(&mut self, time: Time, exchange: Exchange, request: &Request) {
        let result = match Path::from_segments(request.path_segments()) {
            Ok(path) => self.serve_path(time, exchange, request, path),
            Err(_) => Err(Code::NOT_FOUND),
        };
        let response = match result {
            Ok(Some(response)) => response,
            Ok(None) => return, // answered already, as an observation
            Err(code) => Response::new(code),
        };
        self.peer.respond(time.now, exchange, response);
    }

    fn serve_path(
        &mut self,
        time: Time,
        exchange: Exchange,
        request: &Request,
        path: Path,
    ) -> Result<Option<Response>, Code> {
        match request.method {
            Method::Get if accepts(request) == Some(ContentFormat::LINK) => {
                self.discover(time, &path).map(Some)
            }
            Method::Get => self.read(time, exchange, request, Subject::One(path)),
            Method::Fetch => self.read_composite(time, exchange, request, path),
            Method::Put | Method::Post if path == crate::firmware::PACKAGE => {
                self.take_package(time, request).map(Some)
            }
            Method::Put => self.put(time, request, path).map(Some),
            Method::Post => self.post(time, request, path).map(Some),
            Method::Delete => {
                self.registry.delete(&path)?;
                Ok(Some(Response::new(Code::DELETED)))
            }
            Method::Ipatch => self.write_composite(time, request, path).map(Some),
            Method::Patch => Err(Code::METHOD_NOT_ALLOWED),
        }
    }

    fn read(
        &mut self,
        time: Time,
        exchange: Exchange,
        request: &Request,
        subject: Subject,
    ) -> Result<Option<Response>, Code> {
        let entries = subject.read(&self.registry, time)?;
        let format = accepts(request).unwrap_or_else(|| self.preferred(&subject, &entries));
        let response = subject.answer(format, &entries)?;
        if request.observe() != Some(Observe::Register) {
            return Ok(Some(response)); // the message layer ends an observation that this asks to end
        }
        if let Some(observer) = self.peer.accept_observer(time.now, exchange, response) {
            self.watches.add(time.now, observer, subject, format, entries);
        }
        Ok(None)
    }

    /// The format of an answer to a request that names none: plain for one value, else what the version registered with
    /// always has (Core §7.4).
    fn preferred(&self, subject: &Subject, entries: &[Entry]) -> ContentFormat {
        let plain = match (subject, entries) {
            (Subject::One(path), [entry]) if entry.path == *path => Some(&entry.value),
            (Subject::One(_) | Subject::Composite(_), _) => None,
        };
        match (plain, self.upkeep.version()) {
            (Some(Value::Opaque(_)), _) => ContentFormat::OPAQUE,
            (Some(_), _) => ContentFormat::TEXT,
            (None, Version::V1_0) => ContentFormat::TLV,
            (None, Version::V1_1 | Version::V1_2) => ContentFormat::SENML_CBOR,
        }
    }

    fn read_composite(
        &mut self,
        time: Time,
        exchange: Exchange,
        request: &Request,
        path: Path,
    ) -> Result<Option<Response>, Code> {
        if path != Path::ROOT {
            return Err(Code::METHOD_NOT_ALLOWED);
        }
        let format = content_format(request).ok_or(Code::UNSUPPORTED_CONTENT_FORMAT)?;
        let paths = content::decode_paths(format, &request.payload).map_err(|error| Code(error.code()))?;
        if paths.len() > COMPOSITE_PATHS_MAX {
            return Err(Code::REQUEST_ENTITY_TOO_LARGE);
        }
        let senml = [ContentFormat::SENML_CBOR, ContentFormat::SENML_JSON];
        if accepts(request).is_some_and(|format| !senml.contains(&format)) {
            return Err(Code::NOT_ACCEPTABLE);
        }
        self.read(time, exchange, request, Subject::Composite(paths))
    }

    fn discover(&self, time: Time, path: &Path) -> Result<Response, Code> {
        if path.depth() > 3 {
            return Err(Code::METHOD_NOT_ALLOWED);
        }
        let nodes = self.registry.discover(time, path)?.into_iter().map(|(node, count)| {
            let dim = count.map(|count| ("dim".to_owned(), Some(count.to_string())));
            let version = self.registry.object(node.object_id().unwrap_or_default());
            let version = version.and_then(|object| object.version()).filter(|_| node.depth() == 1);
            let version = version.map(|v| ("ver".to_owned(), Some(format!("{}.{}", v.major, v.minor))));
            let mut attributes: Vec<_> = dim.into_iter().chain(version).collect();
            attributes.extend(self.watches.attributes.at(&node).listed());
            Discovered { path: node, attributes }
        });
        let body = write_discovered(&nodes.collect::<Vec<_>>());
        Ok(Response::content(ContentFormat::LINK.0, body.into_bytes()))
    }

    fn put(&mut self, time: Time, request: &Request, path: Path) -> Result<Response, Code> {
        // Write-Attributes has queries, and neither a body nor a format (Transport §6.4.4).
        if request.payload.is_empty()
            && request.content_format().is_none()
            && request.queries().next().is_some()
        {
            self.registry.exists(&path)?;
            if path.depth() > 3 {
                return Err(Code::METHOD_NOT_ALLOWED);
            }
            self.watches.attributes.write(path, request.queries())?;
            return Ok(Response::new(Code::CHANGED));
        }
        self.write(time, request, path, Write::Replace)
    }

    fn post(&mut self, time: Time, request: &Request, path: Path) -> Result<Response, Code> {
        match path.depth() {
            1 => {
                let format = content_format(request);
                let instance = self.registry.create(time, &path, format, &request.payload)?;
                self.changed(time.now, path);
                let at = path.child(instance).ok_or(Code::INTERNAL_SERVER_ERROR)?;
                Ok(Response::new(Code::CREATED).with_location(&at.to_string()))
            }
            3 if self.registry.is_executable(&path) => {
                self.registry.execute(time, &path, &request.payload)?;
                Ok(Response::new(Code::CHANGED))
            }
            _ => self.write(time, request, path, Write::Partial),
        }
    }

    fn write(&mut self, time: Time, request: &Request, path: Path, write: Write) -> Result<Response, Code> {
        let format = content_format(request);
        self.registry.write(time, &path, write, format, &request.payload)?;
        self.changed(time.now, path);
        Ok(Response::new(Code::CHANGED))
    }

    fn write_composite(&mut self, time: Time, request: &Request, path: Path) -> Result<Response, Code> {
        if path != Path::ROOT {
            return Err(Code::METHOD_NOT_ALLOWED);
        }
        let format = content_format(request).ok_or(Code::UNSUPPORTED_CONTENT_FORMAT)?;
        if ![ContentFormat::SENML_CBOR, ContentFormat::SENML_JSON].contains(&format) {
            return Err(Code::UNSUPPORTED_CONTENT_FORMAT);
        }
        let entries = content::decode(format, &Path::ROOT, &request.payload);
        let entries = entries.map_err(|error| Code(error.code()))?;
        for path in self.registry.write_composite(time, entries)? {
            self.changed(time.now, path);
        }
        Ok(Response::new(Code::CHANGED))
    }

    /// A package, or one block of it: it goes to the object as it comes (Core §E.6; written by PUT, and by POST in a figure
    /// of the standard).
    fn take_package(&mut self, time: Time, request: &Request) -> Result<Response, Code> {
        let firmware = self.registry.firmware.as_mut().ok_or(Code::NOT_FOUND)?;
        let format = content_format(request).unwrap_or(ContentFormat::OPAQUE).current();
        let (offset, is_last) = request.block1().map_or((0, true), |block| (block.offset(), !block.more));
        let bytes = match format {
            ContentFormat::OPAQUE => request.payload.clone(),
            // A single TLV or CBOR value is a whole package in one message: the byte that resets.
            _ if request.block1().is_none_or(|block| block.number == 0 && !block.more) => {
                let entries = content::decode(format, &crate::firmware::PACKAGE, &request.payload);
                match entries.map_err(|error| Code(error.code()))?.pop().map(|entry| entry.value) {
                    Some(Value::Opaque(bytes)) => bytes,
                    Some(_) | None => return Err(Code::BAD_REQUEST),
                }
            }
            _ => return Err(Code::UNSUPPORTED_CONTENT_FORMAT),
        };
        let size = request.size1().map(u64::from);
        let taken = firmware.object.handle_block(time.now, offset, &bytes, is_last, size);
        firmware.collect();
        self.tell_firmware(time.now);
        taken.map_err(|refusal| Code(refusal.code()))?;
        Ok(Response::new(if is_last { Code::CHANGED } else { Code::CONTINUE }))
    }
}

fn content_format(request: &Request) -> Option<ContentFormat> {
    request.content_format().map(ContentFormat)
}

/// The format that is asked for, by its number of today.
fn accepts(request: &Request) -> Option<ContentFormat> {
    request.accept().map(|format| ContentFormat(format).current())
}
