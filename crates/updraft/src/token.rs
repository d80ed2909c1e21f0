//! `updraft token`: who may speak to the server.

use std::process::ExitCode;

use updraft_wire::operator::token::{Create, Created, Token};

use crate::connection::Connection;
use crate::error::Error;
use crate::output::{self, Format, Listing};
use crate::when;

/// Make and revoke tokens of devices, products and operators.
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
    /// Make a token; it is shown this once
    Create(CreateArgs),
    /// List tokens, without their secrets
    Ls,
    /// Revoke tokens, at once
    Revoke {
        /// Their IDs, as listed
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    #[command(flatten)]
    subject: Subject,
    /// How long it is good for, for example 90d; for ever if absent
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,
}

/// Exactly one of the three.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Subject {
    /// For one device
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// For any device of a product, for the factory
    #[arg(long, value_name = "PRODUCT")]
    product: Option<String>,
    /// For an operator
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// [`Error`].
pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let client = args.connection.client()?;
    match &args.verb {
        Verb::Create(create) => {
            let body = Create {
                device: create.subject.device.clone(),
                product: create.subject.product.clone(),
                operator: create.subject.operator.clone(),
                expires_in: create.expires_in.clone(),
                note: create.note.clone(),
            };
            let created: Created = client.post(&["tokens"], &body)?;
            if args.format.json {
                output::json(&created)?;
            } else {
                eprintln!(
                    "keep it: it is not shown again, and revoked with `updraft token revoke {}`",
                    created.listed.id
                );
                output::line(&created.token)?;
            }
        }
        Verb::Ls => list(args)?,
        Verb::Revoke { ids } => {
            let mut revoked = Vec::new();
            for id in ids {
                let token: Token = client.post(&["tokens", id, "revoke"], &serde_json::json!({}))?;
                if !args.format.json {
                    output::line(&format!("revoked {} of {} {}", token.id, token.kind, token.subject))?;
                }
                revoked.push(token);
            }
            if args.format.json {
                output::json(&revoked)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &Args) -> Result<(), Error> {
    let listing = Listing::<Token, 6> {
        path: &["tokens"],
        query: &[],
        limit: usize::MAX,
        headings: ["ID", "KIND", "FOR", "MADE", "ENDS", "NOTE"],
        row: |token| {
            let ends = match (&token.revoked, &token.expires) {
                (Some(revoked), _) => format!("revoked {}", when::ago(revoked)),
                (None, Some(expires)) => when::ago(expires),
                (None, None) => "never".to_owned(),
            };
            [
                (&token.id).into(),
                (&token.kind).into(),
                (&token.subject).into(),
                (&when::ago(&token.created)).into(),
                (&ends).into(),
                (&token.note).into(),
            ]
        },
        empty: "no tokens; make one with `updraft token create`",
    };
    listing.print(&args.connection.client()?, args.format)
}
