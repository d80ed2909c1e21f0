//! The release manifest: what a release consists of, as the device is told it.

use serde::{Deserialize, Serialize};

/// Largest manifest a device reads, in bytes. A device must be able to hold it in memory.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;
/// Most artifacts in one manifest.
pub const ARTIFACTS_MAX: usize = 16;
/// Longest product name, in bytes.
pub const PRODUCT_BYTES_MAX: usize = 128;
/// Longest version, in bytes.
pub const VERSION_BYTES_MAX: usize = 128;
/// Longest artifact name, in bytes.
pub const ARTIFACT_NAME_BYTES_MAX: usize = 64;
/// The manifest format this crate writes and reads.
pub const MANIFEST_FORMAT: u32 = 1;

/// What a release consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`MANIFEST_FORMAT`]; a device refuses another.
    pub format: u32,
    /// The product the release is for.
    pub product: String,
    /// The release's version, SemVer 2.0.
    pub version: String,
    /// What to install, at least one, names unique.
    pub artifacts: Vec<ArtifactEntry>,
}

/// One artifact of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactEntry {
    /// `[A-Za-z0-9._-]`, 1 to [`ARTIFACT_NAME_BYTES_MAX`] bytes, not starting with a dot.
    pub name: String,
    /// Size in bytes, at least 1.
    pub size: u64,
    /// SHA-256 of the bytes, 64 lower-case hex digits.
    pub sha256: String,
    /// MD5 of the bytes, 32 lower-case hex digits; for contracts that ask for it, never for trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
}

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MANIFEST_BYTES_MAX`] bytes.
    #[error("the manifest has {0} bytes; at most {MANIFEST_BYTES_MAX} are read")]
    TooLong(usize),
    /// No JSON, or not of this shape.
    #[error("the manifest is not valid: {0}")]
    Syntax(String),
    /// A format this reader does not know.
    #[error("the manifest has format {0}; this reader knows {MANIFEST_FORMAT}")]
    Format(u32),
    /// A field with a value outside its limits.
    #[error("the manifest's {field} is not valid: {rule}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`ManifestError`] naming the first thing wrong.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLong(bytes.len()));
        }
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| ManifestError::Syntax(error.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks every field against its limits.
    ///
    /// # Errors
    /// [`ManifestError`] naming the first thing wrong.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.format != MANIFEST_FORMAT {
            return Err(ManifestError::Format(self.format));
        }
        let field = |field, rule| Err(ManifestError::Field { field, rule });
        if self.product.is_empty() || self.product.len() > PRODUCT_BYTES_MAX {
            return field("product", "1 to 128 bytes");
        }
        if self.version.is_empty() || self.version.len() > VERSION_BYTES_MAX {
            return field("version", "1 to 128 bytes");
        }
        if self.artifacts.is_empty() || self.artifacts.len() > ARTIFACTS_MAX {
            return field("artifacts", "1 to 16 artifacts");
        }
        for (index, artifact) in self.artifacts.iter().enumerate() {
            artifact.check()?;
            if self.artifacts[..index].iter().any(|earlier| earlier.name == artifact.name) {
                return field("artifacts", "each name once");
            }
        }
        Ok(())
    }
}

impl ArtifactEntry {
    fn check(&self) -> Result<(), ManifestError> {
        let field = |field, rule| Err(ManifestError::Field { field, rule });
        if !is_artifact_name(&self.name) {
            return field("artifact name", "1 to 64 of A-Z a-z 0-9 . _ -, not starting with a dot");
        }
        if self.size == 0 {
            return field("artifact size", "at least 1 byte");
        }
        if !is_lower_hex(&self.sha256, 64) {
            return field("artifact sha256", "64 lower-case hex digits");
        }
        if self.md5.as_deref().is_some_and(|md5| !is_lower_hex(md5, 32)) {
            return field("artifact md5", "32 lower-case hex digits");
        }
        Ok(())
    }
}

/// Whether a text may name an artifact: safe as a file name on every system.
#[must_use]
pub fn is_artifact_name(name: &str) -> bool {
    (1..=ARTIFACT_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether a text is exactly `digits` lower-case hex digits.
#[must_use]
pub fn is_lower_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: MANIFEST_FORMAT,
            product: "thermostat".into(),
            version: "1.1.0".into(),
            artifacts: vec![ArtifactEntry {
                name: "image".into(),
                size: 3,
                sha256: "a".repeat(64),
                md5: Some("b".repeat(32)),
            }],
        }
    }

    #[test]
    fn a_manifest_survives_its_json() {
        let json = serde_json::to_vec(&manifest()).unwrap();
        assert_eq!(Manifest::from_json(&json), Ok(manifest()));
    }

    #[test]
    fn a_manifest_cut_at_any_byte_is_refused() {
        let json = serde_json::to_vec(&manifest()).unwrap();
        for end in 0..json.len() {
            assert!(Manifest::from_json(&json[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for name in
            ["", ".", "..", "../x", "/x", "a/b", "a\0b", ".hidden", "a b", &"x".repeat(65), "\u{202e}gpj"]
        {
            let mut manifest = manifest();
            manifest.artifacts[0].name = name.to_owned();
            assert!(manifest.check().is_err(), "{name:?}");
        }
    }

    #[test]
    fn an_upper_case_digest_an_empty_artifact_and_a_repeated_name_are_refused() {
        let mut upper = manifest();
        upper.artifacts[0].sha256 = "A".repeat(64);
        assert!(upper.check().is_err());
        let mut empty = manifest();
        empty.artifacts[0].size = 0;
        assert!(empty.check().is_err());
        let mut twice = manifest();
        twice.artifacts.push(twice.artifacts[0].clone());
        assert!(twice.check().is_err());
    }
}
