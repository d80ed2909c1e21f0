//! The operator: releases, rollouts and second thoughts, at random moments.

use super::Scenario;
use super::disk::{Handle, is_simulated};
use super::policies;
use super::truth::{Image, Truth};
use crate::random::Random;
use std::collections::BTreeMap;
use std::time::Duration;
use updraft_core::attributes::Attributes;
use updraft_core::fleet::{Error, Fleet, NewRollout};
use updraft_core::id::{ProductName, RolloutId};
use updraft_core::policy::Policy;
use updraft_core::release::{Artifact, Release};
use updraft_core::rollout::{AbortRule, Deadlines, Downgrade, POSITIONS, Pace, Plan, RetryRule, Wave};
use updraft_core::time::Timestamp;
use updraft_core::version::Version;

/// Who commands, in notes.
const BY: &str = "the operator";
/// Smallest and largest image, in bytes: some are one checkpoint long, some several.
const IMAGE_BYTES: (u64, u64) = (200, 4_000);
/// Most releases of a product in one run.
const RELEASES_MAX: usize = 8;

/// What an operator commands.
#[derive(Debug, Clone)]
pub(super) enum Command {
    AddRelease(Box<Release>),
    Start(Box<NewRollout>),
    Pause(RolloutId),
    Resume(RolloutId),
    Abort(RolloutId),
    Retry(RolloutId),
}

impl Command {
    /// The command, for a reader.
    pub(super) fn line(&self) -> String {
        match self {
            Self::AddRelease(release) => {
                format!("release {} {} for {:?}", release.product, release.version, release.policy.source())
            }
            Self::Start(rollout) => {
                format!("start {} of {} {}: {:?}", rollout.id, rollout.product, rollout.version, rollout.plan)
            }
            Self::Pause(rollout) => format!("pause {rollout}"),
            Self::Resume(rollout) => format!("resume {rollout}"),
            Self::Abort(rollout) => format!("abort {rollout}"),
            Self::Retry(rollout) => format!("retry {rollout}"),
        }
    }

    /// Gives the command. One that does not fit the state of things is refused, which is fine.
    pub(super) fn carry_out(self, clock: Timestamp, fleet: &mut Fleet<Handle>, truth: &mut Truth) {
        let result = match self {
            Self::AddRelease(release) => fleet.add_release(*release).map(|_| ()),
            Self::Start(rollout) => fleet.start_rollout(clock, *rollout, BY).map(|_| ()),
            Self::Pause(rollout) => fleet.pause(clock, &rollout, BY).map(|_| ()),
            Self::Resume(rollout) => fleet.resume(clock, &rollout, BY).map(|_| ()),
            Self::Abort(rollout) => fleet.abort(clock, &rollout, BY).map(|_| ()),
            Self::Retry(rollout) => fleet.retry(clock, &rollout, BY).map(|_| ()),
        };
        match result {
            Ok(()) => truth.count("commands"),
            Err(Error::Store(_)) if result.as_ref().is_err_and(is_simulated) => {}
            Err(
                Error::UnknownRollout(_)
                | Error::UnknownRelease { .. }
                | Error::RolloutExists(_)
                | Error::WrongState { .. },
            ) => truth.count("commands refused"),
            Err(error) => truth.complain(format!("a command fails: {error}: {error:?}")),
        }
    }
}

/// The operator.
#[derive(Debug)]
pub(super) struct Operator {
    random: Random,
    products: Vec<ProductName>,
    /// Versions released so far, oldest first.
    versions: BTreeMap<ProductName, Vec<Version>>,
    rollouts: Vec<(RolloutId, ProductName, Version)>,
    /// How many times larger the fleet is than plans are drawn for.
    scale: u64,
    /// The policies that it chooses among.
    policies: &'static [usize],
}

impl Operator {
    pub(super) fn new(random: Random, products: Vec<ProductName>, scenario: &Scenario) -> Self {
        let scale = scenario.scale() as u64;
        let policies = if scenario.constrained > 0 { policies::FOR_LWM2M } else { policies::FOR_HTTP };
        Self { random, products, versions: BTreeMap::new(), rollouts: Vec::new(), scale, policies }
    }

    /// A version of a product that somebody might flash by hand.
    pub(super) fn some_version(&mut self, product: &str) -> Option<String> {
        let product = product.parse::<ProductName>().ok()?;
        let versions = self.versions.get(&product)?;
        Some(self.random.pick(versions)?.to_string())
    }

