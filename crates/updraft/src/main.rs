//! The `updraft` binary: the server, a demonstration, load, and the operator's verbs, which speak to a server over its
//! operator API.
//!
//! Here are only the list of verbs and what becomes of their errors; each verb has its file.

#![expect(unreachable_pub, reason = "a program has no outside; `pub` says what a module offers the others")]

mod backup;
mod client;
mod connection;
mod demo;
mod device;
mod doctor;
mod error;
mod lwm2m;
mod output;
mod policy;
mod release;
mod rollout;
mod serve;
mod sim;
mod table;
mod token;
mod when;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use error::Error;

const EXIT_CODES: &str = "\
Exit codes: 0 it was done; 1 it failed, or the answer is no; 2 the command line is wrong.
The verbs find the server by UPDRAFT_URL and are let in by UPDRAFT_TOKEN; without them they look for a server on
this machine, started in the same folder.";

/// Self-hosted over-the-air updates for device fleets.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 120, propagate_version = false)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Run the server
    Serve(serve::Args),
    /// Watch a small fleet take an update, from nothing, in a temporary folder
    Demo(demo::Args),
    /// Drive a server with simulated devices
    Sim(sim::Args),
    /// Add and look at releases
    Release(release::Args),
    /// Start, watch and steer rollouts
    Rollout(rollout::Args),
    /// Look at devices, and learn why one is not updated
    Device(device::Args),
    /// Ask something of one device that speaks LwM2M
    #[command(name = "lwm2m")]
    Lwm2m(lwm2m::Args),
    /// Try distribution policies
    Policy(policy::Args),
    /// Make and revoke tokens of devices, products and operators
    Token(token::Args),
    /// Save the server's data to a file, while it runs
    Backup(backup::BackupArgs),
    /// Unpack a backup into a new data folder, for a server that is not running
    Restore(backup::RestoreArgs),
    /// Look for faults, and say what to do about each
    Doctor(doctor::Args),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    match run(CommandLine::parse().verb) {
        Ok(code) => code,
        // The reader of a pipe has seen enough: `updraft device ls | head`.
        Err(Error::Output(cause)) if cause.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            error::report(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode, Error> {
    match verb {
        Verb::Serve(args) => serve::run(args),
        Verb::Demo(args) => demo::run(args),
        Verb::Sim(args) => sim::run(args),
        Verb::Release(args) => release::run(&args),
        Verb::Rollout(args) => rollout::run(&args),
        Verb::Device(args) => device::run(&args),
        Verb::Lwm2m(args) => lwm2m::run(&args),
        Verb::Policy(args) => policy::run(&args),
        Verb::Token(args) => token::run(&args),
        Verb::Backup(args) => backup::backup(&args),
        Verb::Restore(args) => backup::restore(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut CommandLine::command(), "updraft", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
