//! The demonstration's simulated devices: `updraft sim`, once for each way to the server that it has.

use std::path::Path;
use std::process::Command;

use updraft_wire::operator::device::Summary;

use super::carrier::Carrier;
use super::process::Child;
use super::server::DemoServer;
use super::{FACTORY, Failure, PRODUCT};
use crate::client::{Client, ClientError};

/// How long simulated devices live: longer than anyone looks on. They end with the demonstration.
const LIFE: &str = "24h";

/// Some simulated devices, in a process of their own.
pub(super) struct Simulated {
    pub(super) carrier: Carrier,
    pub(super) count: u32,
    /// What their IDs begin with.
    prefix: &'static str,
    pub(super) process: Child,
}

/// Starts `count` devices, `mqtt_percent` of them over MQTT.
pub(super) fn start_all(
    count: u32,
    mqtt_percent: u8,
    folder: &Path,
    server: &DemoServer,
    token: &str,
) -> Result<Vec<Simulated>, Failure> {
    let over_mqtt = count * u32::from(mqtt_percent) / 100;
    let shares =
        [(Carrier::Http, "sim-http-", count - over_mqtt), (Carrier::Replica, "sim-mqtt-", over_mqtt)];
    let shares = shares.into_iter().filter(|(_, _, count)| *count > 0);
    shares
        .map(|(carrier, prefix, count)| {
            let mut command = Command::new(std::env::current_exe()?);
            command
                .args(["sim", "--product", PRODUCT, "--version", FACTORY, "--duration", LIFE])
                .args(["--devices", &count.to_string(), "--prefix", prefix, "--url", carrier.url(server)])
                .arg("--ca")
                .arg(&server.ca)
                .env("UPDRAFT_TOKEN", token);
            let log = folder.join(format!("{prefix}devices.log"));
            let process = Child::start("the simulated devices", command, &log)?;
            Ok(Simulated { carrier, count, prefix, process })
        })
        .collect()
}

impl Simulated {
    /// On how many of these devices the server knows a version to run.
    pub(super) fn count_on(&self, client: &Client, version: &str) -> Result<u32, Failure> {
        let mut count = 0;
        client.pages(&["devices"], &[], |page: Vec<Summary>| {
            let is_one = |device: &&Summary| device.id.starts_with(self.prefix) && device.version == version;
            count += page.iter().filter(is_one).count();
            Ok::<_, ClientError>(true)
        })?;
        Ok(u32::try_from(count)?)
    }
}
