//! Time passes: silent clients, stalled ones, wills that are due, sessions that waited long enough. One look at all sessions
//! every half second costs less memory than a timer for each, and is exact enough.

use super::Endpoint;
use super::gate::Gate;
use super::limits::SWEEP_INTERVAL;
use super::registry::Session;
use super::session::{Presence, State};
use crate::protocols::mqtt::door::Handler;
use mqtt_proto::v5::DisconnectReasonCode as Code;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::MissedTickBehavior;

/// Sessions that are looked at before others get their turn: a look at a million of them must not keep anyone waiting.
const SESSIONS_AT_A_TIME: usize = 1_000;

impl<H: Handler, G: Gate> Endpoint<H, G> {
    /// Sweeps until it is dropped.
    pub(super) async fn sweep(self: &Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for shard in 0..self.router.registry.shards() {
                let now = self.router.now();
                let sessions = self.router.registry.shard_sessions(shard);
                for session in &sessions {
                    self.look_at(session, now);
                }
                if sessions.len() > SESSIONS_AT_A_TIME {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn look_at(self: &Arc<Self>, session: &Arc<Session>, now: u64) {
        let mut state = session.lock();
        state.shrink();
        match state.presence {
            Presence::Connected => self.look_at_connected(session, &mut state, now),
            Presence::Away(since) => {
                let due = state.will_due.take_if(|due| *due <= now).and_then(|_| state.will.take());
                let expired = now >= since + u64::from(state.expiry) * 1000;
                // A session's end makes its will due as well (3.1.3.2.2).
                let will = if expired { due.or_else(|| state.will.take()) } else { due };
                let ended = expired && self.router.end(session, &mut state);
                let identity = state.identity.clone();
                drop(state);
                if let Some(will) = will {
                    self.send_will(identity, *will);
                }
                if ended {
                    self.router.registry.remove(session);
                }
            }
            Presence::Gone => {}
        }
    }

    fn look_at_connected(&self, session: &Session, state: &mut State, now: u64) {
        let silent = now.saturating_sub(session.heard.load(Ordering::Relaxed));
        let stall_max = u64::try_from(self.router.limits.stall_time.as_millis()).unwrap_or(u64::MAX);
        if state.silence_max > 0 && silent > state.silence_max {
            state.kick(Code::KeepAliveTimeout);
        } else if state.stalled.is_some_and(|since| now.saturating_sub(since) > stall_max) {
            state.kick(Code::QuotaExceeded);
        }
    }
}
