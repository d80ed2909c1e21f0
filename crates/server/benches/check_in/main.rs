//! Check-ins beside a bare endpoint of the same HTTP stack, in one run: `cargo bench -p updraft-server --bench check_in`.
//!
//! The bare endpoint reads the same body, parses it as a check-in and answers `{}`; the server does its work: it
//! checks the credential, compares, decides, makes offers durable, notes who was heard. Load is an open loop over
//! keep-alive connections: requests leave when they are due, whether or not the server keeps up, and latency counts
//! from when they were due. What is compared is CPU time of the server process per check-in.

#[path = "../measure/cost.rs"]
mod cost;
mod fleet;
mod load;
mod process;

use fleet::Devices;
use load::{Load, Outcome as Ran};
use process::{Contract, Process};
use std::path::Path;
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Requests in a measured run, and how many per second.
const REQUESTS: usize = 120_000;
const RATE: u32 = 8_000;
/// One request in this many is of a device that is offered an update, and has not asked before.
const OFFER_EVERY: usize = 100;
/// Measured runs of each; the medians are printed.
const ROUNDS: usize = 3;
/// Sizes of the fleet.
const SMALL: u32 = 10_000;
const LARGE: u32 = 1_000_000;

fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [mode, folder] = arguments.as_slice()
        && let Some(contract) = Contract::named(mode)
    {
        return process::serve(contract, Path::new(folder));
    }
    println!("| devices | what | CPU-µs per check-in | beside bare | p50 ms | p99 ms | RSS MiB |");
    println!("|---|---|---|---|---|---|---|");
    let small = measure(SMALL)?;
    let large = measure(LARGE)?;
    println!("\nCost at {LARGE} devices over cost at {SMALL}: {:.2}.", large.cost_us / small.cost_us);
    println!("Start to ready with {LARGE} devices: {:.2} s.", large.start.as_secs_f64());
    println!("Resident with {LARGE} devices, all of them heard: {} MiB.", large.resident_mib);
    Ok(())
}

struct Figures {
    cost_us: f64,
    start: Duration,
    resident_mib: u64,
}

fn measure(count: u32) -> Outcome<Figures> {
    let folder = tempfile::tempdir()?;
    let devices = Devices::seed(folder.path(), count)?;
    let bare = Process::start(Contract::Bare, folder.path())?;
    let ours = Process::start(Contract::Updraft, folder.path())?;
    let token = ours.token(folder.path())?;
    let load = |process: &Process| Load { address: process.address, token: token.clone() };
    let quiet: Vec<_> = devices.quiet.iter().map(|number| fleet::body(*number)).collect();

    // Every device is heard once, as fast as it goes: the first check-in after a start reads the store.
    let (cost, ran) = ours.cost(|| load(&ours).run(&quiet, None))?;
    print_row(count, "first after a start", cost, None, &ran, ours.resident_mib()?);
    // As many as are measured, so that the bare server is warm as well.
    load(&bare).run(&quiet[..quiet.len().min(REQUESTS)], None)?;

    let (mut rounds, mut fresh) = (Vec::new(), devices.due.chunks(REQUESTS / OFFER_EVERY));
    for _ in 0..ROUNDS {
        // A small fleet has fewer devices that are due than a run asks for: the rest repeat themselves.
        let due = fresh.next().unwrap_or(&devices.due);
        let requests = mixture(&quiet, due);
        let (bare_cost, bare_ran) = bare.cost(|| load(&bare).run(&requests, Some(RATE)))?;
        let (our_cost, our_ran) = ours.cost(|| load(&ours).run(&requests, Some(RATE)))?;
        rounds.push((bare_cost / our_cost, our_cost, our_ran, bare_cost, bare_ran));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, our_cost, our_ran, bare_cost, bare_ran) = &rounds[ROUNDS / 2];
    print_row(count, "bare endpoint", *bare_cost, None, bare_ran, bare.resident_mib()?);
    print_row(count, "99 % nothing, 1 % offered", *our_cost, Some(*ratio), our_ran, ours.resident_mib()?);
    let resident_mib = ours.resident_mib()?;
    Ok(Figures { cost_us: *our_cost, start: ours.started_in, resident_mib })
}

/// Requests in the order in which they are sent: mostly of devices with nothing to do, spread over the whole fleet.
fn mixture(quiet: &[Vec<u8>], due: &[u32]) -> Vec<Vec<u8>> {
    // A step prime to the fleet's size visits it evenly and out of order.
    const STEP: usize = 7_919;
    (0..REQUESTS)
        .map(|index| {
            if index % OFFER_EVERY == 0 {
                fleet::body(due[index / OFFER_EVERY % due.len()])
            } else {
                quiet[index * STEP % quiet.len()].clone()
            }
        })
        .collect()
}

fn print_row(count: u32, what: &str, cost_us: f64, ratio: Option<f64>, ran: &Ran, resident_mib: u64) {
    let ratio = ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
    let (p50, p99) = (ran.latency_ms(0.5), ran.latency_ms(0.99));
    println!("| {count} | {what} | {cost_us:.1} | {ratio} | {p50:.2} | {p99:.2} | {resident_mib} |");
}
