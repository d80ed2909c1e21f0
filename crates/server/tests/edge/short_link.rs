//! Claims about short links: what they say, whom they let in, what fits.

use crate::served::{Depot, Gate, content, now, request};
use crate::signing::{Bench, NOW, bench};
use updraft_core::id::{NAME_BYTES_MAX, ROLLOUT_ID_BYTES_MAX};
use updraft_server::artifacts::link::SignError;
use updraft_server::artifacts::{
    LINK_LIFE_SECONDS_MAX, LinkError, LinkSigner, SHORT_LINK_BYTES_MAX, ShortClaims,
};
use updraft_server::listen::ListenLimits;

const BASE: &str = "coaps://updates.example:5684";
const BYTES: usize = 300_000;

fn claims() -> ShortClaims {
    let (device, job) = ("dev:1_a.b@c-d".parse().unwrap(), "r4k2m9x7q-12".parse().unwrap());
    ShortClaims { device, job, expires: NOW + 600 }
}

impl Bench {
    fn sign_short(&self, claims: &ShortClaims) -> String {
        self.signer.sign_short(BASE, claims, NOW).unwrap()
    }

    fn check_short(&self, link: &str, now: u64) -> Result<ShortClaims, LinkError> {
        check(&self.signer, link.strip_prefix(BASE).unwrap(), now)
    }
}

fn check(signer: &LinkSigner, path: &str, now: u64) -> Result<ShortClaims, LinkError> {
    let segments: Vec<_> = path.split('/').collect();
    match segments.split_first() {
        Some((&"", segments)) => signer.verify_short(segments, now),
        _ => Err(LinkError::Malformed),
    }
}

#[test]
fn a_short_link_says_what_was_signed_whatever_it_begins_with() {
    let bench = bench();
    for base in ["http://a", "https://a:8443", "coap://192.0.2.1", "coaps://[2001:db8::1]:5684", "coap://a/"]
    {
        let link = bench.signer.sign_short(base, &claims(), NOW).unwrap();
        let path = link.strip_prefix(base.trim_end_matches('/')).unwrap();
        assert!(path.starts_with("/f/dev:1_a.b@c-d/r4k2m9x7q-12/"), "{link}");
        assert_eq!(check(&bench.signer, path, NOW), Ok(claims()), "{link}");
    }
}

#[test]
fn the_longest_names_fit_with_a_host_of_thirty_bytes() {
    let bench = bench();
    let host = format!("{}:5684", "h".repeat(25));
    assert_eq!(host.len(), 30);
    let device = "d".repeat(NAME_BYTES_MAX).parse().unwrap();
    let job = |attempt: u32| format!("{}-{attempt}", "r".repeat(ROLLOUT_ID_BYTES_MAX)).parse().unwrap();
    let base = format!("coaps://{host}");
    let claims = ShortClaims { device, job: job(999), expires: NOW + LINK_LIFE_SECONDS_MAX };
    let link = bench.signer.sign_short(&base, &claims, NOW).unwrap();
    assert_eq!(link.len(), SHORT_LINK_BYTES_MAX);
    assert_eq!(check(&bench.signer, link.strip_prefix(&base).unwrap(), NOW).as_ref(), Ok(&claims));
    let longer = ShortClaims { job: job(1000), ..claims };
    assert_eq!(bench.signer.sign_short(&base, &longer, NOW), Err(SignError::ShortTooLong));
}

#[test]
fn a_short_link_that_would_live_too_long_or_begin_with_something_else_is_not_made() {
    let bench = bench();
    let expires = NOW + LINK_LIFE_SECONDS_MAX + 1;
    let sign = |claims, base, now| bench.signer.sign_short(base, &claims, now);
    assert_eq!(sign(ShortClaims { expires, ..claims() }, BASE, NOW), Err(SignError::LifeTooLong));
    let expires = u64::from(u32::MAX) + 1;
    assert_eq!(sign(ShortClaims { expires, ..claims() }, BASE, expires), Err(SignError::LifeTooLong));
    for base in [
        "",
        "coap://",
        "ftp://a",
        "a",
        "coap+tcp://a",
        "coap://a/b",
        "coap://a b",
        "http://a?b",
        "http://u@a",
    ] {
        assert_eq!(sign(claims(), base, NOW), Err(SignError::ShortBase), "{base}");
    }
}

