//! `updraft token`: who may speak to the server.

mod certificate;
mod psk;

use std::path::PathBuf;
use std::process::ExitCode;

use updraft_wire::operator::token::{Create, Created, Form, Shown, Token};

use certificate::Files;

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
    /// Make a token, a certificate, an access key or a pre-shared key; its secret is shown this once
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
    #[command(flatten)]
    form: FormArgs,
    /// How long it is good for, for example 90d; for ever if absent
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,
    /// With --certificate: a signing request (PKCS #10, PEM), if the device has its key already
    #[arg(long, value_name = "FILE", requires = "certificate")]
    csr: Option<PathBuf>,
    /// With --certificate: write ID.pem and ID.key into this folder instead of printing them
    #[arg(long, value_name = "DIR", requires = "certificate")]
    out: Option<PathBuf>,
    /// With --psk, for a device that has its key already: the identity the key goes by
    #[arg(long, value_name = "TEXT", requires_all = ["psk", "key_file"])]
    identity: Option<String>,
    /// With --identity: the file with the key, in hexadecimal digits
    #[arg(long, value_name = "FILE", requires = "identity")]
    key_file: Option<PathBuf>,
}

/// A token is a text, unless this says otherwise.
#[derive(Debug, clap::Args)]
#[group(multiple = false, id = "form")]
struct FormArgs {
    /// As a client certificate with its key, for a device that speaks MQTT
    #[arg(long, conflicts_with_all = ["product", "operator"])]
    certificate: bool,
    /// As an access key that signs requests (AWS Signature Version 4), for a device or an operator
    #[arg(long, conflicts_with = "product")]
    access_key: bool,
    /// As a pre-shared key with its identity, for a device that speaks `LwM2M`
    #[arg(long, conflicts_with_all = ["product", "operator"])]
    psk: bool,
}

impl FormArgs {
    fn form(&self) -> Form {
        match (self.certificate, self.access_key, self.psk) {
            (true, _, _) => Form::Certificate,
            (false, true, _) => Form::AccessKey,
            (false, false, true) => Form::Psk,
            (false, false, false) => Form::Text,
        }
    }
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
    match &args.verb {
        Verb::Create(create) => make(args, create)?,
        Verb::Ls => list(args)?,
        Verb::Revoke { ids } => {
            let client = args.connection.client()?;
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

fn make(args: &Args, create: &CreateArgs) -> Result<(), Error> {
    let files = create.out.as_deref().zip(create.subject.device.as_deref());
    let files =
        files.map(|(folder, device)| Files::open(folder, device, create.csr.is_none())).transpose()?;
    let body = Create {
        device: create.subject.device.clone(),
        product: create.subject.product.clone(),
        operator: create.subject.operator.clone(),
        form: create.form.form(),
        signing_request: create.csr.as_deref().map(certificate::read_request).transpose()?,
        identity: create.identity.clone(),
        key: create.key_file.as_deref().map(psk::read_key).transpose()?,
        expires_in: create.expires_in.clone(),
        note: create.note.clone(),
    };
    let created: Created = args.connection.client()?.post(&["tokens"], &body)?;
    let is_written = match (files, &created.shown) {
        (Some(files), Shown::Certificate { certificate, key }) => {
            files.write(certificate, key.as_deref())?;
            true
        }
        (_, Shown::Text { .. } | Shown::AccessKey { .. } | Shown::Psk { .. } | Shown::Nothing {})
        | (None, Shown::Certificate { .. }) => false,
    };
    if args.format.json {
        // A key that is in its file is not written a second time, to wherever the output goes.
        return if is_written { output::json(&created.listed) } else { output::json(&created) };
    }
    let Created { shown, listed } = &created;
    if matches!(shown, Shown::Nothing {}) {
        return output::line(&format!("{} is revoked with `updraft token revoke {}`", listed.id, listed.id));
    }
    eprintln!("keep it: it is not shown again, and revoked with `updraft token revoke {}`", listed.id);
    match shown {
        Shown::Certificate { .. } if is_written => Ok(()),
        Shown::Text { token } => output::line(token),
        Shown::Certificate { certificate, key } => {
            let text = format!("{certificate}{}", key.as_deref().unwrap_or_default());
            output::line(text.trim_end())
        }
        // In the form that a shell, and the tools of AWS, take from the environment.
        Shown::AccessKey { access_key_id, secret_access_key } => output::line(&format!(
            "AWS_ACCESS_KEY_ID={access_key_id}\nAWS_SECRET_ACCESS_KEY={secret_access_key}"
        )),
        Shown::Psk { key } => {
            let identity = listed.identity.as_deref().unwrap_or_default();
            output::line(&format!("PSK_IDENTITY={identity}\nPSK_KEY={key}"))
        }
        Shown::Nothing {} => Ok(()),
    }
}

fn list(args: &Args) -> Result<(), Error> {
    let listing = Listing::<Token, 7> {
        path: &["tokens"],
        query: &[],
        limit: usize::MAX,
        headings: ["ID", "KIND", "FORM", "FOR", "MADE", "ENDS", "NOTE"],
        row: |token| {
            let ends = match (&token.revoked, &token.expires) {
                (Some(revoked), _) => format!("revoked {}", when::ago(revoked)),
                (None, Some(expires)) => when::ago(expires),
                (None, None) => "never".to_owned(),
            };
            [
                (&token.id).into(),
                (&token.kind).into(),
                (&form(token.form)).into(),
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

fn form(form: Form) -> String {
    match form {
        Form::Text => "text",
        Form::Certificate => "certificate",
        Form::AccessKey => "access key",
        Form::Psk => "psk",
    }
    .to_owned()
}
