//! The firmware driver against devices that are a few lines each: what the real ones do that no standard says.

use std::time::Duration;

use updraft_lwm2m::firmware::driver::{
    Answer, Ask, Driver, Event, Failure, Operation, Outcome, Proof, Unfit,
};
use updraft_lwm2m::firmware::{
    CANCEL, Campaign, Delivery, INSTANCE, Marker, PACKAGE, PACKAGE_URI, Placement, RUNNING_VERSION, Source,
    Stage, UPDATE, UpdateResult,
};
use updraft_lwm2m::path::Path;
use updraft_lwm2m::value::{Entry, Value};
use updraft_lwm2m::{Moment, firmware};

const URI: &str = "coap://server/image";

/// A device by its four words, and what was asked of it.
struct Device {
    state: i64,
    result: i64,
    uri: String,
    version: &'static str,
    asked: Vec<Operation>,
    observed: Vec<Path>,
    events: Vec<Event>,
    now: Moment,
    /// What it does about all but reads.
    acts: fn(&mut Self, &Operation) -> Answer,
}

const REFUSED: Answer = Answer::Refused(0x80);

impl Device {
    fn new(state: i64, result: i64, acts: fn(&mut Self, &Operation) -> Answer) -> Self {
        let (uri, version) = (String::new(), "1.0.0");
        let (asked, observed, events) = (Vec::new(), Vec::new(), Vec::new());
        Self { state, result, uri, version, asked, observed, events, now: Moment(0), acts }
    }

    fn answer(&mut self, operation: &Operation) -> Answer {
        let (state, result) = (self.state, self.result);
        match operation {
            Operation::Read(path) if *path == RUNNING_VERSION => one(*path, self.version),
            Operation::Read(_) => Answer::Content(vec![
                Entry::new(PACKAGE_URI, self.uri.as_str()),
                Entry::new(firmware::STATE, state),
                Entry::new(firmware::RESULT, result),
                Entry::new(firmware::DELIVERY, 2),
            ]),
            Operation::Observe(path) => {
                self.observed.push(*path);
                one(*path, if *path == firmware::STATE { state } else { result })
            }
            Operation::Write { .. } | Operation::Push { .. } | Operation::Execute(_) => {
                self.asked.push(operation.clone());
                (self.acts)(self, operation)
            }
        }
    }

    /// Runs a driver until it ends, or waits for longer than a day.
    fn run(&mut self, driver: &mut Driver) -> Option<Outcome> {
        loop {
            if let Some(outcome) = self.settle(driver) {
                return Some(outcome);
            }
            self.now = driver.poll_timeout().filter(|at| at.0 < 86_400_000)?;
            driver.handle_timeout(self.now);
        }
    }

    /// Runs a driver until it ends, or waits for something.
    fn settle(&mut self, driver: &mut Driver) -> Option<Outcome> {
        loop {
            while let Some(event) = driver.poll_event() {
                match &event {
                    Event::Persist(_) => driver.handle_persisted(self.now),
                    Event::Decide(_) => {
                        let uri = URI.to_owned();
                        driver.deliver(self.now, Delivery::Pull { uri, size: 1 }).expect("it fits");
                    }
                    Event::Ready => driver.proceed(self.now, self.now.plus(Duration::from_secs(60))),
                    Event::Ended(outcome) => return Some(outcome.clone()),
                    Event::Downloading { .. }
                    | Event::Downloaded
                    | Event::Executing
                    | Event::Deferred { .. }
                    | Event::Retrying { .. } => {}
                }
                self.events.push(event);
            }
            let Ask { id, operation } = driver.poll_ask()?;
            let answer = self.answer(&operation);
            driver.handle_answer(self.now, id, answer);
        }
    }
}

fn one(path: Path, value: impl Into<Value>) -> Answer {
    Answer::Content(vec![Entry::new(path, value)])
}

fn driver() -> Driver {
    Driver::new(Campaign::new("2.0.0", [1; 8]), Moment(0))
}

fn driver_after(source: Source, stage: Stage, result_before: u8) -> Driver {
    let placement = Some(Placement { source, stage, result_before });
    let marker = Some(Marker { placement, ..Marker::default() });
    Driver::new(Campaign { marker, ..Campaign::new("2.0.0", [1; 8]) }, Moment(0))
}

