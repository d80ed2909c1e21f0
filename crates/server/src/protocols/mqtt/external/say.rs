//! What the server says on one connection: in order, and again on the next until the broker has acknowledged it.

use super::connection::SENT_AT_ONCE;
use super::lane::Lane;
use super::pace::Pace;
use crate::protocols::mqtt::door::Message;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use rumqttc::{AsyncClient, ClientError, PublishOptions};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Messages that wait to be sent, over all connections. Answers wait for a place; hints beyond it are dropped.
pub(super) const WAITING_MAX: usize = 16_384;
/// How many connections may be lost over one message, before it is given up: some brokers hang up on whoever says what it
/// may not.
const LOSSES_MAX: u32 = 5;
/// After so many, it is sent alone, so that it becomes plain over which message the broker hangs up: the others must not be
/// given up for it.
const LOSSES_CAREFUL: u32 = 2;

/// A connection that can be spoken on.
#[derive(Debug, Clone)]
pub(super) struct Up {
    pub(super) client: AsyncClient,
    /// Which connection it is, counted from 1.
    pub(super) number: u64,
}

/// A message, and how many connections were lost before it was acknowledged.
#[derive(Debug)]
struct Unsaid {
    message: Message,
    losses: u32,
}

/// What is being said: messages in their order, the first of which are on their way.
#[derive(Debug, Default)]
struct Window {
    unsaid: VecDeque<Unsaid>,
    in_flight: usize,
}

impl Window {
    fn has_room(&self) -> bool {
        self.unsaid.len() < usize::from(SENT_AT_ONCE)
    }

    fn push(&mut self, message: Message) {
        self.unsaid.push_back(Unsaid { message, losses: 0 });
    }

    /// The message to be sent next.
    fn next(&self) -> Option<&Message> {
        let is_careful = self.unsaid.front().is_some_and(|first| first.losses >= LOSSES_CAREFUL);
        let most = if is_careful { 1 } else { usize::from(SENT_AT_ONCE) };
        self.unsaid.get(self.in_flight).filter(|_| self.in_flight < most).map(|unsaid| &unsaid.message)
    }

    /// The next is on its way.
    fn handle_sent(&mut self) {
        self.in_flight += 1;
    }

    /// The next can never be sent.
    fn drop_next(&mut self) {
        self.unsaid.remove(self.in_flight);
    }

    /// The first is acknowledged. Brokers acknowledge in order (MQTT-4.6.0-2).
    fn handle_acknowledged(&mut self) {
        self.unsaid.pop_front();
        self.in_flight -= 1;
    }

    /// The connection is lost, and all on it goes again. Returns what is given up.
    fn handle_lost(&mut self) -> Option<Message> {
        let in_flight = std::mem::take(&mut self.in_flight);
        for unsaid in self.unsaid.iter_mut().take(in_flight) {
            unsaid.losses += 1;
        }
        let is_given_up = self.unsaid.front().is_some_and(|first| first.losses >= LOSSES_MAX);
        self.unsaid.pop_front_if(|_| is_given_up).map(|unsaid| unsaid.message)
    }
}

/// Why nothing more is said on a connection.
enum End {
    /// It is lost.
    Lost,
    /// Nothing more can come, and all is said.
    Over,
}

/// Says whatever is to be said on a lane. Ends when nothing more can come and all is said.
pub(super) async fn send_all(lane: &Lane, mut messages: mpsc::Receiver<Message>, per_second: Option<u32>) {
    let mut up = lane.up.subscribe();
    let mut window = Window::default();
    let mut pace = Pace::new(per_second);
    loop {
        let Ok(current) = up.wait_for(Option::is_some).await.map(|up| up.clone()) else { return };
        let Some(current) = current else { return };
        match send_on(&current, lane, &mut up, &mut window, &mut pace, &mut messages).await {
            End::Over => return,
            End::Lost => {}
        }
        if let Some(message) = window.handle_lost() {
            tracing::error!(
                topic = &*message.topic,
                "a message was given up: the broker has hung up each time it was sent. Do its access rules let the server publish there?"
            );
        }
        lane.unacknowledged.store(window.unsaid.len(), Ordering::Relaxed);
        if up.wait_for(|up| is_another(up.as_ref(), current.number)).await.is_err() {
            return;
        }
    }
}

