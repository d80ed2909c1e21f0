//! What the server wants of one device: a version, how it may get there, and what must be remembered on the way.

use std::time::Duration;

use super::word::Severity;

/// How the image reaches the device, this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The device fetches it.
    Pull {
        /// The link, of a scheme the device speaks, of at most 255 bytes.
        uri: String,
        /// The image's size, for the progress.
        size: u64,
    },
    /// The server sends it.
    Push {
        /// The image's size.
        size: u64,
    },
}

impl Delivery {
    /// The image's size.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Pull { size, .. } | Self::Push { size } => *size,
        }
    }
}

/// Who says that the downloaded image is to be installed (resource 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Upgrade {
    /// The server, when its gate opens. A device that would go on by itself is told not to.
    #[default]
    Gated,
    /// The device itself, at once, where it can; elsewhere the server, when its gate opens.
    Automatic,
}

/// Bounds on waiting and on trying again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How often a device that waits for nothing but itself is read, since each of its notifications may be lost.
    pub poll: Duration,
    /// A download is given up when nothing of it moved for so long. There is no limit on its whole length.
    pub stall: Duration,
    /// A device is back so long after it was told to install, or the update has failed.
    pub reboot: Duration,
    /// A device that puts the update off has so long, where it was given no period of its own.
    pub defer: Duration,
    /// A device that answers nothing for so long is given up, in every state but Updating.
    pub silence: Duration,
    /// How often a download that failed for want of a connection or of memory is begun again.
    pub retries_max: u8,
    /// The wait before the first of them; it doubles.
    pub retry_wait: Duration,
}

impl Default for Limits {
    /// Poll each minute. A stall of 10 minutes outlasts a block's retransmissions (93 s, RFC 7252 §4.8.2) and a partial
    /// body's life (247 s) with room for a change of network. An hour for flashing and booting. A week for deferral and
    /// silence: people and batteries. Three retries, from a minute up.
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self {
            poll: Duration::from_secs(60),
            stall: Duration::from_secs(600),
            reboot: hour,
            defer: 24 * 7 * hour,
            silence: 24 * 7 * hour,
            retries_max: 3,
            retry_wait: Duration::from_secs(60),
        }
    }
}

/// One device's part in a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// The version the device is to run, as its resource /3/0/3 will say.
    pub target_version: String,
    /// What the device's `PkgVersion` (resource 7) says of the image, where that is known: an image that says otherwise is
    /// another's. Many devices say something of their own there, so nothing is taken for granted.
    pub package_version: Option<String>,
    /// The first bytes of the image's hash, for a push's mark: the mark of another image is not taken for this one's.
    pub image: [u8; 8],
    /// The delivery, where it is settled before the device was read. Otherwise the driver asks ([`super::Event::Decide`]).
    pub delivery: Option<Delivery>,
    /// What the driver last asked to remember; none before its first word.
    pub marker: Option<Marker>,
    /// Written to resource 11, where the device has it.
    pub severity: Option<Severity>,
    /// Written to resource 13, where the device has it.
    pub defer_max: Option<Duration>,
    /// Resource 14.
    pub upgrade: Upgrade,
    /// Bounds.
    pub limits: Limits,
}

impl Campaign {
    /// A campaign of the defaults: the driver asks for the delivery, and the server's gate says when to install.
    #[must_use]
    pub fn new(target_version: impl Into<String>, image: [u8; 8]) -> Self {
        Self {
            target_version: target_version.into(),
            package_version: None,
            image,
            delivery: None,
            marker: None,
            severity: None,
            defer_max: None,
            upgrade: Upgrade::Gated,
            limits: Limits::default(),
        }
    }
}

/// What must outlive the server's process: whether the image on the device is this campaign's, and what was tried. All
/// else is read from the device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marker {
    /// Downloads that failed and were begun again.
    pub retries: u8,
    /// Whether one of them failed its integrity check; the second time is the last.
    pub integrity_failed: bool,
    /// How often this campaign told the device to install.
    pub executes: u8,
    /// The image this campaign put on the device; none where it put none, or took it away again.
    pub placement: Option<Placement>,
}

