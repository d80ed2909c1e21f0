//! The C updater's habits: an HTTP client of a few lines that trusts the server to be exactly as it expects.

use std::fmt::Write as _;
use std::io::{Read, Write};

use sha2::{Digest, Sha256};

use super::{Apply, Device, Ran};
use crate::stage::Stage;
use crate::wire::{Wire, path_of};

/// What it reads at most of an answer before it looks at the headers.
const FIRST_READ_BYTES: usize = 4095;
const REQUEST_BYTES_MAX: usize = 4096;
const CONTENT_BYTES_MAX: usize = 100 << 20;

/// A run from the check-in to the report.
pub(crate) fn run(stage: &Stage, device: &Device<'_>, apply: Apply) -> Result<Ran, String> {
    // Without properties the list of fields ends with a comma.
    let mut properties = String::new();
    for (name, value) in device.properties {
        write!(properties, "\"{name}\":\"{value}\",").unwrap();
    }
    let properties = properties.trim_end_matches(',');
    let body = format!(
        r#"{{"id":"{}","product":"{}","version":"{}",{properties}}}"#,
        device.id, device.product, device.version
    );
    let headers = format!("Content-Type: application/json\r\nAuthorization: {}\r\n", device.token);
    let answer = Fetch::begin(stage, "POST", "/tok/provision/update", &headers, &body)?.text()?;
    let Some(url) = scan(&answer, "url") else { return Ok(Ran::NoUpdate) };
    let (Some(checksum), Some(update), Some(version)) =
        (scan(&answer, "checksum"), scan(&answer, "update"), scan(&answer, "version"))
    else {
        return Err("Incomplete update response".into());
    };
    // It knows no port but 443, so a link for it names none.
    if !url.starts_with("https://localhost/") {
        return Err(format!("Insecure download URL {url}"));
    }
    let image = Fetch::begin(stage, "GET", path_of(url), "Accept: */*\r\n", "")?.until_closed();
    if hex::encode(Sha256::digest(&image)) != checksum {
        return Err("Checksum does not match".into());
    }
    let success = apply == Apply::Succeeds;
    let report = format!(r#"{{"success":{success},"id":"{}","update":"{update}"}}"#, device.id);
    Fetch::begin(stage, "POST", "/tok/provision/updateReport", &headers, &report)?;
    Ok(Ran::Updated(version.to_owned()))
}

/// A request whose headers were answered well.
struct Fetch {
    wire: Wire,
    content_bytes: usize,
    body: Vec<u8>,
}

impl Fetch {
    fn begin(stage: &Stage, method: &str, path: &str, headers: &str, body: &str) -> Result<Self, String> {
        let bytes = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n{headers}\r\n{body}"
        );
        if request.len() >= REQUEST_BYTES_MAX {
            return Err("Request is too long".into());
        }
        let mut wire = stage.tls();
        wire.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut first = vec![0; FIRST_READ_BYTES];
        let read = wire.read(&mut first).map_err(|error| error.to_string())?;
        first.truncate(read);
        let end = first.windows(4).position(|window| window == b"\r\n\r\n").ok_or("Bad response")?;
        let head = std::str::from_utf8(&first[..end]).map_err(|_| "Bad response")?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("Bad response status\n{head}"));
        }
        let content_bytes = find_header(head, "Content-Length:").ok_or("Missing Content-Length")?;
        let content_bytes = content_bytes.parse().map_err(|_| "Invalid Content-Length")?;
        if content_bytes > CONTENT_BYTES_MAX {
            return Err("Invalid Content-Length".into());
        }
        Ok(Self { wire, content_bytes, body: first[end + 4..].to_vec() })
    }

    fn text(mut self) -> Result<String, String> {
        let begun = self.body.len();
        self.body.resize(self.content_bytes, 0);
        self.wire.read_exact(&mut self.body[begun..]).map_err(|_| "Connection closed while reading")?;
        String::from_utf8(self.body).map_err(|error| error.to_string())
    }

    /// The length is not looked at: the file ends where the connection does, well or badly.
    fn until_closed(mut self) -> Vec<u8> {
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = self.wire.read(&mut chunk) {
            self.body.extend_from_slice(&chunk[..read]);
        }
        self.body
    }
}

/// A header's value, found as text anywhere in the head and by case.
fn find_header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let value = &head[head.find(name)? + name.len()..];
    Some(value.split("\r\n").next().unwrap_or(value).trim_start())
}

/// A field's value, found as text: the name in quotes, the colon, and the value at once. No escapes.
fn scan<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let key = format!("\"{name}\":");
    let value = &json[json.find(&key)? + key.len()..];
    match value.strip_prefix('"') {
        Some(value) => value.split('"').next(),
        None => value.split([',', '}']).next(),
    }
}
