//! `updraft doctor`: looks for faults, and says what to do about each.
//!
//! It looks at the data folder as it lies on the disk, at the server as it answers, and at the way from a link to the
//! bytes. It changes nothing, except that a database of an older release is migrated, as the next start would.

mod folder;
mod server;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use updraft_server::config::Config;

use crate::connection::Connection;
use crate::error::Error;
use crate::output::{self, Format};
use crate::table::{Colours, Tone};

/// Look for faults, and say what to do about each.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The server's configuration file, if it has one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where devices reach the server; without it public_url of the configuration, or the device port on this machine
    #[arg(long, value_name = "URL")]
    device_url: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// What a check found.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    /// What was looked at.
    check: &'static str,
    /// How it came out.
    verdict: Verdict,
    /// What was seen.
    found: String,
    /// What to do; empty if nothing.
    advice: String,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), advice: String::new() }
    }

    fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, found: found.into(), advice: advice.into() }
    }

    fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, found: found.into(), advice: advice.into() }
    }
}

/// Runs every check. The exit code is 1 if one of them failed.
///
/// # Errors
/// [`Error::Output`].
pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let (config, mut findings) = configuration(args);
    let data = &args.connection.data;
    findings.extend(folder::check(data));
    findings.extend(server::check(&args.connection, &config, args.device_url.as_deref()));
    let worst = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    if args.format.json {
        output::json(&findings)?;
    } else {
        findings.iter().try_for_each(print)?;
        output::line(match worst {
            Verdict::Ok => "no faults found",
            Verdict::Warn => "no faults found; some things to look at",
            Verdict::Fail => "faults found",
        })?;
    }
    Ok(if worst == Verdict::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(finding: &Finding) -> Result<(), Error> {
    let colours = Colours::of(&io::stdout());
    let mark = match finding.verdict {
        Verdict::Ok => colours.paint(Tone::Good, "ok  "),
        Verdict::Warn => colours.paint(Tone::Warning, "warn"),
        Verdict::Fail => colours.paint(Tone::Bad, "FAIL"),
    };
    output::line(&format!("{mark}  {:<14} {}", finding.check, finding.found))?;
    if finding.advice.is_empty() {
        Ok(())
    } else {
        output::line(&format!("      {:<14} → {}", "", finding.advice))
    }
}

/// The configuration, or the default one if it cannot be used.
fn configuration(args: &Args) -> (Config, Vec<Finding>) {
    const CHECK: &str = "configuration";
    let Some(path) = &args.config else {
        return (Config::default(), vec![Finding::ok(CHECK, "no file given; the defaults are assumed")]);
    };
    match Config::read(path) {
        Ok(config) => {
            let mut findings = vec![Finding::ok(CHECK, format!("{} is valid", path.display()))];
            if config.device.plain_listen.is_some() {
                let found = "[device] plain_listen is set: devices may connect without TLS";
                findings.push(Finding::warn(CHECK, found, "remove it outside a lab"));
            }
            (config, findings)
        }
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let advice = "correct the file; the server does not start with it";
            (Config::default(), vec![Finding::fail(CHECK, format!("{error}{cause}"), advice)])
        }
    }
}
