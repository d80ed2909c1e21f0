//! libcoap's client and server, as Debian has them.

use crate::process::{LOAD_CPU, free_port};
use crate::{Outcome, network};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where an image is kept on libcoap's server.
const PLACE: &str = "image";
/// The block size of both transfers.
const BLOCK: &str = "1024";
/// What libcoap's client is told to wait at most in all, in seconds: longer than any transfer, it would end one in its midst.
const WAIT_S: &str = "100000";
/// When a transfer is given up, in seconds: at a loss, libcoap 4.3.1's client sometimes asks for nothing more.
const STOOD_STILL_S: &str = "600";
/// How `timeout` ends when it gave something up.
const TIMED_OUT: i32 = 124;
/// How long its server may take to answer at first.
const START_TIME: Duration = Duration::from_secs(5);

/// libcoap's server; it ends when this is dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts one that holds an image.
    pub(crate) async fn start(image: &Path) -> Outcome<Self> {
        let address = free_port()?;
        let port = address.port().to_string();
        let mut command = Command::new("setpriv");
        // It ends with its parent, however that ends.
        command.args(["--pdeathsig", "KILL", "coap-server-notls"]);
        command.args(["-A", "127.0.0.1", "-p", &port, "-d", "8", "-v", "0"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.map_err(|_| "libcoap is not there; install it: apt-get install libcoap3-bin")?;
        let server = Self { child, address };
        let begun = Instant::now();
        while put(address, image).await.is_err() {
            if begun.elapsed() > START_TIME {
                return Err("libcoap's server did not take an image".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(server)
    }

    /// How long an image takes to this server over a bad network.
    pub(crate) async fn push(&self, image: &Path, loss_percent: u64, seed: u64) -> Outcome<Duration> {
        put(network::between(self.address, loss_percent, seed).await?, image).await
    }

    /// How long an image takes from this server over a bad network.
    pub(crate) async fn pull(&self, image: &Path, loss_percent: u64, seed: u64) -> Outcome<Duration> {
        let proxy = network::between(self.address, loss_percent, seed).await?;
        let into = image.with_extension(format!("{loss_percent}"));
        let name = into.to_str().ok_or("the folder's name is no text")?;
        let took = client(proxy, &["-m", "get", "-o", name, "-b", BLOCK]).await?;
        if std::fs::read(&into)? == std::fs::read(image)? {
            Ok(took)
        } else {
            Err("libcoap's client got other bytes".into())
        }
    }
}

async fn put(server: SocketAddr, image: &Path) -> Outcome<Duration> {
    client(server, &["-m", "put", "-b", BLOCK, "-f", image.to_str().ok_or("the folder's name is no text")?])
        .await
}

async fn client(server: SocketAddr, what: &[&str]) -> Outcome<Duration> {
    let mut command = Command::new("taskset");
    command.args(["-c", LOAD_CPU, "setpriv", "--pdeathsig", "TERM", "timeout", STOOD_STILL_S]);
    command.args(["coap-client-notls", "-B", WAIT_S]).args(what).arg(format!("coap://{server}/{PLACE}"));
    let begun = Instant::now();
    let output = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output()).await??;
    // It ends well whatever the answer was, but prints one that is no success.
    if output.status.success() && output.stderr.is_empty() {
        return Ok(begun.elapsed());
    }
    if output.status.code() == Some(TIMED_OUT) {
        return Err("stood still".into());
    }
    Err(format!("libcoap's client: {}", String::from_utf8_lossy(&output.stderr)).into())
}
