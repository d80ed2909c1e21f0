//! What is measured, in which order.

use crate::device::{self, Device, Known};
use crate::fleet::{self, Shown};
use crate::leshan::Leshan;
use crate::network::Proxy;
use crate::process::Process;
use crate::transfer::{IMAGE_BYTES, Taken, Taker, Way};
use crate::{Outcome, libcoap, table};
use futures_util::future::try_join_all;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

/// Devices without security.
pub(crate) const PLAIN: u32 = 100_000;
/// Devices with keys, and those that Leshan is given: each key is a request to it.
pub(crate) const SECURED: u32 = 15_000;
pub(crate) const SECURED_LESHAN: u32 = 3_000;
/// Devices that Leshan is warmed up with before it is measured, and the first of them.
const WARM: u32 = 20_000;
const WARM_SECURED: u32 = 2_000;
const WARM_FIRST: u32 = 200_000;
/// Losses each way, in percent, and how often an image is taken at one: where nothing is lost, all are alike.
const LOSSES: [u64; 3] = [0, 2, 5];
const TAKES: u32 = 3;
/// Devices pushed to at once, the images, and how much of them each takes before memory is read.
pub(crate) const PUSHED: u32 = 1_000;
pub(crate) const IMAGES_BYTES: [usize; 2] = [1 << 20, 16 << 20];
pub(crate) const TAKEN_BYTES: u64 = 512 * 1024;
/// The first device that takes an image.
const NUMBER_FIRST: u32 = 300_000;

/// What something cost that was done by many devices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) cpu_us: f64,
    /// How many a second of all processors' time, load and what waits included.
    pub(crate) rate: f64,
}

/// What one kind of device costs a server.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) handshake: Option<Cost>,
    pub(crate) register: Cost,
    pub(crate) update: Cost,
    /// Bytes per device.
    pub(crate) memory: f64,
}

/// Devices with keys, and what they cost asleep.
pub(crate) struct Secured {
    pub(crate) awake: Work,
    /// Bytes per device after a restart: no session has been used since.
    pub(crate) asleep: f64,
    /// Bytes per device after a crash: registered, without a session.
    pub(crate) unconnected: f64,
    /// An update that wakes a session.
    pub(crate) wake: Cost,
    /// Bytes per session awake without a registration.
    pub(crate) session: f64,
}

/// Measures the parts that are named, or all.
pub(crate) async fn all(parts: &[&str]) -> Outcome<()> {
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    if wanted("work") {
        let bare = ours(Shown::Nothing).await?;
        let whole = ours(Shown::All).await?;
        let folder = tempfile::tempdir()?;
        let leshan = Leshan::start(folder.path())?;
        registered(&leshan.process, leshan.process.plain, WARM_FIRST..WARM_FIRST + WARM, Shown::Nothing, 0)
            .await?;
        let numbers = 0..PLAIN;
        let leshan = registered(&leshan.process, leshan.process.plain, numbers, Shown::Nothing, 0).await?;
        table::plain(&bare, &whole, &leshan);
    }
    if wanted("secured") {
        let ours = secured().await?;
        table::memory(&ours);
        table::secured(&ours, &secured_leshan().await?);
    }
    if wanted("pushed") {
        let mut grown = Vec::new();
        for bytes in IMAGES_BYTES {
            grown.push(pushed(bytes).await?);
        }
        table::pushed(&grown);
    }
    if wanted("transfer") {
        table::transfers(&LocalSet::new().run_until(transfers()).await?);
    }
    Ok(())
}

/// What `count` of something cost a process from one moment to another.
struct Meter<'a> {
    process: &'a Process,
    cpu: Duration,
    begun: Instant,
}

impl<'a> Meter<'a> {
    async fn start(process: &'a Process) -> Outcome<Self> {
        let cpu = process.cpu_time().await?;
        Ok(Self { process, cpu, begun: Instant::now() })
    }

    async fn stop(self, count: u32) -> Outcome<Cost> {
        let wall = self.begun.elapsed();
        let cpu = self.process.cpu_time().await? - self.cpu;
        Ok(Cost {
            cpu_us: cpu.as_secs_f64() * 1e6 / f64::from(count),
            rate: f64::from(count) / wall.as_secs_f64(),
        })
    }
}

