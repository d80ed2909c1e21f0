//! Tasks: who gets them, how fast, how they end; and what devices that work off jobs say of updates.

use crate::stage::{PRODUCT, Stage};
use std::time::Duration;
use updraft_core::execution::StepTimer;
use updraft_core::fleet::{Answer, AnswerRefused, Cancel, Error, NewTask, Retire};
use updraft_core::id::{DeviceId, RolloutId};
use updraft_core::report::Word;
use updraft_core::rollout::{AbortCriterion, AbortReach, BadEnd, Plan, RolloutState};
use updraft_core::state::{ExecutionState, FailureReason, StateKind, Step};
use updraft_core::task::{Membership, OPEN_MAX, Task};

const MINUTE: Duration = Duration::from_secs(60);

fn task(name: &str, devices: &[&str]) -> Task {
    Task {
        name: name.parse().unwrap(),
        description: String::new(),
        document: r#"{"operation":"reboot"}"#.to_owned(),
        devices: devices.iter().map(|device| device.parse().unwrap()).collect(),
        groups: [].into(),
        membership: Membership::Snapshot,
        link_life: MINUTE,
    }
}

fn id(name: &str) -> DeviceId {
    name.parse().unwrap()
}

fn answer(word: Word) -> Answer {
    Answer {
        attempt: None,
        revision: None,
        word,
        detail: String::new(),
        details: None,
        timer: None,
        version: None,
    }
}

impl Stage {
    fn knows(&mut self, devices: &[&str]) {
        for device in devices {
            self.native(device, "1.0.0", 1, None);
        }
    }

    fn stands(&mut self, device: &str, rollout: &RolloutId) -> ExecutionState {
        self.fleet.execution(&id(device), rollout).unwrap().unwrap().state
    }

    fn start(&mut self, task: Task, change: impl FnOnce(&mut Plan)) -> Result<RolloutId, Error> {
        let rollout: RolloutId = format!("t{}", task.name.as_str().to_lowercase()).parse().unwrap();
        let mut plan = Plan::standard(self.now);
        change(&mut plan);
        let new = NewTask { id: rollout.clone(), task, plan };
        let outcome = self.fleet.start_task(self.now, new, "a test").map(|_| rollout);
        self.fleet.commit().unwrap();
        outcome
    }

    /// What the device has before it: rollout and state, in order.
    fn pending(&mut self, device: &str) -> Vec<(String, ExecutionState)> {
        let pending = self.fleet.pending(self.now, &id(device)).unwrap();
        self.fleet.commit().unwrap();
        pending.iter().map(|one| (one.rollout.id.to_string(), one.execution.state)).collect()
    }

    fn says(&mut self, device: &str, rollout: &RolloutId, said: &Answer) -> Result<StateKind, AnswerRefused> {
        let outcome = self.fleet.answer(self.now, &id(device), rollout, said).unwrap();
        self.fleet.commit().unwrap();
        outcome.map(|execution| execution.state.kind())
    }

    fn revision(&mut self, device: &str, rollout: &RolloutId) -> u32 {
        self.fleet.execution(&id(device), rollout).unwrap().unwrap().revision
    }

    fn ticks(&mut self) {
        for _ in 0..4 {
            self.fleet.tick(self.now).unwrap();
            self.fleet.commit().unwrap();
        }
    }
}

#[test]
fn a_task_reaches_the_devices_it_names_and_no_other() {
    let mut stage = Stage::new();
    stage.knows(&["a", "b"]);
    stage.start(task("reboot", &["a"]), |_| ()).unwrap();
    assert_eq!(stage.pending("a"), [("treboot".to_owned(), ExecutionState::Queued)]);
    assert_eq!(stage.pending("b"), []);
    assert_eq!(stage.pending("never-heard-of"), []);
}

#[test]
fn a_task_for_a_device_nobody_heard_of_is_refused() {
    let mut stage = Stage::new();
    let refused = stage.start(task("reboot", &["a"]), |_| ());
    assert!(matches!(refused, Err(Error::UnknownDevice(_))), "{refused:?}");
}

