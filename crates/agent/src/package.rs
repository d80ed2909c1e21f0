//! A package: an image that comes without a manifest, as LwM2M brings it. Neither its size nor its digest is announced, and
//! which version it is only the image itself can tell.
//!
//! What came is trusted as far as the connection it came by. Its digest is taken down once it is whole, and from then on it
//! is held to that like any other image.

use crate::storage::Storage;
use std::io;
use std::path::Path;
use updraft_wire::manifest::{MANIFEST_FORMAT, VERSION_BYTES_MAX};
use updraft_wire::{ArtifactEntry, Assignment, JobId, Manifest};

/// The one artifact's name: what `{image}` stands for.
pub const ARTIFACT_NAME: &str = "image";
/// The version of a package that is not whole yet.
pub const VERSION_UNTOLD: &str = "0.0.0-untold";
/// Longest package, in bytes: systems of whole devices are smaller, and a server that never ends has to be cut off.
pub const PACKAGE_BYTES_MAX: u64 = 8 << 30;
/// How much of an image's end is searched for its last line.
const LAST_LINE_BYTES_MAX: u64 = 512;
/// `MCUboot`'s image header: its magic number, and how long it is (mcuboot, `boot/bootutil/include/bootutil/image.h`).
const MCUBOOT_MAGIC: u32 = 0x96f3_b83d;
const MCUBOOT_HEADER_BYTES: usize = 32;

/// A package as an assignment.
#[must_use]
pub fn assignment(job: JobId, product: &str, link: String) -> Assignment {
    let artifact =
        ArtifactEntry { name: ARTIFACT_NAME.to_owned(), size: 0, sha256: String::new(), md5: None };
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        product: product.to_owned(),
        version: VERSION_UNTOLD.to_owned(),
        artifacts: vec![artifact],
    };
    // Which version it is shows when it is there; a server that may write firmware may write an older one.
    Assignment { job, manifest, links: vec![link], allow_downgrade: true }
}

/// Whether a manifest is a package's that is not whole yet. None that a server gives is: those have a digest.
#[must_use]
pub fn is_package(manifest: &Manifest) -> bool {
    matches!(manifest.artifacts.as_slice(), [artifact] if artifact.sha256.is_empty())
}

/// Whether a link is of a scheme that only a transport fetches: CoAP's, and `push:` for what a server sends unasked.
#[must_use]
pub fn is_transports_own(link: &str) -> bool {
    ["coap://", "coaps://", "push:"].iter().any(|scheme| link.starts_with(scheme))
}

/// What an image says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The product it is for, where it says so.
    pub product: Option<String>,
    /// Its version.
    pub version: String,
}

/// What the image in a file says it is: in `MCUboot`'s header, or in a last line `product version`. Without either its
/// version is made of its digest.
///
/// # Errors
/// The file cannot be read.
pub fn label(storage: &mut dyn Storage, path: &Path, size: u64, sha256: &str) -> io::Result<Label> {
    let mut header = [0; MCUBOOT_HEADER_BYTES];
    let read = storage.read_at(path, 0, &mut header)?;
    if let Some(version) = mcuboot_version(&header[..read]) {
        return Ok(Label { product: None, version });
    }
    let mut tail = vec![0; usize::try_from(size.min(LAST_LINE_BYTES_MAX)).unwrap_or(0)];
    let read = storage.read_at(path, size - tail.len() as u64, &mut tail)?;
    if let Some(label) = last_line(&tail[..read]) {
        return Ok(label);
    }
    let digits = sha256.get(..12).unwrap_or(sha256);
    Ok(Label { product: None, version: format!("0.0.0-image.x{digits}") })
}

/// `major.minor.revision+build` of an image header of `MCUboot`.
fn mcuboot_version(header: &[u8]) -> Option<String> {
    let header: &[u8; MCUBOOT_HEADER_BYTES] = header.try_into().ok()?;
    if u32::from_le_bytes([header[0], header[1], header[2], header[3]]) != MCUBOOT_MAGIC {
        return None;
    }
    let (major, minor) = (header[20], header[21]);
    let revision = u16::from_le_bytes([header[22], header[23]]);
    let build = u32::from_le_bytes([header[24], header[25], header[26], header[27]]);
    let build = if build == 0 { String::new() } else { format!("+{build}") };
    Some(format!("{major}.{minor}.{revision}{build}"))
}

/// A last line of a product and a `SemVer` version, such as `thermostat 1.2.0`.
fn last_line(tail: &[u8]) -> Option<Label> {
    let tail = tail.strip_suffix(b"\n")?;
    let line = &tail[tail.iter().rposition(|byte| *byte == b'\n')? + 1..];
    let (product, version) = str::from_utf8(line).ok()?.split_once(' ')?;
    let is_version = version.len() <= VERSION_BYTES_MAX && semver::Version::parse(version).is_ok();
    (is_version && !product.is_empty())
        .then(|| Label { product: Some(product.to_owned()), version: version.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_says_its_version_in_a_header_or_a_last_line() {
        let mut header = [0; MCUBOOT_HEADER_BYTES];
        header[..4].copy_from_slice(&MCUBOOT_MAGIC.to_le_bytes());
        header[20..28].copy_from_slice(&[2, 1, 0x2c, 0x01, 0, 0, 0, 0]);
        assert_eq!(mcuboot_version(&header).as_deref(), Some("2.1.300"));
        header[24] = 7;
        assert_eq!(mcuboot_version(&header).as_deref(), Some("2.1.300+7"));
        assert_eq!(mcuboot_version(&header[..31]), None);
        let label = last_line(b"\x7fELF...\nthermostat 1.2.0\n").unwrap();
        assert_eq!((label.product.as_deref(), label.version.as_str()), (Some("thermostat"), "1.2.0"));
    }

    #[test]
    fn what_is_no_line_of_product_and_version_says_nothing() {
        for tail in ["", "\n", "thermostat 1.2.0\n", "\nthermostat 1.2.0", "\nthermostat 1.2\n", "\n 1.2.0\n"]
        {
            assert_eq!(last_line(tail.as_bytes()), None, "{tail:?}");
        }
    }

    #[test]
    fn a_package_is_not_taken_for_a_manifest_and_no_manifest_for_a_package() {
        let job: JobId = "lwm2m-1".parse().unwrap();
        let manifest = assignment(job, "thermostat", "push:".into()).manifest;
        assert!(is_package(&manifest) && manifest.check().is_err());
        let mut whole = manifest;
        whole.artifacts[0].sha256 = "0".repeat(64);
        assert!(!is_package(&whole));
    }
}