async fn ours(shown: Shown) -> Outcome<Work> {
    let folder = tempfile::tempdir()?;
    let process = Process::start_ours(folder.path(), (0, 0))?;
    registered(&process, process.plain, 0..PLAIN, shown, shown.reads()).await
}

/// Has devices without security register, then update.
async fn registered(
    process: &Process,
    server: SocketAddr,
    numbers: Range<u32>,
    shown: Shown,
    reads: u32,
) -> Outcome<Work> {
    let count = numbers.end - numbers.start;
    let meter = Meter::start(process).await?;
    let before = process.resident_kib()?;
    let known = device::make_each(numbers, async |number| {
        let mut device = Device::open(number, server).await?;
        device.register(shown, reads).await?;
        Ok(device.close())
    })
    .await?;
    let register = meter.stop(count).await?;
    let memory = grown(before, process.resident_kib()?, count);
    let meter = Meter::start(process).await?;
    device::with_each(known, async |known: Known| {
        let mut device = Device::reopen(&known, server).await?;
        device.update().await?;
        Ok(device.close())
    })
    .await?;
    let update = meter.stop(count).await?;
    Ok(Work { handshake: None, register, update, memory })
}

fn grown(before_kib: u64, after_kib: u64, count: u32) -> f64 {
    after_kib.saturating_sub(before_kib) as f64 * 1024.0 / f64::from(count)
}

/// Has devices with keys shake hands, register and update; also gives the bytes per session before they registered.
async fn with_keys(
    process: &Process,
    numbers: Range<u32>,
    shown: Shown,
    reads: u32,
) -> Outcome<(Work, f64, Vec<Device>)> {
    let (count, server) = (numbers.end - numbers.start, process.secured);
    let meter = Meter::start(process).await?;
    let before = process.resident_kib()?;
    let devices = device::make_each(numbers, async |number| {
        let mut device = Device::open(number, server).await?;
        device.connect().await?;
        Ok(device)
    })
    .await?;
    let handshake = Some(meter.stop(count).await?);
    let session = grown(before, process.resident_kib()?, count);
    let meter = Meter::start(process).await?;
    let devices = device::with_each(devices, async |mut device: Device| {
        device.register(shown, reads).await?;
        Ok(device)
    })
    .await?;
    let register = meter.stop(count).await?;
    let memory = grown(before, process.resident_kib()?, count);
    let (update, devices) = updated(process, devices).await?;
    Ok((Work { handshake, register, update, memory }, session, devices))
}

async fn updated(process: &Process, devices: Vec<Device>) -> Outcome<(Cost, Vec<Device>)> {
    let count = u32::try_from(devices.len())?;
    let meter = Meter::start(process).await?;
    let devices = device::with_each(devices, async |mut device: Device| {
        device.update().await?;
        Ok(device)
    })
    .await?;
    Ok((meter.stop(count).await?, devices))
}

async fn secured() -> Outcome<Secured> {
    let folder = tempfile::tempdir()?;
    fleet::seed(folder.path(), SECURED)?;
    let process = Process::start_ours(folder.path(), (0, 0))?;
    let fresh = process.resident_kib()?;
    let (awake, session, devices) = with_keys(&process, 0..SECURED, Shown::All, Shown::All.reads()).await?;
    let process = process.restart(folder.path())?;
    process.cpu_time().await?;
    let asleep = grown(fresh, process.resident_kib()?, SECURED);
    let (wake, _devices) = updated(&process, devices).await?;
    let process = process.crash(folder.path())?;
    process.cpu_time().await?;
    let unconnected = grown(fresh, process.resident_kib()?, SECURED);
    Ok(Secured { awake, asleep, unconnected, wake, session })
}

async fn secured_leshan() -> Outcome<Work> {
    let folder = tempfile::tempdir()?;
    let leshan = Leshan::start(folder.path())?;
    let warm = WARM_FIRST..WARM_FIRST + WARM_SECURED;
    leshan.add_keys(0..SECURED_LESHAN)?;
    leshan.add_keys(warm.clone())?;
    drop(with_keys(&leshan.process, warm, Shown::All, 0).await?);
    Ok(with_keys(&leshan.process, 0..SECURED_LESHAN, Shown::All, 0).await?.0)
}

