//! CONNECT: who is let in, with which session. The order is the point: the credential is checked before anything of an older
//! session is touched, and what cannot be checked is refused.

use super::encode;
use super::frame::{Connect, NoConnect, Version, decode_connect, measure};
use super::gate::{ConnectFacts, Gate, Refusal};
use super::limits::TAKEOVER_TIME_MAX;
use super::open_router;
use super::registry::{Claim, SessionKey, Start};
use super::saved::SessionChange;
use super::session::Link;
use super::subscription::parts;
use super::will::Will;
use super::{Attached, Endpoint};
use crate::protocols::mqtt::door::{Handler, Identity};
use mqtt_proto::v3::ConnectReturnCode;
use mqtt_proto::v5::{Connack, ConnectReasonCode as Code};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// Longest client ID of an application, in bytes; a device's is its device ID.
const CLIENT_ID_BYTES_MAX: usize = 128;
/// Random bytes of a client ID that the server chooses.
const ASSIGNED_BYTES: usize = 12;

/// A client that was let in.
pub(super) struct Admitted<H: Handler, G: Gate> {
    pub(super) attached: Attached<H, G>,
    pub(super) identity: Identity,
    pub(super) version: Version,
    /// Whether it has a session with subscriptions from before.
    pub(super) present: bool,
    /// CONNACK, and what is sent again.
    pub(super) out: Vec<u8>,
    /// What it sent after CONNECT without waiting.
    pub(super) input: Vec<u8>,
}

/// The client ID a client goes by, and whether the server chose it.
struct Named {
    key: SessionKey,
    assigned: Option<Arc<str>>,
}

