//! The pre-shared keys of simulated devices: kept in a file, and made by the server for devices that have none there.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use updraft_sim::load::{LoadError, PreSharedKey, key_line, read_keys};
use updraft_wire::operator::token::{Create, Created, Form, Shown};

use crate::client::Client;
use crate::connection::Connection;
use crate::error::Error;

/// What the server's tokens say of their purpose.
const NOTE: &str = "updraft sim";
/// Who may read the file: its owner.
const MODE: u32 = 0o600;

/// The keys of these devices. Those that the server makes are in the file before they are used.
pub(super) fn have(
    path: &Path,
    devices: impl Iterator<Item = String>,
    server: &Connection,
) -> Result<BTreeMap<String, PreSharedKey>, Error> {
    let failed =
        |operation| move |source: io::Error| Error::File { operation, path: path.to_owned(), source };
    let file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path);
    let mut file = file.map_err(failed("open"))?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed("read"))?;
    let known = read_keys(&text).map_err(invalid)?;
    let missing: Vec<_> = devices.filter(|device| !known.contains_key(device)).collect();
    if missing.is_empty() {
        return Ok(known);
    }
    eprintln!("making keys for {} devices, kept in {}", missing.len(), path.display());
    let client = server.client()?;
    for device in missing {
        let line = make(&client, device)?;
        file.write_all(line.as_bytes()).map_err(failed("write"))?;
        text.push_str(&line);
    }
    file.sync_all().map_err(failed("write"))?;
    read_keys(&text).map_err(invalid)
}

/// Has the server make a key; the line of the file for it.
fn make(client: &Client, device: String) -> Result<String, Error> {
    let create =
        Create { device: Some(device.clone()), form: Form::Psk, note: NOTE.to_owned(), ..Create::default() };
    let created: Created = client.post(&["tokens"], &create)?;
    match (&created.shown, &created.listed.identity) {
        (Shown::Psk { key }, Some(identity)) => Ok(key_line(&device, identity, key)),
        (_, _) => Err(Error::Input(format!("the server made no pre-shared key for {device}"))),
    }
}

fn invalid(error: LoadError) -> Error {
    Error::Input(error.to_string())
}
