//! Placeholders in documents, in whose stead a device finds a link of its own:
//! `${aws:iot:s3-presigned-url:https://s3.<region>.amazonaws.com/<bucket>/<key>}`.
//!
//! Nothing is fetched from there: bucket and key name an artifact of this server, as product and version of a release.
//! Placeholders are filled anew whenever a device asks, so that each link is fresh. Pure.

use updraft_core::id::ProductName;
use updraft_core::version::Version;

/// What every placeholder of the contract begins with.
const OPENING: &str = "${aws:iot:";
/// The one that is filled with a link.
const LINK: &str = "s3-presigned-url:";
/// Most placeholders of one document: each costs a signature whenever a device asks.
pub const PLACEHOLDERS_MAX: usize = 10;

/// What a placeholder may be, for people.
pub const MAY_BE: &str =
    "it may be https://s3.REGION.amazonaws.com/PRODUCT/VERSION, of a release that this server has";

/// A release's artifact, as a placeholder names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// The product.
    pub product: ProductName,
    /// The version.
    pub version: Version,
}

impl Placeholder {
    /// The placeholder's text.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { product, version } = self;
        // The one character of either that a URL's path cannot hold as it is.
        let version = version.as_str().replace('+', "%2B");
        format!("{OPENING}{LINK}https://s3.amazonaws.com/{product}/{version}}}")
    }
}

/// Why a document's placeholders cannot be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlaceholder {
    /// One has no end.
    #[error("the document has a placeholder {OPENING} without an end")]
    Endless,
    /// One is of a kind that is not known.
    #[error("the placeholder {OPENING}{0}}} is not supported; s3-presigned-url is")]
    Unsupported(String),
    /// One names nothing that this server could have.
    #[error("{0:?} names no artifact: {MAY_BE}")]
    NoArtifact(String),
    /// There are too many.
    #[error("the document has more than {PLACEHOLDERS_MAX} placeholders")]
    TooMany,
}

/// All placeholders of a text.
///
/// # Errors
/// [`InvalidPlaceholder`], for the first that is wrong.
pub fn all(text: &str) -> Result<Vec<Placeholder>, InvalidPlaceholder> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, inner, after)) = next(rest)? {
        found.push(parse(inner)?);
        if found.len() > PLACEHOLDERS_MAX {
            return Err(InvalidPlaceholder::TooMany);
        }
        rest = after;
    }
    Ok(found)
}

/// The text with each placeholder replaced by what `link` makes of it; what cannot be filled stays as it is. Links hold no
/// character that JSON would have to escape.
pub fn fill(text: &str, mut link: impl FnMut(&Placeholder) -> Option<String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Ok(Some((before, inner, after))) = next(rest) {
        filled.push_str(before);
        match parse(inner).ok().and_then(|placeholder| link(&placeholder)) {
            Some(link) => filled.push_str(&link),
            None => filled.push_str(&rest[before.len()..rest.len() - after.len()]),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// The text before the next placeholder, what is in it, and the text after it.
fn next(text: &str) -> Result<Option<(&str, &str, &str)>, InvalidPlaceholder> {
    let Some((before, after)) = text.split_once(OPENING) else { return Ok(None) };
    let (inner, after) = after.split_once('}').ok_or(InvalidPlaceholder::Endless)?;
    Ok(Some((before, inner, after)))
}

fn parse(inner: &str) -> Result<Placeholder, InvalidPlaceholder> {
    let unsupported = || InvalidPlaceholder::Unsupported(inner.chars().take(64).collect());
    artifact(inner.strip_prefix(LINK).ok_or_else(unsupported)?)
}

/// The artifact that a URL of the contract's form names.
///
/// # Errors
/// [`InvalidPlaceholder::NoArtifact`].
pub fn artifact(url: &str) -> Result<Placeholder, InvalidPlaceholder> {
    let wrong = || InvalidPlaceholder::NoArtifact(url.chars().take(200).collect());
    let rest = url.strip_prefix("https://s3").ok_or_else(wrong)?;
    let (host, path) = rest.split_once('/').ok_or_else(wrong)?;
    let region = host.strip_suffix(".amazonaws.com").ok_or_else(wrong)?;
    let is_region = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !region.is_empty() && !region.strip_prefix(['.', '-']).is_some_and(is_region) {
        return Err(wrong());
    }
    let (bucket, key) = path.split_once('/').ok_or_else(wrong)?;
    let product = bucket.parse().map_err(|_| wrong())?;
    let version = Version::parse(&key.replace("%2B", "+").replace("%2b", "+")).map_err(|_| wrong())?;
    Ok(Placeholder { product, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "${aws:iot:s3-presigned-url:https://s3.amazonaws.com/p/1.0.0}";

    #[test]
    fn a_placeholder_names_a_release_by_product_and_version() {
        let text = r#"{"a":"${aws:iot:s3-presigned-url:https://s3.eu-central-1.amazonaws.com/thermostat/1.2.0}",
            "b":["${other}", "${aws:iot:s3-presigned-url:https://s3.amazonaws.com/t/1.0.0%2Bb.1}"]}"#;
        let found = all(text).unwrap();
        let named: Vec<_> = found.iter().map(|one| format!("{} {}", one.product, one.version)).collect();
        assert_eq!(named, ["thermostat 1.2.0", "t 1.0.0+b.1"]);
        assert_eq!(all(&found[1].text()), Ok(vec![found[1].clone()]), "its text names the same");
        assert_eq!(all("{}"), Ok(vec![]));
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
        ] {
            let error = artifact(url).unwrap_err();
            assert!(error.to_string().contains("PRODUCT/VERSION"), "{url}: {error}");
        }
    }

    #[test]
    fn a_placeholder_without_an_end_of_another_kind_or_one_too_many_is_refused() {
        let many = ONE.repeat(PLACEHOLDERS_MAX + 1);
        for text in [&ONE[..ONE.len() - 1], "${aws:iot:code-sign:x}", &many] {
            assert!(all(text).is_err(), "{text:.80}");
        }
    }

    #[test]
    fn what_can_be_filled_is_and_what_cannot_stays() {
        let text = format!("a {ONE} b {ONE} ${{aws:iot:other}} c ${{aws:iot:");
        let mut count = 0;
        let filled = fill(&text, |placeholder| {
            count += 1;
            assert_eq!(placeholder.product.as_str(), "p");
            (count == 1).then(|| "LINK".to_owned())
        });
        assert_eq!(filled, format!("a LINK b {ONE} ${{aws:iot:other}} c ${{aws:iot:"));
    }
}
