//! Processes of a benchmark: what is measured runs on one processor, the load on the other, and none outlives its parent.

use crate::cost;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use updraft_server::config::Config;
use updraft_server::listen::shutdown;
use updraft_server::serve::{Addresses, Server};

/// Where what is measured runs, and where the load does.
pub(crate) const SERVER_CPU: &str = "0";
pub(crate) const LOAD_CPU: &str = "1";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Moves this process to the load's processor, and lets it open as many files as it may.
pub(crate) fn prepare() -> Outcome<()> {
    let pid = std::process::id().to_string();
    run(Command::new("taskset").args(["-a", "-p", "-c", LOAD_CPU, &pid]).stdout(Stdio::null()))?;
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line =
        limits.lines().find(|line| line.starts_with("Max open files")).ok_or("no limit of open files")?;
    let hard = line.split_whitespace().nth(4).ok_or("no hard limit of open files")?;
    run(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={hard}:{hard}")]))
}

fn run(command: &mut Command) -> Outcome<()> {
    let status = command.status().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if status.success() { Ok(()) } else { Err(format!("{:?}: {status}", command.get_program()).into()) }
}

/// The child: a server, until its input ends, which is when its parent ends. It says first where it listens: without
/// security, with it, and for operators.
pub(crate) async fn serve(
    config: &Config,
    listeners: impl FnOnce(&Addresses) -> Option<[SocketAddr; 2]>,
) -> Outcome<()> {
    let server = Server::open(config).await?;
    let addresses = server.addresses();
    let [plain, secured] = listeners(&addresses).ok_or("a listener is switched off")?;
    println!("{plain} {secured} {}", addresses.operator);
    let (trigger, stop) = shutdown::shutdown();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        trigger.ask();
    });
    server.serve(stop).await;
    Ok(())
}

/// A process that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// Of this program in another role: it ends when this ends.
    pub(crate) input: Option<ChildStdin>,
    _output: Option<BufReader<ChildStdout>>,
}

impl Running {
    /// This program again, in another of its roles, and the first line that it said.
    pub(crate) fn start_own(cpu: &str, arguments: &[&str]) -> Outcome<(Self, String)> {
        let mut command = Command::new("taskset");
        command.args(["-c", cpu]).arg(std::env::current_exe()?).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line.is_empty() {
            return Err("a process did not start".into());
        }
        Ok((Self { child, input, _output: Some(output) }, line.trim().to_owned()))
    }

    /// [`serve`] in a process of its own, and where it listens.
    pub(crate) fn start_server(arguments: &[&str]) -> Outcome<(Self, [SocketAddr; 3])> {
        let (running, line) = Self::start_own(SERVER_CPU, arguments)?;
        let addresses = line.split(' ').map(str::parse).collect::<Result<Vec<SocketAddr>, _>>()?;
        Ok((running, addresses.try_into().map_err(|_| "the server did not say where it listens")?))
    }

    /// Another program, which is killed when this is dropped.
    pub(crate) fn of(child: Child) -> Self {
        Self { child, input: None, _output: None }
    }

    pub(crate) fn cpu_time(&self) -> Outcome<Duration> {
        cost::cpu_time(self.child.id())
    }

    pub(crate) fn resident_kib(&self) -> Outcome<u64> {
        cost::memory_kib(self.child.id(), "VmRSS")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.input.take().is_none() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
