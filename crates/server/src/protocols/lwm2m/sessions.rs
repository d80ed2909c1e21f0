//! DTLS sessions over a graceful restart: kept when the server stops, taken up once when it starts.
//!
//! A device without them notices only when it has something to say, and is then away for minutes.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use updraft_dtls::{Server, Sessions, Snapshot};

/// The file in the data folder, there only while no server runs.
const FILE: &str = "lwm2m.sessions";
/// Largest file taken up, in bytes: a million sessions of some hundred bytes.
const BYTES_MAX: u64 = 1 << 30;

/// The file with the sessions. It holds their keys, so nobody else may read it; and each session may be taken up only once
/// (see [`Snapshot`]), so it is removed before the first one is.
#[derive(Debug)]
pub struct SessionFile(PathBuf);

impl SessionFile {
    /// The file of a data folder.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self(data.join(FILE))
    }

    /// Takes up what an earlier process kept. What cannot be read is left: its devices shake hands again.
    pub fn restore(&self, server: &mut Server, now: Duration) {
        let size = std::fs::metadata(&self.0).map(|metadata| metadata.len());
        let bytes = match size {
            Ok(size) if size <= BYTES_MAX => std::fs::read(&self.0).unwrap_or_default(),
            Ok(_) | Err(_) => Vec::new(),
        };
        if let Err(error) = std::fs::remove_file(&self.0) {
            if error.kind() != std::io::ErrorKind::NotFound {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "kept sessions cannot be removed, so none is taken up");
            }
            return;
        }
        let mut rest = &bytes[..];
        let mut taken = 0_usize;
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let Some((one, tail)) = tail.split_at_checked(u32::from_be_bytes(*length) as usize) else {
                break;
            };
            rest = tail;
            if let Ok(snapshot) = Snapshot::from_bytes(one)
                && server.restore(now, snapshot).is_ok()
            {
                taken += 1;
            }
        }
        tracing::info!(sessions = taken, "sessions of LwM2M devices go on");
    }

    /// Keeps the sessions of sockets that no longer speak.
    pub fn keep(&self, all: Vec<Box<dyn Sessions + Send>>) {
        let mut bytes = Vec::new();
        for mut sessions in all {
            for session in sessions.ids() {
                let Some(snapshot) = sessions.save(session) else { continue };
                let one = snapshot.into_bytes();
                let Ok(length) = u32::try_from(one.len()) else { continue };
                bytes.extend(length.to_be_bytes());
                bytes.extend(one);
            }
        }
        if let Err(error) = self.write(&bytes) {
            // Half a file would be taken for a whole one.
            let _ = std::fs::remove_file(&self.0);
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "sessions of LwM2M devices are not kept"
            );
        }
    }

    fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&self.0)?;
        file.write_all(bytes)?;
        file.sync_all()
    }
}