impl<H: Handler, G: Gate> Endpoint<H, G> {
    /// Reads CONNECT and answers a refusal; `None` if the connection is to be closed.
    pub(super) async fn admit<S>(
        self: &Arc<Self>,
        stream: &mut S,
        peer: SocketAddr,
        tls: Option<Identity>,
    ) -> Option<Admitted<H, G>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (connect, input) = match self.read_connect(stream).await? {
            Ok(read) => read,
            Err(no) => {
                refuse(stream, no).await;
                return None;
            }
        };
        let version = connect.version;
        match self.let_in(connect, peer, tls.as_ref()).await {
            Ok(mut admitted) => {
                admitted.input = input;
                Some(admitted)
            }
            Err(code) => {
                tracing::debug!(%peer, ?code, "an MQTT client was refused");
                let mut out = Vec::new();
                connack(&mut out, version, code);
                send(stream, &out).await;
                None
            }
        }
    }

    /// The first packet, and what came after it.
    async fn read_connect<S>(&self, stream: &mut S) -> Option<Result<(Connect, Vec<u8>), NoConnect>>
    where
        S: AsyncRead + Unpin + Send,
    {
        let bytes_max = self.router.limits.connect_bytes;
        let mut bytes = Vec::new();
        loop {
            // Before a stranger has said a CONNECT, nothing else is waited for.
            if bytes.first().is_some_and(|first| *first != 0x10) {
                return Some(Err(NoConnect::Malformed));
            }
            match measure(&bytes, bytes_max) {
                Ok(Some((header, total))) if bytes.len() >= total => {
                    let rest = bytes.split_off(total);
                    return Some(decode_connect(&bytes, header).map(|connect| (connect, rest)));
                }
                Ok(_) => {}
                Err(_) => return Some(Err(NoConnect::Malformed)),
            }
            let room = bytes_max.saturating_sub(bytes.len()).max(1);
            let read = (&mut *stream).take(room as u64).read_buf(&mut bytes).await.ok()?;
            if read == 0 {
                return None;
            }
        }
    }

    async fn let_in(
        self: &Arc<Self>,
        mut connect: Connect,
        peer: SocketAddr,
        tls: Option<&Identity>,
    ) -> Result<Admitted<H, G>, Code> {
        // No extended authentication is offered (4.12).
        if connect.properties.auth_method.is_some() {
            return Err(Code::BadAuthMethod);
        }
        let identity = self.identify(&connect, peer, tls).await?;
        let named = name(&connect, &identity)?;
        if let Some(will) = &connect.will {
            let topic = &*will.topic_name;
            if !self.router.limits.fits_topic(topic) || !self.may_publish(&identity, topic) {
                return Err(Code::NotAuthorized);
            }
        }
        let (attached, present) = self.claim(&named.key, &identity, connect.clean_start).await?;
        let agreed = Agreed::of(self, &connect);
        let mut out = Vec::new();
        let session = attached.session.clone();
        let forget = {
            let mut state = session.lock();
            state.link = Link {
                version: connect.version,
                receive: connect.properties.receive_max.unwrap_or(u16::MAX),
                packet_bytes: connect.properties.max_packet_size.unwrap_or(u32::MAX),
                aliases_max: connect
                    .properties
                    .topic_alias_max
                    .unwrap_or(0)
                    .min(self.router.limits.topic_aliases),
                aliases: Vec::new(),
            };
            let changed = std::mem::replace(&mut state.expiry, agreed.expiry) != agreed.expiry;
            state.silence_max = agreed.silence_max;
            state.will = connect.will.take().map(|will| Box::new(Will::new(*will)));
            session.heard.store(self.router.now(), Ordering::Relaxed);
            // Forgets an older row that a clean start or a shorter expiry ended.
            let forget = state.saved && (!present || agreed.expiry == 0);
            state.saved &= !forget;
            if state.saved && changed {
                // If there is no room to note it, the old time stands after a restart: no answer rests on it.
                self.router.to_save(&session, &mut state).map(|change| self.router.saver.note(change));
            }
            self.answer(&connect, &named, &agreed, present, &mut out);
            if present {
                self.resume(&identity, &mut state, &mut out);
            }
            forget
        };
        if forget && !self.router.saver.save(SessionChange::Delete(named.key)).await {
            // The row stands: so the session must, or a restart would bring back what is said to be gone.
            session.lock().saved = true;
            return Err(Code::ServerUnavailable);
        }
        Ok(Admitted { attached, identity, version: connect.version, present, out, input: Vec::new() })
    }

    async fn identify(
        &self,
        connect: &Connect,
        peer: SocketAddr,
        tls: Option<&Identity>,
    ) -> Result<Identity, Code> {
        if self.router.open.is_some() {
            return Ok(Identity::Application { name: open_router::NAME.to_owned() });
        }
        let facts = ConnectFacts {
            client_id: &connect.client_id,
            username: connect.username.as_deref(),
            password: connect.password.as_deref(),
            tls,
            peer,
        };
        self.router.gate.authenticate(facts).await.map_err(|refusal| match refusal {
            Refusal::NotAuthorized => Code::NotAuthorized,
            Refusal::Unavailable => Code::ServerUnavailable,
        })
    }

    /// Takes the session; another connection that has it is told to go first.
    async fn claim(
        self: &Arc<Self>,
        key: &SessionKey,
        identity: &Identity,
        clean: bool,
    ) -> Result<(Attached<H, G>, bool), Code> {
        let start = if clean { Start::Clean } else { Start::Resume };
        let deadline = Instant::now() + TAKEOVER_TIME_MAX;
        loop {
            let sessions_max = self.router.limits.sessions;
            match self.router.registry.claim(key, identity, start, sessions_max, self.router.now()) {
                Claim::Taken { session, present, will } => {
                    if let Some(will) = will {
                        self.send_will(identity.clone(), *will);
                    }
                    return Ok((Attached { endpoint: self.clone(), session, with_will: false }, present));
                }
                Claim::Wait(gone) => {
                    let gone = timeout_at(deadline, gone).await.map_err(|_| Code::ServerBusy)?;
                    gone.map_err(|_| Code::ServerBusy)?;
                }
                Claim::Again if Instant::now() >= deadline => return Err(Code::ServerBusy),
                Claim::Again => tokio::task::yield_now().await,
                Claim::Full => return Err(Code::QuotaExceeded),
            }
        }
    }

    /// Appends what was not acknowledged. What the client may no longer hear goes, and so do filters it may no longer have.
    fn resume(&self, identity: &Identity, state: &mut super::session::State, out: &mut Vec<u8>) {
        let router = &self.router;
        if router.open.is_none() {
            state
                .subscriptions
                .retain(|subscription| router.gate.may_subscribe(identity, parts(&subscription.filter).1));
        }
        let may = |topic: &str| router.open.is_some() || router.gate.may_receive(identity, topic);
        state.resend(router.now(), may, out);
    }

    fn answer(&self, connect: &Connect, named: &Named, agreed: &Agreed, present: bool, out: &mut Vec<u8>) {
        match connect.version {
            Version::V3 => encode::connack_v3(out, present, ConnectReturnCode::Accepted),
            Version::V5 => {
                let limits = &self.router.limits;
                let mut connack = Connack::new(present, Code::Success);
                let properties = &mut connack.properties;
                let wanted = connect.properties.session_expiry_interval.unwrap_or(0);
                properties.session_expiry_interval = (wanted != agreed.expiry).then_some(agreed.expiry);
                properties.receive_max = Some(limits.receive);
                properties.max_packet_size = u32::try_from(limits.packet_bytes).ok();
                properties.topic_alias_max = Some(limits.topic_aliases);
                properties.server_keep_alive = agreed.server_keep_alive;
                properties.assigned_client_id.clone_from(&named.assigned);
                if matches!(named.key, SessionKey::Device(_)) {
                    properties.shared_subscription_available = Some(false);
                }
                encode::connack_v5(out, connack);
            }
        }
    }
}

