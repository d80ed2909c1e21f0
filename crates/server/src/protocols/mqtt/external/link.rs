//! Keeps a connection to the broker: makes it again whenever it is lost, and takes leave at the end.

use super::connection::{Connection, LinkError, Said};
use super::filter;
use super::hear::{self, Heard};
use super::lane::Lane;
use super::say::Up;
use super::{External, Unsubscribed};
use crate::listen::Shutdown;
use rumqttc::AsyncClient;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Publish;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

/// The pause after the first failure; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A connection that lasted so long was a good one: earlier failures are forgotten.
const STEADY_TIME: Duration = Duration::from_secs(30);
/// How long it takes at most to finish what was heard, and to say the answers, before leaving.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether all answers are said.
const LEAVE_INTERVAL: Duration = Duration::from_millis(20);

/// Keeps a connection until the shutdown is asked for. `worked` says when all that was heard is done, once `heard` is
/// dropped by all.
pub(super) async fn keep(
    external: &External,
    lane: &Lane,
    heard: mpsc::Sender<Heard>,
    worked: watch::Receiver<bool>,
    shutdown: Shutdown,
) {
    let (mut failures, mut number) = (0, 0);
    loop {
        let began = Instant::now();
        number += 1;
        let opened = tokio::select! {
            () = shutdown.asked() => return,
            opened = open(external, lane, &heard, number) => opened,
        };
        let lost = match opened {
            Err(lost) => lost,
            Ok((mut connection, filters)) => {
                let lost = tokio::select! {
                    () = shutdown.asked() => None,
                    lost = listen(&mut connection, &heard) => Some(lost),
                };
                let Some(lost) = lost else {
                    return leave(lane, connection, &filters, heard, worked).await;
                };
                Unsubscribed::Link(lost)
            }
        };
        lane.up.send_replace(None);
        failures = if began.elapsed() >= STEADY_TIME { 1 } else { failures + 1 };
        let pause = pause(failures, share());
        log(lane, &lost, pause);
        lane.set_trouble(Some(lost.to_string()));
        tokio::select! {
            () = shutdown.asked() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn log(lane: &Lane, lost: &Unsubscribed, pause: Duration) {
    let client_id = &lane.client_id;
    match lost {
        Unsubscribed::Link(error) => {
            let error = error as &dyn std::error::Error;
            tracing::warn!(client_id, error, ?pause, "no connection to the MQTT broker");
        }
        Unsubscribed::NotShared(why) => {
            tracing::error!(?pause, "shared = \"required\", but {why}: no device is heard by MQTT");
        }
    }
}

/// A connection on which devices are heard, and the filters that it subscribed to.
async fn open(
    external: &External,
    lane: &Lane,
    heard: &mpsc::Sender<Heard>,
    number: u64,
) -> Result<(Connection, Vec<String>), Unsubscribed> {
    let subscriptions = external.subscription().await?;
    let filters = filter::requests(&external.config, subscriptions, lane.place);
    let open = async {
        let mut connection = Connection::open(&external.config, &lane.client_id).await?;
        let take = |client: &AsyncClient, message| pass_on(heard, client, message);
        connection.subscribe(&filters, take).await?;
        Ok(connection)
    };
    let connection = open.await.map_err(Unsubscribed::Link)?;
    lane.set_trouble(None);
    lane.up.send_replace(Some(Up { client: connection.client.clone(), number }));
    tracing::info!(client_id = lane.client_id, ?subscriptions, "connected to the MQTT broker");
    Ok((connection, filters))
}

/// Passes on what is heard, until the connection is lost.
async fn listen(connection: &mut Connection, heard: &mpsc::Sender<Heard>) -> LinkError {
    loop {
        let passed = match connection.next().await {
            Ok(Said::Message(message)) => pass_on(heard, &connection.client, message),
            Ok(Said::Granted(_) | Said::Withdrawn) => Ok(()),
            Err(lost) => Err(lost),
        };
        if let Err(lost) = passed {
            return lost;
        }
    }
}

/// Never waits: answers to what waits here need the connection to be read.
fn pass_on(heard: &mpsc::Sender<Heard>, client: &AsyncClient, message: Publish) -> Result<(), LinkError> {
    let client = client.clone();
    match heard.try_send(Heard { client, message }) {
        Err(TrySendError::Full(lost)) if lost.message.qos != QoS::AtMostOnce => {
            Err(LinkError::Flooded(hear::WAITING_MAX))
        }
        // At QoS 0 a message may be lost; and where nobody works any more, the server ends.
        Ok(()) | Err(TrySendError::Full(_) | TrySendError::Closed(_)) => Ok(()),
    }
}

/// Takes leave: lets no more messages come, does what has come, and says all answers.
async fn leave(
    lane: &Lane,
    mut connection: Connection,
    filters: &[String],
    heard: mpsc::Sender<Heard>,
    mut worked: watch::Receiver<bool>,
) {
    let end = tokio::time::Instant::now() + LEAVE_TIME_MAX;
    let answers = connection.unsubscribe(filters);
    let finish = async {
        let mut withdrawn = 0;
        while withdrawn < answers {
            match connection.next().await? {
                Said::Message(message) => pass_on(&heard, &connection.client, message)?,
                Said::Granted(_) => {}
                Said::Withdrawn => withdrawn += 1,
            }
        }
        drop(heard);
        let said = async {
            // An error means that all is done as well.
            let _ = worked.wait_for(|done| *done).await;
            while lane.unsaid() > 0 {
                tokio::time::sleep(LEAVE_INTERVAL).await;
            }
        };
        let mut said = std::pin::pin!(said);
        loop {
            tokio::select! {
                () = &mut said => return Ok(()),
                // Read on: acknowledgements of what is said come here.
                next = connection.next() => { next?; }
            }
        }
    };
    match tokio::time::timeout_at(end, finish).await {
        Ok(Ok(())) => connection.close(LEAVE_TIME_MAX).await,
        Ok(Err::<(), LinkError>(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the MQTT broker was lost while taking leave of it");
        }
        Err(_) => tracing::warn!("the MQTT broker did not let the server finish in time"),
    }
}

/// The pause before the next attempt: doubled with each failure, and drawn from its second half, so that servers do not
/// come back together. `share` is between 0 and 1.
fn pause(failures: u32, share: f64) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(PAUSE_MAX).mul_f64(f64::midpoint(1.0, share.clamp(0.0, 1.0)))
}

/// A number between 0 and 1, drawn at random; without random numbers, servers come back together.
fn share() -> f64 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_or(1.0, |()| f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_differ_between_servers() {
        let pauses: Vec<_> = (1..=9).map(|failures| pause(failures, 1.0).as_millis()).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(pause(1, 0.0), Duration::from_millis(250));
        assert_eq!(pause(u32::MAX, 0.5), PAUSE_MAX.mul_f64(0.75));
        assert!((0.0..=1.0).contains(&share()));
    }
}
