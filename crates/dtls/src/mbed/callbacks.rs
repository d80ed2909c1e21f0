//! What Mbed TLS calls back. Each finds what it needs by the pointer that was lent for the call under way.

use std::ffi::{c_int, c_uchar, c_void};
use std::slice;

use mbedtls_rs_sys as sys;

use super::context::Exchange;
use super::settings::Settings;
use crate::{Certificate, Failure, Identity, KEY_BYTES_MAX, Lookup};

/// Fills with random bytes from the system.
pub(super) extern "C" fn random(_context: *mut c_void, output: *mut c_uchar, size: usize) -> c_int {
    if size == 0 {
        return 0;
    }
    // SAFETY: Mbed TLS passes a buffer of this size that it owns, and which it has initialised or not: bytes are only written.
    let output = unsafe { slice::from_raw_parts_mut(output.cast::<std::mem::MaybeUninit<u8>>(), size) };
    match getrandom::fill_uninit(output) {
        Ok(_) => 0,
        Err(_) => sys::MBEDTLS_ERR_ENTROPY_SOURCE_FAILED,
    }
}

/// What was lent for the call under way.
///
/// # Safety
/// `lent` is null or what [`super::Context`] set for the call under way, and no other reference to it is alive.
unsafe fn exchange<'a>(lent: *mut c_void) -> Option<&'a mut Exchange<'a>> {
    // SAFETY: by the contract above.
    unsafe { lent.cast::<Exchange<'a>>().as_mut() }
}

/// A datagram to send.
pub(super) unsafe extern "C" fn send(lent: *mut c_void, bytes: *const c_uchar, length: usize) -> c_int {
    // SAFETY: set by the context for the call under way; Mbed TLS passes bytes of its own of this length.
    let (exchange, bytes) = unsafe { (exchange(lent), slice::from_raw_parts(bytes, length)) };
    if let Some(exchange) = exchange {
        exchange.outgoing.push(bytes.to_vec());
    }
    c_int::try_from(length).unwrap_or(c_int::MAX)
}

/// The datagram to receive, once.
pub(super) unsafe extern "C" fn receive(lent: *mut c_void, buffer: *mut c_uchar, size: usize) -> c_int {
    // SAFETY: set by the context for the call under way.
    let incoming = unsafe { exchange(lent) }.and_then(|exchange| exchange.incoming.take());
    let Some(datagram) = incoming.filter(|datagram| datagram.len() <= size) else {
        return sys::MBEDTLS_ERR_SSL_WANT_READ;
    };
    // SAFETY: the buffer is Mbed TLS's own and has this size; the datagram fits.
    unsafe { std::ptr::copy_nonoverlapping(datagram.as_ptr(), buffer, datagram.len()) };
    c_int::try_from(datagram.len()).unwrap_or(c_int::MAX)
}

/// Sets the timer of the handshake: both times from now, or none at all.
pub(super) unsafe extern "C" fn set_timer(lent: *mut c_void, intermediate_ms: u32, final_ms: u32) {
    // SAFETY: set by the context for the call under way, or null where there is no call.
    if let Some(exchange) = unsafe { exchange(lent) } {
        exchange.timer.set(exchange.now_ms, intermediate_ms, final_ms);
    }
}

/// How far the timer has come: -1 not set, 0 running, 1 past the first time, 2 past both.
pub(super) unsafe extern "C" fn get_timer(lent: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe { exchange(lent) }.map_or(-1, |exchange| exchange.timer.state(exchange.now_ms))
}