/// A device as the standard has it, whose updates work at once.
fn conforming(device: &mut Device, operation: &Operation) -> Answer {
    match operation {
        Operation::Write { path, value } if *path == PACKAGE_URI => {
            let uri = value.as_text().expect("a URI is text");
            if !uri.is_empty() && device.state != 0 {
                return REFUSED;
            }
            uri.clone_into(&mut device.uri);
            (device.state, device.result) = (if uri.is_empty() { 0 } else { 2 }, 0);
            Answer::Done
        }
        Operation::Execute(path) if *path == UPDATE && device.state == 2 => {
            (device.state, device.result, device.version) = (0, 1, "2.0.0");
            device.uri.clear();
            Answer::Done
        }
        Operation::Read(_)
        | Operation::Observe(_)
        | Operation::Write { .. }
        | Operation::Push { .. }
        | Operation::Execute(_) => REFUSED,
    }
}

#[test]
fn an_image_that_another_left_is_reset_before_ours_is_offered() {
    let mut device = Device::new(2, 0, conforming);
    assert_eq!(device.run(&mut driver()), Some(Outcome::Succeeded(Proof::Version)));
    let reset = Operation::Write { path: PACKAGE_URI, value: Value::from("") };
    assert_eq!(device.asked[0], reset, "it answers 4.00 to a URI in Downloaded");
    assert_eq!(device.asked.len(), 3, "reset, offer, execute: {:?}", device.asked);
}

#[test]
fn a_result_of_the_update_before_is_not_believed() {
    for result in [1, 4, 5, 8, 10] {
        let mut device = Device::new(0, result, conforming);
        assert_eq!(device.run(&mut driver()), Some(Outcome::Succeeded(Proof::Version)), "{result}");
        assert!(!device.events.iter().any(|event| matches!(event, Event::Retrying { .. })));
    }
}

#[test]
fn a_device_that_is_downloading_from_the_start_and_never_moves_is_given_up() {
    // Wakaama's skeleton: State 1 at first, 2.04 to all writes, and nothing comes of any.
    let mut device = Device::new(1, 0, |_, _| Answer::Done);
    let outcome = device.run(&mut driver());
    assert_eq!(outcome, Some(Outcome::Failed(Failure::Stuck(firmware::State::Downloading))));
    assert!(!device.asked.contains(&Operation::Execute(UPDATE)));
    for way in [
        Operation::Write { path: PACKAGE_URI, value: Value::from("") },
        Operation::Write { path: PACKAGE, value: Value::from(vec![0]) },
        Operation::Execute(CANCEL),
    ] {
        assert_eq!(device.asked.iter().filter(|asked| **asked == way).count(), 3, "{way:?}");
    }
}

#[test]
fn a_refused_uri_fails_with_the_result_that_says_why() {
    let mut device = Device::new(0, 0, |device, _| {
        device.result = 9;
        REFUSED
    });
    let failed = Outcome::Failed(Failure::Result(UpdateResult::UnsupportedProtocol));
    assert_eq!(device.run(&mut driver()), Some(failed));
    let mut silent = Device::new(0, 0, |_, _| REFUSED);
    assert_eq!(silent.run(&mut driver()), Some(Outcome::Failed(Failure::Refused(0x80))));
}

#[test]
fn no_answer_to_an_execute_is_no_failure() {
    let mut device = Device::new(0, 0, |device, operation| {
        let answer = conforming(device, operation);
        if matches!(operation, Operation::Execute(_)) { Answer::NoAnswer } else { answer }
    });
    assert_eq!(device.run(&mut driver()), Some(Outcome::Succeeded(Proof::Version)));
    assert_eq!(device.asked.iter().filter(|asked| matches!(asked, Operation::Execute(_))).count(), 1);
}

