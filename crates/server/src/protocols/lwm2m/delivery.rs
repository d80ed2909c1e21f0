//! Push, pull or wait: how an image goes to one device, by what the device can do and what the operator wants. Pure.

use super::config::{DeliveryConfig, Preference};
use std::time::Duration;
use updraft_lwm2m::firmware::{DeliveryMethod, Scheme, Schemes};

/// What counts for the decision.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// The operator's rules.
    pub rules: &'a DeliveryConfig,
    /// What the device says it does (resource /5/0/9).
    pub method: DeliveryMethod,
    /// The schemes it fetches by (resource /5/0/8).
    pub schemes: Schemes,
    /// The links that could be made for it, the best first, each short enough for resource /5/0/1.
    pub links: &'a [(Scheme, String)],
    /// Its radio signal in dBm, as last read (resource /4/0/2).
    pub signal_dbm: Option<i64>,
    /// Its link quality, as last read (resource /4/0/3).
    pub link_quality: Option<i64>,
    /// For how long a push has waited for a better link.
    pub waited: Duration,
}

/// How it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The device fetches the image from there.
    Pull(String),
    /// The image is sent.
    Push,
    /// Not before so long; why, in a sentence.
    Wait(Duration, String),
    /// Neither way is open; why, in a sentence.
    Impossible(String),
}

/// Decides.
#[must_use]
pub fn decide(case: &Case<'_>) -> Decision {
    let link = case.links.iter().find(|(scheme, _)| case.schemes.contains(*scheme)).map(|(_, link)| link);
    let takes_push = matches!(case.method, DeliveryMethod::Push | DeliveryMethod::Both);
    let takes_pull = matches!(case.method, DeliveryMethod::Pull | DeliveryMethod::Both);
    match (takes_pull.then_some(link).flatten(), takes_push, case.rules.prefer) {
        (Some(link), false, _) | (Some(link), true, Preference::Pull) => Decision::Pull(link.clone()),
        (None, true, _) | (Some(_), true, Preference::Push) => push(case),
        (None, false, _) => Decision::Impossible(
            "the device only fetches images, and by none of the schemes that this server has links for"
                .to_owned(),
        ),
    }
}

/// Core appendix E.6: a push is for a link that is good enough.
fn push(case: &Case<'_>) -> Decision {
    let rules = case.rules;
    let short = |what: &str, is: i64, least: i64| {
        (is < least).then(|| format!("{what} is {is}, and the rule for a push asks for {least}"))
    };
    let signal = case.signal_dbm.zip(rules.signal_dbm_min);
    let quality = case.link_quality.zip(rules.link_quality_min);
    let poor = signal
        .and_then(|(is, least)| short("the radio signal in dBm", is, i64::from(least)))
        .or_else(|| quality.and_then(|(is, least)| short("the link quality", is, least)));
    match poor {
        Some(why) if case.waited < rules.wait_max.0 => Decision::Wait(rules.look_again.0, why),
        Some(_) | None => Decision::Push,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(change: impl FnOnce(&mut Case<'_>), rules: &DeliveryConfig) -> Decision {
        let links =
            [(Scheme::Https, "https://h/f/a".to_owned()), (Scheme::Coaps, "coaps://h/f/a".to_owned())];
        let schemes: Schemes = [Scheme::Coap, Scheme::Coaps, Scheme::Https].into_iter().collect();
        let mut case = Case {
            rules,
            method: DeliveryMethod::Both,
            schemes,
            links: &links,
            signal_dbm: Some(-101),
            link_quality: None,
            waited: Duration::ZERO,
        };
        change(&mut case);
        decide(&case)
    }

    fn rules(prefer: Preference, signal_dbm_min: Option<i32>) -> DeliveryConfig {
        DeliveryConfig { prefer, signal_dbm_min, ..DeliveryConfig::default() }
    }

    #[test]
    fn a_device_that_can_do_both_does_what_the_operator_prefers() {
        let pull = rules(Preference::Pull, None);
        assert_eq!(decided(|_| (), &pull), Decision::Pull("https://h/f/a".to_owned()));
        assert_eq!(decided(|_| (), &rules(Preference::Push, None)), Decision::Push);
    }

    #[test]
    fn a_device_is_given_only_a_link_of_a_scheme_it_lists() {
        let only: Schemes = [Scheme::Coaps].into_iter().collect();
        let pull = rules(Preference::Pull, None);
        assert_eq!(decided(|case| case.schemes = only, &pull), Decision::Pull("coaps://h/f/a".to_owned()));
        let none: Schemes = [Scheme::CoapTcp].into_iter().collect();
        assert_eq!(decided(|case| case.schemes = none, &pull), Decision::Push, "it takes a push as well");
        let stuck = decided(
            |case| {
                case.schemes = none;
                case.method = DeliveryMethod::Pull;
            },
            &pull,
        );
        assert!(matches!(stuck, Decision::Impossible(_)), "{stuck:?}");
    }

    #[test]
    fn a_push_waits_for_a_good_link_and_not_for_ever() {
        let rules = rules(Preference::Push, Some(-100));
        let Decision::Wait(pause, why) = decided(|_| (), &rules) else { panic!("the signal is too weak") };
        assert_eq!(pause, rules.look_again.0);
        assert!(why.contains("-101") && why.contains("-100"), "{why}");
        assert_eq!(decided(|case| case.signal_dbm = Some(-100), &rules), Decision::Push);
        assert_eq!(
            decided(|case| case.signal_dbm = None, &rules),
            Decision::Push,
            "nothing is known of the link"
        );
        assert_eq!(decided(|case| case.waited = rules.wait_max.0, &rules), Decision::Push);
    }

    #[test]
    fn a_pull_does_not_wait_for_the_link() {
        let rules = rules(Preference::Push, Some(-100));
        let pulled = decided(|case| case.method = DeliveryMethod::Pull, &rules);
        assert!(matches!(pulled, Decision::Pull(_)), "{pulled:?}");
    }
}
