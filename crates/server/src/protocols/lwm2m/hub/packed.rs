//! What is kept of what a device told, in few bytes: a registration taken apart takes four times as much.

use updraft_lwm2m::registration::Registration;

/// A registration, and what is known of the device's tree.
#[derive(Debug)]
pub(super) struct Packed {
    /// One after the other: the queries of the registration, each after its length in two bytes; the list of its objects; what
    /// is known of its tree, as SenML CBOR.
    bytes: Box<[u8]>,
    /// Where the list begins, and where the tree does.
    at: [u32; 2],
}

impl Packed {
    /// Of a registration, with nothing known of the tree. `None` where what would be written could not be read again: a
    /// registration at the edge of what is taken may be over it in our words.
    pub(super) fn new(registration: &Registration) -> Option<Self> {
        let mut bytes = Vec::new();
        for query in registration.queries() {
            bytes.extend(u16::try_from(query.len()).ok()?.to_be_bytes());
            bytes.extend(query.as_bytes());
        }
        let list_at = u32::try_from(bytes.len()).ok()?;
        bytes.extend(registration.objects.write().as_bytes());
        let known_at = u32::try_from(bytes.len()).ok()?;
        let packed = Self { bytes: bytes.into(), at: [list_at, known_at] };
        (packed.read().as_ref() == Some(registration)).then_some(packed)
    }

    /// The same registration, with another tree, as SenML CBOR.
    pub(super) fn with_known(&self, known: &[u8]) -> Self {
        let (_, _, before) = self.parts();
        let kept = &self.bytes[..self.bytes.len() - before.len()];
        Self { bytes: [kept, known].concat().into(), at: self.at }
    }

    fn parts(&self) -> (&[u8], &[u8], &[u8]) {
        let [list_at, known_at] = self.at.map(|at| at as usize);
        (&self.bytes[..list_at], &self.bytes[list_at..known_at], &self.bytes[known_at..])
    }

    /// The registration.
    pub(super) fn registration(&self) -> Registration {
        self.read().expect("it was read once, when it was made")
    }

    fn read(&self) -> Option<Registration> {
        let (mut rest, list, _) = self.parts();
        let mut queries = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk() {
            let (query, tail) = tail.split_at(u16::from_be_bytes(*length).into());
            queries.push(std::str::from_utf8(query).ok()?);
            rest = tail;
        }
        Registration::parse(&queries, None, list).ok()
    }

    /// What is known of the tree.
    pub(super) fn known(&self) -> &[u8] {
        self.parts().2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use updraft_lwm2m::link::{BODY_BYTES_MAX, LINKS_MAX};
    use updraft_lwm2m::registration::QUERIES_MAX;

    #[test]
    fn what_is_packed_is_what_was_said() {
        let queries = ["ep=a", "lwm2m=1.1", "lt=300", "b=UT", "Q", "sms=+491", "vendor=x=y\nep=b", "flag"];
        let list = br#"</lwm2m>;rt="oma.lwm2m";ct="112 11542",</lwm2m/1/0>,</lwm2m/3/0>,</lwm2m/5>;ver=1.1"#;
        let registration = Registration::parse(&queries, None, list).unwrap();
        let packed = Packed::new(&registration).unwrap();
        assert_eq!((packed.registration(), packed.known()), (registration.clone(), &b""[..]));
        let packed = packed.with_known(b"tree").with_known(b"another");
        assert_eq!((packed.registration(), packed.known()), (registration, &b"another"[..]));
    }

    #[test]
    fn a_registration_that_is_too_long_in_our_words_is_none() {
        let attributes: Vec<_> = (1..QUERIES_MAX).map(|number| format!("a{number}")).collect();
        let mut queries = vec!["ep=a"];
        queries.extend(attributes.iter().map(String::as_str));
        let registration = Registration::parse(&queries, None, b"").unwrap();
        assert!(Packed::new(&registration).is_none());
        let list: Vec<_> = (0..LINKS_MAX).map(|instance| format!("</32769/{instance}>;ver=1.0")).collect();
        let list = list.join(",");
        assert!(list.len() > BODY_BYTES_MAX || Registration::parse(&["ep=a"], None, list.as_bytes()).is_ok());
    }
}