/// Finds the key of an identity that a peer names.
pub(super) unsafe extern "C" fn pre_shared_key(
    settings: *mut c_void,
    ssl: *mut sys::mbedtls_ssl_context,
    identity: *const c_uchar,
    length: usize,
) -> c_int {
    const UNKNOWN: c_int = sys::MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY;
    // SAFETY: the settings outlive the context whose handshake this is; Mbed TLS passes an identity of this length, and the
    // context's own pointer, whose `p_bio` was set for the call under way.
    let (settings, identity, exchange) = unsafe {
        let settings = settings.cast::<Settings>().cast_const().as_ref();
        (settings, slice::from_raw_parts(identity, length), exchange((*ssl).private_p_bio))
    };
    let (Some(lookup), Some(exchange)) = (settings.and_then(Settings::lookup), exchange) else {
        return UNKNOWN;
    };
    exchange.seen.identity = Some(Identity::Psk(identity.to_vec()));
    match lookup(identity) {
        Lookup::Key(key) if key.is_empty() || key.len() > KEY_BYTES_MAX => {
            exchange.seen.no_key = Some(Failure::KeyLength);
            UNKNOWN
        }
        // SAFETY: copies the key, of this length, into the handshake of a context that is in its handshake.
        Lookup::Key(key) => unsafe { sys::mbedtls_ssl_set_hs_psk(ssl, key.as_ptr(), key.len()) },
        Lookup::Unknown => UNKNOWN,
        Lookup::Unavailable => {
            exchange.seen.no_key = Some(Failure::Unavailable);
            UNKNOWN
        }
    }
}

/// Sees each certificate of a peer's chain, after it was verified, the peer's own last.
pub(super) unsafe extern "C" fn certificate(
    lent: *mut c_void,
    certificate: *mut sys::mbedtls_x509_crt,
    depth: c_int,
    flags: *mut u32,
) -> c_int {
    // SAFETY: set by the context for the call under way; Mbed TLS passes a certificate, whose bytes it owns, and a place for the
    // flags. A peer's list of certificates in which there is none makes it pass one that nothing was read into.
    let (exchange, der, flags) = unsafe {
        let raw = &(*certificate).raw;
        if raw.p.is_null() {
            return sys::MBEDTLS_ERR_X509_FATAL_ERROR;
        }
        (exchange(lent), slice::from_raw_parts(raw.p, raw.len), &mut *flags)
    };
    let Some(exchange) = exchange else { return sys::MBEDTLS_ERR_X509_FATAL_ERROR };
    if depth == 0 {
        exchange.seen.identity = Some(Identity::Certificate(Box::new(Certificate::read(der))));
        if let Some(pinned) = &exchange.pinned {
            // The very certificate that was expected needs no authority and no name; its dates count all the same.
            let forgiven = sys::MBEDTLS_X509_BADCERT_NOT_TRUSTED | sys::MBEDTLS_X509_BADCERT_CN_MISMATCH;
            if **pinned == *der {
                *flags &= !forgiven;
            } else {
                *flags |= sys::MBEDTLS_X509_BADCERT_NOT_TRUSTED;
            }
        }
    }
    exchange.seen.certificate_flags |= *flags;
    0
}

/// Writes the cookie of an address.
pub(super) unsafe extern "C" fn cookie_write(
    settings: *mut c_void,
    place: *mut *mut c_uchar,
    end: *mut c_uchar,
    address: *const c_uchar,
    length: usize,
) -> c_int {
    // SAFETY: the settings outlive the context; the rest is passed through.
    unsafe {
        match settings.cast::<Settings>().cast_const().as_ref() {
            Some(settings) => sys::mbedtls_ssl_cookie_write(settings.cookies(), place, end, address, length),
            None => sys::MBEDTLS_ERR_SSL_INTERNAL_ERROR,
        }
    }
}

/// Checks a cookie, and notes if it is right. Whoever is not admitted gets no further: all that costs much comes after this.
pub(super) unsafe extern "C" fn cookie_check(
    settings: *mut c_void,
    cookie: *const c_uchar,
    cookie_length: usize,
    address: *const c_uchar,
    length: usize,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        let Some(settings) = settings.cast::<Settings>().cast_const().as_ref() else { return -1 };
        let wrong = sys::mbedtls_ssl_cookie_check(settings.cookies(), cookie, cookie_length, address, length);
        settings.note_cookie(wrong == 0);
        if settings.admits() { wrong } else { -1 }
    }
}