fn image(bytes: usize) -> Outcome<Vec<u8>> {
    let mut image = vec![0; bytes];
    getrandom::fill(&mut image)?;
    Ok(image)
}

/// What many pushes at once had a server grow by at most, in KiB, and how many blocks left a second.
pub(crate) struct Pushed {
    pub(crate) grown_kib: u64,
    pub(crate) blocks_per_s: f64,
    /// Per block.
    pub(crate) cpu_us: f64,
}

async fn pushed(bytes: usize) -> Outcome<Pushed> {
    let folder = tempfile::tempdir()?;
    let process = Process::start_ours(folder.path(), (0, 0))?;
    let making =
        (NUMBER_FIRST..NUMBER_FIRST + PUSHED).map(|number| Taker::new(number, process.plain, Way::Push));
    let takers = try_join_all(making).await?;
    let registering = takers.into_iter().map(|taker| taker.until(|taker| taker.is_registered.get()));
    let takers = try_join_all(registering).await?;
    let image = image(bytes)?;
    let begun = Instant::now();
    process.roll_out(folder.path(), "2.0.0", &image)?;
    process.forget_peak()?;
    let before = process.resident_kib()?;
    let cpu = crate::cost::cpu_time(process.id())?;
    let taking = takers.into_iter().map(|taker| taker.until(|taker| taker.bytes() >= TAKEN_BYTES));
    let takers = try_join_all(taking).await?;
    let wall = begun.elapsed();
    let cpu = crate::cost::cpu_time(process.id())? - cpu;
    let blocks = takers.iter().map(Taker::bytes).sum::<u64>() as f64 / 1024.0;
    Ok(Pushed {
        grown_kib: process.peak_kib()?.saturating_sub(before),
        blocks_per_s: blocks / wall.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / blocks,
    })
}

/// How an image was taken, some times, one way at one loss.
pub(crate) struct Transfer {
    pub(crate) way: Way,
    pub(crate) loss_percent: u64,
    pub(crate) ours: Vec<Taken>,
    pub(crate) libcoap: Vec<Taken>,
}

/// All transfers at once: each sends some twenty datagrams a second, and waits.
async fn transfers() -> Outcome<Vec<Transfer>> {
    let folder = tempfile::tempdir()?;
    let image = image(IMAGE_BYTES)?;
    let file = folder.path().join("image");
    std::fs::write(&file, &image)?;
    let process = Process::start_ours(folder.path(), (0, 0))?;
    process.roll_out(folder.path(), "2.0.0", &image)?;
    let cases: Vec<_> =
        [Way::Push, Way::Pull].into_iter().flat_map(|way| LOSSES.map(|loss| (way, loss))).collect();
    let measuring = cases.iter().zip((NUMBER_FIRST + PUSHED..).step_by(TAKES as usize)).map(
        async |((way, loss), first)| {
            let numbers = first..first + if *loss == 0 { 1 } else { TAKES };
            let libcoap = numbers.clone().map(async |number| {
                let server = libcoap::Server::start(&file).await?;
                match way {
                    Way::Push => server.push(&file, *loss, number.into()).await,
                    Way::Pull => server.pull(&file, *loss, number.into()).await,
                }
            });
            let ours = numbers.map(|number| taken(process.plain, number, *way, *loss));
            let (ours, libcoap) = tokio::try_join!(try_join_all(ours), try_join_all(libcoap))?;
            Ok(Transfer { way: *way, loss_percent: *loss, ours, libcoap })
        },
    );
    try_join_all(measuring).await
}

async fn taken(server: SocketAddr, number: u32, way: Way, loss_percent: u64) -> Outcome<Taken> {
    let proxy = Proxy::before(server, loss_percent, number.into()).await?;
    let taker = Taker::new(number, proxy.address, way).await?.until(|taker| taker.taken().is_some()).await?;
    taker.taken().ok_or_else(|| "it took no image".into())
}
