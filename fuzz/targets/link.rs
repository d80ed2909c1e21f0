//! Any text as the query of a link: what is taken apart was written in the one spelling a link has, and without the
//! server's key it opens nothing.
//!
//! The input is the query, and the path of a short link. The links that the target signs itself, from pieces of the input, always open.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use updraft_server::artifacts::credential;
use updraft_server::artifacts::link::{LinkSigner, parse_unchecked};
use updraft_server::artifacts::short_link::parse_short_unchecked;
use updraft_server::artifacts::{CredentialClaims, Digest, SHORT_LINK_BYTES_MAX};

const BASE: &str = "https://updates.example";

static SIGNER: LazyLock<LinkSigner> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("updraft-fuzz-{}.keys", std::process::id()));
    let signer = LinkSigner::open(&path, 0).expect("the temporary folder can be written");
    std::fs::remove_file(&path).expect("the key file was just made");
    signer
});

fuzz_target!(|query: &str| {
    let sha256 = Digest::from_bytes([7; 32]);
    assert!(SIGNER.verify(&sha256, query, 0, None).is_err(), "a text of a stranger opens an artifact");
    assert!(credential::verify(&SIGNER, query, &sha256, 0).is_err());
    short(query);

    let Some(claims) = parse_unchecked(&sha256, query) else { return };
    let Ok(link) = SIGNER.sign(BASE, &claims, claims.expires) else { return };
    let (_, signed) = link.split_once('?').expect("a link has a query");
    let (claimed, _) = signed.split_once("&key=").expect("a link names its key");
    assert!(query.starts_with(claimed) || claims.net.is_some(), "two spellings of one link: {query}");
    let client = claims.net.map(|net| net.addr());
    let outcome = SIGNER.verify(&sha256, signed, claims.expires.saturating_sub(1), client);
    assert!(outcome.as_ref() == Ok(&claims) || claims.expires == 0, "{outcome:?}");

    let claims = CredentialClaims { sha256, device: claims.device, job: claims.job, expires: claims.expires };
    let token = credential::issue(&SIGNER, &claims, claims.expires);
    let outcome = credential::verify(&SIGNER, token.reveal(), &sha256, claims.expires.saturating_sub(1));
    assert!(outcome.is_ok() || claims.expires == 0 || token.reveal().len() > 1024, "{outcome:?}");
});

/// What holds of links in general holds of short ones.
fn short(path: &str) {
    let segments: Vec<_> = path.split('/').collect();
    assert!(SIGNER.verify_short(&segments, 0).is_err(), "a path of a stranger opens an artifact");
    let Some(claims) = parse_short_unchecked(&segments) else { return };
    let Ok(link) = SIGNER.sign_short(BASE, &claims, claims.expires) else { return };
    assert!(link.len() <= SHORT_LINK_BYTES_MAX);
    let signed: Vec<_> =
        link.strip_prefix(BASE).expect("a link begins with its base")[1..].split('/').collect();
    assert_eq!(signed[..3], segments[..3], "two spellings of one link");
    let outcome = SIGNER.verify_short(&signed, claims.expires.saturating_sub(1));
    assert!(outcome.as_ref() == Ok(&claims) || claims.expires == 0, "{outcome:?}");
}
