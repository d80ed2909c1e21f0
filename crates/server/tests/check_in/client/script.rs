//! The shell and the JavaScript updater: scripts, run by the interpreters that run the originals.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Apply, Device, Ran};
use crate::stage::Stage;

/// Whether all programs are there. If not, says which, and fails where everything must be there (`CI=true`).
pub(crate) fn are_present(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|program| find(program).is_none()).collect();
    if !missing.is_empty() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "missing: {missing:?}; run scripts/setup test"
        );
        eprintln!("skipped: needs {missing:?}; run scripts/setup test");
    }
    missing.is_empty()
}

fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

pub(crate) fn run_shell(stage: &Stage, device: &Device<'_>, apply: Apply) -> Result<Ran, String> {
    let mut command = Command::new("bash");
    command.arg(source("updater.sh")).env("CURL_CA_BUNDLE", stage.data().join("ca.pem"));
    run(command, stage, device, apply)
}

pub(crate) fn run_javascript(stage: &Stage, device: &Device<'_>, apply: Apply) -> Result<Ran, String> {
    let mut command = Command::new("node");
    command.arg(source("updater.mjs")).env("NODE_EXTRA_CA_CERTS", stage.data().join("ca.pem"));
    run(command, stage, device, apply)
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check_in/client").join(name)
}

fn run(mut command: Command, stage: &Stage, device: &Device<'_>, apply: Apply) -> Result<Ran, String> {
    let endpoint = format!("https://localhost:{}", stage.addresses.device.port());
    let apply = match apply {
        Apply::Succeeds => "true",
        Apply::Fails => "false",
    };
    let apply = find(apply).expect("every system has true and false");
    command.args([&endpoint, device.token, device.id, device.product, device.version]).arg(apply);
    command.args(device.properties.iter().map(|(name, value)| format!("{name}={value}")));
    // Both leave their files in a folder of the test.
    command.env("TMPDIR", stage.folder.path());
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let said = String::from_utf8(output.stdout).unwrap();
    match said.trim().split_once(' ') {
        Some(("updated", version)) => Ok(Ran::Updated(version.to_owned())),
        _ if said.trim() == "none" => Ok(Ran::NoUpdate),
        _ => Err(said),
    }
}
