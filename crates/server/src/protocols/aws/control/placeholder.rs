//! Placeholders in documents, in whose stead a device finds a link of its own:
//! `${aws:iot:s3-presigned-url:https://s3.<region>.amazonaws.com/<bucket>/<key>}`.
//!
//! Nothing is fetched from there: bucket and key name an artifact of this server, as product and version of a release.

use updraft_core::id::ProductName;
use updraft_core::version::Version;

use super::super::failure::Failure;
use super::super::query::decode;

/// What every placeholder of the contract begins with.
const OPENING: &str = "${aws:iot:";
/// The one that is filled with a link.
const LINK: &str = "s3-presigned-url:";
/// Most placeholders of one document: each costs a signature whenever a device asks.
pub(super) const PLACEHOLDERS_MAX: usize = 10;

const MAY_BE: &str =
    "it may be https://s3.REGION.amazonaws.com/PRODUCT/VERSION, of a release that this server has";

/// The artifact of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placeholder {
    pub(super) product: ProductName,
    pub(super) version: Version,
}

/// All placeholders of a text.
pub(super) fn all(text: &str) -> Result<Vec<Placeholder>, Failure> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(OPENING) {
        let (inner, after) = after.split_once('}').ok_or_else(|| {
            Failure::invalid(format!("the document has a placeholder {OPENING} without an end"))
        })?;
        let url = inner.strip_prefix(LINK).ok_or_else(|| {
            let kind: String = inner.chars().take(64).collect();
            Failure::invalid(format!(
                "the placeholder {OPENING}{kind}}} is not supported; s3-presigned-url is"
            ))
        })?;
        found.push(artifact(url)?);
        if found.len() > PLACEHOLDERS_MAX {
            return Err(Failure::invalid(format!(
                "the document has more than {PLACEHOLDERS_MAX} placeholders"
            )));
        }
        rest = after;
    }
    Ok(found)
}

/// The artifact that a URL names.
pub(super) fn artifact(url: &str) -> Result<Placeholder, Failure> {
    let wrong = || {
        let shown: String = url.chars().take(200).collect();
        Failure::invalid(format!("{shown:?} names no artifact: {MAY_BE}"))
    };
    let rest = url.strip_prefix("https://s3").ok_or_else(wrong)?;
    let (host, path) = rest.split_once('/').ok_or_else(wrong)?;
    let region = host.strip_suffix(".amazonaws.com").ok_or_else(wrong)?;
    let is_region = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !region.is_empty() && !region.strip_prefix(['.', '-']).is_some_and(is_region) {
        return Err(wrong());
    }
    let (bucket, key) = path.split_once('/').ok_or_else(wrong)?;
    let product = decode(bucket).and_then(|bucket| bucket.parse().ok()).ok_or_else(wrong)?;
    let version = decode(key).and_then(|key| Version::parse(&key).ok()).ok_or_else(wrong)?;
    Ok(Placeholder { product, version })
}

/// What is said of a placeholder whose release is not there.
pub(super) fn unknown(placeholder: &Placeholder) -> Failure {
    let Placeholder { product, version } = placeholder;
    Failure::invalid(format!("there is no release {version} of {product} for a placeholder: {MAY_BE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_names_a_release_by_product_and_version() {
        let text = r#"{"a":"${aws:iot:s3-presigned-url:https://s3.eu-central-1.amazonaws.com/thermostat/1.2.0}",
            "b":["${other}", "${aws:iot:s3-presigned-url:https://s3.amazonaws.com/t/1.0.0%2Bb.1}"]}"#;
        let found = all(text).unwrap();
        let named: Vec<_> = found.iter().map(|one| format!("{} {}", one.product, one.version)).collect();
        assert_eq!(named, ["thermostat 1.2.0", "t 1.0.0+b.1"]);
        assert_eq!(all("{}").unwrap(), []);
    }

    #[test]
    fn what_names_no_artifact_of_ours_is_refused_with_what_it_may_be() {
        for url in [
            "",
            "http://s3.amazonaws.com/p/1.0.0",
            "https://s3.amazonaws.com/p",
            "https://s3.amazonaws.com/p/latest",
            "https://s3.amazonaws.com/p/folder/1.0.0",
            "https://s3.amazonaws.com.evil.example/p/1.0.0",
            "https://s3evil.amazonaws.com/p/1.0.0",
            "https://s3.a.b.amazonaws.com/p/1.0.0",
            "https://bucket.s3.amazonaws.com/p/1.0.0",
            "https://s3.amazonaws.com/-p/1.0.0",
            "https://s3.amazonaws.com/p/%ff",
        ] {
            let failure = artifact(url).unwrap_err();
            assert!(failure.message.contains("PRODUCT/VERSION"), "{url}: {}", failure.message);
        }
    }

    #[test]
    fn a_placeholder_without_an_end_of_another_kind_or_one_too_many_is_refused() {
        let many =
            "${aws:iot:s3-presigned-url:https://s3.amazonaws.com/p/1.0.0}".repeat(PLACEHOLDERS_MAX + 1);
        for text in
            ["${aws:iot:s3-presigned-url:https://s3.amazonaws.com/p/1.0.0", "${aws:iot:code-sign:x}", &many]
        {
            assert!(all(text).is_err(), "{text:.80}");
        }
    }
}