#[test]
fn a_device_that_is_told_and_does_nothing_is_told_a_few_times() {
    let mut device = Device::new(0, 0, |device, operation| match operation {
        Operation::Execute(_) => Answer::Done,
        Operation::Read(_) | Operation::Observe(_) | Operation::Write { .. } | Operation::Push { .. } => {
            conforming(device, operation)
        }
    });
    let stuck = Outcome::Failed(Failure::Stuck(firmware::State::Downloaded));
    assert_eq!(device.run(&mut driver()), Some(stuck));
    assert_eq!(device.asked.iter().filter(|asked| matches!(asked, Operation::Execute(_))).count(), 5);
}

#[test]
fn our_image_is_adopted_after_a_crash_by_its_uri() {
    for (uri, asked) in [(URI, 1), ("coap://server/other", 3)] {
        let mut device = Device::new(2, 0, conforming);
        uri.clone_into(&mut device.uri);
        let mut driver = driver_after(Source::Uri(URI.to_owned()), Stage::Placing, 0);
        assert_eq!(device.run(&mut driver), Some(Outcome::Succeeded(Proof::Version)));
        assert_eq!(device.asked.len(), asked, "{uri}");
    }
}

#[test]
fn a_push_is_adopted_after_a_crash_only_where_it_was_whole() {
    for (source, stage, asked) in [
        (Source::Push([1; 8]), Stage::Placed, 1),
        (Source::Push([1; 8]), Stage::Placing, 3),
        (Source::Push([2; 8]), Stage::Placed, 3),
    ] {
        let mut device = Device::new(2, 0, conforming);
        assert_eq!(device.run(&mut driver_after(source, stage, 0)), Some(Outcome::Succeeded(Proof::Version)));
        assert_eq!(device.asked.len(), asked);
    }
}

#[test]
fn a_device_without_the_object_is_unreadable() {
    let mut driver = driver();
    while let Some(Ask { id, .. }) = driver.poll_ask() {
        driver.handle_answer(Moment(0), id, Answer::Refused(0x84));
    }
    let ended = std::iter::from_fn(|| driver.poll_event()).last();
    assert_eq!(ended, Some(Event::Ended(Outcome::Failed(Failure::Unreadable))));
}

#[test]
fn a_delivery_that_does_not_fit_is_refused_and_another_is_awaited() {
    let mut driver = driver();
    while let Some(Ask { id, operation }) = driver.poll_ask() {
        let answer = match operation {
            Operation::Read(path) if path == RUNNING_VERSION => one(RUNNING_VERSION, "1.0.0"),
            Operation::Read(_) => Answer::Content(vec![
                Entry::new(firmware::STATE, 0),
                Entry::new(firmware::DELIVERY, 0),
                Entry::new(Path::resource_instance(5, 0, 8, 0), 3),
            ]),
            Operation::Observe(_)
            | Operation::Write { .. }
            | Operation::Push { .. }
            | Operation::Execute(_) => Answer::Refused(0x85),
        };
        driver.handle_answer(Moment(0), id, answer);
    }
    assert!(matches!(driver.poll_event(), Some(Event::Decide(_))));
    let pull = |uri: &str| Delivery::Pull { uri: uri.to_owned(), size: 1 };
    let mut deliver = |delivery| driver.deliver(Moment(0), delivery);
    assert_eq!(deliver(Delivery::Push { size: 1 }), Err(Unfit::NoPush));
    assert_eq!(deliver(pull("coap://h/i")), Err(Unfit::Scheme(Some(firmware::Scheme::Coap))));
    assert_eq!(deliver(pull("")), Err(Unfit::UriLength));
    assert_eq!(deliver(pull(&format!("https://h/{}", "x".repeat(246)))), Err(Unfit::UriLength));
    assert_eq!(deliver(pull("https://h/i")), Ok(()));
}

#[test]
fn late_answers_and_answers_to_nobody_change_nothing() {
    let mut driver = driver();
    let first = driver.poll_ask().unwrap();
    driver.handle_registered(Moment(10));
    let second = driver.poll_ask().unwrap();
    assert_ne!(first.id, second.id, "what was asked before the registration is given up");
    driver.handle_answer(Moment(20), first.id, Answer::Refused(0x84));
    driver.handle_answer(Moment(20), 999, Answer::Refused(0x84));
    assert_eq!(driver.poll_ask(), None, "the second is still open");
    assert!(matches!(second.operation, Operation::Read(path) if path == RUNNING_VERSION || path == INSTANCE));
}

