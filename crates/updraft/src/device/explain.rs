//! `updraft device explain`: why a device is or is not updated, in a few lines for the person who is asked.

use std::io;

use updraft_wire::operator::device::{Explanation, ReleaseExplanation};

use crate::error::Error;
use crate::output;
use crate::table::{Colours, Tone, printable};
use crate::when;

/// Releases told of without being asked for one: the newest are what people ask about.
const RELEASES_MAX: usize = 5;

/// Prints an explanation.
///
/// # Errors
/// [`Error::Output`].
pub(super) fn print(explanation: &Explanation) -> Result<(), Error> {
    let Explanation { device, product, version, summary, open, releases, .. } = explanation;
    output::line(&format!("{device} is a {product} on {}.", printable(version)))?;
    output::line(&printable(summary))?;
    if let Some(open) = open {
        output::line(&format!(
            "  attempt {} of rollout {} is {} since {}; silence ends it {}",
            open.attempt,
            open.rollout,
            open.state,
            when::ago(&open.since),
            when::ago(&open.deadline)
        ))?;
        if !open.detail.is_empty() {
            output::line(&format!("  {}", printable(&open.detail)))?;
        }
    }
    releases.iter().take(RELEASES_MAX).try_for_each(print_release)?;
    if releases.len() > RELEASES_MAX {
        output::line(&format!(
            "{} older releases are not shown; ask for one with --version",
            releases.len() - RELEASES_MAX
        ))?;
    }
    Ok(())
}

fn print_release(release: &ReleaseExplanation) -> Result<(), Error> {
    let colours = Colours::of(&io::stdout());
    let rollout = release.rollout.as_deref().map(|id| format!(" (rollout {id})")).unwrap_or_default();
    output::line(&format!("{}{rollout}", release.version))?;
    if release.obstacles.is_empty() {
        output::line(&format!("  {} nothing stands in the way", colours.paint(Tone::Good, "✓")))?;
    }
    for obstacle in &release.obstacles {
        let until =
            obstacle.until.as_deref().map(|time| format!(", {}", when::ago(time))).unwrap_or_default();
        // What the policy saw follows clause by clause.
        let text =
            if obstacle.code == "policy_unmatched" { "the policy does not match" } else { &obstacle.text };
        output::line(&format!("  {} {}{until}", colours.paint(Tone::Bad, "✗"), printable(text)))?;
    }
    if !release.policy.matches {
        for clause in &release.policy.clauses {
            output::line(&format!("      {}", crate::policy::told(clause, colours)))?;
        }
    }
    Ok(())
}
