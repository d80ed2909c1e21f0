//! LwM2M beside Eclipse Leshan's demo server and libcoap, in one run: `cargo bench -p updraft-server --bench lwm2m`.
//!
//! What is measured runs on one processor, the load on the other. Leshan's demo server keeps registrations in memory and
//! asks devices nothing; this server reads what they are, and keeps it. What that costs shows beside devices that have
//! nothing to be read.

mod coap;
#[path = "../measure/cost.rs"]
mod cost;
mod device;
mod fleet;
mod leshan;
mod libcoap;
mod measure;
mod network;
mod process;
#[path = "../measure/running.rs"]
mod running;
mod table;
mod transfer;

use std::path::Path;
use tokio::runtime::{Builder, Runtime};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--updraft", folder, plain, secured] => {
            let served = process::serve(Path::new(folder), plain.parse()?, secured.parse()?);
            Builder::new_multi_thread().enable_all().build()?.block_on(served)
        }
        parts => {
            running::prepare()?;
            alone()?.block_on(measure::all(parts))
        }
    }
}

/// A runtime for a program that has one processor.
fn alone() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
