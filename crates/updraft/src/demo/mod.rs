//! `updraft demo`: simulated devices and real agents, over HTTP, MQTT and LwM2M, take two updates of one server before one's
//! eyes; on some of the agents the second version does not become healthy, and they come back on their old slot.
//!
//! Nothing is staged: the server and the agents are the shipped programs in processes of their own, on loopback, in a
//! temporary folder, and at the end the server's books are held against what the agents have on disk.

mod agents;
mod board;
mod carrier;
mod process;
mod server;
mod simulated;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use updraft_wire::operator::rollout::{Rollout, Status};

use crate::client::Client;
use crate::error::Error;
use agents::Agent;
use board::Board;
use carrier::Carrier;
use server::DemoServer;
use simulated::Simulated;

/// The product of the demonstration.
const PRODUCT: &str = "kiosk";
/// What every device runs at first, from the factory.
const FACTORY: &str = "0.9.0";
/// The update that goes well everywhere.
const FIRST: &str = "1.0.0";
/// The update that some agents cannot run.
const SECOND: &str = "1.1.0";
/// Most simulated devices: each downloads the image twice, on one machine.
const DEVICES_MAX: u32 = 2_000;
/// How long one rollout may take before the demonstration gives up, for this many devices and each further one.
const ROLLOUT_TIME: Duration = Duration::from_secs(240);
const ROLLOUT_TIME_PER_DEVICE: Duration = Duration::from_secs(2);
/// How often the board is drawn anew.
const LOOK_EVERY: Duration = Duration::from_millis(300);

const HELP: &str = "\
Shows a server on its embedded default, simulated devices, and ten real agents with A/B slots on disk: two check in over \
HTTP, two speak the state replica over MQTT, two AWS IoT Jobs over MQTT, four LwM2M, of which two fetch their images and \
two are sent them. One rollout brings 1.0.0 to all of them, a second \
one 1.1.0, which does not become healthy on one agent of each kind: it falls back by itself, and the server tells.
Without --exit the server stays up afterwards, to be looked at with the other verbs, until Ctrl-C.";

/// Options of `updraft demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// How many simulated devices, besides the agents
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=i64::from(DEVICES_MAX)))]
    devices: u32,
    /// How many percent of them speak MQTT
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    mqtt_share: u8,
    /// End after the summary; status 0 only if every device ended as it should
    #[arg(long)]
    exit: bool,
}

/// Runs the demonstration.
///
/// # Errors
/// If a part of it cannot be started, or does not go on.
pub fn run(args: Args) -> Result<ExitCode, Error> {
    let failed = |source| Error::Process { operation: "the demonstration", source };
    let runtime = tokio::runtime::Runtime::new().map_err(|error| failed(error.into()))?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    // A person who has seen enough leaves no process and no folder behind.
    runtime.spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            flag.store(true, Ordering::Release);
        }
    });
    Stage::new(args, interrupted).and_then(Stage::play).map_err(failed)
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Everything that runs. Dropping it stops the processes and removes the folder.
struct Stage {
    args: Args,
    interrupted: Arc<AtomicBool>,
    board: Board,
    agents: Vec<Agent>,
    simulated: Vec<Simulated>,
    server: DemoServer,
    image: PathBuf,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn new(args: Args, interrupted: Arc<AtomicBool>) -> Result<Self, Failure> {
        let board = Board::new();
        let agent_program = beside_this_program("updraft-agent")?;
        let folder = tempfile::Builder::new().prefix("updraft-demo-").tempdir()?;
        board.say(&format!("starting a server in {}", folder.path().display()));
        let server = DemoServer::start(folder.path())?;
        board.say(&format!(
            "devices connect to {}, {} and {}, operators to {}",
            server.device_url, server.mqtt_url, server.lwm2m_url, server.operator_url
        ));
        let token = server.product_token(PRODUCT)?;
        let agents = agents::start_all(folder.path(), &agent_program, &server, &token)?;
        let simulated = simulated::start_all(args.devices, args.mqtt_share, folder.path(), &server, &token)?;
        introduce(&board, &agents, &simulated);
        Ok(Self {
            args,
            interrupted,
            board,
            agents,
            simulated,
            server,
            image: agent_program,
            _folder: folder,
        })
    }

