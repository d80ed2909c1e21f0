//! `updraft policy`: try distribution policies.
//!
//! With a device in a file nothing is asked of a server: the policy is compiled and evaluated here, by the same code.

use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;

use updraft_core::attributes::Attributes;
use updraft_core::policy::{Facts, Policy};
use updraft_wire::operator::policy::{Clause, Outcome, Test};

use crate::connection::Connection;
use crate::error::Error;
use crate::output::{self, Format};
use crate::table::{Colours, Tone, printable};

/// Largest file with a device, in bytes; as much as a device may report at a check-in.
const DEVICE_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Try distribution policies.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say whether a policy matches a device, clause by clause; exit code 1 if it does not
    Test {
        /// The policy
        #[arg(value_name = "EXPR")]
        policy: String,
        /// A JSON5 file with what the device reports, or the ID of a device the server knows
        #[arg(long, value_name = "FILE|ID")]
        device: String,
        /// What update.version is
        #[arg(long)]
        version: Option<String>,
    },
}

/// Runs the verb.
///
/// # Errors
/// [`Error`].
pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let Verb::Test { policy, device, version } = &args.verb;
    let compiled = Policy::compile(policy)
        .map_err(|error| Error::Input(format!("the policy is not valid\n{}", error.render(policy))))?;
    let file = Path::new(device);
    // A name with a dot or a slash that is no file is more likely a misspelt file than a device.
    let outcome = if file.is_file()
        || device.contains('/')
        || device.ends_with(".json5")
        || device.ends_with(".json")
    {
        test_file(&compiled, file, version.as_deref())?
    } else {
        let (policy, device) = (policy.clone(), Some(device.clone()));
        let test = Test { policy, device, document: None, version: version.clone() };
        args.connection.client()?.post(&["policy", "test"], &test)?
    };
    if args.format.json {
        output::json(&outcome)?;
    } else {
        print(&outcome)?;
    }
    Ok(if outcome.matches { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn test_file(policy: &Policy, path: &Path, version: Option<&str>) -> Result<Outcome, Error> {
    let failed = |source| Error::File { operation: "read", path: path.into(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(DEVICE_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    let invalid = |cause: &dyn std::fmt::Display| Error::Input(format!("{}: {cause}", path.display()));
    if text.len() as u64 > DEVICE_FILE_BYTES_MAX {
        return Err(invalid(&format!(
            "more than {DEVICE_FILE_BYTES_MAX} bytes; a device cannot report that much"
        )));
    }
    let device: Attributes = json5::from_str(&text).map_err(|error| invalid(&error))?;
    let mut update = Attributes::new();
    if let Some(version) = version {
        update.insert("version", version).map_err(|error| Error::Input(format!("--version: {error}")))?;
    }
    let explanation = policy.explain(&Facts { device: &device, update: &update });
    let clauses = explanation.clauses.iter().map(|clause| Clause {
        text: clause.source.clone(),
        holds: clause.holds(),
        why: clause.why(),
    });
    Ok(Outcome { matches: explanation.matches, clauses: clauses.collect() })
}

fn print(outcome: &Outcome) -> Result<(), Error> {
    let colours = Colours::of(&io::stdout());
    let (tone, text) = if outcome.matches { (Tone::Good, "matches") } else { (Tone::Bad, "does not match") };
    output::line(&colours.paint(tone, text))?;
    outcome.clauses.iter().try_for_each(|clause| output::line(&format!("  {}", told(clause, colours))))
}

/// A clause on one line: how it came out, as written, and what it saw.
pub fn told(clause: &Clause, colours: Colours) -> String {
    let mark = match clause.holds {
        Some(true) => colours.paint(Tone::Good, "true "),
        Some(false) => colours.paint(Tone::Bad, "false"),
        None => colours.paint(Tone::Warning, "?    "),
    };
    format!("{mark}  {}  ({})", printable(&clause.text), printable(&clause.why))
}