#[test]
fn a_short_link_altered_at_any_character_opens_nothing() {
    let bench = bench();
    let link = bench.sign_short(&claims());
    let path = link.strip_prefix(BASE).unwrap();
    for at in 0..path.len() {
        for replacement in ["0", "1", "a", "A", "-", "_", "/", "%", "=", "", "%41", "\0", "\u{e9}"] {
            let altered = format!("{}{replacement}{}", &path[..at], &path[at + 1..]);
            assert!(altered == path || check(&bench.signer, &altered, NOW).is_err(), "{altered}");
        }
    }
    assert_eq!(check(&bench.signer, path, NOW), Ok(claims()));
}

#[test]
fn each_part_of_a_short_link_is_signed() {
    let bench = bench();
    let link = bench.sign_short(&claims());
    let device = link.replace("dev:1", "dev:2");
    let job = link.replace("q-12/", "q-13/");
    let other = bench.sign_short(&ShortClaims { expires: NOW + 601, ..claims() });
    let (seal, of_other) = (link.rsplit_once('/').unwrap().1, other.rsplit_once('/').unwrap().1);
    // The first 12 characters hold the key's ID and the end, and a byte of the signature.
    let end = format!("{}{}", &of_other[..11], &seal[11..]);
    let tag = format!("{}{}", &seal[..12], &of_other[12..]);
    for altered in [device, job, link.replace(seal, &end), link.replace(seal, &tag)] {
        assert_eq!(bench.check_short(&altered, NOW), Err(LinkError::Altered), "{altered}");
    }
}

#[test]
fn a_short_link_ends_at_its_second_and_is_of_its_own_server() {
    let bench = bench();
    let link = bench.sign_short(&claims());
    assert!(bench.check_short(&link, NOW + 599).is_ok());
    assert_eq!(bench.check_short(&link, NOW + 600), Err(LinkError::Expired));
    assert_eq!(self::bench().check_short(&link, NOW), Err(LinkError::UnknownKey));
}

#[test]
fn rotation_breaks_no_short_link_before_its_end() {
    let bench = bench();
    let old = bench.sign_short(&claims());
    bench.signer.rotate(NOW + 1).unwrap();
    let young = bench.sign_short(&claims());
    assert_ne!(old, young);
    // Another process, or the next start, reads the same keys.
    let again = LinkSigner::open(&bench.folder.path().join("link.keys"), NOW + 3).unwrap();
    for link in [&old, &young] {
        assert_eq!(bench.check_short(link, NOW + 2), Ok(claims()));
        assert_eq!(check(&again, link.strip_prefix(BASE).unwrap(), NOW + 3), Ok(claims()));
    }
    bench.signer.rotate(NOW + 1 + LINK_LIFE_SECONDS_MAX).unwrap();
    assert_eq!(bench.check_short(&old, NOW), Err(LinkError::UnknownKey));
    assert_eq!(bench.check_short(&young, NOW), Ok(claims()));
}

#[test]
fn what_is_no_short_link_is_malformed() {
    let bench = bench();
    let link = bench.sign_short(&claims());
    let good: Vec<_> = link.strip_prefix(BASE).unwrap()[1..].split('/').collect();
    let [f, device, job, seal] = good[..] else { panic!("{link}") };
    let (long, padded) = ("d".repeat(100_000), format!("{seal}="));
    let table: [&[&str]; 14] = [
        &[],
        &[""],
        &["f"],
        &[f, device, job],
        &[f, device, job, ""],
        &[f, device, job, seal, ""],
        &["", f, device, job, seal],
        &["g", device, job, seal],
        &[f, "", job, seal],
        &[f, "..", job, seal],
        &[f, &long, job, seal],
        &[f, device, "r4k2m9x7q-012", seal],
        &[f, device, job, &seal[1..]],
        &[f, device, job, &padded],
    ];
    for path in table {
        assert_eq!(bench.signer.verify_short(path, NOW), Err(LinkError::Malformed), "{path:.80?}");
    }
}

