//! `updraft sim`: load on a real server by simulated devices.

mod keys;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use updraft_server::config::{DATA_VARIABLE, DEFAULT_DATA};
use updraft_server::interval::parse_duration;
use updraft_sim::load::{self, Contract, LoadConfig, Summary};

use crate::connection::{Connection, URL_DEFAULT};
use crate::error::Error;
use crate::output;

const HELP: &str = "\
The devices check in, download what they are offered, check it, and report the new version. They need a token of their \
product: `updraft token create --product P`. Without --rate each device comes when the server asks it to. An open loop: \
latency counts from when a check-in was due. With an mqtts URL each device has a connection of its own, speaks the state \
replica, and comes when the server pushes. With a coap URL the devices speak LwM2M without security, each from an address \
of its own (127.16.0.0/12 if the server is on this machine), renew their registrations at the rate or the interval, and take \
what is pushed to them. With a coaps URL they do so over DTLS, each with a pre-shared key of its own: the file of --keys has \
them, and those that it has not, the server makes by its operator API. Point it only at a server that is yours.";

/// Options of `updraft sim`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 100)]
    devices: u32,
    /// Which contract they speak
    #[arg(long, value_enum, default_value_t = Protocol::Checkin)]
    protocol: Protocol,
    /// The server's URL for devices, over HTTP or, as mqtts://host:port, over MQTT, or, as coap://host:port or
    /// coaps://host:port, over LwM2M
    #[arg(long, default_value = "https://127.0.0.1:8443")]
    url: String,
    /// Whom to trust for https and mqtts: the server's ca.pem
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A token of the devices' product; with coap none is needed, with coaps an operator's where that on this machine will not do
    #[arg(
        long,
        env = "UPDRAFT_TOKEN",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    token: String,
    /// With coaps: the file with the devices' pre-shared keys, each line an ID, an identity and a key; made if it is not there
    #[arg(long, value_name = "FILE", default_value = "updraft-sim.keys")]
    keys: PathBuf,
    /// With coaps: URL of the operator API, where keys are made for devices that have none in the file
    #[arg(long, env = "UPDRAFT_URL", value_name = "URL", default_value = URL_DEFAULT)]
    operator: String,
    /// With coaps: data folder of the local server
    #[arg(long, env = DATA_VARIABLE, value_name = "DIR", default_value = DEFAULT_DATA)]
    data: PathBuf,
    /// The devices' product
    #[arg(long, default_value = "simulated")]
    product: String,
    /// What they run at first
    #[arg(long, default_value = "1.0.0")]
    version: String,
    /// What their IDs begin with
    #[arg(long, value_name = "TEXT", default_value = "sim-")]
    prefix: String,
    /// On how many percent of them a new version does not become healthy
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    failing: u8,
    /// Check-ins per second over all devices [default: as the server asks for]
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Longest time between two check-ins of a device
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse_duration)]
    interval: Duration,
    /// Connections kept open over HTTP
    #[arg(long, value_name = "N", default_value_t = 64)]
    connections: u32,
    /// When to end
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration)]
    duration: Duration,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Protocol {
    /// The native check-in
    Checkin,
    /// The check-in of the Ioto agent
    Ioto,
}

/// Runs the load and prints how it went. Status 1 if a request failed.
pub(crate) fn run(args: Args) -> Result<ExitCode, Error> {
    let failed = |source| Error::Process { operation: "the simulation", source };
    let json = args.json;
    let mut config = config(&args);
    if config.has_keys() {
        let token = Some(args.token).filter(|token| !token.is_empty());
        let server = Connection { url: args.operator, token, ca: None, data: args.data };
        config.keys = keys::have(&args.keys, (0..config.devices).map(|number| config.id(number)), &server)?;
    }
    let runtime = tokio::runtime::Runtime::new().map_err(|error| failed(error.into()))?;
    let summary = runtime.block_on(load::run(config)).map_err(|error| failed(error.into()))?;
    if json {
        output::json(&summary)?;
    } else {
        print(&summary)?;
    }
    Ok(if summary.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn config(args: &Args) -> LoadConfig {
    LoadConfig {
        url: args.url.clone(),
        ca: args.ca.clone(),
        token: args.token.clone(),
        keys: BTreeMap::new(),
        contract: match args.protocol {
            Protocol::Checkin => Contract::Native,
            Protocol::Ioto => Contract::Ioto,
        },
        devices: args.devices,
        prefix: args.prefix.clone(),
        product: args.product.clone(),
        version: args.version.clone(),
        failing_percent: args.failing,
        rate: args.rate,
        interval_max: args.interval,
        connections: args.connections,
        duration: args.duration,
    }
}

fn print(summary: &Summary) -> Result<(), Error> {
    let [median, p99, longest] = summary.latency_ms;
    let (check_ins, rate) = (summary.check_ins, summary.check_ins_per_second);
    output::line(&format!("{} devices, {:.1} s", summary.devices, summary.seconds))?;
    output::line(&format!("check-ins   {check_ins} ({rate:.0} per second)"))?;
    if summary.registrations > 0 {
        let (registrations, updates) = (summary.registrations, summary.registration_updates);
        output::line(&format!("            {registrations} registrations, {updates} updates of them"))?;
    }
    output::line(&format!("latency     median {median:.1} ms, 99 % {p99:.1} ms, longest {longest:.1} ms"))?;
    output::line(&format!(
        "updates     {} offered, {} MB downloaded",
        summary.offers,
        summary.bytes / 1_000_000
    ))?;
    for (version, count) in &summary.versions {
        output::line(&format!("on {version:9}{count} devices"))?;
    }
    output::line(&format!("errors      {}", summary.errors))?;
    summary.error_texts.iter().try_for_each(|text| output::line(&format!("  {text}")))
}
