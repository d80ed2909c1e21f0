//! Why a verb failed, as the person at the terminal reads it.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::client::ClientError;
use crate::table::{Colours, Tone};

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file could not be used.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was being done, as an infinitive.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The standard output is closed or full.
    #[error("cannot write to the standard output")]
    Output(#[source] io::Error),
    /// What was given on the command line cannot be right.
    #[error("{0}")]
    Input(String),
    /// A part of Updraft that runs in this process failed.
    #[error("{operation} failed")]
    Process {
        /// Which part.
        operation: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Prints an error and its causes to the standard error.
pub fn report(error: &Error) {
    let mut stderr = io::stderr().lock();
    let label = Colours::of(&io::stderr()).paint(Tone::Bad, "error:");
    // Nobody is left to be told if the standard error is gone too.
    let _ = writeln!(stderr, "{label} {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = writeln!(stderr, "  because: {error}");
        cause = error.source();
    }
}
