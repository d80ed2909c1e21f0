//! What is measured, in which order.

use crate::client::{self, Client, Door};
use crate::exchange::{self, Rounds};
use crate::fleet::{self, Question};
use crate::process::Process;
use crate::{Outcome, certificates};
use std::path::Path;
use std::time::Duration;
use updraft_server::pki;

/// Idle connections whose memory is measured: at first, and in all.
pub(crate) const FEW: u32 = 10_000;
pub(crate) const MANY: u32 = 19_000;
/// Connections with client certificates.
pub(crate) const WITH_TLS: u32 = 5_000;
/// Connections that ask at a time, of those that are there.
pub(crate) const ASKING: usize = 2_000;
/// How long they ask, and how often that is measured; the medians count.
const ASK_TIME: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
/// Until memory has settled.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// What one round trip, or one message, cost.
#[derive(Clone)]
pub(crate) struct Cost {
    pub(crate) what: &'static str,
    pub(crate) cpu_us: f64,
    /// Of the backend, where there is one.
    pub(crate) backend_us: f64,
    /// Round trips, or messages, per second.
    pub(crate) rate: f64,
}

/// A server without TLS.
pub(crate) struct Plain {
    /// Bytes per connection with few, and with many.
    pub(crate) memory: [f64; 2],
    pub(crate) asked: Vec<Cost>,
    pub(crate) sent: Cost,
}

/// A server with client certificates.
pub(crate) struct Tls {
    /// Bytes per connection.
    pub(crate) memory: f64,
    /// Full handshakes per second of its processor time.
    pub(crate) handshakes: f64,
}

pub(crate) struct Measured {
    pub(crate) mosquitto: Plain,
    pub(crate) bare: Plain,
    pub(crate) ours: Plain,
    pub(crate) mosquitto_tls: Tls,
    pub(crate) ours_tls: Tls,
}

pub(crate) async fn all() -> Outcome<Measured> {
    let folder = tempfile::tempdir()?;
    let with_task = tempfile::tempdir()?;
    fleet::seed(folder.path(), MANY, 0)?;
    fleet::seed(with_task.path(), u32::try_from(ASKING)?, u32::try_from(ASKING)?)?;
    // Made at the server's first start, which this is not.
    pki::open(folder.path(), &[], updraft_core::time::Timestamp::from_millis(1_700_000_000_000))?;
    let roots = [folder.path().join(pki::CA_FILE)];
    let configs = certificates::make(folder.path(), WITH_TLS, &[&roots[0]])?;
    let mosquitto = Process::start_mosquitto(folder.path())?;
    let backend = |mosquitto: &Process| Process::start_backend(mosquitto).map(Some);
    let mosquitto = carried(mosquitto, backend).await?;
    let bare = carried(Process::start_bare()?, |_| Ok(None)).await?;
    let mut ours = ours(folder.path()).await?;
    ours.asked.push(jobs(with_task.path()).await?);
    let tls = |address| Door { address, password: None, tls: Some(configs.clone()) };
    let process = Process::start_mosquitto(folder.path())?;
    let mosquitto_tls = with_tls(&process, &tls(process.tls)).await?;
    drop(process);
    let process = Process::start_ours(folder.path())?;
    let ours_tls = with_tls(&process, &tls(process.tls)).await?;
    Ok(Measured { mosquitto, bare, ours, mosquitto_tls, ours_tls })
}

/// What carries messages to a backend, or has one within that does as little.
async fn carried(
    mut process: Process,
    backend: impl Fn(&Process) -> Outcome<Option<Process>>,
) -> Outcome<Plain> {
    let filters = |number| vec![format!("down/{}", fleet::id(number)), format!("more/{}", fleet::id(number))];
    let door = Door { address: process.plain, password: None, tls: None };
    let (mut clients, memory) = idle(&process, &door, filters).await?;
    let mut backend = backend(&process)?;
    let asked = vec![ask(&process, backend.as_ref(), &mut clients, fleet::TO_BACKEND).await?];
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = spent(&process, backend.as_ref())?;
        let sender = backend.as_mut().unwrap_or(&mut process);
        let send = async { sender.send_to_each(FEW) };
        let time = exchange::hear(&mut clients, |id| format!("down/{id}"), send).await?;
        let after = spent(&process, backend.as_ref())?;
        rounds.push(cost("", before, after, &Rounds { count: FEW.into(), time }));
    }
    Ok(Plain { memory, asked, sent: median(rounds) })
}

