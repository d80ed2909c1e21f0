//! An update as it should go, and as it should not, on a device with slots.

use crate::device::{Device, FACTORY, TOKEN, wait_until};
use crate::stub::{Stub, image};
use updraft_agent::slots::{SlotName, SlotState};
use updraft_wire::{JobId, Reason, UpdateState};

const IMAGE_BYTES: usize = 300_000;

#[test]
fn a_healthy_version_is_tried_then_confirmed_and_only_then_reported_as_success() {
    let bytes = image(IMAGE_BYTES);
    let stub = Stub::assigning("r1-1", "1.1.0", &bytes);
    let device = Device::new();
    let agent = device.run(&stub, &["--health-cmd", "/bin/true"]);
    let (end, words) = stub.wait_for_end();
    assert_eq!(end.state, UpdateState::Succeeded);
    assert_eq!((words.version.as_str(), words.boot), ("1.1.0", 2));
    assert_eq!(words.manifest.unwrap().version, "1.1.0");
    let (status, _) = agent.terminate();
    assert!(status.success());
    device.assert_startable();
    assert_eq!(device.current_image(), Some(bytes));
    for said in stub.words() {
        // Success is never claimed by another version than the one that was to run.
        let is_end = said.update.is_some_and(|update| update.state == UpdateState::Succeeded);
        assert!(!is_end || said.version == "1.1.0");
    }
    assert!(stub.authorizations().iter().all(|held| held == &format!("Bearer {TOKEN}")));
}

#[test]
fn the_trial_itself_is_reported_as_no_success() {
    let stub = Stub::assigning("r1-1", "1.1.0", &image(IMAGE_BYTES));
    let device = Device::new();
    let _agent = device.run(&stub, &["--confirm", "manual"]);
    let on_trial = stub.wait("the trial", |words, _| {
        let is_trial = |state: UpdateState| state == UpdateState::Trial;
        words.iter().find(|said| said.update.as_ref().is_some_and(|update| is_trial(update.state))).cloned()
    });
    assert_eq!(on_trial.version, "1.1.0");
    let (went_well, said) = device.verb(&["confirm"]);
    assert!(went_well, "{said}");
    assert_eq!(stub.wait_for_end().0.state, UpdateState::Succeeded);
}

#[test]
fn a_sick_version_is_left_and_the_old_one_says_so_from_a_later_boot() {
    let first = image(IMAGE_BYTES);
    let stub = Stub::assigning("r1-1", "1.1.0", &first);
    let device = Device::new();
    assert!(device.run_once(&stub, &["--health-cmd", "/bin/true"]).0);
    stub.assign("r2-1", "1.2.0", &image(IMAGE_BYTES - 1));
    let options = ["--health-cmd", "/bin/false", "--health-every", "100ms", "--trial-time", "500ms"];
    let (went_well, log) = device.run_once(&stub, &options);
    assert!(went_well, "{log}");
    let end = stub.ended().unwrap();
    assert_eq!((end.state, end.reason), (UpdateState::RolledBack, Some(Reason::RolledBack)));
    assert!(end.detail.unwrap().contains("/bin/false ended with status 1"));
    let words = stub.words();
    let boot = |version: &str| {
        words
            .iter()
            .filter(|said| said.version == version && said.update.is_some())
            .map(|said| said.boot)
            .max()
            .unwrap()
    };
    assert!(boot("1.1.0") > boot("1.2.0"), "{words:#?}");
    assert_eq!(device.current_image(), Some(first));
    assert_eq!(device.slot(SlotName::B).unwrap().state, SlotState::Bad);
}

#[test]
fn a_sick_first_version_gives_way_to_the_factorys() {
    let stub = Stub::assigning("r1-1", "1.1.0", &image(IMAGE_BYTES));
    let device = Device::new();
    let (went_well, log) = device.run_once(&stub, &["--health-cmd", "/bin/false", "--trial-time", "300ms"]);
    assert!(went_well, "{log}");
    assert_eq!(stub.ended().unwrap().state, UpdateState::RolledBack);
    assert_eq!(stub.words().last().unwrap().version, FACTORY);
    assert_eq!(device.current_image(), None);
}

#[test]
fn without_a_health_command_an_answered_check_in_confirms() {
    let stub = Stub::assigning("r1-1", "1.1.0", &image(IMAGE_BYTES));
    let device = Device::new();
    assert!(device.run_once(&stub, &[]).0);
    assert_eq!(stub.ended().unwrap().state, UpdateState::Succeeded);
    assert!(stub.states().contains(&UpdateState::Trial));
}

