//! One connection and the devices that share it.

use super::client::{Client, Target};
use super::device::{Device, Fetch, Next};
use super::{LoadConfig, LoadError, Tally};
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

/// How long a simulated device takes for each step after the download.
pub(super) const STEP_TIME: Duration = Duration::from_millis(400);
/// How long a device waits after an error before it comes again, and where the server names no time.
pub(super) const PAUSE: Duration = Duration::from_secs(5);
/// Errors described in the summary; all are counted.
const ERRORS_KEPT: usize = 5;

/// What all workers share.
pub(super) struct Common {
    pub(super) config: LoadConfig,
    pub(super) target: Target,
    pub(super) downloads: Semaphore,
    pub(super) end: Instant,
}

struct Fetched {
    place: usize,
    result: Result<u64, LoadError>,
}

/// One connection and its devices.
pub(super) struct Worker {
    common: Arc<Common>,
    client: Client,
    devices: Vec<Device>,
    /// Who is due when, the earliest first.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    tally: Tally,
    /// How far apart a device's check-ins are, if a rate was asked for.
    interval: Option<Duration>,
}

impl Worker {
    pub(super) fn new(
        common: Arc<Common>,
        devices: Vec<Device>,
        starts: impl Iterator<Item = Instant>,
        interval: Option<Duration>,
    ) -> Self {
        let client = Client::new(common.target.clone(), &common.config.token);
        let due = starts.zip(0..devices.len()).map(Reverse).collect();
        Self { common, client, devices, due, tally: Tally::default(), interval }
    }

    /// Lets the devices check in until the time is over.
    pub(super) async fn run(mut self) -> Tally {
        let (done, mut fetched) = mpsc::unbounded_channel();
        loop {
            let next = self.due.peek().map(|Reverse((due, _))| *due).unwrap_or(self.common.end);
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.common.end) => break,
                Some(fetched) = fetched.recv() => self.take_fetched(fetched),
                () = tokio::time::sleep_until(next), if !self.due.is_empty() => {
                    if let Some(Reverse((due, place))) = self.due.pop() {
                        self.check_in(due, place, &done).await;
                    }
                }
            }
        }
        for device in &self.devices {
            *self.tally.versions.entry(device.version().to_owned()).or_default() += 1;
        }
        self.tally
    }

    async fn check_in(&mut self, due: Instant, place: usize, done: &mpsc::UnboundedSender<Fetched>) {
        let device = &mut self.devices[place];
        let answer = self.client.post(device.path(), device.body()).await;
        // From when it was due, not from when there was time to send it: a slow server must not look fast.
        self.tally.latencies.push(due.elapsed());
        self.tally.check_ins += 1;
        let taken = answer.and_then(|answer| device.take(&answer).map_err(LoadError::Answer));
        let (next, wait_s) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                self.tally.error(&error);
                self.due.push(Reverse((Instant::now() + PAUSE, place)));
                return;
            }
        };
        let wait = match next {
            Next::Step => {
                device.step();
                STEP_TIME
            }
            Next::Wait => match (self.interval, wait_s) {
                (Some(interval), _) => interval.saturating_sub(due.elapsed()),
                (None, Some(wait_s)) => Duration::from_secs(wait_s).min(self.common.config.interval_max),
                (None, None) => self.common.config.interval_max,
            },
            Next::Fetch(fetch) => {
                self.tally.offers += 1;
                tokio::spawn(run_fetch(self.common.clone(), place, fetch, done.clone()));
                return;
            }
        };
        self.due.push(Reverse((Instant::now() + wait, place)));
    }

    fn take_fetched(&mut self, fetched: Fetched) {
        let is_sound = match fetched.result {
            Ok(bytes) => {
                self.tally.bytes += bytes;
                true
            }
            Err(error) => {
                self.tally.error(&error);
                false
            }
        };
        self.devices[fetched.place].fetched(is_sound);
        self.due.push(Reverse((Instant::now(), fetched.place)));
    }
}

async fn run_fetch(common: Arc<Common>, place: usize, fetch: Fetch, done: mpsc::UnboundedSender<Fetched>) {
    // A worker that has ended does not want the result.
    let _ = done.send(Fetched { place, result: download(&common, &fetch).await });
}

/// Reads a link to its end and checks length and digest, as a device must. Returns the number of bytes.
pub(super) async fn download(common: &Common, fetch: &Fetch) -> Result<u64, LoadError> {
    let _slot = common.downloads.acquire().await.expect("the semaphore is never closed");
    let mut client = Client::new(common.target.of_link(&fetch.url)?, "");
    let mut body = client.get(&fetch.url).await?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    while let Some(data) = next_data(&mut body).await? {
        bytes += data.len() as u64;
        hash.update(&data);
    }
    let is_sound =
        fetch.size.is_none_or(|size| size == bytes) && hex::encode(hash.finalize()) == fetch.sha256;
    if is_sound { Ok(bytes) } else { Err(LoadError::Unsound) }
}

async fn next_data(body: &mut Incoming) -> Result<Option<hyper::body::Bytes>, LoadError> {
    use http_body_util::BodyExt;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|error| LoadError::Exchange(error.into()))?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

impl Tally {
    pub(super) fn error(&mut self, error: &LoadError) {
        self.errors += 1;
        if self.error_texts.len() < ERRORS_KEPT {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            self.error_texts.push(text);
        }
    }
}