/// The server, on a fleet with nothing to do.
async fn ours(folder: &Path) -> Outcome<Plain> {
    let process = Process::start_ours(folder)?;
    let (device, operator) = process.tokens(folder)?;
    let door = Door { address: process.plain, password: Some(device.into()), tls: None };
    let (mut clients, memory) = idle(&process, &door, fleet::filters).await?;
    let mut asked = Vec::new();
    for question in [fleet::JOBS, fleet::SHADOW, fleet::STATE] {
        client::subscribe(&mut clients[..ASKING], |number| vec![question.answer(number)]).await?;
        asked.push(ask(&process, None, &mut clients, question).await?);
    }
    let mut applications = exchange::applications(&door, &operator).await?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let before = spent(&process, None)?;
        let send = exchange::want(&mut applications, FEW, u32::try_from(round)?);
        let time = exchange::hear(&mut clients, |id| format!("state/{id}/update/delta"), send).await?;
        rounds.push(cost("", before, spent(&process, None)?, &Rounds { count: FEW.into(), time }));
    }
    Ok(Plain { memory, asked, sent: median(rounds) })
}

/// The server, with a job before each device.
async fn jobs(folder: &Path) -> Outcome<Cost> {
    let process = Process::start_ours(folder)?;
    let (device, _) = process.tokens(folder)?;
    let door = Door { address: process.plain, password: Some(device.into()), tls: None };
    let mut clients = client::connect(&door, 0..u32::try_from(ASKING)?).await?;
    exchange::ask_once(&mut clients, fleet::START).await?;
    ask(&process, None, &mut clients, fleet::JOB).await
}

/// Memory of idle connections, and those that stay.
async fn idle(
    process: &Process,
    door: &Door,
    filters: fn(u32) -> Vec<String>,
) -> Outcome<(Vec<Client>, [f64; 2])> {
    let before = process.resident_kib()?;
    let mut clients = Vec::new();
    let mut memory = [0.0; 2];
    for (memory, count) in memory.iter_mut().zip([FEW, MANY]) {
        let have = clients.len();
        clients.extend(client::connect(door, u32::try_from(have)?..count).await?);
        client::subscribe(&mut clients[have..], filters).await?;
        tokio::time::sleep(SETTLE_TIME).await;
        *memory = per_connection(before, process.resident_kib()?, count);
    }
    clients.truncate(FEW as usize);
    tokio::time::sleep(SETTLE_TIME).await;
    Ok((clients, memory))
}

fn per_connection(before_kib: u64, after_kib: u64, count: u32) -> f64 {
    (after_kib.saturating_sub(before_kib) * 1024) as f64 / f64::from(count)
}

async fn ask(
    process: &Process,
    backend: Option<&Process>,
    clients: &mut [Client],
    question: Question,
) -> Outcome<Cost> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = spent(process, backend)?;
        let ran = exchange::ask(&mut clients[..ASKING], question, ASK_TIME).await?;
        rounds.push(cost(question.name, before, spent(process, backend)?, &ran));
    }
    let cost = median(rounds);
    eprintln!("{}: {:.1} CPU-µs", cost.what, cost.cpu_us);
    Ok(cost)
}

/// Processor time of a server and its backend.
fn spent(process: &Process, backend: Option<&Process>) -> Outcome<[Duration; 2]> {
    let of_backend = backend.map(Process::cpu_time).transpose()?;
    Ok([process.cpu_time()?, of_backend.unwrap_or_default()])
}

fn cost(what: &'static str, before: [Duration; 2], after: [Duration; 2], ran: &Rounds) -> Cost {
    let each = |place: usize| (after[place] - before[place]).as_secs_f64() * 1e6 / ran.count as f64;
    Cost { what, cpu_us: each(0), backend_us: each(1), rate: ran.count as f64 / ran.time.as_secs_f64() }
}

fn median(mut rounds: Vec<Cost>) -> Cost {
    rounds.sort_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
    rounds.swap_remove(rounds.len() / 2)
}

async fn with_tls(process: &Process, door: &Door) -> Outcome<Tls> {
    let (before, spent) = (process.resident_kib()?, process.cpu_time()?);
    let mut clients = client::connect(door, 0..WITH_TLS).await?;
    let handshakes = f64::from(WITH_TLS) / (process.cpu_time()? - spent).as_secs_f64();
    client::subscribe(&mut clients, fleet::filters).await?;
    tokio::time::sleep(SETTLE_TIME).await;
    Ok(Tls { memory: per_connection(before, process.resident_kib()?, WITH_TLS), handshakes })
}
