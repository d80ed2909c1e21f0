//! One boot's event loop: the clock, the sockets, the programs and the threads around a [`Session`].
//!
//! Everything slow happens on a thread of its own and comes back as an input; only the check-in is made in place,
//! since nothing else is to be decided while the server thinks.

use crate::agent::{DutyError, Input, Shared, Until, boot_id};
use crate::app::App;
use crate::assignment::Terms;
use crate::download::Download;
use crate::event::DeviceUpdate;
use crate::hook::{self, Outcome};
use crate::ioto::IotoFile;
use crate::ledger::Phase;
use crate::pace;
use crate::session::{Effect, Session, Settings, sentence};
use crate::storage::FileStorage;
use crate::transport::CheckInError;
use crate::trial::{Trial, confirm_requested};
use crate::updater::Event;
use jiff::{Timestamp, Zoned};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use updraft_wire::manifest::ARTIFACTS_MAX;
use updraft_wire::{CheckIn, JobId, UpdateState, UpdateStatus};

/// Longest wait without looking at the clock. Windows and confirmations by file are noticed this late.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// How often a closed window is looked at again.
const WINDOW_EVERY: Duration = Duration::from_secs(20);

/// How a boot ended.
#[derive(Debug)]
pub(crate) enum DutyEnd {
    /// Somebody wanted it to.
    Stop,
    /// Another slot is to start.
    Restart,
    /// In a single round, the server did not answer.
    Unanswered(String),
}

/// One boot.
pub(crate) struct Duty<'a> {
    pub(crate) shared: &'a mut Shared,
    pub(crate) session: Session<FileStorage>,
    effects: VecDeque<Effect>,
    ioto: IotoFile,
    check_in_at: Instant,
    checked_in_at: Option<Instant>,
    check_ins_failed: u32,
    pub(crate) download: Download,
    apply_at: Option<Instant>,
    trial: Option<Trial>,
    app: Option<App>,
    /// The version an update in work is about, to be named when it has ended.
    subject: Option<(JobId, String)>,
    end: Option<DutyEnd>,
}

impl<'a> Duty<'a> {
    /// Begins a boot.
    pub(crate) fn begin(shared: &'a mut Shared) -> Result<Self, DutyError> {
        let ioto = shared.ioto()?;
        let config = &shared.config;
        let settings = Settings {
            state: config.state.clone(),
            slots: config.slots.clone(),
            version: shared.version(&ioto),
            boot_id: boot_id(config.boot_counter),
            terms: Terms {
                product: config.product.clone(),
                plain_links: shared.is_plain,
                takes_packages: config.carrier.brings_packages(),
                artifacts_max: if config.slots.is_some() { ARTIFACTS_MAX } else { 1 },
            },
            trial_boots_max: config.trial_boots,
            checkpoint_bytes: config.checkpoint_bytes,
        };
        let (session, effects) = Session::open(FileStorage::new(), settings)?;
        let now = Instant::now();
        let mut duty = Self {
            session,
            effects: effects.into(),
            ioto,
            check_in_at: now,
            checked_in_at: None,
            check_ins_failed: 0,
            download: Download::new(),
            apply_at: None,
            trial: None,
            app: None,
            subject: None,
            end: None,
            shared,
        };
        let (slot, version) = (duty.session.active_slot(), duty.session.updater().running().to_owned());
        let slot = slot.map_or_else(String::new, |slot| format!(" from slot {slot}"));
        let boot = duty.session.updater().ledger().boot;
        duty.shared.note(format!("boot {boot}: {version} runs{slot}"));
        if let (Some(argv), Some(_)) = (duty.shared.config.app.clone(), duty.session.active_slot()) {
            let environment = duty.environment();
            let values = duty.placeholders();
            duty.app = Some(App::new(argv.with(&values), environment, &duty.shared.config.state, now));
        }
        Ok(duty)
    }

