//! `updraft backup` and `updraft restore`.
//!
//! A backup is asked of the running server, which knows what belongs together. A restore needs no server, and refuses a
//! folder that holds anything.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use updraft_server::config::{DATA_VARIABLE, DEFAULT_DATA};
use updraft_server::store;

use crate::connection::Connection;
use crate::error::Error;
use crate::output::{self, Format};
use crate::when;

/// Save the server's data to a file, while it runs.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// The file to write, a tar; it must not exist. It holds the server's keys: keep it as you keep those
    file: PathBuf,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Unpack a backup into a new data folder, for a server that is not running.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// The data folder to make; it must be absent or empty
    #[arg(long, value_name = "DIR", env = DATA_VARIABLE, default_value = DEFAULT_DATA)]
    data: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// What was written or unpacked.
#[derive(serde::Serialize)]
struct Written<'a> {
    file: &'a Path,
    bytes: u64,
}

/// Writes a backup.
///
/// # Errors
/// [`Error`].
pub fn backup(args: &BackupArgs) -> Result<ExitCode, Error> {
    let client = args.connection.client()?;
    let failed = |source| Error::File { operation: "write", path: args.file.clone(), source };
    // Made before the server is asked, so that a wrong path costs no work; the file will hold keys.
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&args.file).map_err(failed)?;
    let copied = client.get_raw(&["backup"], &[]).map_err(Error::from).and_then(|mut answer| {
        let mut body = answer.body_mut().with_config().limit(u64::MAX).reader();
        io::copy(&mut body, &mut file).and_then(|bytes| file.sync_all().map(|()| bytes)).map_err(failed)
    });
    match copied {
        Ok(bytes) if args.format.json => output::json(&Written { file: &args.file, bytes })?,
        Ok(bytes) => {
            output::line(&format!(
                "{}: {}; it holds keys, keep it safe",
                args.file.display(),
                when::size(bytes)
            ))?;
        }
        Err(error) => {
            // Half a backup is worse than none.
            let _ = fs::remove_file(&args.file);
            return Err(error);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Unpacks a backup.
///
/// # Errors
/// [`Error`].
pub fn restore(args: &RestoreArgs) -> Result<ExitCode, Error> {
    let failed = |source| Error::File { operation: "read", path: args.file.clone(), source };
    let mut file = File::open(&args.file).map_err(failed)?;
    let restored = store::backup::restore(&mut file, &args.data, &mut |_| {});
    let summary =
        restored.map_err(|error| Error::Process { operation: "the restore", source: error.into() })?;
    if args.format.json {
        output::json(&summary)?;
    } else {
        let (data, files, size) = (args.data.display(), summary.files, when::size(summary.bytes));
        output::line(&format!("{data}: {files} files, {size}"))?;
        output::line(&format!("start it with: updraft serve --data {data}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
