//! The servers, each a process of its own on one processor.

use crate::running::{self, Running};
use crate::{Outcome, cost, fleet};
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Child;
use std::time::Duration;
use updraft_server::auth::OPERATOR_TOKEN_FILE;
use updraft_server::config::Config;

/// How often it is looked whether a process rests, and how little of its time that is.
const REST_LOOK: Duration = Duration::from_millis(500);
const REST_COST: Duration = Duration::from_millis(20);
/// Looks that a process must have rested at, in a row.
const REST_LOOKS: u32 = 3;

/// The child: the server, until its input ends, which is when its parent ends.
pub(crate) async fn serve(folder: &Path, plain: u16, secured: u16) -> Outcome<()> {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let mut config = Config { data: Some(folder.to_owned()), ..Config::default() };
    config.device.listen = at(0);
    config.operator.listen = at(0);
    config.protocols.mqtt.enabled = false;
    config.protocols.lwm2m.listen = at(secured);
    config.protocols.lwm2m.plain_listen = Some(at(plain));
    running::serve(&config, |addresses| Some([addresses.lwm2m_plain?, addresses.lwm2m?])).await
}

/// A server that runs.
pub(crate) struct Process {
    running: Running,
    pub(crate) plain: SocketAddr,
    pub(crate) secured: SocketAddr,
    operator: Option<SocketAddr>,
}

impl Process {
    /// Updraft, in a data folder; at these ports, or at any.
    pub(crate) fn start_ours(folder: &Path, ports: (u16, u16)) -> Outcome<Self> {
        let path = folder.to_str().ok_or("the folder's name is no text")?;
        let ports = [ports.0, ports.1].map(|port| port.to_string());
        let (running, [plain, secured, operator]) =
            Running::start_server(&["--updraft", path, &ports[0], &ports[1]])?;
        Ok(Self { running, plain, secured, operator: Some(operator) })
    }

    /// Another program, which ends with this.
    pub(crate) fn of(child: Child, plain: SocketAddr, secured: SocketAddr) -> Self {
        Self { running: Running::of(child), plain, secured, operator: None }
    }

    /// Ends it in good order, and starts it again where it was.
    pub(crate) fn restart(self, folder: &Path) -> Outcome<Self> {
        let ports = (self.plain.port(), self.secured.port());
        drop(self);
        Self::start_ours(folder, ports)
    }

    /// Kills it, and starts it again.
    pub(crate) fn crash(mut self, folder: &Path) -> Outcome<Self> {
        self.running.child.kill()?;
        self.restart(folder)
    }

    /// Brings a version of the devices' product to all of them.
    pub(crate) fn roll_out(&self, folder: &Path, version: &str, image: &[u8]) -> Outcome<()> {
        let token = fs::read_to_string(folder.join(OPERATOR_TOKEN_FILE))?.trim().to_owned();
        let token = format!("Bearer {token}");
        let base = format!("http://{}/api/v1", self.operator.ok_or("no operator listener")?);
        let product = fleet::MODEL;
        ureq::put(&format!("{base}/products/{product}/releases/{version}"))
            .header("authorization", &token)
            .send(image)?;
        let plan = serde_json::json!({ "product": product, "version": version, "abort_percent": 101 });
        ureq::post(&format!("{base}/rollouts")).header("authorization", &token).send_json(plan)?;
        Ok(())
    }

    /// Its processor time once it rests: what is left to do of what was asked is part of the cost.
    pub(crate) async fn cpu_time(&self) -> Outcome<Duration> {
        let (mut before, mut rested) = (self.running.cpu_time()?, 0);
        while rested < REST_LOOKS {
            tokio::time::sleep(REST_LOOK).await;
            let after = self.running.cpu_time()?;
            rested = if after - before <= REST_COST { rested + 1 } else { 0 };
            before = after;
        }
        Ok(before)
    }

    pub(crate) fn id(&self) -> u32 {
        self.running.child.id()
    }

    pub(crate) fn resident_kib(&self) -> Outcome<u64> {
        self.running.resident_kib()
    }

    /// The most that was resident since [`Process::forget_peak`].
    pub(crate) fn peak_kib(&self) -> Outcome<u64> {
        cost::memory_kib(self.running.child.id(), "VmHWM")
    }

    /// Counts the most that is resident from here on (`proc(5)`, `clear_refs`).
    pub(crate) fn forget_peak(&self) -> Outcome<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.running.child.id()), "5")?)
    }
}

/// A port that nobody has at this moment.
pub(crate) fn free_port() -> Outcome<SocketAddr> {
    Ok(UdpSocket::bind(("127.0.0.1", 0))?.local_addr()?)
}
