//! One session, or one on its way: Mbed TLS's context.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::rc::Rc;

use mbedtls_rs_sys as sys;

use super::callbacks;
use super::settings::Settings;
use crate::record::{Cid, DATAGRAM_BYTES_MAX};
use crate::{CloseReason, Error, Failure, Identity};

/// Room for a session that is put away: 212 bytes with a pre-shared key.
const STATE_BYTES_MAX: usize = 1024;

/// What came to light of a peer in its handshake: not proven until that is done.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) identity: Option<Identity>,
    /// Why there is no key to try, where that is not the peer's fault.
    pub(crate) no_key: Option<Failure>,
    /// What is wrong with its certificates, in Mbed TLS's bits.
    pub(crate) certificate_flags: u32,
}

/// The timer of a handshake, in the caller's time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timer {
    times: Option<(u64, u64)>,
}

impl Timer {
    pub(super) fn set(&mut self, now_ms: u64, intermediate_ms: u32, final_ms: u32) {
        let at = |after: u32| now_ms.saturating_add(u64::from(after));
        self.times = (final_ms > 0).then(|| (at(intermediate_ms), at(final_ms)));
    }

    pub(super) fn state(self, now_ms: u64) -> c_int {
        match self.times {
            None => -1,
            Some((_, last)) if now_ms >= last => 2,
            Some((first, _)) if now_ms >= first => 1,
            Some(_) => 0,
        }
    }

    fn due(self) -> Option<u64> {
        self.times.map(|(_, last)| last)
    }
}

/// What goes in and comes out of one call.
#[derive(Debug, Default)]
pub(crate) struct Exchange<'a> {
    pub(super) now_ms: u64,
    /// The datagram, or the one record, to take in. It is gone when it was looked at.
    pub(super) incoming: Option<&'a [u8]>,
    /// The datagrams to send.
    pub(crate) outgoing: Vec<Vec<u8>>,
    /// What was seen so far, and what is seen in this call.
    pub(crate) seen: Seen,
    pub(super) timer: Timer,
    pub(super) pinned: Option<Rc<[u8]>>,
}

impl<'a> Exchange<'a> {
    /// At this time, with this to take in, after this was seen.
    pub(crate) fn new(now_ms: u64, incoming: Option<&'a [u8]>, seen: Seen) -> Self {
        Self { now_ms, incoming, seen, ..Self::default() }
    }
}

/// How far a handshake has come.
#[derive(Debug)]
pub(crate) enum Progress {
    /// More is to come from the peer. Whether it has shown a right cookie in this call.
    Waiting(bool),
    /// Both ends know each other.
    Done,
    /// It must show first that it hears at its address; the question is among what goes out. Whether it has shown that, and
    /// was not admitted.
    NeedsCookie(bool),
    /// It came to nothing.
    Failed(Ended),
}

impl Progress {
    /// Whether a peer has shown a right cookie in this call, and was admitted.
    pub(crate) fn has_shown_cookie(&self) -> bool {
        match self {
            Self::Waiting(shown) => *shown,
            Self::Failed(ended) => ended.cookie_right,
            Self::Done | Self::NeedsCookie(_) => false,
        }
    }
}

/// Why a context can do no more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    code: c_int,
    /// The alert that the peer sent.
    alert: u8,
    /// Whether a right cookie was shown in this call.
    pub(crate) cookie_right: bool,
}

impl Ended {
    /// As the end of a handshake.
    pub(crate) fn failure(self, seen: &Seen) -> Failure {
        let dates = sys::MBEDTLS_X509_BADCERT_EXPIRED | sys::MBEDTLS_X509_BADCERT_FUTURE;
        match self.code {
            sys::MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY => seen.no_key.unwrap_or(Failure::UnknownIdentity),
            sys::MBEDTLS_ERR_SSL_INVALID_MAC => Failure::WrongKey,
            sys::MBEDTLS_ERR_SSL_TIMEOUT => Failure::Timeout,
            sys::MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE => Failure::NoCertificate,
            sys::MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE => Failure::Alert(self.alert),
            sys::MBEDTLS_ERR_X509_CERT_VERIFY_FAILED if seen.certificate_flags & !dates == 0 => {
                Failure::CertificateDates
            }
            sys::MBEDTLS_ERR_X509_CERT_VERIFY_FAILED => Failure::CertificateNotTrusted,
            code => Failure::Protocol(code),
        }
    }

