//! The end of the demonstration: what each device should be, what the server says it is, and what is on its disk.

use updraft_wire::operator::device::Device;
use updraft_wire::operator::rollout::Status;

use super::agents::Agent;
use super::board::Board;
use super::simulated::Simulated;
use super::{Failure, SECOND};
use crate::client::Client;

/// Prints the summary. Whether every device ended as it should.
pub(super) fn print(
    board: &Board,
    client: &Client,
    agents: &[Agent],
    simulated: &[Simulated],
    rollouts: [&str; 2],
) -> Result<bool, Failure> {
    board.say("");
    board.say("Summary");
    let mut all_well = true;
    let mut check = |is_well: bool, line: &str| {
        all_well &= is_well;
        board.say(&format!("  {}  {line}", if is_well { "ok  " } else { "FAIL" }));
    };
    let devices =
        agents.len() as u64 + simulated.iter().map(|simulated| u64::from(simulated.count)).sum::<u64>();
    let failing = agents.iter().filter(|agent| agent.is_failing).count() as u64;
    for (rollout, failing) in rollouts.iter().zip([0, failing]) {
        let status: Status = client.get(&["rollouts", rollout, "status"], &[])?;
        let count = |state: &str| status.counts.get(state).copied().unwrap_or(0);
        let (succeeded, failed) = (count("succeeded"), count("failed"));
        let line = format!("{}: {succeeded} succeeded, {failed} failed, of {devices}", status.brings());
        check(succeeded == devices - failing && failed == failing, &line);
    }
    for simulated in simulated {
        let (count, updated) = (simulated.count, simulated.count_on(client, SECOND)?);
        let line = format!("{updated} of {count} simulated report {SECOND}  ({})", simulated.carrier.name());
        check(updated == count, &line);
    }
    for agent in agents {
        let device: Device = client.get(&["devices", agent.id], &[])?;
        let (expected, on_disk) = (agent.version_expected(), agent.version_on_disk()?);
        let slot = agent.current().unwrap_or_default();
        let reports = format!("reports {}, slot {slot} holds {on_disk}", device.version);
        let line = format!("{:9}  {reports}  ({})", agent.id, agent.carrier.name());
        check(device.version == expected && on_disk == expected, &line);
        if agent.is_failing {
            let (is_known, line) = rolled_back(&device, rollouts[1]);
            check(is_known, &format!("{:9}  {line}", agent.id));
        }
    }
    board.say(if all_well {
        "Every device ended as it should."
    } else {
        "Not every device ended as it should."
    });
    Ok(all_well)
}

/// Whether the server knows that the device fell back, and how it says so.
fn rolled_back(device: &Device, rollout: &str) -> (bool, String) {
    let Some(execution) = device.executions.iter().find(|execution| execution.rollout == rollout) else {
        return (false, format!("the server knows of no execution in {rollout}"));
    };
    let reason = execution.reason.as_deref().unwrap_or("no reason");
    let line = format!("the server says {} ({reason}): {}", execution.state, execution.detail);
    (execution.state == "failed" && reason == "rolled_back", line)
}