/// An image that this campaign put on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// By what it is recognised.
    pub source: Source,
    /// How far it came.
    pub stage: Stage,
    /// The number of the result that stood before: a result that differs is this campaign's.
    pub result_before: u8,
}

/// By what an image on a device is recognised as the campaign's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The URI it was to fetch.
    Uri(String),
    /// It was sent; the campaign's image.
    Push([u8; 8]),
}

/// How far a placement came, as far as the server knows. Each stage is durable before anything is asked of the device
/// that may lead beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The image is about to be offered or sent. Whether the device has heard of it is not known.
    Placing,
    /// The device was seen with it, or took the last block. Results are this campaign's from here on.
    Placed,
    /// The device is about to be told to install it, or does so by itself.
    Executing,
    /// The device registered anew after that: it has restarted, most likely.
    Restarted,
}

/// The layout of a written marker, its first byte. A reader refuses others.
const MARKER_LAYOUT: u8 = 1;

impl Marker {
    /// The marker as bytes to keep.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![MARKER_LAYOUT, self.retries, u8::from(self.integrity_failed), self.executes];
        let Some(placement) = &self.placement else { return bytes };
        let stage = match placement.stage {
            Stage::Placing => 0,
            Stage::Placed => 1,
            Stage::Executing => 2,
            Stage::Restarted => 3,
        };
        let (kind, source) = match &placement.source {
            Source::Uri(uri) => (0, uri.as_bytes()),
            Source::Push(image) => (1, &image[..]),
        };
        bytes.extend([stage, placement.result_before, kind]);
        bytes.extend(source);
        bytes
    }

    /// The marker of bytes that were kept; none for bytes that are no marker.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[MARKER_LAYOUT, retries, integrity, executes], rest) = bytes.split_first_chunk()? else {
            return None;
        };
        let integrity_failed = flag(integrity)?;
        let placement = if rest.is_empty() { None } else { Some(Placement::decode(rest)?) };
        Some(Self { retries, integrity_failed, executes, placement })
    }
}

impl Placement {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[stage, result_before, kind], source) = bytes.split_first_chunk()?;
        let stage = match stage {
            0 => Stage::Placing,
            1 => Stage::Placed,
            2 => Stage::Executing,
            3 => Stage::Restarted,
            _ => return None,
        };
        let source = if flag(kind)? {
            Source::Push(source.try_into().ok()?)
        } else {
            Source::Uri(String::from_utf8(source.to_vec()).ok()?)
        };
        Some(Self { source, stage, result_before })
    }
}

fn flag(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(source: Source, stage: Stage) -> Marker {
        let placement = Some(Placement { source, stage, result_before: 11 });
        Marker { retries: 2, integrity_failed: true, executes: 1, placement }
    }

    #[test]
    fn a_marker_is_read_as_it_was_written() {
        let mut markers = vec![Marker::default()];
        for stage in [Stage::Placing, Stage::Placed, Stage::Executing, Stage::Restarted] {
            markers.push(marker(Source::Uri("coap://h/é".to_owned()), stage));
            markers.push(marker(Source::Push([7; 8]), stage));
        }
        for marker in markers {
            assert_eq!(Marker::decode(&marker.encode()), Some(marker));
        }
    }

    #[test]
    fn what_is_no_marker_is_refused() {
        let whole = marker(Source::Push([7; 8]), Stage::Placed).encode();
        for end in (0..whole.len()).filter(|end| *end != 4) {
            assert_eq!(Marker::decode(&whole[..end]), None, "cut at {end}");
        }
        assert_eq!(Marker::decode(&[2, 0, 0, 0]), None, "another layout");
        assert_eq!(Marker::decode(&[1, 0, 2, 0]), None);
        assert_eq!(Marker::decode(&[1, 0, 0, 0, 4, 0, 0]), None);
        assert_eq!(Marker::decode(&[1, 0, 0, 0, 0, 0, 0, 0xff]), None);
    }
}
