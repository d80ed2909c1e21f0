//! Sessions put away: while they sleep, and over a restart.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use sha2::{Digest, Sha256};

use crate::record::{CID_BYTES, Cid};
use crate::{Certificate, Identity};

/// What the bytes of a snapshot begin with: a change of the form changes the last letter.
const MAGIC: &[u8; 8] = b"updtls\0a";
const DIGEST_BYTES: usize = 32;
/// Longest field: far more than any, and what two bytes count.
const FIELD_BYTES_MAX: usize = u16::MAX as usize;

/// A session that has been put away.
///
/// **To be restored once.** The state of a session includes how many records it has sent, and the number of each is part of
/// what protects it: a session that is restored twice, or from before something was sent, sends two records under one nonce,
/// which gives the key away. So it can be neither cloned nor read twice; whoever stores its bytes deletes them as they are
/// read, and never reads any that were stored before a crash.
pub struct Snapshot {
    pub(crate) address: SocketAddr,
    pub(crate) cid: Option<Cid>,
    pub(crate) identity: Identity,
    pub(crate) state: Box<[u8]>,
}

/// Bytes that are no snapshot, or of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a session's snapshot, or one of another version")]
pub struct SnapshotError;

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("address", &self.address)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Whose session it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where the peer was.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bytes to store. They hold the session's keys: as secret as the key of the device.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        match self.address.ip() {
            IpAddr::V4(ip) => field(&mut bytes, &ip.octets()),
            IpAddr::V6(ip) => field(&mut bytes, &ip.octets()),
        }
        bytes.extend(self.address.port().to_be_bytes());
        field(&mut bytes, self.cid.as_ref().map_or(&[], |cid| &cid[..]));
        write_identity(&mut bytes, &self.identity);
        field(&mut bytes, &self.state);
        let digest = Sha256::digest(&bytes);
        bytes.extend(digest);
        bytes
    }

    /// Reads what [`Snapshot::into_bytes`] gave.
    ///
    /// # Errors
    /// If the bytes are anything else. What is right in form but came from elsewhere is refused when it is used.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (body, digest) = bytes.split_at(bytes.len().checked_sub(DIGEST_BYTES).ok_or(SnapshotError)?);
        if Sha256::digest(body)[..] != *digest {
            return Err(SnapshotError);
        }
        let mut reader = Reader(body.strip_prefix(MAGIC).ok_or(SnapshotError)?);
        let ip = match reader.field()? {
            octets if octets.len() == 4 => {
                IpAddr::from(<[u8; 4]>::try_from(octets).map_err(|_| SnapshotError)?)
            }
            octets => IpAddr::from(<[u8; 16]>::try_from(octets).map_err(|_| SnapshotError)?),
        };
        let address = SocketAddr::new(ip, reader.short()?);
        let cid = match reader.field()? {
            [] => None,
            cid => Some(cid.try_into().map_err(|_| SnapshotError)?),
        };
        let identity = read_identity(&mut reader)?;
        let state = reader.field()?;
        if !reader.0.is_empty() || !is_state(state, cid.as_ref()) {
            return Err(SnapshotError);
        }
        Ok(Self { address, cid, identity, state: state.into() })
    }
}

/// Whether these bytes have the lengths within that Mbed TLS takes from them unchecked (`ssl_context_load` copies both
/// connection IDs into 32 bytes each): header, session with its length before it, 64 random bytes, connection IDs.
fn is_state(state: &[u8], cid: Option<&Cid>) -> bool {
    let read = || {
        let mut reader = Reader(state.get(8..)?);
        let session = usize::try_from(u32::from_be_bytes(reader.take(4).ok()?.try_into().ok()?)).ok()?;
        reader.take(session).ok()?;
        reader.take(64).ok()?;
        let own = usize::from(*reader.take(1).ok()?.first()?);
        let own_matches = reader.take(own).ok()? == cid.map_or(&[][..], |cid| &cid[..]);
        let peers = usize::from(*reader.take(1).ok()?.first()?);
        Some(own_matches && own <= CID_BYTES && peers <= 32 && reader.take(peers).is_ok())
    };
    read().unwrap_or(false)
}

fn field(bytes: &mut Vec<u8>, field: &[u8]) {
    let field = &field[..field.len().min(FIELD_BYTES_MAX)];
    bytes.extend(u16::try_from(field.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend_from_slice(field);
}

fn write_identity(bytes: &mut Vec<u8>, identity: &Identity) {
    match identity {
        Identity::Unproven => bytes.push(0),
        Identity::Psk(name) => {
            bytes.push(1);
            field(bytes, name);
        }
        Identity::Certificate(certificate) => {
            bytes.push(2);
            bytes.extend(certificate.fingerprint);
            field(bytes, &certificate.der);
            bytes.push(u8::from(certificate.common_name.is_some()));
            field(bytes, certificate.common_name.as_deref().unwrap_or_default().as_bytes());
            bytes.push(u8::try_from(certificate.alternative_names.len()).unwrap_or(0));
            for name in &certificate.alternative_names {
                field(bytes, name.as_bytes());
            }
        }
    }
}

fn read_identity(reader: &mut Reader<'_>) -> Result<Identity, SnapshotError> {
    match reader.take(1)? {
        [0] => Ok(Identity::Unproven),
        [1] => Ok(Identity::Psk(reader.field()?.to_vec())),
        [2] => {
            let fingerprint = reader.take(32)?.try_into().map_err(|_| SnapshotError)?;
            let der = reader.field()?.into();
            let named = reader.take(1)? == [1];
            let common_name = reader.text()?;
            let count = reader.take(1)?[0];
            let alternative_names = (0..count).map(|_| reader.text()).collect::<Result<_, _>>()?;
            let common_name = named.then_some(common_name);
            Ok(Identity::Certificate(Box::new(Certificate {
                common_name,
                alternative_names,
                fingerprint,
                der,
            })))
        }
        _ => Err(SnapshotError),
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], SnapshotError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SnapshotError)?;
        self.0 = rest;
        Ok(taken)
    }

    fn short(&mut self) -> Result<u16, SnapshotError> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().map_err(|_| SnapshotError)?))
    }

    fn field(&mut self) -> Result<&'a [u8], SnapshotError> {
        let length = self.short()?;
        self.take(usize::from(length))
    }

    fn text(&mut self) -> Result<String, SnapshotError> {
        String::from_utf8(self.field()?.to_vec()).map_err(|_| SnapshotError)
    }
}
