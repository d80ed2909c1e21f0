//! Any bytes as the body of each check-in: what is taken was UTF-8 and JSON, names its device and product within the
//! limits, and means the same when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::attributes::Value;
use updraft_server::protocols::http::check_in::{Said, ioto, ioto_report, native};
use updraft_wire::check_in::CheckIn;

fuzz_target!(|body: &[u8]| {
    if let Ok(said) = native(body) {
        check(&said);
        let words: CheckIn = serde_json::from_slice(body).expect("the two readers of the contract agree");
        assert_eq!(words.id, said.device.as_str());
        assert_eq!(words.update.map(|update| update.job).filter(|_| said.ended.is_some()), said.ended);
        assert!(
            said.report.progress.is_none_or(|progress| progress.percent.is_none_or(|percent| percent <= 100))
        );
    }
    if let Ok(said) = ioto(body) {
        check(&said);
        assert!(said.report.progress.is_none() && said.ended.is_none());
        let description = said.report.description.expect("a check-in describes");
        let again = serde_json::to_vec(&description.attributes).expect("attributes are plain data");
        let again = ioto(&again).expect("what was taken is taken again").report.description;
        assert_eq!(again, Some(description));
    }
    if let Ok((device, progress)) = ioto_report(body) {
        assert!(!device.as_str().is_empty() && progress.attempt > 0);
    }
});

fn check(said: &Said) {
    let description = said.report.description.as_ref().expect("a check-in describes");
    for (name, expected) in [
        ("id", said.device.as_str()),
        ("product", description.product.as_str()),
        ("version", description.version.as_str()),
    ] {
        assert_eq!(description.attributes.get(name).and_then(Value::as_str), Some(expected));
        assert!((1..=128).contains(&expected.len()));
    }
    assert!(!said.device.as_str().contains(['/', '\\', '\0', '"', ' ']));
}