#[test]
fn a_name_is_taken_until_the_task_is_retired() {
    let mut stage = Stage::new();
    stage.knows(&["a"]);
    let started: Result<RolloutId, Error> = stage.start(task("job1", &["a"]), |_| ());
    assert!(started.is_ok(), "{started:?}");
    assert!(matches!(stage.start(task("job1", &["a"]), |_| ()), Err(Error::TaskExists(_))));
}

#[test]
fn a_group_that_goes_on_takes_in_who_comes_later() {
    let mut stage = Stage::new();
    stage.knows(&["a"]);
    let group = Task {
        devices: [].into(),
        groups: [PRODUCT.parse().unwrap()].into(),
        membership: Membership::Continuous,
        ..task("all", &[])
    };
    stage.start(group, |_| ()).unwrap();
    stage.knows(&["late"]);
    assert_eq!(stage.pending("late").len(), 1);
}

fn of_group(name: &str, group: &str) -> Task {
    Task {
        devices: [].into(),
        groups: [group.parse().unwrap()].into(),
        membership: Membership::Continuous,
        ..task(name, &[])
    }
}

#[test]
fn who_leaves_the_group_of_a_task_has_it_no_longer_whatever_it_had_begun() {
    for begins in [false, true] {
        let mut stage = Stage::new();
        stage.in_group("a", "porch");
        let rollout = stage.start(of_group("all", "porch"), |_| ()).unwrap();
        stage.pending("a");
        if begins {
            stage.says("a", &rollout, &answer(Word::Downloading)).unwrap();
        }
        stage.fleet.take_hints();
        stage.in_group("a", "cellar");
        assert_eq!(stage.stands("a", &rollout), ExecutionState::Removed);
        assert!(stage.fleet.take_hints().contains(&id("a")), "whoever shows the device its list is told");
        assert_eq!(stage.pending("a"), []);
        assert!(matches!(stage.says("a", &rollout, &answer(Word::Succeeded)), Err(AnswerRefused::State(_))));
    }
}

#[test]
fn who_comes_back_to_the_group_begins_anew() {
    let mut stage = Stage::new();
    stage.in_group("a", "porch");
    let rollout = stage.start(of_group("all", "porch"), |_| ()).unwrap();
    stage.pending("a");
    stage.in_group("a", "cellar");
    stage.in_group("a", "porch");
    assert_eq!(stage.pending("a").len(), 1);
    let execution = stage.fleet.execution(&id("a"), &rollout).unwrap().unwrap();
    assert_eq!((execution.attempt, execution.state), (2, ExecutionState::Queued));
}

#[test]
fn leaving_touches_neither_what_has_ended_nor_what_names_the_device() {
    let mut stage = Stage::new();
    stage.in_group("a", "porch");
    let ended = stage.start(of_group("ended", "porch"), |_| ()).unwrap();
    let mut both = of_group("both", "porch");
    both.devices.insert(id("a"));
    let named = stage.start(both, |_| ()).unwrap();
    stage.pending("a");
    stage.says("a", &ended, &answer(Word::Succeeded)).unwrap();
    stage.in_group("a", "cellar");
    assert_eq!(stage.stands("a", &ended), ExecutionState::Succeeded);
    assert_eq!(stage.stands("a", &named), ExecutionState::Queued);
}

#[test]
fn one_attempt_is_taken_out_of_sight_while_open_only_by_force() {
    let mut stage = Stage::new();
    stage.knows(&["a"]);
    let rollout = stage.start(task("reboot", &["a"]), |plan| plan.retry.after_failure_max = Some(1)).unwrap();
    stage.pending("a");
    stage.says("a", &rollout, &answer(Word::Failed(FailureReason::InstallFailed))).unwrap();
    stage.now = stage.now.plus(Duration::from_secs(86_400));
    stage.pending("a");
    let mut retire = |attempt, force| {
        let retire = Retire { attempt, force, by: "a test".to_owned() };
        stage.fleet.retire_execution(stage.now, &id("a"), &rollout, &retire).unwrap()
    };
    assert!(matches!(retire(3, true), Err(AnswerRefused::Unknown)), "there is no such attempt yet");
    assert!(matches!(retire(0, true), Err(AnswerRefused::Unknown)));
    assert!(matches!(retire(2, false), Err(AnswerRefused::State(_))), "it is open");
    assert_eq!(retire(1, false).unwrap().state, ExecutionState::Queued, "the earlier one has ended");
    assert!(matches!(retire(1, false), Err(AnswerRefused::Unknown)), "what is out of sight is not there");
    let ended = retire(2, true).unwrap();
    assert_eq!((ended.state, ended.retired), (ExecutionState::Canceled, [1, 2].into()));
    assert_eq!(stage.pending("a"), []);
}

