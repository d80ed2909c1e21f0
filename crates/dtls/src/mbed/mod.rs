//! Mbed TLS behind types that cannot be misused: the only unsafe code of the tree.
//!
//! What must hold, and how it is held:
//! - Nothing that Mbed TLS has a pointer to moves: its structures are boxed and held by raw pointers.
//! - The configuration outlives the contexts made from it: each [`Context`] holds it by a counted reference.
//! - Mbed TLS is built without locks: a configuration and its contexts are used by one thread at a time. They are neither
//!   `Send` nor `Sync`; an end that owns all of them, and lends none, may be `Send`.
//! - What a callback needs is lent for one call and taken back ([`Exchange`]); between calls the pointers are null.

#![expect(unsafe_code, reason = "Mbed TLS is C; this module is the wall around it")]

mod callbacks;
mod context;
mod settings;

use std::cell::Cell;
use std::sync::Once;

use mbedtls_rs_sys as sys;
use sys::hook::backend::std::wall_clock::StdWallClock;
use sys::hook::timer::{MbedtlsTimer, hook_timer};
use sys::hook::wall_clock::hook_wall_clock;

pub(crate) use context::{Context, Ended, Exchange, Progress, Seen};
pub(crate) use settings::Settings;

// What mbedtls-rs-sys guards its hooks with.
use critical_section as _;

/// The clock whose time the hook of Mbed TLS gives: that of the call under way, in this thread.
struct CallersTime;

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
}

impl MbedtlsTimer for CallersTime {
    fn now(&self) -> sys::mbedtls_ms_time_t {
        NOW_MS.with(|now| sys::mbedtls_ms_time_t::try_from(now.get()).unwrap_or(sys::mbedtls_ms_time_t::MAX))
    }
}

/// Tells Mbed TLS the time for the call that follows: it ages cookies by it.
fn set_now(now_ms: u64) {
    NOW_MS.with(|now| now.set(now_ms));
}

/// What must be done once in a process, before anything else.
///
/// Without the wall clock the dates of certificates are not compared with anything, and an expired one is accepted.
fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the hooks are statics without state, set before any other use, as their documentation asks.
        unsafe {
            hook_wall_clock(Some(&StdWallClock));
            hook_timer(Some(&CallersTime));
        }
        // SAFETY: no arguments; within `Once`, so that no two threads are in it.
        let status = unsafe { sys::psa_crypto_init() };
        assert_eq!(status, 0, "Mbed TLS could not initialise its cryptography");
        // SAFETY: fills in a static list on its first call, which must not happen in two threads at once.
        unsafe { sys::mbedtls_ssl_list_ciphersuites() };
    });
}

/// There are no random bytes to be had (`PSA_ERROR_INSUFFICIENT_ENTROPY`, which the bindings leave out).
const PSA_INSUFFICIENT_ENTROPY: i32 = -148;

/// Where Mbed TLS's own key store takes random bytes from (`MBEDTLS_PSA_CRYPTO_EXTERNAL_RNG`).
#[unsafe(no_mangle)]
extern "C" fn mbedtls_psa_external_get_random(
    _context: *mut std::ffi::c_void,
    output: *mut u8,
    size: usize,
    length: *mut usize,
) -> i32 {
    if callbacks::random(std::ptr::null_mut(), output, size) != 0 {
        return PSA_INSUFFICIENT_ENTROPY;
    }
    // SAFETY: Mbed TLS passes a place for the length.
    unsafe { *length = size };
    0
}
