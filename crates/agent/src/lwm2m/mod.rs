//! The device as an LwM2M client: it registers at the server, and object 5 (Firmware Update) says and hears what a check-in
//! does with other transports.
//!
//! [`mod@line`] is a thread of its own that holds the socket, the DTLS session and [`updraft_lwm2m::client::Client`]. Between it
//! and the agent is a [`desk`]: the agent leaves its words there, the line the package that the server wants installed. So
//! the updater, the slots, the ledger and the power cuts are the same as with every transport.
//!
//! Deliberately absent: several servers, and trust beyond the connection: LwM2M has no manifest, so what came by an authentic
//! session is what the server gave.

mod account;
mod address;
mod desk;
mod home;
mod kept;
mod line;
mod link_quality;
mod pull;
mod push;
mod settings;
mod site;
mod wire;
mod words;

use crate::agent::Input;
use crate::config::{Config, Lwm2m};
use crate::http::ClientError;
use crate::package;
use crate::session::Wanted;
use crate::transport::{CheckInError, Opened, Transport};
use desk::{Desk, Staged};
use line::Line;
use settings::Settings;
use site::Home;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use updraft_wire::{Assignment, CheckIn, CheckInAnswer, Manifest};

/// When to look at the desk again while there is nothing to do, in seconds: what is left there is hinted at.
const IDLE_EVERY_S: u64 = 60 * 60;
/// When to speak again while an update is in work, in seconds.
const BUSY_EVERY_S: u64 = 10;

/// The agent's side of the desk.
struct Registered {
    desk: Arc<Desk>,
    product: String,
    line: Option<JoinHandle<()>>,
    /// Until then nothing has failed, if nothing was heard.
    patient_until: Instant,
    patience: Duration,
}

/// Begins to register, once the agent has said how it stands.
///
/// # Errors
/// [`ClientError`] if the address or the credential is of no use.
pub(crate) fn open(
    config: &Config,
    lwm2m: &Lwm2m,
    inputs: &SyncSender<Input>,
) -> Result<Opened, ClientError> {
    let home = Home::new(&config.server, lwm2m, config.ca.as_deref())?;
    let is_plain = home.is_plain();
    let failed = |error: std::io::Error| ClientError::Dtls(error.to_string());
    let (desk, bell) = Desk::new(inputs.clone()).map_err(failed)?;
    let desk = Arc::new(desk);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| ClientError::Dtls(error.to_string()))?;
    let settings = Settings::new(config, lwm2m, home, seed);
    let patience = config.silence_time + settings.start_delay;
    let line = Line::new(settings, Arc::clone(&desk), bell, inputs.clone());
    let line = std::thread::Builder::new().name("lwm2m".into()).spawn(move || line.run()).map_err(failed)?;
    let product = config.product.clone();
    let patient_until = Instant::now() + patience;
    let transport = Registered { desk, product, line: Some(line), patient_until, patience };
    Ok((Box::new(transport), is_plain))
}

impl Transport for Registered {
    fn check_in(&mut self, words: &CheckIn) -> Result<CheckInAnswer, CheckInError> {
        let mut papers = self.desk.papers();
        papers.words = Some(words.clone());
        let told = words.update.as_ref();
        let answer = match &papers.registered {
            Some(Ok(())) => {
                let noted = papers.noted.clone().filter(|noted| told.is_some_and(|told| told.job == *noted));
                let offer = papers.offer.clone().filter(|offer| {
                    !told.is_some_and(|told| told.job == offer.job && told.state.is_settled())
                });
                let assignment: Option<Assignment> =
                    offer.map(|offer| package::assignment(offer.job, &self.product, offer.link));
                let is_busy = assignment.is_some() || (told.is_some() && noted.is_none());
                let next_check_in_s = if is_busy { BUSY_EVERY_S } else { IDLE_EVERY_S };
                Ok(CheckInAnswer { next_check_in_s, assignment, noted })
            }
            Some(Err(detail)) => Err(CheckInError::Offline(detail.clone())),
            None if Instant::now() < self.patient_until => Err(CheckInError::Pending),
            None => Err(CheckInError::Offline(format!("not registered after {:.0?}", self.patience))),
        };
        drop(papers);
        self.desk.ring();
        answer
    }

    fn take_hint(&mut self) -> bool {
        std::mem::take(&mut self.desk.papers().is_hinted)
    }

    fn may_apply(&mut self, is_open: bool, job: &updraft_wire::JobId, manifest: &Manifest) -> bool {
        let mut papers = self.desk.papers();
        papers.is_open = is_open;
        papers.staged = Some(Staged { job: job.clone(), version: manifest.version.clone() });
        let may_apply = papers.install.as_ref() == Some(job);
        drop(papers);
        self.desk.ring();
        may_apply
    }

    fn fetch(&mut self, number: u64, wanted: &Wanted) -> bool {
        if !package::is_transports_own(&wanted.link) {
            return false;
        }
        self.desk.papers().fetch = Some((number, wanted.clone()));
        self.desk.ring();
        true
    }

    fn stop_fetch(&mut self) {
        let mut papers = self.desk.papers();
        papers.fetch = None;
        papers.is_fetch_stopped = true;
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.desk.papers().is_closed = true;
        self.desk.ring();
        if let Some(line) = self.line.take() {
            let _ = line.join();
        }
    }
}
