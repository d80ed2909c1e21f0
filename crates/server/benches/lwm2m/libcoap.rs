//! libcoap's client and server, as Debian has them.

use crate::Outcome;
use crate::network::{Proxy, Reached};
use crate::process::free_port;
use crate::running::LOAD_CPU;
use crate::transfer::{BLOCKS, Taken};
use std::io::Read as _;
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
/// When a transfer stands still: longer than a client that goes on waits for one block. At a loss, 4.3.1's client sometimes
/// asks for nothing more.
const STOOD_STILL: Duration = Duration::from_secs(120);
/// When a transfer is left that goes on, to be judged by how far it is.
const LEFT: Duration = Duration::from_secs(10 * 60);
/// How often it is looked how far a transfer is: what it adds to a time is little beside a round trip.
const LOOK: Duration = Duration::from_millis(10);
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

    /// How an image comes to this server over a bad network.
    pub(crate) async fn push(&self, image: &Path, loss_percent: u64, seed: u64) -> Outcome<Taken> {
        let proxy = Proxy::before(self.address, loss_percent, seed).await?;
        follow(client(proxy.address, &["-m", "put", "-f", name(image)?])?, Some(&proxy)).await
    }

    /// How an image comes from this server over a bad network.
    pub(crate) async fn pull(&self, image: &Path, loss_percent: u64, seed: u64) -> Outcome<Taken> {
        let proxy = Proxy::before(self.address, loss_percent, seed).await?;
        let into = image.with_extension(seed.to_string());
        let taken = follow(client(proxy.address, &["-m", "get", "-o", name(&into)?])?, Some(&proxy)).await?;
        if taken.is_whole() && std::fs::read(&into)? != std::fs::read(image)? {
            return Err("libcoap's client got other bytes".into());
        }
        Ok(taken)
    }
}

fn name(path: &Path) -> Outcome<&str> {
    Ok(path.to_str().ok_or("the folder's name is no text")?)
}

async fn put(server: SocketAddr, image: &Path) -> Outcome<Taken> {
    follow(client(server, &["-m", "put", "-f", name(image)?])?, None).await
}

fn client(server: SocketAddr, what: &[&str]) -> Outcome<Child> {
    let mut command = Command::new("taskset");
    command.args(["-c", LOAD_CPU, "setpriv", "--pdeathsig", "KILL", "coap-client-notls"]);
    command.args(["-B", WAIT_S, "-b", BLOCK]).args(what).arg(format!("coap://{server}/{PLACE}"));
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
}

/// Waits for a client, as long as it goes on.
async fn follow(mut child: Child, proxy: Option<&Proxy>) -> Outcome<Taken> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            let (time, mut said) = (begun.elapsed(), String::new());
            child.stderr.take().ok_or("no output")?.read_to_string(&mut said)?;
            // It ends well whatever came of it, but prints an answer that is no success.
            if !status.success() || !said.is_empty() {
                return Err(format!("libcoap's client: {said}").into());
            }
            let whole = Taken::whole(time);
            return Ok(proxy
                .map(Proxy::reached)
                .map_or(whole, |reached| given_up(begun, reached).unwrap_or(whole)));
        }
        if let Some(reached) = proxy.map(Proxy::reached)
            && (reached.at.elapsed() > STOOD_STILL || begun.elapsed() > LEFT)
        {
            child.kill()?;
            child.wait()?;
            return given_up(begun, reached).ok_or_else(|| "libcoap's client did not end".into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What had come of an image that is not whole. At a loss, 4.3.1's client ends a transfer 93 s after it began, and
/// says nothing.
fn given_up(begun: Instant, reached: Reached) -> Option<Taken> {
    let time = reached.at.saturating_duration_since(begun);
    (reached.blocks < BLOCKS).then_some(Taken { time, blocks: reached.blocks })
}
