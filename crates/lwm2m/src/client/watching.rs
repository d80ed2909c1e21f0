//! What the server observes: when a change, or silence, is worth a notification (Core §6.4.1, §5.1.2; RFC 7641).

use super::attributes::{Attributes, Tree};
use super::object::Time;
use super::registry::Registry;
use crate::coap::{Code, Observer, Reliability, Response};
use crate::{ContentFormat, Entry, Moment, Path, content};
use std::time::Duration;

/// A notification at least this often asks whether the server still listens (RFC 7641 §4.5).
const CONFIRM_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// What is read together: one path, or those of an Observe-Composite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    One(Path),
    Composite(Vec<Path>),
}

impl Subject {
    fn touches(&self, path: &Path) -> bool {
        let near = |own: &Path| own.contains(path) || path.contains(own);
        match self {
            Self::One(own) => near(own),
            Self::Composite(all) => all.iter().any(near),
        }
    }

    /// The values, and how they are written.
    ///
    /// # Errors
    /// The code of the answer.
    pub(super) fn read(&self, registry: &Registry, time: Time) -> Result<Vec<Entry>, Code> {
        match self {
            Self::One(path) => registry.read(time, path),
            // What is not there, or may not be read, is left out (Core §6.3.8).
            Self::Composite(paths) => {
                let mut entries: Vec<Entry> =
                    paths.iter().filter_map(|path| registry.read(time, path).ok()).flatten().collect();
                entries.sort_by_key(|entry| entry.path);
                entries.dedup_by_key(|entry| entry.path);
                if entries.is_empty() { Err(Code::NOT_FOUND) } else { Ok(entries) }
            }
        }
    }

    /// The answer with these values.
    ///
    /// # Errors
    /// 4.06 where the format does not carry them.
    pub(super) fn answer(&self, format: ContentFormat, entries: &[Entry]) -> Result<Response, Code> {
        let base = match self {
            Self::One(path) => path,
            Self::Composite(_) => &Path::ROOT,
        };
        let body = content::encode(format, base, entries).map_err(|_| Code::NOT_ACCEPTABLE)?;
        Ok(Response::content(format.0, body))
    }
}

/// One observation.
#[derive(Debug)]
struct Watch {
    observer: Observer,
    subject: Subject,
    format: ContentFormat,
    told: Vec<Entry>,
    told_at: Moment,
    confirmed_at: Moment,
    is_changed: bool,
}

/// All observations.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watches: Vec<Watch>,
    pub(super) attributes: Tree,
}

/// A notification to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Notification {
    pub(super) observer: Observer,
    pub(super) response: Response,
    pub(super) reliability: Reliability,
}

impl Watches {
    pub(super) fn add(
        &mut self,
        now: Moment,
        observer: Observer,
        subject: Subject,
        format: ContentFormat,
        told: Vec<Entry>,
    ) {
        let watch =
            Watch { observer, subject, format, told, told_at: now, confirmed_at: now, is_changed: false };
        self.watches.push(watch);
    }

    pub(super) fn remove(&mut self, observer: Observer) {
        self.watches.retain(|watch| watch.observer != observer);
    }

    /// A registration begins: the observations of the one before are gone (Core §6.2.1). Gives whose they were.
    pub(super) fn clear(&mut self) -> Vec<Observer> {
        self.watches.drain(..).map(|watch| watch.observer).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.watches.len()
    }

    /// Something has changed at or below a path.
    pub(super) fn changed(&mut self, registry: &Registry, time: Time, path: &Path) {
        for index in 0..self.watches.len() {
            let watch = &self.watches[index];
            if watch.is_changed || !watch.subject.touches(path) {
                continue;
            }
            let attributes = self.effective(watch, registry);
            let is_news = match watch.subject.read(registry, time) {
                Ok(entries) => is_news(&attributes, &watch.told, &entries),
                Err(_) => true,
            };
            self.watches[index].is_changed = is_news;
        }
    }

    /// When `poll` has a notification, if nothing changes before.
    pub(super) fn due(&self, registry: &Registry) -> Option<Moment> {
        let due = |watch: &Watch| {
            let attributes = self.effective(watch, registry);
            let changed = watch.is_changed.then(|| watch.told_at.plus(attributes.pmin()));
            let silent = attributes.pmax().map(|pmax| watch.told_at.plus(pmax));
            changed.into_iter().chain(silent).min()
        };
        self.watches.iter().filter_map(due).min()
    }

    /// The next notification that is due.
    pub(super) fn poll(
        &mut self,
        registry: &Registry,
        time: Time,
        reliability: Reliability,
    ) -> Option<Notification> {
        let now = time.now;
        let index = (0..self.watches.len()).find(|index| {
            let watch = &self.watches[*index];
            let attributes = self.effective(watch, registry);
            (watch.is_changed && watch.told_at.plus(attributes.pmin()) <= now)
                || attributes.pmax().is_some_and(|pmax| watch.told_at.plus(pmax) <= now)
        })?;
        let watch = &mut self.watches[index];
        let answer = watch.subject.read(registry, time).and_then(|entries| {
            let response = watch.subject.answer(watch.format, &entries)?;
            Ok((entries, response))
        });
        let observer = watch.observer;
        match answer {
            Ok((entries, response)) => {
                let is_old = now.since(watch.confirmed_at) >= CONFIRM_EVERY;
                let reliability = if is_old { Reliability::Confirmable } else { reliability };
                if reliability == Reliability::Confirmable {
                    watch.confirmed_at = now;
                }
                watch.told = entries;
                watch.told_at = now;
                watch.is_changed = false;
                Some(Notification { observer, response, reliability })
            }
            Err(code) => {
                self.watches.remove(index);
                Some(Notification { observer, response: Response::new(code), reliability })
            }
        }
    }

    /// The attributes of a watch; periods that none names are the server's defaults (object 1, resources 2 and 3).
    fn effective(&self, watch: &Watch, registry: &Registry) -> Attributes {
        let mut attributes = match &watch.subject {
            Subject::One(path) => self.attributes.effective(path),
            Subject::Composite(_) => Attributes::default(),
        };
        let server = &registry.server;
        attributes.pmin_s = attributes.pmin_s.or(u32::try_from(server.pmin_s).ok());
        attributes.pmax_s = attributes.pmax_s.or(server.pmax_s.and_then(|pmax| u32::try_from(pmax).ok()));
        attributes
    }
}

/// Whether values are worth telling. Conditions are of single numbers; all else is told when it differs.
fn is_news(attributes: &Attributes, told: &[Entry], now: &[Entry]) -> bool {
    if let ([told], [now]) = (told, now)
        && attributes.is_conditional()
        && let (Some(told), Some(now)) = (told.value.as_float(), now.value.as_float())
    {
        return attributes.is_met(told, now);
    }
    told != now
}
