//! What the store costs with a million devices: opening, loading, saving. `cargo bench --bench store [-- DEVICES]`.

use std::hint::black_box;
use std::time::{Duration, Instant};
use updraft_core::attributes::Attributes;
use updraft_core::device::Device;
use updraft_core::id::DeviceId;
use updraft_core::store::{Changes, Store};
use updraft_core::time::Timestamp;
use updraft_server::store::{Database, SqliteStore};

/// Devices when none are asked for.
const DEVICES: usize = 1_000_000;
/// Devices saved together while the database is filled.
const FILL_BATCH: usize = 10_000;
/// How long each figure is measured.
const MEASURE: Duration = Duration::from_secs(3);

fn id(index: usize) -> DeviceId {
    format!("DEV{index:07}").parse().expect("a device ID")
}

/// A device with a document of some 400 bytes, as `round` leaves it.
fn device(index: usize, round: u64) -> Device {
    let mut attributes = Attributes::new();
    let texts = [
        ("id", format!("DEV{index:07}")),
        ("product", "thermostat".to_owned()),
        ("version", "1.0.0".to_owned()),
        ("hardware.board", "rev-c".to_owned()),
        ("hardware.serial", format!("SN-{:016x}", index * 7_919)),
        ("region", ["eu-west", "eu-north", "us-east", "ap-south"][index % 4].to_owned()),
        ("site", format!("building-{}", index % 5_000)),
        ("network.carrier", "example telecom".to_owned()),
        ("network.address", format!("10.{}.{}.{}", index >> 16 & 255, index >> 8 & 255, index & 255)),
        ("channel", "stable".to_owned()),
        ("uptime", round.to_string()),
    ];
    for (name, value) in texts {
        attributes.insert(name, value).expect("an attribute within limits");
    }
    Device {
        id: id(index),
        product: "thermostat".parse().expect("a product name"),
        version: "1.0.0".to_owned(),
        boot: round,
        attributes,
        first_seen: Timestamp::from_millis(1),
        changed: Timestamp::from_millis(2),
    }
}

/// Devices in an order without pattern, without end (SplitMix64, public domain).
fn indexes(devices: usize) -> impl Iterator<Item = usize> {
    (1_u64..).map(move |step| {
        let mut mixed = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % devices
    })
}

fn main() {
    let devices = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(DEVICES);
    let folder = tempfile::tempdir().expect("a folder");
    let begin = Instant::now();
    {
        let mut store = Database::open(folder.path()).expect("a database").fleet().expect("a store");
        for start in (0..devices).step_by(FILL_BATCH) {
            let batch = (start..devices.min(start + FILL_BATCH)).map(|index| device(index, 1)).collect();
            store.save(&Changes { devices: batch, ..Changes::default() }).expect("the devices are saved");
        }
    }
    let filled = begin.elapsed();
    println!("{devices} devices, first report, batches of {FILL_BATCH}: {:.1} s", filled.as_secs_f64());

    let begin = Instant::now();
    let database = Database::open(folder.path()).expect("a database");
    let mut store = database.fleet().expect("a store");
    black_box(store.last_seen().expect("the times"));
    black_box((store.catalogue().expect("a catalogue"), store.tallies().expect("tallies")));
    println!("open, last-seen times, catalogue, tallies: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    println!("{:<44} {:>12} {:>14} {:>14}", "", "devices / s", "us / device", "CPU us each");
    for batch in [1, 64, 1024] {
        measure(&format!("load, batches of {batch}"), batch, devices, |ids, _| {
            black_box(store.load(ids).expect("the records"));
        });
    }
    for batch in [1, 64, 1024] {
        measure(&format!("save changed reports, batches of {batch}"), batch, devices, |ids, round| {
            save(&mut store, ids, round, true);
        });
    }
    for batch in [64, 1024] {
        measure(&format!("save a start, same document, batches of {batch}"), batch, devices, |ids, round| {
            save(&mut store, ids, round, false);
        });
    }
    println!("resident: {}", resident());
}

/// Loads and saves, as the fleet does: with another document, or only another count of starts.
fn save(store: &mut SqliteStore, ids: &[DeviceId], round: u64, is_changed: bool) {
    let mut devices = Vec::with_capacity(ids.len());
    for record in store.load(ids).expect("the records") {
        let mut device = record.device.expect("a known device");
        device.boot = round;
        if is_changed {
            device.attributes.insert("uptime", round.to_string()).expect("an attribute within limits");
        }
        devices.push(device);
    }
    store.save(&Changes { devices, ..Changes::default() }).expect("the devices are saved");
}

fn measure(name: &str, batch: usize, devices: usize, mut run: impl FnMut(&[DeviceId], u64)) {
    let mut indexes = indexes(devices);
    let (mut done, begin, cpu_begin) = (0_usize, Instant::now(), cpu_micros());
    while begin.elapsed() < MEASURE {
        let ids: Vec<_> = indexes.by_ref().take(batch).map(id).collect();
        run(&ids, 1_000 + done as u64);
        done += batch;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = cpu_micros().zip(cpu_begin).map_or(f64::NAN, |(end, begin)| (end - begin) / done as f64);
    let (rate, each) = (done as f64 / seconds, seconds * 1e6 / done as f64);
    println!("{name:<44} {rate:>12.0} {each:>14.2} {cpu:>14.2}");
}

/// Time this thread has had on a processor, where the system tells: on a busy machine the figure to compare.
fn cpu_micros() -> Option<f64> {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    line.split(' ').next()?.parse::<f64>().ok().map(|nanos| nanos / 1e3)
}

/// Resident memory, where the system tells.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.map_or("not told by this system".to_owned(), |line| line["VmRSS:".len()..].trim().to_owned())
}
