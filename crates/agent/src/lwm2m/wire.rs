//! A socket towards one end, with DTLS or without: what is said and heard on it are CoAP's datagrams.

use super::address::Address;
use crate::config::Lwm2mCredential;
use crate::http::{ClientError, read_pem};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;
use updraft_dtls::{
    Client, ClientConfig, ClientCredential, ClientEvent, DATAGRAM_BYTES_MAX, Failure, OwnCertificate,
    PreSharedKey, Trust,
};

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// The session stands.
    Connected,
    /// One of CoAP's datagrams.
    Datagram(Vec<u8>),
    /// There is no session, or no more.
    Closed(String),
    /// There is no session, because the two ends do not take each other for who they are.
    Refused(String),
}

/// Alerts by which a server says that it does not take the device's key or certificate (RFC 5246 §7.2.2, RFC 4279 §2):
/// bad_record_mac, handshake_failure, the five about certificates, unknown_ca, access_denied, decrypt_error and
/// unknown_psk_identity. The others are about something else, and may pass.
const REFUSALS: [u8; 11] = [20, 40, 42, 43, 44, 45, 46, 48, 49, 51, 115];

fn refused(failure: Failure) -> Heard {
    let is_refusal = match failure {
        Failure::Alert(alert) => REFUSALS.contains(&alert),
        Failure::WrongKey | Failure::UnknownIdentity | Failure::CertificateNotTrusted => true,
        // Dates are a matter of this device's clock, the others of the network.
        Failure::CertificateDates
        | Failure::NoCertificate
        | Failure::Unavailable
        | Failure::KeyLength
        | Failure::Timeout
        | Failure::Restarted
        | Failure::Protocol(_) => false,
    };
    let detail = format!("no session: {failure:?}");
    if is_refusal { Heard::Refused(detail) } else { Heard::Closed(detail) }
}

/// A socket, and what it is secured by.
#[derive(Debug)]
pub(super) struct Wire {
    socket: UdpSocket,
    dtls: Option<Client>,
    buffer: Vec<u8>,
    /// Said once: a socket without DTLS is connected from the beginning.
    is_new: bool,
}

/// What DTLS is told: none without security.
///
/// # Errors
/// [`ClientError`] if a file is of no use.
pub(super) fn security(
    credential: &Lwm2mCredential,
    ca: Option<&Path>,
    server: &Address,
) -> Result<Option<ClientConfig>, ClientError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| ClientError::Dtls(format!("{}: {error}", path.display())))
    };
    let credential = match credential {
        Lwm2mCredential::NoSec => return Ok(None),
        Lwm2mCredential::Psk { identity, key } => {
            ClientCredential::Psk(PreSharedKey { identity: identity.as_bytes().to_vec(), key: key.clone() })
        }
        Lwm2mCredential::Certificate { cert, key } => {
            let ca = ca.ok_or_else(|| ClientError::Dtls("--cert needs --ca over LwM2M".into()))?;
            let trust = Trust::Authority { roots: read_pem(ca)?, name: server.host.clone() };
            ClientCredential::Certificate {
                own: OwnCertificate { chain: read(cert)?, key: read(key)? },
                trust,
            }
        }
    };
    let config = ClientConfig::new(credential);
    // Read once now, so that a key of no use is told at the start.
    Client::new(&config).map_err(|error| ClientError::Dtls(error.to_string()))?;
    Ok(Some(config))
}

impl Wire {
    /// Begins a session.
    ///
    /// # Errors
    /// The address cannot be resolved, or there is no socket.
    pub(super) fn open(now: Duration, to: &Address, security: Option<&ClientConfig>) -> io::Result<Self> {
        let to = to.resolve()?;
        let local: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(local)?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        let dtls = match security {
            Some(config) => {
                let mut client = Client::new(config).map_err(io::Error::other)?;
                client.connect(now).map_err(io::Error::other)?;
                Some(client)
            }
            None => None,
        };
        let mut wire = Self { socket, dtls, buffer: vec![0; DATAGRAM_BYTES_MAX + 1], is_new: true };
        wire.flush();
        Ok(wire)
    }

    /// To wait on.
    pub(super) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// When `handle_timeout` is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.dtls.as_ref().and_then(Client::poll_timeout)
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Duration) {
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
        }
        self.flush();
    }

    /// Says something. What cannot be said is lost, as on any network.
    pub(super) fn send(&mut self, now: Duration, datagram: &[u8]) {
        match &mut self.dtls {
            Some(dtls) => {
                let _ = dtls.send(now, datagram);
            }
            None => {
                let _ = self.socket.send(datagram);
            }
        }
        self.flush();
    }

    /// What was heard next, if anything.
    pub(super) fn hear(&mut self, now: Duration) -> Option<Heard> {
        if self.dtls.is_none() && std::mem::take(&mut self.is_new) {
            return Some(Heard::Connected);
        }
        loop {
            if let Some(event) = self.dtls.as_mut().and_then(Client::poll_event) {
                return Some(match event {
                    ClientEvent::Connected => Heard::Connected,
                    ClientEvent::Received(data) => Heard::Datagram(data),
                    ClientEvent::Closed(reason) => Heard::Closed(format!("the session ended: {reason:?}")),
                    ClientEvent::Refused(failure) => refused(failure),
                });
            }
            let length = match self.socket.recv(&mut self.buffer) {
                Ok(length) => length,
                // An earlier datagram met a closed port: as good as lost.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            };
            let datagram = &self.buffer[..length];
            match &mut self.dtls {
                Some(dtls) => dtls.handle_datagram(now, datagram),
                None => return Some(Heard::Datagram(datagram.to_vec())),
            }
            self.flush();
        }
    }

    /// Says goodbye.
    pub(super) fn close(&mut self, now: Duration) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close(now);
        }
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(datagram) = self.dtls.as_mut().and_then(Client::poll_transmit) {
            let _ = self.socket.send(&datagram);
        }
    }
}
