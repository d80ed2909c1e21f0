//! The keys of devices that prove themselves over DTLS, as a file keeps them: a line for each device with its ID, the
//! identity that its key goes by, and the key in hexadecimal digits.

use super::LoadError;
use std::collections::BTreeMap;
use updraft_dtls::PreSharedKey;

/// Reads the keys of a file.
///
/// # Errors
/// [`LoadError::Setting`] if a line is none of its.
pub fn read_keys(text: &str) -> Result<BTreeMap<String, PreSharedKey>, LoadError> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.enumerate().map(|(place, line)| read(line).ok_or_else(|| unread(place + 1))).collect()
}

/// The line of a device.
#[must_use]
pub fn key_line(device: &str, identity: &str, key: &str) -> String {
    format!("{device} {identity} {key}\n")
}

fn read(line: &str) -> Option<(String, PreSharedKey)> {
    let mut words = line.split_whitespace();
    let (device, identity, key) = (words.next()?, words.next()?, words.next()?);
    let key = PreSharedKey { identity: identity.into(), key: hex::decode(key).ok()? };
    words.next().is_none().then(|| (device.to_owned(), key))
}

fn unread(line: usize) -> LoadError {
    LoadError::Setting(format!(
        "line {line} of the keys is no ID, identity and key in hexadecimal digits, with spaces between them"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_no_other() {
        let keys =
            read_keys(&(key_line("sim-1", "UPDP1", "00ff") + &key_line("sim-2", "UPDP2", "01"))).unwrap();
        assert_eq!(keys["sim-1"].identity, b"UPDP1");
        assert_eq!(keys["sim-1"].key, [0, 255]);
        assert_eq!(keys.len(), 2);
        for wrong in ["sim-1", "sim-1 UPDP1", "sim-1 UPDP1 0g", "sim-1 UPDP1 00 00"] {
            assert!(read_keys(wrong).is_err(), "{wrong:?}");
        }
    }
}
