//! The engine: the one thread that owns the fleet, and the handle by which everyone asks it.
//!
//! Calls queue up while the thread commits, and are then taken together: one load, all decisions, one commit, then
//! all answers. So the more there is to do, the cheaper each call becomes. No answer leaves before what it rests on
//! is durable; only last-seen times may lag, by [`PRESENCE_INTERVAL`].

pub mod clock;
pub(crate) mod command;
pub mod hot;
pub mod presence;
pub mod quiet;
pub(crate) mod thread;

use crate::store::SqliteStore;
use clock::Clock;
use hot::{Hot, Key, Settled};
use presence::{Presence, seconds};
use quiet::Quiet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::oneshot;
use updraft_core::fleet::{Fleet, Offer};
use updraft_core::id::{DeviceId, ProductName};
use updraft_core::report::Report;
use updraft_core::store::StoreError;

/// Calls that may wait for the engine. Beyond, callers are told to come back: a queue that only grows helps nobody.
pub const QUEUE_MAX: usize = 16_384;
/// Calls decided in one batch. Larger batches make each commit cheaper and each answer later.
pub const BATCH_MAX: usize = 1_024;
/// How often time passes in the fleet.
pub const TICK_INTERVAL: Duration = Duration::from_secs(1);
/// How often last-seen times are written: below the 5 seconds by which they may lag.
pub const PRESENCE_INTERVAL: Duration = Duration::from_secs(4);
/// How long "nothing to do" is believed at most without asking the fleet again.
pub const SETTLED_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Too many calls wait. Try again shortly.
    #[error("the server is busy; try again in a few seconds")]
    Busy,
    /// The engine has stopped, or the server is stopping.
    #[error("the server is stopping")]
    Stopped,
    /// The batch could not be made durable: nothing of it happened.
    #[error("the store could not save; nothing was changed")]
    NotSaved,
    /// The device is known, and of another product than the credential is for.
    #[error("the credential is not for this device")]
    WrongProduct,
    /// The fleet refused, or could not.
    #[error(transparent)]
    Fleet(#[from] updraft_core::fleet::Error),
}

/// A check-in that needs a decision.
#[derive(Debug)]
pub struct CheckIn {
    /// The device, already known to be who it says it is.
    pub device: DeviceId,
    /// What it says.
    pub report: Report,
    /// Names the bytes it sent, so that the same bytes need no decision the next time. `None` if the answer says more
    /// than "nothing to do": should it be lost, the same bytes must get all of it again.
    pub key: Option<Key>,
    /// The only product whose devices the sender may speak for; `None`: it may speak for this device whatever it is.
    pub product: Option<ProductName>,
}

/// Whose word a command about a device brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The device's own: it was heard.
    Device,
    /// Another's.
    Another,
}

type Command = Box<dyn FnOnce(&mut Fleet<SqliteStore>, updraft_core::time::Timestamp) -> Finish + Send>;
/// Tells the caller how it went, once it is known whether the batch was saved.
type Finish = Box<dyn FnOnce(Result<(), EngineError>) + Send>;

enum Call {
    CheckIn(Box<CheckIn>, oneshot::Sender<Result<Offer, EngineError>>),
    /// A command, and the device it is about, if it is about one.
    Command(Command, Option<(DeviceId, By)>),
}

/// A protocol that holds connections to devices.
pub trait Listener: Send + Sync {
    /// Something may have changed for a device. A hint: may be lost, repeated, or not for this protocol. Must not wait.
    fn notify(&self, device: &DeviceId);
}

/// What the handles and the thread both see.
struct Shared {
    hot: Hot,
    quiet: Arc<Quiet>,
    presence: Presence,
    generation: AtomicU64,
    clock: Clock,
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
}

/// A handle on the engine; cheap to clone. The engine stops when the last handle is gone.
#[derive(Clone)]
pub struct Engine {
    calls: SyncSender<Call>,
    shared: Arc<Shared>,
}

/// Ends the process if the engine panics. A server without its engine would refuse every device for ever, while all it
/// has answered for is in the store: whoever supervises it starts it anew.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// The running engine. Wait for it after the last handle is gone: it then has written everything.
pub struct Running {
    thread: std::thread::JoinHandle<()>,
}

impl Running {
    /// Waits until the engine has taken its last call and written everything.
    ///
    /// # Panics
    /// If the engine thread panicked: the server must not pretend that all is well.
    pub fn join(self) {
        assert!(self.thread.join().is_ok(), "the engine thread panicked");
    }
}