    /// As the end of a session.
    pub(crate) fn reason(self) -> CloseReason {
        match self.code {
            sys::MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY => CloseReason::ByPeer,
            sys::MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE => CloseReason::Alert(self.alert),
            code => CloseReason::Broken(code),
        }
    }
}

/// One session, or one on its way.
pub(crate) struct Context {
    ssl: *mut sys::mbedtls_ssl_context,
    // After `ssl`, which points into it; `Drop` frees that first.
    settings: Rc<Settings>,
    timer: Timer,
}

impl Context {
    /// One before its handshake. A server's gives its peer this connection ID to use; a client takes one if it is given one.
    pub(crate) fn new(settings: &Rc<Settings>, cid: Option<&Cid>) -> Result<Self, Error> {
        let context = Self::set_up(settings)?;
        let done = |what, code: c_int| if code == 0 { Ok(()) } else { Err(Error::Library(what, -code)) };
        let (bytes, length) = cid.map_or((ptr::null(), 0), |cid| (cid.as_ptr(), cid.len()));
        // SAFETY: set up above; the connection ID and the name are copied.
        unsafe {
            let enabled = c_int::try_from(sys::MBEDTLS_SSL_CID_ENABLED).unwrap_or(1);
            done("set_cid", sys::mbedtls_ssl_set_cid(context.ssl, enabled, bytes, length))?;
            if !settings.is_server() {
                let name = settings.name().map_or(ptr::null(), std::ffi::CStr::as_ptr);
                done("set_hostname", sys::mbedtls_ssl_set_hostname(context.ssl, name))?;
            }
        }
        Ok(context)
    }

    /// One that goes on where another was put away; with Mbed TLS's number if that cannot be.
    pub(crate) fn load(settings: &Rc<Settings>, state: &[u8]) -> Result<Self, c_int> {
        let context = Self::set_up(settings).map_err(|_| sys::MBEDTLS_ERR_SSL_ALLOC_FAILED)?;
        // SAFETY: freshly set up; `state` is of this length, and the lengths within it were checked where it came in.
        match unsafe { sys::mbedtls_ssl_context_load(context.ssl, state.as_ptr(), state.len()) } {
            0 => Ok(context),
            code => Err(code),
        }
    }

    fn set_up(settings: &Rc<Settings>) -> Result<Self, Error> {
        let ssl = Box::into_raw(Box::<sys::mbedtls_ssl_context>::default());
        // SAFETY: a structure of this type.
        unsafe { sys::mbedtls_ssl_init(ssl) };
        let context = Self { ssl, settings: Rc::clone(settings), timer: Timer::default() };
        // SAFETY: initialised above; the configuration is held by `settings`. The callbacks are lent nothing as yet.
        unsafe {
            match sys::mbedtls_ssl_setup(ssl, settings.config()) {
                0 => {}
                code => return Err(Error::Library("setup", -code)),
            }
            sys::mbedtls_ssl_set_bio(
                ssl,
                ptr::null_mut(),
                Some(callbacks::send),
                Some(callbacks::receive),
                None,
            );
            sys::mbedtls_ssl_set_timer_cb(
                ssl,
                ptr::null_mut(),
                Some(callbacks::set_timer),
                Some(callbacks::get_timer),
            );
            sys::mbedtls_ssl_set_mtu(ssl, u16::try_from(DATAGRAM_BYTES_MAX).unwrap_or(u16::MAX));
        }
        Ok(context)
    }

