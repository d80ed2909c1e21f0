//! Whether a broker delivers to shared subscriptions. Some grant them and deliver nothing (RabbitMQ 3.10, NATS 2.9): only
//! trying tells.
//!
//! Two connections subscribe to one share; one of them publishes some messages, and each must arrive once, at either. One
//! more message, to a subscription that is not shared, tells a broker that does not share from one that lets the server
//! say nothing here at all.

use super::config::{ExternalConfig, Sharing};
use super::connection::{Connection, LinkError, Said};
use super::filter::Subscription;
use rumqttc::mqttbytes::v4::Publish;
use rumqttc::{AsyncClient, PublishOptions};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How many messages are tried. Where chance delivered each of them to both or to none, it would not do so with all.
const MESSAGES: usize = 8;
/// How long the messages have, all together.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a message may be late, or come twice, after the last has come that must.
const GRACE_TIME: Duration = Duration::from_millis(500);
/// What the topics of probes begin with: the server must be allowed to publish and subscribe below it.
pub(super) const TOPIC: &str = "updraft/probe";
/// The same, of probes for topics of things.
pub(super) const THINGS_TOPIC: &str = "$aws/things/updraft-probe";

/// What was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Each message arrived once.
    Delivers,
    /// Not one arrived, though the subscription was granted.
    DeliversNothing,
    /// Some arrived, some did not.
    Loses,
    /// Some arrived more than once.
    Repeats,
    /// The subscription was not granted.
    NotGranted,
    /// A message to a plain subscription did not arrive either: the server may not do so here.
    NotAllowed,
}

impl Finding {
    /// What it means, for the log.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Delivers => "the broker delivers each message of a shared subscription once",
            Self::DeliversNothing => "the broker grants shared subscriptions and delivers nothing to them",
            Self::Loses => "the broker loses messages to shared subscriptions",
            Self::Repeats => "the broker delivers messages to shared subscriptions more than once",
            Self::NotGranted => "the broker grants no shared subscription",
            Self::NotAllowed => {
                "the broker does not let the server publish and subscribe below updraft/probe/ and \
                 $aws/things/updraft-probe/, so shared subscriptions cannot be tried"
            }
        }
    }
}

/// How often each message arrived, over all members of the share, and the one beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Arrivals {
    shared: [usize; MESSAGES],
    plain: usize,
}

fn judge(arrivals: &Arrivals) -> Finding {
    let Arrivals { shared, plain } = arrivals;
    if *plain == 0 && shared.iter().all(|times| *times == 0) {
        return Finding::NotAllowed;
    }
    if shared.iter().any(|times| *times > 1) {
        return Finding::Repeats;
    }
    match shared.iter().sum::<usize>() {
        MESSAGES => Finding::Delivers,
        0 => Finding::DeliversNothing,
        _ => Finding::Loses,
    }
}

/// How to subscribe, by what was found and what is wanted; `None`: not at all.
pub(super) fn decide(sharing: Sharing, finding: Finding) -> Option<Subscription> {
    match (sharing, finding) {
        (Sharing::Preferred | Sharing::Required, Finding::Delivers) => Some(Subscription::Shared),
        (Sharing::Required, _) => None,
        (Sharing::Preferred | Sharing::Never, _) => Some(Subscription::Plain),
    }
}

