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
const BLOCK_BYTES: usize = 1024;
/// After how much silence libcoap's client gives up: longer than it waits between two repetitions of its own, three lost in
/// a row included.
const SILENCE: Duration = Duration::from_secs(30);
/// How often a transfer that stands still is begun again where it was.
const STOPS_MAX: u32 = 200;
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

    /// How long an image takes from this server over a bad network, and how often it stood still: libcoap 4.3.1's client
    /// then asks for nothing more, so it is started again at the next block, and its silence is not counted.
    pub(crate) async fn pull(&self, image: &Path, loss_percent: u64, seed: u64) -> Outcome<(Duration, u32)> {
        let proxy = network::between(self.address, loss_percent, seed).await?;
        let into = image.with_extension(format!("{loss_percent}"));
        let name = into.to_str().ok_or("the folder's name is no text")?;
        let (expected, mut taken, mut took) = (std::fs::read(image)?, Vec::new(), Duration::ZERO);
        for stops in 0..STOPS_MAX {
            let block = format!("{},{BLOCK}", taken.len() / BLOCK_BYTES);
            let _ = std::fs::remove_file(&into);
            took += client(proxy, &["-m", "get", "-o", name, "-b", &block]).await?;
            taken.extend(std::fs::read(&into).unwrap_or_default());
            if taken.len() >= expected.len() {
                let is_whole = taken == expected;
                return if is_whole {
                    Ok((took, stops))
                } else {
                    Err("libcoap's client got other bytes".into())
                };
            }
            took = took.saturating_sub(SILENCE);
        }
        Err(format!("libcoap's client stood still {STOPS_MAX} times").into())
    }
}

async fn put(server: SocketAddr, image: &Path) -> Outcome<Duration> {
    client(server, &["-m", "put", "-b", BLOCK, "-f", image.to_str().ok_or("the folder's name is no text")?])
        .await
}

async fn client(server: SocketAddr, what: &[&str]) -> Outcome<Duration> {
    let mut command = Command::new("taskset");
    command.args(["-c", LOAD_CPU, "setpriv", "--pdeathsig", "KILL", "coap-client-notls"]);
    command.args(["-B", &SILENCE.as_secs().to_string()]).args(what).arg(format!("coap://{server}/{PLACE}"));
    let begun = Instant::now();
    let output = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output()).await??;
    // It ends well whatever the answer was, but prints one that is no success.
    if output.status.success() && output.stderr.is_empty() {
        return Ok(begun.elapsed());
    }
    Err(format!("libcoap's client: {}", String::from_utf8_lossy(&output.stderr)).into())
}