fn is_another(up: Option<&Up>, number: u64) -> bool {
    up.is_none_or(|up| up.number != number)
}

/// Says what is to be said on one connection, for as long as that lasts.
async fn send_on(
    current: &Up,
    lane: &Lane,
    up: &mut watch::Receiver<Option<Up>>,
    window: &mut Window,
    pace: &mut Pace,
    messages: &mut mpsc::Receiver<Message>,
) -> End {
    let mut acknowledged = FuturesOrdered::new();
    let mut is_open = true;
    while is_open || !window.unsaid.is_empty() {
        let next = window.next().is_some().then(|| pace.next(Instant::now()));
        tokio::select! {
            Some(outcome) = acknowledged.next(), if !acknowledged.is_empty() => match outcome {
                Ok(()) => window.handle_acknowledged(),
                Err(_) => return End::Lost,
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let Some(message) = window.next() else { continue };
                match publish(&current.client, message) {
                    Ok(notice) => {
                        acknowledged.push_back(notice.wait_completion_async());
                        window.handle_sent();
                        pace.count(Instant::now());
                    }
                    Err(ClientError::InvalidRequest(_)) => {
                        tracing::error!(topic = &*message.topic, "a message has a topic that MQTT does not know");
                        window.drop_next();
                    }
                    // The connection has ended.
                    Err(_) => return End::Lost,
                }
            }
            message = messages.recv(), if is_open && window.has_room() => match message {
                Some(message) => window.push(message),
                None => is_open = false,
            },
            _ = up.wait_for(|up| is_another(up.as_ref(), current.number)) => return End::Lost,
        }
        lane.unacknowledged.store(window.unsaid.len(), Ordering::Relaxed);
    }
    End::Over
}

fn publish(client: &AsyncClient, message: &Message) -> Result<rumqttc::PublishNotice, ClientError> {
    client.try_publish_tracked(&*message.topic, message.payload.clone(), PublishOptions::at_least_once())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(count: usize) -> Window {
        let mut window = Window::default();
        for number in 0..count {
            window.push(Message { topic: format!("state/d/{number}").into(), payload: bytes::Bytes::new() });
        }
        window
    }

    /// Sends all that may be sent; their numbers.
    fn send(window: &mut Window) -> Vec<usize> {
        let mut sent = Vec::new();
        while let Some(message) = window.next() {
            sent.push(message.topic["state/d/".len()..].parse().unwrap());
            window.handle_sent();
        }
        sent
    }

    #[test]
    fn what_is_not_acknowledged_goes_again_in_its_order_and_before_what_comes_after_it() {
        let mut window = window(4);
        assert_eq!(send(&mut window), [0, 1, 2, 3]);
        window.handle_acknowledged();
        assert!(window.handle_lost().is_none());
        window.push(Message { topic: "state/d/4".into(), payload: bytes::Bytes::new() });
        assert_eq!(send(&mut window), [1, 2, 3, 4]);
    }

    #[test]
    fn a_window_holds_as_many_as_may_be_on_their_way() {
        let mut window = window(usize::from(SENT_AT_ONCE) - 1);
        assert!(window.has_room());
        window.push(Message { topic: "state/d/99".into(), payload: bytes::Bytes::new() });
        assert!(!window.has_room());
        assert_eq!(send(&mut window).len(), usize::from(SENT_AT_ONCE));
    }

    #[test]
    fn only_the_message_over_which_a_broker_hangs_up_is_given_up() {
        let mut window = window(5);
        let (mut acknowledged, mut given_up) = (Vec::new(), Vec::new());
        // A broker that hangs up over the third, and has then acknowledged none of what came with it.
        for _ in 0..20 {
            loop {
                let sent = send(&mut window);
                if sent.is_empty() || sent.contains(&2) {
                    break;
                }
                for number in sent {
                    window.handle_acknowledged();
                    acknowledged.push(number);
                }
            }
            given_up.extend(window.handle_lost().map(|message| message.topic));
        }
        assert_eq!(acknowledged, [0, 1, 3, 4]);
        assert_eq!(given_up, [std::sync::Arc::from("state/d/2")]);
    }

    #[test]
    fn what_can_never_be_sent_holds_nothing_back() {
        let mut window = window(3);
        window.handle_sent();
        window.drop_next();
        assert_eq!(send(&mut window), [2]);
    }
}
