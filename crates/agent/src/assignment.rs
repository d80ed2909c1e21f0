//! Whether to take an assignment. Everything that can be refused before a byte is fetched is refused here.

use crate::package::{is_package, is_transports_own};
use semver::Version;
use std::cmp::Ordering;
use updraft_wire::{Assignment, Reason, UpdateState};
use ureq::http::Uri;

/// What the device is, as far as it decides what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The product it is; a release for another is refused.
    pub product: String,
    /// Whether links without TLS are taken: only from a server that is itself reached without.
    pub plain_links: bool,
    /// Most artifacts it can install at once: one, where a script gets a single file.
    pub artifacts_max: usize,
    /// Whether images without a manifest are taken: only over LwM2M, which has none.
    pub takes_packages: bool,
}

/// Why an assignment is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `Failed` or `Rejected`.
    pub state: UpdateState,
    /// The published reason.
    pub reason: Reason,
    /// A sentence.
    pub detail: String,
}

/// What to do with an assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Take it.
    Take,
    /// Its version runs already.
    Runs,
    /// Refuse it.
    Refuse(Refusal),
}

impl Terms {
    /// Judges an assignment on a device that runs `confirmed`; `None` if what runs was never confirmed.
    #[must_use]
    pub fn judge(&self, assignment: &Assignment, confirmed: Option<&str>) -> Judgement {
        match self.check(assignment, confirmed) {
            Err(refusal) => Judgement::Refuse(refusal),
            Ok(()) if Some(assignment.manifest.version.as_str()) == confirmed => Judgement::Runs,
            Ok(()) => Judgement::Take,
        }
    }

    fn check(&self, assignment: &Assignment, confirmed: Option<&str>) -> Result<(), Refusal> {
        let manifest = &assignment.manifest;
        if self.takes_packages && is_package(manifest) {
            return self.check_package(assignment);
        }
        manifest.check().map_err(|error| unsupported(error.to_string()))?;
        if manifest.product != self.product {
            return Err(unsupported(format!(
                "the release is for product {:?}, this device is {:?}",
                manifest.product, self.product
            )));
        }
        if manifest.artifacts.len() > self.artifacts_max {
            return Err(unsupported(format!(
                "the release has {} artifacts, this device installs {}",
                manifest.artifacts.len(),
                self.artifacts_max
            )));
        }
        let version = Version::parse(&manifest.version)
            .map_err(|_| unsupported(format!("{:?} is no SemVer version", manifest.version)))?;
        if let Some(confirmed) = confirmed.filter(|confirmed| is_below(&version, confirmed))
            && !assignment.allow_downgrade
        {
            return Err(Refusal {
                state: UpdateState::Rejected,
                reason: Reason::Downgrade,
                detail: format!("{version} is below {confirmed}, and the assignment allows no downgrade"),
            });
        }
        if assignment.links.len() != manifest.artifacts.len() {
            return Err(Refusal {
                state: UpdateState::Failed,
                reason: Reason::InvalidUri,
                detail: format!(
                    "{} links for {} artifacts",
                    assignment.links.len(),
                    manifest.artifacts.len()
                ),
            });
        }
        assignment.links.iter().try_for_each(|link| self.check_link(link))
    }

    /// A package has nothing to be judged by but its link.
    fn check_package(&self, assignment: &Assignment) -> Result<(), Refusal> {
        let links = assignment.links.iter().filter(|link| !is_transports_own(link));
        links.into_iter().try_for_each(|link| self.check_link(link))
    }

    fn check_link(&self, link: &str) -> Result<(), Refusal> {
        check_link(link, self.plain_links).map(|_| ()).map_err(|refused| Refusal {
            state: UpdateState::Failed,
            reason: refused.reason(),
            detail: refused.to_string(),
        })
    }
}

fn unsupported(detail: String) -> Refusal {
    Refusal { state: UpdateState::Failed, reason: Reason::UnsupportedPackage, detail }
}

/// SemVer 2.0 precedence, which leaves build metadata out. A running version that is no SemVer version has none
/// below it.
fn is_below(version: &Version, running: &str) -> bool {
    Version::parse(running).is_ok_and(|running| version.cmp_precedence(&running) == Ordering::Less)
}

/// Why a link is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No absolute URL.
    #[error("the link is no absolute URL")]
    Invalid,
    /// Another scheme than https.
    #[error("the link's scheme is {0:?}; only https is followed, and http where the server itself is http")]
    Scheme(String),
    /// An address that only this machine's surroundings answer, where the server is elsewhere.
    #[error("the link points to the link-local address {0}")]
    LinkLocal(String),
}

impl LinkError {
    /// The published reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid | Self::LinkLocal(_) => Reason::InvalidUri,
            Self::Scheme(_) => Reason::UnsupportedProtocol,
        }
    }
}

/// Checks that a link may be followed. Link-local addresses never may: cloud machines answer there with their
/// credentials.
///
/// # Errors
/// [`LinkError`] naming the rule.
pub fn check_link(link: &str, plain_links: bool) -> Result<Uri, LinkError> {
    let uri: Uri = link.parse().map_err(|_| LinkError::Invalid)?;
    let scheme = uri.scheme_str().ok_or(LinkError::Invalid)?;
    let allowed = scheme == "https" || (plain_links && scheme == "http");
    if !allowed {
        return Err(LinkError::Scheme(scheme.to_owned()));
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or(LinkError::Invalid)?;
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    let link_local = match address {
        Ok(std::net::IpAddr::V4(address)) => address.is_link_local(),
        Ok(std::net::IpAddr::V6(address)) => address.is_unicast_link_local(),
        Err(_) => false,
    };
    if link_local { Err(LinkError::LinkLocal(host.to_owned())) } else { Ok(uri) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_followed_unless_the_server_itself_is_plain() {
        assert!(check_link("https://ota.example/x", false).is_ok());
        assert_eq!(check_link("http://ota.example/x", false), Err(LinkError::Scheme("http".into())));
        assert!(check_link("http://ota.example/x", true).is_ok());
        for link in ["ftp://ota.example/x", "file:///etc/passwd", "/x", "x", "", "https://", "https:///x"] {
            assert!(check_link(link, true).is_err(), "{link:?}");
        }
    }

    #[test]
    fn link_local_addresses_are_never_asked() {
        for link in ["https://169.254.169.254/latest/meta-data", "https://[fe80::1]/x"] {
            assert!(matches!(check_link(link, true), Err(LinkError::LinkLocal(_))), "{link}");
        }
    }

    #[test]
    fn versions_are_compared_by_precedence_and_never_as_text() {
        for (version, confirmed, is_below_it) in [
            ("1.9.0", "1.10.0", true),
            ("1.10.0", "1.9.0", false),
            ("1.0.0-rc.1", "1.0.0", true),
            ("1.0.0+build.1", "1.0.0+build.2", false),
            ("1.0.0", "unknown", false),
        ] {
            assert_eq!(is_below(&Version::parse(version).unwrap(), confirmed), is_below_it, "{version}");
        }
    }
}
