//! `updraft lwm2m`: ask something of one device that speaks LwM2M, for support work.
//!
//! Deliberately absent: asking many devices at once. What is for a fleet is a rollout.

mod follow;
mod told;

use std::process::ExitCode;
use std::time::Duration;

use updraft_wire::operator::lwm2m::{Operation, Order, Outcome, Place, Placed, Standing};

use crate::client::{Client, ClientError};
use crate::connection::Connection;
use crate::error::Error;
use crate::output::{self, Format, Listing};
use crate::when;

pub use told::section;

/// Longest `--wait` and `--for`, in seconds: as long as an order waits for a device, seven days.
const SECONDS_MAX: u64 = 7 * 24 * 3600;

/// Ask something of one device that speaks LwM2M.
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
    /// Show how a device stands, and what is known of its objects
    Show {
        /// The device's ID
        device: String,
    },
    /// Read an object, an instance or a resource
    Read(Target),
    /// Write a resource
    Write {
        #[command(flatten)]
        target: Target,
        /// The value: a number in decimals, a truth as 0 or 1, bytes in base64
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Execute a resource
    Exec {
        #[command(flatten)]
        target: Target,
        /// With which arguments, such as 0='x',1
        #[arg(allow_hyphen_values = true)]
        arguments: Option<String>,
    },
    /// Read, and have the device tell each change from then on
    Observe {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        follow: follow::FollowArgs,
    },
    /// Have a device no longer tell changes
    Ignore(Target),
    /// List what there is, without values
    Discover(Target),
    /// List a device's latest orders, with what came of them
    Orders {
        /// The device's ID
        device: String,
    },
}

/// What is asked about, and how long a device that sleeps is waited for.
#[derive(Debug, clap::Args)]
struct Target {
    /// The device's ID
    device: String,
    /// The path of an object, an instance or a resource, such as /3/0/9
    path: String,
    /// If the device sleeps, wait so long for what comes of it
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    wait: Option<u64>,
}

/// Runs the verb.
///
/// # Errors
/// [`Error`].
pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let client = args.connection.client()?;
    let ask = |operation, target| Ask { client: &client, format: args.format, operation, target };
    match &args.verb {
        Verb::Show { device } => show(&client, args.format, device),
        Verb::Read(target) => ask(Operation::Read, target).run(None, None),
        Verb::Write { target, value } => ask(Operation::Write, target).run(Some(value), None),
        Verb::Exec { target, arguments } => ask(Operation::Execute, target).run(None, arguments.as_deref()),
        Verb::Observe { target, follow } => ask(Operation::Observe, target).observe(follow),
        Verb::Ignore(target) => ask(Operation::Ignore, target).run(None, None),
        Verb::Discover(target) => ask(Operation::Discover, target).run(None, None),
        Verb::Orders { device } => orders(&client, args.format, device),
    }
}

/// How a device stands; `None` if it is not registered by LwM2M, or the server does not speak it.
///
/// # Errors
/// [`ClientError`].
pub fn standing(client: &Client, device: &str) -> Result<Option<Standing>, ClientError> {
    match client.get(&["devices", device, "lwm2m"], &[]) {
        Ok(standing) => Ok(Some(standing)),
        Err(ClientError::Refused { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn show(client: &Client, format: Format, device: &str) -> Result<ExitCode, Error> {
    let standing: Standing = client.get(&["devices", device, "lwm2m"], &[])?;
    if format.json {
        output::json(&standing)?;
    } else {
        section(device, &standing)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn orders(client: &Client, format: Format, device: &str) -> Result<ExitCode, Error> {
    let listing = Listing::<Order, 5> {
        path: &["devices", device, "lwm2m", "orders"],
        query: &[],
        limit: usize::MAX,
        headings: ["NUMBER", "WHEN", "BY", "ORDER", "OUTCOME"],
        row: |order| {
            [
                (&order.number).into(),
                (&when::ago(&order.at)).into(),
                (&order.by).into(),
                (&told::asked(order)).into(),
                (&told::summary(order.outcome.as_ref())).into(),
            ]
        },
        empty: "no orders",
    };
    listing.print(client, format)?;
    Ok(ExitCode::SUCCESS)
}

/// One operation on one device.
struct Ask<'a> {
    client: &'a Client,
    format: Format,
    operation: Operation,
    target: &'a Target,
}

impl Ask<'_> {
    /// Asks, waits if that is wanted, and prints what came of it.
    fn run(&self, value: Option<&str>, arguments: Option<&str>) -> Result<ExitCode, Error> {
        let placed = self.place(value, arguments)?;
        self.print(&placed)
    }

    fn observe(&self, args: &follow::FollowArgs) -> Result<ExitCode, Error> {
        let placed = self.place(None, None)?;
        let code = self.print(&placed)?;
        if args.follow && is_fine(&placed) {
            return follow::run(self.client, self.format, self.target, &placed, args);
        }
        if !self.format.json && matches!(placed.outcome, Some(Outcome::Content { .. })) {
            eprintln!("changes show in `updraft device show {}`; --follow prints them", self.target.device);
        }
        Ok(code)
    }

    fn place(&self, value: Option<&str>, arguments: Option<&str>) -> Result<Placed, Error> {
        let device = self.target.device.as_str();
        let place = Place {
            operation: self.operation,
            path: self.target.path(),
            value: value.map(ToOwned::to_owned),
            arguments: arguments.map(ToOwned::to_owned),
        };
        let mut placed: Placed = self.client.post(&["devices", device, "lwm2m", "orders"], &place)?;
        if let (true, Some(seconds)) = (placed.waits, self.target.wait) {
            if !self.format.json {
                eprintln!("{}", told::waits(device, placed.number));
            }
            let outcome = follow::outcome(self.client, device, placed.number, Duration::from_secs(seconds))?;
            placed.waits = outcome.is_none();
            placed.outcome = outcome;
        }
        Ok(placed)
    }

    fn print(&self, placed: &Placed) -> Result<ExitCode, Error> {
        let device = &self.target.device;
        match &placed.outcome {
            _ if self.format.json => output::json(placed)?,
            Some(outcome) => told::outcome(device, outcome)?,
            None => output::line(&told::waits(device, placed.number))?,
        }
        let waited_in_vain = placed.waits && self.target.wait.is_some();
        let is_done = is_fine(placed) && !waited_in_vain;
        Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Target {
    /// The path with the slash it begins with, which some shells make a folder of.
    fn path(&self) -> String {
        if self.path.starts_with('/') { self.path.clone() } else { format!("/{}", self.path) }
    }
}

/// Whether it was done, or may still be.
fn is_fine(placed: &Placed) -> bool {
    match &placed.outcome {
        None | Some(Outcome::Content { .. } | Outcome::Links { .. } | Outcome::Done) => true,
        Some(Outcome::Refused { .. } | Outcome::NoAnswer { .. }) => false,
    }
}