#[test]
fn a_short_link_brings_what_the_job_brings_and_is_booked_as_any_download() {
    let depot = Depot::new(BYTES);
    let target = depot.short_target(&depot.short_claims());
    let whole = depot.get(&target, "");
    assert_eq!((whole.status, whole.header("Content-Length")), (200, Some("300000")));
    let tag = format!("\"{}\"", depot.artifact.sha256);
    assert_eq!(whole.header("Etag"), Some(tag.as_str()));
    assert!(whole.body == depot.content);
    let rest = depot.get(&target, &format!("If-Range: {tag}\r\nRange: bytes=200000-\r\n"));
    assert_eq!((rest.status, rest.header("Content-Range")), (206, Some("bytes 200000-299999/300000")));
    assert!(rest.body == depot.content[200_000..]);
    let head = depot.served.say(request("HEAD", &target, "").as_bytes());
    assert_eq!((head.status, head.header("Content-Length")), (200, Some("300000")));
    let same = depot.get(&target, &format!("If-None-Match: {tag}\r\n"));
    assert_eq!(same.status, 304);
    let requests = depot.gate.requests.lock().unwrap();
    let starts: Vec<_> = requests.iter().map(|(_, request)| request.is_start).collect();
    assert_eq!(starts[..3], [true, false, false]);
    for (claims, _) in requests.iter() {
        assert_eq!((claims.device.as_str(), claims.job.as_str()), ("dev-1", "r1-1"));
        assert_eq!(claims.sha256, depot.artifact.sha256);
    }
}

#[test]
fn refused_short_links_bring_a_code_and_no_byte() {
    let depot = Depot::new(1000);
    let good = depot.short_claims();
    let target = depot.short_target(&good);
    let altered = target.replace("dev-1", "dev-2");
    let expired = depot.short_target(&ShortClaims { expires: now() - 1, ..good.clone() });
    let closed = depot.short_target(&ShortClaims { job: "r1-2".parse().unwrap(), ..good.clone() });
    let without = depot.short_target(&ShortClaims { device: "dev-2".parse().unwrap(), ..good });
    let encoded = target.replace("dev-1", "de%76-1");
    let other_device = "Authorization: Bearer token-of-dev-2\r\n";
    let own_device = "Authorization: Bearer token-of-dev-1\r\n";
    let table = [
        (target.as_str(), "", 200, ""),
        (&target, own_device, 200, ""),
        (&target, other_device, 403, "link_wrong_device"),
        (&altered, "", 403, "link_altered"),
        (&expired, "", 403, "link_expired"),
        (&closed, "", 410, "link_withdrawn"),
        (&without, "", 410, "link_withdrawn"),
        (&encoded, "", 403, "link_malformed"),
        (&format!("{target}?a=b"), "", 403, "link_malformed"),
        (&target[..target.len() - 1], "", 403, "link_malformed"),
    ];
    for (target, headers, status, code) in table {
        let answer = depot.get(target, headers);
        assert_eq!(answer.status, status, "{target} {headers}");
        assert!(status == 200 || answer.code() == code, "{code}: {}", String::from_utf8_lossy(&answer.body));
    }
    let answer = depot.served.say(request("PUT", &target, "").as_bytes());
    assert_eq!((answer.status, answer.header("Allow")), (405, Some("GET, HEAD")));
}

#[test]
fn a_short_link_withdrawn_while_it_is_asked_for_is_gone() {
    let gate = Gate { withdrawn: true, ..Gate::default() };
    let depot = Depot::with(content(1000), ListenLimits::default(), 16, gate);
    let answer = depot.get(&depot.short_target(&depot.short_claims()), "");
    assert_eq!((answer.status, answer.code().as_str()), (410, "link_withdrawn"));
}
