//! Any bytes as a manifest: what is taken names its artifacts by names that stay in their folder, and survives being
//! written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_wire::manifest::{ARTIFACTS_MAX, MANIFEST_BYTES_MAX, Manifest};

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::from_json(bytes) else { return };
    assert!(bytes.len() <= MANIFEST_BYTES_MAX);
    assert!((1..=ARTIFACTS_MAX).contains(&manifest.artifacts.len()));
    for artifact in &manifest.artifacts {
        let mut parts = std::path::Path::new(&artifact.name).components();
        assert!(
            matches!(parts.next(), Some(std::path::Component::Normal(name)) if name == artifact.name.as_str())
        );
        assert!(parts.next().is_none() && artifact.size > 0 && artifact.sha256.len() == 64);
    }
    let again = serde_json::to_vec(&manifest).expect("a manifest is plain data");
    assert_eq!(Manifest::from_json(&again), Ok(manifest));
});