#[test]
fn an_attempt_settled_is_not_started_again_but_its_end_is_told_again() {
    let bytes = image(IMAGE_BYTES);
    let stub = Stub::assigning("r1-1", "1.1.0", &bytes);
    let device = Device::new();
    assert!(device.run_once(&stub, &["--health-cmd", "/bin/false", "--trial-time", "300ms"]).0);
    let (fetched, said) = (stub.gets().len(), stub.words().len());
    stub.assign("r1-1", "1.1.0", &bytes);
    let agent = device.run(&stub, &["--health-cmd", "/bin/true"]);
    stub.wait("the end, told again", |words, _| {
        let again = words[said..].iter().filter_map(|said| said.update.as_ref());
        again.filter(|update| update.state == UpdateState::RolledBack).map(|_| ()).next()
    });
    drop(agent);
    assert_eq!(stub.gets().len(), fetched, "it was fetched again");
    assert_eq!(device.active_version(), FACTORY);

    stub.assign("r1-2", "1.1.0", &bytes);
    assert!(device.run_once(&stub, &["--health-cmd", "/bin/true"]).0);
    assert_eq!(device.active_version(), "1.1.0", "another attempt is another matter");
}

#[test]
fn a_version_below_the_confirmed_one_is_rejected_unless_allowed() {
    let stub = Stub::assigning("r1-1", "1.1.0", &image(IMAGE_BYTES));
    let device = Device::new();
    assert!(device.run_once(&stub, &[]).0);
    let old = image(1000);
    stub.assign("r2-1", "1.0.9", &old);
    assert!(device.run_once(&stub, &[]).0);
    let end = stub.ended().unwrap();
    assert_eq!((end.state, end.reason), (UpdateState::Rejected, Some(Reason::Downgrade)));

    stub.assign("r2-2", "1.0.9", &old);
    stub.assign_as(updraft_wire::Assignment {
        job: JobId::new("r2", 2).unwrap(),
        manifest: crate::stub::manifest("1.0.9", &old),
        links: vec![format!("{}/image", stub.url())],
        allow_downgrade: true,
    });
    assert!(device.run_once(&stub, &[]).0);
    assert_eq!(stub.ended().unwrap().state, UpdateState::Succeeded);
    assert_eq!(device.active_version(), "1.0.9");
}

#[test]
fn the_version_that_runs_already_is_a_success_without_a_download() {
    let stub = Stub::assigning("r1-1", FACTORY, &image(1000));
    let device = Device::new();
    assert!(device.run_once(&stub, &[]).0);
    assert_eq!(stub.ended().unwrap().state, UpdateState::Succeeded);
    assert!(stub.gets().is_empty());
}

#[test]
fn an_assignment_taken_back_is_dropped_before_it_starts() {
    let bytes = image(IMAGE_BYTES);
    let stub = Stub::assigning("r1-1", "1.1.0", &bytes);
    // Half of the image, and the connection ends: the agent will try again.
    stub.on_download(move |get| {
        let mut reply = crate::stub::serve(&bytes, get);
        reply.truncate(reply.len() / 2);
        reply
    });
    let device = Device::new();
    let agent = device.run(&stub, &[]);
    stub.wait("the download", |_, gets| (!gets.is_empty()).then_some(()));
    stub.withdraw();
    wait_until("the slot to be given up", || !device.path("slots").join("a/image").exists());
    drop(agent);
    assert!(device.verb(&["status"]).1.contains("update   idle"));
    assert_eq!(device.active_version(), FACTORY);
}

#[test]
fn an_end_is_kept_until_the_server_notes_it() {
    let stub = Stub::assigning("r1-1", "1.1.0", &image(IMAGE_BYTES));
    let device = Device::new();
    // The server goes deaf once the update is on trial.
    stub.on_check_in(|said| {
        let is_late = said.version != FACTORY;
        is_late.then(|| crate::stub::reply("503 Service Unavailable\r\nContent-Length: 0", b""))
    });
    let agent = device.run(&stub, &["--health-cmd", "/bin/true"]);
    stub.wait_for_end();
    agent.kill();
    let (_, status) = device.verb(&["status", "--json"]);
    assert!(status.contains("\"unheard\": [\n    {"), "{status}");
    stub.on_check_in(|_| None);
    assert!(device.run_once(&stub, &[]).0);
    assert_eq!(stub.ended().unwrap().state, UpdateState::Succeeded);
}

#[test]
fn a_trial_survives_a_killed_agent_and_ends_after_the_starts_allowed() {
    let stub = Stub::assigning("r1-1", "1.1.0", &image(IMAGE_BYTES));
    let device = Device::new();
    for _ in 0..3 {
        let before = stub.words().len();
        let agent = device.run(&stub, &["--confirm", "manual", "--trial-boots", "2"]);
        stub.wait("a word from the trial", |words, _| {
            let trial = |state: UpdateState| state == UpdateState::Trial || state.is_settled();
            words[before..]
                .iter()
                .any(|said| said.update.as_ref().is_some_and(|u| trial(u.state)))
                .then_some(())
        });
        agent.kill();
    }
    let (end, words) = stub.wait_for_end();
    assert_eq!((end.state, words.version.as_str()), (UpdateState::RolledBack, FACTORY));
}

#[test]
fn a_second_agent_on_one_state_folder_is_refused() {
    let stub = Stub::start();
    let device = Device::new();
    let _first = device.run(&stub, &[]);
    stub.wait_for_check_ins(1);
    let (went_well, log) = device.run_once(&stub, &[]);
    assert!(!went_well);
    assert!(log.contains("another agent runs on"), "{log}");
}

