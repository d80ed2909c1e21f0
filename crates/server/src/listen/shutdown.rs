//! The word that tells all listeners to stop taking work and end what they have.

use tokio::sync::watch;

/// Asks for the shutdown; dropping it asks as well.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

/// Learns of the shutdown. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and what it triggers.
#[must_use]
pub fn shutdown() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger(sender), Shutdown(receiver))
}

impl ShutdownTrigger {
    /// Asks all to stop. Asking again changes nothing.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Ends when the shutdown is asked for, at once if it was.
    pub async fn asked(&self) {
        // An error means that the trigger is gone, and nobody could ask any more.
        let _ = self.0.clone().wait_for(|asked| *asked).await;
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}
