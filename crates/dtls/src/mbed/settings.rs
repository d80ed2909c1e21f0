//! One end's configuration: keys, certificates, suites, limits.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::rc::Rc;
use std::time::Duration;

use mbedtls_rs_sys as sys;

use super::callbacks;
use crate::record::CID_BYTES;
use crate::{
    ClientConfig, ClientCredential, Error, KEY_BYTES_MAX, LookupKey, OwnCertificate, PreSharedKey,
    ServerConfig, Trust,
};

/// Longest identity: what LwM2M Transport 1.1.1 §5.2.8 asks for.
const IDENTITY_BYTES_MAX: usize = 128;
/// How long a cookie is good for. A device on a slow radio needs seconds to bring it back.
const COOKIE_SECONDS: u64 = 60;
/// What a server waits before it sends a flight again, and at most (RFC 6347 §4.2.4.1).
const RETRANSMIT_AFTER: Duration = Duration::from_secs(1);
const RETRANSMIT_MAX: Duration = Duration::from_secs(60);

// The bindings and the library come from one run of a build script: if the one has room for such a key, so has the other
// (RFC 4279 §2: two lengths, as many zeros as the key is long, and the key).
const _: () = assert!(
    size_of::<sys::mbedtls_ssl_premaster_secret>() >= 4 + 2 * KEY_BYTES_MAX,
    "Mbed TLS was built without the flags of .cargo/config.toml: build within the repository, where it was built before \
     after `cargo clean -p mbedtls-rs-sys`"
);

/// Suites with pre-shared keys, best first (LwM2M Transport 1.1.1 §5.2.8). Sessions with CBC cannot be put to sleep.
const PSK_SUITES: [u32; 3] = [
    sys::MBEDTLS_TLS_PSK_WITH_AES_128_CCM_8,
    sys::MBEDTLS_TLS_PSK_WITH_AES_128_GCM_SHA256,
    sys::MBEDTLS_TLS_PSK_WITH_AES_128_CBC_SHA256,
];
/// Suites with certificates, best first.
const CERTIFICATE_SUITES: [u32; 3] = [
    sys::MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
    sys::MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    sys::MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
];