impl Engine {
    /// Starts the engine over a store.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn start(mut store: SqliteStore, clock: Clock) -> Result<(Self, Running), EngineError> {
        let seen = store.last_seen().map_err(updraft_core::fleet::Error::Store)?;
        let fleet = Fleet::open(store)?;
        let (calls, queue) = sync_channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            hot: Hot::default(),
            quiet: Arc::default(),
            presence: Presence::new(&seen),
            generation: AtomicU64::new(fleet.generation()),
            clock,
            listeners: Mutex::default(),
        });
        let worker = thread::Worker::new(fleet, queue, shared.clone());
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                let _guard = AbortOnPanic;
                worker.run();
            })
            .map_err(|source| {
                let operation = "start the engine thread";
                updraft_core::fleet::Error::Store(StoreError { operation, source: source.into() })
            })?;
        Ok((Self { calls, shared }, Running { thread }))
    }

    /// Has a protocol told of devices for whom something may have changed, for as long as it is there.
    pub fn listen(&self, listener: Weak<dyn Listener>) {
        self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// Moves whenever "nothing to do", said to any device earlier, may no longer hold.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// The engine's time.
    #[must_use]
    pub fn now(&self) -> updraft_core::time::Timestamp {
        self.shared.clock.now()
    }

    /// When a device was last heard, by its number in the store; `None`: not that is known.
    #[must_use]
    pub fn last_seen(&self, number: u32) -> Option<updraft_core::time::Timestamp> {
        self.shared.presence.last_seen(number)
    }

    /// Whether these bytes need no decision: they were said before, are in the store, and nothing is to do. Takes note
    /// that the device was heard.
    #[must_use]
    pub fn settled(&self, key: Key) -> Option<Settled> {
        let now = self.now();
        let generation = low_bits(self.shared.generation.load(Ordering::Acquire));
        let settled = self.shared.hot.get(key, generation, seconds(now))?;
        self.shared.presence.touch(settled.number, now);
        Some(settled)
    }

    /// Whether nothing is pending for a device that asks with such a credential, and that needs no decision; see
    /// [`Quiet::note`]. Takes note that the device was heard.
    #[must_use]
    pub fn is_quiet(&self, device: &DeviceId, product: Option<&ProductName>) -> bool {
        let now = self.now();
        let number = self.shared.quiet.get(device, product, self.generation(), now);
        number.inspect(|number| self.shared.presence.touch(*number, now)).is_some()
    }

    /// Where commands note that nothing is pending for a device.
    #[must_use]
    pub fn quiet(&self) -> &Arc<Quiet> {
        &self.shared.quiet
    }

    /// Takes in what a device says and tells what it should do. Both are durable when this returns.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn check_in(&self, check_in: CheckIn) -> Result<Offer, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.send(Call::CheckIn(Box::new(check_in), reply))?;
        answer.await.map_err(|_| EngineError::Stopped)?
    }

    /// Runs a command on the fleet, within a batch. What it changed is durable when this returns.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn command<T: Send + 'static>(
        &self,
        command: impl FnOnce(
            &mut Fleet<SqliteStore>,
            updraft_core::time::Timestamp,
        ) -> Result<T, updraft_core::fleet::Error>
        + Send
        + 'static,
    ) -> Result<T, EngineError> {
        self.run(None, command).await
    }

    /// Runs a command about a device, which is loaded with its batch: "nothing to do", said to it before, no longer holds.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn about<T: Send + 'static>(
        &self,
        device: DeviceId,
        by: By,
        command: impl FnOnce(
            &mut Fleet<SqliteStore>,
            updraft_core::time::Timestamp,
        ) -> Result<T, updraft_core::fleet::Error>
        + Send
        + 'static,
    ) -> Result<T, EngineError> {
        self.run(Some((device, by)), command).await
    }

    async fn run<T: Send + 'static>(
        &self,
        about: Option<(DeviceId, By)>,
        command: impl FnOnce(
            &mut Fleet<SqliteStore>,
            updraft_core::time::Timestamp,
        ) -> Result<T, updraft_core::fleet::Error>
        + Send
        + 'static,
    ) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        let command: Command = Box::new(move |fleet, now| {
            let outcome = command(fleet, now);
            Box::new(move |saved| {
                // The caller may have gone away: what was asked is done all the same.
                let _ = reply.send(saved.and(outcome.map_err(EngineError::Fleet)));
            })
        });
        self.send(Call::Command(command, about))?;
        answer.await.map_err(|_| EngineError::Stopped)?
    }

    fn send(&self, call: Call) -> Result<(), EngineError> {
        self.calls.try_send(call).map_err(|error| match error {
            TrySendError::Full(_) => EngineError::Busy,
            TrySendError::Disconnected(_) => EngineError::Stopped,
        })
    }
}

/// The low 32 bits of a generation.
fn low_bits(generation: u64) -> u32 {
    (generation & u64::from(u32::MAX)) as u32
}
