//! The `updraft-agent` binary: the library's agent behind four verbs.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use updraft_agent::agent::{Agent, AgentEvent, Handle};
use updraft_agent::config::{Config, Options};
use updraft_agent::session::sentence;
use updraft_agent::verbs;

/// Keeps this device up to date: checks in with an Updraft server, downloads, verifies, writes the inactive slot,
/// starts it on trial, confirms it or falls back.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the agent
    Run(Box<RunArgs>),
    /// Show what runs, what is in work, and what the server has yet to hear
    Status(StatusArgs),
    /// Confirm the version on trial: it stays
    Confirm(StateArgs),
    /// Follow the events of updates, as JSON lines
    Watch(StateArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// A TOML file with any of the options below, by the same names; options given here override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check in once, do what follows from it, and end when nothing is left to do
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
struct StateArgs {
    /// The agent's state folder
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The agent's slots folder, where it uses slots
    #[arg(long, value_name = "DIR")]
    slots: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    state: StateArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Exit status for a configuration that has to be changed before another try makes sense (EX_CONFIG of sysexits).
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Run(args) => run(*args),
        Verb::Status(args) => {
            verbs::status(&args.state.state, args.state.slots.as_deref(), args.json).map_err(fail)
        }
        Verb::Confirm(args) => verbs::confirm(&args.state, args.slots.as_deref()).map_err(fail),
        Verb::Watch(args) => verbs::watch(&args.state).map_err(fail),
    };
    result.err().unwrap_or(ExitCode::SUCCESS)
}

fn fail(error: impl std::error::Error) -> ExitCode {
    eprintln!("updraft-agent: {}", sentence(&error));
    ExitCode::FAILURE
}

fn run(args: RunArgs) -> Result<(), ExitCode> {
    let config = configuration(args.config, args.options).map_err(|error| {
        fail(error);
        ExitCode::from(EXIT_CONFIG)
    })?;
    let agent = Agent::new(config).map_err(fail)?.on_event(|event| match event {
        AgentEvent::Note(note) => eprintln!("updraft-agent: {note}"),
        // `watch` shows these; the log has a note for each.
        AgentEvent::Update(_) => {}
    });
    stop_on_signals(agent.handle()).map_err(fail)?;
    if args.once { agent.run_once().map_err(fail) } else { agent.run().map_err(fail) }
}

fn configuration(
    file: Option<PathBuf>,
    options: Options,
) -> Result<Config, updraft_agent::config::ConfigError> {
    let from_file = file.as_deref().map(Options::from_file).transpose()?.unwrap_or_default();
    options.or(from_file).check()
}

/// SIGTERM and SIGINT end the agent as it ends by itself: the application first.
fn stop_on_signals(handle: Handle) -> std::io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            handle.stop();
        }
    });
    Ok(())
}