    /// Runs to the boot's end.
    pub(crate) fn run(mut self, inputs: &Receiver<Input>) -> Result<DutyEnd, DutyError> {
        loop {
            self.remember_subject();
            while let Some(effect) = self.effects.pop_front() {
                self.take_effect(effect);
                self.remember_subject();
            }
            if let Some(end) = self.end.take() {
                return Ok(end);
            }
            self.do_what_is_due()?;
            if !self.effects.is_empty() || self.end.is_some() {
                continue;
            }
            match inputs.recv_timeout(self.wait()) {
                Ok(input) => self.handle_input(input)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(DutyEnd::Stop),
            }
        }
    }

    /// Time until something is due.
    fn wait(&self) -> Duration {
        let now = Instant::now();
        let app = self.app.as_ref().map(|app| app.due(now));
        let trial = self.trial.as_ref().map(Trial::due);
        let due = [Some(self.check_in_at), self.download.due(), self.apply_at, trial, app];
        let due = due.into_iter().flatten().min().unwrap_or(now + WAIT_MAX);
        due.saturating_duration_since(now).min(WAIT_MAX)
    }

    fn do_what_is_due(&mut self) -> Result<(), DutyError> {
        let now = Instant::now();
        if let Some(note) = self.app.as_mut().and_then(|app| app.poll(now)) {
            self.shared.note(note);
        }
        if self.apply_at.is_some_and(|at| at <= now) {
            self.apply_if_open(now)?;
        }
        if self.download.due().is_some_and(|at| at <= now) {
            self.download.begin(self.shared, &self.session);
        }
        self.watch_trial(now)?;
        if self.shared.transport.take_hint() {
            self.check_in_soon(Duration::ZERO);
        }
        if self.check_in_at <= now && self.end.is_none() {
            self.check_in(now)?;
        }
        Ok(())
    }

    pub(crate) fn tell(&mut self, event: Event) -> Result<(), DutyError> {
        self.effects.extend(self.session.handle(event)?);
        Ok(())
    }

    fn handle_input(&mut self, input: Input) -> Result<(), DutyError> {
        match input {
            Input::Fetch(number, part) => {
                let effects = self.download.handle(self.shared, &mut self.session, number, part)?;
                self.effects.extend(effects);
            }
            Input::Health(boot, outcome) if boot == self.boot() => self.handle_health(outcome)?,
            Input::Script(boot, outcome) if boot == self.boot() => self.handle_script(outcome)?,
            // From a boot that is over.
            Input::Health(..) | Input::Script(..) => {}
            Input::Confirm => self.tell(Event::Healthy)?,
            Input::CheckIn => self.check_in_soon(Duration::ZERO),
            // What was hinted is looked at with all else that is due.
            Input::Hint => self.apply_at = self.apply_at.map(|_| Instant::now()),
            Input::Note(note) => self.shared.note(note),
            Input::Reboot => {
                self.shared.note("the server asks for a restart");
                self.end = Some(DutyEnd::Restart);
            }
            Input::Running(version) => self.tell(Event::Running(version))?,
            Input::Stop => self.end = Some(DutyEnd::Stop),
        }
        Ok(())
    }

    fn boot(&self) -> u64 {
        self.session.updater().ledger().boot
    }

    fn take_effect(&mut self, effect: Effect) {
        let now = Instant::now();
        match effect {
            Effect::Fetch => self.download.begin(self.shared, &self.session),
            Effect::StopFetch => self.download.stop(self.shared),
            Effect::AwaitApply => self.apply_at = Some(now),
            Effect::Apply(path) => self.apply(path),
            Effect::Probe => self.trial = Some(Trial::new(now, self.shared.config.trial_time)),
            Effect::Restart => self.end = Some(DutyEnd::Restart),
            Effect::CheckIn => self.check_in_soon(Duration::ZERO),
            Effect::Announce(status) => self.announce(status, None),
            Effect::Note(note) => self.shared.note(note),
        }
    }