#[test]
fn what_was_begun_comes_first_then_the_oldest() {
    let mut stage = Stage::new();
    stage.knows(&["a"]);
    for name in ["one", "two", "three"] {
        stage.wait(Duration::from_secs(1));
        stage.start(task(name, &["a"]), |_| ()).unwrap();
    }
    stage.pending("a");
    stage.says("a", &"ttwo".parse().unwrap(), &answer(Word::Downloading)).unwrap();
    let order: Vec<_> = stage.pending("a").into_iter().map(|(rollout, _)| rollout).collect();
    assert_eq!(order, ["ttwo", "tone", "tthree"]);
}

#[test]
fn a_device_has_no_more_than_so_many_tasks_open() {
    let mut stage = Stage::new();
    stage.knows(&["a"]);
    for number in 0..=OPEN_MAX {
        stage.start(task(&format!("n{number:02}"), &["a"]), |_| ()).unwrap();
    }
    assert_eq!(stage.pending("a").len(), OPEN_MAX);
    stage.says("a", &"tn00".parse().unwrap(), &answer(Word::Succeeded)).unwrap();
    assert_eq!(stage.pending("a").len(), OPEN_MAX, "the next one moved up");
}

#[test]
fn tasks_do_not_stand_in_the_way_of_an_update() {
    let mut stage = Stage::new();
    stage.knows(&["a"]);
    stage.start(task("reboot", &["a"]), |_| ()).unwrap();
    stage.pending("a");
    stage.rollout("2.0.0", |_| ());
    assert_eq!(stage.pending("a").len(), 2);
    assert_eq!(stage.native("a", "1.0.0", 1, None).as_deref(), Some("2.0.0"));
}

#[test]
fn each_word_that_is_taken_moves_the_revision_by_one() {
    let mut stage = Stage::new();
    stage.knows(&["a"]);
    let rollout = stage.start(task("reboot", &["a"]), |_| ()).unwrap();
    stage.pending("a");
    assert_eq!(stage.revision("a", &rollout), 1);
    for revision in 2..5 {
        stage.says("a", &rollout, &answer(Word::Downloading)).unwrap();
        assert_eq!(stage.revision("a", &rollout), revision);
    }
    let stale = Answer { revision: Some(2), ..answer(Word::Succeeded) };
    assert!(matches!(stage.says("a", &rollout, &stale), Err(AnswerRefused::Revision(_))));
    stage.says("a", &rollout, &Answer { revision: Some(4), ..answer(Word::Succeeded) }).unwrap();
    assert_eq!(stage.revision("a", &rollout), 5);
}

#[test]
fn an_ended_attempt_takes_no_further_word() {
    let mut stage = Stage::new();
    stage.knows(&["a"]);
    let rollout = stage.start(task("reboot", &["a"]), |_| ()).unwrap();
    stage.pending("a");
    assert_eq!(stage.says("a", &rollout, &answer(Word::Succeeded)), Ok(StateKind::Succeeded));
    let failed = answer(Word::Failed(FailureReason::InstallFailed));
    assert!(matches!(stage.says("a", &rollout, &failed), Err(AnswerRefused::State(_))));
    let another = Answer { attempt: Some(2), ..answer(Word::Downloading) };
    assert_eq!(stage.says("a", &rollout, &another), Err(AnswerRefused::Unknown));
}

