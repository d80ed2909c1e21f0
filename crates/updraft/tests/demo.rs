//! The demonstration, as a newcomer runs it, with fewer devices.

use std::path::Path;
use std::process::Command;

#[test]
fn the_demonstration_ends_well_over_http_mqtt_and_lwm2m_and_shows_devices_that_fell_back() {
    let program = Path::new(env!("CARGO_BIN_EXE_updraft"));
    let agent = program.with_file_name("updraft-agent");
    assert!(agent.is_file(), "build it first: cargo build -p updraft-agent");
    let output = Command::new(program).args(["demo", "--devices", "4", "--exit"]).output();
    let output = output.expect("the program starts");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    for line in ["1.0.0: 14 succeeded, 0 failed, of 14", "1.1.0: 9 succeeded, 5 failed, of 14"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let summary = said.split_once("\nSummary\n").expect("it ends with a summary").1;
    for carrier in ["HTTP", "MQTT"] {
        assert!(has_line(summary, &["2 of 2 simulated report 1.1.0", carrier]), "{carrier}: {said}");
    }
    for agent in ["http", "replica", "jobs", "pulled", "pushed"] {
        let well = format!("{agent}-1");
        assert!(has_line(summary, &[&well, "reports 1.1.0", "holds 1.1.0"]), "{well}: {said}");
        let failing = format!("{agent}-2");
        assert!(has_line(summary, &[&failing, "reports 1.0.0", "holds 1.0.0"]), "{failing}: {said}");
        assert!(has_line(summary, &[&failing, "failed (rolled_back)"]), "{failing}: {said}");
    }
}

/// Whether a line that is well has all of these words.
fn has_line(text: &str, words: &[&str]) -> bool {
    text.lines().any(|line| line.starts_with("  ok ") && words.iter().all(|word| line.contains(word)))
}
