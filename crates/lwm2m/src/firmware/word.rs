//! The words of the Firmware Update object, and their numbers (LwM2M Core appendix E.6.2).

use std::fmt;

/// How far a device is with an update (resource 3). Only the device moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing is under way.
    Idle,
    /// An image is coming in.
    Downloading,
    /// An image is there, whole and checked.
    Downloaded,
    /// The image is being installed.
    Updating,
}

impl State {
    /// The state of a number; none for numbers the object does not know.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Idle),
            1 => Some(Self::Downloading),
            2 => Some(Self::Downloaded),
            3 => Some(Self::Updating),
            _ => None,
        }
    }

    /// The state's number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::Downloading => 1,
            Self::Downloaded => 2,
            Self::Updating => 3,
        }
    }
}

/// How the latest download or update ended (resource 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpdateResult {
    /// 0: nothing has ended since the download or the update began.
    Initial,
    /// 1: the update succeeded.
    Success,
    /// 2: not enough flash memory.
    NoFlash,
    /// 3: out of RAM.
    NoMemory,
    /// 4: the connection was lost during the download.
    ConnectionLost,
    /// 5: the image's check failed.
    Integrity,
    /// 6: the package is of a type the device does not know.
    UnsupportedPackage,
    /// 7: the URI is none, or leads nowhere.
    InvalidUri,
    /// 8: the update failed.
    UpdateFailed,
    /// 9: the URI's scheme is not one of the device's.
    UnsupportedProtocol,
    /// 10: the update was cancelled.
    Cancelled,
    /// 11: the update was put off.
    Deferred,
    /// A number the object does not define: the update failed, for a reason of the device's own.
    Other(u8),
}

/// What a result says of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing has ended.
    Open,
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It was put off.
    Deferred,
}

impl UpdateResult {
    /// The result of a number. A number no byte holds is failed as well, as 255.
    #[must_use]
    pub fn from_code(code: i64) -> Self {
        match code {
            0 => Self::Initial,
            1 => Self::Success,
            2 => Self::NoFlash,
            3 => Self::NoMemory,
            4 => Self::ConnectionLost,
            5 => Self::Integrity,
            6 => Self::UnsupportedPackage,
            7 => Self::InvalidUri,
            8 => Self::UpdateFailed,
            9 => Self::UnsupportedProtocol,
            10 => Self::Cancelled,
            11 => Self::Deferred,
            other => Self::Other(u8::try_from(other).unwrap_or(u8::MAX)),
        }
    }

    /// The result's number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Initial => 0,
            Self::Success => 1,
            Self::NoFlash => 2,
            Self::NoMemory => 3,
            Self::ConnectionLost => 4,
            Self::Integrity => 5,
            Self::UnsupportedPackage => 6,
            Self::InvalidUri => 7,
            Self::UpdateFailed => 8,
            Self::UnsupportedProtocol => 9,
            Self::Cancelled => 10,
            Self::Deferred => 11,
            Self::Other(code) => code,
        }
    }

    /// What the result says.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Initial => Verdict::Open,
            Self::Success => Verdict::Succeeded,
            Self::Cancelled => Verdict::Cancelled,
            Self::Deferred => Verdict::Deferred,
            Self::NoFlash
            | Self::NoMemory
            | Self::ConnectionLost
            | Self::Integrity
            | Self::UnsupportedPackage
            | Self::InvalidUri
            | Self::UpdateFailed
            | Self::UnsupportedProtocol
            | Self::Other(_) => Verdict::Failed,
        }
    }
}

/// As a person reads it, with the number.
impl fmt::Display for UpdateResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Initial => "initial",
            Self::Success => "success",
            Self::NoFlash => "not enough flash memory",
            Self::NoMemory => "out of RAM",
            Self::ConnectionLost => "connection lost during the download",
            Self::Integrity => "integrity check failed",
            Self::UnsupportedPackage => "unsupported package type",
            Self::InvalidUri => "invalid URI",
            Self::UpdateFailed => "update failed",
            Self::UnsupportedProtocol => "unsupported protocol",
            Self::Cancelled => "cancelled",
            Self::Deferred => "deferred",
            Self::Other(_) => "failed",
        };
        write!(f, "{text} ({})", self.code())
    }
}

/// A scheme of a Package URI (resource 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// `coap` (0).
    Coap,
    /// `coaps` (1).
    Coaps,
    /// `http` (2).
    Http,
    /// `https` (3).
    Https,
    /// `coap+tcp` (4).
    CoapTcp,
    /// `coaps+tcp` (5).
    CoapsTcp,
}

impl Scheme {
    /// All of them, by number.
    pub const ALL: [Self; 6] =
        [Self::Coap, Self::Coaps, Self::Http, Self::Https, Self::CoapTcp, Self::CoapsTcp];

