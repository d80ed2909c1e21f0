//! Filters: what they match, and what a session keeps of them. Pure.

use mqtt_proto::v5::SubscriptionOptions;
use mqtt_proto::{QoS, TopicFilter};

/// What comes before the group of a shared subscription.
const SHARE: &str = "$share/";

/// Whether a topic name matches a filter (4.7). A wildcard at the root matches no topic that begins with `$`.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            Some(_) | None => return false,
        }
    }
    levels.next().is_none()
}

/// One subscription of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    /// The filter as the client gave it: `$share/group/` and all.
    pub(super) filter: Box<str>,
    pub(super) identifier: Option<u32>,
    pub(super) options: SubscriptionOptions,
}

/// A filter as it was given, in its parts: the group of a shared subscription, and what is matched.
pub(super) fn parts(filter: &str) -> (Option<&str>, &str) {
    match filter.strip_prefix(SHARE).and_then(|rest| rest.split_once('/')) {
        Some((group, filter)) => (Some(group), filter),
        None => (None, filter),
    }
}

impl Subscription {
    pub(super) fn new(filter: &TopicFilter, identifier: Option<u32>, options: SubscriptionOptions) -> Self {
        Self { filter: (**filter).into(), identifier, options }
    }

    /// The group it shares messages with, if it does.
    pub(super) fn group(&self) -> Option<&str> {
        parts(&self.filter).0
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        matches(parts(&self.filter).1, topic)
    }
}

/// What all matching subscriptions of one session make of one message: it is sent once, at the best of their QoS, with all
/// their identifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matched {
    pub(super) qos: QoS,
    pub(super) retain_as_published: bool,
    pub(super) identifiers: Vec<u32>,
}

/// Who publishes, as a subscription with "no local" sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Publisher {
    Itself,
    Another,
}

/// What a session's own subscriptions, the shared ones aside, make of a topic; `None` if none matches.
pub(super) fn matched(subscriptions: &[Subscription], topic: &str, publisher: Publisher) -> Option<Matched> {
    let mut found: Option<Matched> = None;
    for subscription in subscriptions {
        if (subscription.options.no_local && publisher == Publisher::Itself)
            || subscription.group().is_some()
            || !subscription.matches(topic)
        {
            continue;
        }
        let options = subscription.options;
        let all = found.get_or_insert(Matched {
            qos: options.max_qos,
            retain_as_published: options.retain_as_published,
            identifiers: Vec::new(),
        });
        all.qos = all.qos.max(options.max_qos);
        all.retain_as_published |= options.retain_as_published;
        all.identifiers.extend(subscription.identifier);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_matches_what_the_standard_says() {
        let table = [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("$aws/things/d/jobs/+/get/accepted", "$aws/things/d/jobs/$next/get/accepted", true),
            ("$aws/+/d", "$aws/things/d", true),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
        ];
        for (filter, topic, expected) in table {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn a_shared_filter_comes_apart_at_its_group() {
        assert_eq!(parts("$share/g/a/#"), (Some("g"), "a/#"));
        assert_eq!(parts("$shared/g/a"), (None, "$shared/g/a"));
        assert_eq!(parts("a/b"), (None, "a/b"));
    }
}
