//! Which critical options are understood, in their lengths and numbers (RFC 7252 §5.4).

use super::option::{SEGMENT_BYTES_MAX, View, is_critical, number};

/// How an option may appear.
struct Rule {
    number: u16,
    bytes_max: usize,
    times: Times,
}

/// How often an option may appear (RFC 7252 §5.4.5).
#[derive(PartialEq, Eq)]
enum Times {
    Once,
    Any,
}

/// The critical options of requests (RFC 7252 §5.10, RFC 7959 §2.1). Not If-Match and If-None-Match: no resource here has
/// conditions, and to ignore one would do what its sender excluded.
const REQUEST: [Rule; 7] = [
    Rule { number: number::URI_HOST, bytes_max: 255, times: Times::Once },
    Rule { number: number::URI_PORT, bytes_max: 2, times: Times::Once },
    Rule { number: number::URI_PATH, bytes_max: SEGMENT_BYTES_MAX, times: Times::Any },
    Rule { number: number::URI_QUERY, bytes_max: SEGMENT_BYTES_MAX, times: Times::Any },
    Rule { number: number::ACCEPT, bytes_max: 2, times: Times::Once },
    // The length of a block's option is checked where it is read: its error is another one.
    Rule { number: number::BLOCK2, bytes_max: usize::MAX, times: Times::Once },
    Rule { number: number::BLOCK1, bytes_max: usize::MAX, times: Times::Once },
];

/// The critical options of responses.
const RESPONSE: [Rule; 2] = [
    Rule { number: number::BLOCK2, bytes_max: 3, times: Times::Once },
    Rule { number: number::BLOCK1, bytes_max: 3, times: Times::Once },
];

/// Whether each critical option of a request is understood, and its texts are UTF-8.
pub(super) fn request(options: View<'_>) -> bool {
    all(options, &REQUEST)
        && [number::URI_PATH, number::URI_QUERY, number::URI_HOST]
            .iter()
            .all(|number| options.all(*number).all(|value| str::from_utf8(value).is_ok()))
}

/// Whether each critical option of a response is understood.
pub(super) fn response(options: View<'_>) -> bool {
    all(options, &RESPONSE)
}

fn all(options: View<'_>, rules: &[Rule]) -> bool {
    let mut previous = None;
    options.iter().filter(|(number, _)| is_critical(*number)).all(|(number, value)| {
        let again = previous.replace(number) == Some(number);
        rules.iter().any(|rule| {
            rule.number == number && value.len() <= rule.bytes_max && (!again || rule.times == Times::Any)
        })
    })
}
