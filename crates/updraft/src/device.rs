//! `updraft device`: look at devices, and learn why one is not updated.

mod explain;

use std::process::ExitCode;

use updraft_wire::operator::device::{Device, Event, Execution, Summary};

use crate::connection::Connection;
use crate::error::Error;
use crate::lwm2m;
use crate::output::{self, Format, Listing};
use crate::table::printable;
use crate::when;

/// Look at devices, and learn why one is not updated.
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
    /// List devices, ordered by ID
    Ls {
        /// Only those of this product
        #[arg(long)]
        product: Option<String>,
        /// Only those that run this version
        #[arg(long)]
        version: Option<String>,
        /// Only those whose ID begins with this
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
        /// Stop after this many
        #[arg(long, value_name = "COUNT", default_value_t = usize::MAX, hide_default_value = true)]
        limit: usize,
    },
    /// Show all that is known of a device
    Show {
        /// The device's ID
        id: String,
    },
    /// Say what a device would be offered if it asked now, and why
    Explain {
        /// The device's ID
        id: String,
        /// Only this release
        #[arg(long)]
        version: Option<String>,
    },
}

/// Runs the verb.
///
/// # Errors
/// [`Error`].
pub fn run(args: &Args) -> Result<ExitCode, Error> {
    match &args.verb {
        Verb::Ls { product, version, prefix, limit } => {
            let filters = [
                ("product", product.as_deref()),
                ("version", version.as_deref()),
                ("prefix", prefix.as_deref()),
            ];
            let query: Vec<_> =
                filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            list(args, &query, *limit)?;
        }
        Verb::Show { id } => {
            let client = args.connection.client()?;
            let device: Device = client.get(&["devices", id], &[])?;
            if args.format.json {
                output::json(&device)?;
            } else {
                show(&device)?;
                if let Some(standing) = lwm2m::standing(&client, id)? {
                    lwm2m::section(id, &standing)?;
                }
            }
        }
        Verb::Explain { id, version } => {
            let query: Vec<_> = version.as_deref().map(|version| ("version", version)).into_iter().collect();
            let explanation = args.connection.client()?.get(&["devices", id, "explain"], &query)?;
            if args.format.json { output::json(&explanation)? } else { explain::print(&explanation)? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &Args, query: &[(&str, &str)], limit: usize) -> Result<(), Error> {
    let listing = Listing::<Summary, 4> {
        path: &["devices"],
        query,
        limit,
        headings: ["ID", "PRODUCT", "VERSION", "LAST SEEN"],
        row: |device| {
            let seen = device.last_seen.as_deref().map_or_else(|| "never".to_owned(), when::ago);
            [(&device.id).into(), (&device.product).into(), (&device.version).into(), (&seen).into()]
        },
        empty: "no such devices",
    };
    listing.print(&args.connection.client()?, args.format)
}

fn show(device: &Device) -> Result<(), Error> {
    output::line(&format!("{}  {} {}", device.id, device.product, printable(&device.version)))?;
    match &device.last_seen {
        Some(seen) => output::line(&format!("  last seen   {} ({seen})", when::ago(seen)))?,
        None => output::line("  last seen   never")?,
    }
    output::line(&format!("  first seen  {} ({})", when::ago(&device.first_seen), device.first_seen))?;
    output::line(&format!("  changed     {} ({})", when::ago(&device.changed), device.changed))?;
    if device.boot > 0 {
        output::line(&format!("  boot        {}", device.boot))?;
    }
    output::line("attributes")?;
    for (name, value) in &device.attributes {
        output::line(&format!("  {} = {value}", printable(name)))?;
    }
    if !device.executions.is_empty() {
        output::line("updates")?;
    }
    for execution in &device.executions {
        output::line(&format!("  {}", told(execution)))?;
    }
    if !device.history.is_empty() {
        output::line("history, newest first")?;
    }
    for Event { at, rollout, attempt, from, to, note } in &device.history {
        let from = from.as_deref().map(|from| format!("{from} → ")).unwrap_or_default();
        output::line(&format!("  {at}  {rollout} attempt {attempt}  {from}{to}: {}", printable(note)))?;
    }
    Ok(())
}

fn told(execution: &Execution) -> String {
    let Execution { rollout, attempt, state, reason, percent, detail, from_version, changed, .. } = execution;
    let mut text = format!("rollout {rollout} attempt {attempt}, from {}: {state}", printable(from_version));
    if let Some(reason) = reason {
        text.push_str(&format!(" ({reason})"));
    }
    if let Some(percent) = percent {
        text.push_str(&format!(" {percent} %"));
    }
    text.push_str(&format!(", {}", when::ago(changed)));
    if !detail.is_empty() {
        text.push_str(&format!(": {}", printable(detail)));
    }
    text
}
