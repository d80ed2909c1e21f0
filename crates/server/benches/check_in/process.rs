//! The two servers, each a process of its own: ours, and the bare endpoint on the same listener and router.

use crate::load::Outcome as Ran;
use crate::{Outcome, cost, fleet};
use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::post;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use updraft_server::config::Config;
use updraft_server::listen::{ListenLimits, Listener, bind, shutdown};
use updraft_server::protocols::http::serve::CHECK_IN_PATH;
use updraft_server::serve::Server;

/// Which server a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contract {
    Bare,
    Updraft,
}

impl Contract {
    pub(crate) fn named(text: &str) -> Option<Self> {
        [Self::Bare, Self::Updraft].into_iter().find(|contract| contract.name() == text)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "--bare",
            Self::Updraft => "--updraft",
        }
    }
}

/// The child: serves until its input ends, which is when its parent ends.
pub(crate) fn serve(contract: Contract, folder: &Path) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (trigger, stop) = shutdown::shutdown();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        trigger.ask();
    });
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    runtime.block_on(async {
        match contract {
            Contract::Bare => {
                let listener = Listener::new(bind(any_port, "bare").await?, None, ListenLimits::default());
                println!("{} -", listener.local_addr()?);
                listener.serve_router(Router::new().route(CHECK_IN_PATH, post(bare)), stop).await;
            }
            Contract::Updraft => {
                let mut config = Config { data: Some(folder.to_owned()), ..Config::default() };
                config.device.listen = any_port;
                config.device.plain_listen = Some(any_port);
                config.operator.listen = any_port;
                config.protocols.mqtt.listen = any_port;
                config.protocols.lwm2m.listen = any_port;
                let server = Server::open(&config).await?;
                let addresses = server.addresses();
                println!("{} {}", addresses.device_plain.ok_or("no plain listener")?, addresses.operator);
                server.serve(stop).await;
            }
        }
        Ok(())
    })
}

/// Parses the same body, and answers.
async fn bare(body: Bytes) -> ([(header::HeaderName, &'static str); 1], &'static str) {
    let check_in: Result<updraft_wire::CheckIn, _> = serde_json::from_slice(&body);
    std::hint::black_box(&check_in);
    ([(header::CONTENT_TYPE, "application/json")], "{}")
}

/// A running server.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    operator: Option<SocketAddr>,
    /// From the start of the process to the line that says it is ready.
    pub(crate) started_in: Duration,
}

impl Process {
    pub(crate) fn start(contract: Contract, folder: &Path) -> Outcome<Self> {
        let begun = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .arg(contract.name())
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let started_in = begun.elapsed();
        let (address, operator) = line.trim().split_once(' ').ok_or("the server did not start")?;
        Ok(Self { child, address: address.parse()?, operator: operator.parse().ok(), started_in })
    }

    /// A token for all devices of the fleet.
    pub(crate) fn token(&self, folder: &Path) -> Outcome<String> {
        let operator = std::fs::read_to_string(folder.join(updraft_server::auth::OPERATOR_TOKEN_FILE))?;
        let url = format!("http://{}/api/v1/tokens", self.operator.ok_or("no operator listener")?);
        let mut answer = ureq::post(&url)
            .header("authorization", format!("Bearer {}", operator.trim()))
            .send_json(serde_json::json!({ "product": fleet::PRODUCT }))?;
        let answer: serde_json::Value = answer.body_mut().read_json()?;
        Ok(answer["token"].as_str().ok_or("no token")?.to_owned())
    }

    /// Runs a load and tells what each request cost this process, in microseconds of CPU.
    pub(crate) fn cost(&self, load: impl FnOnce() -> Outcome<Ran>) -> Outcome<(f64, Ran)> {
        let before = cost::cpu_time(self.child.id())?;
        let ran = load()?;
        let spent = cost::cpu_time(self.child.id())?.saturating_sub(before);
        Ok((spent.as_secs_f64() * 1e6 / ran.count() as f64, ran))
    }

    pub(crate) fn resident_mib(&self) -> Outcome<u64> {
        Ok(cost::memory_kib(self.child.id(), "VmRSS")? / 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