#[test]
fn the_application_runs_from_the_slot_and_ends_with_the_agent() {
    let stub = Stub::assigning("r1-1", "1.1.0", &image(1000));
    let device = Device::new();
    let program = device.program("app", "#!/bin/sh\necho $$ $1 > \"$1/../../pid\"\nexec sleep 600\n");
    let agent = device.run(&stub, &["--app", &format!("{program} {{slot}}")]);
    wait_until("the application", || device.path("pid").exists());
    assert_eq!(stub.wait_for_end().0.state, UpdateState::Succeeded);
    let pid = std::fs::read_to_string(device.path("pid")).unwrap();
    let (pid, slot) = pid.trim().split_once(' ').unwrap();
    assert_eq!(slot, device.path("slots").join("a").display().to_string());
    assert!(agent.terminate().0.success());
    assert!(!std::path::Path::new("/proc").join(pid).exists(), "the application outlived the agent");
}

#[test]
fn an_application_left_by_a_killed_agent_does_not_run_twice() {
    let stub = Stub::assigning("r1-1", "1.1.0", &image(1000));
    let device = Device::new();
    assert!(device.run_once(&stub, &[]).0);
    let program = device.program("app", "#!/bin/sh\necho $$ > \"$1/../../pid\"\nexec sleep 600\n");
    let app = format!("{program} {{slot}}");
    let pid = || std::fs::read_to_string(device.path("pid")).unwrap_or_default().trim().to_owned();
    let agent = device.run(&stub, &["--app", &app]);
    wait_until("the application", || !pid().is_empty());
    let first = pid();
    agent.kill();
    let agent = device.run(&stub, &["--app", &app]);
    wait_until("the application's next start", || !pid().is_empty() && pid() != first);
    let status = std::fs::read_to_string(format!("/proc/{first}/status")).unwrap_or_default();
    assert!(status.is_empty() || status.contains("State:\tZ"), "{status}");
    assert!(agent.terminate().0.success());
}

#[test]
fn a_release_of_several_artifacts_arrives_whole() {
    let (kernel, root) = (image(70_000), image(150_000));
    let stub = Stub::start();
    let mut manifest = crate::stub::manifest("1.1.0", &kernel);
    manifest.artifacts[0].name = "kernel".into();
    let mut second = crate::stub::manifest("1.1.0", &root).artifacts.remove(0);
    second.name = "root".into();
    manifest.artifacts.push(second);
    let links = ["kernel", "root"].map(|name| format!("{}/{name}", stub.url())).to_vec();
    let job = JobId::new("r1", 1).unwrap();
    stub.assign_as(updraft_wire::Assignment { job, manifest, links, allow_downgrade: false });
    let served = (kernel.clone(), root.clone());
    stub.on_download(move |get| {
        let mut reply = crate::stub::serve(if get.path == "/root" { &served.1 } else { &served.0 }, get);
        // The second artifact's first answer breaks off.
        if get.nth == 1 {
            reply.truncate(100_000);
        }
        reply
    });
    let device = Device::new();
    assert!(device.run_once(&stub, &[]).0);
    assert_eq!(stub.ended().unwrap().state, UpdateState::Succeeded);
    assert_eq!(std::fs::read(device.path("slots/current/kernel")).unwrap(), kernel);
    assert_eq!(std::fs::read(device.path("slots/current/root")).unwrap(), root);
}

#[test]
fn where_slots_hold_systems_nothing_is_believed_before_the_kernel_has_restarted() {
    let stub = Stub::assigning("r1-1", "1.1.0", &image(1000));
    let device = Device::new();
    let reboot = device.program("reboot", "#!/bin/sh\necho asked >> \"$0.calls\"\n");
    let calls = || std::fs::read_to_string(device.path("reboot.calls")).unwrap_or_default().lines().count();
    for start in 1..=2 {
        let agent = device.run(&stub, &["--boot-counter", "kernel", "--reboot-cmd", &reboot]);
        wait_until("the restart to be asked for", || calls() >= start);
        assert!(agent.terminate().0.success());
    }
    assert!(stub.words().iter().all(|said| said.version == FACTORY && said.boot == 1), "{:?}", stub.words());
    assert!(matches!(device.slot(SlotName::A).unwrap().state, SlotState::Trial { boots: 0, .. }));
}

#[test]
fn events_are_followed_as_json_lines() {
    let stub = Stub::assigning("r1-1", "1.1.0", &image(1000));
    let device = Device::new();
    assert!(device.run_once(&stub, &[]).0);
    let events = std::fs::read_to_string(device.path("state").join("events.jsonl")).unwrap();
    let states: Vec<_> = events
        .lines()
        .map(|line| serde_json::from_str::<updraft_agent::event::DeviceUpdate>(line).unwrap())
        .map(|event| (event.event, event.status.state, event.version.unwrap()))
        .collect();
    let expected = [
        UpdateState::Downloading,
        UpdateState::Downloaded,
        UpdateState::Rebooting,
        UpdateState::Trial,
        UpdateState::Succeeded,
    ];
    let expected = expected.map(|state| ("device:update".to_owned(), state, "1.1.0".to_owned()));
    assert_eq!(states, expected);
}
