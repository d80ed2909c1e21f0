//! What the connections do: ask and be answered, and hear what is sent to all.

use crate::client::{Client, Door};
use crate::fleet::{PAYLOAD_BYTES, Question, id};
use crate::{Outcome, wire};
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _};
use std::time::{Duration, Instant};
use wire::Packet;

/// How many round trips there were in which time.
pub(crate) struct Rounds {
    pub(crate) count: u64,
    pub(crate) time: Duration,
}

/// Each client asks, waits for the answer, and asks again: one question under way from each.
pub(crate) async fn ask(clients: &mut [Client], question: Question, time: Duration) -> Outcome<Rounds> {
    let begun = Instant::now();
    let asking = clients.iter_mut().map(|client| ask_until(client, question, begun + time));
    let counts = try_join_unordered(asking).await?;
    Ok(Rounds { count: counts.into_iter().sum(), time: begun.elapsed() })
}

/// Each client asks once.
pub(crate) async fn ask_once(clients: &mut [Client], question: Question) -> Outcome<()> {
    ask(clients, question, Duration::ZERO).await.map(|_| ())
}

async fn try_join_unordered<T>(
    futures: impl Iterator<Item = impl Future<Output = std::io::Result<T>>>,
) -> Outcome<Vec<T>> {
    Ok(futures.collect::<FuturesUnordered<_>>().try_collect().await?)
}

async fn ask_until(client: &mut Client, question: Question, end: Instant) -> std::io::Result<u64> {
    let (topic, answer) = (question.topic(client.number), question.answer(client.number));
    let mut turn = 0;
    let mut out = Vec::new();
    loop {
        turn += 1;
        let pid = u16::try_from(turn % 60_000).expect("below 65,536") + 1;
        out.extend(wire::publish(pid, &topic, &question.payload(turn)));
        client.write(&out).await?;
        out.clear();
        let (mut is_taken, mut is_answered) = (false, false);
        while !(is_taken && is_answered) {
            match client.next().await? {
                Packet::Puback(taken) => is_taken |= taken == pid,
                Packet::Publish { topic, pid } => {
                    is_answered |= topic == answer;
                    if topic.ends_with("/rejected") {
                        return Err(std::io::Error::other(topic));
                    }
                    // Leaves with the next question.
                    out.extend(pid.into_iter().flat_map(wire::puback));
                }
                Packet::Connack(_) | Packet::Suback(_) | Packet::Other => {}
            }
        }
        if Instant::now() >= end {
            client.write(&out).await?;
            return Ok(turn);
        }
    }
}

/// From the word that something be sent to each until the last has it.
pub(crate) async fn hear(
    clients: &mut [Client],
    topic: fn(&str) -> String,
    send: impl Future<Output = Outcome<()>>,
) -> Outcome<Duration> {
    let begun = Instant::now();
    let hearing = try_join_unordered(clients.iter_mut().map(|client| hear_one(client, topic)));
    let (heard, sent) = tokio::join!(hearing, send);
    let last = heard?.into_iter().max().unwrap_or(begun);
    sent?;
    Ok(last - begun)
}

async fn hear_one(client: &mut Client, topic: fn(&str) -> String) -> std::io::Result<Instant> {
    let wanted = topic(&id(client.number));
    loop {
        if let Packet::Publish { topic, pid } = client.next().await? {
            let at = Instant::now();
            if let Some(pid) = pid {
                client.write(&wire::puback(pid)).await?;
            }
            if topic == wanted {
                return Ok(at);
            }
        }
    }
}

/// Connections of the application that sets desired state: each has 16 publishes worked on at a time.
const APPLICATIONS: u32 = 16;
/// Publishes of one application that wait for their acknowledgement.
const WINDOW: usize = 64;

/// Sets desired state of 300 bytes for each device, as an application.
pub(crate) async fn want(applications: &mut [Client], devices: u32, round: u32) -> Outcome<()> {
    let count = applications.len();
    let wanting = applications.iter_mut().enumerate().map(|(place, client)| async move {
        let mut numbers = (0..devices).skip(place).step_by(count).peekable();
        let mut waiting = 0;
        loop {
            let mut out = Vec::new();
            while waiting < WINDOW
                && let Some(number) = numbers.next()
            {
                let pid = u16::try_from(number % 60_000).expect("below 65,536") + 1;
                out.extend(wire::publish(
                    pid,
                    &format!("state/{}/update", id(number)),
                    &desired(number, round),
                ));
                waiting += 1;
            }
            if waiting == 0 {
                return std::io::Result::Ok(());
            }
            client.write(&out).await?;
            match client.next().await? {
                Packet::Puback(_) => waiting -= 1,
                Packet::Publish { pid: Some(pid), .. } => client.write(&wire::puback(pid)).await?,
                Packet::Publish { .. } | Packet::Connack(_) | Packet::Suback(_) | Packet::Other => {}
            }
        }
    });
    try_join_all(wanting).await?;
    Ok(())
}

fn desired(number: u32, round: u32) -> Vec<u8> {
    let mut payload = format!(r#"{{"state":{{"desired":{{"setting":"{number}-{round}-"#);
    while payload.len() < PAYLOAD_BYTES - 4 {
        payload.push('x');
    }
    payload.push_str(r#""}}}"#);
    payload.into_bytes()
}

/// The application's connections.
pub(crate) async fn applications(door: &Door, password: &str) -> Outcome<Vec<Client>> {
    let door = Door { password: Some(password.into()), ..door.clone() };
    let connecting = (0..APPLICATIONS).map(|number| {
        let door = door.clone();
        async move { Client::connect(&door, number, &format!("application-{number}")).await }
    });
    Ok(futures_util::stream::iter(connecting).buffered(4).try_collect().await?)
}
