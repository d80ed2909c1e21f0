//! The query of a request: decoded once, so that what is signed and what is done are the same.

use std::fmt::Write as _;

use super::failure::Failure;

/// Longest query that is looked at, in bytes: a page token, a name and the flags of the longest call take a quarter.
pub const QUERY_BYTES_MAX: usize = 4096;
/// Most parameters: twice those of the call that has most.
pub const PARAMETERS_MAX: usize = 16;

/// Why a query cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It is longer than [`QUERY_BYTES_MAX`] or has more than [`PARAMETERS_MAX`] parameters.
    #[error("the query is longer than {QUERY_BYTES_MAX} bytes or has more than {PARAMETERS_MAX} parameters")]
    TooLong,
    /// It is not percent-encoded UTF-8.
    #[error("the query is not percent-encoded UTF-8")]
    Malformed,
}

/// Names and values, decoded, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query as it stands in the request line. A plus sign is a plus sign: the clients of this contract write a
    /// space as `%20`, and sign it so.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn parse(raw: &str) -> Result<Self, QueryError> {
        if raw.len() > QUERY_BYTES_MAX {
            return Err(QueryError::TooLong);
        }
        let mut pairs = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = decode(name).zip(decode(value));
            pairs.push(decoded.ok_or(QueryError::Malformed)?);
            if pairs.len() > PARAMETERS_MAX {
                return Err(QueryError::TooLong);
            }
        }
        Ok(Self(pairs))
    }

    /// The form that is signed: encoded anew, in order of name and value.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut pairs: Vec<_> = self.0.iter().map(|(name, value)| (encode(name), encode(value))).collect();
        pairs.sort_unstable();
        let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }

    /// Takes a parameter out. Given twice it is refused: which one would count?
    ///
    /// # Errors
    /// `InvalidRequestException`.
    pub fn take(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let Some(at) = self.0.iter().position(|(key, _)| key == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(at);
        if self.0.iter().any(|(key, _)| key == name) {
            return Err(Failure::invalid(format!("the parameter {name} was given twice")));
        }
        Ok(Some(value))
    }

    /// Takes a parameter out and reads it by its type.
    ///
    /// # Errors
    /// `InvalidRequestException`.
    pub fn read<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(value) = self.take(name)? else { return Ok(None) };
        let value = value.parse();
        value.map(Some).map_err(|_| Failure::invalid(format!("the value of {name} is not what it must be")))
    }

    /// Takes a flag out; absent is false.
    ///
    /// # Errors
    /// `InvalidRequestException`.
    pub fn flag(&mut self, name: &str) -> Result<bool, Failure> {
        Ok(self.read::<bool>(name)?.unwrap_or(false))
    }

    /// Refuses what nobody took: a misspelt filter must not list everything.
    ///
    /// # Errors
    /// `InvalidRequestException`.
    pub fn finish(self) -> Result<(), Failure> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(Failure::invalid(format!(
                "the parameter {name:?} does not exist here or is not supported yet"
            ))),
        }
    }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986 §2.3.
#[must_use]
pub fn encode(text: &str) -> String {
    encode_but(text, "")
}

/// As [`encode`], leaving the characters of `stay` as they are.
pub(super) fn encode_but(text: &str, stay: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let is_unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        if is_unreserved || stay.as_bytes().contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes all");
        }
    }
    encoded
}

/// Undoes percent-encoding; `None` if it is broken, or the bytes are not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let mut decoded = [0];
            hex::decode_to_slice(digits, &mut decoded).ok()?;
            bytes.extend_from_slice(&decoded);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_sorted_and_encoded_anew() {
        for (raw, canonical) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("name=a%20b&name=$x", "name=%24x&name=a%20b"),
            ("flag", "flag="),
            ("a=%c3%a9", "a=%C3%A9"),
            ("a=x+y", "a=x%2By"),
            ("a=b=c", "a=b%3Dc"),
        ] {
            assert_eq!(Query::parse(raw).unwrap().canonical(), canonical, "{raw}");
        }
    }

    #[test]
    fn a_query_that_is_broken_too_long_or_too_rich_is_refused() {
        let long = format!("a={}", "x".repeat(QUERY_BYTES_MAX));
        let rich = "a=1&".repeat(PARAMETERS_MAX + 1);
        for (raw, error) in [
            ("a=%", QueryError::Malformed),
            ("a=%zz", QueryError::Malformed),
            ("a=%ff", QueryError::Malformed),
            (&long, QueryError::TooLong),
            (&rich, QueryError::TooLong),
        ] {
            assert_eq!(Query::parse(raw), Err(error));
        }
    }

    #[test]
    fn a_parameter_given_twice_or_left_over_is_refused() {
        assert!(Query::parse("a=1&a=2").unwrap().take("a").is_err());
        assert!(Query::parse("a=1&b=2").unwrap().finish().is_err());
        assert!(Query::parse("force=perhaps").unwrap().flag("force").is_err());
        assert!(Query::parse("force=true").unwrap().flag("force").unwrap());
    }
}
