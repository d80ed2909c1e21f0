//! Mistakes that a server, a store or a device could make, put in on purpose: the test of the tests. Each must be
//! found by the checkers.

use updraft_core::report::{Report, Word};

/// A mistake put in on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The server answers before, and whether or not, the batch is durable.
    AnswersBeforeCommit,
    /// The check-in door takes "installed", or "on trial", for "runs the new version".
    TakesInstalledForUpdated,
    /// The check-in door counts every check-in as a start of the device: the old version looks like a fall-back.
    CountsCheckInsAsStarts,
    /// The store counts an execution in flight that nobody has.
    LeaksInFlight,
    /// The store loses the history of what it saves.
    LosesHistory,
    /// The store does not give back executions that are open.
    ForgetsOpenExecutions,
    /// The door goes on answering "nothing to do" whatever has changed.
    NeverLooksAgain,
    /// The door asks for offers with the time of the day after.
    OffersFromTomorrow,
    /// The flash of devices says that bytes are safe which are not.
    SyncsLie,
    /// Devices confirm what they run on trial without looking at its health.
    ConfirmsUnseen,
    /// The server does not keep what the hub has to remember of an update.
    LosesMarkers,
    /// The server takes "downloaded" for "runs the new version".
    TakesMarkersForSuccess,
    /// The hub is told everything that came of its calls twice. It must not mind: this is the one that no checker finds.
    HearsTwice,
    /// The hub is never told that something has changed.
    NeverPatrols,
    /// The store of images gives other bytes.
    ReadsOtherBytes,
    /// The flash of devices does not keep what object 5 has to remember.
    RecordsLie,
    /// Devices install an image that does not work a second time.
    InstallsTwice,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::AnswersBeforeCommit,
        Self::TakesInstalledForUpdated,
        Self::CountsCheckInsAsStarts,
        Self::LeaksInFlight,
        Self::LosesHistory,
        Self::ForgetsOpenExecutions,
        Self::NeverLooksAgain,
        Self::OffersFromTomorrow,
        Self::SyncsLie,
        Self::ConfirmsUnseen,
        Self::LosesMarkers,
        Self::TakesMarkersForSuccess,
        Self::HearsTwice,
        Self::NeverPatrols,
        Self::ReadsOtherBytes,
        Self::RecordsLie,
        Self::InstallsTwice,
    ];

    /// What the door makes of a report.
    pub(super) fn distort(self, report: &mut Report, target: Option<&str>, check_ins: u64) {
        let word = report.progress.as_ref().map(|progress| progress.word);
        match self {
            Self::TakesInstalledForUpdated => {
                let is_installed =
                    matches!(word, Some(Word::Downloaded | Word::Installing | Word::Rebooting | Word::Trial));
                if is_installed && let (Some(description), Some(target)) = (&mut report.description, target) {
                    target.clone_into(&mut description.version);
                    report.progress = None;
                }
            }
            Self::CountsCheckInsAsStarts => {
                if let Some(description) = &mut report.description
                    && description.boot.is_some()
                {
                    description.boot = Some(check_ins);
                }
                // A word of the installation, then none: from there on version and start are all that is looked at.
                if let Some(progress) = &mut report.progress
                    && progress.word == Word::Downloaded
                {
                    progress.word = Word::Installing;
                    if check_ins.is_multiple_of(2) {
                        report.progress = None;
                    }
                }
            }
            Self::AnswersBeforeCommit
            | Self::LeaksInFlight
            | Self::LosesHistory
            | Self::ForgetsOpenExecutions
            | Self::NeverLooksAgain
            | Self::OffersFromTomorrow
            | Self::SyncsLie
            | Self::ConfirmsUnseen
            | Self::LosesMarkers
            | Self::TakesMarkersForSuccess
            | Self::HearsTwice
            | Self::NeverPatrols
            | Self::ReadsOtherBytes
            | Self::RecordsLie
            | Self::InstallsTwice => {}
        }
    }
}
