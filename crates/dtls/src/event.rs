//! What the sessions have to tell.

use std::net::SocketAddr;

use crate::{Identity, SessionId};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer has proved who it is.
    Connected {
        /// Its session from now on.
        session: SessionId,
        /// Where it is.
        address: SocketAddr,
        /// Who it is.
        identity: Identity,
    },
    /// It has sent data, never empty.
    Received {
        /// Whose.
        session: SessionId,
        /// What one record carried.
        data: Vec<u8>,
    },
    /// It speaks from another address (RFC 9146 §6): an authentic record, newer than all before, carried its connection ID.
    /// That the peer also hears there is not shown yet: until it has answered something, send little.
    Moved {
        /// Whose.
        session: SessionId,
        /// Where it is now.
        address: SocketAddr,
    },
    /// The session has ended. Its number is never used again.
    Closed {
        /// Which.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
    /// A handshake came to nothing. There was no session.
    Refused {
        /// Where the peer is.
        address: SocketAddr,
        /// Who it said it is, where it came to that: not proven.
        claimed: Option<Identity>,
        /// Why.
        failure: Failure,
    },
}

/// Why a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// This end closed it.
    Local,
    /// The peer said goodbye.
    ByPeer,
    /// The peer sent a fatal alert, with this number (RFC 5246 §7.2).
    Alert(u8),
    /// The peer shook hands again from the same address.
    Replaced,
    /// There were too many sessions, in all or of this identity, and this one was silent for longest.
    Evicted,
    /// It was silent for longer than sessions are kept.
    Forgotten,
    /// The peer broke the protocol, or the session could not go on; with Mbed TLS's number for it.
    Broken(i32),
}

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nobody goes by that identity.
    UnknownIdentity,
    /// The key could not be looked up.
    Unavailable,
    /// The key that goes by that identity is empty, or longer than [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX). The peer hears
    /// nothing: it is not to blame.
    KeyLength,
    /// The peers' keys differ.
    WrongKey,
    /// The certificate has expired, or is not valid yet.
    CertificateDates,
    /// The certificate does not come from whom it should, or does not name whom it should.
    CertificateNotTrusted,
    /// The peer has no certificate.
    NoCertificate,
    /// The peer was silent for too long.
    Timeout,
    /// The peer sent a fatal alert, with this number (RFC 5246 §7.2).
    Alert(u8),
    /// The peer began anew before it was done.
    Restarted,
    /// The peer broke the protocol, or offered nothing that this end speaks; with Mbed TLS's number for it.
    Protocol(i32),
}
