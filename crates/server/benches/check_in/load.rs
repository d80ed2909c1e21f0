//! The load: keep-alive connections that send what is due when it is due.

use crate::Outcome as Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use updraft_server::protocols::http::serve::CHECK_IN_PATH;

/// Connections kept open.
const CONNECTIONS: usize = 64;
/// Largest answer expected, headers included.
const ANSWER_BYTES: usize = 8_192;

/// Where to send what, as whom.
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

/// How a run went.
pub(crate) struct Outcome {
    /// From when each request was due to its answer, sorted.
    latencies: Vec<Duration>,
}

impl Outcome {
    pub(crate) fn count(&self) -> usize {
        self.latencies.len()
    }

    pub(crate) fn latency_ms(&self, share: f64) -> f64 {
        let index = ((self.latencies.len() - 1) as f64 * share) as usize;
        self.latencies[index].as_secs_f64() * 1e3
    }
}

impl Load {
    /// Sends each body once, in order: `rate` per second, or as fast as the connections go.
    pub(crate) fn run(&self, bodies: &[Vec<u8>], rate: Option<u32>) -> Result<Outcome> {
        let head = format!(
            "POST {CHECK_IN_PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
            self.token
        );
        let requests: Arc<Vec<Vec<u8>>> = Arc::new(
            bodies
                .iter()
                .map(|body| {
                    let mut request = format!("{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
                    request.extend_from_slice(body);
                    request
                })
                .collect(),
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (next, address) = (Arc::new(AtomicUsize::new(0)), self.address);
        let mut latencies = runtime.block_on(async {
            let begun = Instant::now();
            let workers: Vec<_> = (0..CONNECTIONS)
                .map(|_| tokio::spawn(work(address, requests.clone(), next.clone(), rate, begun)))
                .collect();
            let mut latencies = Vec::with_capacity(requests.len());
            for worker in workers {
                latencies.extend(worker.await?.map_err(|error| error.to_string())?);
            }
            Ok::<_, Box<dyn std::error::Error>>(latencies)
        })?;
        latencies.sort_unstable();
        Ok(Outcome { latencies })
    }
}

async fn work(
    address: SocketAddr,
    requests: Arc<Vec<Vec<u8>>>,
    next: Arc<AtomicUsize>,
    rate: Option<u32>,
    begun: Instant,
) -> std::io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::new();
    let mut answer = vec![0; ANSWER_BYTES];
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(request) = requests.get(index) else { return Ok(latencies) };
        let due = match rate {
            Some(rate) => begun + Duration::from_secs_f64(index as f64 / f64::from(rate)),
            None => Instant::now(),
        };
        tokio::time::sleep_until(due.into()).await;
        stream.write_all(request).await?;
        read_answer(&mut stream, &mut answer).await?;
        latencies.push(due.elapsed());
    }
}

/// Reads one answer, which must be a success with a length.
async fn read_answer(stream: &mut TcpStream, answer: &mut [u8]) -> std::io::Result<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut answer[filled..]).await?;
        filled += read;
        let text = std::str::from_utf8(&answer[..filled]).map_err(std::io::Error::other)?;
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            if !head.starts_with("HTTP/1.1 200") {
                return Err(std::io::Error::other(text.to_owned()));
            }
            if body.len() >= length {
                return Ok(());
            }
        }
        if read == 0 {
            return Err(std::io::Error::other("the server closed the connection"));
        }
    }
}
