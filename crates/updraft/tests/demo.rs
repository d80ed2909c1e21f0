//! The demonstration, as a newcomer runs it, with fewer devices.

use std::path::Path;
use std::process::Command;

#[test]
fn the_demonstration_ends_well_and_shows_a_device_that_fell_back() {
    let program = Path::new(env!("CARGO_BIN_EXE_updraft"));
    let agent = program.with_file_name("updraft-agent");
    assert!(agent.is_file(), "build it first: cargo build -p updraft-agent");
    let output = Command::new(program).args(["demo", "--devices", "4", "--exit"]).output();
    let output = output.expect("the program starts");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    for line in ["1.0.0: 7 succeeded, 0 failed, of 7", "1.1.0: 6 succeeded, 1 failed, of 7", "rolled_back"] {
        assert!(said.contains(line), "{line}: {said}");
    }
}