    fn play(mut self) -> Result<ExitCode, Failure> {
        let devices = u64::from(self.args.devices) + self.agents.len() as u64;
        self.wait_for_devices(devices)?;
        let first = self.bring(FIRST, "a first update, which goes well everywhere")?;
        self.watch(&first, devices)?;
        let second =
            self.bring(SECOND, "a second one, which does not become healthy on one agent of each kind")?;
        self.watch(&second, devices)?;
        let all_well = verdict::print(
            &self.board,
            &self.server.client,
            &self.agents,
            &self.simulated,
            [&first, &second],
        )?;
        if !self.args.exit {
            self.stay_up()?;
        }
        Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn check_interrupted(&self) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Acquire) { Err("it was interrupted".into()) } else { Ok(()) }
    }

    fn wait_for_devices(&mut self, count: u64) -> Result<(), Failure> {
        let deadline = Instant::now() + ROLLOUT_TIME;
        loop {
            self.check_interrupted()?;
            let known = self.server.devices_known()?;
            if known >= count {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("only {known} of {count} devices have checked in").into());
            }
            self.look_after_processes()?;
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Publishes a version and starts its rollout. Returns the rollout's ID.
    fn bring(&self, version: &str, what: &str) -> Result<String, Failure> {
        self.board.say("");
        self.board.say(&format!("{version}: {what}"));
        let image = image_of(&self.image, version)?;
        self.server.add_release(PRODUCT, version, &image)?;
        // The abort rule is off: the demonstration is about devices that fail, in a fleet as small as one likes.
        let start =
            json!({ "product": PRODUCT, "version": version, "in_flight_max": 12, "abort_percent": 101 });
        let rollout: Rollout = self.server.client.post(&["rollouts"], &start)?;
        self.board.say(&format!(
            "{version}: {} MB published, rollout {} started",
            image.len() / 1_000_000,
            rollout.id
        ));
        Ok(rollout.id)
    }

    /// Shows a rollout's progress until no device is due or under way.
    fn watch(&mut self, rollout: &str, devices: u64) -> Result<(), Failure> {
        let deadline = Instant::now()
            + ROLLOUT_TIME
            + ROLLOUT_TIME_PER_DEVICE * u32::try_from(devices).unwrap_or(u32::MAX);
        loop {
            self.check_interrupted()?;
            let status: Status = self.server.client.get(&["rollouts", rollout, "status"], &[])?;
            self.board.show(&status, devices);
            for agent in &mut self.agents {
                if let Some(news) = agent.news() {
                    self.board.say(&news);
                }
            }
            if status.settled && status.counts.values().sum::<u64>() >= devices {
                self.board.finish(&status, devices);
                return Ok(());
            }
            if status.state == "aborted" || Instant::now() >= deadline {
                let counts = serde_json::to_string(&status.counts)?;
                return Err(format!(
                    "rollout {rollout} did not end: it is {}, {counts}: {}",
                    status.state, status.why
                )
                .into());
            }
            self.look_after_processes()?;
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// A part that ended by itself is a fault, and its last words say why.
    fn look_after_processes(&mut self) -> Result<(), Failure> {
        self.server.process.check()?;
        self.simulated.iter_mut().try_for_each(|simulated| simulated.process.check())?;
        self.agents.iter_mut().try_for_each(|agent| agent.process.check())
    }

    fn stay_up(&mut self) -> Result<(), Failure> {
        self.board.say("");
        self.board.say("The server is up until Ctrl-C. In another terminal:");
        self.board.say(&format!(
            "  export UPDRAFT_URL={} UPDRAFT_DATA={}",
            self.server.operator_url,
            self.server.data.display()
        ));
        self.board.say("  updraft rollout ls");
        for agent in self.agents.iter().filter(|agent| agent.is_failing) {
            self.board.say(&format!("  updraft device explain {}", agent.id));
        }
        while !self.interrupted.load(Ordering::Acquire) {
            self.look_after_processes()?;
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// Says who takes part, and how they reach the server.
fn introduce(board: &Board, agents: &[Agent], simulated: &[Simulated]) {
    let count: u32 = simulated.iter().map(|simulated| simulated.count).sum();
    board.say(&format!("{count} simulated devices and {} real agents run {FACTORY}:", agents.len()));
    for simulated in simulated {
        board.say(&format!(
            "  {:22}  {}",
            format!("{} simulated", simulated.count),
            simulated.carrier.name()
        ));
    }
    for carrier in Carrier::ALL {
        let ids = agents.iter().filter(|agent| agent.carrier == carrier).map(|agent| agent.id);
        board.say(&format!("  {:22}  {}", ids.collect::<Vec<_>>().join(", "), carrier.name()));
    }
}

/// The image of a version: the agent's own program, told apart by its last line, which no loader of programs reads.
fn image_of(program: &Path, version: &str) -> Result<Vec<u8>, Failure> {
    let mut image = std::fs::read(program)?;
    image.extend_from_slice(format!("\n{PRODUCT} {version}\n").as_bytes());
    Ok(image)
}

/// A program of ours that is built or installed beside this one.
fn beside_this_program(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(format!("{} is not there; build it first: cargo build -p updraft -p updraft-agent", path.display())
        .into())
}

/// The number of devices the server knows, of any product.
fn count_devices(client: &Client) -> Result<u64, Failure> {
    let mut count = 0;
    client.pages(&["devices"], &[], |page: Vec<serde_json::Value>| {
        count += page.len() as u64;
        Ok::<_, crate::client::ClientError>(true)
    })?;
    Ok(count)
}
