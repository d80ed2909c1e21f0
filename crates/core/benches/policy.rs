//! What one evaluation of a policy costs, beside the same decision written by hand in Rust.
//!
//! Run it with `cargo bench -p updraft-core --bench policy`. It prints nanoseconds per evaluation, the best of
//! several rounds over many different devices, and judges nothing.

use std::hint::black_box;
use std::time::Duration;

use updraft_core::attributes::{Attributes, Value};
use updraft_core::policy::{Facts, Policy};

/// Many enough that their attributes do not all stay in the processor's caches.
const DEVICES: usize = 200_000;
/// Few enough that their attributes stay there.
const DEVICES_CACHED: usize = 500;
const ROUNDS: usize = 15;

/// The three-clause policy of the contract's documentation.
const THREE_CLAUSES: &str = "device.version < update.version && device.pro == true && \
                             (device.region == 'us-west' || device.tier == 'premium')";

fn main() {
    let devices: Vec<Attributes> = (0..DEVICES).map(device).collect();
    let mut update = Attributes::new();
    update.insert("version", "1.10.0").expect("a version is within the limits of an attribute");

    println!("{DEVICES} devices with {} attributes each, best of {ROUNDS} rounds\n", devices[0].len());
    println!("{:<64} {:>10} {:>12}", "way", "matching", "ns each");
    measure("no policy: reading one attribute of each device", &devices, |device| {
        device.get("memory") == Some(&Value::Number(7.0))
    });
    measure("hand-written Rust, versions parsed each time", &devices, |device| by_hand(device, &update));
    let policies = [
        ("three clauses, compiled once", THREE_CLAUSES),
        ("one clause: device.version < update.version", "device.version < update.version"),
        ("one clause: bucket(device.id) < 10", "bucket(device.id) < 10"),
        ("one clause: a list of 5 texts", "device.region in ['ap', 'eu', 'us-east', 'us-north', 'us-west']"),
        ("one clause: a regular expression", "device.id == /-7[0-9]*$/"),
        ("one clause: a missing attribute", "device.absent == 1"),
    ];
    for (way, source) in policies {
        let policy = Policy::compile(source).expect("the benchmark's policies compile");
        measure(way, &devices, |device| policy.matches(&Facts { device, update: &update }));
    }
    let cached = &devices[..DEVICES_CACHED];
    measure("hand-written Rust, devices in the caches", cached, |device| by_hand(device, &update));
    let policy = Policy::compile(THREE_CLAUSES).expect("the benchmark's policies compile");
    measure("three clauses, compiled once, devices in the caches", cached, |device| {
        policy.matches(&Facts { device, update: &update })
    });
    measure("three clauses, explained in full", &devices[..DEVICES / 20], |device| {
        policy.explain(&Facts { device, update: &update }).matches
    });
    measure("three clauses, compiled each time", &devices[..DEVICES / 20], |device| {
        let policy = Policy::compile(THREE_CLAUSES).expect("the benchmark's policies compile");
        policy.matches(&Facts { device, update: &update })
    });
}

/// A device unlike its neighbours: versions on both sides of the update's, all combinations of the other clauses.
fn device(index: usize) -> Attributes {
    let regions = ["us-west", "us-east", "eu-central", "ap-south", "us-west"];
    let mut device = Attributes::new();
    let mut set = |name: &str, value: Value| {
        device.insert(name, value).expect("the benchmark's attributes are within the limits");
    };
    set("id", Value::from(format!("device-{index}")));
    set("product", Value::from("gateway"));
    set("version", Value::from(format!("1.{}.{}", index % 13, index % 7)));
    set("pro", Value::from(!index.is_multiple_of(8)));
    set("region", Value::from(regions[index % regions.len()]));
    set("tier", Value::from(if index.is_multiple_of(3) { "premium" } else { "basic" }));
    set("memory", Value::from(u32::try_from(index % 64).expect("below 64")));
    set("model", Value::from("rev-b"));
    device.shrink_to_fit();
    device
}

/// The same decision as [`THREE_CLAUSES`], by someone who writes the quickest code for it.
fn by_hand(device: &Attributes, update: &Attributes) -> bool {
    let (Some(installed), Some(offered)) = (version(device), version(update)) else { return false };
    installed < offered
        && device.get("pro") == Some(&Value::Bool(true))
        && (text(device, "region") == Some("us-west") || text(device, "tier") == Some("premium"))
}

fn text<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    attributes.get(name).and_then(Value::as_str)
}

fn version(attributes: &Attributes) -> Option<semver::Version> {
    text(attributes, "version").and_then(|text| semver::Version::parse(text).ok())
}

fn measure(way: &str, devices: &[Attributes], mut decide: impl FnMut(&Attributes) -> bool) {
    let mut best = Duration::MAX;
    let mut matching = 0;
    // Every way gets the same number of evaluations: a short round finds the quiet moments of a busy machine.
    for _ in 0..ROUNDS * DEVICES / devices.len() {
        let start = started();
        matching = devices.iter().filter(|device| black_box(decide(black_box(device)))).count();
        best = best.min(start.elapsed());
    }
    let nanoseconds = best.as_secs_f64() * 1e9 / devices.len() as f64;
    println!("{way:<64} {matching:>10} {nanoseconds:>12.1}");
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn started() -> std::time::Instant {
    std::time::Instant::now()
}
