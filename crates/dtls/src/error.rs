//! What the caller can get wrong.

/// An end could not be made, or a session not taken up, from what it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither pre-shared keys nor certificates: nobody could connect.
    #[error("neither pre-shared keys nor certificates are configured")]
    NoCredential,
    /// The key is empty or too long.
    #[error("a pre-shared key has 1 to {} bytes", crate::KEY_BYTES_MAX)]
    KeyLength,
    /// The identity is empty or too long.
    #[error("a pre-shared key's identity has 1 to 128 bytes")]
    IdentityLength,
    /// A certificate cannot be read.
    #[error("cannot read the {0} certificate (Mbed TLS -{1:#06x})")]
    Certificate(&'static str, i32),
    /// The private key cannot be read.
    #[error("cannot read the private key (Mbed TLS -{0:#06x})")]
    PrivateKey(i32),
    /// The private key is another certificate's.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// The server's name cannot be one.
    #[error("not a name that a server can have")]
    Name,
    /// The session, or another at its address, is already there.
    #[error("the session is already there")]
    AlreadyThere,
    /// There are as many sessions as there may be.
    #[error("there are as many sessions as there may be")]
    Full,
    /// Mbed TLS refused what it should not.
    #[error("Mbed TLS failed in {0} (-{1:#06x})")]
    Library(&'static str, i32),
}

/// Data could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no such session, or it has ended.
    #[error("there is no such session")]
    NoSession,
    /// More than fits in one record.
    #[error("more than fits in one datagram")]
    TooLong,
}