    /// Makes one call with what it needs lent to it.
    fn with<R>(
        &mut self,
        exchange: &mut Exchange<'_>,
        call: impl FnOnce(*mut sys::mbedtls_ssl_context) -> R,
    ) -> R {
        super::set_now(exchange.now_ms);
        exchange.timer = self.timer;
        exchange.pinned = self.settings.pinned();
        let lent = ptr::from_mut(exchange).cast::<c_void>();
        // SAFETY: `ssl` is alive and set up. What is lent lives until it is taken back, and is not touched meanwhile but by
        // the callbacks. The setters of Mbed TLS would stop the timer, so the fields are set.
        unsafe {
            (*self.ssl).private_p_bio = lent;
            (*self.ssl).private_p_timer = lent;
            sys::mbedtls_ssl_set_verify(self.ssl, Some(callbacks::certificate), lent);
        }
        let result = call(self.ssl);
        // SAFETY: as above.
        unsafe {
            (*self.ssl).private_p_bio = ptr::null_mut();
            (*self.ssl).private_p_timer = ptr::null_mut();
            sys::mbedtls_ssl_set_verify(self.ssl, None, ptr::null_mut());
        }
        self.timer = exchange.timer;
        exchange.pinned = None;
        result
    }

    fn ended(&self, code: c_int) -> Ended {
        let mut alert = 0;
        if code == sys::MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE {
            // SAFETY: with this code, the message that was read is an alert, which has two bytes: its level and its number.
            alert = unsafe { *(*self.ssl).private_in_msg.add(1) };
        }
        Ended { code, alert, cookie_right: self.settings.take_cookie_right() }
    }

    /// Goes on with the handshake: takes in what has come, and sends again what is due.
    pub(crate) fn handshake(&mut self, exchange: &mut Exchange<'_>) -> Progress {
        // A repetition that is due comes first, and what has come is looked at in the turn after it.
        for _ in 0..2 {
            // SAFETY: the context is set up and lent what its callbacks need.
            match self.with(exchange, |ssl| unsafe { sys::mbedtls_ssl_handshake(ssl) }) {
                0 => return Progress::Done,
                sys::MBEDTLS_ERR_SSL_HELLO_VERIFY_REQUIRED => {
                    return Progress::NeedsCookie(self.settings.take_cookie_right());
                }
                sys::MBEDTLS_ERR_SSL_WANT_READ | sys::MBEDTLS_ERR_SSL_WANT_WRITE => {}
                code => return Progress::Failed(self.ended(code)),
            }
            if exchange.incoming.is_none() {
                break;
            }
        }
        Progress::Waiting(self.settings.take_cookie_right())
    }

    /// Reads the next data, if what has come has any.
    pub(crate) fn read(
        &mut self,
        exchange: &mut Exchange<'_>,
        buffer: &mut [u8],
    ) -> Result<Option<usize>, Ended> {
        let (place, room) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: the context is set up and lent what its callbacks need; the buffer is of this size.
        let code = self.with(exchange, |ssl| unsafe { sys::mbedtls_ssl_read(ssl, place, room) });
        match code {
            sys::MBEDTLS_ERR_SSL_WANT_READ | sys::MBEDTLS_ERR_SSL_WANT_WRITE | 0 => Ok(None),
            code => usize::try_from(code).map(Some).map_err(|_| self.ended(code)),
        }
    }

    /// Longest data that fit in one datagram.
    pub(crate) fn payload_max(&self) -> usize {
        // SAFETY: the context is set up.
        usize::try_from(unsafe { sys::mbedtls_ssl_get_max_out_record_payload(self.ssl) }).unwrap_or(0)
    }

    /// Sends data, which fit.
    pub(crate) fn write(&mut self, exchange: &mut Exchange<'_>, data: &[u8]) -> Result<(), Ended> {
        // SAFETY: the context is set up and lent what its callbacks need; the data are of this length.
        match self.with(exchange, |ssl| unsafe { sys::mbedtls_ssl_write(ssl, data.as_ptr(), data.len()) }) {
            code if code < 0 => Err(self.ended(code)),
            _ => Ok(()),
        }
    }

