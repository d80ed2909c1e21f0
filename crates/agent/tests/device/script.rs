//! The update script, as the Ioto agent calls it, and health checks: other people's programs.

use crate::device::{Device, FACTORY, Running, wait_until};
use crate::stub::{Stub, image};
use updraft_agent::event::DeviceUpdate;
use updraft_wire::{Reason, UpdateState};

/// A device without slots whose script is this text; `$IOTO` in it is the path of `ioto.json5`.
struct Scripted {
    device: Device,
    stub: Stub,
    options: Vec<String>,
}

impl Scripted {
    fn new(script: &str) -> Self {
        let device = Device::new();
        let ioto = device.path("ioto.json5").display().to_string();
        std::fs::write(&ioto, format!("{{version: '{FACTORY}'}}")).unwrap();
        let folder = device.folder.path().display().to_string();
        let text = format!("#!/bin/sh\nIOTO={ioto}\nDIR={folder}\n{script}\n");
        let program = device.program("update", &text);
        let options = ["--script", &program, "--ioto", &ioto, "--script-time", "2s", "--trial-time", "1s"];
        let options = options.map(String::from).to_vec();
        Self { device, stub: Stub::assigning("r1-1", "1.1.0", &image(100_000)), options }
    }

    fn options(&self) -> Vec<&str> {
        self.options.iter().map(String::as_str).collect()
    }

    fn run(&self) -> Running {
        self.device.run(&self.stub, &self.options())
    }

    fn run_once(&self) -> (bool, String) {
        self.device.run_once(&self.stub, &self.options())
    }

    fn end(&self) -> (UpdateState, Option<Reason>, String) {
        let (went_well, log) = self.run_once();
        assert!(went_well, "{log}");
        let end = self.stub.ended().unwrap();
        (end.state, end.reason, end.detail.unwrap_or_default())
    }
}

/// What a script does that installs.
const INSTALL: &str = "cp \"$1\" $DIR/installed; echo \"{version: '1.1.0'}\" > $IOTO";

#[test]
fn a_script_installs_and_the_version_it_leaves_is_what_counts() {
    let scripted = Scripted::new(&format!("{INSTALL}; echo continue"));
    assert_eq!(scripted.end().0, UpdateState::Succeeded);
    assert_eq!(std::fs::read(scripted.device.path("installed")).unwrap(), image(100_000));
    assert_eq!(scripted.stub.words().last().unwrap().version, "1.1.0");
    assert!(!scripted.device.path("state/update.bin").exists(), "the image stayed");
}

#[test]
fn a_script_that_changes_nothing_is_no_success() {
    let scripted = Scripted::new("echo continue");
    let (state, reason, _) = scripted.end();
    assert_eq!((state, reason), (UpdateState::RolledBack, Some(Reason::RolledBack)));
    assert_eq!(scripted.stub.words().last().unwrap().version, FACTORY);
}

#[test]
fn a_script_that_fails_is_told_with_its_status_and_its_words() {
    let scripted = Scripted::new("echo no room >&2; exit 77");
    let (state, reason, detail) = scripted.end();
    assert_eq!((state, reason), (UpdateState::Failed, Some(Reason::InstallFailed)));
    assert!(detail.contains("status 77: no room"), "{detail}");
}

#[test]
fn a_script_that_hangs_is_killed_with_all_it_started() {
    let scripted = Scripted::new("sleep 600 & echo $! > $DIR/child; wait");
    let (state, _, detail) = scripted.end();
    assert_eq!(state, UpdateState::Failed);
    assert!(detail.contains("was killed after 2 s"), "{detail}");
    let child = std::fs::read_to_string(scripted.device.path("child")).unwrap();
    let process = std::path::Path::new("/proc").join(child.trim());
    wait_until("the child to be gone", || {
        // Nobody may be there to reap it: dead is enough.
        let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
        status.is_empty() || status.contains("State:\tZ")
    });
}

