//! What devices and server say to each other: real bytes of the check-in contracts, and the shape of a download.

use updraft_wire::JobId;

/// A request on its way to the server.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Which of all requests; a repeated one keeps it.
    pub(super) id: u64,
    /// Who sent it.
    pub(super) device: usize,
    pub(super) content: Content,
}

/// What a request asks.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// `POST /v1/check-in`, its body.
    Native(Vec<u8>),
    /// `POST /tok/provision/update`, its body.
    Ioto(Vec<u8>),
    /// `POST /tok/provision/updateReport`, its body.
    IotoReport(Vec<u8>),
    /// `GET` of a link from an offset.
    Download { link: String, offset: u64 },
}

/// An answer on its way to a device.
#[derive(Debug, Clone)]
pub(super) enum Response {
    /// 200 with a JSON body.
    Json(Vec<u8>),
    /// 200 or 206: bytes from an offset, and the entity tag. Perhaps not all of them: the connection broke.
    Bytes { offset: u64, etag: String, bytes: Vec<u8> },
    /// 4xx.
    Refused,
    /// 503: come again.
    Unavailable,
}

/// A link to an image, as the simulated server makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) device: String,
    pub(super) job: JobId,
    pub(super) sha256: String,
}

const LINK_START: &str = "https://updates.example/";

impl Link {
    pub(super) fn url(&self) -> String {
        format!("{LINK_START}{}/{}/{}", self.device, self.job, self.sha256)
    }

    pub(super) fn parse(url: &str) -> Option<Self> {
        let mut parts = url.strip_prefix(LINK_START)?.split('/');
        let link = Self {
            device: parts.next()?.to_owned(),
            job: parts.next()?.parse().ok()?,
            sha256: parts.next()?.to_owned(),
        };
        parts.next().is_none().then_some(link)
    }
}
