//! Downloads of 64 MiB beside nginx: bytes per CPU-second of the server, plain and TLS, at 1, 16 and 64 connections.
//!
//! `cargo bench -p updraft-server --bench download` prints a Markdown table. Both servers run as processes of their
//! own with as many workers as the machine has cores, on loopback, from the page cache, in turns; the client in this
//! process reads and throws away. nginx (any Debian package of it) must be installed.

mod client;
#[path = "../measure/cost.rs"]
mod cost;
mod process;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use client::Target;
use process::Server;

/// Size of the file, in bytes.
pub(crate) const FILE_BYTES: usize = 64 << 20;
/// Bytes per measurement: enough CPU time that a tick of 10 ms is below one percent.
const PLAIN_BYTES: usize = 4 << 30;
/// TLS costs twice to three times as much.
const TLS_BYTES: usize = 2 << 30;
/// Measurements per cell; the median counts.
const ROUNDS: usize = 3;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, folder] = &arguments[..]
        && flag == "--serve"
    {
        return process::serve(Path::new(folder));
    }
    // Any word chooses the rows that hold it: `-- TLS`.
    let chosen = arguments.iter().find(|argument| !argument.starts_with("--"));
    let folder = tempfile::tempdir()?;
    let setup = process::prepare(folder.path())?;
    let ours = Server::start_ours(folder.path())?;
    let nginx = Server::start_nginx(folder.path(), &setup)?;
    println!(
        "| transport, connections | Updraft | nginx with sendfile | ratio | Updraft, wall | nginx, wall |"
    );
    println!("|---|---|---|---|---|---|");
    for is_tls in [false, true] {
        for connections in [1, 16, 64] {
            let name = format!("{}, {connections}", if is_tls { "TLS" } else { "plain" });
            if chosen.is_some_and(|chosen| !name.contains(chosen)) {
                continue;
            }
            let (mut a, mut b) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                a.push(measure(
                    &ours,
                    &ours.target(is_tls, &setup.link_target, &setup),
                    connections,
                    is_tls,
                )?);
                b.push(measure(&nginx, &nginx.target(is_tls, "/artifact", &setup), connections, is_tls)?);
            }
            print_row(&name, median(a), median(b));
        }
    }
    println!("\nGiB per CPU-second of the server (user and system); wall: GiB per second.");
    println!("Peak memory of Updraft's process: {} MiB.", ours.peak_memory_kib()? / 1024);
    Ok(())
}

#[derive(Clone, Copy)]
struct Speed {
    per_cpu_second: f64,
    per_second: f64,
}

fn measure(server: &Server, target: &Target, connections: usize, is_tls: bool) -> Outcome<Speed> {
    let total = if is_tls { TLS_BYTES } else { PLAIN_BYTES };
    let each = (total / FILE_BYTES).div_ceil(connections);
    client::fetch(target, connections, 1)?;
    let before = server.cpu_time()?;
    let wall = client::fetch(target, connections, each)?;
    let cpu = server.cpu_time()?.saturating_sub(before).max(Duration::from_millis(1));
    let gib = (each * connections * FILE_BYTES) as f64 / f64::from(1 << 30);
    Ok(Speed { per_cpu_second: gib / cpu.as_secs_f64(), per_second: gib / wall.as_secs_f64() })
}

fn median(mut speeds: Vec<Speed>) -> Speed {
    speeds.sort_by(|a, b| a.per_cpu_second.total_cmp(&b.per_cpu_second));
    speeds[speeds.len() / 2]
}

fn print_row(name: &str, ours: Speed, nginx: Speed) {
    println!(
        "| {name} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
        ours.per_cpu_second,
        nginx.per_cpu_second,
        ours.per_cpu_second / nginx.per_cpu_second,
        ours.per_second,
        nginx.per_second,
    );
}
