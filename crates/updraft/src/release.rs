//! `updraft release`: add and look at releases.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use updraft_core::policy::Policy;
use updraft_wire::operator::release::Release;

use crate::connection::Connection;
use crate::error::Error;
use crate::output::{self, Format, Listing};
use crate::when;

/// Add and look at releases.
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
    /// Upload a file as a version of a product; the same again changes nothing
    Add(Add),
    /// List releases
    Ls {
        /// Only those of this product
        #[arg(long)]
        product: Option<String>,
    },
    /// Show one release
    Show {
        /// The product
        #[arg(long)]
        product: String,
        /// The version
        #[arg(long)]
        version: String,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The product
    #[arg(long)]
    product: String,
    /// The version, SemVer 2.0
    #[arg(long)]
    version: String,
    /// The file that devices install
    #[arg(long)]
    file: PathBuf,
    /// For which devices it is, for example: device.version < update.version && device.region == 'eu'
    #[arg(long, value_name = "EXPR")]
    policy: Option<String>,
    /// What the policy reads as update.KEY; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// What the file's SHA-256 must be: the upload is refused if it is another
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE, for example channel=beta")?;
    if key.is_empty() { Err("the key is empty".into()) } else { Ok((key.into(), value.into())) }
}

/// Runs the verb.
///
/// # Errors
/// [`Error`].
pub fn run(args: &Args) -> Result<ExitCode, Error> {
    match &args.verb {
        Verb::Add(add) => run_add(args, add),
        Verb::Ls { product } => list(args, product.as_deref()),
        Verb::Show { product, version } => {
            let path = ["products", product.as_str(), "releases", version.as_str()];
            show(args.format, &args.connection.client()?.get(&path, &[])?)
        }
    }
}

fn list(args: &Args, product: Option<&str>) -> Result<ExitCode, Error> {
    let query: Vec<_> = product.map(|product| ("product", product)).into_iter().collect();
    let listing = Listing::<Release, 6> {
        path: &["releases"],
        query: &query,
        limit: usize::MAX,
        headings: ["PRODUCT", "VERSION", "SIZE", "ADDED", "SHA-256", "POLICY"],
        row: |release| {
            [
                (&release.product).into(),
                (&release.version).into(),
                (&when::size(release.size)).into(),
                (&when::ago(&release.created)).into(),
                release.sha256.get(..12).unwrap_or(&release.sha256).into(),
                (&release.policy).into(),
            ]
        },
        empty: "no releases; add one with `updraft release add`",
    };
    listing.print(&args.connection.client()?, args.format)?;
    Ok(ExitCode::SUCCESS)
}

fn show(format: Format, release: &Release) -> Result<ExitCode, Error> {
    if format.json {
        output::json(release)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!("{} {}", release.product, release.version))?;
    output::line(&format!("  added    {} ({})", when::ago(&release.created), release.created))?;
    output::line(&format!("  size     {} ({} bytes)", when::size(release.size), release.size))?;
    output::line(&format!("  sha256   {}", release.sha256))?;
    output::line(&format!("  policy   {}", release.policy))?;
    for (name, value) in &release.attributes {
        output::line(&format!("  update.{name} = {value}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run_add(args: &Args, add: &Add) -> Result<ExitCode, Error> {
    if let Some(policy) = &add.policy {
        // The server checks it too; here it costs no connection.
        Policy::compile(policy)
            .map_err(|error| Error::Input(format!("the policy is not valid\n{}", error.render(policy))))?;
    }
    let failed = |source| Error::File { operation: "read", path: add.file.clone(), source };
    let file = File::open(&add.file).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::Input(format!("{} is not a file", add.file.display())));
    }
    let names: Vec<String> = add.meta.iter().map(|(key, _)| format!("meta.{key}")).collect();
    let mut query: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(add.meta.iter().map(|(_, value)| value.as_str())).collect();
    query.extend(add.policy.as_deref().map(|policy| ("policy", policy)));
    query.extend(add.sha256.as_deref().map(|sha256| ("sha256", sha256)));
    let client = args.connection.client()?;
    let mut upload = Upload { file, progress: Progress::new(&add.file, metadata.len()) };
    let path = ["products", add.product.as_str(), "releases", add.version.as_str()];
    let added = client.put::<Release>(&path, &query, &mut upload, metadata.len());
    upload.progress.end();
    let added = added?;
    if args.format.json {
        output::json(&added)?;
    } else {
        let Release { product, version, size, sha256, .. } = &added;
        output::line(&format!("added {product} {version}: {}, SHA-256 {sha256}", when::size(*size)))?;
        output::line(&format!(
            "bring it to the fleet with: updraft rollout start --product {product} --version {version}"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A file on its way to the server.
struct Upload {
    file: File,
    progress: Progress,
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}

/// How far an upload is, told on the standard error.
enum Progress {
    Bar(ProgressBar),
    /// A line per tenth, for files large enough to wait for.
    Lines {
        name: String,
        size: u64,
        sent: u64,
        told: u64,
    },
}

/// Smaller files are sent before a person would read a line about it.
const LINES_BYTES_MIN: u64 = 16 << 20;

impl Progress {
    fn new(path: &Path, size: u64) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !io::stderr().is_terminal() {
            return Self::Lines { name, size, sent: 0, told: 0 };
        }
        let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let style = ProgressStyle::with_template(style).expect("the template is fixed and valid");
        Self::Bar(ProgressBar::new(size).with_style(style).with_message(name))
    }

    fn advance(&mut self, count: u64) {
        match self {
            Self::Bar(bar) => bar.inc(count),
            Self::Lines { name, size, sent, told } => {
                *sent += count;
                let tenth = *sent * 10 / (*size).max(1);
                if *size >= LINES_BYTES_MIN && tenth > *told {
                    *told = tenth;
                    eprintln!("{name}: {} of {} sent", when::size(*sent), when::size(*size));
                }
            }
        }
    }

    fn end(&self) {
        match self {
            Self::Bar(bar) => bar.finish_and_clear(),
            Self::Lines { .. } => {}
        }
    }
}
