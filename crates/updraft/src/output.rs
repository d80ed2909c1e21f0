//! What verbs print: JSON for programs, or tables and sentences for people.

use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::error::Error;
use crate::table::{Cell, Table};

/// How to print.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Format {
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
}

/// Prints a value as JSON, one line.
///
/// # Errors
/// [`Error::Output`]; so for each function here.
pub fn json(value: &impl Serialize) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(|error| Error::Output(error.into()))?;
    writeln!(out).map_err(Error::Output)
}

/// Prints a line for people.
///
/// # Errors
/// See [`json`].
pub fn line(text: &str) -> Result<(), Error> {
    writeln!(io::stdout().lock(), "{text}").map_err(Error::Output)
}

/// A list of the API to be printed, page by page as it comes, so that a million devices take no more memory than one
/// page.
pub struct Listing<'a, T, const N: usize> {
    /// Where the list is.
    pub path: &'a [&'a str],
    /// Which part of it.
    pub query: &'a [(&'a str, &'a str)],
    /// Most items to print.
    pub limit: usize,
    /// The columns for people.
    pub headings: [&'static str; N],
    /// One item's row for people.
    pub row: fn(&T) -> [Cell; N],
    /// What to tell people who get an empty list.
    pub empty: &'static str,
}

impl<T: Serialize + DeserializeOwned, const N: usize> Listing<'_, T, N> {
    /// Prints it.
    ///
    /// # Errors
    /// See [`json`]; and if the server cannot be asked.
    pub fn print(&self, client: &Client, format: Format) -> Result<(), Error> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let mut table = Table::new(self.headings);
        let mut printed = 0;
        client.pages(self.path, self.query, |mut items: Vec<T>| {
            items.truncate(self.limit - printed);
            if format.json {
                print_items(&mut out, printed, &items).map_err(Error::Output)?;
            } else if !items.is_empty() {
                let rows: Vec<_> = items.iter().map(self.row).collect();
                table.print(&mut out, &rows).map_err(Error::Output)?;
            }
            printed += items.len();
            Ok::<bool, Error>(printed < self.limit)
        })?;
        if format.json {
            writeln!(out, "{}]", if printed == 0 { "[" } else { "" }).map_err(Error::Output)?;
        }
        out.flush().map_err(Error::Output)?;
        if printed == 0 && !format.json {
            eprintln!("{}", self.empty);
        }
        Ok(())
    }
}

/// Prints items of a JSON list, of which `printed` came before.
fn print_items(out: &mut impl Write, printed: usize, items: &[impl Serialize]) -> io::Result<()> {
    for (index, item) in items.iter().enumerate() {
        out.write_all(if printed + index == 0 { b"[" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, item)?;
    }
    Ok(())
}