/// A structure of Mbed TLS on the heap, where it stays.
struct Pinned<T> {
    raw: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T: Default> Pinned<T> {
    fn new(initialise: unsafe extern "C" fn(*mut T), free: unsafe extern "C" fn(*mut T)) -> Self {
        let raw = Box::into_raw(Box::<T>::default());
        // SAFETY: `raw` is a structure of the type that the function initialises.
        unsafe { initialise(raw) };
        Self { raw, free }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`; from `Box::into_raw`; nothing uses it any more.
        unsafe {
            (self.free)(self.raw);
            drop(Box::from_raw(self.raw));
        }
    }
}

/// One end's configuration. It stays where it is for as long as a context made from it lives.
pub(crate) struct Settings {
    // Dropped first: it points to all that follows.
    config: Pinned<sys::mbedtls_ssl_config>,
    suites: Box<[c_int]>,
    groups: Box<[u16]>,
    own: Pinned<sys::mbedtls_x509_crt>,
    key: Pinned<sys::mbedtls_pk_context>,
    roots: Pinned<sys::mbedtls_x509_crt>,
    cookies: Pinned<sys::mbedtls_ssl_cookie_ctx>,
    lookup: Option<LookupKey>,
    pinned: Option<Rc<[u8]>>,
    name: Option<std::ffi::CString>,
    is_server: bool,
    /// Whether the last cookie that was checked was right.
    cookie_right: Cell<bool>,
    /// Whether the peer under way may begin a handshake.
    admits: Cell<bool>,
}

impl Settings {
    fn new(is_server: bool) -> Result<Self, Error> {
        super::initialise();
        let settings = Self {
            config: Pinned::new(sys::mbedtls_ssl_config_init, sys::mbedtls_ssl_config_free),
            suites: Box::default(),
            groups: [sys::MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, sys::MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, 0]
                .map(|group| u16::try_from(group).unwrap_or(0))
                .into(),
            own: Pinned::new(sys::mbedtls_x509_crt_init, sys::mbedtls_x509_crt_free),
            key: Pinned::new(sys::mbedtls_pk_init, sys::mbedtls_pk_free),
            roots: Pinned::new(sys::mbedtls_x509_crt_init, sys::mbedtls_x509_crt_free),
            cookies: Pinned::new(sys::mbedtls_ssl_cookie_init, sys::mbedtls_ssl_cookie_free),
            lookup: None,
            pinned: None,
            name: None,
            is_server,
            cookie_right: Cell::new(false),
            admits: Cell::new(true),
        };
        let end = if is_server { sys::MBEDTLS_SSL_IS_SERVER } else { sys::MBEDTLS_SSL_IS_CLIENT };
        // SAFETY: the structure is initialised; the groups are ended by zero and live in a box beside it.
        unsafe {
            let config = settings.config.raw;
            done(
                "config_defaults",
                sys::mbedtls_ssl_config_defaults(
                    config,
                    int(end),
                    int(sys::MBEDTLS_SSL_TRANSPORT_DATAGRAM),
                    int(sys::MBEDTLS_SSL_PRESET_DEFAULT),
                ),
            )?;
            sys::mbedtls_ssl_conf_rng(config, Some(random), ptr::null_mut());
            sys::mbedtls_ssl_conf_groups(config, settings.groups.as_ptr());
            sys::mbedtls_ssl_conf_renegotiation(config, int(sys::MBEDTLS_SSL_RENEGOTIATION_DISABLED));
            sys::mbedtls_ssl_conf_dtls_anti_replay(config, 1);
            let cid_bytes = if is_server { CID_BYTES } else { 0 };
            done(
                "conf_cid",
                sys::mbedtls_ssl_conf_cid(config, cid_bytes, int(sys::MBEDTLS_SSL_UNEXPECTED_CID_IGNORE)),
            )?;
        }
        Ok(settings)
    }

    /// A server's.
    pub(crate) fn server(config: &mut ServerConfig) -> Result<Rc<Self>, Error> {
        let mut settings = Self::new(true)?;
        let mut suites = Vec::new();
        if let Some(lookup) = config.lookup.take() {
            settings.lookup = Some(lookup);
            suites.extend(PSK_SUITES);
        }
        if let Some(certified) = &config.certified {
            settings.read_own(&certified.own)?;
            settings.read_roots("device authorities'", &certified.device_roots)?;
            suites.extend(CERTIFICATE_SUITES);
        }
        settings.offer(&suites)?;
        settings.set_retransmission(RETRANSMIT_AFTER, RETRANSMIT_MAX);
        let settings = Rc::new(settings);
        let itself = Rc::as_ptr(&settings).cast_mut().cast::<c_void>();
        // SAFETY: `itself` stays where it is in its `Rc`, and each context holds one; the callbacks only read it.
        unsafe {
            let config = settings.config.raw;
            sys::mbedtls_ssl_conf_psk_cb(config, Some(callbacks::pre_shared_key), itself);
            done(
                "cookie_setup",
                sys::mbedtls_ssl_cookie_setup(settings.cookies.raw, Some(random), ptr::null_mut()),
            )?;
            sys::mbedtls_ssl_cookie_set_timeout(settings.cookies.raw, COOKIE_SECONDS);
            let (write, check) = (callbacks::cookie_write, callbacks::cookie_check);
            sys::mbedtls_ssl_conf_dtls_cookies(config, Some(write), Some(check), itself);
        }
        Ok(settings)
    }

    /// A client's.
    pub(crate) fn client(config: &ClientConfig) -> Result<Rc<Self>, Error> {
        let mut settings = Self::new(false)?;
        match &config.credential {
            ClientCredential::Psk(key) => {
                settings.set_key(key)?;
                settings.offer(&PSK_SUITES)?;
            }
            ClientCredential::Certificate { own, trust } => {
                settings.read_own(own)?;
                match trust {
                    Trust::Authority { roots, name } => {
                        settings.read_roots("authorities'", roots)?;
                        let name = std::ffi::CString::new(name.as_str()).map_err(|_| Error::Name)?;
                        settings.name = Some(name).filter(|name| !name.is_empty());
                        settings.name.as_ref().ok_or(Error::Name)?;
                    }
                    Trust::Pinned(der) => {
                        settings.read_roots("server's", der)?;
                        settings.pinned = Some(der.as_slice().into());
                    }
                }
                settings.offer(&CERTIFICATE_SUITES)?;
            }
        }
        settings.set_retransmission(config.retransmit_after, config.retransmit_max);
        // SAFETY: the structure is initialised. No session is ever resumed.
        unsafe { sys::mbedtls_ssl_conf_session_tickets(settings.config.raw, 0) };
        Ok(Rc::new(settings))
    }

    pub(super) fn config(&self) -> *const sys::mbedtls_ssl_config {
        self.config.raw
    }

    pub(super) fn cookies(&self) -> *mut c_void {
        self.cookies.raw.cast()
    }

    pub(super) fn lookup(&self) -> Option<&LookupKey> {
        self.lookup.as_ref()
    }

    pub(super) fn pinned(&self) -> Option<Rc<[u8]>> {
        self.pinned.clone()
    }

    pub(super) fn name(&self) -> Option<&std::ffi::CStr> {
        self.name.as_deref()
    }

    pub(super) fn is_server(&self) -> bool {
        self.is_server
    }

    pub(super) fn note_cookie(&self, right: bool) {
        self.cookie_right.set(right);
    }

    /// Whether the peer that comes next may begin a handshake, if its cookie is right.
    pub(crate) fn set_admits(&self, admits: bool) {
        self.admits.set(admits);
    }

    pub(super) fn admits(&self) -> bool {
        self.admits.get()
    }

    /// Whether a right cookie was shown since this was asked last.
    pub(super) fn take_cookie_right(&self) -> bool {
        self.cookie_right.take()
    }

    /// Offers these suites and no other.
    fn offer(&mut self, suites: &[u32]) -> Result<(), Error> {
        if suites.is_empty() {
            return Err(Error::NoCredential);
        }
        self.suites = suites.iter().chain([&0]).map(|suite| int(*suite)).collect();
        // SAFETY: the list is ended by zero and lives in a box beside the configuration.
        unsafe { sys::mbedtls_ssl_conf_ciphersuites(self.config.raw, self.suites.as_ptr()) };
        Ok(())
    }

    fn set_retransmission(&mut self, first: Duration, longest: Duration) {
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1);
        // SAFETY: the structure is initialised.
        unsafe { sys::mbedtls_ssl_conf_handshake_timeout(self.config.raw, ms(first), ms(longest)) };
    }

    fn set_key(&mut self, key: &PreSharedKey) -> Result<(), Error> {
        if key.key.is_empty() || key.key.len() > KEY_BYTES_MAX {
            return Err(Error::KeyLength);
        }
        if key.identity.is_empty() || key.identity.len() > IDENTITY_BYTES_MAX {
            return Err(Error::IdentityLength);
        }
        let (secret, name) = (&key.key, &key.identity);
        // SAFETY: both are copied, by their lengths.
        done("conf_psk", unsafe {
            sys::mbedtls_ssl_conf_psk(
                self.config.raw,
                secret.as_ptr(),
                secret.len(),
                name.as_ptr(),
                name.len(),
            )
        })
    }

    fn read_own(&mut self, own: &OwnCertificate) -> Result<(), Error> {
        parse_certificates("own", self.own.raw, &own.chain)?;
        let key = ended(&own.key);
        // SAFETY: `key` is of this length, with the zero that PEM needs; there is no password.
        let read = unsafe {
            sys::mbedtls_pk_parse_key(
                self.key.raw,
                key.as_ptr(),
                key.len(),
                ptr::null(),
                0,
                Some(random),
                ptr::null_mut(),
            )
        };
        if read != 0 {
            return Err(Error::PrivateKey(-read));
        }
        // SAFETY: both are read, and live beside the configuration.
        unsafe {
            let public = &raw mut (*self.own.raw).pk;
            if sys::mbedtls_pk_check_pair(public, self.key.raw, Some(random), ptr::null_mut()) != 0 {
                return Err(Error::KeyMismatch);
            }
            done("conf_own_cert", sys::mbedtls_ssl_conf_own_cert(self.config.raw, self.own.raw, self.key.raw))
        }
    }

    fn read_roots(&mut self, whose: &'static str, roots: &[u8]) -> Result<(), Error> {
        parse_certificates(whose, self.roots.raw, roots)?;
        // SAFETY: the list is read, and lives beside the configuration.
        unsafe {
            sys::mbedtls_ssl_conf_ca_chain(self.config.raw, self.roots.raw, ptr::null_mut());
            sys::mbedtls_ssl_conf_authmode(self.config.raw, int(sys::MBEDTLS_SSL_VERIFY_REQUIRED));
        }
        Ok(())
    }
}

/// The random source as Mbed TLS wants it.
unsafe extern "C" fn random(context: *mut c_void, output: *mut u8, size: usize) -> c_int {
    callbacks::random(context, output, size)
}

fn parse_certificates(
    whose: &'static str,
    list: *mut sys::mbedtls_x509_crt,
    text: &[u8],
) -> Result<(), Error> {
    let text = ended(text);
    // SAFETY: `list` is initialised; `text` is of this length, with the zero that PEM needs.
    match unsafe { sys::mbedtls_x509_crt_parse(list, text.as_ptr(), text.len()) } {
        0 => Ok(()),
        // A positive number counts those that could not be read.
        code => Err(Error::Certificate(whose, code.saturating_abs())),
    }
}

/// With a zero at the end if it is PEM, and without if it is DER: by that Mbed TLS tells them apart.
fn ended(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    if text.windows(5).any(|window| window == b"-----") && text.last() != Some(&0) {
        text.push(0);
    }
    text
}

fn done(what: &'static str, code: c_int) -> Result<(), Error> {
    if code == 0 { Ok(()) } else { Err(Error::Library(what, code.saturating_neg())) }
}

/// Mbed TLS's constants are small, and unsigned only in the bindings.
fn int(constant: u32) -> c_int {
    c_int::try_from(constant).unwrap_or(c_int::MAX)
}
