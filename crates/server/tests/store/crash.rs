//! What a killed process and a full disk leave behind.
//!
//! Each test runs itself again as a child process, told so by an environment variable.

use crate::fleet::{device, entry, execution, id, rollout, save};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use updraft_core::device::Device;
use updraft_core::execution::{Execution, HistoryEntry};
use updraft_core::state::{ExecutionState, FailureReason, Step};
use updraft_core::store::{Changes, Store};
use updraft_server::store::{Cause, Database, SqliteStore, cause};

/// Tells a child which folder to work in.
pub(crate) const FOLDER: &str = "UPDRAFT_TEST_FOLDER";
/// Processes killed.
const KILLS: u64 = 20;
/// Devices that one batch moves together.
const DEVICES: usize = 40;

/// This test binary again, for one test, with words of the child on its standard output.
pub(crate) fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new("sh");
    // A write beyond the limit is to be an error and not the end: SIGXFSZ stays ignored in the child.
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(FOLDER, folder).stdout(Stdio::piped());
    command
}

fn ids() -> Vec<String> {
    (0..DEVICES).map(|index| format!("d{index:03}")).collect()
}

/// The states of one attempt after the other, each attempt in the next rollout.
fn state(step: u64) -> ExecutionState {
    match step % 4 {
        0 => ExecutionState::Queued,
        1 => ExecutionState::InProgress(Step::Downloading),
        2 => ExecutionState::InProgress(Step::Rebooting),
        _ if step % 8 == 3 => ExecutionState::Succeeded,
        _ => ExecutionState::Failed(FailureReason::RolledBack),
    }
}

fn rollout_of(step: u64) -> String {
    format!("r{}", step / 4 % 5)
}

/// One step of every device, whole or not at all.
fn batch(step: u64) -> Changes {
    let rollout = rollout_of(step);
    let from = (!step.is_multiple_of(4)).then(|| state(step - 1));
    let line =
        |id: &String| HistoryEntry { note: step.to_string(), ..entry(&rollout, id, from, state(step)) };
    let row = |id: &String| Execution { boot: step, ..execution(&rollout, id, state(step)) };
    Changes {
        devices: ids().iter().map(|id| Device { boot: step, ..device(id, "p") }).collect(),
        executions: ids().iter().map(row).collect(),
        history: ids().iter().map(line).collect(),
        ..Changes::default()
    }
}

fn first_step(store: &mut SqliteStore) -> u64 {
    let record = store.load(&[id("d000")]).unwrap().remove(0);
    record.device.map_or(0, |device| device.boot + 1)
}

fn save_for_ever(folder: &Path) -> ! {
    let mut store = Database::open(folder).unwrap().fleet().unwrap();
    let rollouts = (0..5).map(|index| rollout(&format!("r{index}"))).collect();
    save(&mut store, &Changes { rollouts, ..Changes::default() });
    let mut step = first_step(&mut store);
    loop {
        save(&mut store, &batch(step));
        println!("\nsaved {step}");
        step += 1;
    }
}

/// Waits until the child has told of so many batches, kills it, and gives the last step it told of.
pub(crate) fn kill_after(mut child: Child, batches: u64) -> u64 {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut saved = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("saved ")?.parse().ok());
    let last = (0..batches).map_while(|_| saved.next()).last().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // What it told of before it died and nobody had read yet.
    saved.last().unwrap_or(last)
}

#[test]
fn a_process_killed_at_any_moment_leaves_whole_batches_and_true_books() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        save_for_ever(&PathBuf::from(folder));
    }
    let home = tempfile::tempdir().unwrap();
    let test = "crash::a_process_killed_at_any_moment_leaves_whole_batches_and_true_books";
    for kill in 0..KILLS {
        let told = kill_after(child(test, home.path()).spawn().unwrap(), 1 + kill % 7);
        let database = Database::open(home.path()).unwrap();
        check_books(&database, told);
    }
}

fn check_books(database: &Database, told: u64) {
    let (mut store, mut views) = (database.fleet().unwrap(), database.views().unwrap());
    let step = first_step(&mut store) - 1;
    assert!(step >= told, "step {told} was answered for, and {step} is the last one there");
    let ids: Vec<_> = ids().iter().map(|text| id(text)).collect();
    for record in store.load(&ids).unwrap() {
        let device = record.device.unwrap();
        assert_eq!(device.boot, step, "a batch is there for all devices or for none");
        let latest = record.executions.iter().max_by_key(|execution| execution.boot).unwrap();
        assert_eq!((latest.state, latest.rollout.as_str()), (state(step), rollout_of(step).as_str()));
        let open = record.executions.iter().filter(|execution| execution.state.is_open()).count();
        assert_eq!(open, usize::from(state(step).is_open()));
        let history = views.device(&device.id, 1_000).unwrap().unwrap().history;
        let notes = history.iter().map(|line| line.note.parse::<u64>().unwrap());
        let expected = (0..=step).rev().take(1_000);
        assert!(notes.eq(expected), "history is complete and in order");
        assert_eq!(history[0].to, latest.state);
    }
    assert!(views.verify_tallies().unwrap().is_empty());
    assert!(views.faults().unwrap().is_empty());
}

/// Lets files grow so far and no further.
fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

fn fill_the_disk(folder: &Path) {
    let database = Database::open(folder).unwrap();
    let mut store = database.fleet().unwrap();
    let rollouts = (0..5).map(|index| rollout(&format!("r{index}"))).collect();
    save(&mut store, &Changes { rollouts, ..Changes::default() });
    limit(Some(512 * 1024));
    let mut step = 0;
    let error = loop {
        match store.save(&batch(step)) {
            Ok(()) => step += 1,
            Err(error) => break error,
        }
        assert!(step < 10_000, "the limit is never met");
    };
    assert_eq!(cause(&error), Cause::Full, "{error:?}");
    assert!(step > 0);
    check_books(&database, step - 1);
    assert!(store.save(&batch(step)).is_err(), "there is still no room");
    check_books(&database, step - 1);
    limit(None);
    save(&mut store, &batch(step));
    check_books(&database, step);
}

#[test]
fn a_full_disk_refuses_the_whole_batch_and_space_makes_it_work_again() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        fill_the_disk(&PathBuf::from(folder));
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let test = "crash::a_full_disk_refuses_the_whole_batch_and_space_makes_it_work_again";
    let output = child(test, home.path()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && words.contains("1 passed"), "{words}");
}