    fn remember_subject(&mut self) {
        if let Some(assignment) = self.session.updater().ledger().phase.assignment() {
            self.subject = Some((assignment.job.clone(), assignment.manifest.version.clone()));
        }
    }

    fn announce(&mut self, status: UpdateStatus, path: Option<PathBuf>) {
        let version =
            self.subject.as_ref().filter(|(job, _)| *job == status.job).map(|(_, version)| version.clone());
        let named = version.clone().unwrap_or_default();
        let detail = status.detail.as_deref().map_or_else(String::new, |detail| format!(": {detail}"));
        self.shared.note(format!("{} {named} {:?}{detail}", status.job, status.state));
        let (time, boot) = (Timestamp::now(), self.boot());
        let event = "device:update".to_owned();
        self.shared.announce(DeviceUpdate { event, time, boot, version, path, status });
    }

    fn apply_if_open(&mut self, now: Instant) -> Result<(), DutyError> {
        let until = self.ioto.apply.map_or(Some(Duration::ZERO), |apply| apply.until_open(&Zoned::now()));
        let is_open = until == Some(Duration::ZERO);
        let Some(assignment) = self.session.updater().ledger().phase.assignment() else {
            self.apply_at = None;
            return Ok(());
        };
        if self.shared.transport.may_apply(is_open, &assignment.job, &assignment.manifest) {
            self.apply_at = None;
            self.tell(Event::ApplyNow)
        } else {
            let until = until.filter(|until| !until.is_zero());
            self.apply_at = Some(now + until.map_or(WINDOW_EVERY, |until| until.min(WINDOW_EVERY)));
            Ok(())
        }
    }

    /// Hands the image over: to the listener first, then to the script, if there is one.
    fn apply(&mut self, path: PathBuf) {
        let Some(assignment) = self.session.updater().ledger().phase.assignment() else { return };
        let job = assignment.job.clone();
        let status =
            UpdateStatus { job, state: UpdateState::Installing, progress: None, reason: None, detail: None };
        self.announce(status, Some(path.clone()));
        self.check_in_soon(Duration::ZERO);
        let inputs = self.shared.inputs.clone();
        let boot = self.boot();
        let Some(script) = self.shared.config.script.clone() else {
            // The embedding program installs, and says which version runs when it has.
            self.trial = Some(Trial::new(Instant::now(), self.shared.config.trial_time));
            return;
        };
        let (argv, time_max) = (script.and(path.display().to_string()), self.shared.config.script_time);
        thread::spawn(move || inputs.send(Input::Script(boot, hook::run(&argv, &BTreeMap::new(), time_max))));
    }

    /// The words of the Ioto agent's update script: its whole output decides what the agent does next.
    fn handle_script(&mut self, outcome: Outcome) -> Result<(), DutyError> {
        match outcome {
            Outcome::Well(output) => {
                self.tell(Event::Applied)?;
                match output.as_str() {
                    "exit\n" => self.end = Some(DutyEnd::Stop),
                    "restart\n" => self.end = Some(DutyEnd::Restart),
                    _ => {}
                }
                Ok(())
            }
            Outcome::Badly(detail) => self.tell(Event::Failed(updraft_wire::Reason::InstallFailed, detail)),
        }
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let values = self.placeholders();
        let get = |name: &str| values.get(name).cloned().unwrap_or_default();
        BTreeMap::from([
            ("UPDRAFT_SLOT".to_owned(), get("slot")),
            ("UPDRAFT_IMAGE".to_owned(), get("image")),
            ("UPDRAFT_VERSION".to_owned(), get("version")),
        ])
    }

