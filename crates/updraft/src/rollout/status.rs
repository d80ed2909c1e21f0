//! `updraft rollout status`: how a rollout stands, once or until it is done.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use updraft_wire::operator::rollout::Status;

use crate::client::Client;
use crate::error::Error;
use crate::output::{self, Format};
use crate::table::{Colours, Tone, tone_of_state};
use crate::when;

/// Width of the longest bar, in characters.
const BAR_WIDTH: u64 = 40;
/// The eleven states, in the order of a good life.
const STATES: [&str; 11] = [
    "queued",
    "downloading",
    "downloaded",
    "installing",
    "rebooting",
    "succeeded",
    "failed",
    "timed_out",
    "rejected",
    "canceled",
    "removed",
];

/// What to show and how often.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// The rollout's ID
    id: String,
    /// Go on until no device is due and none is under way (exit code 0), or the rollout is aborted (exit code 1)
    #[arg(long)]
    watch: bool,
    /// Seconds between two looks while watching
    #[arg(long, default_value_t = 1, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

/// How a look at the rollout is shown while watching.
enum View {
    /// Redrawn in place.
    Terminal { lines: usize },
    /// A line for each change.
    Lines,
    /// A JSON line for each change.
    Json,
}

/// Runs the verb.
///
/// # Errors
/// [`Error`].
pub(super) fn run(client: &Client, format: Format, args: &StatusArgs) -> Result<ExitCode, Error> {
    let path = ["rollouts", args.id.as_str(), "status"];
    if args.watch {
        return watch(client, &path, format, args.interval);
    }
    let status: Status = client.get(&path, &[])?;
    if format.json {
        output::json(&status)?;
    } else {
        print(&mut io::stdout().lock(), &status)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn watch(client: &Client, path: &[&str], format: Format, interval: u64) -> Result<ExitCode, Error> {
    let mut view = if format.json {
        View::Json
    } else if io::stdout().is_terminal() {
        View::Terminal { lines: 0 }
    } else {
        View::Lines
    };
    let mut last: Option<Status> = None;
    loop {
        let status: Status = client.get(path, &[])?;
        view.show(&status, last.as_ref())?;
        match (status.state.as_str(), status.settled) {
            ("aborted", _) => return Ok(ExitCode::FAILURE),
            (_, true) => return Ok(ExitCode::SUCCESS),
            (_, false) => {}
        }
        last = Some(status);
        std::thread::sleep(Duration::from_secs(interval));
    }
}

impl View {
    fn show(&mut self, status: &Status, last: Option<&Status>) -> Result<(), Error> {
        let differs = last.is_none_or(|last| {
            (&last.state, &last.counts, last.due, &last.why)
                != (&status.state, &status.counts, status.due, &status.why)
        });
        match self {
            Self::Terminal { lines } => {
                let mut drawn = Vec::new();
                let count = print(&mut drawn, status)?;
                let mut out = io::stdout().lock();
                // Up to where the last drawing began, and clear from there on.
                if *lines > 0 {
                    write!(out, "\x1b[{lines}A\x1b[J").map_err(Error::Output)?;
                }
                *lines = count;
                out.write_all(&drawn).and_then(|()| out.flush()).map_err(Error::Output)
            }
            Self::Lines if differs => output::line(&summary(status)),
            Self::Json if differs => output::json(status),
            Self::Lines | Self::Json => Ok(()),
        }
    }
}

/// The whole status on one line.
fn summary(status: &Status) -> String {
    let counts: Vec<String> = STATES
        .iter()
        .filter_map(|state| Some((state, *status.counts.get(*state)?)))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{state} {count}"))
        .collect();
    let due = status.due.map(|due| format!(", due {due}")).unwrap_or_default();
    let counts = if counts.is_empty() { "no executions yet".to_owned() } else { counts.join(", ") };
    format!("{} {}: {counts}{due}", status.id, status.state)
}

/// Prints the status over several lines, and says how many.
fn print(out: &mut impl Write, status: &Status) -> Result<usize, Error> {
    let colours = Colours::of(&io::stdout());
    let mut lines = vec![format!(
        "rollout {} brings {}: {}",
        status.id,
        status.brings(),
        colours.paint(tone_of_state(&status.state), &status.state)
    )];
    let most = status.counts.values().copied().max().unwrap_or(0).max(1);
    for state in STATES {
        let count = status.counts.get(state).copied().unwrap_or(0);
        let length = (count * BAR_WIDTH).div_ceil(most);
        let bar: String = std::iter::repeat_n('█', usize::try_from(length).unwrap_or(0)).collect();
        let tone = if count == 0 { Tone::Dim } else { tone_of_state(state) };
        lines.push(format!(
            "  {} {}",
            colours.paint(tone, &format!("{state:<12}{count:>8}")),
            colours.paint(tone, &bar)
        ));
    }
    let due = match (&status.due, &status.surveyed) {
        (Some(due), Some(at)) => format!("{due} due (counted {})", when::ago(at)),
        (Some(due), None) => format!("{due} due"),
        (None, _) => "due devices not counted yet".to_owned(),
    };
    lines.push(format!("  {} under way, {due}", status.in_flight));
    lines.push(format!("  {}", status.why));
    for line in &lines {
        writeln!(out, "{}", line.trim_end()).map_err(Error::Output)?;
    }
    Ok(lines.len())
}
