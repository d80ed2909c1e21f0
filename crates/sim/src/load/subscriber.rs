//! One device over MQTT: it asks when the server hints, and in any case once in its interval.

use super::device::{Device, Next};
use super::mqtt::{Connection, WAIT_MAX};
use super::worker::{Common, PAUSE, STEP_TIME, download};
use super::{LoadError, Tally};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Lets a device live until the time is over, and makes its connection again whenever it is lost.
pub(super) async fn run(
    common: Arc<Common>,
    mut device: Device,
    start: Instant,
    interval: Option<Duration>,
) -> Tally {
    let mut tally = Tally::default();
    let wait = interval.unwrap_or(common.config.interval_max).min(WAIT_MAX);
    let life = async {
        tokio::time::sleep_until(start).await;
        loop {
            let Err(error) = live(&common, &mut device, &mut tally, wait).await;
            tally.error(&error);
            tokio::time::sleep(PAUSE).await;
        }
    };
    // It ends by the clock alone.
    let _: Result<(), _> = tokio::time::timeout_at(common.end, life).await;
    tally.versions.insert(device.version().to_owned(), 1);
    tally
}

/// One connection, from its making to its end.
async fn live(
    common: &Common,
    device: &mut Device,
    tally: &mut Tally,
    wait: Duration,
) -> Result<Infallible, LoadError> {
    let mut due = Instant::now();
    let mut connection = Connection::open(&common.target, device.id(), &common.config.token).await?;
    loop {
        let answer = connection.check_in(device.words()).await;
        tally.latencies.push(due.elapsed());
        tally.check_ins += 1;
        match device.take_native(answer?) {
            Next::Step => {
                device.step();
                tokio::time::sleep(STEP_TIME).await;
            }
            Next::Fetch(fetch) => {
                tally.offers += 1;
                let fetched = download(common, &fetch).await;
                device.fetched(fetched.is_ok());
                match fetched {
                    Ok(bytes) => tally.bytes += bytes,
                    Err(error) => tally.error(&error),
                }
            }
            Next::Wait => match tokio::time::timeout_at(due + wait, connection.hint()).await {
                Ok(hinted) => hinted?,
                Err(_) => {
                    due += wait;
                    continue;
                }
            },
        }
        due = Instant::now();
    }
}