    fn placeholders(&self) -> BTreeMap<&'static str, String> {
        let folder = self.session.active_folder();
        let image = self
            .session
            .manifest()
            .and_then(|manifest| manifest.artifacts.first())
            .and_then(|artifact| folder.as_ref().map(|folder| folder.join(&artifact.name)));
        let text = |path: Option<&Path>| path.map_or_else(String::new, |path| path.display().to_string());
        BTreeMap::from([
            ("slot", text(folder.as_deref())),
            ("image", text(image.as_deref())),
            ("version", self.session.updater().running().to_owned()),
        ])
    }

    fn watch_trial(&mut self, now: Instant) -> Result<(), DutyError> {
        let Some(trial) = &mut self.trial else { return Ok(()) };
        let phase = &self.session.updater().ledger().phase;
        if matches!(phase, Phase::Idle | Phase::Downloading { .. } | Phase::Staged { .. }) {
            self.trial = None;
            return Ok(());
        }
        if trial.is_over(now) {
            let detail = trial.verdict(self.shared.config.trial_time);
            self.trial = None;
            return self.tell(Event::TrialOver(detail));
        }
        if !trial.is_due(now) {
            return Ok(());
        }
        trial.look_again(now + self.shared.config.health_every);
        if !self.session.updater().is_on_trial() {
            return self.read_version();
        }
        if confirm_requested(&self.shared.config.state, self.session.updater().running()) {
            return self.tell(Event::Healthy);
        }
        if let (Some(argv), true) = (&self.shared.config.health_cmd, trial.begin(&self.shared.config)) {
            let argv = argv.with(&self.placeholders());
            let (environment, time_max) = (self.environment(), self.shared.config.health_time);
            let (inputs, boot) = (self.shared.inputs.clone(), self.boot());
            thread::spawn(move || inputs.send(Input::Health(boot, hook::run(&argv, &environment, time_max))));
        }
        Ok(())
    }

    fn handle_health(&mut self, outcome: Outcome) -> Result<(), DutyError> {
        let next = Instant::now() + self.shared.config.health_every;
        match (outcome, &mut self.trial) {
            (Outcome::Well(_), Some(_)) => {
                self.trial = None;
                self.tell(Event::Healthy)
            }
            (Outcome::Badly(detail), Some(trial)) => {
                trial.failed(detail, next);
                Ok(())
            }
            (Outcome::Well(_) | Outcome::Badly(_), None) => Ok(()),
        }
    }

    /// Where something else installs: has it?
    fn read_version(&mut self) -> Result<(), DutyError> {
        if self.shared.config.slots.is_some() || self.shared.config.ioto.is_none() {
            return Ok(());
        }
        match self.shared.ioto() {
            Ok(ioto) => {
                let version = self.shared.version(&ioto);
                self.tell(Event::Running(version))
            }
            Err(error) => {
                // The script may be writing it at this moment.
                self.shared.note(sentence(&error));
                Ok(())
            }
        }
    }

    fn check_in_soon(&mut self, pause: Duration) {
        let earliest = self.checked_in_at.map(|at| at + pace::CHECK_IN_EVERY_MIN);
        let at = (Instant::now() + pause).max(earliest.unwrap_or_else(Instant::now));
        self.check_in_at = self.check_in_at.min(at);
    }

    /// Checks in, unless the Ioto agent's settings say otherwise. An update in work is reported in any case.
    fn check_in(&mut self, now: Instant) -> Result<(), DutyError> {
        self.read_version()?;
        let ledger = self.session.updater().ledger();
        let is_busy = !matches!(ledger.phase, Phase::Idle) || !ledger.outbox.is_empty();
        let until = self.ioto.schedule.map_or(Some(Duration::ZERO), |s| s.until_open(&Zoned::now()));
        if !is_busy && (self.ioto.enable == Some(false) || until != Some(Duration::ZERO)) {
            self.check_in_at = now + WINDOW_EVERY;
            return Ok(());
        }
        let words = self.words();
        let answer = self.shared.transport.check_in(&words);
        self.checked_in_at = Some(Instant::now());
        match answer {
            Ok(answer) => self.handle_answer(answer, &words),
            Err(error) => {
                self.handle_silence(&error);
                Ok(())
            }
        }
    }

    fn words(&self) -> CheckIn {
        let config = &self.shared.config;
        let updater = self.session.updater();
        CheckIn {
            id: config.id.clone(),
            product: config.product.clone(),
            version: updater.running().to_owned(),
            boot: updater.ledger().boot,
            attributes: config.attributes.clone(),
            update: updater.status(self.session.progress()),
            manifest: self.session.manifest().cloned(),
        }
    }

    fn handle_answer(
        &mut self,
        answer: updraft_wire::CheckInAnswer,
        words: &CheckIn,
    ) -> Result<(), DutyError> {
        if self.check_ins_failed > 0 {
            self.shared.note("the server answers again");
        }
        self.check_ins_failed = 0;
        let asked = Duration::from_secs(answer.next_check_in_s);
        self.check_in_at = Instant::now() + self.next_in(asked);
        self.download.refresh();
        self.tell(Event::Answered(Box::new(answer)))?;
        let spoke_on_trial = words.update.as_ref().is_some_and(|update| update.state == UpdateState::Trial);
        let config = &self.shared.config;
        let by_answer = config.confirm == crate::config::Confirm::Health && config.health_cmd.is_none();
        if spoke_on_trial && by_answer && self.app.as_ref().is_none_or(App::is_running) {
            self.tell(Event::Healthy)?;
        }
        let ledger = self.session.updater().ledger();
        let is_idle = matches!(ledger.phase, Phase::Idle) && ledger.outbox.is_empty();
        if self.shared.until == Until::Idle && is_idle && self.end.is_none() {
            self.end = Some(DutyEnd::Stop);
        }
        Ok(())
    }

    /// When to come next: what the server asks for, or the Ioto agent's period while there is nothing to do.
    fn next_in(&self, asked: Duration) -> Duration {
        let is_idle = matches!(self.session.updater().ledger().phase, Phase::Idle);
        let id = &self.shared.config.id;
        let next = match self.ioto.period.filter(|_| is_idle) {
            Some(period) => {
                let jitter = self.ioto.jitter.unwrap_or(Duration::ZERO).min(pace::CHECK_IN_EVERY_MAX);
                period.min(pace::CHECK_IN_EVERY_MAX) + pace::spread(id, "period", jitter)
            }
            None => asked.min(pace::CHECK_IN_EVERY_MAX),
        };
        self.shared.config.interval.map_or(next, |interval| next.min(interval)).max(pace::CHECK_IN_EVERY_MIN)
    }

    fn handle_silence(&mut self, error: &CheckInError) {
        let interval = self.shared.config.interval;
        if matches!(error, CheckInError::Pending) {
            let pause =
                interval.map_or(pace::CHECK_IN_PAUSE_MIN, |every| every.min(pace::CHECK_IN_PAUSE_MIN));
            self.check_in_at = Instant::now() + pause.max(pace::CHECK_IN_EVERY_MIN);
            return;
        }
        self.check_ins_failed += 1;
        let id = &self.shared.config.id;
        let pause =
            pace::pause(id, self.check_ins_failed, pace::CHECK_IN_PAUSE_MIN, pace::CHECK_IN_PAUSE_MAX);
        let pause = match error {
            CheckInError::Unable { retry_after: Some(after), .. } => (*after).max(pace::CHECK_IN_EVERY_MIN),
            CheckInError::Unable { retry_after: None, .. }
            | CheckInError::Unreached(_)
            | CheckInError::Refused { .. }
            | CheckInError::Pending
            | CheckInError::Offline(_)
            | CheckInError::Silent(_)
            | CheckInError::NotUnderstood(_) => {
                pause.min(interval.unwrap_or(pause)).max(pace::CHECK_IN_EVERY_MIN)
            }
        };
        self.check_in_at = Instant::now() + pause;
        let text = sentence(error);
        if self.shared.until == Until::Idle {
            self.end = Some(DutyEnd::Unanswered(text));
        } else {
            self.shared.note(format!("{text}; again in {pause:.1?}"));
        }
    }
}