    /// The next whim.
    pub(super) fn act(&mut self, clock: Timestamp, truth: &mut Truth) -> Vec<Command> {
        let Some(product) = self.random.pick(&self.products).cloned() else { return Vec::new() };
        let released = self.versions.get(&product).map_or(0, Vec::len);
        let started = self.random.pick(&self.rollouts).cloned();
        match (self.random.below(10), started) {
            (0..=3, _) | (_, None) if released < RELEASES_MAX => self.release(clock, &product, truth),
            (4, Some((rollout, ..))) => vec![Command::Pause(rollout)],
            (5 | 6, Some((rollout, ..))) => vec![Command::Resume(rollout)],
            (7, Some((rollout, ..))) => vec![Command::Abort(rollout)],
            // Once more, with another plan.
            (8, Some((rollout, product, version))) => {
                vec![Command::Abort(rollout), self.start(clock, &product, version)]
            }
            (_, Some((rollout, ..))) => vec![Command::Retry(rollout)],
            (_, None) => Vec::new(),
        }
    }

    fn release(&mut self, clock: Timestamp, product: &ProductName, truth: &mut Truth) -> Vec<Command> {
        let versions = self.versions.entry(product.clone()).or_default();
        let number = versions.len() + 1;
        let text = match self.random.below(4) {
            0 => format!("1.{number}.0-rc.1"),
            1 => format!("1.{number}.0+build.{}", self.random.below(100)),
            _ => format!("1.{number}.0"),
        };
        let version = Version::parse(&text).expect("made to be a version");
        versions.push(version.clone());
        let size = self.random.between(IMAGE_BYTES.0, IMAGE_BYTES.1);
        let bad_percent = [0, 0, 0, 10, 30, 90][self.random.index(6)];
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let image = Image::new(product, &text, size, bad_percent);
        let source = policies::source(self.policies, self.random.index(self.policies.len()));
        let mut attributes = Attributes::new();
        for (name, value) in [("product", product.as_str()), ("version", text.as_str())] {
            attributes.insert(name, value).expect("two short attributes fit");
        }
        let release = Release {
            product: product.clone(),
            version: version.clone(),
            policy: Policy::compile(source).expect("the policies in use are valid"),
            artifact: Artifact {
                sha256: image.sha256.clone(),
                md5: "0".repeat(32),
                size: image.bytes.len() as u64,
            },
            attributes,
            created: clock,
        };
        truth.add_image(image);
        let add = Command::AddRelease(Box::new(release));
        let mut commands = vec![add];
        if self.random.chance(900) {
            commands.push(self.start(clock, product, version));
        }
        commands
    }

    fn start(&mut self, clock: Timestamp, product: &ProductName, version: Version) -> Command {
        // Never used twice, as the server's own are not, whatever it is put back to.
        let id: RolloutId = format!("r{}", self.rollouts.len() + 1).parse().expect("made to be an ID");
        self.rollouts.push((id.clone(), product.clone(), version.clone()));
        let plan = self.plan(clock);
        Command::Start(Box::new(NewRollout { id, product: product.clone(), version, plan }))
    }

    fn plan(&mut self, clock: Timestamp) -> Plan {
        let (scale, random) = (self.scale, &mut self.random);
        let later = |random: &mut Random| clock.plus(Duration::from_secs(random.below(1_500)));
        let whole = u64::from(POSITIONS);
        let positions = u16::try_from(random.between(1, whole - 1)).unwrap_or(1);
        let waves = match random.below(4) {
            0 => vec![Wave { positions, starts: clock }],
            1 => {
                vec![Wave { positions, starts: clock }, Wave { positions: POSITIONS, starts: later(random) }]
            }
            _ => vec![Wave { positions: POSITIONS, starts: clock }],
        };
        let minutes =
            |random: &mut Random, first, last| Duration::from_secs(60 * random.between(first, last));
        Plan {
            waves,
            pace: Pace {
                in_flight_max: u32::try_from(scale * random.between(1, 6)).unwrap_or(1),
                ..Plan::standard(clock).pace
            },
            abort: AbortRule {
                failed_percent: [20, 50, 101, 101][random.index(4)],
                ended_min: u32::try_from(scale * random.between(1, 4)).unwrap_or(1),
            },
            retry: RetryRule {
                attempts_max: u32::try_from(random.between(1, 3)).unwrap_or(1),
                back_off: minutes(random, 1, 5),
                ..Plan::standard(clock).retry
            },
            deadlines: Deadlines {
                queued: minutes(random, 5, 15),
                downloading: minutes(random, 4, 10),
                installing: minutes(random, 4, 10),
                rebooting: minutes(random, 5, 15),
                in_progress: None,
            },
            downgrade: if random.chance(150) { Downgrade::Allowed } else { Downgrade::Refused },
            ..Plan::standard(clock)
        }
    }
}