/// Tries it below a topic. `salt` makes the topics different from those of any other probe.
pub(super) async fn probe(
    config: &ExternalConfig,
    client_id: &str,
    topic: &str,
    salt: &str,
) -> Result<Finding, LinkError> {
    let mut first = Connection::open(config, &format!("{client_id}-probe-1")).await?;
    let mut second = Connection::open(config, &format!("{client_id}-probe-2")).await?;
    let shared = [format!("$share/probe-{salt}/{topic}/{salt}/shared/+")];
    let plain = [format!("{topic}/{salt}/plain")];
    let nothing = |_: &AsyncClient, _: Publish| Ok(());
    let granted = [
        first.subscribe(&plain, nothing).await,
        first.subscribe(&shared, nothing).await,
        second.subscribe(&shared, nothing).await,
    ];
    for granted in granted {
        match granted {
            Ok(()) => {}
            Err(LinkError::NotGranted(filter)) if filter == plain[0] => return Ok(Finding::NotAllowed),
            Err(LinkError::NotGranted(_)) => return Ok(Finding::NotGranted),
            Err(error) => return Err(error),
        }
    }
    let mut topics: Vec<_> = (0..MESSAGES).map(|number| format!("{topic}/{salt}/shared/{number}")).collect();
    topics.extend(plain);
    for topic in topics {
        // Refused only where the connection has ended by itself, which is about to be read.
        let _ = first.client.try_publish(topic, "probe", PublishOptions::at_least_once());
    }
    let arrivals = collect(&mut first, &mut second).await?;
    first.close(GRACE_TIME).await;
    second.close(GRACE_TIME).await;
    Ok(judge(&arrivals))
}

async fn collect(first: &mut Connection, second: &mut Connection) -> Result<Arrivals, LinkError> {
    let mut arrivals = Arrivals { shared: [0; MESSAGES], plain: 0 };
    let mut end = Instant::now() + ARRIVAL_TIME_MAX;
    loop {
        let next = async {
            tokio::select! {
                said = first.next() => said.map(|said| (said, &first.client)),
                said = second.next() => said.map(|said| (said, &second.client)),
            }
        };
        let Ok(said) = timeout_at(end, next).await else { return Ok(arrivals) };
        let (Said::Message(message), client) = said? else { continue };
        if let Some(ack) = client.prepare_ack(&message) {
            let _ = client.try_manual_ack(ack);
        }
        let Ok(topic) = std::str::from_utf8(&message.topic) else { continue };
        match topic.rsplit('/').next() {
            Some("plain") => arrivals.plain += 1,
            last => {
                let number = last.and_then(|last| last.parse::<usize>().ok());
                if let Some(times) = number.and_then(|number| arrivals.shared.get_mut(number)) {
                    *times += 1;
                }
            }
        }
        if arrivals.plain > 0 && arrivals.shared.iter().all(|times| *times > 0) {
            end = end.min(Instant::now() + GRACE_TIME);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shared: [usize; MESSAGES], plain: usize, expected: Finding) {
        assert_eq!(judge(&Arrivals { shared, plain }), expected, "{shared:?} {plain}");
    }

    #[test]
    fn a_broker_delivers_only_if_each_message_came_exactly_once() {
        check([1; MESSAGES], 1, Finding::Delivers);
        check([1; MESSAGES], 0, Finding::Delivers);
        check([0; MESSAGES], 1, Finding::DeliversNothing);
        check([1, 1, 1, 0, 1, 1, 1, 1], 1, Finding::Loses);
        check([0, 0, 0, 0, 0, 0, 0, 1], 1, Finding::Loses);
        check([2; MESSAGES], 1, Finding::Repeats);
        check([1, 1, 2, 1, 1, 1, 1, 1], 1, Finding::Repeats);
        check([2, 0, 1, 1, 1, 1, 1, 1], 1, Finding::Repeats);
    }

    #[test]
    fn a_server_that_may_say_nothing_is_told_from_a_broker_that_does_not_share() {
        check([0; MESSAGES], 0, Finding::NotAllowed);
    }

    #[test]
    fn only_a_share_that_delivers_is_used_and_whoever_needs_one_takes_nothing_else() {
        let faults = [
            Finding::DeliversNothing,
            Finding::Loses,
            Finding::Repeats,
            Finding::NotGranted,
            Finding::NotAllowed,
        ];
        assert_eq!(decide(Sharing::Preferred, Finding::Delivers), Some(Subscription::Shared));
        assert_eq!(decide(Sharing::Required, Finding::Delivers), Some(Subscription::Shared));
        assert_eq!(decide(Sharing::Never, Finding::Delivers), Some(Subscription::Plain));
        for fault in faults {
            assert_eq!(decide(Sharing::Preferred, fault), Some(Subscription::Plain), "{fault:?}");
            assert_eq!(decide(Sharing::Required, fault), None, "{fault:?}");
        }
    }
}