#[test]
fn of_an_update_succeeded_means_that_the_target_version_runs() {
    let mut stage = Stage::new();
    stage.knows(&["a", "b"]);
    let rollout = stage.rollout("2.0.0", |_| ());
    stage.pending("a");
    stage.says("a", &rollout, &answer(Word::Downloading)).unwrap();
    assert_eq!(stage.says("a", &rollout, &answer(Word::Succeeded)), Ok(StateKind::Succeeded));
    assert_eq!(stage.fleet.device(&id("a")).unwrap().unwrap().version, "2.0.0");
    stage.pending("b");
    let another = Answer { version: Some("1.0.0".to_owned()), ..answer(Word::Succeeded) };
    assert_eq!(stage.says("b", &rollout, &another), Ok(StateKind::Failed));
    assert_eq!(stage.fleet.device(&id("b")).unwrap().unwrap().version, "1.0.0");
}

#[test]
fn asking_again_and_again_says_nothing_of_the_device() {
    let mut stage = Stage::new();
    stage.rollout("2.0.0", |_| ());
    stage.knows(&["a"]);
    for _ in 0..20 {
        assert_eq!(stage.pending("a").len(), 1, "asking is no word of an update that did not happen");
    }
}

#[test]
fn a_pace_by_the_minute_opens_so_many_and_then_waits() {
    let mut stage = Stage::new();
    stage.knows(&["a", "b", "c"]);
    stage.start(task("slow", &["a", "b", "c"]), |plan| plan.pace.per_minute_max = Some(2)).unwrap();
    assert_eq!(["a", "b", "c"].map(|device| stage.pending(device).len()), [1, 1, 0]);
    stage.wait(MINUTE);
    assert_eq!(stage.pending("c").len(), 1);
}

#[test]
fn a_step_timer_ends_the_attempt_and_each_new_one_replaces_it() {
    let mut stage = Stage::new();
    stage.knows(&["a"]);
    let rollout = stage.start(task("reboot", &["a"]), |plan| plan.retry.attempts_max = 1).unwrap();
    stage.pending("a");
    let timed = |timer| Answer { timer: Some(timer), ..answer(Word::Downloading) };
    stage.says("a", &rollout, &timed(StepTimer::Set(MINUTE))).unwrap();
    stage.wait(MINUTE / 2);
    stage.says("a", &rollout, &timed(StepTimer::Set(MINUTE))).unwrap();
    stage.wait(MINUTE / 2);
    stage.ticks();
    assert_eq!(stage.pending("a").len(), 1, "the second timer runs from its own beginning");
    stage.says("a", &rollout, &timed(StepTimer::Cancel)).unwrap();
    stage.wait(10 * MINUTE);
    stage.ticks();
    assert_eq!(stage.pending("a").len(), 1, "no timer runs");
    stage.says("a", &rollout, &timed(StepTimer::Set(MINUTE))).unwrap();
    stage.wait(MINUTE);
    stage.ticks();
    assert_eq!(stage.pending("a"), []);
}

#[test]
fn the_whole_attempt_is_timed_from_its_beginning_whatever_the_device_says() {
    let mut stage = Stage::new();
    stage.knows(&["a"]);
    let limits = |plan: &mut Plan| {
        plan.deadlines.in_progress = Some(20 * MINUTE);
        plan.retry.attempts_max = 1;
    };
    let rollout = stage.start(task("reboot", &["a"]), limits).unwrap();
    stage.pending("a");
    for _ in 0..4 {
        let timed = Answer { timer: Some(StepTimer::Set(10 * MINUTE)), ..answer(Word::Downloading) };
        stage.says("a", &rollout, &timed).unwrap();
        stage.wait(5 * MINUTE);
    }
    stage.ticks();
    assert_eq!(stage.pending("a"), []);
    let execution = stage.fleet.execution(&id("a"), &rollout).unwrap().unwrap();
    assert_eq!(execution.state, ExecutionState::TimedOut);
}

#[test]
fn failures_are_tried_again_as_often_as_the_plan_says_and_no_more() {
    let mut stage = Stage::new();
    stage.knows(&["a"]);
    let retries = |plan: &mut Plan| {
        plan.retry.after_failure_max = Some(2);
        plan.retry.back_off = Duration::ZERO;
        plan.retry.attempts_max = 11;
        plan.abort.failed_percent = 101;
    };
    let rollout = stage.start(task("reboot", &["a"]), retries).unwrap();
    let failed = answer(Word::Failed(FailureReason::InstallFailed));
    for attempt in 1..=3 {
        assert_eq!(stage.pending("a").len(), 1, "attempt {attempt}");
        stage.says("a", &rollout, &failed).unwrap();
    }
    assert_eq!(stage.pending("a"), []);
}

