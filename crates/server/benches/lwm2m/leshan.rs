//! Eclipse Leshan's demo server.

use crate::process::{Process, free_port};
use crate::running::SERVER_CPU;
use crate::{Outcome, fleet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to be ready.
const START_TIME: Duration = Duration::from_secs(60);

/// Where `scripts/clients` puts it.
fn jar() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/clients/java/leshan-server-demo.jar")
}

/// The server, and where it takes in keys.
pub(crate) struct Leshan {
    pub(crate) process: Process,
    keys: String,
}

impl Leshan {
    /// Starts it in a folder for what it writes.
    pub(crate) fn start(folder: &Path) -> Outcome<Self> {
        let jar = jar();
        if !jar.exists() {
            return Err("Leshan's demo server is not there; install it: scripts/clients".into());
        }
        let (plain, secured, web) = (free_port()?, free_port()?, free_port()?);
        let mut command = Command::new("taskset");
        // It ends with its parent, however that ends.
        command.args(["-c", SERVER_CPU, "setpriv", "--pdeathsig", "KILL", "java", "-jar"]).arg(jar);
        for (host, port, address) in [("-lh", "-lp", plain), ("-slh", "-slp", secured), ("-wh", "-wp", web)] {
            command.args([host, "127.0.0.1", port, &address.port().to_string()]);
        }
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let process = Process::of(child, plain, secured);
        let keys = format!("http://{web}/api/security/clients");
        let begun = Instant::now();
        while ureq::get(&keys).call().is_err() {
            if begun.elapsed() > START_TIME {
                return Err("Leshan's demo server did not start".into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(Self { process, keys })
    }

    /// Gives devices their keys.
    pub(crate) fn add_keys(&self, numbers: Range<u32>) -> Outcome<()> {
        for name in numbers.map(fleet::name) {
            let psk = serde_json::json!({ "identity": name, "key": fleet::KEY });
            ureq::put(&self.keys).send_json(serde_json::json!({ "endpoint": name, "psk": psk }))?;
        }
        Ok(())
    }
}