#[test]
fn nothing_is_asked_before_the_marker_is_durable() {
    let mut driver = driver();
    let mut device = Device::new(0, 0, conforming);
    loop {
        match driver.poll_event() {
            Some(Event::Decide(_)) => {
                driver.deliver(Moment(0), Delivery::Pull { uri: URI.to_owned(), size: 1 }).unwrap();
            }
            Some(Event::Persist(marker)) => {
                assert_eq!(marker.placement.unwrap().stage, Stage::Placing);
                break;
            }
            Some(event) => panic!("{event:?}"),
            None => {
                let ask = driver.poll_ask().unwrap();
                let answer = device.answer(&ask.operation);
                driver.handle_answer(Moment(0), ask.id, answer);
            }
        }
    }
    driver.handle_timeout(Moment(1_000_000));
    driver.handle_awake(Moment(1_000_000));
    assert_eq!(driver.poll_ask(), None);
    driver.handle_persisted(Moment(1_000_001));
    assert!(
        matches!(driver.poll_ask().unwrap().operation, Operation::Write { path, .. } if path == PACKAGE_URI)
    );
}

#[test]
fn a_silent_device_is_given_up_after_the_limit_and_not_before() {
    let mut driver = driver();
    let mut now = Moment(0);
    loop {
        if let Some(Ask { id, .. }) = driver.poll_ask() {
            now = now.plus(Duration::from_secs(93));
            driver.handle_answer(now, id, Answer::NoAnswer);
        }
        if let Some(event) = driver.poll_event() {
            assert_eq!(event, Event::Ended(Outcome::Failed(Failure::Silent)));
            break;
        }
        if let Some(at) = driver.poll_timeout() {
            now = now.max(at);
            driver.handle_timeout(now);
        }
    }
    let week = 7 * 86_400_000;
    assert!((week..week + 1_200_000).contains(&now.0), "{now:?}");
}

#[test]
fn a_device_that_is_busy_is_asked_again_later() {
    // In the midst of a push some devices answer 5.03 to all else.
    let mut driver = driver();
    let mut now = Moment(0);
    for wait in [15_000, 30_000, 60_000] {
        let Ask { id, operation } = driver.poll_ask().unwrap();
        assert!(matches!(operation, Operation::Read(_)));
        driver.handle_answer(now, id, Answer::Refused(0xa3));
        assert_eq!(driver.poll_timeout(), Some(Moment(now.0 + wait)));
        now = Moment(now.0 + wait);
        driver.handle_timeout(now);
    }
}

#[test]
fn a_gate_that_closed_while_the_device_was_away_is_asked_for_again() {
    let mut device = Device::new(2, 0, conforming);
    URI.clone_into(&mut device.uri);
    let mut driver = driver_after(Source::Uri(URI.to_owned()), Stage::Placed, 0);
    let mut now = Moment(0);
    let mut told = 0;
    while told < 2 {
        while let Some(Ask { id, operation }) = driver.poll_ask() {
            assert!(!matches!(operation, Operation::Execute(_)));
            let answer = device.answer(&operation);
            // The reading before the execution takes longer than the gate is open.
            now = now.plus(Duration::from_secs(90));
            driver.handle_answer(now, id, answer);
        }
        let event = driver.poll_event().expect("it waits for the gate");
        if event == Event::Ready {
            told += 1;
            driver.proceed(now, now.plus(Duration::from_secs(60)));
        }
    }
}

#[test]
fn a_version_on_trial_is_observed_so_that_its_end_is_heard_when_it_comes() {
    let mut device = Device::new(3, 0, |_, _| REFUSED);
    device.version = "2.0.0";
    let mut driver = driver_after(Source::Uri(URI.to_owned()), Stage::Executing, 0);
    driver.handle_registered(device.now);
    assert_eq!(device.settle(&mut driver), None);
    assert_eq!(device.observed, [firmware::STATE, firmware::RESULT]);
    (device.state, device.result) = (0, 1);
    driver.handle_notification(device.now, &[Entry::new(firmware::STATE, 0)]);
    assert_eq!(device.settle(&mut driver), Some(Outcome::Succeeded(Proof::Version)));
}