/// What follows from a CONNECT and the limits.
struct Agreed {
    expiry: u32,
    silence_max: u64,
    /// What an MQTT 5 client is told to use, if it is not what it asked for.
    server_keep_alive: Option<u16>,
}

impl Agreed {
    fn of<H: Handler, G: Gate>(endpoint: &Endpoint<H, G>, connect: &Connect) -> Self {
        let limits = &endpoint.router.limits;
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        let keep_alive_max = u16::try_from(limits.keep_alive.as_secs()).unwrap_or(u16::MAX).max(1);
        let asked = connect.keep_alive;
        let within = (1..=keep_alive_max).contains(&asked);
        let server_keep_alive = (connect.version == Version::V5 && !within).then_some(keep_alive_max);
        // An MQTT 3.1.1 client cannot be told: what it asked for stands, and for none, the longest.
        let kept = server_keep_alive.unwrap_or(if asked == 0 { keep_alive_max } else { asked });
        Self {
            expiry: connect
                .properties
                .session_expiry_interval
                .unwrap_or(0)
                .min(seconds(limits.session_expiry)),
            silence_max: u64::from(kept) * 1500,
            server_keep_alive,
        }
    }
}

/// By which name a client has its session. A device goes by its own ID and no other, so nobody takes over another's.
fn name(connect: &Connect, identity: &Identity) -> Result<Named, Code> {
    let id = &*connect.client_id;
    if id.len() > CLIENT_ID_BYTES_MAX {
        return Err(Code::ClientIdentifierNotValid);
    }
    // 3.1.1, 3.1.3.1: an empty ID goes with a clean session only.
    if id.is_empty() && connect.version == Version::V3 && !connect.clean_start {
        return Err(Code::ClientIdentifierNotValid);
    }
    match identity {
        Identity::Device { id: device, .. } => {
            if id.is_empty() {
                let assigned = Some(device.as_str().into());
                Ok(Named { key: SessionKey::Device(device.clone()), assigned })
            } else if id == device.as_str() {
                Ok(Named { key: SessionKey::Device(device.clone()), assigned: None })
            } else {
                Err(Code::NotAuthorized)
            }
        }
        Identity::Application { name } => {
            let assigned = if id.is_empty() { Some(random_id()?) } else { None };
            let client_id = assigned.clone().unwrap_or_else(|| connect.client_id.clone());
            let key = SessionKey::Application { name: name.as_str().into(), client_id };
            Ok(Named { key, assigned })
        }
    }
}

fn random_id() -> Result<Arc<str>, Code> {
    let mut bytes = [0; ASSIGNED_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| Code::ServerUnavailable)?;
    Ok(hex::encode(bytes).into())
}

fn connack(out: &mut Vec<u8>, version: Version, code: Code) {
    match version {
        Version::V3 => {
            let code = if code == Code::ClientIdentifierNotValid {
                ConnectReturnCode::IdentifierRejected
            } else if matches!(code, Code::ServerUnavailable | Code::ServerBusy | Code::QuotaExceeded) {
                ConnectReturnCode::ServerUnavailable
            } else {
                ConnectReturnCode::NotAuthorized
            };
            encode::connack_v3(out, false, code);
        }
        Version::V5 => encode::connack_v5(out, Connack::new(false, code)),
    }
}

/// Answers what is no CONNECT of ours, where the standard has an answer.
async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, no: NoConnect) {
    let mut out = Vec::new();
    match no {
        NoConnect::Malformed => return,
        NoConnect::Version(level) if level > 5 => {
            encode::connack_v5(&mut out, Connack::new(false, Code::UnsupportedProtocolVersion));
        }
        NoConnect::Version(_) => {
            encode::connack_v3(&mut out, false, ConnectReturnCode::UnacceptableProtocolVersion);
        }
        NoConnect::Refused(code) => {
            let code = Code::from_u8(code as u8).unwrap_or(Code::MalformedPacket);
            encode::connack_v5(&mut out, Connack::new(false, code));
        }
    }
    send(stream, &out).await;
}

/// Says the last word to a client that may be gone.
async fn send<S: AsyncWrite + Unpin>(stream: &mut S, out: &[u8]) {
    if stream.write_all(out).await.is_ok() {
        // Who is gone needs no farewell.
        let _ = stream.flush().await;
    }
}