#[test]
fn a_criterion_stops_the_task_and_spares_what_was_begun() {
    let mut stage = Stage::new();
    stage.knows(&["a", "b", "c"]);
    let stop = |plan: &mut Plan| {
        plan.criteria = vec![AbortCriterion { counts: BadEnd::Rejected, share: 5_000, ended_min: 1 }];
        plan.abort_reach = AbortReach::Queued;
    };
    let rollout = stage.start(task("reboot", &["a", "b", "c"]), stop).unwrap();
    for device in ["a", "b", "c"] {
        stage.pending(device);
    }
    stage.says("b", &rollout, &answer(Word::Downloading)).unwrap();
    stage.says("a", &rollout, &answer(Word::Rejected)).unwrap();
    assert_eq!(stage.rollout_state(&rollout), RolloutState::Aborted);
    stage.ticks();
    assert_eq!(stage.pending("c"), [], "nobody had begun");
    assert_eq!(stage.pending("b"), [("treboot".to_owned(), ExecutionState::InProgress(Step::Downloading))]);
    assert_eq!(stage.says("b", &rollout, &answer(Word::Succeeded)), Ok(StateKind::Succeeded));
}

#[test]
fn a_snapshot_is_complete_when_each_device_has_ended() {
    let mut stage = Stage::new();
    stage.knows(&["a", "b"]);
    let rollout = stage.start(task("reboot", &["a", "b"]), |_| ()).unwrap();
    for device in ["a", "b"] {
        stage.ticks();
        assert_eq!(stage.rollout_state(&rollout), RolloutState::Running);
        stage.pending(device);
        stage.says(device, &rollout, &answer(Word::Succeeded)).unwrap();
    }
    stage.ticks();
    assert_eq!(stage.rollout_state(&rollout), RolloutState::Completed);
}

#[test]
fn one_devices_execution_is_canceled_once_begun_only_by_force() {
    let mut stage = Stage::new();
    stage.knows(&["a"]);
    let rollout = stage.start(task("reboot", &["a"]), |_| ()).unwrap();
    stage.pending("a");
    stage.says("a", &rollout, &answer(Word::Downloading)).unwrap();
    let cancel = |force| Cancel { force, revision: None, details: None, by: "a test".to_owned() };
    let mut end = |force| stage.fleet.cancel_execution(stage.now, &id("a"), &rollout, cancel(force)).unwrap();
    assert!(matches!(end(false), Err(AnswerRefused::State(_))));
    assert_eq!(end(true).unwrap().state, ExecutionState::Canceled);
}

#[test]
fn a_retired_task_frees_its_name_and_ends_what_is_open() {
    let mut stage = Stage::new();
    stage.knows(&["a"]);
    let rollout = stage.start(task("reboot", &["a"]), |_| ()).unwrap();
    stage.pending("a");
    let name = "reboot".parse().unwrap();
    let early = stage.fleet.retire_task(stage.now, &name, false, "a test");
    assert!(matches!(early, Err(Error::WrongState { .. })), "{early:?}");
    stage.fleet.retire_task(stage.now, &name, true, "a test").unwrap();
    assert!(matches!(stage.fleet.task(&name), Err(Error::UnknownTask(_))));
    assert_eq!(stage.pending("a"), []);
    stage.ticks();
    let execution = stage.fleet.execution(&id("a"), &rollout).unwrap().unwrap();
    assert_eq!(execution.state, ExecutionState::Canceled);
}

#[test]
fn devices_named_are_worth_a_hint() {
    let mut stage = Stage::new();
    stage.knows(&["a", "b"]);
    stage.fleet.take_hints();
    stage.start(task("reboot", &["b"]), |_| ()).unwrap();
    assert_eq!(stage.fleet.take_hints(), [id("b")].into());
    assert_eq!(stage.fleet.take_hints(), [].into());
}
