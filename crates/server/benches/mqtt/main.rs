//! MQTT beside Debian's mosquitto, in one run: `cargo bench -p updraft-server --bench mqtt`.
//!
//! What is measured runs on one processor, the load on the other. A broker carries messages and no more: behind mosquitto
//! a raw client answers, which does nothing else, on the load's processor; its cost is given beside mosquitto's. The
//! endpoint alone, with as little behind it, shows what carrying costs here; the server shows what it costs to be
//! answered by what is known of the device.

mod backend;
mod certificates;
mod client;
#[path = "../measure/cost.rs"]
mod cost;
mod exchange;
mod fleet;
mod measure;
mod process;
#[path = "../measure/running.rs"]
mod running;
mod table;
mod wire;

use std::path::Path;
use tokio::runtime::{Builder, Runtime};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--updraft", folder] => {
            Builder::new_multi_thread().enable_all().build()?.block_on(process::serve(Path::new(folder)))
        }
        ["--bare"] => Builder::new_multi_thread().enable_all().build()?.block_on(backend::serve_bare()),
        ["--backend", broker] => alone()?.block_on(backend::run(broker.parse()?)),
        _ => {
            running::prepare()?;
            let measured = alone()?.block_on(measure::all())?;
            table::print(&measured);
            Ok(())
        }
    }
}

/// A runtime for a program that has one processor.
fn alone() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
