//! Staying until something comes: the outcome of an order that waits, and the changes of what is observed.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use updraft_wire::operator::Page;
use updraft_wire::operator::lwm2m::{Order, Outcome, Placed, Resource, Standing};

use super::{SECONDS_MAX, Target, told};
use crate::client::Client;
use crate::error::Error;
use crate::output::{self, Format};

/// Between two looks for the outcome of an order.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Whether to stay after an observation has begun, and for how long.
#[derive(Debug, clap::Args)]
pub(super) struct FollowArgs {
    /// Go on, and print each change
    #[arg(long)]
    pub(super) follow: bool,
    /// End after so many seconds
    #[arg(
        long = "for",
        requires = "follow",
        default_value_t = 3600,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX)
    )]
    time_s: u64,
    /// Seconds between two looks
    #[arg(
        long,
        requires = "follow",
        default_value_t = 1,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    interval: u64,
}

/// What came of an order that waits; `None` if nothing did in time.
///
/// # Errors
/// [`Error`]: the server cannot be asked, or the order is no longer kept.
pub(super) fn outcome(
    client: &Client,
    device: &str,
    number: u64,
    time: Duration,
) -> Result<Option<Outcome>, Error> {
    let end = Instant::now() + time;
    let after = number.saturating_sub(1).to_string();
    let query = [("after", after.as_str()), ("limit", "1")];
    loop {
        let page: Page<Order> = client.get(&["devices", device, "lwm2m", "orders"], &query)?;
        match page.items.into_iter().find(|order| order.number == number) {
            Some(Order { outcome: Some(outcome), .. }) => return Ok(Some(outcome)),
            Some(Order { outcome: None, .. }) => {}
            None => {
                return Err(Error::Input(format!(
                    "order {number} is no longer kept: too many came after it"
                )));
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        std::thread::sleep(LOOK_INTERVAL.min(left));
    }
}

/// Prints each change of what is observed, until the time is over.
///
/// # Errors
/// [`Error`]: the server cannot be asked, or the device is no longer registered.
pub(super) fn run(
    client: &Client,
    format: Format,
    target: &Target,
    placed: &Placed,
    args: &FollowArgs,
) -> Result<ExitCode, Error> {
    let end = Instant::now() + Duration::from_secs(args.time_s);
    let path = target.path();
    let look = || -> Result<Vec<Resource>, Error> {
        let standing: Standing = client.get(&["devices", &target.device, "lwm2m"], &[])?;
        Ok(standing.tree.into_iter().filter(|resource| is_within(&path, &resource.path)).collect())
    };
    let first = match &placed.outcome {
        Some(Outcome::Content { tree }) => tree.clone(),
        // It waits: what is known until then is no change.
        Some(Outcome::Links { .. } | Outcome::Done | Outcome::Refused { .. } | Outcome::NoAnswer { .. })
        | None => look()?,
    };
    let mut known: BTreeMap<String, Resource> =
        first.into_iter().map(|resource| (resource.path.clone(), resource)).collect();
    loop {
        for resource in look()? {
            if known.get(&resource.path) != Some(&resource) {
                if format.json {
                    output::json(&resource)?;
                } else {
                    output::line(&told::change(&resource))?;
                }
                known.insert(resource.path.clone(), resource);
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(Duration::from_secs(args.interval).min(left));
    }
}

/// Whether a path is another one, or within it.
fn is_within(outer: &str, path: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_within_itself_and_what_it_is_in_and_no_neighbour() {
        for (outer, path, expected) in [
            ("/3", "/3/0/9", true),
            ("/3/0", "/3/0/9", true),
            ("/3/0/9", "/3/0/9", true),
            ("/3/0/6", "/3/0/6/1", true),
            ("/3", "/33/0/9", false),
            ("/3/0/9", "/3/0/99", false),
            ("/3/0/9", "/3/0", false),
        ] {
            assert_eq!(is_within(outer, path), expected, "{outer} {path}");
        }
    }
}