    /// Says goodbye. It is the last thing said, so it does not matter whether it can be.
    pub(crate) fn say_goodbye(&mut self, exchange: &mut Exchange<'_>) {
        // SAFETY: the context is set up and lent what its callbacks need.
        self.with(exchange, |ssl| unsafe { sys::mbedtls_ssl_close_notify(ssl) });
    }

    /// Makes it as it was before its handshake.
    pub(crate) fn reset(&mut self) -> Result<(), Error> {
        self.timer = Timer::default();
        // SAFETY: the context is set up.
        match unsafe { sys::mbedtls_ssl_session_reset(self.ssl) } {
            0 => Ok(()),
            code => Err(Error::Library("session_reset", -code)),
        }
    }

    /// Binds cookies to this address.
    pub(crate) fn set_address(&mut self, address: &[u8]) -> Result<(), Error> {
        // SAFETY: a server's context; the bytes are copied.
        match unsafe { sys::mbedtls_ssl_set_client_transport_id(self.ssl, address.as_ptr(), address.len()) } {
            0 => Ok(()),
            code => Err(Error::Library("set_client_transport_id", -code)),
        }
    }

    /// When to go on with the handshake if nothing comes.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        self.timer.due()
    }

    /// The records that have been taken in: the newest, and which of the 64 before it. Only an authentic record changes it.
    pub(crate) fn window(&self) -> (u64, u64) {
        // SAFETY: the context is alive.
        unsafe { ((*self.ssl).private_in_window_top, (*self.ssl).private_in_window) }
    }

    /// Whether a record is authentic. It is not taken in.
    pub(crate) fn is_authentic(&self, record: &[u8]) -> bool {
        let mut copy = record.to_vec();
        // SAFETY: the context is set up and not changed; the copy is decrypted in its place and then zeroed.
        unsafe { sys::mbedtls_ssl_check_record(self.ssl, copy.as_mut_ptr(), copy.len()) == 0 }
    }

    /// Whether both ends use connection IDs, as the handshake has settled.
    pub(crate) fn has_cid(&self) -> bool {
        let mut enabled = 0;
        // SAFETY: the context is set up, its handshake done; the connection ID itself is not asked for.
        let code = unsafe {
            sys::mbedtls_ssl_get_peer_cid(self.ssl, &raw mut enabled, ptr::null_mut(), ptr::null_mut())
        };
        code == 0 && enabled != 0
    }

    /// Lets go of the peer's certificate, which has been verified and takes kilobytes. What is known of it is in [`Seen`].
    pub(crate) fn forget_certificate(&mut self) {
        // SAFETY: the handshake is done, so that the session is there and nothing needs the certificate any more; Mbed TLS
        // allocated it, and takes null for "none" wherever it looks (`mbedtls_ssl_session_free`, `ssl_session_save`).
        unsafe {
            let Some(session) = (*self.ssl).private_session.as_mut() else { return };
            if !session.private_peer_cert.is_null() {
                sys::mbedtls_x509_crt_free(session.private_peer_cert);
                sys::mbedtls_free(session.private_peer_cert.cast());
                session.private_peer_cert = ptr::null_mut();
            }
        }
    }

    /// Puts the session away. It comes back as it was if that cannot be: with CBC, or before the peer has sent anything
    /// after its handshake.
    pub(crate) fn save(self) -> Result<Box<[u8]>, Self> {
        let mut state = [0; STATE_BYTES_MAX];
        let mut length = 0;
        // SAFETY: the context is set up; the place is of this size.
        let code = unsafe {
            sys::mbedtls_ssl_context_save(self.ssl, state.as_mut_ptr(), state.len(), &raw mut length)
        };
        if code == 0 { Ok(state[..length].into()) } else { Err(self) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: initialised in `set_up`; from `Box::into_raw`; freed once, before the settings.
        unsafe {
            sys::mbedtls_ssl_free(self.ssl);
            drop(Box::from_raw(self.ssl));
        }
    }
}
