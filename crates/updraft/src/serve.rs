//! `updraft serve`: the server in the foreground, until it is told to stop.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;
use updraft_server::config::{Config, DATA_VARIABLE, DEFAULT_DATA};
use updraft_server::listen::shutdown::shutdown;
use updraft_server::serve::Server;

use crate::error::Error;

/// The environment variable that says what is logged.
const LOG_VARIABLE: &str = "UPDRAFT_LOG";

const HELP: &str = "\
Without a configuration file everything has a default: devices connect by TLS to port 8443, or by MQTT over TLS to
port 8883, operators to 127.0.0.1:8080, and the data folder is made on first start. It then holds `operator.token`, which the other verbs
use, and `ca.pem`, which devices need to trust the server.

Prints one line that begins with `ready` when it is. SIGTERM or Ctrl-C lets requests under way end first.
UPDRAFT_LOG says what is logged: error, warn, info (the default), debug.";

/// Options of `updraft serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// The configuration file, TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder
    #[arg(long, value_name = "DIR", env = DATA_VARIABLE, help = format!("The data folder [default: {DEFAULT_DATA}]"))]
    data: Option<PathBuf>,
}

/// Runs the server until it is told to stop.
///
/// # Errors
/// If it cannot start.
pub fn run(args: Args) -> Result<ExitCode, Error> {
    start_log();
    let failed = |source| Error::Process { operation: "the server", source };
    let mut config = match &args.config {
        Some(path) => Config::read(path).map_err(|error| failed(error.into()))?,
        None => Config::default(),
    };
    if args.data.is_some() {
        config.data = args.data;
    }
    raise_open_files();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| failed(error.into()))?;
    runtime.block_on(serve(&config)).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: &Config) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (trigger, stop) = shutdown();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping: requests under way may end");
        trigger.ask();
    });
    let server = Server::open(config).await?;
    let addresses = server.addresses();
    let mut line = format!("ready: devices https://{}", addresses.device);
    if let Some(plain) = addresses.device_plain {
        line.push_str(&format!(", without TLS http://{plain}"));
    }
    if let Some(mqtt) = addresses.mqtt {
        line.push_str(&format!(", MQTT mqtts://{mqtt}"));
    }
    if let Some(plain) = addresses.mqtt_plain {
        line.push_str(&format!(", without TLS mqtt://{plain}"));
    }
    if let Some(lwm2m) = addresses.lwm2m {
        line.push_str(&format!(", LwM2M coaps://{lwm2m}"));
    }
    if let Some(plain) = addresses.lwm2m_plain {
        line.push_str(&format!(", without security coap://{plain}"));
    }
    let mut stdout = std::io::stdout();
    // Nobody may be listening, which is no reason not to serve.
    let _ =
        writeln!(stdout, "{line}, operators http://{}, data {}", addresses.operator, config.data().display());
    let _ = stdout.flush();
    server.serve(stop).await;
    Ok(())
}

/// Takes as many open files as the system lets the process have: each connection is one, and the usual soft limit of 1,024 is
/// there for programs that cannot count further (select(2)).
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(error = &error as &dyn std::error::Error, "the limit of open files stays as it is");
    }
}

/// Log lines go to the standard error, with colours where a person reads them.
fn start_log() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .init();
}
