//! Binding a socket, with errors that say what to do.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Why a listener has no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has the port.
    #[error("{address} is in use by another program; stop that program, or set another port for `{setting}`")]
    InUse {
        /// What was asked for.
        address: SocketAddr,
        /// The setting it came from.
        setting: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The process may not use the port.
    #[error(
        "no permission to listen on {address}; set `{setting}` to a port of 1024 or above, or grant the program CAP_NET_BIND_SERVICE"
    )]
    Permission {
        /// What was asked for.
        address: SocketAddr,
        /// The setting it came from.
        setting: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The machine does not have the address.
    #[error("this machine has no address {}; set `{setting}` to one it has, or to 0.0.0.0", address.ip())]
    NoSuchAddress {
        /// What was asked for.
        address: SocketAddr,
        /// The setting it came from.
        setting: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on {address} (`{setting}`)")]
    Other {
        /// What was asked for.
        address: SocketAddr,
        /// The setting it came from.
        setting: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Binds a TCP socket. `setting` is the name of the configuration key that holds the address, for the error.
///
/// # Errors
/// The port is taken or forbidden, or the address is not this machine's.
pub async fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener, BindError> {
    let source = match TcpListener::bind(address).await {
        Ok(listener) => return Ok(listener),
        Err(source) => source,
    };
    Err(BindError::of(address, setting, source))
}

impl BindError {
    /// What the system said of an address, as what it means.
    #[must_use]
    pub fn of(address: SocketAddr, setting: &'static str, source: io::Error) -> Self {
        let kind = source.kind();
        if kind == io::ErrorKind::AddrInUse {
            Self::InUse { address, setting, source }
        } else if kind == io::ErrorKind::PermissionDenied {
            Self::Permission { address, setting, source }
        } else if kind == io::ErrorKind::AddrNotAvailable {
            Self::NoSuchAddress { address, setting, source }
        } else {
            Self::Other { address, setting, source }
        }
    }
}