    /// The scheme of a number; none for numbers the object does not know, which are to be ignored.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| i64::from(scheme.code()) == code)
    }

    /// The scheme's number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Coap => 0,
            Self::Coaps => 1,
            Self::Http => 2,
            Self::Https => 3,
            Self::CoapTcp => 4,
            Self::CoapsTcp => 5,
        }
    }

    /// The scheme as a URI begins with it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Coap => "coap",
            Self::Coaps => "coaps",
            Self::Http => "http",
            Self::Https => "https",
            Self::CoapTcp => "coap+tcp",
            Self::CoapsTcp => "coaps+tcp",
        }
    }

    /// The scheme of a URI; schemes are without case (RFC 3986 §3.1).
    #[must_use]
    pub fn of_uri(uri: &str) -> Option<Self> {
        let (text, _) = uri.split_once("://")?;
        Self::ALL.into_iter().find(|scheme| scheme.text().eq_ignore_ascii_case(text))
    }
}

/// A set of schemes, in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schemes(u8);

impl Schemes {
    /// No scheme.
    pub const NONE: Self = Self(0);
    /// What a device without resource 8 speaks: `coap` alone.
    pub const UNSAID: Self = Self(1);

    /// The set and one more.
    #[must_use]
    pub const fn with(self, scheme: Scheme) -> Self {
        Self(self.0 | 1 << scheme.code())
    }

    /// Whether the scheme is in the set.
    #[must_use]
    pub const fn contains(self, scheme: Scheme) -> bool {
        self.0 & 1 << scheme.code() != 0
    }

    /// The schemes, by number.
    pub fn iter(self) -> impl Iterator<Item = Scheme> {
        Scheme::ALL.into_iter().filter(move |scheme| self.contains(*scheme))
    }
}

impl FromIterator<Scheme> for Schemes {
    fn from_iter<T: IntoIterator<Item = Scheme>>(schemes: T) -> Self {
        schemes.into_iter().fold(Self::NONE, Self::with)
    }
}

/// How an image can reach a device (resource 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeliveryMethod {
    /// 0: the device fetches it from a URI.
    Pull,
    /// 1: the server sends it.
    Push,
    /// 2: either.
    Both,
}

impl DeliveryMethod {
    /// The method of a number; none for numbers the object does not know.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Pull),
            1 => Some(Self::Push),
            2 => Some(Self::Both),
            _ => None,
        }
    }

    /// The method's number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Pull => 0,
            Self::Push => 1,
            Self::Both => 2,
        }
    }

    /// Whether a device of this method fetches images.
    #[must_use]
    pub const fn pulls(self) -> bool {
        matches!(self, Self::Pull | Self::Both)
    }

    /// Whether a device of this method takes images that are sent.
    #[must_use]
    pub const fn takes_push(self) -> bool {
        matches!(self, Self::Push | Self::Both)
    }
}

/// How urgent an update is (resource 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Severity {
    /// 0.
    Critical,
    /// 1, which holds where nothing was written.
    #[default]
    Mandatory,
    /// 2.
    Optional,
}

impl Severity {
    /// The severity of a number; none for numbers the object does not know.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Critical),
            1 => Some(Self::Mandatory),
            2 => Some(Self::Optional),
            _ => None,
        }
    }

    /// The severity's number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Critical => 0,
            Self::Mandatory => 1,
            Self::Optional => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_one_number() {
        for code in 0..4 {
            assert_eq!(State::from_code(code).map(|state| i64::from(state.code())), Some(code));
        }
        for code in 0..256 {
            assert_eq!(i64::from(UpdateResult::from_code(code).code()), code);
        }
        for code in 0..6 {
            assert_eq!(Scheme::from_code(code).map(|scheme| i64::from(scheme.code())), Some(code));
        }
        for code in 0..3 {
            assert_eq!(DeliveryMethod::from_code(code).map(|method| i64::from(method.code())), Some(code));
            assert_eq!(Severity::from_code(code).map(|severity| i64::from(severity.code())), Some(code));
        }
        assert_eq!((State::from_code(4), Scheme::from_code(6), Severity::from_code(-1)), (None, None, None));
    }

    #[test]
    fn a_result_nobody_defined_is_failed_with_its_number() {
        for code in [12, 13, 255] {
            let result = UpdateResult::from_code(code);
            assert_eq!((result.verdict(), i64::from(result.code())), (Verdict::Failed, code));
        }
        assert_eq!(UpdateResult::from_code(-1).verdict(), Verdict::Failed);
        assert_eq!(UpdateResult::from_code(13).to_string(), "failed (13)");
    }

    #[test]
    fn the_scheme_of_a_uri_is_read_without_case() {
        assert_eq!(Scheme::of_uri("coaps+tcp://h/x"), Some(Scheme::CoapsTcp));
        assert_eq!(Scheme::of_uri("HTTPS://h/x"), Some(Scheme::Https));
        for none in ["", "coap:h", "ftp://h/x", "/x"] {
            assert_eq!(Scheme::of_uri(none), None, "{none}");
        }
    }

    #[test]
    fn a_set_of_schemes_holds_what_was_put_in() {
        let set: Schemes = [Scheme::Https, Scheme::Coap].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Scheme::Coap, Scheme::Https]);
        assert!(!set.contains(Scheme::Coaps) && !Schemes::NONE.contains(Scheme::Coap));
    }
}
