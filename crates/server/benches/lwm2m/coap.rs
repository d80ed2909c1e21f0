//! As much of CoAP as a device needs that registers, is read, and updates: messages from the library, its exchanges by hand,
//! so that the load costs little.

use crate::Outcome;
use crate::fleet;
use updraft_lwm2m::coap::{Code, Message, MessageType, Method, Request, Token};
use updraft_lwm2m::content::{self, ContentFormat};
use updraft_lwm2m::{Entry, Path};

/// A confirmable request.
pub(crate) fn request(id: u16, request: &Request) -> Vec<u8> {
    let token = Token::new(&id.to_be_bytes()).expect("two bytes");
    Message {
        kind: MessageType::Confirmable,
        code: request.method.code(),
        id,
        token,
        options: request.options.view(),
        payload: &request.payload,
    }
    .encode()
}

/// The answer to what a server asks of a device: what it reads there is told, in the format that it wishes.
pub(crate) fn answer(asked: &Message<'_>, number: u32) -> Outcome<Vec<u8>> {
    let path: String =
        asked.options.all(11).map(|part| format!("/{}", String::from_utf8_lossy(part))).collect();
    let path: Path = path.parse()?;
    let format = asked.options.uint(17).and_then(|number| u16::try_from(number).ok());
    let format = format.map_or(ContentFormat::TLV, ContentFormat);
    let tree: Vec<Entry> =
        fleet::tree(number).into_iter().filter(|entry| path.contains(&entry.path)).collect();
    let payload = content::encode(format, &path, &tree)?;
    let response = updraft_lwm2m::coap::Response::content(format.0, payload);
    let is_read = Method::from_code(asked.code) == Some(Method::Get) && !tree.is_empty();
    Ok(Message {
        kind: MessageType::Acknowledgement,
        code: if is_read { Code::CONTENT } else { Code::NOT_FOUND },
        id: asked.id,
        token: asked.token,
        options: response.options.view(),
        payload: &response.payload,
    }
    .encode())
}
