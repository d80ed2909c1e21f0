//! `updraft rollout`: start, watch and steer rollouts.

mod status;

use std::process::ExitCode;

use updraft_wire::operator::rollout::{DeadlinesChange, Event, Plan, Rollout, Start, Steer};

use crate::connection::Connection;
use crate::error::Error;
use crate::output::{self, Format, Listing};
use crate::table::{Cell, printable};
use crate::when;

/// Start, watch and steer rollouts.
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
    /// Bring a release to the fleet
    Start(StartArgs),
    /// List rollouts, the latest first
    Ls {
        /// Only those of this product
        #[arg(long)]
        product: Option<String>,
    },
    /// Show a rollout with its plan and history
    Show {
        /// The rollout's ID
        id: String,
    },
    /// Show how a rollout stands, and what it is waiting for
    Status(status::StatusArgs),
    /// Offer nothing more; what is under way goes on
    Pause(SteerArgs),
    /// Offer again
    Resume(SteerArgs),
    /// End a rollout for good, and cancel what is under way
    Abort(SteerArgs),
    /// Make devices due again whose update ended badly
    Retry(SteerArgs),
}

#[derive(Debug, clap::Args)]
struct StartArgs {
    /// The product
    #[arg(long)]
    product: String,
    /// The version of the release
    #[arg(long)]
    version: String,
    /// The share of the fleet it is for, 0.01 to 100, drawn by a stable hash [default: 100]
    #[arg(long, value_name = "PERCENT")]
    percentage: Option<f64>,
    /// When it begins, RFC 3339; at once if absent
    #[arg(long, value_name = "TIME")]
    starts: Option<String>,
    /// Most devices under way at once [default: 1000]
    #[arg(long, value_name = "COUNT")]
    in_flight_max: Option<u32>,
    /// Most devices that begin in one minute; without it, as many as may be under way
    #[arg(long, value_name = "COUNT")]
    per_minute: Option<u32>,
    /// Abort when at least this share of ended updates went badly; 101: never [default: 10]
    #[arg(long, value_name = "PERCENT")]
    abort_percent: Option<u8>,
    /// Judge only once this many updates have ended [default: 20]
    #[arg(long, value_name = "COUNT")]
    abort_ended_min: Option<u32>,
    /// Most attempts with one device [default: 3]
    #[arg(long, value_name = "COUNT")]
    attempts_max: Option<u32>,
    /// Wait before the second attempt; doubles with each further one [default: 10m]
    #[arg(long, value_name = "DURATION")]
    back_off: Option<String>,
    /// How long a device may be silent after the offer [default: 26h]
    #[arg(long, value_name = "DURATION")]
    deadline_queued: Option<String>,
    /// How long a device may be silent while downloading [default: 26h]
    #[arg(long, value_name = "DURATION")]
    deadline_downloading: Option<String>,
    /// How long a device may be silent while installing [default: 26h]
    #[arg(long, value_name = "DURATION")]
    deadline_installing: Option<String>,
    /// How long a restart may take, until the device reports what it runs [default: 26h]
    #[arg(long, value_name = "DURATION")]
    deadline_rebooting: Option<String>,
    /// Take devices on a newer version back to this one
    #[arg(long)]
    allow_downgrade: bool,
}

#[derive(Debug, clap::Args)]
struct SteerArgs {
    /// The rollout's ID
    id: String,
    /// Why, for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,
}

