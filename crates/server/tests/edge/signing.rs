//! A signer of links, with its keys in a folder of its own.

use updraft_server::artifacts::LinkSigner;

/// When the tests of links happen.
pub(crate) const NOW: u64 = 1_800_000_000;

/// What a test of links needs.
pub(crate) struct Bench {
    pub(crate) signer: LinkSigner,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    Bench { signer: LinkSigner::open(&folder.path().join("link.keys"), NOW).unwrap(), folder }
}
