//! What answers behind a broker: a raw client, with nothing to do but answer. And the endpoint with no more than that in it.

use crate::fleet::{PAYLOAD_BYTES, id};
use crate::wire::{self, Packet};
use crate::{Outcome, process};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use updraft_core::id::DeviceId;
use updraft_server::listen::{ListenLimits, Listener, bind, shutdown};
use updraft_server::protocols::mqtt::door::{
    Bus as _, Effects, Handler, Identity, Message, NotTaken, Occasion,
};
use updraft_server::protocols::mqtt::endpoint::{
    ConnectFacts, Endpoint, Gate, Limits, Mode, Refusal, Router,
};

/// The word that has a different message sent to each of so many devices.
pub(crate) const SEND: &str = "send";
/// Answers written in one go.
const OUT_BYTES: usize = 64 * 1024;

fn answer(turn: u32) -> Vec<u8> {
    let mut payload = format!("answer {turn} ").into_bytes();
    payload.resize(PAYLOAD_BYTES, b'x');
    payload
}

/// The backend: answers on `down/…` what comes on `up/…`, until its input ends.
pub(crate) async fn run(broker: SocketAddr) -> Outcome<()> {
    let mut stream = TcpStream::connect(broker).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&wire::connect("backend", None)).await?;
    stream.write_all(&wire::subscribe(1, &["up/+".to_owned()])).await?;
    let mut words = words();
    let (mut input, mut out, mut turn) = (Vec::with_capacity(OUT_BYTES), Vec::new(), 0_u32);
    let mut is_ready = false;
    loop {
        tokio::select! {
            read = stream.read_buf(&mut input) => if read? == 0 { return Err("the broker hung up".into()) },
            word = words.recv() => {
                let Some(count) = word else { return Ok(()) };
                for number in 0..count {
                    turn += 1;
                    publish(&mut out, turn, &format!("down/{}", id(number)));
                }
            }
        }
        let mut used = 0;
        while let Some((packet, length)) = wire::parse(&input[used..]) {
            used += length;
            match packet {
                Packet::Publish { topic, pid } => {
                    out.extend(pid.into_iter().flat_map(wire::puback));
                    turn += 1;
                    publish(&mut out, turn, &topic.replacen("up", "down", 1));
                }
                Packet::Suback(true) if !is_ready => {
                    is_ready = true;
                    println!("ready");
                }
                Packet::Suback(_) | Packet::Connack(_) | Packet::Puback(_) | Packet::Other => {}
            }
        }
        input.drain(..used);
        input.reserve(OUT_BYTES);
        stream.write_all(&out).await?;
        out.clear();
    }
}

fn publish(out: &mut Vec<u8>, turn: u32, topic: &str) {
    let pid = u16::try_from(turn % 60_000).expect("below 65,536") + 1;
    out.extend(wire::publish(pid, topic, &answer(turn)));
}

/// To how many devices something is to be sent, each time the parent says so; ends with the input.
fn words() -> mpsc::UnboundedReceiver<u32> {
    let (said, words) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let count = line.ok().and_then(|line| line.strip_prefix(SEND)?.trim().parse().ok());
            let Some(count) = count else { return };
            if said.send(count).is_err() {
                return;
            }
        }
    });
    words
}

/// Lets everyone in, and answers with as many bytes.
struct Bare;

impl Handler for Bare {
    async fn publish(&self, _: &Identity, topic: &str, _: Bytes) -> Result<Effects, NotTaken> {
        let topic = topic.replacen("up", "down", 1);
        let reply = Message { topic: topic.into(), payload: answer(0).into() };
        Ok(Effects { replies: vec![reply], published: Vec::new() })
    }

    async fn subscribed(&self, _: &Identity, _: &str, _: Occasion) -> Vec<Message> {
        Vec::new()
    }
}

fn device_in(topic: &str) -> Option<DeviceId> {
    topic.split_once('/')?.1.parse().ok()
}

impl Gate for Bare {
    async fn authenticate(&self, facts: ConnectFacts<'_>) -> Result<Identity, Refusal> {
        let id = facts.client_id.parse().map_err(|_| Refusal::NotAuthorized)?;
        Ok(Identity::Device { id, product: None })
    }

    fn may_publish(&self, who: &Identity, topic: &str) -> bool {
        self.may_subscribe(who, topic)
    }

    fn may_subscribe(&self, who: &Identity, filter: &str) -> bool {
        matches!(who, Identity::Device { id, .. } if device_in(filter).as_ref() == Some(id))
    }

    fn device_of(&self, topic: &str) -> Option<DeviceId> {
        device_in(topic)
    }
}

/// The endpoint alone, until its input ends.
pub(crate) async fn serve_bare() -> Outcome<()> {
    let router = Router::new(Arc::new(Bare), Limits::default(), None, Mode::Gateway)?;
    let endpoint = Endpoint::new(router, Arc::new(Bare));
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let limits = ListenLimits { connections_max: process::CONNECTIONS_MAX, ..ListenLimits::default() };
    let listener = Listener::new(bind(any_port, "bare").await?, None, limits);
    println!("{}", listener.local_addr()?);
    let (trigger, stop) = shutdown::shutdown();
    let serving = endpoint.clone();
    let beside = tokio::spawn(endpoint.clone().run());
    let listening = tokio::spawn(listener.serve_streams(
        move |stream, peer: updraft_server::listen::Peer| serving.serve_stream(stream, peer.address, None),
        stop,
    ));
    let mut words = words();
    let mut turn = 0;
    while let Some(count) = words.recv().await {
        for number in 0..count {
            turn += 1;
            let topic = format!("down/{}", id(number)).into();
            endpoint.router().publish(Message { topic, payload: answer(turn).into() });
        }
    }
    trigger.ask();
    endpoint.router().disconnect_all();
    beside.abort();
    listening.abort();
    Ok(())
}