/// Runs the verb.
///
/// # Errors
/// [`Error`].
pub fn run(args: &Args) -> Result<ExitCode, Error> {
    match &args.verb {
        Verb::Start(start) => start_rollout(args, start),
        Verb::Ls { product } => list(args, product.as_deref()),
        Verb::Show { id } => {
            let rollout: Rollout = args.connection.client()?.get(&["rollouts", id], &[])?;
            if args.format.json {
                output::json(&rollout)?;
            } else {
                show(&rollout)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Status(status) => status::run(&args.connection.client()?, args.format, status),
        Verb::Pause(steer) => steer_rollout(args, steer, "pause"),
        Verb::Resume(steer) => steer_rollout(args, steer, "resume"),
        Verb::Abort(steer) => steer_rollout(args, steer, "abort"),
        Verb::Retry(steer) => steer_rollout(args, steer, "retry"),
    }
}

fn start_rollout(args: &Args, start: &StartArgs) -> Result<ExitCode, Error> {
    let deadlines = DeadlinesChange {
        queued: start.deadline_queued.clone(),
        downloading: start.deadline_downloading.clone(),
        installing: start.deadline_installing.clone(),
        rebooting: start.deadline_rebooting.clone(),
    };
    let body = Start {
        product: start.product.clone(),
        version: start.version.clone(),
        percentage: start.percentage,
        starts: start.starts.clone(),
        in_flight_max: start.in_flight_max,
        per_minute_max: start.per_minute,
        abort_percent: start.abort_percent,
        abort_ended_min: start.abort_ended_min,
        attempts_max: start.attempts_max,
        back_off: start.back_off.clone(),
        deadlines: Some(deadlines).filter(|deadlines| *deadlines != DeadlinesChange::default()),
        allow_downgrade: start.allow_downgrade,
    };
    let rollout: Rollout = args.connection.client()?.post(&["rollouts"], &body)?;
    if args.format.json {
        output::json(&rollout)?;
    } else {
        output::line(&format!("rollout {} brings {}", rollout.id, rollout.brings()))?;
        output::line(&format!("watch it with: updraft rollout status {} --watch", rollout.id))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &Args, product: Option<&str>) -> Result<ExitCode, Error> {
    let query: Vec<_> = product.map(|product| ("product", product)).into_iter().collect();
    let listing = Listing::<Rollout, 5> {
        path: &["rollouts"],
        query: &query,
        limit: usize::MAX,
        headings: ["ID", "BRINGS", "STATE", "SINCE", "NOTE"],
        row: |rollout| {
            [
                (&rollout.id).into(),
                (&rollout.brings()).into(),
                Cell::state(&rollout.state),
                (&when::ago(&rollout.state_since)).into(),
                (&rollout.note).into(),
            ]
        },
        empty: "no rollouts; start one with `updraft rollout start`",
    };
    listing.print(&args.connection.client()?, args.format)?;
    Ok(ExitCode::SUCCESS)
}

fn steer_rollout(args: &Args, steer: &SteerArgs, verb: &str) -> Result<ExitCode, Error> {
    let body = Steer { note: steer.note.clone() };
    let rollout: Rollout = args.connection.client()?.post(&["rollouts", &steer.id, verb], &body)?;
    if args.format.json {
        output::json(&rollout)?;
    } else {
        output::line(&format!("rollout {} is {}: {}", rollout.id, rollout.state, printable(&rollout.note)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(rollout: &Rollout) -> Result<(), Error> {
    let Rollout { id, product: _, version: _, task: _, state, state_since, note, created, plan, history } =
        rollout;
    output::line(&format!("rollout {id} brings {}", rollout.brings()))?;
    output::line(&format!(
        "  {state} since {} ({state_since}): {}",
        when::ago(state_since),
        printable(note)
    ))?;
    output::line(&format!("  made {} ({created})", when::ago(created)))?;
    show_plan(plan)?;
    output::line("history")?;
    for Event { at, from, to, note } in history {
        let from = from.as_deref().map(|from| format!("{from} → ")).unwrap_or_default();
        output::line(&format!("  {at}  {from}{to}: {}", printable(note)))?;
    }
    Ok(())
}

fn show_plan(plan: &Plan) -> Result<(), Error> {
    for wave in &plan.waves {
        output::line(&format!("  {} % of the fleet from {}", wave.percentage, wave.starts))?;
    }
    output::line(&format!("  at most {} under way at once", plan.in_flight_max))?;
    if let Some(max) = plan.per_minute_max {
        output::line(&format!("  at most {max} begin in one minute"))?;
    }
    if plan.abort_percent <= 100 {
        output::line(&format!(
            "  aborts when {} % of at least {} ended updates went badly",
            plan.abort_percent, plan.abort_ended_min
        ))?;
    } else {
        output::line("  never aborts by itself")?;
    }
    output::line(&format!("  {} attempts, {} between the first two", plan.attempts_max, plan.back_off))?;
    let deadlines = &plan.deadlines;
    output::line(&format!(
        "  silence ends an update after {} queued, {} downloading, {} installing, {} rebooting",
        deadlines.queued, deadlines.downloading, deadlines.installing, deadlines.rebooting
    ))?;
    if plan.allow_downgrade {
        output::line("  takes devices on a newer version back")?;
    }
    Ok(())
}
