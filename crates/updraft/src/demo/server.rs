//! The demonstration's server: `updraft serve` on its embedded default, on ports the system chooses.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use updraft_server::auth::OPERATOR_TOKEN_FILE;
use updraft_server::pki::CA_FILE;

use super::process::Child;
use super::{Failure, count_devices};
use crate::client::Client;

/// Ports of the system's choice, and check-ins fast enough to watch.
const CONFIG: &str = "\
[device]
listen = \"127.0.0.1:0\"

[operator]
listen = \"127.0.0.1:0\"

[protocols.mqtt]
listen = \"127.0.0.1:0\"

[protocols.lwm2m]
listen = \"127.0.0.1:0\"

[check_in]
interval = \"3s\"
interval_updating = \"1s\"
";

/// A running server, and how to reach it.
pub(super) struct DemoServer {
    pub(super) process: Child,
    pub(super) device_url: String,
    pub(super) mqtt_url: String,
    pub(super) lwm2m_url: String,
    pub(super) operator_url: String,
    pub(super) data: PathBuf,
    pub(super) ca: PathBuf,
    pub(super) client: Client,
}

impl DemoServer {
    /// Starts the server and waits until it is ready.
    pub(super) fn start(folder: &Path) -> Result<Self, Failure> {
        let (config, data) = (folder.join("updraft.toml"), folder.join("data"));
        std::fs::write(&config, CONFIG)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--config").arg(&config).arg("--data").arg(&data);
        let (process, line) = Child::start_and_read_line("the server", command, &folder.join("server.log"))?;
        let url = |scheme: &str| {
            line.split([' ', ',']).find(|word| word.starts_with(scheme)).map(|url| url.trim().to_owned())
        };
        let unclear = || format!("the server is not ready; it said: {line}");
        let device_url = url("https://").ok_or_else(unclear)?;
        let mqtt_url = url("mqtts://").ok_or_else(unclear)?;
        let lwm2m_url = url("coaps://").ok_or_else(unclear)?;
        let operator_url = url("http://").ok_or_else(unclear)?;
        let token = std::fs::read_to_string(data.join(OPERATOR_TOKEN_FILE))?;
        let client = Client::new(&operator_url, token.trim(), None)?;
        let ca = data.join(CA_FILE);
        Ok(Self { process, device_url, mqtt_url, lwm2m_url, operator_url, data, ca, client })
    }

    /// A token for all devices of a product.
    pub(super) fn product_token(&self, product: &str) -> Result<String, Failure> {
        let answer: Value = self.client.post(&["tokens"], &json!({ "product": product }))?;
        Ok(answer["token"].as_str().ok_or("the server made no token")?.to_owned())
    }

    /// A pre-shared key of a device: the identity it goes by, and itself in hex.
    pub(super) fn device_key(&self, device: &str) -> Result<(String, String), Failure> {
        let answer: Value = self.client.post(&["tokens"], &json!({ "device": device, "form": "psk" }))?;
        let text = |name: &str| answer[name].as_str().map(ToOwned::to_owned).ok_or("the server made no key");
        Ok((text("identity")?, text("key")?))
    }

    /// Publishes an image.
    pub(super) fn add_release(&self, product: &str, version: &str, image: &[u8]) -> Result<(), Failure> {
        let path = ["products", product, "releases", version];
        let _: Value = self.client.put(&path, &[], &mut &image[..], image.len() as u64)?;
        Ok(())
    }

    pub(super) fn devices_known(&self) -> Result<u64, Failure> {
        count_devices(&self.client)
    }
}
