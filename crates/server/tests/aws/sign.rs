//! Requests signed as AWS's clients do, written again from the standard's steps: what the server checks must not be what
//! signs for the test.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// What a request is signed with.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

/// A request whose query is in its canonical form, and whose path needs no encoding beyond what it has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) host: &'a str,
    pub(crate) body: &'a [u8],
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The header lines of a signed request.
pub(crate) fn headers(key: &Key, service: &str, at: jiff::Timestamp, request: Unsigned<'_>) -> String {
    let time = at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = &time[..8];
    let mut signed = vec![("host", request.host.to_owned()), ("x-amz-date", time.clone())];
    signed.extend(key.token.clone().map(|token| ("x-amz-security-token", token)));
    let names: Vec<_> = signed.iter().map(|(name, _)| *name).collect();
    let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let path = request.path.replace('%', "%25").replace(':', "%3A").replace('$', "%24");
    let canonical = format!(
        "{}\n{path}\n{}\n{lines}\n{}\n{}",
        request.method,
        request.query,
        names.join(";"),
        hex::encode(Sha256::digest(request.body))
    );
    let scope = format!("{day}/eu-central-1/{service}/aws4_request");
    let text =
        format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical.as_bytes())));
    let first = mac(format!("AWS4{}", key.secret).as_bytes(), day);
    let last = ["eu-central-1", service, "aws4_request"].iter().fold(first, |key, part| mac(&key, part));
    let signature = hex::encode(mac(&last, &text));
    let mut head = format!(
        "Authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={}, Signature={signature}\r\n",
        key.id,
        names.join(";")
    );
    for (name, value) in signed.iter().filter(|(name, _)| *name != "host") {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head
}