#[test]
fn a_script_that_leaves_a_child_behind_is_not_waited_for() {
    let script = format!("{INSTALL}; sleep 600 & echo $! > $DIR/child; echo continue");
    let scripted = Scripted::new(&script);
    assert_eq!(scripted.end().0, UpdateState::Succeeded);
    let child = std::fs::read_to_string(scripted.device.path("child")).unwrap();
    let pid = rustix::process::Pid::from_raw(child.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_script_that_says_too_much_is_heard_in_part() {
    let scripted = Scripted::new("head -c 100000000 /dev/zero | tr '\\0' x; exit 1");
    let (state, _, detail) = scripted.end();
    assert_eq!(state, UpdateState::Failed);
    assert!(detail.len() <= updraft_wire::check_in::DETAIL_BYTES_MAX);
}

#[test]
fn a_script_that_removes_the_state_folder_does_not_take_the_agent_with_it() {
    let scripted = Scripted::new(&format!("{INSTALL}; rm -rf $DIR/state; echo continue"));
    assert_eq!(scripted.end().0, UpdateState::Succeeded);
}

#[test]
fn a_script_that_is_not_there_is_a_failure() {
    let mut scripted = Scripted::new("");
    scripted.options[1] = "/nonexistent/update".into();
    let (state, reason, _) = scripted.end();
    assert_eq!((state, reason), (UpdateState::Failed, Some(Reason::InstallFailed)));
}

#[test]
fn the_word_exit_ends_the_agent_and_the_next_start_reports() {
    let scripted = Scripted::new(&format!("{INSTALL}; echo exit"));
    let (status, log) = scripted.run().wait();
    assert!(status.success(), "{log}");
    assert_eq!(scripted.stub.ended(), None);
    assert_eq!(scripted.end().0, UpdateState::Succeeded);
}

#[test]
fn the_word_restart_begins_a_boot() {
    let scripted = Scripted::new(&format!("{INSTALL}; echo restart"));
    let agent = scripted.run();
    let (end, words) = scripted.stub.wait_for_end();
    drop(agent);
    assert_eq!((end.state, words.boot), (UpdateState::Succeeded, 2));
}

#[test]
fn a_word_among_others_is_no_word() {
    let scripted = Scripted::new(&format!("{INSTALL}; echo now; echo exit"));
    let agent = scripted.run();
    assert_eq!(scripted.stub.wait_for_end().0.state, UpdateState::Succeeded);
    let (status, _) = agent.terminate();
    assert!(status.success());
}

#[test]
fn a_watcher_hears_of_the_image_before_the_script_gets_it() {
    let scripted = Scripted::new(&format!("cat $DIR/state/events.jsonl > $DIR/heard; {INSTALL}"));
    assert_eq!(scripted.end().0, UpdateState::Succeeded);
    let heard = std::fs::read_to_string(scripted.device.path("heard")).unwrap();
    let last: DeviceUpdate = serde_json::from_str(heard.lines().last().unwrap()).unwrap();
    assert_eq!(last.status.state, UpdateState::Installing);
    assert_eq!(last.path, Some(scripted.device.path("state/update.bin")));
}

#[test]
fn an_apply_window_that_is_closed_holds_the_image_back() {
    let scripted = Scripted::new(INSTALL);
    let ioto = scripted.device.path("ioto.json5");
    let text = format!("{{version: '{FACTORY}', update: {{enable: true, apply: 'never'}}}}");
    std::fs::write(&ioto, text).unwrap();
    let agent = scripted.run();
    scripted.stub.wait("the download", |words, _| {
        let is_there = |state: UpdateState| state == UpdateState::Downloaded;
        words.iter().find(|said| said.update.as_ref().is_some_and(|u| is_there(u.state))).map(|_| ())
    });
    scripted.stub.wait_for_check_ins(2);
    drop(agent);
    assert!(!scripted.device.path("installed").exists());
}

#[test]
fn updates_that_are_switched_off_ask_for_nothing() {
    let scripted = Scripted::new(INSTALL);
    let text = format!("{{version: '{FACTORY}', update: {{enable: false}}}}");
    std::fs::write(scripted.device.path("ioto.json5"), text).unwrap();
    let agent = scripted.run();
    wait_until("the first boot", || scripted.device.path("state/ledger.rec").exists());
    assert!(agent.terminate().0.success());
    assert!(scripted.stub.words().is_empty());
}

#[test]
fn a_health_check_is_told_what_it_checks_and_hears_no_shell() {
    let device = Device::new();
    let script = "#!/bin/sh\necho \"$UPDRAFT_VERSION $UPDRAFT_SLOT $UPDRAFT_IMAGE $*\" > \"$UPDRAFT_SLOT/../../heard\"\n";
    let health = device.program("health", script);
    let stub = Stub::assigning("r1-1", "1.1.0", &image(1000));
    let (went_well, log) = device.run_once(&stub, &["--health-cmd", &format!("{health} $(id) ;true")]);
    assert!(went_well, "{log}");
    let heard = std::fs::read_to_string(device.path("heard")).unwrap();
    let slot = device.path("slots/a").display().to_string();
    assert_eq!(heard.trim(), format!("1.1.0 {slot} {slot}/image $(id) ;true"));
}

#[test]
fn a_health_check_that_hangs_is_killed_and_counts_as_failed() {
    let device = Device::new();
    let stub = Stub::assigning("r1-1", "1.1.0", &image(1000));
    let options = [
        "--health-cmd",
        "/bin/sleep 600",
        "--health-time",
        "200ms",
        "--health-every",
        "50ms",
        "--trial-time",
        "1s",
    ];
    let (went_well, log) = device.run_once(&stub, &options);
    assert!(went_well, "{log}");
    let end = stub.ended().unwrap();
    assert_eq!(end.state, UpdateState::RolledBack);
    assert!(end.detail.unwrap().contains("was killed after 0.2 s"));
}
